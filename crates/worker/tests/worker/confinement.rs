use crate::house::{House, is_root, shell};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use tenure_core::call::Outcome;
use tenure_wire::frame::CallOutcome;

async fn perform(house: &mut House, read: &[&str], write: &[&str], capability: &str, arguments: Value) -> CallOutcome {
    let listed = |list: &[&str]| list.iter().map(|path| (*path).to_owned()).collect();
    house.under(|wanted| (wanted.read, wanted.write) = (listed(read), listed(write)), capability, arguments).await
}

fn is_done(outcome: &CallOutcome) -> bool {
    matches!(outcome.outcome, Outcome::Done { .. })
}

#[tokio::test]
async fn only_the_listed_folders_can_be_written() {
    let mut house = House::new().await;
    house.does("filesystem.write", json!({"path": "input.txt", "content": "given"})).await;
    // The control: with the default lists the top can be written, as it just was.
    house.run.iteration = 2;
    let (read, write) = (&["/workspace"][..], &["/workspace/output", "/workspace/output/deep"][..]);
    let written =
        perform(&mut house, read, write, "filesystem.write", json!({"path": "output/a", "content": "x"})).await;
    assert!(is_done(&written), "{written:?}");
    let denied =
        perform(&mut house, read, write, "filesystem.write", json!({"path": "input.txt", "content": "x"})).await;
    assert_eq!(denied.outcome, Outcome::Failed { code: "denied".to_owned() }, "{denied:?}");
    let script = shell("cat input.txt; echo y > output/b && echo z > c");
    let tried = perform(&mut house, read, write, "process.run", script).await;
    assert_eq!(tried.result["stdout"], "given");
    assert_ne!(tried.result["exit_code"], 0);
    assert!(house.work_folder().join("output/b").exists() && !house.work_folder().join("c").exists());
}

#[tokio::test]
async fn what_no_list_names_is_not_there() {
    let mut house = House::new().await;
    for path in ["in/a", "out/b", "secret/c"] {
        house.does("filesystem.write", json!({"path": path, "content": path})).await;
    }
    house.run.iteration = 2;
    let (read, write) = (&["/workspace/in"][..], &["/workspace/out"][..]);
    let found =
        perform(&mut house, read, write, "process.run", json!({"command": "find", "args": [".", "-type", "f"]})).await;
    assert!(is_done(&found), "{found:?}");
    let mut files: Vec<&str> = found.result["stdout"].as_str().unwrap().lines().collect();
    files.sort_unstable();
    assert_eq!(files, ["./in/a", "./out/b"]);
    let hidden = perform(&mut house, read, write, "filesystem.read", json!({"path": "secret/c"})).await;
    assert_eq!(hidden.outcome, Outcome::Failed { code: "not_found".to_owned() });
    for (path, done) in [("in/a", false), ("out/b", true), ("secret/c", false)] {
        let arguments = json!({"path": path, "content": "new"});
        let outcome = perform(&mut house, read, write, "filesystem.write", arguments).await;
        assert_eq!(is_done(&outcome), done, "{outcome:?}");
    }
    // It was hidden, not removed.
    house.run.iteration = 3;
    assert_eq!(house.does("filesystem.read", json!({"path": "secret/c"})).await["content"], "secret/c");
}

#[tokio::test]
async fn without_temp_there_is_no_tmp_to_write() {
    let mut house = House::new().await;
    let script = shell("echo x > /tmp/x && cat /tmp/x");
    assert_eq!(house.does("process.run", script.clone()).await["stdout"], "x\n");
    house.run.iteration = 2;
    let mut call = house.call("process.run", script);
    call.confinement.temp = false;
    let outcome = house.perform(&call).await;
    assert_ne!(outcome.result["exit_code"], 0, "{outcome:?}");
    let written = house.call("filesystem.write", json!({"path": "/tmp/x", "content": "x"}));
    assert_eq!(house.perform(&written).await.outcome, Outcome::Failed { code: "denied".to_owned() });
}

#[tokio::test]
async fn a_listed_folder_that_is_a_link_opens_no_sandbox() {
    let mut house = House::new().await;
    let link = json!({"command": "ln", "args": ["-s", "/etc", "output"]});
    house.does("process.run", link).await;
    house.run.iteration = 2;
    let (read, write) = (&["/workspace"][..], &["/workspace/output"][..]);
    let refused = perform(&mut house, read, write, "filesystem.list", json!({"path": "."})).await;
    assert_eq!(refused.outcome, Outcome::Failed { code: "sandbox".to_owned() }, "{refused:?}");
    assert!(refused.result["error"].as_str().unwrap().contains("is a link"), "{refused:?}");
    // The control: the same without the link.
    std::fs::remove_file(house.work_folder().join("output")).unwrap();
    let listed = perform(&mut house, read, write, "filesystem.list", json!({"path": "."})).await;
    assert_eq!(listed.result["entries"][0]["name"], "output", "{listed:?}");
}

#[tokio::test]
async fn agents_have_folders_and_host_ids_of_their_own() {
    let mut house = House::new().await;
    let mut owners = Vec::new();
    for name in ["mine", "yours"] {
        house.does("filesystem.write", json!({"path": name, "content": ""})).await;
        let found = house.does("filesystem.list", json!({})).await;
        assert_eq!(found["entries"], json!([{"name": name, "kind": "file", "size": 0}]));
        owners.push(std::fs::metadata(house.work_folder().join(name)).unwrap().uid());
        let home = std::fs::metadata(house.work_folder().parent().unwrap()).unwrap();
        assert_eq!(home.mode() & 0o777, 0o700);
        house.run = house.another_run();
    }
    if is_root() {
        assert!(owners[0] != 0 && owners[1] != 0 && owners[0] != owners[1], "{owners:?}");
    }
}
