use crate::house::{House, is_root, shell};
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use tenure_core::call::Outcome;
use tenure_wire::confinement::{Life, Volume};
use tenure_wire::frame::{CallOutcome, ToWorker};

fn persistent(name: &str, mount_point: &str) -> Volume {
    let (name, mount_point) = (name.to_owned(), mount_point.to_owned());
    Volume { name, mount_point, read_only: false, size_bytes: None, life: Life::Persistent }
}

fn ephemeral(name: &str, mount_point: &str) -> Volume {
    Volume { life: Life::Ephemeral { ttl_hours: 1 }, ..persistent(name, mount_point) }
}

async fn with(house: &mut House, volumes: &[Volume], capability: &str, arguments: Value) -> CallOutcome {
    house.under(|wanted| wanted.volumes = volumes.to_vec(), capability, arguments).await
}

async fn runs(house: &mut House, volumes: &[Volume], script: &str) -> String {
    let outcome = with(house, volumes, "process.run", shell(script)).await;
    assert_eq!(outcome.outcome, Outcome::Done { exit_code: Some(0) }, "{script}: {outcome:?}");
    outcome.result["stdout"].as_str().unwrap().trim().to_owned()
}

/// Why no sandbox opens.
async fn refused(house: &mut House, volumes: &[Volume]) -> String {
    house.run.iteration += 1;
    let outcome = with(house, volumes, "filesystem.list", json!({})).await;
    assert_eq!(outcome.outcome, Outcome::Failed { code: "sandbox".to_owned() }, "{outcome:?}");
    outcome.result["error"].as_str().unwrap().to_owned()
}

fn another_execution(house: &mut House) {
    let agent = house.run.agent;
    house.run = house.another_run();
    house.run.agent = agent;
}

fn home(house: &House) -> PathBuf {
    house.work_folder().parent().unwrap().to_owned()
}

fn ephemeral_of(house: &House) -> PathBuf {
    home(house).join("ephemeral").join(house.run.holder.to_string())
}

