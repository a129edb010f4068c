//! What an agent missed since it was last there, in bounded words: who wrote, what failed, what people and the daemon did. It
//! is made of the ledger alone and holds no time of now, so that the same ledger gives the same bytes. Nothing here may read
//! what a message says.
use crate::actor::Actor;
use crate::agent::{self, Agent};
use crate::aggregate::{Event, Stream};
use crate::capability::clip;
use crate::comms::MessageRow;
use crate::draft::Draft;
use crate::execution::{Ending, Execution, Phase};
use crate::facts::Unread;
use crate::id::{AgentId, ExecutionId};
use crate::state::{self, Acl, EndedBy};
use crate::time::{Stamp, Time};
use crate::{fleet, project};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Entries of one list; those beyond are counted.
pub const ITEMS_MAX: usize = 20;
/// The newest events of one stream that are looked through.
pub const EVENTS_MAX: u32 = 2_048;

/// Where a briefing comes from: a decision, or a reader of the store.
pub trait Source {
    type Error;

    /// # Errors
    /// The source's own, as all of these.
    fn agent(&mut self, id: AgentId) -> Result<Option<Agent>, Self::Error>;

    fn execution(&mut self, id: ExecutionId) -> Result<Option<Execution>, Self::Error>;

    /// The newest events of a stream from `since` on, the newest first.
    fn events(&mut self, stream: Stream, since: Option<Time>, limit: u32) -> Result<Vec<(Stamp, Event)>, Self::Error>;

    fn project(&mut self) -> Result<Option<Stream>, Self::Error>;

