//! The wakes that an agent plans for itself.
use super::{Attributes, Capability, Effects, Perform, Performed, arguments};
use crate::agent::{
    Agent, CRON_BYTES_MAX, DELAY_SECONDS, INPUT_BYTES_MAX, NAME_BYTES_MAX, PLANNED_MAX, WAITING, When, is_name, plan,
    unplan,
};
use crate::bound::Payload;
use crate::call::Caller;
use crate::draft::Draft;
use crate::facts::Unread;
use crate::item::{Item, ItemKind};
use serde_json::{Value, json};

pub(super) const GROUP: &[Capability] = &[
    Capability {
        name: "scheduler.cron_create",
        version: 1,
        brief: "Wake yourself again and again, by a cron expression.",
        use_when: "Something should be done at regular times.",
        avoid_when: "Once is enough: scheduler.delay.",
        effects: Effects::Reversible,
        idempotent: false,
        usual: &["name", "cron", "timezone", "input"],
        input: || {
            let cron = json!({"type": "string", "minLength": 1, "maxLength": CRON_BYTES_MAX, "description": "Five fields, as in `0 9 * * 1-5`, or a word such as @daily."});
            let timezone =
                json!({"type": "string", "minLength": 1, "maxLength": 64, "description": "IANA name; UTC without it."});
            arguments(&["name", "cron"], json!({"name": name(), "cron": cron, "timezone": timezone, "input": input()}))
        },
        output: || json!({"type": "object", "properties": {"name": {"type": "string"}, "next": {"type": "string"}, "replaced": {"type": "boolean"}}}),
        attributes: |arguments| Attributes { key: text(arguments, "cron"), ..named(arguments) },
        perform: Some(Perform::Keeping { value: given, perform: cron_create }),
    },
    Capability {
        name: "scheduler.cron_list",
        version: 1,
        brief: "List the wakes that you planned.",
        use_when: "It is not known what is planned.",
        avoid_when: "",
        effects: Effects::None,
        idempotent: true,
        usual: &[],
        input: || arguments(&[], json!({})),
        output: || json!({"type": "object", "properties": {"schedules": {"type": "array"}}}),
        attributes: |_| Attributes::default(),
        perform: Some(Perform::From(list)),
    },
    Capability {
        name: "scheduler.cron_delete",
        version: 1,
        brief: "Plan a wake of yours no more.",
        use_when: "It is not needed any more.",
        avoid_when: "Another one takes its place: create that under the same name.",
        effects: Effects::Reversible,
        idempotent: true,
        usual: &["name"],
        input: || arguments(&["name"], json!({"name": name()})),
        output: || json!({"type": "object", "properties": {"deleted": {"type": "boolean"}}}),
        attributes: |arguments| Attributes { key: text(arguments, "name"), ..Attributes::default() },
        perform: Some(Perform::From(delete)),
    },
    Capability {
        name: "scheduler.delay",
        version: 1,
        brief: "Wake yourself once, after so many seconds.",
        use_when: "Something should be looked at later.",
        avoid_when: "It comes again and again: scheduler.cron_create.",
        effects: Effects::Reversible,
        idempotent: false,
        usual: &["seconds", "input"],
        input: || {
            let seconds = json!({"type": "integer", "minimum": DELAY_SECONDS.start(), "maximum": DELAY_SECONDS.end()});
            arguments(&["seconds"], json!({"seconds": seconds, "name": name(), "input": input()}))
        },
        output: || json!({"type": "object", "properties": {"name": {"type": "string"}, "next": {"type": "string"}, "replaced": {"type": "boolean"}}}),
        attributes: named,
        perform: Some(Perform::Keeping { value: given, perform: delay }),
    },
];

fn name() -> Value {
    json!({"type": "string", "pattern": "^[a-z0-9_-]+$", "maxLength": NAME_BYTES_MAX})
}

fn input() -> Value {
    json!({"description": "What you are given then: text or any JSON."})
}

fn text(arguments: &Value, name: &str) -> Option<String> {
    arguments.get(name).and_then(Value::as_str).map(str::to_string)
}

fn given(arguments: &Value) -> Vec<u8> {
    arguments.get("input").unwrap_or(&Value::Null).to_string().into_bytes()
}

