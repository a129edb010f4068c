use crate::house::{House, await_none, shell};
use serde_json::json;
use tenure_core::call::Outcome;
use tenure_core::manifest::Guard;
use tenure_wire::confinement::Confinement;
use tenure_wire::frame::CallOutcome;

const MIB: u64 = 1 << 20;

/// The resource that was used up, how much there was, and the sentence about it.
fn exhausted(outcome: &CallOutcome) -> (String, Option<u64>, String) {
    let Outcome::ResourceExhausted { resource, limit } = &outcome.outcome else { panic!("{outcome:?}") };
    (resource.clone(), *limit, outcome.result["error"].as_str().unwrap_or_default().to_owned())
}

fn disk(bytes: u64) -> impl Fn(&mut Confinement) {
    move |wanted| wanted.disk_bytes = bytes
}

fn files(count: u32) -> impl Fn(&mut Confinement) {
    move |wanted| wanted.files = count
}

#[tokio::test]
async fn a_write_over_the_limit_is_refused_until_room_is_made_in_the_trash_too() {
    let mut house = House::new().await;
    let write = |name: &str| json!({"path": name, "content": "x".repeat(600_000)});
    let first = house.under(disk(MIB), "filesystem.write", write("one")).await;
    assert!(matches!(first.outcome, Outcome::Done { .. }), "{first:?}");
    assert!(first.level.unwrap().ends_with("disk soft"), "what held is in the record");
    for (capability, arguments) in [
        ("filesystem.write", write("two")),
        ("filesystem.write", write("one")),
        ("filesystem.append", write("one")),
        ("filesystem.edit", json!({"path": "one", "find": "xx", "replace": "yyy", "expected_count": 300_000})),
    ] {
        let over = house.under(disk(MIB), capability, arguments).await;
        let (resource, limit, sentence) = exhausted(&over);
        assert_eq!((resource.as_str(), limit), ("disk", Some(MIB)), "{capability}");
        assert!(sentence.contains("1048576 are allowed") && sentence.contains(".trash"), "{sentence}");
    }
    let read = json!({"path": "one", "max_bytes": 1});
    assert_eq!(house.under(disk(MIB), "filesystem.read", read).await.result["size"], 600_000, "nothing changed");
    let trash = house.under(disk(MIB), "filesystem.delete", json!({"path": "one"})).await.result;
    exhausted(&house.under(disk(MIB), "filesystem.write", write("two")).await);
    let emptied = json!({"path": trash["trashed_as"]});
    let emptied = house.under(disk(MIB), "filesystem.delete", emptied).await;
    assert_eq!(emptied.result, json!({"removed": true}));
    let second = house.under(disk(MIB), "filesystem.write", write("two")).await;
    assert!(matches!(second.outcome, Outcome::Done { .. }), "{second:?}");
    // The control: with more allowed, the same is done; /tmp counts as memory.
    house.run.iteration = 2;
    let more = house.under(disk(4 * MIB), "filesystem.write", write("one")).await;
    assert!(matches!(more.outcome, Outcome::Done { .. }), "{more:?}");
    house.run.iteration = 3;
    let tmp = house.under(disk(MIB), "filesystem.write", write("/tmp/three")).await;
    assert!(matches!(tmp.outcome, Outcome::Done { .. }), "{tmp:?}");
}

#[tokio::test]
async fn who_requires_a_hard_quota_gets_no_sandbox_without_one() {
    let mut house = House::new().await;
    let hard = house.hello.host.guards.contains(&Guard::HardQuota);
    let require = |wanted: &mut Confinement| wanted.require = vec![Guard::HardQuota];
    let outcome = house.under(require, "filesystem.list", json!({})).await;
    assert_eq!(matches!(outcome.outcome, Outcome::Done { .. }), hard, "{outcome:?}");
    assert!(hard || outcome.result["error"].as_str().unwrap().contains("does not give `hard-quota`"), "{outcome:?}");
}

#[tokio::test]
async fn one_file_too_many_is_refused() {
    let mut house = House::new().await;
    let write = |name: &str| json!({"path": name, "content": "x"});
    for name in ["a", "deep/b"] {
        let written = house.under(files(3), "filesystem.write", write(name)).await;
        assert!(matches!(written.outcome, Outcome::Done { .. }), "{name}: {written:?}");
    }
    let over = house.under(files(3), "filesystem.write", write("c")).await;
    let (resource, limit, sentence) = exhausted(&over);
    assert_eq!((resource.as_str(), limit), ("files", Some(3)));
    assert!(sentence.contains("3 files and folders are there"), "{sentence}");
}

