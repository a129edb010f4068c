//! What crosses a jail's socket: bounded frames, requests with ids, typed answers. Pure; any reader and writer can carry it.
//! Must never: grow a frame beyond the bound, or trust a length that the other side states.
//!
//! A frame is `u32 length of the rest · u32 length of the header · header (JSON) · body (raw bytes)`, little-endian.
//! The jail's first frame is a `Hello`; then the worker sends `Request`s and the jail `Reply`s, many at once, matched by id.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bypass::VERSION_BIT;
use crate::error::Failure;
use crate::level::Level;

/// Version of claim and jail protocol together: both sides are one binary.
pub const VERSION: u16 = 5 | VERSION_BIT;
/// Where on its own loopback a jail with `egress` finds the worker's proxy.
pub const EGRESS_PORT: u16 = 3128;
/// What programs of a jail with `egress` are told to reach without it: themselves.
pub const OWN_LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Most bytes of one frame after its first length.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Most bytes of one frame's body. Longer contents are sent in chunks.
pub const BODY_BYTES_MAX: usize = 512 << 10;
/// Largest file that `Edit` takes, in bytes.
pub const EDIT_BYTES_MAX: u64 = 8 << 20;
/// Most entries in one answer to `List`.
pub const LIST_MAX: u32 = 1000;
/// The folder at the top of a work folder or writable mount that deleted things are moved to. Its entries are named
/// `MILLISECONDS-COUNT-NAME`, by the time of their deletion.
pub const TRASH: &str = ".trash";
/// The folder in a trash that holds, for each entry and under its name, the path where it lay. The agent may change it.
pub const TRASH_ORIGINS: &str = ".from";
/// Most programs at once in one jail.
pub const SPAWNS_MAX: usize = 64;
/// Most unfinished uploads at once in one jail.
pub const UPLOADS_MAX: usize = 16;

/// The jail's first frame. With `Ready` come the listeners that the spec asked for: egress, then service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hello {
    Ready(Level),
    Failed(Failure),
}

/// One request. Ids are the caller's; one must not be used again while it is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub id: u32,
    pub operation: Operation,
}

/// What to do. Paths and names are texts: a byte that is no UTF-8 is written `\xff`, in lower case, and a backslash that would read as
/// such an escape `\x5c`; any other spelling is `Redirected` to that one. Paths are relative to `/workspace`, or absolute beneath it, `/tmp` or a mount of the spec. No link is followed: one on
/// the way is answered with `Redirected`, and so is one at the end, but for `Stat`, `Delete` and `Restore`, which act on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Operation {
    /// Up to `max` bytes (and never over `BODY_BYTES_MAX`) from `offset`. Answer: `Read`, the bytes in the body.
    Read {
        path: String,
        offset: u64,
        max: u32,
    },
    /// A whole file of `size` bytes, replaced at once or not at all, kept in mode, synced; makes parent folders.
    /// The body holds the first chunk; `More` frames of the same id hold the rest. Answer: `Written` after the last.
    Write {
        path: String,
        size: u64,
        mode: WriteMode,
    },
    /// Adds `size` bytes to the end of a file, which is made if missing. Chunks as in `Write`, but not atomic.
    Append {
        path: String,
        size: u64,
    },
    /// A further chunk of an open `Write` or `Append`; one whose upload was refused is ignored.
    More,
    /// Replaces each occurrence of `find`, of which there must be `expected_count`, one if not stated. In a file whose lines end in
    /// CRLF, line ends in `find` and `replace` mean that. Answer: `Edited`.
    Edit {
        path: String,
        find: String,
        replace: String,
        expected_count: Option<u32>,
        dry_run: bool,
    },
    /// Entries by name, after `cursor`. Answer: `Listed`.
    List {
        path: String,
        max: u32,
        cursor: Option<String>,
    },
    /// The path itself, a symlink not followed. Answer: `Stat`.
    Stat {
        path: String,
    },
    /// Whether a link is on the path, its end included. Answer: `Done`, also where nothing is there.
    Check {
        path: String,
    },
    /// Moves into the trash of the mount that it lies in; in `/tmp`, in a trash, or where a trash has no room, it is really
    /// removed. Answer: `Deleted`.
    Delete {
        path: String,
        recursive: bool,
    },
    /// Moves an entry of a trash to `path`; nothing is replaced. Answer: `Restored`. Without a path it is `Redirected` to where it lay.
    Restore {
        trashed_as: String,
        path: Option<String>,
    },
    /// Runs a program. The body is its stdin, then it reads the end, unless its input is fed. Answers: `Started`, `Output`…, `Exited`.
    Spawn(Spawn),
    /// More for the program of request `target` to read, in the body; with `end`, the last. Answer: `Done` once it is taken, and only
    /// then may more come; `NotFound` if it reads no more.
    Input {
        target: u32,
        end: bool,
    },
    /// The terminal of the program of request `target` has another size now. Answer: `Done`.
    Resize {
        target: u32,
        size: TerminalSize,
    },
    /// Signals the program of request `target` (its process group). Answer: `Done`.
    Signal {
        target: u32,
        signal: i32,
    },
    /// Kills the program of request `target` and every descendant. Answer: `Done`; its `Exited` follows.
    Kill {
        target: u32,
    },
    Ping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// Refused with `Exists` if the file is there.
    Create,
    Overwrite,
}

