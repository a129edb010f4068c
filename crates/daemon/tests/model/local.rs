//! The supervisor against a stand-in program that speaks the protocol and misbehaves on request.

use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tenure_daemon::model::Model;
use tenure_daemon::model::answer::{Answer, StopReason};
use tenure_daemon::model::catalogue::Weights;
use tenure_daemon::model::failure::{Failure, Kind};
use tenure_daemon::model::local::{Local, Settings};
use tenure_daemon::model::piece::PieceSink;
use tenure_daemon::model::request::{Message, Request, Tag, Tool};
use tokio::time::Instant;

const PROGRAM: &str = include_str!("stand_in.py");
const WEIGHTS: &[u8] = b"stand-in";
/// Nothing here takes as long; a test that hangs must end all the same.
const PATIENCE: Duration = Duration::from_secs(60);

struct App {
    folder: tempfile::TempDir,
    local: Local,
}

fn app(idle: Duration) -> App {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("tenure-local-model");
    std::fs::write(&program, PROGRAM).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(folder.path().join("w.gguf"), WEIGHTS).unwrap();
    let local = Local::new(settings(program, folder.path(), idle));
    App { folder, local }
}

fn settings(program: PathBuf, folder: &Path, idle: Duration) -> Settings {
    const STAND_IN: Weights = Weights {
        name: "stand-in",
        alias: Some("local-default"),
        title: "Stand-in",
        file: "w.gguf",
        licence: "Apache-2.0",
        bytes: WEIGHTS.len() as u64,
        sha256: "",
        sources: &[],
    };
    Settings { program, folder: folder.to_owned(), weights: &STAND_IN, idle, load: PATIENCE }
}

fn say(text: &str) -> Request {
    Request {
        system: "sys".into(),
        messages: vec![Message::User { text: text.into() }],
        tools: vec![Tool {
            name: "filesystem.read".into(),
            description: "d".into(),
            schema: json!({"type": "object"}),
        }],
        max_tokens: 50,
        wishes: Default::default(),
        tag: Tag { execution: "exe".into(), iteration: 2, turn: 3, attempt: 1 },
    }
}

impl App {
    async fn ask_for(&self, text: &str, wait: Duration) -> Result<Answer, Failure> {
        self.local.generate(&say(text), &PieceSink::none(), Instant::now() + wait).await
    }

    async fn ask(&self, text: &str) -> Result<Answer, Failure> {
        self.ask_for(text, PATIENCE).await
    }

