//! Code agents by the protocol `hooks`, with real programs in real jails: each hook, and programs that are slow, die, lie and ask.
use crate::house::{House, await_none, processes};
use serde_json::{Value, json};
use tenure_core::call::Outcome;
use tenure_core::id::LeaseId;
use tenure_wire::frame::{CallOutcome, FromWorker, LeasedCall, ToWorker};
use tenure_wire::stream::{FromProgram, OpenStream, ToProgram, WINDOW, part, room};

const AGENT: &str = include_str!("fixture/agent.py");

/// A jail in which a code agent's program runs.
pub(crate) struct Hosted {
    pub(crate) house: House,
    pub(crate) run: LeaseId,
}

impl Hosted {
    /// The files lie in its work folder; the program is not started yet.
    pub(crate) async fn with(files: &[(&str, &str)]) -> Hosted {
        let mut house = House::new().await;
        for (path, content) in files {
            house.does("filesystem.write", json!({"path": path, "content": content})).await;
        }
        let run = house.call("hook.run", json!({})).lease;
        Hosted { house, run }
    }

    pub(crate) async fn start(&mut self, protocol: &str, command: &[&str]) {
        let mut call = self.house.call("hook.run", json!({"protocol": protocol, "command": command}));
        // As the daemon asks it: for good.
        call.deadline_ms = 10 * 365 * 24 * 3600 * 1000;
        // A whole language starts in it.
        call.confinement.memory_bytes = 1 << 30;
        self.run = call.lease;
        self.house.begin(&call).await;
    }

    /// `agent.py`, started and greeted.
    async fn agent(mark: &str) -> Hosted {
        let mut hosted = Hosted::with(&[("agent.py", AGENT)]).await;
        hosted.start("hooks", &["python3", "agent.py", mark]).await;
        hosted.done("init", json!({"agent": "a", "version": "1.0.0"})).await;
        hosted.done("start", json!({})).await;
        hosted
    }

    pub(crate) fn hook(&mut self, hook: &str, arguments: Value) -> LeasedCall {
        let mut call = self.house.call(&format!("hook.{hook}"), arguments);
        call.confinement.memory_bytes = 1 << 30;
        call
    }

    pub(crate) fn message(&mut self, input: &str) -> LeasedCall {
        self.hook("message", json!({"id": "msg_1", "attempt": 1, "input": input}))
    }

    pub(crate) async fn ask(&mut self, hook: &str, arguments: Value) -> CallOutcome {
        let call = self.hook(hook, arguments);
        self.house.perform(&call).await
    }

    pub(crate) async fn done(&mut self, hook: &str, arguments: Value) -> Value {
        let outcome = self.ask(hook, arguments).await;
        assert_eq!(outcome.outcome, Outcome::Done { exit_code: None }, "{hook}: {outcome:?}");
        outcome.result
    }

    pub(crate) async fn failed(&mut self, call: &LeasedCall) -> (String, Value) {
        let outcome = self.house.perform(call).await;
        let Outcome::Failed { code } = outcome.outcome else { panic!("{outcome:?}") };
        (code, outcome.result)
    }

    pub(crate) async fn ended(&mut self) -> CallOutcome {
        let run = self.run;
        self.house.outcome(run).await
    }

    /// The next request of the program to its daemon, whole.
    pub(crate) async fn stream(&mut self) -> (u64, OpenStream, Value) {
        let (number, open) = self
            .house
            .until(|frame| match frame {
                FromWorker::Stream { stream, part: FromProgram::Open(open) } => Some((*stream, (**open).clone())),
                _ => None,
            })
            .await;
        let mut body = String::new();
        // Room is given back as the daemon does it.
        while let Some(text) = self.part(number).await {
            body.push_str(&text);
            self.house.send(&ToWorker::Stream { stream: number, part: ToProgram::Credit { room: room(&text) } }).await;
        }
        (number, open, serde_json::from_str(&body).unwrap())
    }

    /// Of a request's body; None at its end.
    async fn part(&mut self, number: u64) -> Option<String> {
        self.house
            .until(|frame| match frame {
                FromWorker::Stream { stream, part: FromProgram::Data { text } } if *stream == number => {
                    Some(Some(text.clone()))
                }
                FromWorker::Stream { stream, part: FromProgram::End } if *stream == number => Some(None),
                _ => None,
            })
            .await
    }

