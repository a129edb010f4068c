//! Workers and their connections. A connection is the time in which one worker process is known to live; its fence counts
//! such times. What a lapsed connection held is given back in pages, by a reconciler; nothing here may touch a process.
use crate::aggregate::{Aggregate, events, refusals, verbs};
use crate::bound::{Bound, Hash, Payload};
use crate::call::Fence;
use crate::draft::{Draft, Stop, refuse};
use crate::id::{ConnectionId, WorkerId};
use crate::owed::{Obligation, Owed};
use crate::row::Row;
use crate::time::{Due, Run, Stamp, Time};
use serde::{Deserialize, Serialize};

/// Lapsed connections that may wait to be swept; one more worker process is not let in beyond.
const LAPSED_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    pub name: String,
    pub fence: Fence,
    pub connection: Option<Connection>,
    /// Connections whose executions are still being given back.
    pub lapsed: Vec<Lapsed>,
    pub host: Option<Hash>,
    /// The confinement of its jails, as it said when it connected.
    #[serde(default)]
    pub level: String,
    pub at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    pub id: ConnectionId,
    pub slots: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lapsed {
    pub connection: ConnectionId,
    /// The last moment at which it was known to live: the clocks of what it held stop there.
    pub since: Run,
}

verbs! {
    pub enum Command {
        "worker.register" => Register { name: String },
        /// `host`: what its host can do, as JSON.
        "worker.connect" ends => Connect { slots: u32, level: String, host: Payload },
        /// Its host can do something else now.
        "worker.survey" => Survey { connection: ConnectionId, host: Payload },
        /// Only once every jail of the connection is proven dead; `since`: the last moment at which it was known to live.
        "worker.lapse" ends => Lapse { connection: ConnectionId, since: Run, proof: String },
        "worker.sweep" ends => FinishSweep { connection: ConnectionId },
    }

    fn payloads(&self) -> Vec<&Payload> {
        match self {
            Command::Connect { host, .. } | Command::Survey { host, .. } => vec![host],
            Command::Register { .. } | Command::Lapse { .. } | Command::FinishSweep { .. } => Vec::new(),
        }
    }
}

events! {
    pub enum Event {
        "worker.registered" => Registered { worker: WorkerId, name: String },
        "worker.connected" => Connected { connection: ConnectionId, fence: Fence, slots: u32, level: String, host: Bound },
        "worker.surveyed" => Surveyed { connection: ConnectionId, host: Bound },
        "worker.lapsed" => Lapsed { connection: ConnectionId, since: Run, proof: String },
        "worker.swept" => Swept { connection: ConnectionId },
    }
}

refusals! {
    pub enum Refusal {
        "worker.already_registered" => Registered {},
        "worker.unregistered" => Unregistered {},
        "worker.already_connected" => Connected {},
        "worker.connection_unknown" => ConnectionUnknown {},
    }
}

/// A worker as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    pub id: WorkerId,
    pub name: String,
    pub fence: u64,
    pub connection: Option<ConnectionId>,
    pub slots: u32,
    /// What its host can do, as it said last.
    pub host: Option<Hash>,
    /// When it was registered, connected or lapsed last.
    pub at: Time,
}

impl Aggregate for Worker {
    type Id = WorkerId;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(id: WorkerId, draft: &mut Draft<'_>, command: Command) -> Result<(), Stop> {
        let known = draft.get::<Worker>(id)?.cloned();
        let event = match (command, known) {
            (Command::Register { .. }, Some(_)) => return Err(refuse::<Worker>(Refusal::Registered {})),
            (Command::Register { name }, None) => Event::Registered { worker: id, name },
            (_, None) => return Err(refuse::<Worker>(Refusal::Unregistered {})),
            (Command::Connect { slots, level, host }, Some(worker)) => {
                if worker.connection.is_some() || worker.lapsed.len() >= LAPSED_MAX {
                    return Err(refuse::<Worker>(Refusal::Connected {}));
                }
                let (connection, host) = (ConnectionId::mint(&mut draft.mint), draft.bind(host));
                Event::Connected { connection, fence: Fence(worker.fence.0 + 1), slots, level, host }
            }
            (Command::Survey { connection, host }, Some(worker)) => {
                worker.must_hold(connection)?;
                Event::Surveyed { connection, host: draft.bind(host) }
            }
            (Command::Lapse { connection, since, proof }, Some(worker)) => {
                worker.must_hold(connection)?;
                Event::Lapsed { connection, since, proof }
            }
            (Command::FinishSweep { connection }, Some(worker)) => {
                if !worker.lapsed.iter().any(|lapsed| lapsed.connection == connection) {
                    return Err(refuse::<Worker>(Refusal::ConnectionUnknown {}));
                }
                Event::Swept { connection }
            }
        };
        Ok(draft.emit::<Worker>(id, event)?)
    }

    fn apply(fold: &mut Option<Worker>, event: &Event, stamp: Stamp) {
        if let Event::Registered { name, .. } = event {
            let (name, at) = (name.clone(), stamp.at);
            *fold = Some(Worker {
                name,
                fence: Fence(0),
                connection: None,
                lapsed: Vec::new(),
                host: None,
                level: String::new(),
                at,
            });
            return;
        }
        let Some(worker) = fold else { return };
        match event {
            Event::Connected { connection, fence, slots, level, host } => {
                worker.fence = *fence;
                worker.level.clone_from(level);
                worker.connection = Some(Connection { id: *connection, slots: *slots });
                worker.host = Some(host.hash);
                worker.at = stamp.at;
            }
            Event::Surveyed { host, .. } => worker.host = Some(host.hash),
            Event::Lapsed { connection, since, proof: _ } => {
                worker.connection = None;
                worker.lapsed.push(Lapsed { connection: *connection, since: *since });
                worker.at = stamp.at;
            }
            Event::Swept { connection } => worker.lapsed.retain(|lapsed| lapsed.connection != *connection),
            Event::Registered { .. } | Event::Refused(_) => {}
        }
    }

    fn binds(event: &Event, each: &mut dyn FnMut(&Hash)) {
        match event {
            Event::Connected { host, .. } | Event::Surveyed { host, .. } => each(&host.hash),
            Event::Registered { .. } | Event::Lapsed { .. } | Event::Swept { .. } | Event::Refused(_) => {}
        }
    }

    fn owed(&self) -> Vec<Owed> {
        let sweep = |lapsed: &Lapsed| Obligation::Sweep { connection: lapsed.connection, since: lapsed.since };
        self.lapsed.iter().map(|lapsed| Owed { obligation: sweep(lapsed), due: Due::AT_ONCE }).collect()
    }

    fn state_rows(id: WorkerId, before: Option<&Worker>, after: &Worker) -> Vec<Row> {
        let row = after.row(id);
        if before.is_some_and(|before| before.row(id) == row) { Vec::new() } else { vec![Row::Worker(row)] }
    }
}

impl Worker {
    fn must_hold(&self, connection: ConnectionId) -> Result<(), Stop> {
        match &self.connection {
            Some(open) if open.id == connection => Ok(()),
            Some(_) | None => Err(refuse::<Worker>(Refusal::ConnectionUnknown {})),
        }
    }

    fn row(&self, id: WorkerId) -> WorkerRow {
        WorkerRow {
            id,
            name: self.name.clone(),
            fence: self.fence.0,
            connection: self.connection.as_ref().map(|open| open.id),
            slots: self.connection.as_ref().map_or(0, |open| open.slots),
            host: self.host,
            at: self.at,
        }
    }
}
