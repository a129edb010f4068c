//! Ways out that a hostile program or a misled model would try. Here through the product's own capabilities; below, in a
//! jail, class by class, each with a control.
mod probe;
mod elsewhere;
mod ground;
mod trial;
mod calls;
mod kernel;
mod namespaces;
mod mounts;
mod files;
mod proc;
mod devices;
mod network;
mod sockets;
mod egress;
mod programs;
mod writes;
mod processes;
mod limits;
mod folders;
mod oddities;
mod trees;
mod product;
mod document;
mod suite;

use crate::office::{MANIFEST, Office};
use serde_json::json;
use std::sync::Arc;
use tests::scripted::{Say, said};

#[test]
fn dot_dot_absolute_paths_and_symlinks_reach_nothing_outside_and_the_same_file_inside_is_read() {
    let secret = tempfile::NamedTempFile::new().expect("a file outside");
    std::fs::write(secret.path(), "OUTSIDE-SECRET").expect("it can be written");
    let outside = secret.path().to_str().expect("UTF-8").to_string();
    let target = outside.clone();
    let office = Office::open(Arc::new(move |request, answered| match answered {
        0 => Say::Calls(vec![
            ("filesystem.write", json!({"path": "inside.txt", "content": "INSIDE-TEXT"})),
            ("process.run", json!({"command": "ln", "args": ["-s", target, "link"]})),
            ("process.run", json!({"command": "ln", "args": ["-s", "/", "root"]})),
        ]),
        1 => Say::Calls(vec![
            ("filesystem.read", json!({"path": format!("../../../../../../..{target}")})),
            ("filesystem.read", json!({"path": target})),
            ("filesystem.read", json!({"path": "link"})),
            ("filesystem.read", json!({"path": format!("root{target}")})),
            ("filesystem.read", json!({"path": "/etc/shadow"})),
            ("filesystem.read", json!({"path": "inside.txt"})),
        ]),
        2 => Say::Calls(vec![
            ("filesystem.write", json!({"path": "link", "content": "OVERWRITTEN"})),
            ("process.run", json!({"command": "cat", "args": [target, "/etc/shadow", "/proc/1/environ"]})),
        ]),
        _ => {
            let told = said(request);
            Say::Text(format!("secret: {} inside: {}", told.contains("OUTSIDE-SECRET"), told.contains("INSIDE-TEXT")))
        }
    }));
    assert!(office.deploy(MANIFEST).status.success());
    let record = office.execute("clerk", "x");
    let logs = office.daemon.ok(&["execution", "logs", record["id"].as_str().expect("an id")]);
    assert!(logs.contains("secret: false inside: true"), "{logs}");
    assert_eq!(std::fs::read_to_string(&outside).expect("it is still there"), "OUTSIDE-SECRET");
    office.holds();
}
