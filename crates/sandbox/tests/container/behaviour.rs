//! What every jail does, whatever made it: the same checks on a native jail and on each engine's containers.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};

use tenure_sandbox::protocol::{Ended, Kind, Refusal, Spawn, WriteMode};
use tenure_sandbox::{Client, EGRESS_PORT, Meter, Mount};

use crate::engines::BUSYBOX;
use crate::house::{Backend, backends, inside, refusal, run, text};

#[test]
fn files_are_written_whole_found_again_and_never_outside_the_work_folder() {
    for backend in backends() {
        let name = backend.name();
        let (held, mut client) = backend.open(&backend.spec("work", 1));
        assert!(client.write("a/b/c.txt", b"one", WriteMode::Create).unwrap(), "{name}");
        assert_eq!(refusal(client.write("a/b/c.txt", b"two", WriteMode::Create)), Refusal::Exists, "{name}");
        client.append("a/b/c.txt", b" two").unwrap();
        assert_eq!(client.edit("a/b/c.txt", "two", "2", Some(1)).unwrap(), 1);
        assert_eq!(inside(&mut client, "cat a/b/c.txt; stat -c ' %a' a/b/c.txt"), "one 2 644", "{name}");
        let large: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
        client.write("large", &large, WriteMode::Create).unwrap();
        assert_eq!(client.read("large", u64::MAX).unwrap(), large);
        assert_eq!(std::fs::metadata(backend.path("work/large")).unwrap().uid(), 300_001, "{name}: the agent's own");
        assert_eq!(client.stat("a").unwrap().kind, Kind::Directory);
        let trash = client.delete("a", true).unwrap().expect("a place in the trash");
        assert!(backend.path("work").join(trash).join("b/c.txt").exists(), "{name}");
        escapes(&backend, &mut client);
        backend.kill(&held);
    }
}

fn escapes(backend: &Backend, client: &mut Client) {
    let name = backend.name();
    std::fs::write(backend.path("secret"), "outside").unwrap();
    symlink(backend.path("secret"), backend.path("work/absolute")).unwrap();
    symlink("../secret", backend.path("work/relative")).unwrap();
    symlink("large", backend.path("work/good")).unwrap();
    for path in ["../secret", "a/../../secret", "/etc/passwd", "absolute", "relative", "/proc/1/environ"] {
        let mut refused = refusal(client.read(path, 100));
        if let Refusal::Redirected { path } = &refused {
            refused = refusal(client.read(path, 100));
        }
        assert!(matches!(refused, Refusal::Escape | Refusal::NotFound), "{name}: {path} gave {refused:?}");
    }
    assert_eq!(refusal(client.write("relative", b"x", WriteMode::Overwrite)), Refusal::Escape, "{name}");
    assert_eq!(std::fs::read(backend.path("secret")).unwrap(), b"outside");
    let inside = Refusal::Redirected { path: "/workspace/large".to_owned() };
    assert_eq!(refusal(client.read("good", u64::MAX)), inside, "{name}: the control stays inside");
}

#[test]
fn programs_are_told_of_with_code_signal_time_out_and_output_limit_and_leave_nobody() {
    for backend in backends() {
        let name = backend.name();
        let mut spec = backend.spec("work", 1);
        spec.env.insert("GIVEN".to_owned(), "by the spec".to_owned());
        let (held, mut client) = backend.open(&spec);
        let output = run(&mut client, &["sh", "-c", "echo out; echo err >&2; exit 7"]);
        assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("out", "err"), "{name}");
        assert_eq!(output.exit.ended, Ended::Code(7), "{name}");
        assert_eq!(run(&mut client, &["sh", "-c", "kill -9 $$"]).exit.ended, Ended::Signal(9), "{name}");
        assert_eq!(
            inside(&mut client, "echo $GIVEN in $PWD of $HOME as $(id -u)"),
            format!("by the spec in /workspace of /workspace as {}", if name == "native" { 1000 } else { 300_001 })
        );
        let echoed = client.run(Spawn::new(["cat"]), b"through stdin").unwrap();
        assert_eq!(echoed.stdout, b"through stdin", "{name}");
        assert_eq!(refusal(client.run(Spawn::new(["no-such-program"]), b"")), Refusal::NotFound, "{name}");
        let mut flood = Spawn::new(["sh", "-c", "head -c 5000000 /dev/zero"]);
        flood.output_max = Some(10_000);
        let output = client.run(flood, b"").unwrap();
        assert_eq!((output.stdout.len(), output.exit.output_truncated), (10_000, true), "{name}");
        let mut late = Spawn::new(["sh", "-c", "(setsid sleep 1000 &) ; sleep 1000"]);
        late.timeout_ms = Some(300);
        let output = client.run(late, b"").unwrap();
        assert!(output.exit.timed_out, "{name}");
        assert_eq!(inside(&mut client, "ps | grep -c '[s]leep 1000'"), "0", "{name}: its children went with it");
        backend.kill(&held);
    }
}

