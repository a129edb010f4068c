use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tenure_sandbox::protocol::{Refusal, WriteMode};
use tenure_sandbox::{Mount, host_python_version};

use crate::house::{House, inside, is_root, outside, refusal, run, text};

#[test]
fn programs_see_their_own_tree_and_nothing_else_of_the_host() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let listed = inside(&mut client, "ls -A /");
    let names: Vec<&str> = listed.split_whitespace().collect();
    let expected = [
        "bin",
        "data",
        "dev",
        "etc",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "mnt",
        "opt",
        "proc",
        "run",
        "sbin",
        "srv",
        "tmp",
        "usr",
        "var",
        "workspace",
    ];
    assert!(names.iter().all(|name| expected.contains(name)), "{names:?}");
    for path in ["/root", "/home", "/etc/shadow", "/etc/ssh", "/sys", "/boot", "/etc/gitconfig", "/var/lib"] {
        assert_eq!(inside(&mut client, &format!("ls -d {path} 2>/dev/null")), "", "{path} is visible");
    }
    let control = outside("ls -d /root /etc/shadow /sys");
    assert_eq!(control.lines().count(), 3, "the host has what is hidden: {control}");
    let devices = inside(&mut client, "ls -A /dev");
    let mut devices: Vec<&str> = devices.split_whitespace().collect();
    devices.sort_unstable();
    let harmless = ["full", "null", "ptmx", "random", "tty", "urandom", "zero"];
    let mut expected = [&harmless[..], &["fd", "pts", "shm", "stderr", "stdin", "stdout"]].concat();
    expected.sort_unstable();
    assert_eq!(devices, expected);
    assert_eq!(inside(&mut client, "ls /dev/pts"), "ptmx", "no terminal of the host's");
}

#[test]
fn the_program_folders_and_the_root_are_read_only_and_the_work_folder_is_not() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    for place in ["/usr", "/usr/bin", "/etc", "/", "/dev", "/run/tenure/bin", "/proc"] {
        let answer = inside(&mut client, &format!("touch {place}/probe; rm -f {place}/probe"));
        assert!(answer.contains("cannot touch"), "{place}: {answer}");
    }
    for place in ["/workspace", "/tmp", "/dev/shm"] {
        assert_eq!(inside(&mut client, &format!("touch {place}/probe && echo made")), "made", "{place}");
    }
}

#[test]
fn programs_see_only_processes_of_their_own_jail() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let pids = inside(&mut client, "for p in /proc/[0-9]*; do echo ${p#/proc/}; done");
    assert!(pids.lines().count() <= 5, "{pids}");
    let host = outside("for p in /proc/[0-9]*; do echo ${p#/proc/}; done");
    assert!(host.lines().count() > 5, "the control sees the host's processes");
    assert_eq!(inside(&mut client, "cat /proc/1/environ /proc/1/maps | wc -c").lines().last(), Some("0"));
    let zygote = house.zygote.pid();
    let answer = inside(&mut client, &format!("kill -0 {zygote}"));
    assert!(answer.contains("No such process"), "{answer}");
}

#[test]
fn a_jail_cannot_see_another_jails_work_folder() {
    let house = House::new();
    let (first, mut one) = house.open_as(&house.spec("one", 1));
    let (_second, mut two) = house.open_as(&house.spec("two", 2));
    assert_eq!(inside(&mut one, "echo secret > /workspace/own; echo t > /tmp/own; cat /workspace/own"), "secret");
    let host_path = house.path("one").join("own");
    let found = inside(&mut two, &format!("cat {} /proc/{}/root/workspace/own", host_path.display(), first.pid()));
    assert!(!found.contains("secret"), "{found}");
    assert_eq!(inside(&mut two, "ls -A /workspace /tmp | grep own"), "");
    assert_eq!(std::fs::read_to_string(&host_path).unwrap().trim(), "secret", "the control reads it on the host");
    if is_root() {
        // Even on the host, the second agent's uid may not write into the first one's folder.
        let first_uid = std::fs::metadata(&host_path).unwrap().uid();
        assert_ne!(first_uid, std::fs::metadata(house.path("two")).unwrap().uid());
    }
}

