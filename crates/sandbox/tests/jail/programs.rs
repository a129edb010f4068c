use std::collections::BTreeMap;
use std::path::PathBuf;

use tenure_sandbox::protocol::{Answer, Ended, Operation, Refusal, Spawn, TerminalSize, WriteMode};
use tenure_sandbox::{Client, Mount};

use crate::house::{House, eventually, inside, processes_with, refusal, run, text};

#[test]
fn a_program_gets_its_arguments_input_folder_and_environment() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    spec.env.insert("FROM_SPEC".into(), "spec".into());
    let (_jail, mut client) = house.open_as(&spec);
    client.write("sub/x", b"", WriteMode::Create).unwrap();
    let mut spawn = Spawn::new([
        "sh",
        "-c",
        "cat; pwd; echo \"$FROM_SPEC $FROM_CALL $HOME $1\"; echo err >&2; exit 7",
        "sh",
        "a b",
    ]);
    spawn.env = vec![("FROM_CALL".into(), "call".into())];
    spawn.cwd = Some("sub".into());
    let output = client.run(spawn, b"input\n").unwrap();
    assert_eq!(text(&output.stdout), "input\n/workspace/sub\nspec call /workspace a b");
    assert_eq!((text(&output.stderr).as_str(), output.exit.ended), ("err", Ended::Code(7)));
    let environment = inside(&mut client, "env | cut -d= -f1 | sort | tr '\\n' ' '");
    assert_eq!(
        environment, "EMAIL FROM_SPEC HOME LANG LOGNAME PATH PWD TMPDIR USER",
        "nothing of the host's environment"
    );
}

#[test]
fn what_cannot_run_is_refused_with_the_reason() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    client.write("plain.txt", b"text", WriteMode::Create).unwrap();
    let mut attempt = |argv: &[&str]| refusal(client.run(Spawn::new(argv.iter().copied()), b""));
    assert_eq!(attempt(&["no-such-program"]), Refusal::NotFound);
    assert_eq!(attempt(&["./plain.txt"]), Refusal::Denied);
    assert_eq!(attempt(&["/root/x"]), Refusal::NotFound);
    assert!(matches!(attempt(&[]), Refusal::Invalid { .. }));
    let mut spawn = Spawn::new(["true"]);
    spawn.cwd = Some("missing".into());
    assert_eq!(refusal(client.run(spawn, b"")), Refusal::NotFound);
    assert_eq!(run(&mut client, &["true"]).exit.ended, Ended::Code(0));
}

/// Forks twice, leaves its session, ignores what can be ignored, and would write a file later.
fn daemon(mark: &str) -> String {
    format!(
        "import os, signal, sys, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    for s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\n    print('up', flush=True)\n    open('up', 'w').close()\n    os.close(1); os.close(2)\n    time.sleep(600)  # {mark}\n  os._exit(0)\n"
    )
}

#[test]
fn a_timeout_kills_a_daemon_that_forked_twice_and_ignores_sigterm() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let mark = format!("daemon-{}-timeout", std::process::id());
    let mut attempts = [1500, 6000, 24_000].into_iter().map(|timeout| {
        let mut spawn = Spawn::new(["python3", "-c", &(daemon(&mark) + "time.sleep(600)")]);
        spawn.timeout_ms = Some(timeout);
        client.run(spawn, b"").unwrap()
    });
    // A slow host needs more time to get that far.
    let output = attempts.find(|output| !output.stdout.is_empty()).expect("a daemon");
    assert_eq!(text(&output.stdout), "up", "the control: the daemon was there");
    assert!(output.exit.timed_out && output.exit.ended == Ended::Signal(9), "{:?}", output.exit);
    assert_eq!(processes_with(&mark), Vec::<i32>::new());
    assert!(inside(&mut client, "ls /proc | grep -c '^[0-9]'").parse::<u32>().unwrap() <= 6);
}

#[test]
fn what_a_program_leaves_in_the_background_ends_with_it() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let mark = format!("daemon-{}-left", std::process::id());
    let until_up = "while not os.path.exists('up'): time.sleep(0.01)";
    let output = run(&mut client, &["python3", "-c", &(daemon(&mark) + until_up)]);
    assert_eq!((text(&output.stdout).as_str(), output.exit.ended), ("up", Ended::Code(0)));
    assert_eq!(processes_with(&mark), Vec::<i32>::new());
}