    /// What the stand-in wrote down, a line an event; waits for `wanted`.
    async fn diary_with(&self, wanted: &str) -> String {
        let path = self.folder.path().join("diary");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let diary = std::fs::read_to_string(&path).unwrap_or_default();
            if diary.contains(wanted) {
                return diary;
            }
            assert!(Instant::now() < deadline, "no `{wanted}` in {diary}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

#[tokio::test]
async fn the_program_is_started_once_answers_streams_and_sees_none_of_our_environment() {
    let app = app(PATIENCE);
    let (sender, mut reader) = tokio::sync::mpsc::channel(8);
    let deadline = Instant::now() + PATIENCE;
    let answer = app.local.generate(&say("hello"), &PieceSink::new(sender), deadline).await.unwrap();
    assert_eq!(
        (answer.text.as_str(), answer.stop, answer.cost_micro_usd),
        ("you said hello", StopReason::End, Some(0))
    );
    assert_eq!(answer.usage.cached, Some(3));
    assert_eq!(answer.model.to_string(), "local/stand-in");
    assert_eq!(reader.recv().await.as_deref(), Some("you said "));

    let calls = app.ask("call").await.unwrap();
    assert_eq!(calls.stop, StopReason::Calls);
    let ids: Vec<&str> = calls.calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["call_2_3_1", "call_2_3_2"]);
    assert_eq!(calls.calls[0].name, "filesystem.read");
    let diary = app.diary_with("hello").await;
    assert_eq!(diary.matches("start").count(), 1, "{diary}");
    assert!(diary.contains("start []"), "variables reach the program: {diary}");
}

#[tokio::test]
async fn a_program_that_dies_fails_the_call_and_is_started_again() {
    let app = app(PATIENCE);
    app.ask("hello").await.unwrap();
    let failure = app.ask("die").await.unwrap_err();
    assert_eq!(failure.kind, Kind::Transport);
    assert!(failure.retryable() && failure.sentence.contains("last words"), "{failure}");
    assert_eq!(app.ask("again").await.unwrap().text, "you said again");
    assert_eq!(app.diary_with("again").await.matches("start").count(), 2);
}

#[tokio::test]
async fn what_the_program_refuses_has_its_kind() {
    let app = app(PATIENCE);
    for (word, kind) in [
        ("fail context", Kind::ContextTooLong),
        ("fail repetition", Kind::Runaway),
        ("fail busy", Kind::Overloaded { retry_after_ms: None }),
        ("fail engine", Kind::ServerError),
    ] {
        assert_eq!(app.ask(word).await.unwrap_err().kind, kind, "{word}");
    }
    assert_eq!(app.ask("garbage").await.unwrap_err().kind, Kind::Transport, "what is no event ends that life");
}

#[tokio::test]
async fn a_late_or_dropped_question_is_cancelled_in_the_program() {
    let app = app(PATIENCE);
    // Once it runs, a question is with it at once.
    app.ask("hello").await.unwrap();
    let late = app.ask_for("sleep one", Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(late.kind, Kind::Deadline);
    app.diary_with("cancel 2").await;
    tokio::select! {
        answer = app.ask("sleep two") => panic!("{answer:?}"),
        _ = app.diary_with("asked sleep two") => {}
    }
    app.diary_with("cancel 3").await;
    assert_eq!(app.ask("after").await.unwrap().text, "you said after", "the program is still well");
}

#[tokio::test]
async fn an_idle_program_is_stopped_and_the_next_question_starts_it() {
    let app = app(Duration::from_millis(100));
    app.ask("hello").await.unwrap();
    app.diary_with("socket ended").await;
    app.ask("more").await.unwrap();
    assert_eq!(app.diary_with("more").await.matches("start").count(), 2);
}

#[tokio::test]
async fn the_program_ends_with_the_model() {
    let app = app(PATIENCE);
    app.ask("hello").await.unwrap();
    let App { folder, local } = app;
    drop(local);
    let app = App { local: Local::new(settings(PathBuf::new(), folder.path(), Duration::ZERO)), folder };
    app.diary_with("socket ended").await;
}

#[tokio::test]
async fn what_is_missing_is_said_with_the_way_out() {
    let app = app(PATIENCE);
    let folder = app.folder.path();
    std::fs::write(folder.join("w.gguf"), b"cut").unwrap();
    let cut = app.ask("hello").await.unwrap_err();
    assert!(cut.kind == Kind::NotReady && cut.hint.contains("tenure model pull local-default"), "{cut:?}");
    std::fs::remove_file(folder.join("w.gguf")).unwrap();
    let missing = app.ask("hello").await.unwrap_err();
    assert!(missing.kind == Kind::NotReady && missing.hint.contains("tenure model pull local-default"), "{missing:?}");
    std::fs::write(folder.join("w.gguf"), b"unloadab").unwrap();
    let unloadable = app.ask("hello").await.unwrap_err();
    assert!(unloadable.kind == Kind::NotReady && unloadable.sentence.contains("no GGUF"), "{unloadable:?}");
    std::fs::remove_file(folder.join("tenure-local-model")).unwrap();
    let gone = app.ask("hello").await.unwrap_err();
    assert!(gone.kind == Kind::NotReady && gone.hint.contains("TENURE_LOCAL_MODEL_BIN"), "{gone:?}");
}