    async fn credit(&mut self, number: u64) -> usize {
        self.house
            .until(|frame| match frame {
                FromWorker::Stream { stream, part: FromProgram::Credit { room } } if *stream == number => Some(*room),
                _ => None,
            })
            .await
    }

    pub(crate) async fn answer(&mut self, stream: u64, status: u16, body: &Value) {
        let head = ToProgram::Head { status, headers: Default::default() };
        self.house.send(&ToWorker::Stream { stream, part: head }).await;
        let (text, mut left) = (body.to_string(), WINDOW);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (first, after) = part(rest);
            while left < room(first) {
                left += self.credit(stream).await;
            }
            left -= room(first);
            self.house.send(&ToWorker::Stream { stream, part: ToProgram::Data { text: first.to_owned() } }).await;
            rest = after;
        }
        self.house.send(&ToWorker::Stream { stream, part: ToProgram::End }).await;
    }
}

fn said(outcome: &CallOutcome) -> &str {
    outcome.result["error"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn each_hook_is_asked_of_the_one_program_and_what_it_prints_for_people_is_its_log() {
    let mut hosted = Hosted::with(&[("agent.py", AGENT)]).await;
    hosted.start("hooks", &["python3", "agent.py"]).await;
    let init = json!({"agent": "a", "version": "1.0.0", "instance": "ins_1", "provides": ["x"], "deadlines": {}});
    let answered = hosted.done("init", init.clone()).await;
    assert_eq!(answered, json!({"answer": {"hook": "init", "params": init}}));
    let run = hosted.run;
    hosted.house.printed(run, "hook init\n").await;
    hosted.house.printed(run, "[warn] logged init\n").await;
    assert_eq!(hosted.done("start", json!({})).await["answer"]["hook"], "start");
    let message = json!({"id": "msg_1", "attempt": 2, "input": "grüezi"});
    assert_eq!(hosted.done("message", message).await, json!({"answer": {"said": "grüezi", "attempt": 2}}));
    let health = hosted.done("health", json!({})).await;
    assert_eq!(health["answer"]["status"], "healthy");
    for figure in ["memory_bytes", "processes", "uptime_ms"] {
        assert!(health["measured"][figure].as_u64().unwrap() > 0, "{health}");
    }
    assert!(health["measured"]["cpu_ms"].is_u64(), "{health}");
    let none = json!({"answer": null, "absent": true});
    assert_eq!(hosted.done("upgrade", json!({"from": "0.9.0"})).await, none);
    assert_eq!(hosted.done("error", json!({"error": {}, "message": "msg_1"})).await, none);
    let saved = hosted.done("save", json!({})).await;
    assert_eq!(saved, json!({"answer": {"seen": ["msg_1"]}}));
    hosted.done("restore", json!({"state": {"seen": ["another"]}})).await;
    assert_eq!(hosted.done("save", json!({})).await, json!({"answer": {"seen": ["another"]}}));
    assert_eq!(hosted.done("shutdown", json!({"why": "enough"})).await, json!({"answer": "bye"}));
    let ended = hosted.ended().await;
    assert_eq!(ended.outcome, Outcome::Done { exit_code: Some(0) });
    assert!(ended.result["said"].as_str().unwrap().contains("hook start"), "{ended:?}");

    let late = hosted.message("too late");
    assert_eq!(hosted.failed(&late).await.0, "not_running");
    hosted.start("hooks", &["python3", "agent.py"]).await;
    assert_eq!(
        hosted.done("start", json!({})).await["answer"]["hook"],
        "start",
        "it has another life in the same jail"
    );
    let second = hosted.hook("run", json!({"protocol": "hooks", "command": ["true"]}));
    assert_eq!(hosted.failed(&second).await.0, "already_running");
}

#[tokio::test]
async fn a_hook_that_comes_first_waits_for_the_program_and_without_one_is_told_so_when_its_time_is_over() {
    let mut hosted = Hosted::with(&[("agent.py", AGENT)]).await;
    let alone = LeasedCall { deadline_ms: 200, ..hosted.hook("start", json!({})) };
    assert_eq!(hosted.failed(&alone).await.0, "not_running");
    let early = hosted.hook("start", json!({}));
    hosted.house.begin(&early).await;
    hosted.start("hooks", &["python3", "agent.py"]).await;
    let outcome = hosted.house.outcome(early.lease).await;
    assert_eq!(outcome.result["answer"]["hook"], "start", "{outcome:?}");
    let mut none = Hosted::with(&[]).await;
    none.start("hooks", &["no-such-program"]).await;
    let (ended, early) = (none.ended().await, none.hook("start", json!({})));
    assert_eq!(ended.outcome, Outcome::Failed { code: "not_found".to_owned() });
    assert_eq!(none.failed(&early).await.0, "not_running");
}

#[tokio::test]
async fn a_hook_past_its_time_or_taken_back_ends_and_the_program_is_told_and_lives_on() {
    let mut hosted = Hosted::agent("late").await;
    let run = hosted.run;
    let short = LeasedCall { deadline_ms: 300, ..hosted.message("never") };
    let outcome = hosted.house.perform(&short).await;
    assert_eq!(outcome.outcome, Outcome::TimedOut, "{outcome:?}");
    hosted.house.printed(run, "told to stop 3\n").await;
    let endless = hosted.message("never");
    hosted.house.begin(&endless).await;
    hosted.house.printed(run, "took 4\n").await;
    hosted.house.send(&ToWorker::Cancel { lease: endless.lease }).await;
    let outcome = hosted.house.outcome(endless.lease).await;
    assert_eq!(outcome.outcome, Outcome::Killed, "{outcome:?}");
    hosted.house.printed(run, "told to stop 4\n").await;
    hosted.done("message", json!({"id": "m", "attempt": 1, "input": "the control: it still answers"})).await;
}

#[tokio::test]
async fn a_program_that_dies_in_a_hook_ends_it_first_with_its_last_words_and_then_its_run() {
    let mut hosted = Hosted::agent("dies").await;
    let (open, fatal) = (hosted.message("never"), hosted.message("die"));
    hosted.house.begin(&open).await;
    hosted.house.begin(&fatal).await;
    let mut order = Vec::new();
    while order.len() < 3 {
        let next = hosted.house.until(|frame| match frame {
            FromWorker::Outcome(outcome) => Some((**outcome).clone()),
            _ => None,
        });
        order.push(next.await);
    }
    for hook in &order[..2] {
        assert_eq!(hook.outcome, Outcome::Failed { code: "program_ended".to_owned() }, "{hook:?}");
        for words in ["message", "exit code 3", "these are my last words"] {
            assert!(said(hook).contains(words), "{hook:?}");
        }
    }
    assert_eq!((order[2].lease, &order[2].outcome), (hosted.run, &Outcome::Done { exit_code: Some(3) }));
    assert!(order[2].result["said"].as_str().unwrap().ends_with("these are my last words"));
}

#[tokio::test]
async fn an_error_of_the_program_is_the_hooks_with_all_that_it_says() {
    let mut hosted = Hosted::agent("errs").await;
    let fails = hosted.message("fail today");
    let (code, result) = hosted.failed(&fails).await;
    assert_eq!(code, "hook_failed");
    let rpc = json!({"code": -32050, "message": "it cannot be done", "data": {"why": "today"}});
    assert_eq!(result["rpc"], rpc);
    assert!(result["error"].as_str().unwrap().contains("it cannot be done"), "{result}");
}

#[tokio::test]
async fn lines_that_are_no_messages_are_shown_and_one_too_many_ends_the_program() {
    let mut hosted = Hosted::agent("rubbish").await;
    let run = hosted.run;
    let most = hosted.message("rubbish 32");
    let outcome = hosted.house.perform(&most).await;
    assert_eq!(outcome.result["answer"], "there was rubbish", "the control: so many are borne");
    hosted.house.printed(run, "rubbish 31").await;
    let more = hosted.message("rubbish 1");
    hosted.house.begin(&more).await;
    let ended = hosted.ended().await;
    assert_eq!(ended.outcome, Outcome::Failed { code: "protocol_broken".to_owned() }, "{ended:?}");
    assert!(said(&ended).contains("more than 32"), "{ended:?}");
    await_none("agent.py rubbish");
}

#[tokio::test]
async fn a_run_that_is_taken_back_kills_its_program_and_a_signal_reads_as_in_a_shell() {
    let mut hosted = Hosted::agent("taken").await;
    assert!(!processes("agent.py taken").is_empty(), "the control: it runs");
    let run = hosted.run;
    hosted.house.send(&ToWorker::Cancel { lease: run }).await;
    assert_eq!(hosted.ended().await.outcome, Outcome::Killed);
    await_none("agent.py taken");
    hosted.start("hooks", &["sh", "-c", "echo gone >&2; kill -9 $$"]).await;
    let ended = hosted.ended().await;
    assert_eq!(ended.outcome, Outcome::Done { exit_code: Some(137) }, "{ended:?}");
    assert_eq!(ended.result, json!({"exit_code": 137, "said": "gone"}));
}

#[tokio::test]
async fn a_program_that_stays_after_its_shutdown_is_killed() {
    let mut hosted = Hosted::agent("stays").await;
    assert_eq!(hosted.done("shutdown", json!({"why": "linger"})).await, json!({"answer": "bye"}));
    assert_eq!(hosted.ended().await.outcome, Outcome::Done { exit_code: Some(137) });
    await_none("agent.py stays");
}

#[tokio::test]
async fn what_a_program_asks_is_the_daemons_to_answer_or_refuse_and_nothing_else_gets_there() {
    let mut hosted = Hosted::agent("asks").await;
    // Both ways it is longer than the window of a stream.
    let long = "é".repeat(2 * WINDOW);
    let arguments = json!({"path": "x", "content": long});
    let params = json!({"capability": "filesystem.write", "arguments": arguments, "message": "msg_1", "ordinal": 1});
    let asks = hosted.message(&format!("ask capability.invoke {params}"));
    hosted.house.begin(&asks).await;
    let (number, open, body) = hosted.stream().await;
    assert_eq!((open.method.as_str(), open.path.as_str()), ("POST", "/v1/agent/capability.invoke"));
    assert_eq!((open.holder, open.iteration), (hosted.house.run.holder, hosted.house.run.iteration));
    assert_eq!(body, json!({ "params": params }));
    hosted.answer(number, 200, &json!({"content": long})).await;
    let outcome = hosted.house.outcome(asks.lease).await;
    assert_eq!(outcome.result["answer"], json!({"told": {"content": long}, "error": null}));

    let refused = hosted.message(r#"ask comms.send {"to": "b"}"#);
    hosted.house.begin(&refused).await;
    let (number, open, _) = hosted.stream().await;
    assert_eq!(open.path, "/v1/agent/comms.send");
    let problem = json!({"title": "Denied", "detail": "no policy lets it", "code": "policy"});
    hosted.answer(number, 403, &problem).await;
    let outcome = hosted.house.outcome(refused.lease).await;
    let error = json!({"code": -32000, "message": "no policy lets it", "data": problem});
    assert_eq!(outcome.result["answer"]["error"], error);

    let foreign = hosted.message("ask permission {}");
    let outcome = hosted.house.perform(&foreign).await;
    assert_eq!(outcome.result["answer"]["error"]["code"], -32601, "{outcome:?}");
    let log = hosted.message(r#"ask log {"level": "info", "text": "a wish"}"#);
    let outcome = hosted.house.perform(&log).await;
    assert_eq!(outcome.result["answer"], json!({"told": null, "error": null}));
    let run = hosted.run;
    hosted.house.printed(run, "[info] a wish\n").await;
    let unexpected =
        hosted.house.aside.iter().any(|frame| matches!(frame, FromWorker::Stream { part: FromProgram::Open(_), .. }));
    assert!(!unexpected, "nothing of these went to the daemon");
}

#[tokio::test]
async fn only_so_many_callbacks_are_open_at_a_time_and_those_of_a_dead_program_are_closed() {
    let mut hosted = Hosted::agent("floods").await;
    let many = hosted.message("many 33");
    let outcome = hosted.house.perform(&many).await;
    assert_eq!(outcome.result["answer"], "one was refused at once");
    let run = hosted.run;
    hosted.house.send(&ToWorker::Cancel { lease: run }).await;
    assert_eq!(hosted.ended().await.outcome, Outcome::Killed);
    let mut closed = std::collections::BTreeSet::new();
    while closed.len() < 32 {
        let next = hosted.house.until(|frame| match frame {
            FromWorker::Stream { stream, part: FromProgram::Close } => Some(*stream),
            _ => None,
        });
        closed.insert(next.await);
    }
    let opened = hosted.house.aside.iter().filter_map(|frame| match frame {
        FromWorker::Stream { stream, part: FromProgram::Open(_) } => Some(*stream),
        _ => None,
    });
    assert_eq!(opened.collect::<std::collections::BTreeSet<u64>>(), closed, "each that was opened, and no other");
}
