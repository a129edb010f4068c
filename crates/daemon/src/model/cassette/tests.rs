use super::*;
use crate::model::answer::{StopReason, Usage};
use crate::model::request::tests::ask;
use crate::model::request::{Message, ToolCall};
use serde_json::json;

/// Answers from a script; what a real model would be.
struct Script {
    name: ModelName,
    outcomes: Mutex<Vec<Result<Answer, Failure>>>,
}

impl Model for Script {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn result_bytes_max(&self) -> usize {
        2048
    }

    fn reserve_micro_usd(&self, _: &Request) -> Option<u64> {
        None
    }

    fn generate<'a>(&'a self, _: &'a Request, _: &'a PieceSink, _: Instant) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move { lock(&self.outcomes).remove(0) }.boxed()
    }
}

fn answer(text: &str) -> Answer {
    Answer {
        text: text.into(),
        calls: vec![ToolCall {
            id: "c1".into(),
            name: "filesystem.read".into(),
            arguments: json!({"z": 1, "a": [true]}),
            misfit: None,
        }],
        dropped: 0,
        reasoning: None,
        stop: StopReason::Calls,
        usage: Usage { input: Some(10), output: Some(3), ..Usage::default() },
        model: "local/qwen".parse().unwrap(),
        cost_micro_usd: Some(7),
        warning: None,
    }
}

fn busy() -> Failure {
    Failure::new(Kind::Overloaded { retry_after_ms: Some(5) }, "busy", "wait")
}

fn at(execution: &str, turn: u32, attempt: u32) -> Request {
    let mut request = ask(&format!("turn {turn} of the work"));
    request.tag = Tag { execution: execution.into(), iteration: 1, turn, attempt };
    request
}

async fn play(model: &dyn Model, request: &Request) -> Result<Answer, Failure> {
    model.generate(request, &PieceSink::none(), Instant::now()).await
}

async fn record(path: &Path, execution: &str) {
    let outcomes = vec![Err(busy()), Ok(answer("one")), Ok(answer("two"))];
    let script = Script { name: "local/qwen".parse().unwrap(), outcomes: Mutex::new(outcomes) };
    let model = RecordingModel::new(Arc::new(script), Arc::new(CassetteWriter::create(path).unwrap()));
    assert_eq!(play(&model, &at(execution, 1, 1)).await, Err(busy()));
    assert_eq!(play(&model, &at(execution, 1, 2)).await, Ok(answer("one")));
    assert_eq!(play(&model, &at(execution, 2, 1)).await, Ok(answer("two")));
}

#[tokio::test]
async fn two_recordings_of_the_same_run_are_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one.jsonl"), folder.path().join("two.jsonl"));
    record(&one, "exe_a").await;
    record(&two, "exe_b").await;
    let text = std::fs::read_to_string(&one).unwrap();
    assert_eq!(text, std::fs::read_to_string(&two).unwrap());
    insta::assert_snapshot!(text.replace(&at("", 1, 1).hash(), "HASH 1").replace(&at("", 2, 1).hash(), "HASH 2"));
}

#[tokio::test]
async fn a_replay_gives_the_recorded_answers_and_says_that_it_is_a_cassette() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("first light.jsonl");
    record(&path, "exe_a").await;
    let cassette = Cassette::open(&path).unwrap();
    assert_eq!(cassette.name().to_string(), "cassette/first_light");
    assert_eq!(cassette.result_bytes_max(), 2048);
    let played = |text: &str| {
        Ok(Answer { model: "cassette/local/qwen".parse().unwrap(), cost_micro_usd: Some(0), ..answer(text) })
    };
    assert_eq!(play(&cassette, &at("exe_x", 1, 1)).await, Err(busy()));
    assert_eq!(play(&cassette, &at("exe_x", 1, 2)).await, played("one"));
    assert_eq!(play(&cassette, &at("exe_x", 1, 3)).await, played("one"), "an answer that was lost is given again");
    assert_eq!(play(&cassette, &at("exe_x", 2, 1)).await, played("two"));
    let ended = play(&cassette, &at("exe_x", 3, 1)).await.unwrap_err();
    assert_eq!(ended.kind, Kind::CassetteEnded);
    assert!(ended.sentence.contains("turn 3 of iteration 1") && ended.hint.contains("record:"), "{ended}");

    let mut other = at("exe_x", 2, 1);
    other.messages.push(Message::User { text: "something else".into() });
    let warned = play(&cassette, &other).await.unwrap();
    assert!(warned.warning.unwrap().contains("differs"));
}

#[tokio::test]
async fn an_execution_finds_its_seat_by_what_it_asks_whatever_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.jsonl");
    let tape = Arc::new(CassetteWriter::create(&path).unwrap());
    let work = |name: &str, turn: u32| {
        let mut request = at(name, turn, 1);
        request.system = format!("You do {name}.");
        request
    };
    for name in ["tea", "coffee"] {
        let outcomes = Mutex::new(vec![Ok(answer(name)), Ok(answer(&format!("more {name}")))]);
        let script = Script { name: "local/qwen".parse().unwrap(), outcomes };
        let model = RecordingModel::new(Arc::new(script), tape.clone());
        for turn in [1, 2] {
            play(&model, &work(name, turn)).await.unwrap();
        }
    }
    let again = |name: &str, execution: &str, turn: u32| {
        let mut request = work(name, turn);
        request.tag.execution = execution.into();
        request
    };
    let cassette = Cassette::open(&path).unwrap();
    assert_eq!(play(&cassette, &again("coffee", "x", 2)).await.unwrap().text, "more coffee", "after a restart");
    assert_eq!(play(&cassette, &again("tea", "y", 1)).await.unwrap().text, "tea");
    assert_eq!(play(&cassette, &again("tea", "z", 1)).await.unwrap().text, "tea", "the same question once more");
    let strange = play(&cassette, &again("beer", "w", 1)).await.unwrap_err();
    assert_eq!(strange.kind, Kind::CassetteEnded, "no seat is left for work that was never recorded");
}

#[test]
fn a_file_that_is_no_cassette_is_refused_with_its_line_and_a_recording_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.jsonl");
    let refused = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Cassette::open(&path).err().expect("must be refused").to_string()
    };
    assert!(refused("").contains("line 1"));
    assert!(refused("{\"hello\":1}\n").contains("line 1"));
    assert!(refused("{\"cassette\":99}\n").contains("version 99"));
    assert!(refused("{\"cassette\":1}\n{\"execution\":1}\n").contains("line 2"));
    assert!(refused("{\"cassette\":1}").contains("cut"));
    assert!(matches!(CassetteWriter::create(&path), Err(Error::Exists(_))));
    assert!(matches!(Cassette::open(&folder.path().join("none")), Err(Error::Io { .. })));
}
