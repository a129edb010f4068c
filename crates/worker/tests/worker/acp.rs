//! Agents of others by the Agent Client Protocol: a scripted one in a real jail, which asks its client for all that one can give.
use crate::hooks::Hosted;
use crate::house::{House, await_none, processes};
use serde_json::{Value, json};
use tenure_core::call::Outcome;
use tenure_wire::frame::{CallOutcome, FromWorker, ToWorker};
use tenure_wire::stream::FromProgram;

const AGENT: &str = include_str!("fixture/acp_agent.py");

async fn agent(faults: &[&str]) -> Hosted {
    let mut hosted = Hosted::with(&[("acp_agent.py", AGENT)]).await;
    let command = [&["python3", "acp_agent.py"], faults].concat();
    hosted.start("acp", &command).await;
    hosted
}

fn new_session() -> Value {
    json!({"session": null, "mode": null, "mcp": false})
}

/// In the mode in which it asks.
async fn asking_agent(faults: &[&str]) -> Hosted {
    let mut hosted = agent(faults).await;
    hosted.done("init", json!({})).await;
    let started = hosted.done("start", json!({"session": null, "mode": "default", "mcp": true})).await;
    assert_eq!(started, json!({"session": "ses_1", "loaded": false, "mode": "default"}));
    hosted
}

/// What a prompt came to, which ended well.
async fn prompted(hosted: &mut Hosted, input: &str) -> String {
    let call = hosted.message(input);
    let outcome = hosted.house.perform(&call).await;
    assert_eq!(outcome.result["stop_reason"], "end_turn", "{outcome:?}");
    outcome.result["output"].as_str().unwrap().to_owned()
}

/// The same, with one request of the agent's answered: the request, and what it came to.
async fn answered(hosted: &mut Hosted, input: &str, status: u16, answer: Value) -> (String, Value, String) {
    let call = hosted.message(input);
    hosted.house.begin(&call).await;
    let (number, open, body) = hosted.stream().await;
    hosted.answer(number, status, &answer).await;
    let outcome = hosted.house.outcome(call.lease).await;
    assert_eq!(outcome.result["stop_reason"], "end_turn", "{outcome:?}");
    (open.path, body["params"].clone(), outcome.result["output"].as_str().unwrap().to_owned())
}

fn code(outcome: &CallOutcome) -> &str {
    let Outcome::Failed { code } = &outcome.outcome else { panic!("{outcome:?}") };
    code
}

