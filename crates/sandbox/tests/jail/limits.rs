use tenure_sandbox::Meter;
use tenure_sandbox::protocol::{Ended, Refusal, Spawn, WriteMode};

use crate::house::{House, inside, refusal, run, text};

const EAT: &str = "x = bytearray(200 << 20); print('ate', len(x))";

#[test]
fn memory_over_the_limit_ends_the_program_as_oom_and_not_the_jail() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    spec.limits.memory_bytes = 64 << 20;
    let (jail, mut client) = house.open_as(&spec);
    let output = run(&mut client, &["python3", "-c", EAT]);
    match jail.level().memory {
        Meter::CgroupV1 | Meter::CgroupV2 => {
            assert_eq!((output.exit.ended, output.exit.oom), (Ended::Signal(9), true));
        }
        Meter::Engine | Meter::Rlimit | Meter::None => assert!(text(&output.stderr).contains("MemoryError")),
    }
    assert_eq!(inside(&mut client, "echo alive"), "alive");
    let killed = run(&mut client, &["sh", "-c", "kill -9 $$"]);
    assert_eq!((killed.exit.ended, killed.exit.oom), (Ended::Signal(9), false), "another kill is told apart");
    let (_jail, mut roomy) = house.open_as(&house.spec("other", 2));
    assert!(text(&run(&mut roomy, &["python3", "-c", EAT]).stdout).starts_with("ate"), "the control has room");
}

#[test]
fn processes_over_the_limit_cannot_be_made() {
    let house = House::new();
    let many = "import os, sys, time\nmade = 0\ntry:\n  for _ in range(60):\n    if os.fork() == 0: time.sleep(60)\n    made += 1\nexcept BlockingIOError: print('EAGAIN', flush=True)\nprint(made, flush=True)";
    let mut spec = house.spec("work", 1);
    spec.limits.pids = 20;
    let (jail, mut client) = house.open_as(&spec);
    let output = run(&mut client, &["python3", "-c", many]);
    assert!(output.exit.pids_refused || jail.level().pids == Meter::Rlimit, "{:?}", output.exit);
    let said = text(&output.stdout);
    let (refused, made) = said.split_once('\n').unwrap_or(("", &said));
    assert!(refused == "EAGAIN" && made.parse::<u32>().unwrap() < 20, "{said}");
    let (_jail, mut roomy) = house.open_as(&house.spec("other", 2));
    let control = run(&mut roomy, &["python3", "-c", many]);
    assert_eq!(
        (text(&control.stdout).as_str(), control.exit.pids_refused),
        ("60", false),
        "the control makes them all"
    );
}

#[test]
fn open_files_and_file_sizes_are_limited() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    (spec.limits.open_files, spec.limits.file_bytes) = (32, 1 << 20);
    let (_jail, mut client) = house.open_as(&spec);
    let open =
        "held = []\ntry:\n  while True: held.append(open('/dev/null'))\nexcept OSError as e: print(e.errno, len(held))";
    let said = text(&run(&mut client, &["python3", "-c", open]).stdout);
    assert!(said.starts_with("24 ") && said[3..].parse::<u32>().unwrap() < 32, "{said}");
    let big = run(&mut client, &["sh", "-c", "head -c 2000000 /dev/zero > big"]);
    assert_ne!(big.exit.ended, Ended::Code(0));
    assert_eq!(std::fs::metadata(house.path("work/big")).unwrap().len(), 1 << 20);
    let refused = refusal(client.write("over", &vec![0; (1 << 20) + 1], WriteMode::Create));
    assert_eq!(refused, Refusal::TooLarge { limit: 1 << 20 });
    assert!(client.write("within", &vec![0; 1 << 20], WriteMode::Create).unwrap());
}

#[test]
fn a_flood_of_output_is_dropped_beyond_its_limit_and_does_not_stop_the_program() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let mut spawn = Spawn::new(["sh", "-c", "head -c 50000000 /dev/zero; echo done > marker"]);
    spawn.output_max = Some(10_000);
    let output = client.run(spawn, b"").unwrap();
    assert_eq!((output.stdout.len(), output.exit.output_truncated), (10_000, true));
    assert_eq!(output.exit.ended, Ended::Code(0));
    assert_eq!(client.read("marker", 100).unwrap(), b"done\n");
    let control = run(&mut client, &["sh", "-c", "head -c 9000 /dev/zero"]);
    assert_eq!((control.stdout.len(), control.exit.output_truncated), (9000, false));
}

#[test]
fn the_temporary_folders_hold_no_more_than_the_spec_says() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    spec.tmp_bytes = 1 << 20;
    let (_jail, mut client) = house.open_as(&spec);
    let said = inside(&mut client, "head -c 3000000 /dev/zero > /tmp/big");
    assert!(said.contains("No space left"), "{said}");
    assert_eq!(refusal(client.write("/tmp/file", &vec![1; 2 << 20], WriteMode::Create)), Refusal::NoSpace);
    assert_eq!(
        inside(&mut client, "head -c 3000000 /dev/zero > big && stat -c %s big"),
        "3000000",
        "the control is on disk"
    );
}

#[test]
fn cpu_time_is_held_to_the_limit_where_a_cgroup_holds_it() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    spec.limits.cpu_millicores = 50;
    let (jail, mut client) = house.open_as(&spec);
    if jail.level().cpu == Meter::None {
        eprintln!("skipped: no control group holds the processor's time here");
        return;
    }
    let mut spawn = Spawn::new(["python3", "-c", "while True: pass"]);
    spawn.timeout_ms = Some(2000);
    let exit = client.run(spawn, b"").unwrap().exit;
    assert!(exit.timed_out && exit.cpu_ms * 5 < exit.wall_ms * 2, "{exit:?}");
    assert!(exit.cpu_throttled_ms > 0, "{exit:?}");
    let mut control = house.spec("other", 2);
    // In v2 the jail's own processes count too, and on a slow host they and the program want more than one processor.
    control.limits.cpu_millicores = 1_000_000;
    let (_jail, mut roomy) = house.open_as(&control);
    assert_eq!(run(&mut roomy, &["true"]).exit.cpu_throttled_ms, 0, "the control is not held back");
}
