//! What agents say to each other: messages to one, to many, to a channel, and answers.
#![expect(clippy::result_large_err, reason = "what is wrong with arguments is the rare end of one call")]
use super::{Attributes, Capability, Effects, Output, Perform, Performed, arguments};
use crate::agent::Agent;
use crate::bound::Payload;
use crate::call::{Caller, Outcome};
use crate::comms::{
    self, Addressed, Audience, BODY_BYTES_MAX, CHANNEL_BYTES_MAX, CORRELATION_BYTES_MAX, DEADLINE_SECONDS_MAX, Letter,
    PAGE, Priority, Unsent,
};
use crate::draft::Draft;
use crate::facts::{Counter, Unread};
use crate::id::MessageId;
use serde_json::{Value, json};

/// Messages that `comms.receive` takes where it is not told: a model sees a result clipped to its budget.
const RECEIVED_USUALLY: u32 = 8;
/// The longest name, id or label that a message is addressed by.
const ADDRESS_BYTES_MAX: usize = 128;

pub(super) const GROUP: &[Capability] = &[
    Capability {
        name: "comms.send",
        version: 1,
        brief: "Send a message to another agent.",
        use_when: "Another agent should know or do something.",
        avoid_when: "It answers a message that you received: comms.reply.",
        effects: Effects::Irreversible,
        idempotent: false,
        usual: &["to", "message", "priority"],
        input: || {
            letter(
                &["to", "message"],
                (
                    "to",
                    json!({"type": "string", "minLength": 1, "maxLength": ADDRESS_BYTES_MAX, "description": "Name or id of the agent."}),
                ),
            )
        },
        output: || json!({"type": "object", "properties": {"id": {"type": "string"}, "state": {"type": "string"}}}),
        attributes: |arguments| addressed(arguments, text(arguments, "to").map(str::to_string)),
        perform: Some(Perform::Keeping { value: body, perform: send }),
    },
    Capability {
        name: "comms.broadcast",
        version: 1,
        brief: "Send a message to every agent with a label.",
        use_when: "A whole group of agents should know something.",
        avoid_when: "One agent is meant: comms.send.",
        effects: Effects::Irreversible,
        idempotent: false,
        usual: &["label", "value", "message", "priority"],
        input: || {
            let mut schema = letter(&["label", "value", "message"], ("label", word(ADDRESS_BYTES_MAX)));
            schema["properties"]["value"] = json!({"type": "string", "maxLength": ADDRESS_BYTES_MAX});
            schema
        },
        output: || json!({"type": "object", "properties": {"id": {"type": "string"}}}),
        attributes: |arguments| {
            let label = text(arguments, "label").zip(text(arguments, "value"));
            addressed(arguments, label.map(|(key, value)| format!("{key}={value}")))
        },
        perform: Some(Perform::Keeping { value: body, perform: broadcast }),
    },
    Capability {
        name: "comms.publish",
        version: 1,
        brief: "Send a message to all that take from a channel.",
        use_when: "Whoever is concerned should know, and you need not know who that is.",
        avoid_when: "One agent is meant: comms.send.",
        effects: Effects::Irreversible,
        idempotent: false,
        usual: &["channel", "message", "priority"],
        input: || letter(&["channel", "message"], ("channel", channel_schema())),
        output: || json!({"type": "object", "properties": {"id": {"type": "string"}, "subscribers": {"type": "integer"}}}),
        attributes: |arguments| addressed(arguments, text(arguments, "channel").map(|channel| format!("#{channel}"))),
        perform: Some(Perform::Keeping { value: body, perform: publish }),
    },
    Capability {
        name: "comms.subscribe",
        version: 1,
        brief: "Take what is published to a channel from now on.",
        use_when: "You should get the messages of a channel.",
        avoid_when: "Messages to yourself are meant: those come anyway.",
        effects: Effects::Reversible,
        idempotent: true,
        usual: &["channel"],
        input: || arguments(&["channel"], json!({"channel": channel_schema()})),
        output: || json!({"type": "object", "properties": {"channel": {"type": "string"}, "changed": {"type": "boolean"}}}),
        attributes: |arguments| addressed(arguments, text(arguments, "channel").map(|channel| format!("#{channel}"))),
        perform: Some(Perform::From(subscribe)),
    },
    Capability {
        name: "comms.unsubscribe",
        version: 1,
        brief: "Take from a channel no more.",
        use_when: "The messages of a channel are not needed any more.",
        avoid_when: "",
        effects: Effects::Reversible,
        idempotent: true,
        usual: &["channel"],
        input: || arguments(&["channel"], json!({"channel": channel_schema()})),
        output: || json!({"type": "object", "properties": {"channel": {"type": "string"}, "changed": {"type": "boolean"}}}),
        attributes: |arguments| addressed(arguments, text(arguments, "channel").map(|channel| format!("#{channel}"))),
        perform: Some(Perform::From(unsubscribe)),
    },
    Capability {
        name: "comms.receive",
        version: 1,
        brief: "Take the next messages that wait for you.",
        use_when: "You look for messages or for an answer.",
        avoid_when: "They are in your input already: those are received.",
        effects: Effects::Irreversible,
        idempotent: false,
        usual: &[],
        input: || {
            arguments(
                &[],
                json!({"limit": {"type": "integer", "minimum": 1, "maximum": PAGE, "description": "8 without it."}}),
            )
        },
        output: || json!({"type": "object", "properties": {"messages": {"type": "array"}, "waiting": {"type": "integer"}}}),
        attributes: |_| Attributes::default(),
        perform: Some(Perform::From(receive)),
    },
    Capability {
        name: "comms.reply",
        version: 1,
        brief: "Answer a message that you received.",
        use_when: "Its sender waits for an answer, or should know what came of it.",
        avoid_when: "Something new is said: comms.send.",
        effects: Effects::Irreversible,
        idempotent: false,
        usual: &["id", "message"],
        input: || {
            let id =
                json!({"type": "string", "description": "Of the message that is answered: msg_…", "maxLength": 64});
            arguments(&["id", "message"], json!({"id": id, "message": {}}))
        },
        output: || json!({"type": "object", "properties": {"id": {"type": "string"}, "state": {"type": "string"}}}),
        attributes: |arguments| addressed(arguments, text(arguments, "id").map(str::to_string)),
        perform: Some(Perform::Keeping { value: body, perform: reply }),
    },
];

