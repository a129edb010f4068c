//! Wall time, CPU time and memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tenure_sandbox::Jail;

use crate::Outcome;
use crate::ways::{Ground, Way, spec};

const GROUPS: &str = "/sys/fs/cgroup/cpuacct";

/// The CPU time of this program and all that it starts.
pub(crate) struct Cpu {
    /// Counted by the kernel in ns; None where there is no such group to make.
    group: Option<PathBuf>,
    processes: Vec<u32>,
}

impl Cpu {
    pub(crate) fn new(ground: &Ground) -> Outcome<Self> {
        let processes = vec![std::process::id(), ground.cold.pid(), ground.pooled.pid()];
        let group = PathBuf::from(GROUPS).join(format!("tenure-bench-{}", std::process::id()));
        let moved = fs::create_dir(&group)
            .and_then(|()| processes.iter().try_for_each(|pid| fs::write(group.join("cgroup.procs"), pid.to_string())));
        Ok(Self { group: moved.is_ok().then_some(group), processes })
    }

    /// Without a group: of all that are dead and reaped, in steps of 10 ms, so that only the mean of many rounds says something.
    pub(crate) fn now_ms(&self) -> f64 {
        if let Some(group) = &self.group {
            let nanos = fs::read_to_string(group.join("cpuacct.usage")).unwrap_or_default();
            return nanos.trim().parse::<f64>().unwrap_or_default() / 1e6;
        }
        let of = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after_name = stat.rfind(')').map_or("", |end| &stat[end + 1..]);
            after_name.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>()
                * 10.0
        };
        self.processes.iter().map(of).sum()
    }

    /// Before the zygotes end: leaves the group, and removes it if nothing is left in it.
    pub(crate) fn clear(&mut self) {
        if let Some(group) = self.group.take() {
            for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
                let _ = fs::write(PathBuf::from(GROUPS).join("cgroup.procs"), pid);
            }
            let _ = fs::remove_dir(group);
        }
    }
}

/// One way, so many at once.
pub(crate) struct Row {
    pub(crate) way: Way,
    pub(crate) name: String,
    at_once: usize,
    pub(crate) walls: Vec<Duration>,
    pub(crate) cpu_ms: f64,
    /// The program is not there, or does not work here.
    pub(crate) is_out: bool,
}

impl Row {
    pub(crate) fn new(way: Way, name: &str, at_once: usize) -> Self {
        let name = if at_once == 1 { name.to_owned() } else { format!("{name}, {at_once} at once") };
        Self { way, name, at_once, walls: Vec::new(), cpu_ms: 0.0, is_out: false }
    }

    /// p50 and p99 of the wall time, and the mean CPU time of one.
    fn figures(&self) -> (f64, f64, f64) {
        let mut walls = self.walls.clone();
        walls.sort_unstable();
        let at = |part: f64| walls[((walls.len() as f64 * part) as usize).min(walls.len() - 1)].as_secs_f64() * 1000.0;
        (at(0.5), at(0.99), self.cpu_ms / walls.len() as f64)
    }

    pub(crate) fn text(&self) -> String {
        let (p50, p99, cpu) = self.figures();
        format!("{:<44} p50 {p50:>8.3} ms   p99 {p99:>8.3} ms   cpu {cpu:>7.2} ms   n {}", self.name, self.walls.len())
    }

    pub(crate) fn json(&self) -> String {
        let (p50, p99, cpu) = self.figures();
        let (name, at_once, rounds) = (&self.name, self.at_once, self.walls.len());
        format!(
            r#"{{"way":"{name}","at_once":{at_once},"rounds":{rounds},"wall_ms_p50":{p50:.3},"wall_ms_p99":{p99:.3},"cpu_ms_mean":{cpu:.3}}}"#
        )
    }
}

/// What one of many jails costs while it does nothing.
pub(crate) struct Cost {
    what: &'static str,
    count: usize,
    seconds: f64,
    /// Of each, in KiB: its own memory as far as it can be told, and what the host has less.
    pss: f64,
    available: f64,
    slab: f64,
    /// Of the zygote, in KiB.
    zygote_pss: u64,
}

