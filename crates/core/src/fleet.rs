//! Workers and their sessions. A session is the time in which one worker process is known to live; its fence counts
//! such times. What a lapsed session held is given back in pages, by a reconciler; nothing here may touch a process.
use crate::call::Fence;
use crate::id::{Mint, SessionId, WorkerId};
use crate::time::Time;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    pub id: WorkerId,
    pub name: String,
    pub fence: Fence,
    pub session: Option<Session>,
    /// Lapsed sessions whose executions are still being given back.
    pub sweeping: Vec<Lapsed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub slots: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lapsed {
    pub session: SessionId,
    /// The last moment at which it was known to live: the clocks of what it held stop there.
    pub since: Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Register {
        worker: WorkerId,
        name: String,
    },
    OpenSession {
        slots: u32,
        level: String,
    },
    /// Only once every jail of the session is proven dead; `since`: the last moment at which it was known to live.
    LapseSession {
        session: SessionId,
        since: Time,
        proof: String,
    },
    FinishSweep {
        session: SessionId,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data")]
pub enum Event {
    #[serde(rename = "worker.registered")]
    Registered { worker: WorkerId, name: String },
    #[serde(rename = "session.opened")]
    SessionOpened { session: SessionId, fence: Fence, slots: u32, level: String },
    #[serde(rename = "session.lapsed")]
    SessionLapsed { session: SessionId, since: Time, proof: String },
    #[serde(rename = "session.swept")]
    SessionSwept { session: SessionId },
    #[serde(rename = "command.refused")]
    Refused(crate::command::Refused),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misstep {
    Registered,
    Unregistered,
    SessionOpen,
    SessionUnknown,
}

const SWEEPS_MAX: usize = 64;

pub fn decide(worker: Option<&Worker>, command: &Command, mint: &mut Mint) -> Result<Vec<Event>, Misstep> {
    let known = || worker.ok_or(Misstep::Unregistered);
    Ok(match command {
        Command::Register { worker: id, name } => match worker {
            None => vec![Event::Registered { worker: *id, name: name.clone() }],
            Some(_) => return Err(Misstep::Registered),
        },
        Command::OpenSession { slots, level } => {
            let worker = known()?;
            if worker.session.is_some() || worker.sweeping.len() >= SWEEPS_MAX {
                return Err(Misstep::SessionOpen);
            }
            let fence = Fence(worker.fence.0 + 1);
            let session = SessionId::mint(mint);
            vec![Event::SessionOpened { session, fence, slots: *slots, level: level.clone() }]
        }
        Command::LapseSession { session, since, proof } => {
            if known()?.session.as_ref().map(|open| open.id) != Some(*session) {
                return Err(Misstep::SessionUnknown);
            }
            vec![Event::SessionLapsed { session: *session, since: *since, proof: proof.clone() }]
        }
        Command::FinishSweep { session } => {
            if !known()?.sweeping.iter().any(|lapsed| lapsed.session == *session) {
                return Err(Misstep::SessionUnknown);
            }
            vec![Event::SessionSwept { session: *session }]
        }
    })
}

pub fn apply(fold: &mut Option<Worker>, event: &Event) {
    match event {
        Event::Registered { worker, name } => {
            let (id, name) = (*worker, name.clone());
            *fold = Some(Worker { id, name, fence: Fence(0), session: None, sweeping: Vec::new() });
        }
        Event::SessionOpened { session, fence, slots, level: _ } => {
            if let Some(worker) = fold {
                worker.fence = *fence;
                worker.session = Some(Session { id: *session, slots: *slots });
            }
        }
        Event::SessionLapsed { session, since, proof: _ } => {
            if let Some(worker) = fold {
                worker.session = None;
                worker.sweeping.push(Lapsed { session: *session, since: *since });
            }
        }
        Event::SessionSwept { session } => {
            if let Some(worker) = fold {
                worker.sweeping.retain(|lapsed| lapsed.session != *session);
            }
        }
        Event::Refused(_) => {}
    }
}
