//! Agents beside agents, and executions beside executions of one agent.
use crate::office::{Office, plan};
use tenure_core::agent;
use tenure_core::aggregate::Refusal;
use tenure_core::execution;

#[test]
fn a_deleted_agents_name_is_free_once_its_last_execution_has_ended() {
    let mut office = Office::new(0);
    let start = office.start();
    office.must(start);
    let former = office.agent;
    office.delete().expect("it is deployed");
    let taken = |office: &mut Office| {
        office.agent = office.world.agent_id();
        office.deploy("CLERK", 0, "2")
    };
    assert!(matches!(taken(&mut office), Err(Refusal::Agent(agent::Refusal::Archived {}))), "an execution still ends");
    office.must(execution::Command::Cancel { why: "deleted".into() });
    taken(&mut office).expect("nobody has the name");
    assert_ne!(office.agent, former);
    let next = office.world.fold::<agent::Agent>(office.agent).expect("a new one");
    assert_eq!((next.revision, next.name.as_str()), (1, "CLERK"));
    office.agent = former;
    let restored = office.deploy("clerk", 0, "3");
    assert!(restored.is_err(), "whoever asks under its id does not get it back");
}

#[test]
fn no_more_executions_of_an_agent_begin_than_its_plan_lets_run_at_a_time() {
    for (concurrency, begun) in [(1, 1), (2, 2), (u32::MAX, 3)] {
        let mut office = Office::new(0);
        office.lapse();
        office.connect(8);
        let mut plan = plan(0);
        plan.concurrency = concurrency;
        office.deploy_plan("clerk", &plan, "2").expect("a new revision");
        let mut executions = Vec::new();
        for _ in 0..3 {
            office.execution = office.world.execution_id();
            let start = office.start();
            office.must(start);
            executions.push(office.execution);
        }
        let mut bound = Vec::new();
        for execution in &executions {
            office.execution = *execution;
            let bind = office.bind();
            match office.apply(bind) {
                Ok(_) => bound.push(*execution),
                Err(refused) => assert_eq!(refused.code(), "execution.agent_busy"),
            }
        }
        assert_eq!(bound.len(), begun, "{concurrency}");
        // One that lost its worker keeps its place, and one that ends gives it to the next.
        office.execution = bound[0];
        let unbind = office.unbind();
        office.must(unbind);
        let Some(waiting) = executions.iter().find(|execution| !bound.contains(execution)) else { continue };
        office.execution = *waiting;
        let bind = office.bind();
        assert!(office.apply(bind).is_err(), "the others are not over");
        for execution in &bound {
            office.execution = *execution;
            office.must(execution::Command::Cancel { why: "over".into() });
        }
        office.execution = *waiting;
        let bind = office.bind();
        office.must(bind);
    }
}

/// Before there was a bound, a plan had no word for it, and its revision goes on as it did.
#[test]
fn a_plan_of_the_first_version_bounds_nothing() {
    let mut stored: serde_json::Value = serde_json::from_slice(&plan(0).to_bytes()).expect("JSON");
    stored["version"] = 1.into();
    stored.as_object_mut().expect("an object").remove("concurrency");
    let read = tenure_core::plan::Plan::read(stored.to_string().as_bytes()).expect("an older plan");
    assert_eq!((read.version, read.concurrency), (1, u32::MAX));
    stored["version"] = 9.into();
    assert!(tenure_core::plan::Plan::read(stored.to_string().as_bytes()).is_err());
}

#[test]
fn an_older_revision_begins_under_its_own_plan_and_a_rollback_is_a_new_revision_of_it() {
    let mut office = Office::new(0);
    office.deploy("clerk", 2, "2").expect("a changed manifest");
    let begun = |office: &mut Office, revision: Option<u32>| {
        office.execution = office.world.execution_id();
        let execution::Command::Start(start) = office.start() else { unreachable!("it is a start") };
        office.must(execution::Command::Start(execution::Start { revision, ..start }));
        let state = office.state().expect("it has begun");
        (state.revision, state.validators)
    };
    assert_eq!((begun(&mut office, Some(1)), begun(&mut office, None)), ((1, 0), (2, 2)));
    office.roll_back(1).expect("it is older");
    assert_eq!((begun(&mut office, None), begun(&mut office, Some(2))), ((3, 0), (2, 2)));
    assert_eq!(office.roll_back(3), Err(Refusal::Agent(agent::Refusal::Unchanged { agent: office.agent })));
    // The same manifest as the newest's, by another plan.
    office.roll_back(1).expect("an older plan is not the newest one");
}

#[test]
fn a_kill_a_pause_and_a_revocation_hold_what_is_queued() {
    let queued = |act: fn(&mut Office)| {
        let mut office = Office::new(0);
        let start = office.start();
        office.must(start);
        act(&mut office);
        let bind = office.bind();
        office.apply(bind).map(|_| ()).map_err(|refused| refused.code())
    };
    let kill = |office: &mut Office| drop(office.kill().expect("it is deployed"));
    let pause = |office: &mut Office| drop(office.pause().expect("it is deployed"));
    let revoke = |office: &mut Office| drop(office.revoke().expect("it is deployed"));
    assert_eq!(queued(kill), Err("agent.still_ending"));
    assert_eq!(queued(pause), Err("agent.is_paused"));
    assert_eq!(queued(revoke), Err("agent.already_revoked"));
    assert_eq!(queued(|_| {}), Ok(()), "the control");
}
