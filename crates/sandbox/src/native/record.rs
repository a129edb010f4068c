//! What a killed worker leaves behind for its successor: one file a jail, written before the jail does anything.
//! Must never: be trusted without the start time and the boot id, since process ids are used again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const VERSION: u16 = 1;
const SUFFIX: &str = "jail";
/// The folder beside the records that holds the root of all jails.
pub(crate) const SKELETON: &str = "view";

/// One process, told apart from a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) pid: i32,
    /// Clock ticks between the host's boot and the process's start.
    pub(crate) start: u64,
}

/// First line of a record. The second, if the process was started, is its `Life`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) version: u16,
    pub(crate) boot: String,
    pub(crate) cgroups: Vec<PathBuf>,
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) path: PathBuf,
    pub(crate) intent: Intent,
    pub(crate) life: Option<Life>,
}

/// The id of the host's current boot.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The start time of a living or zombie process; None if there is none.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

pub(crate) fn path(run_dir: &Path, id: &str) -> PathBuf {
    run_dir.join(format!("{id}.{SUFFIX}"))
}

/// Says what is about to be made.
pub(crate) fn begin(path: &Path, boot: &str, cgroups: &[PathBuf]) -> io::Result<File> {
    let intent = Intent { version: VERSION, boot: boot.to_owned(), cgroups: cgroups.to_vec() };
    let mut line = serde_json::to_vec(&intent)?;
    line.push(b'\n');
    let mut file = OpenOptions::new().append(true).create_new(true).open(path)?;
    file.write_all(&line)?;
    Ok(file)
}

/// Says which process it became.
pub(crate) fn live(file: &mut File, life: Life) -> io::Result<()> {
    let mut line = serde_json::to_vec(&life)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// Every record of `run_dir`. A record cut short by a crash is one without a life.
pub(crate) fn all(run_dir: &Path) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(run_dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|suffix| suffix != SUFFIX) {
            continue;
        }
        let content = match fs::read_to_string(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut lines = content.lines();
        let intent = lines.next().and_then(|line| serde_json::from_str(line).ok());
        let intent = intent.unwrap_or(Intent { version: VERSION, boot: String::new(), cgroups: Vec::new() });
        let life = lines.next().and_then(|line| serde_json::from_str(line).ok());
        records.push(Record { path, intent, life });
    }
    Ok(records)
}
