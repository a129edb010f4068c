//! What a program that has a mind of its own asks its supervisor before it acts: an agent of others behind the Agent Client
//! Protocol. The answer binds nothing but the program: what it does then is held by its jail, and by the gate where it asks that.
use super::{Attributes, Capability, Effects, Perform, Performed, arguments};
use crate::call::Caller;
use crate::draft::Draft;
use crate::facts::Unread;
use serde_json::{Value, json};

/// Of what the program wants, in its own words.
pub const TITLE_BYTES_MAX: usize = 4 * 1024;
/// Of the arguments of its tool, as JSON.
pub const INPUT_BYTES_MAX: usize = 32 * 1024;
/// The one capability here.
pub const ASK: &str = "permission.ask";

pub(super) const GROUP: &[Capability] = &[Capability {
    name: ASK,
    version: 1,
    brief: "Ask your supervisor whether you may do something by a tool of your own.",
    use_when: "Your own program would act, and its user would be asked first.",
    avoid_when: "A capability does it: call that, and whoever must allow it is asked.",
    effects: Effects::Reversible,
    idempotent: true,
    usual: &["title"],
    input: || {
        let text = |bytes: usize| json!({"type": "string", "maxLength": bytes});
        arguments(&["title"], json!({"title": text(TITLE_BYTES_MAX), "kind": text(64), "input": text(INPUT_BYTES_MAX)}))
    },
    output: || json!({"type": "object", "properties": {"allowed": {"type": "boolean"}}}),
    attributes: |arguments| {
        let key = arguments.get("title").and_then(Value::as_str).map(str::to_string);
        Attributes { key, ..Attributes::default() }
    },
    perform: Some(Perform::From(allow)),
}];

/// It was judged, and people have allowed it where they had to.
fn allow(_: &mut Draft<'_>, _: Caller, _: &Value) -> Result<Performed, Unread> {
    Ok(Performed::done(json!({"allowed": true})))
}
