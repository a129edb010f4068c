//! What the kernel says of a jail's programs, whatever they say of themselves. Must never: count a process of another jail.
use crate::workspace::JailProcesses;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Ticks of `/proc/PID/stat` a second, on every Linux that we run on.
const TICKS_PER_SECOND: u64 = 100;

/// Memory as its limit counts it where control groups do, else what its processes have in memory; and its time on the CPU, of those
/// that live where no control group counts it.
pub(super) fn measured(processes: &JailProcesses) -> Value {
    let all = processes.processes();
    let figures: Vec<Figures> = all.iter().filter_map(|pid| Figures::of(*pid)).collect();
    let read = |name: &str| {
        let text = |group| fs::read_to_string(Path::new(group).join(name)).ok();
        processes.cgroups.iter().find_map(text)
    };
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let memory = number("memory.current").or_else(|| number("memory.usage_in_bytes"));
    let usage = read("cpu.stat").and_then(|stat| {
        let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse::<u64>().ok())?;
        Some(usage / 1000)
    });
    let cpu = usage.or_else(|| Some(number("cpuacct.usage")? / 1_000_000));
    json!({
        "memory_bytes": memory.unwrap_or_else(|| figures.iter().map(|one| one.resident_bytes).sum()),
        "cpu_ms": cpu.unwrap_or_else(|| figures.iter().map(|one| one.cpu_ms).sum()),
        "processes": figures.len(),
    })
}

struct Figures {
    resident_bytes: u64,
    cpu_ms: u64,
}

impl Figures {
    /// None: it has just ended.
    fn of(pid: i32) -> Option<Figures> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; the state is the first field after it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        // Its own time in user and kernel mode, and that of its children that were waited for.
        let ticks: u64 = (11..=14).filter_map(number).sum();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
        let resident_kib: u64 = resident.and_then(|resident| resident.trim().parse().ok()).unwrap_or(0);
        Some(Figures { resident_bytes: resident_kib * 1024, cpu_ms: ticks * 1000 / TICKS_PER_SECOND })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::time::{ClockId, clock_gettime};

    #[test]
    fn a_process_without_control_groups_is_measured_by_what_the_kernel_says_of_it() {
        let own = JailProcesses { init: std::process::id() as i32, cgroups: Vec::new().into() };
        // By the time that it had, however many others want the CPU.
        let used = || clock_gettime(ClockId::ProcessCPUTime);
        while used().tv_sec == 0 && used().tv_nsec < 60_000_000 {
            std::hint::spin_loop();
        }
        let found = measured(&own);
        assert!(found["memory_bytes"].as_u64().unwrap() > 1 << 20, "{found}");
        assert!(found["cpu_ms"].as_u64().unwrap() >= 10, "{found}");
        assert!(found["processes"].as_u64().unwrap() >= 1, "{found}");
    }
}
