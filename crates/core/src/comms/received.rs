//! How messages are taken: in order, each once, by an execution that is at work or by the one that they wake.
use super::{MessageRow, PAGE, TAKEN_BYTES_MAX};
use crate::agent::{Agent, Event};
use crate::call::Holder;
use crate::draft::Draft;
use crate::facts::{Counter, Unread};
use crate::id::AgentId;
use serde_json::json;

/// Messages that are taken together, with what they say.
pub(crate) struct Page(Vec<Spoken>);

/// A message with what it says; none once that is erased.
#[derive(Debug, Clone)]
pub struct Spoken {
    pub row: MessageRow,
    pub body: Option<Vec<u8>>,
}

impl Page {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As JSON, in order.
    pub(crate) fn text(&self) -> String {
        list_of(&self.0)
    }
}

/// The next messages of an agent, the urgent ones first and of those the oldest, at most `limit`.
pub(crate) fn pick(draft: &mut Draft<'_>, agent: AgentId, limit: u32) -> Result<Page, Unread> {
    let mut page = Vec::new();
    let mut bytes = 0;
    for row in draft.waiting(agent, limit.min(PAGE))? {
        bytes += row.size;
        if !page.is_empty() && bytes > TAKEN_BYTES_MAX {
            break;
        }
        let body = draft.body(&row.body)?;
        page.push(Spoken { row, body });
    }
    Ok(Page(page))
}

/// They are received by this execution or session, which sends with one hop more from now on.
pub(crate) fn take(draft: &mut Draft<'_>, agent: AgentId, holder: Holder, page: &Page) -> Result<(), Unread> {
    let messages = page.0.iter().map(|spoken| spoken.row.id).collect();
    let hop = page.0.iter().map(|spoken| spoken.row.hop).max().unwrap_or(0);
    let before = u32::try_from(draft.count(Counter::Hops, &holder.to_string())?).unwrap_or(0);
    let deeper_by = hop.saturating_sub(before);
    draft.emit::<Agent>(agent, Event::MessagesReceived { messages, holder, deeper_by })
}

/// Messages as models and programs read them. What one says stands there as it was sent, to the byte.
pub fn list_of(messages: &[Spoken]) -> String {
    let texts: Vec<String> = messages.iter().map(Spoken::text).collect();
    format!("[{}]", texts.join(","))
}

impl Spoken {
    fn text(&self) -> String {
        let row = &self.row;
        let mut envelope = json!({
            "id": row.id,
            "from": row.sender_name.clone().unwrap_or_else(|| row.sender.to_string()),
            "priority": row.priority,
            "sent_at": row.sent_at.to_string(),
            "correlation": row.correlation(),
        });
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                envelope[name] = value.into();
            }
        };
        put("channel", row.channel.clone());
        put("reply_to", row.reply_to.map(|id| id.to_string()));
        put("deadline", row.deadline.map(|at| at.to_string()));
        let mut text = envelope.to_string();
        // Its own bytes: a number that JSON's readers would round stays what it was.
        let body = self.body.as_deref().map(String::from_utf8_lossy);
        text.truncate(text.len() - 1);
        text.push_str(",\"message\":");
        text.push_str(body.as_deref().unwrap_or("null"));
        if body.is_none() {
            text.push_str(",\"erased\":true");
        }
        text.push('}');
        text
    }
}
