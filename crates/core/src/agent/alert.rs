//! Alerts: what an agent tells its supervisor, until somebody has seen to it. How many may be open, and how many a minute takes,
//! is bounded; what one says is bound data. Nothing is decided by what it says.
//!
//! ```text
//! alerts.send ──> open ──a person or the agent itself──> acknowledged
//! ```
use super::{Agent, Event, Refusal};
use crate::actor::Actor;
use crate::bound::{Bound, Hash, Payload};
use crate::call::Caller;
use crate::capability::clip;
use crate::draft::{Draft, Stop, minute, refuse};
use crate::facts::{Counter, Unread};
use crate::id::{AgentId, AlertId};
use crate::item::{Item, ItemChange, ItemKind};
use crate::row::Row;
use crate::time::Stamp;
use serde::{Deserialize, Serialize};

/// Of what one says.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Of one agent; the next one is refused until somebody has acknowledged one.
pub const OPEN_MAX: i64 = 64;
pub const PER_MINUTE_MAX: i64 = 10;

/// The least urgent first.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The words of an alert's state.
pub const OPEN: &str = "open";
pub const ACKNOWLEDGED: &str = "acknowledged";

/// What lists need of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub severity: Severity,
    /// Bytes of what it says.
    pub size: u64,
}

/// Why none was sent: a stable code, and a sentence.
pub(crate) type Unsent = (&'static str, String);

pub(crate) fn send(
    draft: &mut Draft<'_>,
    caller: Caller,
    severity: Severity,
    message: Payload,
) -> Result<Result<AlertId, Unsent>, Unread> {
    let key = caller.agent.to_string();
    let open = draft.count(Counter::AlertsOpen, &key)?;
    if open >= OPEN_MAX {
        let sentence = format!("{open} of your alerts are open, the most there may be: acknowledge what is over");
        return Ok(Err(("too_many_alerts", sentence)));
    }
    let sent = draft.count_this_minute(Counter::AlertsSent, &key)?;
    if sent >= PER_MINUTE_MAX {
        let sentence =
            format!("{sent} alerts were sent in this minute, the limit is {PER_MINUTE_MAX}: say more in one");
        return Ok(Err(("rate_limited", sentence)));
    }
    let alert = AlertId::mint(&mut draft.mint);
    let message = draft.bind(message);
    draft.emit::<Agent>(caller.agent, Event::AlertSent { alert, severity, message, holder: caller.holder })?;
    Ok(Ok(alert))
}

/// False where somebody had acknowledged it before; none where the agent sent no such alert.
pub(crate) fn acknowledge(
    draft: &mut Draft<'_>,
    agent: AgentId,
    by: Actor,
    alert: AlertId,
    note: Option<String>,
) -> Result<Option<bool>, Unread> {
    let Some(item) = draft.item(ItemKind::Alert, agent, &alert.to_string())? else { return Ok(None) };
    if item.state != OPEN {
        return Ok(Some(false));
    }
    let severity = item.parse_data::<Listed>().map_or(Severity::Info, |listed| listed.severity);
    let note = note.map(|note| clip(&note));
    draft.emit::<Agent>(agent, Event::AlertAcknowledged { alert, severity, by, note })?;
    Ok(Some(true))
}

/// By a person.
pub(crate) fn acknowledge_command(
    id: AgentId,
    draft: &mut Draft<'_>,
    alert: AlertId,
    note: Option<String>,
) -> Result<(), Stop> {
    let by = draft.actor;
    match acknowledge(draft, id, by, alert, note)? {
        Some(true) => Ok(()),
        Some(false) => Err(refuse::<Agent>(Refusal::AlertAcknowledged {})),
        None => Err(refuse::<Agent>(Refusal::AlertUnknown {})),
    }
}

pub(super) fn binds(event: &Event, each: &mut dyn FnMut(&Hash)) {
    match event {
        Event::AlertSent { message, .. } => each(&message.hash),
        Event::AlertAcknowledged { .. }
        | Event::Archived { .. }
        | life_events!()
        | planned_events!()
        | grant_events!()
        | state_events!()
        | message_events!() => {}
    }
}

/// The rows of what happened to alerts.
pub(super) fn rows(id: AgentId, event: &Event, stamp: Stamp) -> Vec<Row> {
    let counted = |counter, key: String, bucket, by| Row::Counted { counter, key, bucket, by };
    let open = |severity: Severity, by| {
        [
            counted(Counter::AlertsOpen, id.to_string(), 0, by),
            counted(Counter::AlertsOpen, severity.as_str().to_string(), 0, by),
        ]
    };
    match event {
        Event::AlertSent { alert, severity, message, .. } => {
            let sent = counted(Counter::AlertsSent, id.to_string(), minute(stamp), 1);
            let item = Row::Item(Box::new(sent_item(id, *alert, *severity, message, stamp)));
            open(*severity, 1).into_iter().chain([sent, item]).collect()
        }
        Event::AlertAcknowledged { alert, severity, by, note } => {
            let note = note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
            let change = ItemChange { state: ACKNOWLEDGED, detail: Some(format!("by {by}{note}")), due: None };
            let (kind, key) = (ItemKind::Alert, alert.to_string());
            let changed = Row::ItemChanged { kind, agent: id, key, change, at: stamp.at };
            open(*severity, -1).into_iter().chain([changed]).collect()
        }
        Event::Archived { .. }
        | life_events!()
        | planned_events!()
        | grant_events!()
        | state_events!()
        | message_events!() => Vec::new(),
    }
}

fn sent_item(id: AgentId, alert: AlertId, severity: Severity, message: &Bound, stamp: Stamp) -> Item {
    let data = serde_json::to_string(&Listed { severity, size: message.size });
    Item {
        kind: ItemKind::Alert,
        agent: id,
        key: alert.to_string(),
        state: OPEN.to_string(),
        data: data.expect("invariant: a severity is JSON"),
        text: Some(message.hash),
        detail: None,
        due: None,
        at: stamp.at,
        changed_at: stamp.at,
    }
}