#[tokio::test]
async fn a_program_that_fills_the_disk_is_killed_with_all_that_it_started_and_room_can_be_made() {
    let writers = [
        ("files", "i=0; while :; do head -c 200000 /dev/zero > f$i; i=$((i+1)); done"),
        // No single file is larger than the limit, so that the kernel alone would never end these.
        (
            "nameless",
            "exec 3>a 4>b 5>c; rm a b c; while :; do head -c 100000 /dev/zero >&3 >&4; head -c 50000 /dev/zero >&4; head -c 50000 /dev/zero >&5; done 2>/dev/null",
        ),
        ("allotted", "for i in 1 2 3 4; do fallocate -l 3M f$i; done; sleep 1000"),
        ("grown", "for i in 1 2 3; do dd if=/dev/zero of=g$i bs=100k count=30; done 2>/dev/null; sleep 1000"),
    ];
    for (name, script) in writers {
        let mut house = House::new().await;
        let mark = format!("tenure-test-disk-{name}-{}", std::process::id());
        let script = shell(&format!("sleep 1000 & {script}; : {mark}"));
        let over = house.under(disk(4 * MIB), "process.run", script).await;
        let (resource, limit, sentence) = exhausted(&over);
        assert_eq!((resource.as_str(), limit), ("disk", Some(4 * MIB)), "{name}: {over:?}");
        assert_eq!((&over.result["limit"], &over.result["limit_was"]), (&json!("disk"), &json!(4 * MIB)));
        assert!(sentence.contains("killed") && sentence.contains("4194304 are allowed"), "{name}: {sentence}");
        await_none(&mark);
        let cleaned = house.under(disk(4 * MIB), "process.run", shell("rm -rf ./* && echo clean")).await;
        if exhausted_far(&cleaned) {
            // It wrote very much before it was stopped: then nothing but deleting is left.
            continue;
        }
        assert_eq!(cleaned.result["stdout"], "clean\n", "{name}: {cleaned:?}");
        let after = house.under(disk(4 * MIB), "filesystem.write", json!({"path": "a", "content": "x"})).await;
        assert!(matches!(after.outcome, Outcome::Done { .. }), "{name}: {after:?}");
    }
}

fn exhausted_far(outcome: &CallOutcome) -> bool {
    matches!(outcome.outcome, Outcome::ResourceExhausted { .. }) && outcome.result.get("exit_code").is_none()
}

#[tokio::test]
async fn a_program_that_makes_too_many_files_is_killed_and_one_with_holes_in_its_files_is_not() {
    let mut house = House::new().await;
    let many = shell("mkdir many; i=0; while :; do : > many/$i; i=$((i+1)); done");
    let over = house.under(files(200), "process.run", many).await;
    let (resource, limit, _) = exhausted(&over);
    assert_eq!((resource.as_str(), limit), ("files", Some(200)));
    // The control, with room; and files that are long and take nothing.
    house.run = house.another_run();
    let some = shell(
        "i=0; while [ $i -lt 300 ]; do : > f$i; i=$((i+1)); done; for i in 1 2 3 4 5; do truncate -s 3M s$i; done",
    );
    let mut call = house.call("process.run", some);
    (call.confinement.files, call.confinement.disk_bytes) = (400, 4 * MIB);
    let outcome = house.perform(&call).await;
    assert_eq!(outcome.outcome, Outcome::Done { exit_code: Some(0) }, "{outcome:?}");
}

#[tokio::test]
async fn a_program_that_ended_at_the_limit_by_itself_is_told_so_too() {
    let mut house = House::new().await;
    // No file may be larger than all that is allowed: the kernel ends this one.
    let one = shell("head -c 8000000 /dev/zero > big; echo $?; exit 1");
    let outcome = house.under(disk(2 * MIB), "process.run", one.clone()).await;
    let (resource, limit, _) = exhausted(&outcome);
    assert_eq!((resource.as_str(), limit), ("disk", Some(2 * MIB)), "{outcome:?}");
    assert_eq!(std::fs::metadata(house.work_folder().join("big")).unwrap().len(), 2 * MIB);
    house.run = house.another_run();
    let outcome = house.under(disk(32 * MIB), "process.run", one).await;
    assert_eq!(outcome.outcome, Outcome::Done { exit_code: Some(1) }, "the control: a failure is no limit");
}

