//! What holds a container, seen from inside and from the host, and what the image cannot change about it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tenure_sandbox::protocol::{Ended, Operation, Spawn, WriteMode};
use tenure_sandbox::{Error, Layer, Mapping, Meter, Mount};

use crate::engines::{BUSYBOX, Kind};
use crate::house::{House, engines, eventually, inside, run};

fn status(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key, value.trim())).collect()
}

#[test]
fn programs_have_no_rights_a_read_only_root_and_both_filters_on_top_of_the_engines() {
    for house in engines() {
        let name = house.engine.name();
        let (contained, mut client) = house.open(&house.spec("work", 1));
        let told = inside(&mut client, "cat /proc/self/status");
        let status = status(&told);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status[set], "0000000000000000", "{name} {set}");
        }
        assert_eq!((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"), "{name}");
        assert_eq!(status["Uid"], "300001\t300001\t300001\t300001", "{name}");
        assert!(status["Seccomp_filters"].parse::<u32>().unwrap() >= 4, "{name}: the engine's, and three of ours");
        assert_eq!(
            inside(&mut client, "cut -d' ' -f2,4 /proc/mounts | grep '^/ ' | cut -d' ' -f2 | cut -d, -f1"),
            "ro"
        );
        // Calls that the engine allows, and that a mode of an ordinary file permits, but the jail's own layers do not.
        let writable = "touch /var/tmp/x /run/x /x 2>/dev/null; ls /var/tmp/x /run/x /x 2>/dev/null";
        assert_eq!(inside(&mut client, writable), "", "{name}");
        assert_eq!(
            inside(&mut client, "cat /proc/1/environ 2>&1 | grep -c denied"),
            "1",
            "{name}: the jail's memory is hidden"
        );
        assert_eq!(
            inside(&mut client, "test -e /run/tenure/door/socket || echo gone"),
            "gone",
            "{name}: the door is gone"
        );
        let level = contained.level();
        assert!(level.namespaces && level.seccomp, "{name}: {level:?}");
        assert_eq!((level.identity, level.memory, level.pids), (Mapping::Host, Meter::Engine, Meter::Engine), "{name}");
        let described = contained.describe();
        assert!(described.starts_with(&format!("{name} ")) && described.len() <= 256, "{described}");
        assert!(described.contains("mount pid net ipc uts") && described.contains("memory engine"), "{described}");
        house.kill(&contained);
    }
}

#[test]
fn one_jail_sees_nothing_of_another() {
    for house in engines() {
        let name = house.engine.name();
        let (first, mut one) = house.open(&house.spec("first", 1));
        let (second, mut other) = house.open(&house.spec("second", 2));
        one.write("secret", b"of the first", WriteMode::Create).unwrap();
        one.write("/tmp/secret", b"of the first", WriteMode::Create).unwrap();
        one.send(Operation::Spawn(Spawn::new(["sleep", "1234"])), b"").unwrap();
        eventually("it runs", || inside(&mut one, "ps -o args").contains("sleep 1234"));
        let probe = format!(
            "ls -A /workspace /tmp; cat {} {} 2>/dev/null; ps -o args | grep '[s]leep'",
            house.path("first/secret").display(),
            house.path("second").display(),
        );
        let seen = inside(&mut other, &probe);
        assert_eq!(seen, "/tmp:\n\n/workspace:", "{name}");
        for kind in ["mnt", "pid", "net", "ipc", "uts"] {
            let link = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
            let own = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            assert_ne!(link(first.pid()), link(second.pid()), "{name} {kind}");
            assert_ne!(link(first.pid()), own, "{name} {kind}");
        }
        house.kill(&first);
        house.kill(&second);
    }
}