fn word(bytes_max: usize) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": bytes_max})
}

fn channel_schema() -> Value {
    json!({"type": "string", "pattern": "^[a-z0-9._-]+$", "maxLength": CHANNEL_BYTES_MAX})
}

/// The arguments of what sends; `message` is any JSON.
fn letter(required: &[&str], (name, schema): (&str, Value)) -> Value {
    let mut properties = json!({
        "message": {"description": "Text or any JSON."},
        "priority": {"enum": ["low", "normal", "high"]},
        "correlation": word(CORRELATION_BYTES_MAX),
        "deadline_seconds": {"type": "integer", "minimum": 1, "maximum": DEADLINE_SECONDS_MAX, "description": "An answer is taken for so long."},
    });
    properties[name] = schema;
    arguments(required, properties)
}

fn text<'a>(arguments: &'a Value, name: &str) -> Option<&'a str> {
    arguments.get(name).and_then(Value::as_str)
}

fn body(arguments: &Value) -> Vec<u8> {
    arguments.get("message").unwrap_or(&Value::Null).to_string().into_bytes()
}

fn addressed(arguments: &Value, to: Option<String>) -> Attributes {
    let bytes = arguments.get("message").map(|message| message.to_string().len() as u64);
    Attributes { key: to, bytes, ..Attributes::default() }
}

fn refused(Unsent(code, sentence): Unsent) -> Performed {
    Performed::failed(code, sentence)
}

fn sent(addressed: &Addressed) -> Performed {
    let state = addressed.dead.map_or("waiting", |_| "dead");
    let mut result = json!({"id": addressed.message, "state": state});
    if let Some(cause) = addressed.dead {
        result["cause"] = cause.as_str().into();
    }
    Performed::done(result)
}

/// What the schema lets pass and no message may be.
fn read_letter(draft: &Draft<'_>, arguments: &Value, body: Payload) -> Result<Letter, Performed> {
    let size = body.bytes().len();
    if size > BODY_BYTES_MAX {
        let sentence = format!("it has {size} bytes, a message has at most {BODY_BYTES_MAX}; put it into shared state");
        return Err(Performed::failed("too_large", sentence));
    }
    let wrong = |sentence: &str| Performed::failed("invalid_arguments", sentence);
    let correlation = text(arguments, "correlation").map(str::to_string);
    if correlation.as_ref().is_some_and(|text| text.len() > CORRELATION_BYTES_MAX) {
        return Err(wrong("correlation has at most 128 bytes"));
    }
    let priority = text(arguments, "priority").map(str::parse).transpose();
    let priority = priority.map_err(|_| wrong("priority is low, normal or high"))?.unwrap_or(Priority::Normal);
    // The schema's `integer` lets 3.0 pass.
    let seconds = arguments.get("deadline_seconds").map(|seconds| seconds.as_u64().ok_or(())).transpose();
    let seconds = seconds.map_err(|()| wrong("deadline_seconds is a whole number"))?;
    if seconds.is_some_and(|seconds| seconds == 0 || seconds > DEADLINE_SECONDS_MAX) {
        return Err(wrong("deadline_seconds is 1 to 2592000"));
    }
    let deadline = seconds.map(|seconds| draft.wall.plus_ms(seconds * 1000));
    Ok(Letter { body, priority, correlation, reply_to: None, deadline })
}