#[tokio::test]
async fn who_is_far_over_may_only_delete_and_who_is_over_may_not_grow() {
    let mut house = House::new().await;
    house.does("filesystem.list", json!({})).await;
    house.release().await;
    let fill = |house: &House, name: &str, bytes: u64| {
        let path = house.work_folder().join(name);
        std::fs::write(&path, vec![1; usize::try_from(bytes).unwrap()]).unwrap();
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(house.work_folder()).unwrap());
        std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
    };
    fill(&house, "large", 3 * MIB);
    let refused = house.under(disk(MIB), "process.run", shell("rm large")).await;
    assert!(exhausted_far(&refused), "{refused:?}");
    let trash = house.under(disk(MIB), "filesystem.delete", json!({"path": "large"})).await.result;
    let gone = house.under(disk(MIB), "filesystem.delete", json!({"path": trash["trashed_as"]})).await;
    assert_eq!(gone.result, json!({"removed": true}));
    fill(&house, "middling", 3 * MIB / 2);
    let grown = shell("head -c 300000 /dev/zero > more; sleep 1000");
    exhausted(&house.under(disk(MIB), "process.run", grown).await);
    let kept = house.under(disk(MIB), "process.run", shell("rm more; echo x > small; cat small; rm middling")).await;
    assert_eq!((&kept.result["stdout"], &kept.result["exit_code"]), (&json!("x\n"), &json!(0)), "{kept:?}");
}

/// Holds files without a name by mappings alone, behind thousands of mappings whose long paths fill the kernel's list of them.
const HIDES: &str = r"
import ctypes, os, time
l = ctypes.CDLL(None, use_errno=True); l.mmap.restype = ctypes.c_void_p
l.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
here = os.open('/workspace', os.O_RDONLY)
for i in range(15):
    name = chr(97 + i) * 250; os.mkdir(name, dir_fd=here); below = os.open(name, os.O_RDONLY, dir_fd=here); os.close(here); here = below
f = os.open('f', os.O_CREAT | os.O_RDWR, dir_fd=here); os.ftruncate(f, 8192); at = 0x10000000
for i in range(1400): l.mmap(at, 4096, 1, 2 | 0x100000, f, 0); at += 8192
at = 0x20000000
for i in range(6):
    g = os.open('/workspace/big', os.O_CREAT | os.O_RDWR); os.write(g, b'x' * (1 << 20))
    l.mmap(at, 4096, 1, 1 | 0x100000, g, 0); at += 8192; os.unlink('/workspace/big'); os.close(g)
time.sleep(1000)
";

#[tokio::test]
async fn files_without_a_name_count_however_they_are_hidden_and_a_renamed_one_counts_once() {
    let mut house = House::new().await;
    let hides = json!({"command": "python3", "args": ["-c", HIDES], "timeout_ms": 60_000});
    let over = house.under(disk(4 * MIB), "process.run", hides.clone()).await;
    assert_eq!(exhausted(&over).0, "disk");
    house.run = house.another_run();
    let python = "import os, time\nopen('a', 'wb').write(b'x' * 2500000); os.mkdir('d'); end = time.time() + 3\nwhile time.time() < end: os.rename('a', 'd/b'); os.rename('d/b', 'a')";
    let outcome =
        house.under(disk(4 * MIB), "process.run", json!({"command": "python3", "args": ["-c", python]})).await;
    assert_eq!(outcome.outcome, Outcome::Done { exit_code: Some(0) }, "{outcome:?}");
}

/// Threads with one table of descriptors are looked at once.
#[tokio::test]
async fn many_threads_with_many_descriptors_do_not_keep_the_worker_from_looking() {
    let mut house = House::new().await;
    let script = "import os, threading, time
files = [os.open('/dev/null', os.O_RDONLY) for _ in range(900)]
for _ in range(60): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
while True: open(f'f{time.time_ns()}', 'wb').write(b'x' * 100000)";
    let over = house.under(disk(4 * MIB), "process.run", json!({"command": "python3", "args": ["-c", script]})).await;
    assert_eq!(exhausted(&over).0, "disk");
}
