//! What a killed worker leaves behind for its successor: one record a jail, written before the jail does anything.
//! Must never: be trusted without the start time and the boot id, since process ids are used again, or in another folder than
//! the one that it was written in: a copy of a data directory holds the records of jails that are another worker's.
//!
//! A record lies in a slot file of fixed size that the next jail uses again: making a file costs ten times writing one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const VERSION: u16 = 2;
/// Of a release whose records named no folder.
const WITHOUT_FOLDER: u16 = 1;
const SUFFIX: &str = "jail";
/// The folder beside the records that holds the root of all jails.
pub(crate) const SKELETON: &str = "view";
/// Where in a slot the life begins; the intent lies before it. Both are JSON, padded with spaces.
const LIFE_AT: usize = 7168;
const SLOT_BYTES: usize = 8192;
/// A free slot.
static BLANK: [u8; SLOT_BYTES] = [b' '; SLOT_BYTES];
/// More of `/proc/PID/stat` than lies before the end of the start time.
const STAT_BYTES: usize = 1024;

/// One process, told apart from a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) pid: i32,
    /// Clock ticks between the host's boot and the process's start.
    pub(crate) start: u64,
}

/// Whose records these are, by nothing that lies in the folder itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) boot: String,
    #[serde(default)]
    device: u64,
    #[serde(default)]
    inode: u64,
}

impl Holder {
    /// Of the folder `run_dir`, in this boot of the host.
    pub(crate) fn of(run_dir: &Path) -> io::Result<Holder> {
        let found = fs::metadata(run_dir)?;
        Ok(Holder { boot: boot_id()?, device: found.dev(), inode: found.ino() })
    }
}

/// What is about to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) version: u16,
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) holder: Holder,
    pub(crate) cgroups: Vec<PathBuf>,
}

impl Intent {
    /// Whether it was written by a worker on this very folder, since the host was booted.
    pub(crate) fn is_of(&self, holder: &Holder) -> bool {
        self.holder == *holder || (self.version == WITHOUT_FOLDER && self.holder.boot == holder.boot)
    }
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) intent: Intent,
    /// The process that it became, if it came to that.
    pub(crate) life: Option<Life>,
}

/// A file that holds one record at a time. It is not kept open: a zygote with thousands of jails needs its descriptors.
#[derive(Debug)]
pub(crate) struct Slot {
    path: PathBuf,
}

impl Slot {
    pub(crate) fn make(run_dir: &Path, name: &str) -> io::Result<Self> {
        let path = run_dir.join(format!("{name}.{SUFFIX}"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(&BLANK)?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Of a slot that is free.
    pub(crate) fn begin(&self, id: &str, holder: &Holder, cgroups: &[PathBuf]) -> io::Result<()> {
        let intent = Intent { version: VERSION, id: id.into(), holder: holder.clone(), cgroups: cgroups.to_vec() };
        self.put(0, LIFE_AT, &serde_json::to_vec(&intent)?)
    }

    pub(crate) fn live(&self, life: Life) -> io::Result<()> {
        self.put(LIFE_AT, SLOT_BYTES - LIFE_AT, &serde_json::to_vec(&life)?)
    }

    pub(crate) fn clear(&self) -> io::Result<()> {
        self.put(0, SLOT_BYTES, &BLANK)
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    fn put(&self, at: usize, room: usize, text: &[u8]) -> io::Result<()> {
        if text.len() > room {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        OpenOptions::new().write(true).open(&self.path)?.write_all_at(text, at as u64)
    }
}

/// The id of the host's current boot.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The start time of a living or zombie process; None if there is none.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let mut stat = [0; STAT_BYTES];
    // The kernel answers one read whole, and each further one takes it as long.
    let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
    let name_end = stat[..length].iter().rposition(|byte| *byte == b')')?;
    let after_name = std::str::from_utf8(&stat[name_end + 1..length]).ok()?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The first part of the names of all jails of the zygote `pid`, unique on this host since its boot.
pub(crate) fn prefix(pid: u32) -> String {
    format!("{pid:x}-{:x}", start_time(pid as i32).unwrap_or(0))
}

/// The record in a slot; None if the slot is free or gone. One that a crash cut short is a record without cgroups or life.
pub(crate) fn read(path: &Path) -> io::Result<Option<Record>> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if content.trim_ascii().is_empty() {
        return Ok(None);
    }
    let (intent, life) = content.split_at(LIFE_AT.min(content.len()));
    let holder = Holder { boot: String::new(), device: 0, inode: 0 };
    let torn = Intent { version: VERSION, id: String::new(), holder, cgroups: Vec::new() };
    let intent = serde_json::from_slice(intent.trim_ascii()).unwrap_or(torn);
    Ok(Some(Record { intent, life: serde_json::from_slice(life.trim_ascii()).ok() }))
}

/// Every slot of `run_dir`, free or not.
pub(crate) fn slots(run_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(run_dir)?.map(|entry| Ok(entry?.path()));
    let ours =
        |path: &io::Result<PathBuf>| path.as_ref().map_or(true, |path| path.extension().is_some_and(|s| s == SUFFIX));
    paths.filter(ours).collect()
}
