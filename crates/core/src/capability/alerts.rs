//! What an agent tells its supervisor.
use super::{Attributes, Capability, Effects, Perform, Performed, arguments};
use crate::agent::alert::{self, Listed, MESSAGE_BYTES_MAX, OPEN_MAX, Severity};
use crate::bound::Payload;
use crate::call::Caller;
use crate::draft::Draft;
use crate::facts::Unread;
use crate::item::ItemKind;
use serde_json::{Value, json};

pub(super) const GROUP: &[Capability] = &[
    Capability {
        name: "alerts.send",
        version: 1,
        brief: "Tell your supervisor something that should be seen to.",
        use_when: "A person should know: something is wrong, or was decided.",
        avoid_when: "Another agent is meant: comms.send.",
        effects: Effects::Irreversible,
        idempotent: false,
        usual: &["severity", "message"],
        input: || {
            arguments(
                &["severity", "message"],
                json!({
                    "severity": {"enum": ["info", "warning", "critical"]},
                    "message": {"type": "string", "minLength": 1, "maxLength": MESSAGE_BYTES_MAX},
                }),
            )
        },
        output: || json!({"type": "object", "properties": {"id": {"type": "string"}}}),
        attributes: |arguments| {
            let of = |name| arguments.get(name).and_then(Value::as_str);
            let bytes = of("message").map(|message| message.len() as u64);
            Attributes { key: of("severity").map(str::to_string), bytes, ..Attributes::default() }
        },
        perform: Some(Perform::Keeping { value: message, perform: send }),
    },
    Capability {
        name: "alerts.list",
        version: 1,
        brief: "List your alerts that nobody has acknowledged.",
        use_when: "It is not known what you told your supervisor already.",
        avoid_when: "",
        effects: Effects::None,
        idempotent: true,
        usual: &[],
        input: || arguments(&[], json!({})),
        output: || json!({"type": "object", "properties": {"alerts": {"type": "array"}}}),
        attributes: |_| Attributes::default(),
        perform: Some(Perform::From(list)),
    },
    Capability {
        name: "alerts.acknowledge",
        version: 1,
        brief: "Take an alert of yours back: what it told of is over.",
        use_when: "What you alerted of is over.",
        avoid_when: "A person has still to see to it.",
        effects: Effects::Reversible,
        idempotent: true,
        usual: &["id"],
        input: || {
            let id = json!({"type": "string", "maxLength": 64, "description": "alr_…"});
            arguments(&["id"], json!({"id": id, "note": {"type": "string", "maxLength": 250}}))
        },
        output: || json!({"type": "object", "properties": {"changed": {"type": "boolean"}}}),
        attributes: |arguments| {
            let key = arguments.get("id").and_then(Value::as_str).map(str::to_string);
            Attributes { key, ..Attributes::default() }
        },
        perform: Some(Perform::From(acknowledge)),
    },
];

fn text<'a>(arguments: &'a Value, name: &str) -> Option<&'a str> {
    arguments.get(name).and_then(Value::as_str)
}

fn message(arguments: &Value) -> Vec<u8> {
    text(arguments, "message").unwrap_or_default().as_bytes().to_vec()
}

fn send(draft: &mut Draft<'_>, caller: Caller, arguments: &Value, message: Payload) -> Result<Performed, Unread> {
    let size = message.bytes().len();
    if size == 0 || size > MESSAGE_BYTES_MAX {
        let sentence = format!("it has {size} bytes; an alert says 1 to {MESSAGE_BYTES_MAX}");
        return Ok(Performed::failed("invalid_arguments", sentence));
    }
    let Some(severity) = text(arguments, "severity").and_then(|word| word.parse::<Severity>().ok()) else {
        return Ok(Performed::failed("invalid_arguments", "severity is info, warning or critical"));
    };
    Ok(match alert::send(draft, caller, severity, message)? {
        Ok(id) => Performed::done(json!({ "id": id })),
        Err((code, sentence)) => Performed::failed(code, sentence),
    })
}

fn list(draft: &mut Draft<'_>, caller: Caller, _: &Value) -> Result<Performed, Unread> {
    let limit = u32::try_from(OPEN_MAX).unwrap_or(u32::MAX);
    let mut alerts = Vec::new();
    for item in draft.items(ItemKind::Alert, caller.agent, alert::OPEN, limit)? {
        let severity = item.parse_data::<Listed>().map(|listed| listed.severity).ok();
        let said = item.text.map(|text| draft.body(&text)).transpose()?.flatten();
        let said = said.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        alerts.push(json!({"id": item.key, "severity": severity, "message": said, "sent_at": item.at.to_string()}));
    }
    Ok(Performed::done(json!({ "alerts": alerts })))
}

fn acknowledge(draft: &mut Draft<'_>, caller: Caller, arguments: &Value) -> Result<Performed, Unread> {
    let wanted = text(arguments, "id").unwrap_or_default();
    let note = text(arguments, "note").map(str::to_string);
    let found = match wanted.parse() {
        Ok(id) => alert::acknowledge(draft, caller.agent, caller.actor, id, note)?,
        Err(_) => None,
    };
    Ok(match found {
        Some(changed) => Performed::done(json!({ "changed": changed })),
        None => Performed::failed("not_found", format!("you sent no alert `{}`", super::clip(wanted))),
    })
}
