//! Frames between daemon and worker: a big-endian u32 length, then one JSON value of at most `FRAME_BYTES_MAX`.
//! The same frames cross a socketpair (built-in worker) and a network link. No secret may stand in one
//! but as the `Credential` of the call that uses it, whose value no `Debug` shows.
use crate::api::secret::SecretValue;
use crate::confinement::Confinement;
use crate::files::{FilesAnswer, FilesAsked};
use crate::stream::{FromProgram, ToProgram};
#[cfg(feature = "link")]
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenure_core::call::{Fence, Holder, Outcome};
use tenure_core::id::{AgentId, CallId, ConnectionId, LeaseId};
use tenure_core::manifest::Host;
use tenure_core::network::{Refusal, Traffic};
#[cfg(feature = "link")]
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A frame longer than this ends the connection: arguments and results are bounded far below it.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Spoken by both sides in their first frame; others are refused.
pub const VERSION: u32 = 7;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum ToWorker {
    /// Answers `Hello`: the connection is open, calls may follow.
    Welcome {
        version: u32,
        connection: ConnectionId,
        fence: Fence,
    },
    Call(Box<LeasedCall>),
    /// End this leased call, whose outcome follows: its program is killed. Nothing of a lease that is not in hand.
    Cancel {
        lease: LeaseId,
    },
    /// Destroy the jail of this iteration, or the one of a session that has this number; answered by `Released` also when there
    /// is none.
    Release {
        agent: AgentId,
        holder: Holder,
        iteration: u32,
        /// The execution or session ends with it, and with that its ephemeral volumes.
        last: bool,
    },
    /// Remove all that is kept of a deleted agent: work folder, volumes, quota. Answered by `HomeRemoved`; may be sent again.
    RemoveHome {
        agent: AgentId,
    },
    /// What people ask of the folders of an agent; answered by `Files`.
    Files {
        count: u64,
        agent: AgentId,
        asked: Box<FilesAsked>,
    },
    /// For a program that asked by its jail's model listener; of a stream that is not open it is ignored.
    Stream {
        stream: u64,
        #[serde(flatten)]
        part: ToProgram,
    },
    /// Look again at what this host can do; answered by `Surveyed`.
    Survey {
        count: u64,
    },
    /// Answered by `Beat` at once.
    Beat {
        count: u64,
    },
}

/// A call under a lease. The same lease may be sent again and is then not performed again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeasedCall {
    pub lease: LeaseId,
    pub fence: Fence,
    pub call: CallId,
    pub holder: Holder,
    /// Which jail of its holder: an execution's iteration, a session's number.
    pub iteration: u32,
    pub agent: AgentId,
    pub capability: String,
    pub arguments: Value,
    /// The path that was judged, as `tenure_core::capability::path::judged` gives it: what is opened, and no link is followed on the
    /// way. None where the capability names none; the worker then resolves the arguments' own in the same way.
    pub path: Option<String>,
    pub confinement: Confinement,
    /// What a request of this call is sent with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Box<Credential>>,
    /// Milliseconds from now after which the worker ends it: its iteration's or session's whole time-out. The daemon's own clocks may
    /// end it sooner.
    pub deadline_ms: u64,
}

/// The value of a secret, for one request, and where in it it goes. It lives as long as its call, in memory alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The secret's name, which stands wherever the value would.
    pub secret: String,
    pub value: SecretValue,
    pub placement: Placement,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Placement {
    /// Of a header; the template has `{secret}` once.
    Header {
        header: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        template: Option<String>,
    },
    /// As the password of a basic authorization.
    Basic { basic_user: String },
}