#[test]
fn one_program_is_killed_or_signalled_and_others_go_on() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let victim = client.send(Operation::Spawn(Spawn::new(["sleep", "600"])), b"").unwrap();
    let listener = "import os, signal\nsignal.signal(10, lambda *_: (os.write(1, b'got it'), os._exit(3)))\nos.write(1, b'on\\n')\nwhile True: signal.pause()";
    let other = client.send(Operation::Spawn(Spawn::new(["python3", "-c", listener])), b"").unwrap();
    let (mut started, mut heard) = (false, Vec::new());
    // What is not known to have started cannot be signalled, even if it has spoken.
    while !started || heard != b"on\n" {
        match client.answer(other).unwrap() {
            (Answer::Started, _) => started = true,
            (_, body) => heard.extend(body),
        }
    }
    let kill = client.send(Operation::Kill { target: victim }, b"").unwrap();
    assert_eq!(client.answer(kill).unwrap().0, Answer::Done);
    let exit = loop {
        if let Answer::Exited(exit) = client.answer(victim).unwrap().0 {
            break exit;
        }
    };
    assert!(exit.killed && !exit.timed_out && exit.ended == Ended::Signal(9));
    client.send(Operation::Signal { target: other, signal: 10 }, b"").unwrap();
    let mut said = Vec::new();
    let exit = loop {
        match client.answer(other).unwrap() {
            (Answer::Output { .. }, body) => said.extend(body),
            (Answer::Exited(exit), _) => break exit,
            _ => {}
        }
    };
    assert_eq!(exit.ended, Ended::Code(3));
    assert_eq!(text(&said), "got it");
    let missing = client.send(Operation::Kill { target: 9999 }, b"").unwrap();
    assert_eq!(client.answer(missing).unwrap().0, Answer::Refused(Refusal::NotFound));
}

#[test]
fn a_program_that_kills_its_keeper_escapes_nothing() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let mark = format!("rebel-{}", std::process::id());
    let rebel = format!(
        "import os, signal, time\nif os.fork() == 0:\n  os.setsid()\n  os.kill({{}}, 9)\n  time.sleep(600)  # {mark}\ntime.sleep(600)"
    );
    let script = rebel.replace("{}", "int(open(f'/proc/{os.getppid()}/stat').read().split()[3])");
    let output = run(&mut client, &["python3", "-c", &script]);
    assert_eq!(output.exit.ended, Ended::Signal(9));
    eventually("the rebel's death", || processes_with(&mark).is_empty());
    assert_eq!(inside(&mut client, "echo alive"), "alive");
    assert_eq!(
        inside(&mut client, "kill -9 1; echo init lives"),
        "init lives",
        "the jail's init cannot be killed from inside"
    );
}

#[test]
fn a_fork_bomb_ends_with_its_timeout() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let mut spawn = Spawn::new(["python3", "-c", "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"]);
    spawn.timeout_ms = Some(500);
    spawn.output_max = Some(1000);
    let exit = client.run(spawn, b"").unwrap().exit;
    assert!(exit.timed_out, "{exit:?}");
    assert!(inside(&mut client, "ls -d /proc/[0-9]* | wc -l").parse::<u32>().unwrap_or(99) < 8);
}

#[test]
fn many_programs_run_at_once_and_one_too_many_is_told_so() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    spec.limits.pids = 400;
    let (_jail, mut client) = house.open_as(&spec);
    let program = |n: usize| Spawn::new(["sh", "-c", &format!(": > up{n}; exec sleep 600")]);
    let ids: Vec<u32> = (0..65).map(|n| client.send(Operation::Spawn(program(n)), b"").unwrap()).collect();
    assert_eq!(client.answer(ids[64]).unwrap().0, Answer::Refused(Refusal::Busy));
    eventually("the others' start", || (0..64).all(|n| house.path(&format!("work/up{n}")).exists()));
    assert!(!house.path("work/up64").exists());
    client.send(Operation::Kill { target: ids[0] }, b"").unwrap();
    while !matches!(client.answer(ids[0]).unwrap().0, Answer::Exited(_)) {}
    assert!(inside(&mut client, "echo room").contains("room"));
}