#[test]
fn memory_processes_files_and_tmp_are_limited_and_told_of() {
    for backend in backends() {
        let name = backend.name();
        let mut spec = backend.spec("work", 1);
        (spec.limits.memory_bytes, spec.limits.pids, spec.tmp_bytes) = (64 << 20, 24, 1 << 20);
        (spec.limits.open_files, spec.limits.file_bytes) = (32, 4 << 20);
        let (held, mut client) = backend.open(&spec);
        let level = held.level();
        assert_ne!((level.memory, level.pids), (Meter::None, Meter::None), "{name}");
        let eaten = run(&mut client, &["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]);
        if level.memory != Meter::Rlimit {
            assert_eq!((eaten.exit.ended, eaten.exit.oom), (Ended::Signal(9), true), "{name}: {level:?}");
        }
        assert_ne!(eaten.exit.ended, Ended::Code(0), "{name}");
        let control = run(&mut client, &["dd", "if=/dev/zero", "of=/dev/null", "bs=2M", "count=1"]);
        assert_eq!((control.exit.ended, control.exit.oom), (Ended::Code(0), false), "{name}");
        let many = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do sleep 60 & done";
        let refused = run(&mut client, &["sh", "-c", many]);
        assert_ne!(refused.exit.ended, Ended::Code(0), "{name}: {}", text(&refused.stderr));
        assert!(refused.exit.pids_refused || level.pids == Meter::Rlimit, "{name}: {:?}", refused.exit);
        let control = run(&mut client, &["sh", "-c", "for i in 1 2 3; do sleep 0 & done; wait"]);
        assert_eq!((control.exit.ended, control.exit.pids_refused), (Ended::Code(0), false), "{name}");
        assert_eq!(inside(&mut client, "ulimit -n"), "32", "{name}");
        assert_ne!(run(&mut client, &["sh", "-c", "head -c 5000000 /dev/zero > big"]).exit.ended, Ended::Code(0));
        assert_eq!(std::fs::metadata(backend.path("work/big")).unwrap().len(), 4 << 20, "{name}");
        for folder in ["/tmp", "/dev/shm"] {
            let fill =
                format!("head -c 3000000 /dev/zero > {folder}/big 2>/dev/null && echo fits; stat -c %s {folder}/big");
            assert_eq!(inside(&mut client, &fill), "1048576", "{name}: {folder}");
        }
        assert_eq!(inside(&mut client, "head -c 3000000 /dev/zero > fits; stat -c %s fits"), "3000000", "{name}");
        backend.kill(&held);
    }
}

#[test]
fn mounts_show_what_the_spec_names_and_read_only_is_kept() {
    for backend in backends() {
        let name = backend.name();
        let mut spec = backend.spec("work", 1);
        for folder in ["work/kept", "work/open", "shared", "open"] {
            std::fs::create_dir_all(backend.path(folder)).unwrap();
            std::fs::write(backend.path(folder).join("file"), folder).unwrap();
            std::os::unix::fs::chown(backend.path(folder), Some(300_001), Some(300_001)).unwrap();
        }
        spec.work_folder_read_only = true;
        let mount = |source: &str, target: &str, read_only| Mount {
            source: backend.path(source),
            target: target.into(),
            read_only,
        };
        spec.mounts = vec![mount("shared", "/mnt/shared", true)];
        let inner = mount("work/open", "/workspace/open", false);
        match &backend {
            Backend::Engine(house) if name == "podman" => {
                let mut refused = spec.clone();
                refused.mounts.push(inner);
                let why = house.try_open(&refused, BUSYBOX).map(drop).unwrap_err().to_string();
                assert!(why.contains("let the agent see all of /workspace"), "{why}");
                spec.mounts.push(mount("open", "/workspace/open", false));
            }
            Backend::Engine(_) | Backend::Native { .. } => spec.mounts.push(inner),
        }
        spec.tmp_bytes = 0;
        let (held, mut client) = backend.open(&spec);
        assert_eq!(
            inside(&mut client, "cat kept/file open/file /mnt/shared/file"),
            format!("work/kept{}shared", if name == "podman" { "open" } else { "work/open" }),
            "{name}"
        );
        let touch = "for f in kept/new new /mnt/shared/new /mnt/new /tmp/new /new /usr/new; do touch $f 2>/dev/null && echo $f; done; \
                     touch open/new && echo written";
        assert_eq!(inside(&mut client, touch), "written", "{name}");
        assert_eq!(refusal(client.write("kept/x", b"x", WriteMode::Create)), Refusal::Denied, "{name}");
        backend.kill(&held);
    }
}

#[test]
fn the_network_is_the_handed_out_listener_and_nothing_else() {
    for backend in backends() {
        let name = backend.name();
        let mut spec = backend.spec("work", 1);
        spec.egress = true;
        let (mut held, mut client) = backend.open(&spec);
        let listener = held.take_listener().expect("a listener");
        assert_eq!(listener.local_addr().unwrap().port(), EGRESS_PORT);
        let outside = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut got = [0; 2];
            stream.read_exact(&mut got).unwrap();
            stream.write_all(b"from outside").unwrap();
            got
        });
        let talk = format!("printf hi | busybox nc -w 20 127.0.0.1 {EGRESS_PORT}");
        assert_eq!(inside(&mut client, &talk), "from outside", "{name}");
        assert_eq!(&outside.join().unwrap(), b"hi");
        assert_eq!(inside(&mut client, "echo $http_proxy"), format!("http://127.0.0.1:{EGRESS_PORT}"), "{name}");
        assert_ne!(run(&mut client, &["busybox", "nc", "-w", "5", "192.0.2.1", "80"]).exit.ended, Ended::Code(0));
        assert_eq!(inside(&mut client, "grep -c : /proc/net/dev"), "1", "{name}: the loopback alone");
        backend.kill(&held);
        let (mut closed, _client) = backend.open(&backend.spec("other", 2));
        assert!(closed.take_listener().is_none(), "{name}: the control asked for none");
        backend.kill(&closed);
    }
}