impl Default for Placement {
    fn default() -> Placement {
        Placement::Header { header: "authorization".to_string(), template: None }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum FromWorker {
    Hello(Hello),
    /// What a running process printed; plain data, may be dropped.
    Output {
        lease: LeaseId,
        call: CallId,
        holder: Holder,
        stderr: bool,
        text: String,
    },
    /// An MCP server of this holder says that it has other tools now; plain data, may be dropped.
    ToolsChanged {
        holder: Holder,
        server: String,
    },
    Outcome(Box<CallOutcome>),
    /// This jail is proven dead, or there was none.
    Released {
        holder: Holder,
        iteration: u32,
        traffic: Option<Traffic>,
    },
    /// Programs of this jail were kept from places; at most `REFUSALS_MAX` of them.
    NetworkRefused {
        holder: Holder,
        iteration: u32,
        refusals: Vec<Refusal>,
    },
    /// Nothing of this agent is kept here any more; or, where `removed` is false, something is, and `why` says why.
    HomeRemoved {
        agent: AgentId,
        removed: bool,
        why: Option<String>,
    },
    Files {
        count: u64,
        answer: FilesAnswer,
    },
    /// Of a program; the numbers are the worker's, each used once on a connection.
    Stream {
        stream: u64,
        #[serde(flatten)]
        part: FromProgram,
    },
    /// What this host can do now. Unasked, with the count 0, after a greeting that could not wait for a container engine.
    Surveyed {
        count: u64,
        host: Box<Host>,
    },
    /// The jail died by itself; it is proven dead.
    JailLost {
        holder: Holder,
        iteration: u32,
        /// The calls that were in flight in it; later ones run in its successor.
        leases: Vec<LeaseId>,
        why: String,
        traffic: Option<Traffic>,
    },
    Beat {
        count: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
    pub name: String,
    pub slots: u32,
    /// The confinement that this host gives, as one line.
    pub level: String,
    pub host: Host,
    /// What the start found left over of an earlier life, and removed.
    pub reaped: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallOutcome {
    pub lease: LeaseId,
    pub fence: Fence,
    pub call: CallId,
    pub holder: Holder,
    pub outcome: Outcome,
    /// By the capability's output schema, or `{"error": sentence}`.
    pub result: Value,
    pub took_ms: u64,
    pub level: Option<String>,
}

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes is longer than {FRAME_BYTES_MAX}")]
    TooLong(usize),
    #[error("a frame cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("the link ended: {0}")]
    Ended(#[from] std::io::Error),
}

/// The frame's bytes with their length before them.
///
/// # Errors
/// `TooLong`: the other side would refuse it.
pub fn encode<F: Serialize>(frame: &F) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0u8; 4];
    serde_json::to_writer(&mut bytes, frame)?;
    let length = bytes.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    let prefix = u32::try_from(length).expect("invariant: FRAME_BYTES_MAX fits in 32 bits");
    bytes[..4].copy_from_slice(&prefix.to_be_bytes());
    Ok(bytes)
}

/// The length that a prefix announces.
///
/// # Errors
/// `TooLong`: nothing more may be read from this link.
pub fn length(prefix: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(prefix) as usize;
    if length > FRAME_BYTES_MAX { Err(FrameError::TooLong(length)) } else { Ok(length) }
}

/// The next frame of a link. It must not be dropped halfway: what it has read is lost.
///
/// # Errors
/// `Ended` at the link's end, between frames or within one; nothing more may be read after any error.
#[cfg(feature = "link")]
pub async fn read<F: DeserializeOwned>(link: &mut (impl AsyncRead + Unpin)) -> Result<F, FrameError> {
    let mut prefix = [0; 4];
    link.read_exact(&mut prefix).await?;
    let mut bytes = vec![0; length(prefix)?];
    link.read_exact(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// # Errors
/// `TooLong`, and then nothing was written; `Ended` where the link takes no more.
#[cfg(feature = "link")]
pub async fn write<F: Serialize>(link: &mut (impl AsyncWrite + Unpin), frame: &F) -> Result<(), FrameError> {
    link.write_all(&encode(frame)?).await?;
    Ok(link.flush().await?)
}