impl Cost {
    pub(crate) fn text(&self) -> String {
        let Self { what, count, seconds, pss, available, slab, zygote_pss } = self;
        format!(
            "{count} {what} in {seconds:.2} s; each {pss:.0} KiB PSS, {available:.0} KiB of the host's memory, {slab:.0} KiB of it slab; \
             the zygote {zygote_pss} KiB PSS"
        )
    }

    pub(crate) fn json(&self) -> String {
        let Self { what, count, seconds, pss, available, slab, zygote_pss } = self;
        format!(
            r#"{{"memory_of":"{what}","count":{count},"seconds":{seconds:.3},"pss_kib":{pss:.1},"host_kib":{available:.1},"slab_kib":{slab:.1},"zygote_pss_kib":{zygote_pss}}}"#
        )
    }
}

/// Opens so many jails at once, sees that each answers, and weighs them.
pub(crate) fn idle(ground: &Ground, count: usize) -> Outcome<Cost> {
    let specs = (0..count).map(|nth| spec(&ground.folder, nth)).collect::<Outcome<Vec<_>>>()?;
    let before = Host::now()?;
    let began = Instant::now();
    let jails = specs.iter().map(|spec| Ok(ground.cold.open(spec)?)).collect::<Outcome<Vec<Jail>>>()?;
    let seconds = began.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(1));
    let after = Host::now()?;
    let pss: u64 = jails.iter().map(|jail| pss_kib(jail.pid() as u32)).sum();
    for jail in &jails {
        jail.client(Duration::from_secs(30))?.ping()?;
    }
    let cost = before.cost("idle jails", after, count, seconds, pss, pss_kib(ground.cold.pid()));
    let began = Instant::now();
    jails.iter().try_for_each(Jail::kill)?;
    eprintln!("all {count} answered, and were killed and buried in {:.2} s", began.elapsed().as_secs_f64());
    Ok(cost)
}

/// Makes a pool hold so many jails that wait, by asking for as many, and weighs them.
pub(crate) fn half_made(ground: &Ground, count: usize) -> Outcome<Cost> {
    let (before, one) = (Host::now()?, pss_kib(ground.pooled.pid()));
    eprintln!(
        "the zygote with one jail waiting: {one} KiB and {} KiB PSS",
        children(ground.pooled.pid()).iter().map(|pid| pss_kib(*pid)).sum::<u64>()
    );
    let jail_spec = spec(&ground.folder, 0)?;
    for _ in 0..count {
        ground.pooled.open(&jail_spec)?.kill()?;
    }
    let began = Instant::now();
    let deadline = began + Duration::from_secs(8);
    while children(ground.pooled.pid()).len() < count && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let seconds = began.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_millis(300));
    let (after, waiting) = (Host::now()?, children(ground.pooled.pid()));
    let pss = waiting.iter().map(|pid| pss_kib(*pid)).sum();
    Ok(before.cost("half-made jails", after, waiting.len(), seconds, pss, pss_kib(ground.pooled.pid())))
}

pub(crate) fn children(parent: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

struct Host {
    available: u64,
    slab: u64,
}

impl Host {
    fn now() -> Outcome<Self> {
        let text = fs::read_to_string("/proc/meminfo")?;
        let fields: BTreeMap<&str, u64> = text
            .lines()
            .filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name, value.split_whitespace().next()?.parse().ok()?))
            })
            .collect();
        let field = |name: &str| fields.get(name).copied().ok_or_else(|| format!("/proc/meminfo has no {name}"));
        Ok(Self { available: field("MemAvailable")?, slab: field("Slab")? })
    }

    fn cost(self, what: &'static str, after: Self, count: usize, seconds: f64, pss: u64, zygote_pss: u64) -> Cost {
        let each = |kib: f64| kib / count.max(1) as f64;
        Cost {
            what,
            count,
            seconds,
            pss: each(pss as f64),
            available: each(self.available as f64 - after.available as f64),
            slab: each(after.slab as f64 - self.slab as f64),
            zygote_pss,
        }
    }
}

/// 0 where it cannot be read.
fn pss_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