#[test]
fn the_common_tools_run() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    spec.limits.memory_bytes = 2 << 30;
    spec.limits.pids = 400;
    spec.tmp_bytes = 256 << 20;
    let toolchain = rust_toolchain();
    spec.mounts.extend(toolchain.clone().map(|source| Mount { source, target: "/opt/rust".into(), read_only: true }));
    let (jail, mut client) = house.open_as(&spec);
    assert_eq!(text(&run(&mut client, &["bash", "-c", "echo $((6*7)) | { read x; echo got $x; }"]).stdout), "got 42");
    let python = "import json, sqlite3, ssl, subprocess, threading, concurrent.futures as f, multiprocessing as m, tempfile\nprint(sum(f.ThreadPoolExecutor(4).map(len, ['a'] * 9)), m.get_context('fork').Pool(2).map(abs, [-1, -2]), subprocess.check_output(['echo', 'hi']))";
    let said = run(&mut client, &["python3", "-c", python]);
    assert_eq!(text(&said.stdout), "9 [1, 2] b'hi\\n'", "{}", text(&said.stderr));
    let tools = [
        ("gcc", "printf 'int main(){return 42;}' > m.c && gcc m.c -o m && ./m; echo $?", "42"),
        (
            "git",
            "git init -q r && cd r && git config user.email a@b && git config user.name n && echo x > f && git add f && git commit -qm m && git log --format=%s",
            "m",
        ),
    ];
    for (tool, script, expected) in tools {
        if inside(&mut client, &format!("command -v {tool}")).is_empty() {
            continue;
        }
        assert_eq!(inside(&mut client, script).lines().last(), Some(expected), "{tool}");
    }
    // Node reserves more address space than a limit of data per process lets it.
    if jail.level().memory != tenure_sandbox::Meter::Rlimit && !inside(&mut client, "command -v node").is_empty() {
        let node = "require('fs').writeFileSync('n', 'x'); setTimeout(() => require('child_process').exec('echo from node', (e, o) => console.log(o.trim())), 5)";
        let output = run(&mut client, &["node", "-e", node]);
        assert_eq!(text(&output.stdout), "from node", "{}", text(&output.stderr));
    }
    if toolchain.is_some() {
        let cargo = "export PATH=/opt/rust/bin:$PATH CARGO_HOME=/tmp/cargo; cargo new -q --vcs none app && cd app && cargo run -q --offline";
        assert_eq!(inside(&mut client, cargo).lines().last(), Some("Hello, world!"));
    }
}

/// The toolchain that builds this test, if this user may read it.
fn rust_toolchain() -> Option<PathBuf> {
    let output = std::process::Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let path = PathBuf::from(text(&output.stdout));
    path.join("bin/cargo").exists().then_some(path)
}

/// A program that is fed, and all that it and its requests said.
struct FedProgram<'c> {
    client: &'c mut Client,
    id: u32,
    seen: String,
    answers: BTreeMap<u32, Answer>,
}

impl<'c> FedProgram<'c> {
    fn start(client: &'c mut Client, spawn: Spawn) -> Self {
        let id = client.send(Operation::Spawn(Spawn { fed: true, ..spawn }), b"").expect("it is sent");
        Self { client, id, seen: String::new(), answers: BTreeMap::new() }
    }

    fn hear(&mut self) {
        let (reply, body) = self.client.next().expect("it answers");
        match reply.answer {
            Answer::Started => {}
            Answer::Output { .. } => self.seen.push_str(&String::from_utf8_lossy(&body)),
            answer => drop(self.answers.insert(reply.id, answer)),
        }
    }

    fn until(&mut self, wanted: &str) -> &str {
        while !self.seen.contains(wanted) {
            assert!(!self.answers.contains_key(&self.id), "no `{wanted}` in {}", self.seen);
            self.hear();
        }
        &self.seen
    }

    fn ask(&mut self, operation: Operation, body: &[u8]) -> u32 {
        self.client.send(operation, body).expect("it is sent")
    }

    fn answer(&mut self, id: u32) -> Answer {
        while !self.answers.contains_key(&id) {
            self.hear();
        }
        self.answers[&id].clone()
    }

    fn types(&mut self, bytes: &[u8], end: bool) -> Answer {
        let typed = self.ask(Operation::Input { target: self.id, end }, bytes);
        self.answer(typed)
    }

    fn ended(&mut self) -> Ended {
        let Answer::Exited(exit) = self.answer(self.id) else { panic!("it did not exit") };
        exit.ended
    }
}