#[test]
fn files_belong_to_the_agents_host_uid_and_look_like_uid_1000_inside() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    client.write("by-jail", b"x", WriteMode::Create).unwrap();
    assert_eq!(
        inside(&mut client, "touch by-program; id -u; id -g; id -un; stat -c %u by-jail"),
        "1000\n1000\nagent\n1000"
    );
    let expected = if is_root() { 300_001 } else { rustix::process::geteuid().as_raw() };
    for name in ["by-jail", "by-program"] {
        let found = std::fs::metadata(house.path("work").join(name)).unwrap();
        assert_eq!((found.uid(), expected != 0), (expected, true), "{name}");
    }
    let (_, mapping) = (0, inside(&mut client, "cat /proc/self/uid_map"));
    let host_uid: u32 = mapping.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_ne!(host_uid, 0, "host root is never mapped: {mapping}");
    assert_eq!(mapping.lines().count(), 1);
}

#[test]
fn python_is_the_hosts_own_and_answers_to_both_names() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let Some(version) = host_python_version() else { return };
    for name in ["python3", "python"] {
        let output =
            run(&mut client, &[name, "-c", "import platform, sys; print(platform.python_version(), sys.executable)"]);
        let said = text(&output.stdout);
        assert!(said.starts_with(&version), "{said} is not {version}");
        assert!(!said.contains("/root") && !said.contains("/home"), "{said}");
    }
}

#[test]
fn further_mounts_appear_where_the_spec_says_and_as_it_says() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    let (data, store) = (house.path("data"), house.path("store"));
    for folder in [&data, &store] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("file"), "content").unwrap();
    }
    if let tenure_sandbox::Identity::Host { uid, gid } = spec.identity {
        std::os::unix::fs::chown(&store, Some(uid), Some(gid)).unwrap();
    }
    let mount =
        |source: &Path, target: &str, read_only| Mount { source: source.to_owned(), target: target.into(), read_only };
    spec.mounts = vec![
        mount(&data, "/opt/data", true),
        mount(&store, "/workspace/store/deep", false),
        mount(&data.join("file"), "/srv/one/file", true),
        mount(&data, "/tmp/data", true),
    ];
    let (_jail, mut client) = house.open_as(&spec);
    let read = "cat /opt/data/file /workspace/store/deep/file /srv/one/file /tmp/data/file";
    assert_eq!(inside(&mut client, read), "content".repeat(4));
    assert_eq!(inside(&mut client, "echo new > /workspace/store/deep/new && cat /workspace/store/deep/new"), "new");
    let refused = inside(&mut client, "echo new > /opt/data/new");
    assert!(refused.contains("Read-only") || refused.contains("denied"), "{refused}");
    assert!(!data.join("new").exists() && store.join("new").exists());
    let trash = client.delete("store/deep/new", false).unwrap().expect("a mount that can be written has a trash");
    assert!(trash.starts_with("store/deep/.trash/"), "{trash}");
    assert!(!store.join("new").exists() && store.join(".trash").exists());
    assert_eq!(client.restore(&trash, Some("/workspace/store/deep/new")).unwrap(), "/workspace/store/deep/new");
    assert_eq!(client.read("store/deep/new", 10).unwrap(), b"new\n");
    assert!(matches!(refusal(client.delete("store/deep", true)), Refusal::Invalid { .. }), "a mount stays");
    assert_eq!(client.read("/opt/data/file", 10).unwrap(), b"content");
    assert_eq!(refusal(client.delete("/opt/data/file", false)), Refusal::Denied);
    assert_eq!(refusal(client.read("/opt/data/../../etc/passwd", 10)), Refusal::Escape);
    assert_eq!(
        refusal(client.read("/mnt/nothing", 10)),
        Refusal::Escape,
        "where nothing is mounted, nothing is reached"
    );
}

#[test]
fn a_mount_may_lie_on_a_root_of_mounts_itself_and_others_in_it() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    for name in ["store", "deep"] {
        std::fs::create_dir(house.path(name)).unwrap();
        if let tenure_sandbox::Identity::Host { uid, gid } = spec.identity {
            std::os::unix::fs::chown(house.path(name), Some(uid), Some(gid)).unwrap();
        }
    }
    let mount = |name: &str, target: &str| Mount { source: house.path(name), target: target.into(), read_only: false };
    spec.mounts = vec![mount("store", "/data"), mount("deep", "/data/in/deep")];
    let (_jail, mut client) = house.open_as(&spec);
    client.write("/data/a", b"x", WriteMode::Create).unwrap();
    client.write("/data/in/deep/b", b"x", WriteMode::Create).unwrap();
    assert!(house.path("store/a").exists() && house.path("deep/b").exists());
    assert!(client.delete("/data/in/deep/b", false).unwrap().unwrap().starts_with("/data/in/deep/.trash/"));
    assert!(client.delete("/data/a", false).unwrap().unwrap().starts_with("/data/.trash/"));
    assert!(inside(&mut client, "touch /opt/x").contains("cannot touch"), "the others stay empty and read-only");
}

