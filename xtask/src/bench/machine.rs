//! What a figure was measured on: processor, memory, kernel, load, commit. Must never name the host or its user.

use std::path::Path;
use std::process::Command;

use crate::step;

pub(super) fn describe(root: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once([':', '='])).map(|(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let model = value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = value(&read("/proc/meminfo"), "MemTotal");
    let memory = memory.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default();
    let system = value(&read("/etc/os-release"), "PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned());
    let kernel = read("/proc/sys/kernel/osrelease");
    // The version; what a builder adds to it names the builder.
    let kernel = kernel.split(['-', '+']).next().unwrap_or_default();
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    let day = step::answer(Command::new("date").args(["--utc", "+%Y-%m-%d"])).unwrap_or_default();
    format!(
        "{day} · commit {} · {processors} × {model}, {} GiB · {system}, kernel {} · load before the run {load}",
        commit(root),
        memory.div_ceil(1 << 20),
        kernel.trim(),
    )
}

fn commit(root: &Path) -> String {
    let git = |arguments: &[&str]| step::answer(Command::new("git").args(arguments).current_dir(root));
    let name = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let dirty = git(&["status", "--porcelain", "--", "crates", "Cargo.toml", "Cargo.lock"]);
    if dirty.is_some_and(|changes| changes.is_empty()) { name } else { format!("{name} with changes") }
}
