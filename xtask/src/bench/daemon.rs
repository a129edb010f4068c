//! What the daemon costs before it does anything: time to ready, idle memory, size.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Bench, Row, Section};
use crate::step;

const READY_MS_AIM: f64 = 50.0;
const IDLE_MB_AIM: f64 = 20.0;
const SIZE_MB_AIM: f64 = 30.0;
const ROUNDS: usize = 11;
const FULL_EVENTS: u64 = 1_000_000;
const READY_DEADLINE: Duration = Duration::from_secs(120);
/// Long enough for what a start sets going to come to rest.
const SETTLE: Duration = Duration::from_secs(10);
const SOCKET: &str = "tenure.sock";

pub(super) fn ready(bench: &Bench<'_>) -> Result<Section> {
    bench.build(&["--package", "tenure"])?;
    let folder = Folder::new("ready")?;
    let (empty, full) = (folder.0.join("empty"), folder.0.join("full"));
    let mut rows = starts(bench, &empty, "new ledger")?;
    let (count, path) =
        (FULL_EVENTS.to_string(), full.to_str().context("the temporary folder has a path of odd bytes")?);
    bench.example("tenure-store", "ledger_rate", &["--only", "fill", "--events", &count, "--dir", path])?;
    rows.extend(starts(bench, &full, &format!("{FULL_EVENTS} events"))?);
    let notes = vec![format!(
        "From the start of the process until the Unix socket answers 200, median of {ROUNDS} starts: `/health` when commands are taken, \
         `/health/ready` when the worker has also opened and tried a jail."
    )];
    Ok(Section { title: "Start", command: "cargo xtask bench ready".to_owned(), rows, notes })
}

fn starts(bench: &Bench<'_>, data: &Path, ledger: &str) -> Result<Vec<Row>> {
    // The first start makes what later ones find.
    drop(Daemon::up(bench, data)?);
    let mut times = [Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS)];
    for _ in 0..ROUNDS {
        let daemon = Daemon::up(bench, data)?;
        times[0].push(daemon.serves_after.as_secs_f64() * 1000.0);
        times[1].push(daemon.ready_after.as_secs_f64() * 1000.0);
    }
    let row = |what: &str, times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        let (median, slowest) = (times[ROUNDS / 2], times[ROUNDS - 1]);
        let measured = format!("{median:.1} ms (slowest {slowest:.1})");
        Row::aimed(format!("{what}, {ledger}"), measured, "≤ 50 ms", median <= READY_MS_AIM)
    };
    let [serves, ready] = &mut times;
    Ok(vec![row("start to `/health`", serves), row("start to `/health/ready`", ready)])
}

pub(super) fn idle(bench: &Bench<'_>) -> Result<Section> {
    bench.build(&["--package", "tenure"])?;
    let folder = Folder::new("idle")?;
    let daemon = Daemon::up(bench, &folder.0.join("data"))?;
    sleep(SETTLE);
    let mut rows = Vec::new();
    let mut sum = 0.0;
    for pid in family(daemon.child.id()) {
        let Some(mb) = pss_mb(pid) else { continue };
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        let name = arguments.split(" --").next().unwrap_or_default().rsplit('/').next().unwrap_or_default().trim();
        rows.push(Row::plain(format!("`{name}`"), format!("{mb:.1} MB")));
        sum += mb;
    }
    let measured = format!("{sum:.1} MB");
    rows.insert(0, Row::aimed("idle memory, daemon and worker", measured, "≤ 20 MB", sum <= IDLE_MB_AIM));
    let notes = vec![
        "Proportional set size, summed over the daemon and all below it, 10 s after ready, without a model.".to_owned(),
    ];
    Ok(Section { title: "Idle memory", command: "cargo xtask bench idle".to_owned(), rows, notes })
}

pub(super) fn size(bench: &Bench<'_>) -> Result<Section> {
    bench.build(&["--package", "tenure"])?;
    let bytes = fs::metadata(bench.programs.join("tenure"))?.len();
    let mb = bytes as f64 / 1e6;
    let rows = vec![Row::aimed("`tenure`, stripped", format!("{mb:.1} MB"), "≤ 30 MB", mb <= SIZE_MB_AIM)];
    Ok(Section { title: "Size", command: "cargo xtask bench size".to_owned(), rows, notes: Vec::new() })
}

/// A folder that goes with this value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Folder> {
        let path = std::env::temp_dir().join(format!("tenure-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A daemon that is ready; it ends with this value.
struct Daemon {
    child: Child,
    serves_after: Duration,
    ready_after: Duration,
}

impl Daemon {
    fn up(bench: &Bench<'_>, data: &Path) -> Result<Daemon> {
        let mut up = Command::new(bench.programs.join("tenure"));
        up.arg("--data-dir").arg(data).args(["up", "--listen", "127.0.0.1:0"]);
        up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        let child = up.spawn().context("tenure cannot be started")?;
        let mut daemon = Daemon { child, serves_after: Duration::ZERO, ready_after: Duration::ZERO };
        let socket = data.join(SOCKET);
        for path in ["/health", "/health/ready"] {
            while !answers(&socket, path) {
                ensure!(daemon.child.try_wait()?.is_none(), "the daemon ended instead of getting ready");
                ensure!(begun.elapsed() < READY_DEADLINE, "{path} is not 200 after 120 s");
                sleep(Duration::from_micros(500));
            }
            if path == "/health" {
                daemon.serves_after = begun.elapsed();
            }
        }
        daemon.ready_after = begun.elapsed();
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        step::stop(&mut self.child);
    }
}

fn answers(socket: &Path, path: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// A process and all below it.
fn family(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        found.extend(
            children.flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()),
        );
    }
    found
}

fn pss_mb(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}