#[test]
fn of_a_read_only_work_folder_only_the_mounts_can_be_written() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    let own = spec.work_folder.join("own");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(spec.work_folder.join("notes"), "kept").unwrap();
    if let tenure_sandbox::Identity::Host { uid, gid } = spec.identity {
        std::os::unix::fs::chown(&own, Some(uid), Some(gid)).unwrap();
    }
    spec.work_folder_read_only = true;
    spec.tmp_bytes = 0;
    spec.mounts = vec![
        Mount { source: own, target: "/workspace/own".into(), read_only: false },
        Mount { source: spec.work_folder.join("notes"), target: "/workspace/notes".into(), read_only: true },
    ];
    let (_jail, mut client) = house.open_as(&spec);
    client.write("own/new", b"x", WriteMode::Create).expect("the control can be written");
    for path in ["new", "notes", "/tmp/new"] {
        assert_eq!(refusal(client.write(path, b"x", WriteMode::Overwrite)), Refusal::Denied, "{path}");
    }
    assert!(client.delete("notes", false).is_err());
    let trash = client.delete("own/new", false).unwrap().expect("the folder that can be written has a trash");
    assert!(trash.starts_with("own/.trash/"), "{trash}");
    assert_eq!(client.restore(&trash, Some("/workspace/own/new")).unwrap(), "/workspace/own/new");
    assert_eq!(client.read("notes", 10).unwrap(), b"kept");
    assert!(inside(&mut client, "touch other").contains("cannot touch"));
}

#[test]
fn a_spec_that_no_jail_can_honour_is_refused_with_the_field() {
    let house = House::new();
    let refused = |change: fn(&mut tenure_sandbox::Spec)| {
        let mut spec = house.spec("work", 1);
        change(&mut spec);
        house.zygote.open(&spec).map(drop).unwrap_err().to_string()
    };
    let target = |path: &str| Mount { source: "/usr".into(), target: path.into(), read_only: true };
    assert!(refused(|spec| spec.work_folder = "relative".into()).contains("work_folder"));
    assert!(refused(|spec| spec.work_folder = "/nowhere/at/all".into()).contains("/nowhere/at/all"));
    assert!(refused(|spec| spec.hostname = "a/b".into()).contains("hostname"));
    assert!(refused(|spec| spec.limits.pids = 0).contains("limits"));
    assert!(refused(|spec| spec.identity = tenure_sandbox::Identity::Host { uid: 0, gid: 5 }).contains("never mapped"));
    assert!(
        refused(|spec| {
            spec.env.insert("A=B".into(), "c".into());
        })
        .contains("env")
    );
    for path in ["/usr/local/x", "/etc/x", "relative", "/opt/../etc", "/", "/workspace", "/tmp", "/proc/x", "/datas"] {
        let mut spec = house.spec("work", 1);
        spec.mounts = vec![target(path)];
        let error = house.zygote.open(&spec).map(drop).unwrap_err().to_string();
        assert!(error.contains("mounts.target"), "{path}: {error}");
    }
    let (_jail, mut client) = house.open();
    client.ping().expect("the zygote still opens jails");
}

#[test]
fn a_root_worker_never_maps_itself_and_takes_no_strangers_folder() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    let error = |spec: &tenure_sandbox::Spec| house.zygote.open(spec).map(drop).unwrap_err().to_string();
    if is_root() {
        std::os::unix::fs::chown(house.path("work"), Some(300_777), Some(300_777)).unwrap();
        assert!(error(&spec).contains("belongs to uid 300777"));
        spec.identity = tenure_sandbox::Identity::Caller;
        assert!(error(&spec).contains("root, which is never mapped"));
    } else {
        spec.identity = tenure_sandbox::Identity::Host { uid: 300_001, gid: 300_001 };
        assert!(error(&spec).contains("only a worker that runs as root"));
    }
}
