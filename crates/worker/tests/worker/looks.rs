//! What people see of an agent's folders and put into them, by the rules of the agent's own file capabilities.
use crate::house::{House, confinement, shell};
use data_encoding::BASE64;
use serde_json::json;
use std::os::unix::fs::symlink;
use tenure_wire::api::file::FileKind;
use tenure_wire::confinement::{Life, Volume};
use tenure_wire::files::{FilesAnswer, FilesAsked, FilesRefusal, FilesRequest};
use tenure_wire::frame::{FromWorker, ToWorker};

async fn ask_with(house: &mut House, volumes: Vec<Volume>, request: FilesRequest) -> FilesAnswer {
    let (agent, asked) = (house.run.agent, Box::new(FilesAsked { volumes, request }));
    house.send(&ToWorker::Files { count: 5, agent, asked }).await;
    house
        .until(|frame| match frame {
            FromWorker::Files { count: 5, answer } => Some(answer.clone()),
            _ => None,
        })
        .await
}

async fn ask(house: &mut House, request: FilesRequest) -> FilesAnswer {
    ask_with(house, Vec::new(), request).await
}

async fn refused(house: &mut House, request: FilesRequest) -> FilesRefusal {
    match ask(house, request).await {
        FilesAnswer::Refused(refusal) => refusal,
        answer => panic!("{answer:?}"),
    }
}

fn read(path: &str) -> FilesRequest {
    FilesRequest::Read { path: path.into(), offset: 0, file: None }
}

fn list(path: &str) -> FilesRequest {
    FilesRequest::List { path: path.into(), after: None }
}

fn write(path: &str, content: &str) -> FilesRequest {
    let content = BASE64.encode(content.as_bytes());
    FilesRequest::Write { path: path.into(), content, disk_bytes: confinement().disk_bytes, files: confinement().files }
}

async fn text(house: &mut House, path: &str) -> String {
    let FilesAnswer::Read { content, size, .. } = ask(house, read(path)).await else { panic!("{path} is not read") };
    let bytes = BASE64.decode(content.as_bytes()).unwrap();
    assert_eq!(bytes.len() as u64, size);
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn what_an_agent_made_is_seen_while_its_jail_is_open_and_after_and_nobody_who_looks_gets_a_home() {
    let mut house = House::new().await;
    assert_eq!(refused(&mut house, list("/workspace")).await, FilesRefusal::NoHome);
    assert!(!house.work_folder().parent().unwrap().exists(), "looking makes nothing");
    house.does("filesystem.write", json!({"path": "out/a.txt", "content": "made"})).await;
    assert_eq!(text(&mut house, "/workspace/out/a.txt").await, "made");
    house.release().await;
    assert_eq!(text(&mut house, "/workspace/out/a.txt").await, "made");
    let FilesAnswer::List { entries, more: false } = ask(&mut house, list("/workspace/out")).await else {
        panic!("not listed")
    };
    let found: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.kind, entry.size)).collect();
    assert_eq!(found, [("a.txt", FileKind::File, 4)]);
    let missing = FilesRefusal::NotFound { path: "/workspace/b".into() };
    assert_eq!(refused(&mut house, read("/workspace/b")).await, missing);
}