#[tokio::test]
async fn a_prompt_is_answered_in_pieces_that_are_shown_as_they_come() {
    let mut hosted = asking_agent(&[]).await;
    let run = hosted.run;
    hosted.house.printed(run, r#""url": "http://127.0.0.1:7899/mcp""#).await;
    let call = hosted.message("say grüezi mitenand");
    hosted.house.begin(&call).await;
    hosted.house.printed(call.lease, "[tool] Looking: completed\n").await;
    let outcome = hosted.house.outcome(call.lease).await;
    assert_eq!(outcome.outcome, Outcome::Done { exit_code: None });
    assert_eq!(outcome.result, json!({"output": "grüezi mitenand", "stop_reason": "end_turn"}));
    let health = hosted.done("health", json!({})).await;
    assert!(health["answer"].is_null() && health["measured"]["memory_bytes"].as_u64().unwrap() > 0, "{health}");
    for hook in ["upgrade", "save", "restore", "error"] {
        assert_eq!(hosted.done(hook, json!({})).await["absent"], true, "{hook}");
    }
    let wrong = hosted.message("dance");
    let (failed, result) = hosted.failed(&wrong).await;
    assert_eq!((failed.as_str(), &result["rpc"]["message"]), ("hook_failed", &json!("no such prompt")));
    hosted.done("shutdown", json!({"why": "enough"})).await;
    assert_eq!(hosted.ended().await.outcome, Outcome::Done { exit_code: Some(0) });
}

#[tokio::test]
async fn an_agent_that_stays_after_its_stdin_ends_is_killed() {
    let mut hosted = asking_agent(&["stays"]).await;
    assert!(!processes("acp_agent.py stays").is_empty(), "the control: it runs");
    hosted.done("shutdown", json!({"why": "enough"})).await;
    assert_eq!(hosted.ended().await.outcome, Outcome::Done { exit_code: Some(137) });
    await_none("acp_agent.py stays");
}

#[tokio::test]
async fn an_earlier_session_is_loaded_and_what_it_tells_again_is_no_answer() {
    let mut hosted = agent(&[]).await;
    hosted.done("init", json!({})).await;
    let started = hosted.done("start", json!({"session": "ses_old", "mode": null, "mcp": false})).await;
    assert_eq!(started, json!({"session": "ses_old", "loaded": true, "mode": "auto"}));
    assert_eq!(prompted(&mut hosted, "history").await, "loaded history");
    let mut forgets = agent(&["forgets"]).await;
    forgets.done("init", json!({})).await;
    let outcome = forgets.ask("start", json!({"session": "ses_old", "mode": null, "mcp": false})).await;
    assert_eq!(code(&outcome), "cannot_load");
    forgets.done("start", new_session()).await;
}

#[tokio::test]
async fn a_mode_is_set_only_where_the_agent_names_it_takes_it_and_stays_in_it() {
    let mut hosted = agent(&[]).await;
    let early = hosted.ask("start", new_session()).await;
    assert_eq!(code(&early), "not_initialized");
    hosted.done("init", json!({})).await;
    let unknown = hosted.ask("start", json!({"session": null, "mode": "plan", "mcp": false})).await;
    assert_eq!(code(&unknown), "unknown_mode");
    assert!(unknown.result["error"].as_str().unwrap().contains("auto, default"), "{unknown:?}");

    // By whichever of the protocol's ways it says what it is in.
    for (faults, code) in [
        (&["unnamed"][..], None),
        (&["options"][..], None),
        (&["lies"][..], Some("mode_changed")),
        (&["lies", "unnamed"][..], Some("mode_changed")),
        (&["lies", "options"][..], Some("mode_changed")),
        (&["silent"][..], Some("unknown_mode")),
    ] {
        let mut tried = agent(faults).await;
        tried.done("init", json!({})).await;
        let told = tried.ask("start", json!({"session": null, "mode": "default", "mcp": false})).await;
        match code {
            Some(wanted) => assert_eq!(self::code(&told), wanted, "{faults:?}"),
            None => assert_eq!(told.result["mode"], "default", "{faults:?}: {told:?}"),
        }
    }

    let mut turns = asking_agent(&[]).await;
    let call = turns.message("turn auto");
    let outcome = turns.house.perform(&call).await;
    assert_eq!(code(&outcome), "mode_changed");
    assert!(outcome.result["error"].as_str().unwrap().contains("`auto`"), "{outcome:?}");
    let mut free = agent(&[]).await;
    free.done("init", json!({})).await;
    free.done("start", new_session()).await;
    let call = tenure_wire::frame::LeasedCall { deadline_ms: 1_000, ..free.message("turn default") };
    let outcome = free.house.perform(&call).await;
    assert_eq!(outcome.outcome, Outcome::TimedOut, "the control: where no mode is wanted, none is wrong");
}

#[tokio::test]
async fn a_version_or_tools_that_do_not_fit_are_said() {
    let mut newer = agent(&["new"]).await;
    let outcome = newer.ask("init", json!({})).await;
    assert_eq!(code(&outcome), "protocol");
    let mut alone = agent(&["no-mcp"]).await;
    alone.done("init", json!({})).await;
    let outcome = alone.ask("start", json!({"session": null, "mode": null, "mcp": true})).await;
    assert_eq!(code(&outcome), "no_mcp");
    alone.done("start", new_session()).await;
}

#[tokio::test]
async fn a_permission_is_asked_of_the_daemon_and_only_what_was_offered_can_be_chosen() {
    let mut hosted = asking_agent(&[]).await;
    let (path, asked, told) = answered(&mut hosted, "ask rm -rf x", 200, json!({"option_id": "yes"})).await;
    assert_eq!(path, "/v1/agent/permission");
    assert_eq!(asked["tool_call"]["rawInput"], json!({"command": "rm -rf x"}), "without what names this asking alone");
    assert_eq!(asked["options"][1]["optionId"], "no");
    assert_eq!(told, r#"{"outcome": {"outcome": "selected", "optionId": "yes"}}"#);
    for (status, answer) in [
        (200, json!({"option_id": "always"})),
        (200, json!({"cancelled": true})),
        (403, json!({"detail": "no", "option_id": "yes"})),
        (200, json!("yes")),
    ] {
        let (.., told) = answered(&mut hosted, "ask rm", status, answer.clone()).await;
        assert_eq!(told, r#"{"outcome": {"outcome": "cancelled"}}"#, "{answer}");
    }
    let call = hosted.message("ask for ever");
    hosted.house.begin(&call).await;
    let (number, ..) = hosted.stream().await;
    hosted.house.send(&ToWorker::Cancel { lease: call.lease }).await;
    assert_eq!(hosted.house.outcome(call.lease).await.outcome, Outcome::Killed);
    closed(&mut hosted.house, number).await;
}

async fn closed(house: &mut House, number: u64) {
    house
        .until(|frame| match frame {
            FromWorker::Stream { stream, part: FromProgram::Close } if *stream == number => Some(()),
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn files_and_terminals_of_the_agent_are_calls_of_capabilities() {
    let mut hosted = asking_agent(&[]).await;
    let content = json!({"content": "a\nb\nc\n", "size": 6, "encoding": "utf-8"});
    let (path, asked, told) = answered(&mut hosted, "read /workspace/x", 200, content).await;
    assert_eq!(path, "/v1/agent/capability.invoke");
    assert_eq!(asked["capability"], "filesystem.read");
    assert_eq!(asked["arguments"]["path"], "/workspace/x");
    assert_eq!(told, r#"{"content": "b\n"}"#);
    let (_, asked, told) = answered(&mut hosted, "write /workspace/y", 200, json!({"result": {"size": 3}})).await;
    let arguments = json!({"path": "/workspace/y", "content": "new"});
    assert_eq!(asked, json!({"capability": "filesystem.write", "arguments": arguments}));
    assert_eq!(told, "{}");
    let (.., told) = answered(&mut hosted, "write /etc/x", 403, json!({"detail": "no policy lets it"})).await;
    assert_eq!(told, r#""refused: no policy lets it""#);

    let ran = json!({"exit_code": 3, "signal": null, "stdout": "out\n", "stderr": "err\n"});
    let (_, asked, told) = answered(&mut hosted, "run echo out", 200, ran).await;
    let arguments = json!({"command": "sh", "args": ["-c", "echo out"]});
    assert_eq!(asked, json!({"capability": "process.run", "arguments": arguments}));
    let status = r#"{"exitCode": 3, "signal": null}"#;
    let output = format!(r#"{{"output": "out\nerr\n", "truncated": false, "exitStatus": {status}}}"#);
    assert!(told.starts_with(&format!("{status}{output}{{}}")) && told.contains("there is no terminal"), "{told}");

    let call = hosted.message("kill sleep 60");
    hosted.house.begin(&call).await;
    let outcome = hosted.house.outcome(call.lease).await;
    assert_eq!(outcome.result["output"], r#"{"exitCode": null, "signal": "SIGKILL"}"#);
}

#[tokio::test]
async fn a_prompt_that_is_taken_back_ends_and_the_next_one_is_answered() {
    let mut hosted = asking_agent(&[]).await;
    let run = hosted.run;
    let call = hosted.message("wait");
    hosted.house.begin(&call).await;
    hosted.house.printed(run, "waiting\n").await;
    hosted.house.send(&ToWorker::Cancel { lease: call.lease }).await;
    assert_eq!(hosted.house.outcome(call.lease).await.outcome, Outcome::Killed);
    assert_eq!(prompted(&mut hosted, "say on").await, "on");
}

#[tokio::test]
async fn an_agent_that_asks_for_nonsense_is_answered_and_harms_nothing() {
    let mut hosted = asking_agent(&[]).await;
    let call = hosted.message("oddly");
    hosted.house.begin(&call).await;
    // What can be passed on is the daemon's to refuse.
    let outcome = loop {
        let next = hosted.house.until(|frame| match frame {
            FromWorker::Stream { stream, part: FromProgram::End } => Some(Ok(*stream)),
            FromWorker::Outcome(outcome) => Some(Err((**outcome).clone())),
            _ => None,
        });
        match next.await {
            Ok(stream) => hosted.answer(stream, 400, &json!({"detail": "nonsense"})).await,
            Err(outcome) => break outcome,
        }
    };
    let output = outcome.result["output"].as_str().unwrap();
    assert_eq!(output.matches(r#""cancelled""#).count(), 3, "{outcome:?}");
    assert!(output.contains("a file has a `path`") && output.contains("a terminal has a `command`"), "{output}");
    assert_eq!(prompted(&mut hosted, "say on").await, "on", "the control: it lives on");
}