fn named(arguments: &Value) -> Attributes {
    let bytes = arguments.get("input").map(|input| input.to_string().len() as u64);
    Attributes { key: text(arguments, "name"), bytes, ..Attributes::default() }
}

fn wrong(sentence: &str) -> Performed {
    Performed::failed("invalid_arguments", sentence)
}

/// What the schema lets pass and no plan may be.
fn fault(name: &str, input: &Payload) -> Option<Performed> {
    if !is_name(name) {
        return Some(wrong("a name has 1 to 63 letters of a-z, 0-9, `-` and `_`"));
    }
    let size = input.bytes().len();
    (size > INPUT_BYTES_MAX).then(|| {
        let sentence = format!("the input has {size} bytes, at most {INPUT_BYTES_MAX} are taken; keep it in state");
        Performed::failed("too_large", sentence)
    })
}

fn cron_create(draft: &mut Draft<'_>, caller: Caller, arguments: &Value, input: Payload) -> Result<Performed, Unread> {
    let name = text(arguments, "name").unwrap_or_default();
    if let Some(failed) = fault(&name, &input) {
        return Ok(failed);
    }
    let cron = text(arguments, "cron").unwrap_or_default();
    let timezone = text(arguments, "timezone").unwrap_or_else(|| "UTC".to_string());
    let after = draft.wall;
    made(draft, caller, name, When::Cron { cron, timezone }, after, input)
}

fn delay(draft: &mut Draft<'_>, caller: Caller, arguments: &Value, input: Payload) -> Result<Performed, Unread> {
    // The schema's `integer` lets 60.0 pass.
    let seconds = arguments.get("seconds").and_then(Value::as_u64).filter(|seconds| DELAY_SECONDS.contains(seconds));
    let Some(seconds) = seconds else {
        let (least, most) = (DELAY_SECONDS.start(), DELAY_SECONDS.end());
        return Ok(wrong(&format!("seconds is a whole number from {least} to {most}")));
    };
    let plans = draft.get::<Agent>(caller.agent)?.map_or(0, |agent| agent.plans);
    let name = text(arguments, "name").unwrap_or_else(|| format!("delay-{}", plans.saturating_add(1)));
    if let Some(failed) = fault(&name, &input) {
        return Ok(failed);
    }
    let at = draft.wall.plus_ms(seconds * 1000);
    made(draft, caller, name, When::Once, at, input)
}

fn made(
    draft: &mut Draft<'_>,
    caller: Caller,
    name: String,
    when: When,
    after: crate::time::Time,
    input: Payload,
) -> Result<Performed, Unread> {
    Ok(match plan(draft, caller, name.clone(), when, after, input)? {
        Ok((next, replaced)) => Performed::done(json!({"name": name, "next": next.to_string(), "replaced": replaced})),
        Err((code, sentence)) => Performed::failed(code, sentence),
    })
}

fn list(draft: &mut Draft<'_>, caller: Caller, _: &Value) -> Result<Performed, Unread> {
    let limit = u32::try_from(PLANNED_MAX).unwrap_or(u32::MAX);
    let mut schedules = Vec::new();
    for item in draft.items(ItemKind::Schedule, caller.agent, WAITING, limit)? {
        let said = item.text.map(|text| draft.body(&text)).transpose()?.flatten();
        let input: Option<Value> = said.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        schedules.push(shown(&item, input));
    }
    Ok(Performed::done(json!({ "schedules": schedules })))
}

fn shown(item: &Item, input: Option<Value>) -> Value {
    let mut told = json!({"name": item.key, "next": item.due.map(|due| due.to_string())});
    if let Ok(When::Cron { cron, timezone }) = item.parse_data() {
        (told["cron"], told["timezone"]) = (cron.into(), timezone.into());
    }
    if let Some(input) = input.filter(|input| !input.is_null()) {
        told["input"] = input;
    }
    told
}

fn delete(draft: &mut Draft<'_>, caller: Caller, arguments: &Value) -> Result<Performed, Unread> {
    let name = text(arguments, "name").unwrap_or_default();
    let deleted = unplan(draft, caller.agent, caller.actor, &name)?;
    Ok(Performed::done(json!({ "deleted": deleted })))
}