async fn release_but_go_on(house: &mut House) {
    let crate::house::Run { agent, holder, iteration } = house.run;
    house.send(&ToWorker::Release { agent, holder, iteration, last: false }).await;
    house
        .until(|frame| match frame {
            tenure_wire::frame::FromWorker::Released { holder: e, .. } => (*e == holder).then_some(()),
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn a_persistent_volume_is_shared_by_the_agents_executions_and_kept_and_nobody_elses() {
    let mut house = House::new().await;
    let volumes = [persistent("store", "/data"), persistent("deep", "/srv/a/b")];
    let written =
        with(&mut house, &volumes, "filesystem.write", json!({"path": "/data/in/x", "content": "kept"})).await;
    assert!(matches!(written.outcome, Outcome::Done { .. }), "{written:?}");
    runs(&mut house, &volumes, "echo program > /srv/a/b/y; mkdir /data/made; ! touch /srv/a/z 2>/dev/null").await;
    another_execution(&mut house);
    assert_eq!(runs(&mut house, &volumes, "cat /data/in/x /srv/a/b/y").await, "keptprogram");
    let first = house.run;
    house.run = house.another_run();
    assert_eq!(runs(&mut house, &volumes, "ls -A /data /srv/a/b").await, "/data:\n\n/srv/a/b:", "another agent's own");
    house.run = first;
    house.release().await;
    another_execution(&mut house);
    let read = with(&mut house, &volumes, "filesystem.read", json!({"path": "/data/in/x"})).await;
    assert_eq!(read.result["content"], "kept");
}

#[tokio::test]
async fn an_ephemeral_volume_lives_as_long_as_its_execution_and_no_longer() {
    let mut house = House::with_process(tempfile::tempdir().unwrap()).await;
    let volumes = [ephemeral("scratch", "/data"), persistent("store", "/mnt/store")];
    runs(&mut house, &volumes, "echo x > /data/x; echo y > /mnt/store/y; mkdir -p /data/d/e; chmod 0 /data/d").await;
    house.run.iteration = 2;
    assert_eq!(runs(&mut house, &volumes, "cat /data/x").await, "x", "over iterations");
    release_but_go_on(&mut house).await;
    house.run.iteration = 3;
    assert_eq!(runs(&mut house, &volumes, "cat /data/x").await, "x", "over a release that is not the last");
    // Over the worker's death too: the execution goes on.
    let run = house.run;
    let mut house = House::with_process(house.kill()).await;
    house.run = run;
    assert_eq!(runs(&mut house, &volumes, "cat /data/x").await, "x");
    let folder = ephemeral_of(&house);
    assert!(folder.join("scratch/x").exists());
    house.release().await;
    assert!(!folder.exists(), "with the last release");
    let left: Vec<_> = std::fs::read_dir(home(&house)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("gone-")), "{left:?}");
    assert_eq!(runs(&mut house, &volumes, "ls -A /data; cat /mnt/store/y").await, "y");
    // Where no jail was open it goes all the same.
    release_but_go_on(&mut house).await;
    assert!(folder.exists());
    house.release().await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn an_ephemeral_volume_past_its_time_goes_when_nobody_shows_it() {
    let mut house = House::new().await;
    let volumes = [ephemeral("scratch", "/data"), ephemeral("other.one", "/mnt")];
    runs(&mut house, &volumes, "echo x > /data/x; echo x > /mnt/x").await;
    let (first, folder) = (house.run, ephemeral_of(&house));
    let names = || {
        let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap()).collect::<Vec<_>>()
    };
    let mark = names().into_iter().find(|name| name.ends_with(".scratch")).expect("its end is marked");
    std::fs::rename(folder.join(mark), folder.join(".until.1000.scratch")).unwrap();
    another_execution(&mut house);
    runs(&mut house, &[], "true").await;
    assert!(folder.join("scratch/x").exists(), "it is shown by a jail");
    let second = std::mem::replace(&mut house.run, first);
    release_but_go_on(&mut house).await;
    house.run = second;
    house.run.iteration = 2;
    runs(&mut house, &[], "true").await;
    assert!(!folder.join("scratch").exists() && folder.join("other.one/x").exists(), "{:?}", names());
    house.run = first;
    assert_eq!(runs(&mut house, &volumes, "ls -A /data /mnt").await, "/data:\n\n/mnt:\nx", "it begins anew");
}

#[tokio::test]
async fn what_a_worker_left_of_ended_executions_is_swept_at_the_next_ones_start() {
    let mut house = House::new().await;
    runs(&mut house, &[ephemeral("scratch", "/data")], "echo x > /data/x").await;
    let (home, folder) = (home(&house), ephemeral_of(&house));
    let data = house.hang_up().await;
    let mark = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mark = mark.into_iter().find(|path| path.to_string_lossy().contains(".until.")).unwrap();
    std::fs::rename(mark, folder.join(".until.1000.scratch")).unwrap();
    // A removal that was cut short.
    std::fs::create_dir_all(home.join("gone-0123/a/b")).unwrap();
    std::fs::write(home.join("gone-0123/a/b/c"), "x").unwrap();
    let next = House::with_process(data).await;
    let deadline = std::time::Instant::now() + crate::house::PATIENCE;
    while folder.exists() || home.join("gone-0123").exists() {
        assert!(std::time::Instant::now() < deadline, "it is still there");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(home.join("work").exists());
    next.hang_up().await;
}

#[tokio::test]
async fn a_read_only_volume_cannot_be_written_and_a_sized_one_holds_no_more() {
    let mut house = House::new().await;
    let mut store = persistent("store", "/data");
    runs(&mut house, std::slice::from_ref(&store), "echo x > /data/x").await;
    house.run.iteration = 2;
    store.read_only = true;
    let script = "cat /data/x; ! echo y > /data/y; ! rm /data/x; ! mkdir /data/z; ! chmod 777 /data/x";
    assert_eq!(runs(&mut house, std::slice::from_ref(&store), &format!("exec 2>/dev/null; {script}")).await, "x");
    for (capability, arguments) in [
        ("filesystem.write", json!({"path": "/data/x", "content": "y"})),
        ("filesystem.delete", json!({"path": "/data/x"})),
    ] {
        let outcome = with(&mut house, std::slice::from_ref(&store), capability, arguments).await;
        assert_eq!(outcome.outcome, Outcome::Failed { code: "denied".to_owned() }, "{capability}");
    }
    house.run.iteration = 3;
    let small = Volume { size_bytes: Some(1 << 20), ..persistent("small", "/mnt") };
    let write = |path: &str| json!({"path": path, "content": "x".repeat(700_000)});
    for (path, fits) in [("/mnt/a", true), ("/mnt/b", false), ("b", true)] {
        let outcome = with(&mut house, std::slice::from_ref(&small), "filesystem.write", write(path)).await;
        let over = Outcome::ResourceExhausted { resource: "volume small".to_owned(), limit: Some(1 << 20) };
        assert_eq!(outcome.outcome == over, !fits, "{path}: {outcome:?}");
    }
    let filling = shell("while :; do head -c 50000 /dev/zero >> /mnt/c; done");
    let outcome = with(&mut house, &[small], "process.run", filling).await;
    assert_eq!(outcome.result["limit"], "volume small", "{outcome:?}");
    assert!(outcome.result["error"].as_str().unwrap().contains("volume small"), "{outcome:?}");
}

#[tokio::test]
async fn a_volume_in_the_work_folders_place_is_the_work_folder_with_its_views_and_limits() {
    let mut house = House::new().await;
    house.does("filesystem.write", json!({"path": "plain", "content": "x"})).await;
    house.run.iteration = 2;
    let volumes = [Volume { size_bytes: Some(1 << 20), ..ephemeral("workspace", "/workspace") }];
    let call = |house: &mut House, capability: &str, arguments: Value| {
        let mut call = house.call(capability, arguments);
        call.confinement.volumes = volumes.to_vec();
        call.confinement.write = vec!["/workspace/output".to_owned()];
        call
    };
    let listed = call(&mut house, "filesystem.list", json!({}));
    assert_eq!(house.perform(&listed).await.result["entries"][0]["name"], "output", "and nothing of the other");
    let denied = call(&mut house, "filesystem.write", json!({"path": "top", "content": "x"}));
    assert_eq!(house.perform(&denied).await.outcome, Outcome::Failed { code: "denied".to_owned() });
    let written = call(&mut house, "filesystem.write", json!({"path": "output/a", "content": "x".repeat(800_000)}));
    assert!(matches!(house.perform(&written).await.outcome, Outcome::Done { .. }));
    let over = call(&mut house, "filesystem.write", json!({"path": "output/b", "content": "x".repeat(800_000)}));
    let limit = Outcome::ResourceExhausted { resource: "volume workspace".to_owned(), limit: Some(1 << 20) };
    assert_eq!(house.perform(&over).await.outcome, limit);
    assert!(ephemeral_of(&house).join("workspace/output/a").exists());
    assert!(house.work_folder().join("plain").exists() && !house.work_folder().join("output").exists());
    house.release().await;
    assert!(!ephemeral_of(&house).exists());
}

#[tokio::test]
async fn links_and_bad_names_open_no_sandbox() {
    let mut house = House::new().await;
    for (volume, why) in [
        (persistent("a", "/etc/x"), "mounted at or in"),
        (persistent("a", "/workspace/.trash"), "mounted at or in"),
        (persistent("a", "/workspace/../etc"), "mounted at or in"),
        (persistent("a", "data"), "mounted at or in"),
        (persistent("..", "/data"), "a volume's name"),
        (persistent("a/b", "/data"), "a volume's name"),
        (persistent("", "/data"), "a volume's name"),
        (persistent(".until.9.a", "/data"), "a volume's name"),
    ] {
        let sentence = refused(&mut house, std::slice::from_ref(&volume)).await;
        assert!(sentence.contains(why), "{volume:?}: {sentence}");
    }
    let twice = [persistent("a", "/data"), persistent("b", "/data")];
    assert!(refused(&mut house, &twice).await.contains("one place"));
    let same = [persistent("a", "/data"), ephemeral("a", "/mnt")];
    assert!(refused(&mut house, &same).await.contains("one name"));
    // The agent puts links where volumes are to be mounted.
    house.run.iteration += 1;
    let links = "ln -s /etc cache; mkdir real; ln -s real way; : > file; ln -s / /data/in";
    runs(&mut house, &[persistent("outer", "/data")], links).await;
    for (place, why) in [
        ("/workspace/cache", "is a link or a file"),
        ("/workspace/way/deep", "is a link or a file"),
        ("/workspace/file", "it is a file"),
        ("/data/in", "is a link or a file"),
    ] {
        let sentence = refused(&mut house, &[persistent("outer", "/data"), persistent("inner", place)]).await;
        assert!(sentence.contains(why), "{place}: {sentence}");
    }
    // The control: beside them it is mounted, and with it what was a link before.
    house.run.iteration += 1;
    let volumes = [persistent("outer", "/data"), persistent("inner", "/workspace/real/deep")];
    runs(&mut house, &volumes, "echo x > /workspace/way/deep/x; rm cache /data/in").await;
    assert!(home(&house).join("volumes/inner/x").exists());
    house.run.iteration += 1;
    runs(&mut house, &[persistent("outer", "/data"), persistent("inner", "/workspace/cache")], "cat cache/x").await;
    // Whatever stands in the place of the volumes' own folder, nothing is followed.
    house.release().await;
    std::fs::rename(home(&house).join("volumes"), home(&house).join("elsewhere")).unwrap();
    symlink("elsewhere", home(&house).join("volumes")).unwrap();
    refused(&mut house, &volumes).await;
}

#[tokio::test]
async fn all_that_lands_belongs_to_the_agent_with_plain_modes() {
    let mut house = House::new().await;
    let mut call = house.call("filesystem.write", json!({"path": "/data/sub/a", "content": "x"}));
    call.confinement.volumes =
        vec![persistent("store", "/data"), ephemeral("scratch", "/mnt"), ephemeral("inner", "/workspace/in/ner")];
    call.confinement.read = vec!["/workspace/some".to_owned()];
    call.confinement.write = vec!["/workspace/out".to_owned()];
    house.perform(&call).await;
    let mut script = house.call(
        "process.run",
        json!({"command": "sh", "args": ["-c",
        "for d in /data /mnt out in/ner; do echo x > $d/program; mkdir $d/folder; done"]}),
    );
    script.confinement = call.confinement.clone();
    let outcome = house.perform(&script).await;
    assert_eq!(outcome.outcome, Outcome::Done { exit_code: Some(0) }, "{outcome:?}");
    let mut restored = house.call("filesystem.delete", json!({"path": "out/program"}));
    restored.confinement = call.confinement.clone();
    let trash = house.perform(&restored).await.result;
    assert!(trash["trashed_as"].as_str().unwrap().starts_with("out/.trash/"), "{trash}");
    let agent = std::fs::metadata(house.work_folder()).unwrap();
    let own = if is_root() { agent.uid() } else { rustix::process::geteuid().as_raw() };
    assert!(own != 0 && (!is_root() || agent.gid() == own));
    let mut seen = 0;
    let mut look = |path: &Path| {
        for entry in walk(path) {
            let found = std::fs::symlink_metadata(&entry).unwrap();
            let private = entry.to_string_lossy().contains(".trash");
            let mode = if found.is_dir() { 0o755 } else { 0o644 };
            assert_eq!((found.uid(), found.gid()), (agent.uid(), agent.gid()), "{}", entry.display());
            assert!(private || found.mode() & 0o7777 == mode, "{}: {:o}", entry.display(), found.mode());
            seen += 1;
        }
    };
    look(&house.work_folder());
    look(&home(&house).join("empty"));
    look(&home(&house).join("volumes"));
    for volume in ["scratch", "inner"] {
        let volume = ephemeral_of(&house).join(volume);
        look(&volume);
        assert_eq!(std::fs::metadata(&volume).unwrap().uid(), own);
    }
    assert!(seen > 20, "{seen}");
}

/// All that is in a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() && !path.is_symlink() { [vec![path.clone()], walk(&path)].concat() } else { vec![path] }
        })
        .collect()
}