/// A program to run. All its descendants die with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// Program and arguments; never a shell string. The program is looked up in `PATH` unless it holds a `/`.
    pub argv: Vec<String>,
    /// Added to the jail's environment.
    pub env: Vec<(String, String)>,
    /// None: `/workspace`.
    pub cwd: Option<String>,
    /// Wall clock from the start, after which the whole tree is killed. None: no limit of its own.
    pub timeout_ms: Option<u64>,
    /// Bytes of stdout and stderr together that are passed on. None: the jail's limit.
    pub output_max: Option<u64>,
    /// Its input comes by `Input` while it runs.
    #[serde(default)]
    pub fed: bool,
    /// It has a terminal of this size: all that it writes is stdout then.
    #[serde(default)]
    pub terminal: Option<TerminalSize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    pub rows: u16,
    pub columns: u16,
}

impl Default for TerminalSize {
    fn default() -> Self {
        Self { rows: 24, columns: 80 }
    }
}

impl Spawn {
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(argv: I) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        Self { argv, env: Vec::new(), cwd: None, timeout_ms: None, output_max: None, fed: false, terminal: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's id.
    pub id: u32,
    pub answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Answer {
    /// `size` is the whole file's; `eof` says that nothing follows the bytes in the body.
    Read {
        size: u64,
        eof: bool,
    },
    Written {
        bytes: u64,
        created: bool,
    },
    Edited {
        replaced: u32,
    },
    /// `next` is the cursor of the next page, if there is one.
    Listed {
        entries: Vec<Entry>,
        next: Option<String>,
    },
    Stat(Entry),
    /// Where it lies now, relative to `/workspace` or absolute; None if it is really gone.
    Deleted {
        trash: Option<String>,
    },
    Restored {
        path: String,
    },
    Started,
    /// Output of a program, in the body.
    Output {
        stream: Stream,
    },
    Exited(Exit),
    Done,
    Pong,
    Refused(Refusal),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Bytes that are not UTF-8 are replaced by U+FFFD; such a file cannot be named in a request.
    pub name: String,
    pub kind: Kind,
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Milliseconds since the Unix epoch.
    pub modified_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    File,
    Directory,
    Symlink,
    /// A socket, fifo or device.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// How a program and its descendants ended. What the kernel counts, it counts for the whole jail: of programs that run at the
/// same time, each is told what happened to any of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub ended: Ended,
    pub timed_out: bool,
    /// By a `Kill` request.
    pub killed: bool,
    pub output_truncated: bool,
    /// The kernel killed something in this jail for memory while this ran. Known only with a memory cgroup.
    pub oom: bool,
    /// The kernel refused to make a process or thread in this jail while this ran. Known only with a pids cgroup.
    pub pids_refused: bool,
    /// How long the jail's programs were held back by their share of the CPU while this ran. 0 without a CPU cgroup.
    pub cpu_throttled_ms: u64,
    pub wall_ms: u64,
    /// Of the program and all descendants that were waited for.
    pub cpu_ms: u64,
    /// Of the largest process.
    pub max_rss_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    Code(i32),
    Signal(i32),
}

/// Why the jail did not do what was asked. Nothing was changed, but for the chunks of an `Append`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Refusal {
    NotFound,
    /// The path leads out of `/workspace`, `/tmp` and the mounts.
    Escape,
    /// It leads by a link to this path, absolute, or is to be restored there; ask again with it.
    Redirected {
        path: String,
    },
    IsDirectory,
    NotDirectory,
    Exists,
    TooLarge {
        limit: u64,
    },
    /// `Edit` found this many occurrences, and was to find `expected`.
    NoMatch {
        count: u32,
        expected: u32,
    },
    Denied,
    NoSpace,
    NotEmpty,
    /// Too many of this at once, or this one is being written already.
    Busy,
    Invalid {
        reason: String,
    },
    Io {
        errno: i32,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such file or folder; list the folder to see what is there"),
            Self::Escape => {
                f.write_str("the path leads out of the work folder; use one beneath /workspace, /tmp or a volume")
            }
            Self::Redirected { path } => write!(f, "it leads to {path}; ask for that path"),
            Self::IsDirectory => f.write_str("it is a folder; name a file"),
            Self::NotDirectory => f.write_str("it, or a part of its path, is not a folder"),
            Self::Exists => f.write_str("it exists already; overwrite it or choose another name"),
            Self::TooLarge { limit } => write!(f, "it is larger than the limit of {limit} bytes; use smaller pieces"),
            Self::NoMatch { count: 0, .. } => {
                f.write_str("the text to find is not in the file; read the file again and copy it exactly")
            }
            Self::NoMatch { count, expected } => write!(
                f,
                "the text to find occurs {count} times and {expected} was expected, so nothing is changed; give more of the text \
                 around the one that is meant, or expected_count: {count} to change them all"
            ),
            Self::Denied => f.write_str("the sandbox does not permit it"),
            Self::NoSpace => f.write_str("no space is left; delete something or raise the limit"),
            Self::NotEmpty => f.write_str("the folder is not empty; ask for a recursive delete"),
            Self::Busy => f.write_str("too many of these run at once; wait for one to end"),
            Self::Invalid { reason } => f.write_str(reason),
            Self::Io { errno } => write!(f, "{}", std::io::Error::from_raw_os_error(*errno)),
        }
    }
}

