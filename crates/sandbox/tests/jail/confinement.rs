use std::process::Command;

use tenure_sandbox::protocol::{Operation, Spawn};
use tenure_sandbox::{Client, Jail};

use crate::house::{House, eventually, inside, jail_exe, outside, run, text};

/// Names what has to hold memory, pids and cpu, as the level does.
const METERS: &str = "TENURE_TEST_METERS";

/// Makes each call with arguments that the kernel would refuse with something else than EPERM, and prints `name errno`.
const CALLS: &str = r#"
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *[ctypes.c_long(a) for a in arguments])
    print(name, 'ok' if result >= 0 else errno.errorcode[ctypes.get_errno()], flush=True)
call('ptrace', 101, 0, 0, 0, 0)
call('unshare', 272, 0x10000000)
call('bpf', 321, 999, 0, 0)
call('keyctl', 250, 999)
call('add_key', 248, 0, 0, 0, 0, 0)
call('userfaultfd', 323, -1)
call('perf_event_open', 298, 0, 0, 0, 0, 0)
call('io_uring_setup', 425, 0, 0)
call('open_by_handle_at', 304, -1, 0, 0)
call('process_vm_readv', 310, os.getpid(), 0, 0, 0, 0, 0)
call('setns', 308, -1, 0)
call('clone3', 435, 0, 0)
call('socket netlink', 41, 16, 3, 0)
call('socket packet', 41, 17, 3, 0)
call('socket vsock', 41, 40, 1, 0)
call('socket inet', 41, 2, 1, 0)
call('clone newuser', 56, 0x10000200, 0, 0, 0, 0)
call('tiocsti', 16, 0, 0x5412, 0)
"#;

fn calls(said: &str) -> Vec<(&str, &str)> {
    said.lines().filter_map(|line| line.rsplit_once(' ')).collect()
}

#[test]
fn no_program_has_or_regains_a_capability() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let status = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr '\\t' ' '";
    let said = inside(&mut client, status);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(said.contains(&format!("{set}: 0000000000000000")), "{said}");
    }
    assert!(said.contains("NoNewPrivs: 1") && said.contains("Seccomp: 2"), "{said}");
    assert!(!outside(status).contains("CapBnd: 0000000000000000"), "the control has a bounding set");
    assert!(inside(&mut client, "mount -t tmpfs none /tmp").contains("mount"), "mount refuses");
    assert!(inside(&mut client, "chown 0 /workspace").contains("chown"), "chown refuses");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn system_calls_that_reach_out_are_refused_and_others_are_not() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let within = text(&run(&mut client, &["python3", "-c", CALLS]).stdout);
    let control = Command::new("/usr/bin/python3").args(["-c", CALLS]).output().unwrap();
    let control = text(&control.stdout);
    let within = calls(&within);
    assert_eq!(within.len(), 18, "{within:?}");
    for (name, answer) in within {
        match name {
            "clone3" => assert_eq!(answer, "ENOSYS"),
            "socket inet" => assert_eq!(answer, "ok"),
            _ => assert_eq!(answer, "EPERM", "{name}"),
        }
    }
    let refused_by_kernel =
        ["perf_event_open", "userfaultfd", "bpf", "open_by_handle_at", "socket packet", "io_uring_setup"];
    for (name, answer) in calls(&control) {
        // Some of these the kernel itself keeps from ordinary users.
        assert!(answer != "EPERM" || refused_by_kernel.contains(&name), "control: {name} {answer}");
    }
}

#[test]
fn there_is_no_network_but_an_own_loopback() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let devices = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '";
    assert_eq!(inside(&mut client, devices), "lo");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = format!(
        "import socket; s = socket.socket(); s.settimeout(3)\ntry: s.connect(('127.0.0.1', {})); print('reached')\nexcept OSError as e: print(e.errno)",
        listener.local_addr().unwrap().port()
    );
    let out = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ntry: s.connect(('192.0.2.1', 53)); s.send(b'x'); print('sent')\nexcept OSError as e: print('no route')";
    assert_ne!(text(&run(&mut client, &["python3", "-c", &connect]).stdout), "reached");
    assert_eq!(text(&run(&mut client, &["python3", "-c", out]).stdout), "no route");
    let control = Command::new("/usr/bin/python3").args(["-c", &connect]).output().unwrap();
    assert_eq!(text(&control.stdout), "reached", "the control reaches the host's listener");
}