#[tokio::test]
async fn what_was_in_the_trash_for_longer_than_a_week_is_gone_when_a_jail_opens() {
    let mut house = House::new().await;
    let volumes = [persistent("store", "/data")];
    runs(
        &mut house,
        &volumes,
        "mkdir -p d/e out; echo x > d/e/f; for n in 1 2; do echo $n > a$n; echo $n > /data/b$n; done",
    )
    .await;
    for path in ["d", "a1", "a2", "/data/b1"] {
        let deleted = with(&mut house, &volumes, "filesystem.delete", json!({"path": path, "recursive": true})).await;
        assert!(deleted.result["trashed_as"].is_string(), "{deleted:?}");
    }
    let age = |trash: &Path, name: &str, days: u64| {
        let entries = std::fs::read_dir(trash).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let entry = entries.into_iter().find(|entry| entry.ends_with(&format!("-{name}"))).unwrap();
        let (time, rest) = entry.split_once('-').unwrap();
        let old = format!("{}-{rest}", time.parse::<u64>().unwrap() - days * 24 * 3_600_000);
        std::fs::rename(trash.join(&entry), trash.join(&old)).unwrap();
        std::fs::rename(trash.join(".from").join(&entry), trash.join(".from").join(&old)).unwrap();
    };
    let (work, store) = (house.work_folder().join(".trash"), home(&house).join("volumes/store/.trash"));
    age(&work, "d", 8);
    age(&work, "a1", 8);
    age(&work, "a2", 6);
    age(&store, "b1", 8);
    house.run.iteration = 2;
    let left = runs(&mut house, &volumes, "ls .trash .trash/.from; ls -A /data/.trash").await;
    assert_eq!(left.matches("-a2").count(), 2, "{left}");
    assert!(!left.contains("-a1") && !left.contains("-d") && !left.contains("-b1"), "{left}");
    let restored = left.lines().find(|line| line.ends_with("-a2")).unwrap();
    let restored = json!({"trashed_as": format!(".trash/{restored}")});
    let mut restored = house.call("filesystem.restore", restored);
    restored.confinement.volumes = volumes.to_vec();
    let restored = house.led(&restored).await;
    assert_eq!(restored.result, json!({"restored_to": "/workspace/a2"}));
}

