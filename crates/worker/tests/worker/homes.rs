//! An agent's home: who looks into it, and how it goes when its agent is deleted.
use crate::house::{House, Run, shell};
use serde_json::json;
use std::path::PathBuf;
use tenure_core::call::Outcome;
use tenure_core::id::AgentId;
use tenure_wire::confinement::{Life, Volume};
use tenure_wire::frame::{FromWorker, ToWorker};

fn volumes() -> Vec<Volume> {
    let volume = |name: &str, life| {
        let (name, mount_point) = (name.to_owned(), format!("/data/{name}"));
        Volume { name, mount_point, read_only: false, size_bytes: None, life }
    };
    vec![volume("kept", Life::Persistent), volume("scratch", Life::Ephemeral { ttl_hours: 1 })]
}

fn home(house: &House, run: Run) -> PathBuf {
    house.folder.path().join("data/agents").join(run.agent.to_string())
}

async fn answer(house: &mut House, agent: AgentId) -> (bool, Option<String>) {
    house
        .until(|frame| match frame {
            FromWorker::HomeRemoved { agent: of, removed, why } if *of == agent => Some((*removed, why.clone())),
            _ => None,
        })
        .await
}

async fn remove(house: &mut House, agent: AgentId) -> (bool, Option<String>) {
    house.send(&ToWorker::RemoveHome { agent }).await;
    answer(house, agent).await
}

/// Leaves files of every kind, and a folder that its owner may not enter.
async fn fill(house: &mut House) {
    let script =
        "mkdir -p deep/er && echo x > deep/er/x && chmod 0 deep && echo y > /data/kept/y && echo z > /data/scratch/z";
    let outcome = house.under(|wanted| wanted.volumes = volumes(), "process.run", shell(script)).await;
    assert_eq!(outcome.outcome, Outcome::Done { exit_code: Some(0) }, "{outcome:?}");
}

#[tokio::test]
async fn a_deleted_agents_home_goes_whole_and_nobody_elses_and_never_under_an_open_sandbox() {
    let mut house = House::new().await;
    let (first, other) = (house.run, house.another_run());
    house.run = other;
    fill(&mut house).await;
    house.run = first;
    fill(&mut house).await;
    let (removed, why) = remove(&mut house, first.agent).await;
    assert!(!removed && why.unwrap().contains("is open"));
    assert_eq!(house.does("process.run", shell("cat /data/kept/y 2>&1; ls")).await["exit_code"], 0, "it works on");
    assert!(home(&house, first).join("work/deep").exists() && home(&house, first).join("volumes/kept/y").exists());

    house.release().await;
    assert_eq!(remove(&mut house, first.agent).await, (true, None));
    assert!(!home(&house, first).exists());
    let left: Vec<_> = std::fs::read_dir(house.folder.path().join("data/agents")).unwrap().flatten().collect();
    let left: Vec<_> = left.iter().map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_eq!(left, [other.agent.to_string()], "another agent's is all that is left");
    assert!(home(&house, other).join("volumes/kept/y").exists());

    assert_eq!(remove(&mut house, first.agent).await, (true, None), "it may be asked again");
    let never = house.another_run().agent;
    assert_eq!(remove(&mut house, never).await, (true, None), "who never was here has nothing here");
}

#[tokio::test]
async fn a_call_right_behind_a_removal_waits_for_it_and_finds_a_new_home() {
    let mut house = House::new().await;
    fill(&mut house).await;
    house.release().await;
    let agent = house.run.agent;
    house.run = Run { agent, ..house.another_run() };
    house.send(&ToWorker::RemoveHome { agent }).await;
    let call = house.call("filesystem.write", json!({"path": "new", "content": "x"}));
    house.begin(&call).await;
    assert_eq!(answer(&mut house, agent).await, (true, None));
    assert!(matches!(house.outcome(call.lease).await.outcome, Outcome::Done { .. }));
    let names: Vec<_> =
        std::fs::read_dir(house.work_folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["new"]);
}

#[tokio::test]
async fn an_executions_end_looks_into_its_own_agents_home_alone() {
    let mut house = House::new().await;
    fill(&mut house).await;
    let run = house.run;
    // Another agent's home that holds something under this execution's id.
    house.run = house.another_run();
    fill(&mut house).await;
    let others = home(&house, house.run).join("ephemeral").join(run.holder.to_string());
    std::fs::create_dir(&others).unwrap();
    house.run = run;
    house.release().await;
    assert!(!home(&house, run).join("ephemeral").join(run.holder.to_string()).exists());
    assert!(others.exists());
}