#[tokio::test]
async fn no_link_is_followed_out_of_the_folder_and_no_pipe_is_waited_for() {
    let mut house = House::new().await;
    let outside = house.folder.path().join("secret");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("key"), "not yours").unwrap();
    house.does("process.run", shell("mkdir plain; echo -n seen > plain/key; mkfifo pipe")).await;
    symlink(&outside, house.work_folder().join("folder")).unwrap();
    symlink(outside.join("key"), house.work_folder().join("file")).unwrap();

    assert_eq!(text(&mut house, "/workspace/plain/key").await, "seen", "the control: what is no link is read");
    let link = |path: &str| FilesRefusal::Link { path: path.into() };
    for path in ["/workspace/file", "/workspace/folder/key"] {
        assert_eq!(refused(&mut house, read(path)).await, link(path));
    }
    for path in ["/workspace/file", "/workspace/folder/new"] {
        assert_eq!(refused(&mut house, write(path, "mine")).await, link(path));
    }
    assert_eq!(refused(&mut house, list("/workspace/folder")).await, link("/workspace/folder"));
    let special = FilesRefusal::Special { path: "/workspace/pipe".into() };
    assert_eq!(refused(&mut house, read("/workspace/pipe")).await, special);
    let beside = format!("/workspace/../../../{}/key", outside.display());
    for path in ["/etc/passwd", "/", "/workspace/../work", &beside] {
        match refused(&mut house, read(path)).await {
            FilesRefusal::Outside { .. } | FilesRefusal::NotFound { .. } | FilesRefusal::Failed { .. } => {}
            other => panic!("{path}: {other:?}"),
        }
    }
    let kept = std::fs::read_to_string(outside.join("key")).unwrap();
    assert_eq!((kept.as_str(), std::fs::read_dir(&outside).unwrap().count()), ("not yours", 1));
}

#[tokio::test]
async fn a_file_that_is_put_is_the_agents_own_whole_and_within_its_limits() {
    let mut house = House::new().await;
    let answer = ask(&mut house, write("/workspace/in/data.csv", "a,b\n")).await;
    assert_eq!(answer, FilesAnswer::Written { replaced: false }, "before it ever ran");
    house.does("process.run", shell("echo c,d >> in/data.csv && rm -f in/gone && touch in/own")).await;
    assert_eq!(text(&mut house, "/workspace/in/data.csv").await, "a,b\nc,d\n");
    assert_eq!(ask(&mut house, write("/workspace/in/data.csv", "e")).await, FilesAnswer::Written { replaced: true });
    assert_eq!(text(&mut house, "/workspace/in/data.csv").await, "e");
    let directory = FilesRefusal::Directory { path: "/workspace/in".into() };
    assert_eq!(refused(&mut house, write("/workspace/in", "x")).await, directory);
    let content = BASE64.encode(&[b'x'; 8192]);
    let path = "/workspace/large".to_string();
    for (disk_bytes, files) in [(4096, 100), (1 << 20, 1)] {
        let put = FilesRequest::Write { path: path.clone(), content: content.clone(), disk_bytes, files };
        assert!(matches!(refused(&mut house, put).await, FilesRefusal::Full { .. }), "{disk_bytes} {files}");
    }
    let put = FilesRequest::Write { path, content, disk_bytes: 1 << 20, files: 100 };
    assert_eq!(ask(&mut house, put).await, FilesAnswer::Written { replaced: false }, "the control");
    let left: Vec<_> =
        std::fs::read_dir(house.work_folder()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".tenure-tmp")), "{left:?}");
}

#[tokio::test]
async fn volumes_are_seen_where_the_agent_has_them_and_an_ephemeral_one_while_its_execution_runs() {
    let mut house = House::new().await;
    let volume = |name: &str, mount_point: &str, life| Volume {
        name: name.into(),
        mount_point: mount_point.into(),
        read_only: false,
        size_bytes: None,
        life,
    };
    let volumes = vec![
        volume("scratch", "/workspace", Life::Ephemeral { ttl_hours: 1 }),
        volume("kept", "/data/kept", Life::Persistent),
    ];
    let (of_call, script) = (volumes.clone(), "echo -n 1 > here; echo -n 2 > /data/kept/there");
    house.under(|wanted| wanted.volumes = of_call, "process.run", shell(script)).await;
    let found = |answer| matches!(answer, FilesAnswer::Read { size: 1, .. });
    assert!(found(ask_with(&mut house, volumes.clone(), read("/workspace/here")).await));
    assert!(found(ask_with(&mut house, volumes.clone(), read("/data/kept/there")).await));
    house.release().await;
    assert!(found(ask_with(&mut house, volumes.clone(), read("/data/kept/there")).await));
    let gone = ask_with(&mut house, volumes, read("/workspace/here")).await;
    assert_eq!(gone, FilesAnswer::Refused(FilesRefusal::Ephemeral { name: "scratch".into() }));
}
