//! Engines that are not there, or go and come back, and images that nobody has: a clear word, a bounded wait, and an execution
//! that goes on when its engine does.
use super::NONE;
use super::house::{self, House, IMAGE, shell, shown_file};
use super::kills::each_ended_once;
use crate::engines::Kind;
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tests::daemon::Daemon;
use tests::scripted::{Say, Script};

/// A model that tries again as long as it is told that the sandbox does not open.
fn tries_again() -> Script {
    Arc::new(|request, _| {
        let last = request["messages"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
        let told = last["content"].as_str().unwrap_or_default();
        match last["role"].as_str() {
            Some("tool") if told.contains("of the image") => Say::Text("I am inside.".to_string()),
            Some("tool") => Say::After(Duration::from_millis(500), Box::new(Say::Calls(vec![shell("cat /mark")]))),
            _ => Say::Calls(vec![shell("cat /mark")]),
        }
    })
}

#[test]
fn what_docker_does_not_have_is_told_at_the_deploy_and_an_engine_that_comes_back_is_used_again() {
    comes_and_goes(Kind::Docker);
}

#[test]
fn what_podman_does_not_have_is_told_at_the_deploy_and_an_engine_that_comes_back_is_used_again() {
    comes_and_goes(Kind::Podman);
}

fn comes_and_goes(kind: Kind) {
    let Some(mut house) = House::open(kind, tries_again()) else { return };
    let name = format!("{kind:?}").to_lowercase();
    let why = house.refused(&house::manifest("not-there:3"));
    assert!(why.contains(&format!("{name} does not hold the image not-there:3")), "{why}");
    assert!(why.contains(&format!("{name} pull not-there:3")), "{why}");
    house.daemon.deploy(&house::manifest(IMAGE));

    // Between the deploy and the execution.
    house.engine.remove_image(IMAGE);
    let pull = format!("{name} pull {IMAGE}");
    goes_on(&mut house, &[&format!("{name} does not hold the image {IMAGE}"), &pull], House::import);
    house.engine.stop();
    goes_on(&mut house, &NO_ENGINE, |house| house.engine.start_again());

    // Gone before the daemon's start, and nobody deploys in between.
    house.engine.stop();
    house.daemon.stop();
    house.daemon.start_again();
    goes_on(&mut house, &NO_ENGINE, |house| house.engine.start_again());
    let second = house::manifest(IMAGE).replace("clerk", "second");
    house.engine.stop();
    let why = house.refused(&second);
    assert!(why.contains("no container engine answers") && why.contains("start Docker or Podman"), "{why}");
    house.engine.start_again();
    house.daemon.deploy(&second);

    // The daemon was started a moment ago, and has not asked its engine yet.
    house.daemon.stop();
    house.daemon.start_again();
    let id = house.start("x");
    let calls = house.completes(&id);
    assert_eq!(calls.len(), 1, "the first call found the engine: {calls:#?}");
    each_ended_once(&house);
    house::eventually("no container is left", || house.engine.containers() == NONE);
    house.daemon.ok(&["audit", "verify"]);
}

const NO_ENGINE: [&str; 3] = ["engine.sock", "no container engine answers", "start Docker or Podman"];

/// An execution meets no engine or image, says so in `words`, and goes on once it is `back`.
fn goes_on(house: &mut House, words: &[&str], back: impl FnOnce(&mut House)) {
    let id = house.start("x");
    let failed = |calls: &[Value]| calls.iter().find(|call| call["outcome"] == "failed:sandbox").cloned();
    house::eventually("a call is told that no sandbox opens", || failed(&house::calls(&house.daemon, &id)).is_some());
    back(house);
    let calls = house.completes(&id);
    let first = failed(&calls).expect("it was there");
    let told = first["result"].as_str().unwrap_or_default();
    let logs = house.daemon.ok(&["execution", "logs", &id]);
    for word in words {
        assert!(
            told.contains(word) && logs.contains(word),
            "the model or the logs are not told `{word}`: {told}\n{logs}"
        );
    }
    let last = calls.last().expect("a call");
    assert_eq!((last["outcome"].as_str(), house::stdout(last).as_str()), (Some("done"), "of the image\n"));
    assert!(calls.iter().rev().skip(1).all(|call| call["outcome"] == "failed:sandbox"), "{calls:#?}");
    each_ended_once(house);
}

/// A call that stays until it is let go, and then as `tries_again`.
fn stays_first() -> Script {
    let then = tries_again();
    Arc::new(move |request, answered| match answered {
        0 => Say::Calls(vec![shell(": > here; while [ ! -e go ]; do usleep 50000; done; echo let go")]),
        _ => then(request, answered),
    })
}

#[test]
fn a_restart_of_docker_loses_the_call_that_ran_and_the_execution_goes_on_with_the_next() {
    let Some(mut house) = House::open(Kind::Docker, stays_first()) else { return };
    let (work, id) = stays(&house);
    house.engine.stop();
    house::eventually("its containers ended with it", || {
        house::calls(&house.daemon, &id).first().is_some_and(|call| call["outcome"] == "lost")
    });
    assert!(!work.join("go").exists(), "nobody let it go");
    house.engine.start_again();
    let calls = house.completes(&id);
    assert_eq!(house::stdout(calls.last().expect("a call")), "of the image\n", "{calls:#?}");
    is_left_clean(house);
}

#[test]
fn podmans_containers_serve_on_while_its_service_is_away() {
    let Some(mut house) = House::open(Kind::Podman, stays_first()) else { return };
    let (work, id) = stays(&house);
    house.engine.stop();
    std::fs::write(work.join("go"), "").expect("it is let go");
    let calls = house.completes(&id);
    let said: Vec<String> = calls.iter().map(house::stdout).collect();
    assert_eq!(said, ["let go\n", "of the image\n"], "{calls:#?}");
    house.engine.start_again();
    is_left_clean(house);
}

#[test]
fn an_execution_whose_engine_hangs_can_be_cancelled_and_costs_no_other_its_worker() {
    let Some(house) = House::open(Kind::Docker, tries_again()) else { return };
    house.daemon.deploy(&house::manifest(IMAGE));
    kill_process(house.engine.pid(), Signal::STOP).expect("the engine stops");
    let id = house.start("x");
    house::eventually("the first call is called", || !house.events("call.called").is_empty());
    house.daemon.ok(&["execution", "cancel", &id, "--yes"]);
    let record = house.daemon.ended(&id, house::WITHIN);
    assert_eq!(record["status"], "cancelled", "{record:#}");
    kill_process(house.engine.pid(), Signal::CONT).expect("the engine goes on");
    assert_eq!(house.events("worker.connected").len(), 1, "the worker lived on:\n{}", house.daemon.log());
    is_left_clean(house);
}

/// The agent's folder, and an execution whose first call runs.
fn stays(house: &House) -> (PathBuf, String) {
    let agent = house.daemon.deploy(&house::manifest(IMAGE));
    let work = house.daemon.work_folder(agent["id"].as_str().expect("an id"));
    let id = house.start("x");
    shown_file(&work.join("here"), &house.daemon);
    (work, id)
}

/// What the engine could not be told while it was away, it is told when the worker ends.
fn is_left_clean(mut house: House) {
    each_ended_once(&house);
    house.daemon.ok(&["audit", "verify"]);
    house.daemon.stop();
    assert_eq!(house.engine.containers(), NONE);
}

#[test]
fn without_an_engine_a_manifest_of_an_image_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = format!("unix://{}", folder.path().join("nobody.sock").display());
    let environment = [
        ("DOCKER_HOST", socket.as_str()),
        ("OPENAI_API_KEY", "sk-test-0123456789"),
        ("TENURE_DEFAULT_MODEL", "openai/scripted"),
    ];
    let mut daemon = Daemon::start(&folder.path().join("data"), &environment);
    let file = folder.path().join("agent.yaml");
    let deploy = |manifest: String| {
        std::fs::write(&file, manifest).expect("it can be written");
        daemon.run(&["agent", "deploy", file.to_str().expect("UTF-8")])
    };
    let output = deploy(house::manifest(IMAGE));
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && why.contains("no container engine answers"), "{why}");
    for word in ["nobody.sock", "start Docker or Podman", "isolation: native"] {
        assert!(why.contains(word), "the refusal lacks `{word}`:\n{why}");
    }
    let control = deploy(
        house::manifest(IMAGE).replace(&format!("{{isolation: docker, image: \"{IMAGE}\"}}"), "{isolation: native}"),
    );
    assert!(control.status.success(), "{}", String::from_utf8_lossy(&control.stderr));
    daemon.stop();
}
