//! Iterations in containers, by a Podman of the test's own. What a container is, the sandbox's tests say.
use crate::engines::{Kind, Started};
use crate::house::{House, PATIENCE, await_none, processes};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tenure_core::call::Outcome;
use tenure_core::manifest::{Backend, Engine, Guard, Host};
use tenure_wire::frame::{CallOutcome, FromWorker, ToWorker};

const IMAGE: &str = "busybox-for-tests";
const NONE: [String; 0] = [];

/// None where it cannot run.
fn podman() -> Option<Started> {
    Started::start(Kind::Podman)
}

async fn worker(engine: &Started, folder: tempfile::TempDir) -> House {
    House::with_engine(folder, Some(&engine.host())).await
}

async fn in_container(house: &mut House, image: &str, capability: &str, arguments: Value) -> CallOutcome {
    let mut call = house.call(capability, arguments);
    call.confinement.backend = Backend::Container { image: image.to_owned() };
    house.perform(&call).await
}

/// What the worker says of its host, once that has an engine.
async fn survey(house: &mut House) -> Host {
    let deadline = Instant::now() + PATIENCE;
    for count in 1.. {
        house.send(&ToWorker::Survey { count }).await;
        let told = house.until(|frame| match frame {
            FromWorker::Surveyed { count: c, host } if *c == count => Some((**host).clone()),
            _ => None,
        });
        let host = told.await;
        match &host.engine {
            Engine::Present { .. } => return host,
            Engine::Absent { why } => assert!(Instant::now() < deadline, "a busy engine answers in the end: {why}"),
        }
    }
    unreachable!("it counts on")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_iteration_runs_in_the_image_that_its_manifest_names_over_the_agents_own_files() {
    let Some(podman) = podman() else { return };
    let mut house = worker(&podman, tempfile::tempdir().unwrap()).await;
    house.does("filesystem.write", json!({"path": "file", "content": "by the native jail"})).await;
    house.release().await;
    house.run.iteration = 2;
    let script = json!({"command": "sh", "args": ["-c", "cat file; echo; cat /proc/sys/kernel/hostname; ls / 2>&1; echo more > file"]});
    let ran = in_container(&mut house, IMAGE, "process.run", script).await;
    assert_eq!(ran.outcome, Outcome::Done { exit_code: Some(0) }, "{ran:?}");
    assert!(ran.result["stdout"].as_str().unwrap().starts_with("by the native jail\n"), "{ran:?}");
    let level = ran.level.unwrap();
    assert!(level.starts_with("podman ") && level.contains("memory engine") && level.contains("disk "), "{level}");
    assert!(level.len() <= 256, "{level}");
    let read = in_container(&mut house, IMAGE, "filesystem.read", json!({"path": "file"})).await;
    assert_eq!(read.result["content"], "more\n", "{read:?}");
    assert_ne!(podman.containers(), NONE);
    house.release().await;
    assert_eq!(podman.containers(), NONE, "released is proven dead and forgotten");
    house.hang_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_engine_does_not_have_is_refused_by_name_and_the_worker_works_on() {
    let Some(podman) = podman() else { return };
    let mut house = worker(&podman, tempfile::tempdir().unwrap()).await;
    let host = survey(&mut house).await;
    let Engine::Present { name, images, guards, .. } = host.engine else { panic!("{:?}", host.engine) };
    assert!(name == "podman" && images.iter().any(|image| image.contains(IMAGE)), "{images:?}");
    assert!(guards.contains(&Guard::MemoryGroup) && guards.contains(&Guard::OwnIdentity), "{guards:?}");
    assert!(host.toolchains.iter().any(|found| found.language == "sh"), "{:?}", host.toolchains);

    let missing = in_container(&mut house, "not-there:1", "process.run", json!({"command": "echo"})).await;
    let why = missing.result["error"].as_str().unwrap();
    assert!(why.contains("podman pull not-there:1"), "{why}");
    // A protection that neither a container nor a jail over this folder has.
    for (iteration, backend) in [(2, Backend::Container { image: IMAGE.to_owned() }), (3, Backend::Native)] {
        house.run.iteration = iteration;
        let mut call = house.call("process.run", json!({"command": "echo"}));
        (call.confinement.backend, call.confinement.require) = (backend, vec![Guard::HardQuota]);
        let refused = house.perform(&call).await;
        let why = refused.result["error"].as_str().unwrap();
        assert!(why.contains(Guard::HardQuota.as_str()), "{why}");
    }
    assert_eq!(podman.containers(), NONE);
    podman.import("pulled-a-moment-ago", &podman.folder.path().join("busybox"));
    let Engine::Present { images, .. } = survey(&mut house).await.engine else { panic!("it answers") };
    assert!(images.iter().any(|image| image.contains("pulled-a-moment-ago")), "{images:?}");
    house.run.iteration = 4;
    let ran = in_container(&mut house, "pulled-a-moment-ago", "process.run", json!({"command": "echo"})).await;
    assert_eq!(ran.outcome, Outcome::Done { exit_code: Some(0) }, "{ran:?}");
    house.hang_up().await;
    assert_eq!(podman.containers(), NONE, "an ended worker leaves none");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_containers_of_a_killed_worker_end_and_its_successor_has_them_forgotten() {
    let Some(podman) = podman() else { return };
    let mut house = worker(&podman, tempfile::tempdir().unwrap()).await;
    let mark = format!("left-{}", std::process::id());
    let mut call = house
        .call("process.run", json!({"command": "sh", "args": ["-c", format!("while :; do sleep 1; done; : {mark}")]}));
    call.confinement.backend = Backend::Container { image: IMAGE.to_owned() };
    house.begin(&call).await;
    let deadline = Instant::now() + PATIENCE;
    while processes(&mark).is_empty() {
        assert!(Instant::now() < deadline, "it starts");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let folder = house.kill();
    await_none(&mark);
    assert_ne!(podman.containers(), NONE, "the engine still lists it");
    let house = worker(&podman, folder).await;
    let deadline = Instant::now() + PATIENCE;
    while !podman.containers().is_empty() {
        assert!(Instant::now() < deadline, "the successor has it forgotten");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    house.hang_up().await;
}