fn send(draft: &mut Draft<'_>, caller: Caller, arguments: &Value, body: Payload) -> Result<Performed, Unread> {
    let letter = match read_letter(draft, arguments, body) {
        Ok(letter) => letter,
        Err(failed) => return Ok(failed),
    };
    let wanted = text(arguments, "to").unwrap_or_default();
    let Some(agent) = draft.agent_named(wanted)? else {
        return Ok(Performed::failed("not_found", format!("no agent is called `{}`", super::clip(wanted))));
    };
    if draft.get::<Agent>(agent)?.is_some_and(|agent| agent.not_revoked().is_err()) {
        let sentence = format!("`{}` was deleted or revoked, and takes no messages", super::clip(wanted));
        return Ok(Performed::failed("recipient_gone", sentence));
    }
    let done = comms::send(draft, caller, Audience::Agent { agent }, letter)?;
    Ok(done.map_or_else(refused, |addressed| sent(&addressed)))
}

fn broadcast(draft: &mut Draft<'_>, caller: Caller, arguments: &Value, body: Payload) -> Result<Performed, Unread> {
    let letter = match read_letter(draft, arguments, body) {
        Ok(letter) => letter,
        Err(failed) => return Ok(failed),
    };
    let of = |name| text(arguments, name).unwrap_or_default().to_string();
    let to = Audience::Label { key: of("label"), value: of("value") };
    let done = comms::send(draft, caller, to, letter)?;
    Ok(done.map_or_else(refused, |addressed| Performed::done(json!({"id": addressed.message}))))
}

fn channel(arguments: &Value) -> Result<String, Performed> {
    let channel = text(arguments, "channel").unwrap_or_default();
    if comms::is_channel(channel) {
        return Ok(channel.to_string());
    }
    let sentence = "a channel has 1 to 63 letters of a-z, 0-9, `.`, `_` and `-`";
    Err(Performed::failed("invalid_arguments", sentence))
}

fn publish(draft: &mut Draft<'_>, caller: Caller, arguments: &Value, body: Payload) -> Result<Performed, Unread> {
    let (letter, channel) = match (read_letter(draft, arguments, body), channel(arguments)) {
        (Ok(letter), Ok(channel)) => (letter, channel),
        (Err(failed), _) | (_, Err(failed)) => return Ok(failed),
    };
    let subscribers = draft.count(Counter::Subscribers, &channel)?;
    let done = comms::send(draft, caller, Audience::Channel { channel }, letter)?;
    Ok(done.map_or_else(refused, |addressed| {
        Performed::done(json!({"id": addressed.message, "subscribers": subscribers}))
    }))
}

fn subscribe(draft: &mut Draft<'_>, caller: Caller, arguments: &Value) -> Result<Performed, Unread> {
    let channel = match channel(arguments) {
        Ok(channel) => channel,
        Err(failed) => return Ok(failed),
    };
    let done = comms::subscribe(draft, caller, &channel)?;
    Ok(done.map_or_else(refused, |changed| Performed::done(json!({"channel": channel, "changed": changed}))))
}

fn unsubscribe(draft: &mut Draft<'_>, caller: Caller, arguments: &Value) -> Result<Performed, Unread> {
    let channel = match channel(arguments) {
        Ok(channel) => channel,
        Err(failed) => return Ok(failed),
    };
    let changed = comms::unsubscribe(draft, caller, &channel)?;
    Ok(Performed::done(json!({"channel": channel, "changed": changed})))
}

fn receive(draft: &mut Draft<'_>, caller: Caller, arguments: &Value) -> Result<Performed, Unread> {
    let limit = arguments.get("limit").and_then(Value::as_u64).and_then(|limit| u32::try_from(limit).ok());
    let page = comms::pick(draft, caller.agent, limit.unwrap_or(RECEIVED_USUALLY))?;
    if !page.is_empty() {
        comms::take(draft, caller.agent, caller.holder, &page)?;
    }
    let waiting = draft.get::<Agent>(caller.agent)?.map_or(0, |agent| agent.mailbox.waiting);
    let text = format!("{{\"messages\":{},\"waiting\":{waiting}}}", page.text());
    Ok(Performed { outcome: Outcome::Done { exit_code: None }, result: Output::Text(text) })
}

fn reply(draft: &mut Draft<'_>, caller: Caller, arguments: &Value, body: Payload) -> Result<Performed, Unread> {
    let size = body.bytes().len();
    if size > BODY_BYTES_MAX {
        let sentence = format!("it has {size} bytes, a message has at most {BODY_BYTES_MAX}; put it into shared state");
        return Ok(Performed::failed("too_large", sentence));
    }
    let wanted = text(arguments, "id").unwrap_or_default();
    let Ok(message) = wanted.parse::<MessageId>() else {
        return Ok(Performed::failed("not_found", format!("`{}` is no id of a message", super::clip(wanted))));
    };
    let done = comms::reply(draft, caller, message, body)?;
    Ok(done.map_or_else(refused, |addressed| sent(&addressed)))
}
