//! Cold starts side by side in one run: a plain spawn, bubblewrap with the same namespaces and mounts, and our jail, each
//! running `/bin/true`. Prints p50 and p99 of wall time and CPU-ms a start. `--rounds N` (default 200), `--json`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tenure_sandbox::{Identity, Spec, Zygote, protocol::Spawn};

/// One way of starting a program.
#[derive(Clone, Copy)]
enum Way {
    Plain,
    Bubblewrap,
    /// Opened only: ready for its first request.
    JailReady,
    /// Opened, the program run, and the jail proven dead.
    Jail,
    /// A program in a jail that is open already. Its CPU time holds the jail's death too.
    Spawn,
}

const WAYS: [(Way, &str); 5] = [
    (Way::Plain, "plain spawn"),
    (Way::Bubblewrap, "bubblewrap"),
    (Way::JailReady, "jail, open to ready"),
    (Way::Jail, "jail, open + run + killed"),
    (Way::Spawn, "run in an open jail"),
];

struct Sample {
    wall: Duration,
    cpu_ms: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::env::args_os().next().is_some_and(|name| name.to_string_lossy().ends_with(tenure_sandbox::JAIL_NAME)) {
        tenure_sandbox::jail_main();
    }
    let value = |flag: &str| arguments.iter().skip_while(|a| *a != flag).nth(1).cloned();
    let rounds: usize = value("--rounds").map_or(Ok(200), |n| n.parse())?;
    let json = arguments.iter().any(|argument| argument == "--json");

    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let folder = std::env::temp_dir().join(format!("tenure-jail-start-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("work"))?;
    let root = std::fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)?;
    let identity = if root { Identity::Host { uid: 300_000, gid: 300_000 } } else { Identity::Caller };
    let spec = Spec::new(folder.join("work"), identity);
    let zygote = Zygote::start(&std::env::current_exe()?, &folder.join("run"))?;
    let mut samples: Vec<Vec<Sample>> = WAYS.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds + 5 {
        for (index, (way, _)) in WAYS.iter().enumerate() {
            let sample = measure(*way, &zygote, &spec)?;
            // The first rounds warm caches.
            if round >= 5 {
                samples[index].extend(sample);
            }
        }
    }
    drop(zygote);
    std::fs::remove_dir_all(&folder)?;
    print(&mut samples, rounds, json);
    Ok(())
}

fn measure(way: Way, zygote: &Zygote, spec: &Spec) -> Result<Option<Sample>, Box<dyn std::error::Error>> {
    let patience = Duration::from_secs(30);
    let opened = match way {
        Way::Spawn => Some(zygote.open(spec)?),
        Way::Plain | Way::Bubblewrap | Way::JailReady | Way::Jail => None,
    };
    let cpu = cpu_ms(zygote);
    let began = Instant::now();
    let wall = match way {
        Way::Plain => {
            Command::new("/bin/true").env_clear().stdout(Stdio::null()).status()?;
            began.elapsed()
        }
        Way::Bubblewrap => {
            if !bubblewrap(spec).stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
                return Ok(None);
            }
            let wall = began.elapsed();
            adopt_and_reap();
            wall
        }
        Way::JailReady => {
            let jail = zygote.open(spec)?;
            let wall = began.elapsed();
            jail.kill()?;
            wall
        }
        Way::Jail => {
            let jail = zygote.open(spec)?;
            jail.client(patience)?.run(Spawn::new(["/bin/true"]), b"")?;
            jail.kill()?;
            began.elapsed()
        }
        Way::Spawn => {
            let jail = opened.as_ref().ok_or("a jail")?;
            jail.client(patience)?.run(Spawn::new(["/bin/true"]), b"")?;
            began.elapsed()
        }
    };
    // A jail's own time counts once it is reaped, so the last way's opening is in it too.
    if let Some(jail) = opened {
        jail.kill()?;
    }
    let cpu_ms = cpu_ms(zygote).saturating_sub(cpu) as f64;
    Ok(Some(Sample { wall, cpu_ms }))
}

/// The same namespaces and mounts as a jail's; it has no filter of system calls, no Landlock, no limits.
fn bubblewrap(spec: &Spec) -> Command {
    let mut command = Command::new("bwrap");
    command.args([
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--ro-bind",
        "/usr",
        "/usr",
        "--proc",
        "/proc",
    ]);
    command.args(["--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/dev/shm", "--chdir", "/workspace", "--clearenv"]);
    for name in ["bin", "sbin", "lib", "lib32", "lib64"] {
        if let Ok(target) = std::fs::read_link(format!("/{name}")) {
            command.arg("--symlink").arg(target).arg(format!("/{name}"));
        }
    }
    for name in [
        "ld.so.cache",
        "ld.so.conf",
        "ld.so.conf.d",
        "alternatives",
        "timezone",
        "debian_version",
        "mime.types",
        "protocols",
        "services",
        "ssl/certs",
        "ssl/openssl.cnf",
        "terminfo",
        "perl",
    ] {
        command.args(["--ro-bind-try", &format!("/etc/{name}"), &format!("/etc/{name}")]);
    }
    command.arg("--bind").arg(&spec.work_folder).arg("/workspace").args(["--", "/bin/true"]);
    command
}

/// Bubblewrap leaves its inner init unreaped; only who reaps it sees its CPU time.
fn adopt_and_reap() {
    let deadline = Instant::now() + Duration::from_millis(200);
    while Instant::now() < deadline {
        match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(_) => return,
            Ok(None) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

/// CPU time so far, in ms, of this process and `zygote`, with all their children that are dead and reaped. Counted by the
/// kernel in steps of 10 ms, so only the mean of many rounds says something.
fn cpu_ms(zygote: &Zygote) -> u64 {
    let of = |path: String| {
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        let after_name = stat.rfind(')').map_or("", |end| &stat[end + 1..]);
        after_name.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * 10
    };
    of("/proc/self/stat".to_owned()) + of(format!("/proc/{}/stat", zygote.pid()))
}

fn print(samples: &mut [Vec<Sample>], rounds: usize, json: bool) {
    let mut lines = Vec::new();
    for ((_, name), samples) in WAYS.iter().zip(samples) {
        samples.sort_by_key(|sample| sample.wall);
        let at = |part: f64| samples.get(((samples.len() as f64 * part) as usize).min(samples.len().saturating_sub(1)));
        let (Some(p50), Some(p99)) = (at(0.5), at(0.99)) else { continue };
        let cpu = samples.iter().map(|sample| sample.cpu_ms).sum::<f64>() / samples.len() as f64;
        let ms = |sample: &Sample| sample.wall.as_secs_f64() * 1000.0;
        lines.push((name, ms(p50), ms(p99), cpu));
    }
    for (name, p50, p99, cpu) in lines {
        if json {
            println!(
                r#"{{"way":"{name}","rounds":{rounds},"wall_ms_p50":{p50:.3},"wall_ms_p99":{p99:.3},"cpu_ms_mean":{cpu:.3}}}"#
            );
        } else {
            println!("{name:<28} p50 {p50:>7.3} ms   p99 {p99:>8.3} ms   cpu {cpu:>6.2} ms");
        }
    }
}
