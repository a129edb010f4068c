//! What an agent may ask of itself, and how it starts another one.
use super::{Attributes, Capability, Effects, Output, Perform, Performed, arguments};
use crate::agent::Agent;
use crate::bound::Payload;
use crate::briefing;
use crate::call::{Caller, Holder, Outcome};
use crate::draft::{Draft, Stop};
use crate::execution::{self, Ending, Execution, Phase};
use crate::facts::Unread;
use crate::id::ExecutionId;
use serde_json::{Value, json};

pub(super) const EXECUTE: &str = "agent.execute";
/// Nobody would be charged for what a session starts, nor cancelled with it.
pub(super) const SESSION_STARTS_NONE: (&str, &str) = (
    "session_starts_none",
    "a session starts no executions: a person does, with `tenure agent run NAME \"instruction\"`",
);

pub(super) const GROUP: &[Capability] = &[
    Capability {
        name: "agent.whoami",
        version: 1,
        brief: "Tell who you are: name, revision, limits.",
        use_when: "Your own name, id or limits are asked for.",
        avoid_when: "What you may call is asked for: agent.capabilities.",
        effects: Effects::None,
        idempotent: true,
        usual: &[],
        input: || arguments(&[], json!({})),
        output: || json!({"type": "object", "properties": {"agent": {"type": "string"}, "name": {"type": "string"}, "revision": {"type": "integer"}, "execution": {"type": "string"}, "session": {"type": "string"}, "model": {"type": "string"}, "limits": {"type": "object"}}}),
        attributes: |_| Attributes::default(),
        perform: Some(Perform::From(whoami)),
    },
    Capability {
        name: "agent.capabilities",
        version: 1,
        brief: "List what you may call; with a name, how to call it.",
        use_when: "It is not clear which capability fits.",
        avoid_when: "The capability is known: call it.",
        effects: Effects::None,
        idempotent: true,
        usual: &["name"],
        input: || arguments(&[], json!({"name": {"type": "string", "minLength": 1, "maxLength": 128}})),
        output: || json!({"type": "object", "properties": {"capabilities": {"type": "array"}}}),
        attributes: |_| Attributes::default(),
        perform: Some(Perform::From(capabilities)),
    },
    Capability {
        name: "agent.briefing",
        version: 1,
        brief: "Tell what happened since your last execution ended.",
        use_when: "You begin, and should know what you missed.",
        avoid_when: "The messages themselves are wanted: comms.receive.",
        effects: Effects::None,
        idempotent: true,
        usual: &[],
        input: || arguments(&[], json!({})),
        output: || json!({"type": "object", "properties": {"since": {"type": "string"}, "messages": {"type": "object"}, "system": {"type": "object"}, "failures": {"type": "object"}}}),
        attributes: |_| Attributes::default(),
        perform: Some(Perform::From(briefing)),
    },
    Capability {
        name: EXECUTE,
        version: 1,
        brief: "Start another agent on a task; gives its execution's id.",
        use_when: "Another agent should do a piece of the work, beside you.",
        avoid_when: "It should only know something: comms.send.",
        effects: Effects::Irreversible,
        idempotent: false,
        usual: &["agent", "input", "report"],
        input: || {
            let agent = json!({"type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX, "description": "Name or id of the agent."});
            let report = json!({"type": "boolean", "description": "Its end comes to you as a message."});
            arguments(
                &["agent", "input"],
                json!({"agent": agent, "input": {"description": "Text or any JSON."}, "report": report}),
            )
        },
        output: || json!({"type": "object", "properties": {"execution": {"type": "string"}, "status": {"type": "string"}}}),
        attributes: |arguments| {
            let key = arguments.get("agent").and_then(Value::as_str).map(str::to_string);
            let bytes = arguments.get("input").map(|input| input.to_string().len() as u64);
            Attributes { key, bytes, ..Attributes::default() }
        },
        perform: Some(Perform::Keeping { value: input, perform: execute }),
    },
    Capability {
        name: "agent.result",
        version: 1,
        brief: "Tell how an execution that you started stands; once it has ended, what it gave.",
        use_when: "You started another agent and need what came of it.",
        avoid_when: "It was just started: do something else first.",
        effects: Effects::None,
        idempotent: true,
        usual: &["execution"],
        input: || {
            arguments(&["execution"], json!({"execution": {"type": "string", "maxLength": 64, "description": "exe_…"}}))
        },
        output: || json!({"type": "object", "properties": {"execution": {"type": "string"}, "status": {"type": "string"}, "output": {"type": "string"}, "reason": {"type": "string"}, "detail": {"type": "string"}, "cut": {"type": "boolean"}}}),
        attributes: |arguments| {
            let key = arguments.get("execution").and_then(Value::as_str).map(str::to_string);
            Attributes { key, ..Attributes::default() }
        },
        perform: Some(Perform::From(result)),
    },
];

/// The longest name or id that an agent is asked for by.
const NAME_BYTES_MAX: usize = 128;
/// Of the input of an execution that an agent starts, as JSON.
const INPUT_BYTES_MAX: usize = 256 * 1024;
/// Of an output that is given back; the rest is cut, and said to be.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

fn input(arguments: &Value) -> Vec<u8> {
    arguments.get("input").unwrap_or(&Value::Null).to_string().into_bytes()
}

fn execute(draft: &mut Draft<'_>, caller: Caller, arguments: &Value, input: Payload) -> Result<Performed, Unread> {
    let size = input.bytes().len();
    if size > INPUT_BYTES_MAX {
        let sentence = format!("it has {size} bytes, an input has at most {INPUT_BYTES_MAX}; put it into shared state");
        return Ok(Performed::failed("too_large", sentence));
    }
    let wanted = arguments.get("agent").and_then(Value::as_str).unwrap_or_default();
    let shown = super::clip(wanted);
    let Some(agent) = draft.agent_named(wanted)? else {
        return Ok(Performed::failed("not_found", format!("no agent is called `{shown}`")));
    };
    let known = draft.get::<Agent>(agent)?;
    if let Some(Err(Stop::Refused(refusal))) = known.map(Agent::may_begin) {
        let sentence = format!("`{shown}` starts nothing now: it is paused, killed, revoked or deleted");
        return Ok(Performed::failed(refusal.code().trim_start_matches("agent."), sentence));
    }
    let report = arguments.get("report").and_then(Value::as_bool).unwrap_or(false);
    Ok(match execution::start_child(draft, caller, agent, input, report)? {
        Ok(id) => Performed::done(json!({"execution": id, "status": "queued"})),
        Err((code, sentence)) => Performed::failed(code, sentence),
    })
}

/// Of an execution that one of the caller's started; of others it is not said whether they are.
fn result(draft: &mut Draft<'_>, caller: Caller, arguments: &Value) -> Result<Performed, Unread> {
    let wanted = arguments.get("execution").and_then(Value::as_str).unwrap_or_default();
    let id = wanted.parse::<ExecutionId>().ok();
    let found = id.map_or(Ok(None), |id| draft.get::<Execution>(id))?;
    let own = |execution: &&Execution| execution.parent.as_ref().is_some_and(|parent| parent.agent == caller.agent);
    let Some(execution) = found.filter(own).cloned() else {
        let sentence = format!("you started no execution `{}`", super::clip(wanted));
        return Ok(Performed::failed("not_found", sentence));
    };
    let Phase::Ended { ending, .. } = &execution.phase else {
        let (status, waiting_for) = execution.status();
        return Ok(Performed::done(
            json!({"execution": wanted, "status": status.as_str(), "waiting_for": waiting_for}),
        ));
    };
    let (status, reason) = ending.words();
    let mut told = json!({"execution": wanted, "status": status});
    match ending {
        Ending::Completed { output } => {
            let bytes = draft.body(&output.hash)?;
            let text = bytes.as_deref().map(String::from_utf8_lossy);
            match text.as_deref() {
                Some(text) => {
                    let end = text.char_indices().map(|(at, letter)| at + letter.len_utf8());
                    let end = end.take_while(|end| *end <= OUTPUT_BYTES_MAX).last().unwrap_or(0);
                    told["output"] = text[..end].into();
                    if end < text.len() {
                        told["cut"] = true.into();
                    }
                }
                None => told["error"] = "its output is kept no longer".into(),
            }
        }
        Ending::Failed { detail, .. } => {
            (told["reason"], told["detail"]) = (reason.into(), detail.as_str().into());
        }
        Ending::Cancelled { why, .. } => told["detail"] = why.as_str().into(),
    }
    Ok(Performed { outcome: Outcome::Done { exit_code: None }, result: Output::Made(told) })
}

fn briefing(draft: &mut Draft<'_>, caller: Caller, _: &Value) -> Result<Performed, Unread> {
    Ok(match briefing::of(draft, caller.agent, None)? {
        Some(briefing) => {
            Performed::done(serde_json::to_value(briefing).expect("invariant: a briefing is JSON with text keys"))
        }
        None => Performed::failed("not_found", "there is no such agent"),
    })
}

fn whoami(draft: &mut Draft<'_>, caller: Caller, _: &Value) -> Result<Performed, Unread> {
    let plan = draft.plan(caller.agent, caller.revision)?;
    let name = draft.get::<Agent>(caller.agent)?.map(|agent| agent.name.clone());
    let mut told = json!({
        "agent": caller.agent,
        "name": name,
        "revision": caller.revision,
        "model": plan.as_ref().map(|plan| plan.model.clone()),
        "limits": plan.map(|plan| plan.limits),
    });
    match caller.holder {
        Holder::Execution(id) => told["execution"] = json!(id),
        Holder::Session(id) => told["session"] = json!(id),
    }
    Ok(Performed::done(told))
}

fn capabilities(draft: &mut Draft<'_>, caller: Caller, arguments: &Value) -> Result<Performed, Unread> {
    let plan = draft.plan(caller.agent, caller.revision)?;
    let tools = plan.as_ref().map_or(&[][..], |plan| &plan.tools);
    let wanted = arguments.get("name").and_then(Value::as_str);
    let listed: Vec<Value> = super::offered(tools, caller.holder.kind())
        .filter(|known| wanted.is_none_or(|wanted| wanted == known.name))
        .map(|known| match wanted {
            None => json!({"name": known.name, "brief": known.brief}),
            Some(_) => known.described(),
        })
        .collect();
    Ok(match (wanted, listed.is_empty()) {
        (Some(wanted), true) => {
            Performed::failed("not_found", format!("you may call nothing named `{}`", super::clip(wanted)))
        }
        (Some(_) | None, _) => Performed::done(json!({ "capabilities": listed })),
    })
}
