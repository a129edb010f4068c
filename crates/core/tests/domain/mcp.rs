//! What tools an agent's MCP servers have is asked by calls of its iteration, before its model is.
use crate::office::{Office, plan};
use tenure_core::call::Outcome;
use tenure_core::execution::{self, Event, Step};
use tenure_core::plan::{McpAt, McpServer, Plan};

fn server(name: &str) -> McpServer {
    McpServer { name: name.to_string(), at: McpAt::Command(vec!["server".to_string()]), login: None }
}

/// An iteration that asks one server.
pub fn every_kind(office: &mut Office) {
    let with = Plan { mcp: vec![server("post")], ..plan(1) };
    office.deploy_plan("clerk", &with, "with a server").expect("a changed manifest");
    office.execution = office.world.execution_id();
    let start = office.start();
    office.must(start);
    let bind = office.bind();
    office.must(bind);
    let end = office.end_call(Outcome::Done { exit_code: None });
    office.must(end);
    office.must(execution::Command::Cancel { why: "enough".into() });
    let release = office.release();
    office.must(release);
    office.deploy_plan("clerk", &plan(1), "without a server").expect("a changed manifest");
}

fn office() -> Office {
    let mut office = Office::new(0);
    let plan = Plan { mcp: vec![server("post"), server("gone")], ..plan(0) };
    office.deploy_plan("clerk", &plan, "with servers").expect("a new revision");
    let start = office.start();
    office.must(start);
    office
}

#[test]
fn an_iteration_begins_by_asking_its_servers_and_its_model_waits_for_their_answers() {
    let mut office = office();
    let bind = office.bind();
    let events = office.apply(bind).expect("it is bound");
    let asked = events
        .iter()
        .filter(|event| matches!(event, tenure_core::aggregate::Event::Execution(Event::ToolsAsked { .. })));
    assert_eq!(asked.count(), 1);
    let open = office.open_calls();
    let names: Vec<&str> = open.iter().map(|call| call.capability.as_str()).collect();
    assert_eq!(names, ["mcp.post.tools/list", "mcp.gone.tools/list"]);
    assert!(open.iter().all(|call| call.lease().is_some() && call.idempotent), "both are called at once");
    let early = office.call_model();
    assert!(office.apply(early).is_err(), "its model is not asked yet");
    let lost = office.end_call(Outcome::Lost { again: true });
    office.must(lost);
    assert_eq!(office.open_calls().len(), 2, "one that was lost comes again");
    for outcome in [Outcome::Done { exit_code: None }, Outcome::Failed { code: "not_found".to_string() }] {
        let end = office.end_call(outcome);
        office.must(end);
    }
    let state = office.state().expect("it runs");
    assert_eq!(state.spent.tool_calls, 0, "what only lists is counted in no limit");
    assert!(matches!(state.iteration().map(|iteration| &iteration.step), Some(Step::Thinking { .. })));
    let call = office.call_model();
    office.must(call);
}

#[test]
fn an_agent_without_servers_is_asked_nothing() {
    let mut office = Office::new(0);
    let start = office.start();
    office.must(start);
    let bind = office.bind();
    office.must(bind);
    assert!(office.open_calls().is_empty());
}