/// Serves on every address it has and tells on which port, until the other side says something.
const SERVE: &str = "import socket\na = socket.socket(); a.bind(('0.0.0.0', 0)); a.listen(); open('port', 'w').write(str(a.getsockname()[1]))\na.settimeout(30); b, _ = a.accept(); print(b.recv(9).decode())";

#[test]
fn what_a_program_serves_is_reached_by_its_own_jail_and_by_nobody_else() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let (_other, mut other) = house.open_as(&house.spec("other", 2));
    client.send(Operation::Spawn(Spawn::new(["python3", "-c", SERVE])), b"").unwrap();
    eventually("a port", || std::fs::read(house.path("work/port")).is_ok_and(|port| !port.is_empty()));
    let port = std::fs::read_to_string(house.path("work/port")).unwrap();
    let connect = format!(
        "import socket; s = socket.socket(); s.settimeout(5)\ntry: s.connect(('127.0.0.1', {port})); s.send(b'within'); print('reached')\nexcept OSError as e: print(e.errno)"
    );
    let outside = Command::new("/usr/bin/python3").args(["-c", &connect]).output().unwrap();
    assert_eq!(text(&outside.stdout), "111", "the host does not reach it");
    assert_eq!(text(&run(&mut other, &["python3", "-c", &connect]).stdout), "111", "another jail does not");
    assert_eq!(text(&run(&mut client, &["python3", "-c", &connect]).stdout), "reached", "its own jail does");
}

#[test]
fn the_level_says_what_holds() {
    let house = House::new();
    let (jail, _client): (Jail, Client) = house.open();
    let level = jail.level();
    assert!(level.namespaces && level.seccomp);
    let json = serde_json::to_value(level).unwrap();
    assert_eq!(json["identity"], if crate::house::is_root() { "host" } else { "caller" });
    let report = tenure_sandbox::probe::check(&jail_exe(), house.folder.path(), crate::house::identity(9)).unwrap();
    assert_eq!(report.level.as_ref(), Some(level));
    assert!(report.usable() && report.to_string().contains("namespaces"));
    assert!(!report.findings.iter().any(|finding| finding.required && !finding.enforced), "{report}");
    println!("level: {json}");
    // Whoever prepares a host for the suite says what it has to give.
    let Ok(expected) = std::env::var(METERS) else { return };
    assert_eq!(["memory", "pids", "cpu"].map(|limit| json[limit].as_str().unwrap()).join(" "), expected);
}

#[test]
fn where_user_namespaces_are_denied_opening_fails_with_the_layer_and_the_way_out() {
    if crate::house::is_root() {
        // Shown in the ordinary user's run: root may not be mapped, so it has no namespace to deny itself others in.
        return;
    }
    // A user namespace whose own limit of further ones is 0 stands in for a host that denies them.
    let exe = std::env::current_exe().unwrap();
    let denied = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces && TENURE_TEST_DENIED=1 exec {} --exact confinement::opening_here_tells_why --nocapture",
        exe.display()
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-current-user", "--keep-caps", "sh", "-c", &denied])
        .output()
        .unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    if said.contains("Permission denied") && !said.contains("running 1 test") {
        eprintln!("skipped: this host does not let a user namespace lower its own limit");
        return;
    }
    assert!(said.contains("namespaces") && said.contains("user.max_"), "{said}");
    assert!(said.contains("No space left on device"), "the errno is told: {said}");
}

/// Run by the test above where jails cannot open; alone it has nothing to tell.
#[test]
fn opening_here_tells_why() {
    if std::env::var_os("TENURE_TEST_DENIED").is_none() {
        return;
    }
    let house = House::new();
    println!("{}", house.zygote.open(&house.spec("work", 1)).map(drop).unwrap_err());
}