#[test]
fn a_program_that_is_to_have_a_terminal_has_one_of_its_own() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let size = TerminalSize { rows: 33, columns: 101 };
    let mut shell = FedProgram::start(&mut client, Spawn { terminal: Some(size), ..Spawn::new(["sh", "-i"]) });
    assert_eq!(shell.types(b"PS1=; stty size; tty; : > /dev/tty && echo own-$((1+1))\n", false), Answer::Done);
    let said = shell.until("own-2");
    assert!(said.contains("33 101") && said.contains("/dev/pts/"), "{said}");
    let resized = shell.ask(Operation::Resize { target: shell.id, size: TerminalSize { rows: 50, columns: 60 } }, b"");
    assert_eq!(shell.answer(resized), Answer::Done);
    // Its interrupt ends what runs in front, and the shell goes on.
    shell.types(b"stty size; sh -c 'echo in-$((1+1))-front; exec sleep 600'\n", false);
    assert!(shell.until("in-2-front").contains("50 60"));
    shell.types(b"\x03", false);
    shell.types(b"exit 7\n", false);
    assert_eq!(shell.ended(), Ended::Code(7));
    assert_eq!(shell.types(b"late", false), Answer::Refused(Refusal::NotFound));
}

#[test]
fn input_that_is_given_whole_ends_at_a_terminal_too_and_is_not_echoed() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let cat = || Spawn { terminal: Some(TerminalSize::default()), ..Spawn::new(["sh", "-c", "test -t 2 && cat"]) };
    for (stdin, expected) in [(&b"one\ntwo"[..], "one\r\ntwo"), (b"one\n", "one\r\n"), (b"", "")] {
        let output = client.run(cat(), stdin).unwrap();
        assert_eq!((String::from_utf8_lossy(&output.stdout).as_ref(), output.exit.ended), (expected, Ended::Code(0)));
    }
}

#[test]
fn input_comes_as_it_is_fed_and_waits_for_a_program_that_does_not_read() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let script = "read line; echo got $line; sleep 1; head -c 200000 | wc -c";
    let mut reader = FedProgram::start(&mut client, Spawn::new(["sh", "-c", script]));
    assert_eq!(reader.types(b"first\n", false), Answer::Done);
    reader.until("got first");
    let much = reader.ask(Operation::Input { target: reader.id, end: false }, &[b'x'; 500_000]);
    assert_eq!(reader.types(b"", true), Answer::Refused(Refusal::Busy), "one piece at a time");
    reader.until("200000");
    // It ended without the rest.
    assert_eq!(reader.answer(much), Answer::Refused(Refusal::NotFound));
    let mut short = FedProgram::start(&mut client, Spawn::new(["wc", "-c"]));
    short.types(b"12345", false);
    short.types(b"", true);
    assert_eq!(short.until("5"), "5\n");
}

#[test]
fn what_programs_share_by_number_ends_with_the_last_of_them() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let left = "cat /proc/sysvipc/shm /proc/sysvipc/sem /proc/sysvipc/msg | grep -vc key || true";
    let make = "import ctypes; c = ctypes.CDLL(None)\nassert c.shmget(7, 1 << 20, 0o1600) >= 0 and c.semget(7, 3, 0o1600) >= 0 and c.msgget(7, 0o1600) >= 0\nprint(len(open('/proc/sysvipc/shm').readlines()) - 1)";
    let made = run(&mut client, &["python3", "-c", make]);
    assert_eq!(text(&made.stdout), "1", "{}", text(&made.stderr));
    assert_eq!(inside(&mut client, left), "0");
}

#[test]
fn no_program_limits_the_jail_s_first_process_and_its_own_it_may() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let script = "import os, resource as r\ndef does(what, *a):\n  try: what(*a); return 'done'\n  except OSError as e: return e.errno\nbefore = os.getpriority(os.PRIO_PROCESS, 1)\nprint(does(r.prlimit, 1, r.RLIMIT_CPU, (0, 0)), does(r.prlimit, 1, r.RLIMIT_NOFILE, (0, 0)), does(r.prlimit, 1, r.RLIMIT_CPU), does(r.prlimit, 0, r.RLIMIT_NOFILE, (50, 50)), does(r.prlimit, os.getpid(), r.RLIMIT_NOFILE, (40, 40)), does(os.setpriority, os.PRIO_PROCESS, 0, 5), does(os.setpriority, os.PRIO_USER, 0, 19), os.getpriority(os.PRIO_PROCESS, 1) == before)";
    assert_eq!(text(&run(&mut client, &["python3", "-c", script]).stdout), "1 1 done done done done 1 True");
    client.write("still", b"served", WriteMode::Create).unwrap();
}