    fn waiting(&mut self, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Self::Error>;

    /// The rules on shared keys.
    fn acls(&mut self) -> Result<Vec<Acl>, Self::Error>;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Briefing {
    pub agent: AgentId,
    pub name: String,
    /// The end of its last execution, or what was asked for; none where it has never ended one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    pub messages: Messages,
    /// Questions of its own that nobody answers any more, and messages to it that a limit kept back.
    pub undelivered: List<Happening>,
    pub approvals: List<Happening>,
    /// Shared keys that others changed, each once with its newest change, as far as the agent may read them.
    pub shared_state: List<Happening>,
    pub policy: List<Happening>,
    /// What people and the daemon did.
    pub system: List<Happening>,
    /// Its own executions that did not complete.
    pub failures: List<Failed>,
    /// More happened than was looked through.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// The first of a list, and how many were left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    pub items: Vec<T>,
    pub left_out: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    pub waiting: u32,
    /// In the order in which they are taken.
    pub next: List<Waits>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    pub id: String,
    pub from: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    pub priority: String,
    pub size: u64,
    pub sent_at: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    pub at: String,
    pub what: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub at: String,
    pub execution: ExecutionId,
    pub reason: String,
    pub detail: String,
}

impl<T> List<T> {
    /// The newest of all, the oldest first.
    fn of(mut newest_first: Vec<T>) -> List<T> {
        let left_out = newest_first.len().saturating_sub(ITEMS_MAX) as u64;
        newest_first.truncate(ITEMS_MAX);
        newest_first.reverse();
        List { items: newest_first, left_out }
    }

    fn none() -> List<T> {
        List { items: Vec::new(), left_out: 0 }
    }
}

/// What `agent` missed; none where there is no such agent. `since`: instead of the end of its last execution.
///
/// # Errors
/// The source's.
pub fn of<S: Source>(source: &mut S, id: AgentId, since: Option<Time>) -> Result<Option<Briefing>, S::Error> {
    let Some(agent) = source.agent(id)? else { return Ok(None) };
    let since = since.or(agent.last_ended_at);
    let own = source.events(Stream::Agent(id), since, EVENTS_MAX)?;
    let mut cut = own.len() >= EVENTS_MAX as usize;
    let mut streams: Vec<Stream> = source.project()?.into_iter().collect();
    streams.extend(agent.home.map(Stream::Worker));
    let mut system: Vec<(Time, String)> = Vec::new();
    let mut shared = Vec::new();
    for stream in streams {
        let events = source.events(stream, since, EVENTS_MAX)?;
        if let Stream::Project(_) = stream {
            shared = shared_changes(source, id, &events)?;
        }
        cut |= events.len() >= EVENTS_MAX as usize;
        system.extend(events.iter().filter_map(|(stamp, event)| Some((stamp.at, of_daemon(event)?))));
    }
    let (mut undelivered, mut failures) = (Vec::new(), Vec::new());
    for (stamp, event) in &own {
        let Event::Agent(event) = event else { continue };
        system.extend(of_people(event).map(|what| (stamp.at, what)));
        undelivered.extend(kept_back(event).map(|what| happening(stamp.at, what)));
        if let agent::Event::ExecutionEnded { execution } = event {
            failures.extend(source.execution(*execution)?.and_then(|found| failed(*execution, &found)));
        }
    }
    // Streams come one after another, and of one moment the order must be the same each time.
    system.sort_by(|one, other| other.cmp(one));
    let rows = source.waiting(id, ITEMS_MAX as u32)?;
    let left_out = u64::from(agent.mailbox.waiting).saturating_sub(rows.len() as u64);
    Ok(Some(Briefing {
        agent: id,
        name: agent.name,
        since: since.map(|since| since.to_string()),
        messages: Messages {
            waiting: agent.mailbox.waiting,
            next: List { items: rows.iter().map(Waits::of).collect(), left_out },
        },
        undelivered: List::of(undelivered),
        approvals: List::none(),
        shared_state: List::of(shared),
        policy: List::none(),
        system: List::of(system.into_iter().map(|(at, what)| happening(at, what)).collect()),
        failures: List::of(failures),
        cut,
    }))
}

/// What others did to shared keys, the newest first, each key once. Those that a rule keeps from the agent are not named.
fn shared_changes<S: Source>(
    source: &mut S,
    id: AgentId,
    events: &[(Stamp, Event)],
) -> Result<Vec<Happening>, S::Error> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut changes: Vec<(Time, &str, String, Option<Actor>, u64)> = Vec::new();
    for (stamp, event) in events {
        let Event::Project(event) = event else { continue };
        let Some((key, what, by)) = of_shared(event).filter(|(_, _, by)| *by != Some(Actor::Agent(id))) else {
            continue;
        };
        match seen.get(key) {
            Some(place) => changes[*place].4 += 1,
            None => {
                seen.insert(key, changes.len());
                changes.push((stamp.at, key, what, by, 0));
            }
        }
    }
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let acls = source.acls()?;
    changes.retain(|(_, key, ..)| state::may_read(&acls, id, key));
    let mut told = Vec::with_capacity(changes.len());
    for (place, (at, key, what, by, before)) in changes.into_iter().enumerate() {
        let who = match by {
            // Beyond these it is only counted.
            Some(Actor::Agent(agent)) if place < ITEMS_MAX => {
                let name = source.agent(agent)?.map(|agent| agent.name);
                format!(" by {}", name.unwrap_or_else(|| agent.to_string()))
            }
            Some(by) => format!(" by {by}"),
            None => String::new(),
        };
        let before = if before > 0 { format!(", {before} more changes before it") } else { String::new() };
        told.push(happening(at, format!("{} {what}{who}{before}", clip(key))));
    }
    Ok(told)
}

/// A change of a shared key: the key, what was done, and by whom.
fn of_shared(event: &project::Event) -> Option<(&str, String, Option<Actor>)> {
    if let project::Event::StateSet(set) = event {
        return Some((&set.key, format!("was set, version {},", set.version), Some(set.by)));
    }
    if let project::Event::StateDeleted(ended) | project::Event::StateExpired(ended) = event {
        return Some(match ended.by {
            EndedBy::Actor { by } => (&ended.key, "was deleted".to_string(), Some(by)),
            EndedBy::Expiry { .. } => (&ended.key, "expired".to_string(), None),
        });
    }
    None
}

fn happening(at: Time, what: String) -> Happening {
    Happening { at: at.to_string(), what }
}

impl Waits {
    fn of(row: &MessageRow) -> Waits {
        Waits {
            id: row.id.to_string(),
            from: row.sender_name.clone().unwrap_or_else(|| row.sender.to_string()),
            channel: row.channel.clone(),
            priority: row.priority.as_str().to_string(),
            size: row.size,
            sent_at: row.sent_at.to_string(),
        }
    }
}

fn failed(id: ExecutionId, execution: &Execution) -> Option<Failed> {
    let Phase::Ended { ending, at, .. } = &execution.phase else { return None };
    let (reason, detail) = match ending {
        Ending::Completed { .. } => return None,
        Ending::Failed { reason, detail } => (reason.as_str().to_string(), clip(detail)),
        Ending::Cancelled { by, why } => ("cancelled".to_string(), clip(&format!("by {by}: {why}"))),
    };
    Some(Failed { at: at.to_string(), execution: id, reason, detail })
}

/// What the daemon and its workers did.
fn of_daemon(event: &Event) -> Option<String> {
    match event {
        Event::Project(project::Event::DaemonStarted { version }) => Some(format!("the daemon started, {version}")),
        Event::Project(project::Event::ClockStepped { by_ms }) => {
            Some(format!("the clock was set by {} seconds", by_ms / 1000))
        }
        Event::Project(project::Event::RestoreAccepted { why, .. }) => {
            Some(clip(&format!("an older copy of the ledger was put back: {why}")))
        }
        Event::Project(project::Event::BudgetNear(near)) => Some(format!("of the project's budget {near}")),
        Event::Worker(fleet::Event::Connected { .. }) => Some("the worker came up".to_string()),
        Event::Worker(fleet::Event::Lapsed { .. }) => Some("the worker was lost".to_string()),
        Event::Project(_)
        | Event::Worker(_)
        | Event::Agent(_)
        | Event::Execution(_)
        | Event::Session(_)
        | Event::Instance(_)
        | Event::Secret(_)
        | Event::Package(_) => None,
    }
}

/// What people did to the agent.
fn of_people(event: &agent::Event) -> Option<String> {
    let said = |what: &str, supervision: &agent::Supervision| {
        let note = supervision.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
        Some(clip(&format!("{what} by {}{note}", supervision.by)))
    };
    if let agent::Event::Revised(deployed) = event {
        return Some(format!("revision {} was deployed", deployed.revision));
    }
    if let agent::Event::Paused { supervision, .. } = event {
        return said("paused", supervision);
    }
    if let agent::Event::Resumed { supervision, .. } = event {
        return said("resumed", supervision);
    }
    if let agent::Event::Quarantined { quarantine, .. } = event {
        let agent::Quarantine { cause, by, description, .. } = quarantine;
        return Some(clip(&format!("put into quarantine ({}) by {by}: {description}", cause.as_str())));
    }
    if let agent::Event::Recovered { by, note, .. } = event {
        let note = note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
        return Some(clip(&format!("recovered from quarantine by {by}{note}")));
    }
    if let agent::Event::BudgetNear(near) = event {
        return Some(format!("of the agent's budget {near}"));
    }
    if let agent::Event::AlertAcknowledged { alert, by, note, .. } = event
        && !matches!(by, Actor::Agent(_))
    {
        let note = note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
        return Some(clip(&format!("{alert} was acknowledged by {by}{note}")));
    }
    if let agent::Event::ScheduleDeleted { name, by } = event
        && !matches!(by, Actor::Agent(_))
    {
        return Some(format!("the schedule {name} was ended by {by}"));
    }
    if let agent::Event::Killed(supervision) = event {
        return said("killed", supervision);
    }
    None
}

fn kept_back(event: &agent::Event) -> Option<String> {
    if let agent::Event::MessageUnanswered { message, by, cause } = event {
        return Some(format!("no answer to {message} comes from {by}: {}", cause.as_str()));
    }
    if let agent::Event::MessageRefused { from, code } = event {
        return Some(format!("a message of {from} was kept back: {}", clip(code)));
    }
    None
}

impl Briefing {
    /// For people and models.
    pub fn to_text(&self) -> String {
        let since = self.since.as_deref().unwrap_or("the beginning");
        let mut text = format!("Briefing of {} since {since}\n", self.name);
        let waiting = self.messages.waiting;
        let _ = writeln!(text, "Messages waiting: {waiting}");
        for message in &self.messages.next.items {
            let channel = message.channel.as_deref().map(|channel| format!(" on {channel}")).unwrap_or_default();
            let Waits { id, from, priority, size, sent_at, .. } = message;
            let _ = writeln!(text, "  {id} from {from}{channel}, {priority}, {size} bytes, {sent_at}");
        }
        more(&mut text, self.messages.next.left_out);
        let lists = [
            ("Not delivered", &self.undelivered),
            ("Approvals", &self.approvals),
            ("Shared state", &self.shared_state),
            ("Policy", &self.policy),
            ("System", &self.system),
        ];
        for (title, list) in lists {
            let _ = writeln!(text, "{title}: {}", list.items.len() as u64 + list.left_out);
            for Happening { at, what } in &list.items {
                let _ = writeln!(text, "  {at} {what}");
            }
            more(&mut text, list.left_out);
        }
        let _ = writeln!(text, "Own failures: {}", self.failures.items.len() as u64 + self.failures.left_out);
        for Failed { at, execution, reason, detail } in &self.failures.items {
            let _ = writeln!(text, "  {at} {execution} {reason}: {detail}");
        }
        more(&mut text, self.failures.left_out);
        if self.cut {
            text.push_str("More happened than was looked through.\n");
        }
        text
    }
}

fn more(text: &mut String, left_out: u64) {
    if left_out > 0 {
        let _ = writeln!(text, "  and {left_out} more");
    }
}

impl Source for Draft<'_> {
    type Error = Unread;

    fn agent(&mut self, id: AgentId) -> Result<Option<Agent>, Unread> {
        Ok(self.get::<Agent>(id)?.cloned())
    }

    fn execution(&mut self, id: ExecutionId) -> Result<Option<Execution>, Unread> {
        Ok(self.get::<Execution>(id)?.cloned())
    }

    fn events(&mut self, stream: Stream, since: Option<Time>, limit: u32) -> Result<Vec<(Stamp, Event)>, Unread> {
        self.happened(stream, since, limit)
    }

    fn project(&mut self) -> Result<Option<Stream>, Unread> {
        Ok(self.project_stream())
    }

    fn acls(&mut self) -> Result<Vec<Acl>, Unread> {
        Draft::acls(self)
    }

    fn waiting(&mut self, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Unread> {
        Draft::waiting(self, agent, limit)
    }
}