/// Bytes that are no frame of ours. The connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLong(usize),
    #[error("a frame's header is longer than the frame")]
    HeaderLength,
    #[error("a frame's header is not what was expected: {0}")]
    Header(String),
    #[error("a frame came that was not expected: {0}")]
    Unexpected(&'static str),
}

/// One frame taken from the front of a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<H> {
    pub header: H,
    pub body: Vec<u8>,
    /// How many bytes of the buffer it took.
    pub consumed: usize,
}

/// The bytes of one frame.
pub fn encode<H: Serialize>(header: &H, body: &[u8]) -> Result<Vec<u8>, FrameError> {
    let header = serde_json::to_vec(header).map_err(|error| FrameError::Header(error.to_string()))?;
    let rest = 4 + header.len() + body.len();
    if rest > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(rest));
    }
    let mut frame = Vec::with_capacity(4 + rest);
    frame.extend_from_slice(&(rest as u32).to_le_bytes());
    frame.extend_from_slice(&(header.len() as u32).to_le_bytes());
    frame.extend_from_slice(&header);
    frame.extend_from_slice(body);
    Ok(frame)
}

/// The first frame of `buffer`; None if it is not complete yet.
pub fn decode<H: DeserializeOwned>(buffer: &[u8]) -> Result<Option<Frame<H>>, FrameError> {
    let Some((length, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    if length < 4 {
        return Err(FrameError::HeaderLength);
    }
    let Some(frame) = rest.get(..length) else { return Ok(None) };
    let (header_length, content) = frame.split_first_chunk::<4>().ok_or(FrameError::HeaderLength)?;
    let header_length = u32::from_le_bytes(*header_length) as usize;
    let (header, body) = content.split_at_checked(header_length).ok_or(FrameError::HeaderLength)?;
    let header = serde_json::from_slice(header).map_err(|error| FrameError::Header(error.to_string()))?;
    Ok(Some(Frame { header, body: body.to_vec(), consumed: 4 + length }))
}
