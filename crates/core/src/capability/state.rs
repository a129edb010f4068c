//! What an agent keeps beyond its executions: values under keys, in our own rows.
use super::{Attributes, Capability, Effects, Output, Perform, Performed, arguments};
use crate::bound::Payload;
use crate::call::{Caller, Outcome};
use crate::draft::Draft;
use crate::facts::Unread;
use crate::state::{self, Conflict, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use serde_json::{Value, json};

pub(super) const GROUP: &[Capability] = &[
    Capability {
        name: "state.persistent.get",
        version: 1,
        brief: "Read a value that was kept under a key.",
        use_when: "Something that an earlier execution kept is needed.",
        avoid_when: "It lies in a file: filesystem.read.",
        effects: Effects::None,
        idempotent: true,
        usual: &["key"],
        input: || arguments(&["key"], json!({"key": key()})),
        output: || json!({"description": "The value as it was stored; version, owner_agent and updated_at stand beside it."}),
        attributes: |arguments| Attributes { key: named(arguments), ..Attributes::default() },
        perform: Some(Perform::From(get)),
    },
    Capability {
        name: "state.persistent.set",
        version: 1,
        brief: "Keep a JSON value under a key, beyond this execution.",
        use_when: "A later execution needs it.",
        avoid_when: "It is a file's content: filesystem.write.",
        effects: Effects::Reversible,
        idempotent: false,
        usual: &["key", "value"],
        input: || {
            arguments(
                &["key", "value"],
                json!({"key": key(), "value": {}, "expected_version": {"type": "integer", "minimum": 0}}),
            )
        },
        output: || json!({"type": "object", "properties": {"version": {"type": "integer"}}}),
        attributes: |arguments| Attributes {
            key: named(arguments),
            bytes: arguments.get("value").map(|value| value.to_string().len() as u64),
            ..Attributes::default()
        },
        perform: Some(Perform::Keeping { value, perform: set }),
    },
];

fn key() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": KEY_BYTES_MAX})
}

fn named(arguments: &Value) -> Option<String> {
    arguments.get("key").and_then(Value::as_str).map(str::to_string)
}

fn get(draft: &mut Draft<'_>, caller: Caller, arguments: &Value) -> Result<Performed, Unread> {
    let key = named(arguments).unwrap_or_default();
    let Some(entry) = state::get(draft, &state::persistent(caller.agent), &key)? else {
        return Ok(Performed::failed("not_found", format!("nothing is kept under `{}`", super::clip(&key))));
    };
    let detail = json!({"version": entry.version, "owner_agent": entry.owner, "updated_at": entry.at.to_string()});
    let outcome = Outcome::Done { exit_code: None };
    Ok(Performed { outcome, result: Output::Stored(entry.value), detail: Some(detail) })
}

fn value(arguments: &Value) -> Vec<u8> {
    arguments.get("value").unwrap_or(&Value::Null).to_string().into_bytes()
}

fn set(draft: &mut Draft<'_>, caller: Caller, arguments: &Value, value: Payload) -> Result<Performed, Unread> {
    let key = named(arguments).unwrap_or_default();
    if key.len() > KEY_BYTES_MAX || value.bytes().len() > VALUE_BYTES_MAX {
        let most =
            format!("a key has at most {KEY_BYTES_MAX} bytes and a value {VALUE_BYTES_MAX}; keep more in a file");
        return Ok(Performed::failed("too_large", most));
    }
    let expected = arguments.get("expected_version");
    // The schema's `integer` lets 3.0 and 2^64 pass; unread, they would write over what another wrote.
    let Ok(expected) = expected.map(|wanted| wanted.as_u64().ok_or(())).transpose() else {
        return Ok(Performed::failed("invalid_arguments", "expected_version is no whole number below 2^64"));
    };
    Ok(match state::set(draft, caller.agent, &state::persistent(caller.agent), &key, value, expected)? {
        Ok(version) => Performed::done(json!({ "version": version })),
        Err(Conflict::Version { current }) => {
            Performed::failed("VersionConflict", format!("its version is {current}; read it and decide again"))
        }
        Err(Conflict::Quota { used, wanted }) => {
            let most = state::PERSISTENT_BYTES_MAX;
            Performed::failed(
                "QuotaExceeded",
                format!("{wanted} of {most} bytes would be kept, {used} are; nothing changed"),
            )
        }
    })
}
