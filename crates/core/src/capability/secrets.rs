//! What an agent is told of the secrets that are bound to it. Never a value, nor anything of one that is not bound to it.
use super::{Attributes, Capability, Effects, Perform, Performed, arguments};
use crate::agent::alert::{self, Severity};
use crate::bound::Payload;
use crate::call::Caller;
use crate::draft::Draft;
use crate::facts::Unread;
use crate::secret::{self, Binding};
use serde_json::{Value, json};

/// Of the reason for a rotation.
const WHY_BYTES_MAX: usize = 1024;

pub(super) const GROUP: &[Capability] = &[
    Capability {
        name: "secrets.list",
        version: 1,
        brief: "List the secrets that you may use, by name and host; never a value.",
        use_when: "A service wants a key or password.",
        avoid_when: "",
        effects: Effects::None,
        idempotent: true,
        usual: &[],
        input: || arguments(&[], json!({})),
        output: || json!({"type": "object", "properties": {"secrets": {"type": "array"}}}),
        attributes: |_| Attributes::default(),
        perform: Some(Perform::From(list)),
    },
    Capability {
        name: "secrets.use",
        version: 1,
        brief: "Tell whether and how a secret may be used; never its value.",
        use_when: "It is not clear with which host a secret may be used.",
        avoid_when: "The request is to be made: network.credentialed_request.",
        effects: Effects::None,
        idempotent: true,
        usual: &["name"],
        input: || arguments(&["name"], json!({"name": name()})),
        output: || json!({"type": "object", "properties": {"name": {"type": "string"}, "uses": {"type": "array"}, "how": {"type": "string"}}}),
        attributes: named,
        perform: Some(Perform::From(usage)),
    },
    Capability {
        name: "secrets.rotate_request",
        version: 1,
        brief: "Ask your supervisor to give a secret a new value.",
        use_when: "A service refuses a secret, or it may be known to others.",
        avoid_when: "The host refuses for another reason.",
        effects: Effects::Irreversible,
        idempotent: false,
        usual: &["name", "why"],
        input: || {
            let why = json!({"type": "string", "minLength": 1, "maxLength": WHY_BYTES_MAX});
            arguments(&["name", "why"], json!({"name": name(), "why": why}))
        },
        output: || json!({"type": "object", "properties": {"alert": {"type": "string"}}}),
        attributes: named,
        perform: Some(Perform::Keeping { value: request, perform: rotate_request }),
    },
];

fn name() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 63})
}

fn text<'a>(arguments: &'a Value, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn named(arguments: &Value) -> Attributes {
    let key = arguments.get("name").and_then(Value::as_str).map(str::to_string);
    Attributes { key, ..Attributes::default() }
}

fn list(draft: &mut Draft<'_>, caller: Caller, _: &Value) -> Result<Performed, Unread> {
    let bound = draft.secret_bindings(caller.agent)?;
    let shown = |row: &secret::BindingRow| json!({"name": row.name, "capability": row.capability, "host": row.host});
    Ok(Performed::done(json!({ "secrets": bound.iter().map(shown).collect::<Vec<_>>() })))
}

fn usage(draft: &mut Draft<'_>, caller: Caller, arguments: &Value) -> Result<Performed, Unread> {
    let name = text(arguments, "name");
    let bound = secret::bound_to(draft, caller.agent, name)?;
    if bound.is_empty() {
        return Ok(unbound(name));
    }
    let shown = |binding: &Binding| json!({"capability": binding.capability, "host": binding.host});
    let uses: Vec<Value> = bound.iter().map(shown).collect();
    let how = "call the capability with the secret's name: its value is put into the request outside your sandbox";
    Ok(Performed::done(json!({"name": name, "uses": uses, "how": how})))
}

fn unbound(name: &str) -> Performed {
    let sentence = format!("no secret `{}` is bound to you: secrets.list names those that are", super::clip(name));
    Performed::failed("not_bound", sentence)
}

/// What the supervisor reads.
fn request(arguments: &Value) -> Vec<u8> {
    format!("rotate the secret `{}`: {}", super::clip(text(arguments, "name")), text(arguments, "why")).into_bytes()
}

fn rotate_request(
    draft: &mut Draft<'_>,
    caller: Caller,
    arguments: &Value,
    message: Payload,
) -> Result<Performed, Unread> {
    let name = text(arguments, "name");
    if text(arguments, "why").len() > WHY_BYTES_MAX {
        return Ok(Performed::failed("invalid_arguments", format!("`why` has at most {WHY_BYTES_MAX} bytes")));
    }
    if secret::bound_to(draft, caller.agent, name)?.is_empty() {
        return Ok(unbound(name));
    }
    Ok(match alert::send(draft, caller, Severity::Warning, message)? {
        Ok(alert) => Performed::done(json!({ "alert": alert })),
        Err((code, sentence)) => Performed::failed(code, sentence),
    })
}
