//! What people put into an agent's work folder: recorded before it is done, and how it ended after. Bytes and paths are the
//! worker's; here is who, what and whether.
use super::{Agent, Event, Refusal, known};
use crate::bound::Hash;
use crate::draft::{Draft, Stop, refuse};
use crate::id::{AgentId, WorkerId};
use serde::{Deserialize, Serialize};

/// A file on its way into an agent's folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutFile {
    /// As it is judged: absolute inside the jail.
    pub path: String,
    pub size: u64,
    /// SHA-256 of its content.
    pub content: Hash,
    /// Where the folder lies, or comes to lie if there is none yet.
    pub worker: WorkerId,
}

pub(super) fn put(id: AgentId, draft: &mut Draft<'_>, file: PutFile) -> Result<(), Stop> {
    let agent = known(id, draft)?;
    agent.not_deleted()?;
    match agent.home {
        Some(home) if home != file.worker => return Err(refuse::<Agent>(Refusal::HomeUnknown {})),
        Some(_) => {}
        None => draft.emit::<Agent>(id, Event::Homed { worker: file.worker })?,
    }
    Ok(draft.emit::<Agent>(id, Event::FilePut(file))?)
}

/// `failed`: why it is not there.
pub(super) fn record_put(
    id: AgentId,
    draft: &mut Draft<'_>,
    path: String,
    content: Hash,
    failed: Option<String>,
) -> Result<(), Stop> {
    known(id, draft)?;
    Ok(draft.emit::<Agent>(id, Event::FilePutEnded { path, content, failed })?)
}