#[tokio::test]
async fn a_restore_replaces_nothing_and_believes_no_forged_origin() {
    let mut house = House::new().await;
    house.does("filesystem.write", json!({"path": "deep/a", "content": "old"})).await;
    let trash = house.does("filesystem.delete", json!({"path": "deep/a"})).await["trashed_as"].clone();
    house.does("filesystem.write", json!({"path": "deep/a", "content": "new"})).await;
    let call = house.call("filesystem.restore", json!({"trashed_as": trash}));
    let unjudged = Outcome::Redirected { path: "/workspace/deep/a".to_owned() };
    assert_eq!(house.perform(&call).await.outcome, unjudged, "where it lay is a path like any that is asked for");
    let call = house.call("filesystem.restore", json!({"trashed_as": trash}));
    assert_eq!(house.led(&call).await.outcome, Outcome::Failed { code: "exists".to_owned() });
    let restored = house.does("filesystem.restore", json!({"trashed_as": trash, "path": "b"})).await;
    assert_eq!(restored, json!({"restored_to": "/workspace/b"}));
    assert_eq!(house.does("filesystem.read", json!({"path": "deep/a"})).await["content"], "new");
    let trash = house.does("filesystem.delete", json!({"path": "b"})).await["trashed_as"].clone();
    let note = trash.as_str().unwrap().replace(".trash/", ".trash/.from/");
    house.does("filesystem.write", json!({"path": note, "content": "/etc/cron.d/job"})).await;
    assert_eq!(house.fails("filesystem.restore", json!({"trashed_as": trash})).await.0, "escape");
    assert_eq!(house.fails("filesystem.restore", json!({"trashed_as": "deep/a"})).await.0, "invalid_arguments");
}