#[test]
fn an_image_cannot_bring_rights_writable_places_checks_or_libraries_of_its_own() {
    for house in engines() {
        let name = house.engine.name();
        let root = house.path("busybox");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("data")).unwrap();
        fs::write(root.join("etc/ld.so.preload"), "/data/evil.so\n").unwrap();
        fs::write(root.join("data/evil.so"), "not even a library").unwrap();
        fs::write(root.join("etc/group"), "disk:x:6:agent\n").unwrap();
        fs::write(root.join("etc/passwd"), "agent:x:300001:300001::/:/bin/sh\n").unwrap();
        let changes = [
            "USER root",
            "VOLUME /data",
            "VOLUME /srv",
            "ENV LD_PRELOAD=/data/evil.so",
            "ENV LD_AUDIT=/data/evil.so",
            "ENV FLAVOR=own",
            "ENV HOME=/root",
            "ENV PATH=/opt/tool/bin:/bin",
            "HEALTHCHECK --interval=1s CMD touch /workspace/checked",
            "ENTRYPOINT [\"/bin/touch\", \"/workspace/entered\"]",
            "CMD [\"/workspace/commanded\"]",
            "LABEL tenure.jail=forged",
        ];
        house.build("trap", &root, &changes);
        let mut spec = house.spec("work", 1);
        fs::create_dir(house.path("shared")).unwrap();
        spec.mounts = vec![Mount { source: house.path("shared"), target: "/srv/shared".into(), read_only: true }];
        let (contained, mut client) = house.open_image(&spec, "trap");
        assert_eq!(inside(&mut client, "ls /srv; touch /srv/x 2>/dev/null || echo kept"), "shared\nkept", "{name}");
        let told = inside(&mut client, "id -u; id -G; echo $FLAVOR $HOME; echo $PATH; cat /etc/ld.so.preload");
        let mut lines = told.lines();
        assert_eq!(lines.next(), Some("300001"), "{name}: not the image's user");
        assert_eq!(lines.next(), Some("300001"), "{name}: not the image's group");
        assert_eq!(lines.next(), Some("own /workspace"), "{name}");
        assert_eq!(lines.next().map(|path| path.starts_with("/opt/tool/bin:/bin:")), Some(true), "{name}: {told}");
        assert_eq!(lines.next(), None, "{name}: the image's list of libraries is covered");
        assert_eq!(
            inside(&mut client, "echo $LD_PRELOAD"),
            "/data/evil.so",
            "{name}: a program's variables are the image's"
        );
        assert_eq!(run(&mut client, &["sh", "-c", "echo x > /data/x"]).exit.ended, Ended::Code(1), "{name}");
        assert_eq!(
            inside(&mut client, "ls -A /data /workspace"),
            "/data:\n\n/workspace:",
            "{name}: nothing of the image ran"
        );
        house.kill(&contained);
        assert_eq!(house.containers(), Vec::<String>::new(), "{name}");
    }
}

/// Swaps two names for as long as it lives, as an agent could in its own work folder.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    fn start(one: PathBuf, other: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// The engine looks names up as root. One that is exchanged for a link meanwhile may lead it anywhere, at its source and at its
/// target.
#[test]
fn a_folder_that_is_exchanged_for_a_link_meanwhile_is_found_out() {
    let Some(house) = House::start(Kind::Docker) else { return };
    let mut spec = house.spec("work", 1);
    let (folder, link, secret) = (house.path("work/folder"), house.path("work/link"), house.path("secret"));
    for made in [&folder, &secret] {
        fs::create_dir_all(made).unwrap();
    }
    fs::write(secret.join("file"), "secret").unwrap();
    fs::write(folder.join("file"), "own").unwrap();
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    spec.mounts = vec![Mount { source: folder.clone(), target: "/workspace/folder".into(), read_only: true }];
    let swapping = Swapper::start(folder, link);
    let mut refusals = 0;
    for _ in 0..200 {
        match house.try_open(&spec, BUSYBOX) {
            Ok(contained) => {
                let mut client = contained.client(crate::house::PATIENCE).unwrap();
                let shown = inside(&mut client, "cat folder/file link/file; grep secret /proc/self/mountinfo");
                assert!(!shown.contains("secret"), "{shown}");
                house.kill(&contained);
            }
            // Caught after the engine had followed the link.
            Err(Error::Layer(failure)) => {
                assert_eq!(failure.layer, Layer::View, "{failure}");
                refusals += 1;
            }
            // A link where a folder must be is refused before the engine is asked, or by the engine.
            Err(Error::Io { .. } | Error::Engine { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        if refusals == 4 {
            break;
        }
    }
    assert_eq!(refusals, 4, "the engine did follow the link");
    drop(swapping);
    let (contained, mut control) = house.open(&house.spec("other", 2));
    assert_eq!(inside(&mut control, "echo calm"), "calm");
    house.kill(&contained);
}
