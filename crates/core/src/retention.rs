//! How long, and how much, of what ended executions were told and said is kept: an agent's by its manifest, a project's for all
//! its agents by a person. Each holds alone, so the stricter one decides; without either all is kept. What goes are the bytes
//! that an execution or session bound. Its records, figures and reasons stay, so that the chain is whole. Must never touch one
//! that has not ended, nor one that ended before its size was counted.
pub mod erasing;

use crate::agent::{self, Agent};
use crate::budget::Whose;
use crate::call::Holder;
use crate::draft::{Draft, Stop};
use crate::execution;
use crate::facts::{Counter, Unread};
use crate::id::AgentId;
use crate::project::{self, Project};
use crate::row::Row;
use crate::session;
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// Executions and sessions that one decision looks at, and payloads after which it leaves the rest to the next: the writer does nothing else
/// meanwhile.
const PAGE: u32 = 8;
const PAYLOADS: usize = 256;
/// The shortest time that may be asked for, and for which all is kept whatever its size: below, what a person has just been shown
/// would be gone.
pub const AGE_MS_MIN: u64 = 60_000;
/// Ten years.
pub const AGE_MS_MAX: u64 = 3650 * 24 * 60 * 60 * 1000;
/// 16 TiB.
pub const BYTES_MAX: u64 = 16 << 40;

/// Off where it names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Retention {
    /// Milliseconds after its end; what is older is erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// Of all that ended together; beyond it the oldest are erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl Retention {
    pub fn is_off(&self) -> bool {
        self.age_ms.is_none() && self.bytes.is_none()
    }

    pub(crate) fn fits(&self) -> bool {
        self.age_ms.is_none_or(|age| (AGE_MS_MIN..=AGE_MS_MAX).contains(&age))
            && self.bytes.is_none_or(|bytes| bytes <= BYTES_MAX)
    }
}

/// Whatever the clock says.
const AT_ONCE: Time = Time::from_millis(0);

/// What a fold knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Keeping {
    pub retention: Retention,
    /// When it is looked at next; none while nothing is kept that could be too old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Time>,
}

impl Keeping {
    pub(crate) fn is_off(&self) -> bool {
        self.retention.is_off() && self.due.is_none()
    }

    /// What there is may be too much, or too old, under another rule.
    pub(crate) fn set(&mut self, retention: Retention) {
        if self.retention != retention {
            *self = Keeping { retention, due: (!retention.is_off()).then_some(AT_ONCE) };
        }
    }
}

/// An ended execution or session whose payloads are kept, and that nothing which runs may ask for: whoever started it has ended,
/// too, and none of its calls is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retained {
    pub holder: Holder,
    pub ended_at: Time,
    pub bytes: u64,
}

/// Why bytes are erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Why {
    Age,
    Size,
    /// A person says so.
    Asked {
        reason: String,
    },
}

/// Something has come to be kept, or is kept no longer.
pub(crate) fn kept_rows(agent: AgentId, by: i64) -> [Row; 2] {
    let row = |whose: Whose| Row::Counted { counter: Counter::KeptBytes, key: whose.key(), bucket: 0, by };
    [row(Whose::Agent(agent)), row(Whose::Project)]
}

/// An execution or session has ended, and what is kept grew by it.
pub(crate) fn ended(draft: &mut Draft<'_>, agent: AgentId) -> Result<(), Unread> {
    for whose in [Whose::Agent(agent), Whose::Project] {
        let Some(Keeping { retention, due }) = keeping(draft, whose)?.filter(|keeping| !keeping.retention.is_off())
        else {
            continue;
        };
        let now = draft.wall;
        let is_much = match retention.bytes {
            Some(most) => kept_bytes(draft, whose)? > most,
            None => false,
        };
        let aged = retention.age_ms.map(|age| now.plus_ms(age));
        let much = is_much.then(|| now.plus_ms(AGE_MS_MIN));
        let next = much.into_iter().chain(aged).min();
        if let Some(next) = next.filter(|next| due.is_none_or(|due| *next < due)) {
            emit_due(draft, whose, Some(next))?;
        }
    }
    Ok(())
}

/// By the reconciler: erases what is too old or too much, the oldest first, at most a page; then it is looked at again when
/// the next could be.
///
/// # Errors
/// `Unread`; a refusal of the kind that the caller names where nothing is due.
pub(crate) fn sweep(draft: &mut Draft<'_>, whose: Whose, nothing: Stop) -> Result<(), Stop> {
    let (now, found) = (draft.wall, keeping(draft, whose)?);
    let Some(Keeping { retention, due: Some(due) }) = found else { return Err(nothing) };
    if due > now {
        return Err(nothing);
    }
    let (mut bytes, mut erased) = (kept_bytes(draft, whose)?, 0);
    let page = draft.kept(whose, PAGE)?;
    let is_last = page.len() < PAGE as usize;
    for one in page {
        if erased >= PAYLOADS {
            return Ok(emit_due(draft, whose, Some(now))?);
        }
        let over = retention.age_ms.map(|age| one.ended_at.plus_ms(age));
        let much = retention.bytes.filter(|most| bytes > *most).map(|_| one.ended_at.plus_ms(AGE_MS_MIN));
        let why = match (over, much) {
            (Some(over), _) if over <= now => Why::Age,
            (_, Some(much)) if much <= now => Why::Size,
            (over, much) => return Ok(emit_due(draft, whose, over.into_iter().chain(much).min())?),
        };
        bytes = bytes.saturating_sub(one.bytes);
        erased += match one.holder {
            Holder::Execution(id) => execution::erase(id, draft, why)?,
            Holder::Session(id) => session::erase(id, draft, why)?,
        };
    }
    // Where nothing is kept, the next that ends says when it is looked at again.
    Ok(emit_due(draft, whose, (!is_last).then_some(now))?)
}

fn kept_bytes(draft: &mut Draft<'_>, whose: Whose) -> Result<u64, Unread> {
    Ok(u64::try_from(draft.count(Counter::KeptBytes, &whose.key())?).unwrap_or(0))
}

fn keeping(draft: &mut Draft<'_>, whose: Whose) -> Result<Option<Keeping>, Unread> {
    Ok(match (whose, draft.project) {
        (Whose::Agent(id), _) => draft.get::<Agent>(id)?.map(|agent| agent.keeping),
        (Whose::Project, Some(id)) => draft.get::<Project>(id)?.map(|project| project.keeping),
        (Whose::Project, None) => None,
    })
}

fn emit_due(draft: &mut Draft<'_>, whose: Whose, due: Option<Time>) -> Result<(), Unread> {
    match (whose, draft.project) {
        (Whose::Agent(id), _) => draft.emit::<Agent>(id, agent::Event::RetentionDue { due }),
        (Whose::Project, Some(id)) => draft.emit::<Project>(id, project::Event::RetentionDue { due }),
        (Whose::Project, None) => Ok(()),
    }
}
