//! What agents keep: values under keys, in our own rows. A session's end with it, persistent ones are the agent's own,
//! shared ones the project's, under a rule a prefix. Values are never read here: a result names the stored one.
#![expect(clippy::result_large_err, reason = "what is wrong with arguments is the rare end of one call")]
use super::{Attributes, Capability, Effects, Output, Perform, Performed, arguments};
use crate::actor::Actor;
use crate::agent::Agent;
use crate::bound::Payload;
use crate::call::{Caller, Outcome};
use crate::draft::Draft;
use crate::facts::{Changed, PAGE_MAX, Unread};
use crate::state::{
    self, Acl, Change, Conflict, Ended, Entry, Home, KEY_BYTES_MAX, Scope, Space, TTL_SECONDS_MAX, Write,
};
use serde_json::{Value, json};

pub(super) const GROUP: &[Capability] = &[
    Capability {
        name: "state.session.get",
        version: 1,
        brief: "Read a value that was kept in this run.",
        use_when: "Something set earlier in this run is needed.",
        avoid_when: "It was kept beyond the run: state.persistent.get.",
        perform: Some(Perform::From(|draft, caller, arguments| get(draft, caller, Scope::Session, arguments))),
        ..GET
    },
    Capability {
        name: "state.session.set",
        version: 1,
        brief: "Keep a JSON value under a key until this run ends.",
        use_when: "It is needed later in this run and not after it.",
        avoid_when: "A later run needs it: state.persistent.set.",
        perform: keeping(|draft, caller, arguments, value| set(draft, caller, Scope::Session, arguments, value)),
        ..SET
    },
    Capability {
        name: "state.session.delete",
        version: 1,
        brief: "Remove a value that was kept in this run.",
        use_when: "It is not needed any more.",
        avoid_when: "It can stay: it ends with the run.",
        perform: Some(Perform::From(|draft, caller, arguments| delete(draft, caller, Scope::Session, arguments))),
        ..DELETE
    },
    Capability {
        name: "state.session.list",
        version: 1,
        brief: "List the keys kept in this run.",
        use_when: "It is not known what was kept.",
        avoid_when: "The key is known: state.session.get.",
        perform: Some(Perform::From(|draft, caller, arguments| list(draft, caller, Scope::Session, arguments))),
        ..LIST
    },
    Capability {
        name: "state.session.query",
        version: 1,
        brief: "List the keys kept in this run that begin with a prefix.",
        use_when: "Keys have a common beginning.",
        avoid_when: "The key is known: state.session.get.",
        perform: Some(Perform::From(|draft, caller, arguments| list(draft, caller, Scope::Session, arguments))),
        ..QUERY
    },
    Capability {
        name: "state.session.history",
        version: 1,
        brief: "List the versions of a key kept in this run; state.session.get reads one.",
        use_when: "It matters what a value was before.",
        avoid_when: "The present value is enough: state.session.get.",
        perform: Some(Perform::From(|draft, caller, arguments| history(draft, caller, Scope::Session, arguments))),
        ..HISTORY
    },
    Capability {
        name: "state.persistent.get",
        version: 1,
        brief: "Read a value that was kept under a key.",
        use_when: "Something that an earlier execution kept is needed.",
        avoid_when: "It lies in a file: filesystem.read.",
        perform: Some(Perform::From(|draft, caller, arguments| get(draft, caller, Scope::Persistent, arguments))),
        ..GET
    },
    Capability {
        name: "state.persistent.set",
        version: 1,
        brief: "Keep a JSON value under a key, beyond this execution.",
        use_when: "A later execution needs it.",
        avoid_when: "It is a file's content: filesystem.write.",
        perform: keeping(|draft, caller, arguments, value| set(draft, caller, Scope::Persistent, arguments, value)),
        ..SET
    },
    Capability {
        name: "state.persistent.delete",
        version: 1,
        brief: "Remove a value that was kept under a key.",
        use_when: "It is not needed any more.",
        avoid_when: "A new value takes its place: state.persistent.set.",
        perform: Some(Perform::From(|draft, caller, arguments| delete(draft, caller, Scope::Persistent, arguments))),
        ..DELETE
    },
    Capability {
        name: "state.persistent.list",
        version: 1,
        brief: "List the keys that were kept.",
        use_when: "It is not known what was kept.",
        avoid_when: "The key is known: state.persistent.get.",
        perform: Some(Perform::From(|draft, caller, arguments| list(draft, caller, Scope::Persistent, arguments))),
        ..LIST
    },
    Capability {
        name: "state.persistent.query",
        version: 1,
        brief: "List the kept keys that begin with a prefix.",
        use_when: "Keys have a common beginning.",
        avoid_when: "The key is known: state.persistent.get.",
        perform: Some(Perform::From(|draft, caller, arguments| list(draft, caller, Scope::Persistent, arguments))),
        ..QUERY
    },
    Capability {
        name: "state.persistent.history",
        version: 1,
        brief: "List the versions of a key; state.persistent.get reads one.",
        use_when: "It matters what a value was before, or who changed it.",
        avoid_when: "The present value is enough: state.persistent.get.",
        perform: Some(Perform::From(|draft, caller, arguments| history(draft, caller, Scope::Persistent, arguments))),
        ..HISTORY
    },
    Capability {
        name: "state.shared.get",
        version: 1,
        brief: "Read a value that agents share, with its version and who wrote it.",
        use_when: "Another agent, or a person, left it for you.",
        avoid_when: "It is your own: state.persistent.get.",
        input: || arguments(&["key"], json!({"key": key()})),
        perform: Some(Perform::From(|draft, caller, arguments| get(draft, caller, Scope::Shared, arguments))),
        ..GET
    },
    Capability {
        name: "state.shared.set",
        version: 1,
        brief: "Share a JSON value; expected_version is the one you read, 0 for a new key.",
        use_when: "Other agents need it.",
        avoid_when: "Nobody else needs it: state.persistent.set.",
        usual: &["key", "value", "expected_version"],
        input: || {
            arguments(
                &["key", "value", "expected_version"],
                json!({"key": key(), "value": {}, "expected_version": version(), "ttl_seconds": ttl()}),
            )
        },
        perform: keeping(|draft, caller, arguments, value| set(draft, caller, Scope::Shared, arguments, value)),
        ..SET
    },
    Capability {
        name: "state.shared.delete",
        version: 1,
        brief: "Remove a shared value; expected_version is the one you read.",
        use_when: "No agent needs it any more.",
        avoid_when: "A new value takes its place: state.shared.set.",
        usual: &["key", "expected_version"],
        input: || arguments(&["key", "expected_version"], json!({"key": key(), "expected_version": version()})),
        perform: Some(Perform::From(|draft, caller, arguments| delete(draft, caller, Scope::Shared, arguments))),
        ..DELETE
    },
    Capability {
        name: "state.shared.list",
        version: 1,
        brief: "List the shared keys that you may read.",
        use_when: "It is not known what is shared.",
        avoid_when: "The key is known: state.shared.get.",
        usual: &["prefix"],
        input: || arguments(&[], json!({"prefix": prefix(0), "limit": limit(), "cursor": prefix(1)})),
        perform: Some(Perform::From(|draft, caller, arguments| list(draft, caller, Scope::Shared, arguments))),
        ..LIST
    },
    Capability {
        name: "state.shared.watch",
        version: 1,
        brief: "Tell what changed of the shared keys since a cursor.",
        use_when: "You were told a cursor before and want to know what is new.",
        avoid_when: "The present value is enough: state.shared.get.",
        usual: &["cursor"],
        input: || {
            arguments(&[], json!({"prefix": prefix(0), "cursor": {"type": "integer", "minimum": 0}, "limit": limit()}))
        },
        output: || json!({"type": "object", "properties": {"changes": {"type": "array"}, "cursor": {"type": "integer"}, "more": {"type": "boolean"}}}),
        perform: Some(Perform::From(watch)),
        ..LIST
    },
];

const GET: Capability = Capability {
    name: "",
    version: 1,
    brief: "",
    use_when: "",
    avoid_when: "",
    effects: Effects::None,
    idempotent: true,
    usual: &["key"],
    input: || arguments(&["key"], json!({"key": key(), "version": version()})),
    output: || json!({"description": "The value as it was stored; version, owner_agent and updated_at stand beside it."}),
    attributes: |arguments| Attributes { key: named(arguments), ..Attributes::default() },
    perform: None,
};

const SET: Capability = Capability {
    effects: Effects::Reversible,
    idempotent: false,
    usual: &["key", "value"],
    input: || {
        arguments(
            &["key", "value"],
            json!({"key": key(), "value": {}, "expected_version": version(), "ttl_seconds": ttl()}),
        )
    },
    output: || json!({"type": "object", "properties": {"version": {"type": "integer"}}}),
    attributes: |arguments| Attributes {
        key: named(arguments),
        bytes: arguments.get("value").map(|value| value.to_string().len() as u64),
        ..Attributes::default()
    },
    ..GET
};

const DELETE: Capability = Capability {
    effects: Effects::Reversible,
    idempotent: false,
    input: || arguments(&["key"], json!({"key": key(), "expected_version": version()})),
    output: || json!({"type": "object", "properties": {"version": {"type": "integer"}}}),
    ..GET
};

const LIST: Capability = Capability {
    usual: &[],
    input: || arguments(&[], json!({"limit": limit(), "cursor": prefix(1)})),
    output: || json!({"type": "object", "properties": {"keys": {"type": "array"}, "cursor": {"type": ["string", "null"]}}}),
    attributes: |arguments| Attributes {
        key: arguments.get("prefix").and_then(Value::as_str).map(str::to_string),
        ..Attributes::default()
    },
    ..GET
};

const HISTORY: Capability = Capability {
    usual: &["key"],
    input: || arguments(&["key"], json!({"key": key(), "limit": limit(), "before": version()})),
    output: || json!({"type": "object", "properties": {"versions": {"type": "array"}, "before": {"type": ["integer", "null"]}}}),
    ..GET
};

const QUERY: Capability = Capability {
    usual: &["prefix"],
    input: || arguments(&["prefix"], json!({"prefix": prefix(0), "limit": limit(), "cursor": prefix(1)})),
    ..LIST
};

const fn keeping(perform: fn(&mut Draft<'_>, Caller, &Value, Payload) -> Result<Performed, Unread>) -> Option<Perform> {
    Some(Perform::Keeping { value, perform })
}

fn key() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": KEY_BYTES_MAX})
}

fn prefix(least: u64) -> Value {
    json!({"type": "string", "minLength": least, "maxLength": KEY_BYTES_MAX})
}

fn version() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn ttl() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": TTL_SECONDS_MAX})
}

fn limit() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": PAGE_MAX})
}

fn named(arguments: &Value) -> Option<String> {
    arguments.get("key").and_then(Value::as_str).map(str::to_string)
}

fn text<'a>(arguments: &'a Value, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The schema's `integer` lets 3.0 and 2^64 pass; unread, they would write over what another wrote.
fn number(arguments: &Value, name: &str) -> Result<Option<u64>, Performed> {
    let wrong = || Performed::failed("invalid_arguments", format!("{name} is no whole number below 2^64"));
    arguments.get(name).map(|wanted| wanted.as_u64().ok_or_else(wrong)).transpose()
}

/// As [`number`], where a page is asked for.
fn page_size(arguments: &Value) -> Result<u32, Performed> {
    let most = u64::from(PAGE_MAX);
    let limit = number(arguments, "limit")?.unwrap_or(50).clamp(1, most);
    Ok(u32::try_from(limit).unwrap_or(PAGE_MAX))
}

fn failed(conflict: Conflict) -> Performed {
    Performed::failed(conflict.code(), conflict.to_string())
}

fn missing(key: &str) -> Performed {
    Performed::failed("not_found", format!("nothing is kept under `{}`", super::clip(key)))
}

fn denied(key: &str, what: &str) -> Performed {
    let key = super::clip(key);
    Performed::failed(
        "AccessDenied",
        format!("a rule of the project's does not let you {what} `{key}`; a person sets it"),
    )
}

fn space(draft: &Draft<'_>, caller: Caller, scope: Scope) -> Result<Space, Unread> {
    Ok(match scope {
        Scope::Session => Space::session(caller.agent, caller.holder),
        Scope::Persistent => Space::persistent(caller.agent),
        Scope::Shared => Space::shared(draft.project.ok_or(Unread)?),
    })
}

/// The rules that hold; none where keys are not shared.
fn rules(draft: &mut Draft<'_>, scope: Scope) -> Result<Vec<Acl>, Unread> {
    match scope {
        Scope::Session | Scope::Persistent => Ok(Vec::new()),
        Scope::Shared => draft.acls(),
    }
}

/// The name of the agent that an entry is of: whose it is, and of a shared one who wrote it; none where a person did.
fn owner(draft: &mut Draft<'_>, space: &Space, entry: &Entry) -> Result<Value, Unread> {
    let id = match (space.home, entry.by) {
        (Home::Agent(id), _) | (_, Actor::Agent(id)) => id,
        (Home::Project(_), _) => {
            return Ok(json!({"owner_agent": null, "owner_id": null}));
        }
    };
    let name = draft.get::<Agent>(id)?.map(|agent| agent.name.clone());
    Ok(json!({"owner_agent": name, "owner_id": id}))
}

fn described(draft: &mut Draft<'_>, space: &Space, entry: &Entry) -> Result<Value, Unread> {
    let mut told = owner(draft, space, entry)?;
    told["version"] = entry.version.into();
    told["updated_at"] = entry.at.to_string().into();
    told["updated_by"] = entry.by.to_string().into();
    if let Some(expires) = entry.expires {
        told["expires_at"] = expires.to_string().into();
    }
    Ok(told)
}

fn get(draft: &mut Draft<'_>, caller: Caller, scope: Scope, arguments: &Value) -> Result<Performed, Unread> {
    let (key, space) = (named(arguments).unwrap_or_default(), space(draft, caller, scope)?);
    if !state::may_read(&rules(draft, scope)?, caller.agent, &key) {
        return Ok(denied(&key, "read"));
    }
    let version = match number(arguments, "version") {
        Ok(version) => version,
        Err(wrong) => return Ok(wrong),
    };
    let Some(entry) = state::get(draft, &space, &key, version)? else { return Ok(missing(&key)) };
    let Some(value) = entry.value else { return Ok(missing(&key)) };
    let detail = described(draft, &space, &entry)?;
    let outcome = Outcome::Done { exit_code: None };
    Ok(Performed { outcome, result: Output::Stored { value, detail } })
}

fn value(arguments: &Value) -> Vec<u8> {
    arguments.get("value").unwrap_or(&Value::Null).to_string().into_bytes()
}

fn set(
    draft: &mut Draft<'_>,
    caller: Caller,
    scope: Scope,
    arguments: &Value,
    value: Payload,
) -> Result<Performed, Unread> {
    let (key, space) = (named(arguments).unwrap_or_default(), space(draft, caller, scope)?);
    if !state::may_write(&rules(draft, scope)?, caller.agent, &key) {
        return Ok(denied(&key, "write"));
    }
    let (expected, ttl) = match (number(arguments, "expected_version"), number(arguments, "ttl_seconds")) {
        (Ok(expected), Ok(ttl)) => (expected, ttl),
        (Err(wrong), _) | (_, Err(wrong)) => return Ok(wrong),
    };
    if scope == Scope::Shared && expected.is_none() {
        return Ok(unexpected());
    }
    let write = Write { key, value, expected, ttl_ms: ttl.map(|seconds| seconds.saturating_mul(1000)) };
    Ok(match state::set(draft, &space, caller.actor, write)? {
        Ok(version) => Performed::done(json!({ "version": version })),
        Err(conflict) => failed(conflict),
    })
}

fn unexpected() -> Performed {
    let why = "shared values want expected_version: the version that you read, 0 for a new key";
    Performed::failed("invalid_arguments", why)
}

fn delete(draft: &mut Draft<'_>, caller: Caller, scope: Scope, arguments: &Value) -> Result<Performed, Unread> {
    let (key, space) = (named(arguments).unwrap_or_default(), space(draft, caller, scope)?);
    if !state::may_write(&rules(draft, scope)?, caller.agent, &key) {
        return Ok(denied(&key, "write"));
    }
    let expected = match number(arguments, "expected_version") {
        Ok(expected) => expected,
        Err(wrong) => return Ok(wrong),
    };
    if scope == Scope::Shared && expected.is_none() {
        return Ok(unexpected());
    }
    Ok(match state::delete(draft, &space, caller.actor, &key, expected)? {
        Ok(version) => Performed::done(json!({ "version": version })),
        Err(Conflict::Missing {}) => missing(&key),
        Err(conflict) => failed(conflict),
    })
}

/// Keys with all but their values: those are read one by one, so that no list outgrows what a model can take.
fn list(draft: &mut Draft<'_>, caller: Caller, scope: Scope, arguments: &Value) -> Result<Performed, Unread> {
    let space = space(draft, caller, scope)?;
    let limit = match page_size(arguments) {
        Ok(limit) => limit,
        Err(wrong) => return Ok(wrong),
    };
    let (now, rules) = (draft.wall, rules(draft, scope)?);
    let found = draft.entries(&space.namespace, text(arguments, "prefix"), text(arguments, "cursor"), limit + 1)?;
    let more = found.len() > limit as usize;
    let page = &found[..found.len().min(limit as usize)];
    let mut keys = Vec::with_capacity(page.len());
    for (key, entry) in page {
        if entry.is_live(now) && state::may_read(&rules, caller.agent, key) {
            let mut told = described(draft, &space, entry)?;
            told["key"] = key.as_str().into();
            told["bytes"] = entry.value.map_or(0, |value| value.size).into();
            keys.push(told);
        }
    }
    let cursor = page.last().filter(|_| more).map(|(key, _)| key);
    Ok(Performed::done(json!({ "keys": keys, "cursor": cursor })))
}

fn history(draft: &mut Draft<'_>, caller: Caller, scope: Scope, arguments: &Value) -> Result<Performed, Unread> {
    let (key, space) = (named(arguments).unwrap_or_default(), space(draft, caller, scope)?);
    let (limit, before) = match (page_size(arguments), number(arguments, "before")) {
        (Ok(limit), Ok(before)) => (limit, before),
        (Err(wrong), _) | (_, Err(wrong)) => return Ok(wrong),
    };
    let at_most = before.map_or(u64::MAX, |before| before.saturating_sub(1));
    let mut found = draft.versions(&space.namespace, &key, at_most, limit + 1)?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let versions: Vec<Value> = found.iter().map(told_version).collect();
    let before = found.last().filter(|_| more).map(|entry| entry.version);
    Ok(Performed::done(json!({ "versions": versions, "before": before })))
}

fn told_version(entry: &Entry) -> Value {
    let mut told = json!({
        "version": entry.version, "deleted": entry.value.is_none(), "by": entry.by, "at": entry.at.to_string(),
    });
    if let Some(value) = entry.value {
        told["bytes"] = value.size.into();
    }
    told
}

/// Does not wait: an agent asks again with the cursor that it was told.
fn watch(draft: &mut Draft<'_>, caller: Caller, arguments: &Value) -> Result<Performed, Unread> {
    let space = space(draft, caller, Scope::Shared)?;
    let (limit, cursor) = match (page_size(arguments), number(arguments, "cursor")) {
        (Ok(limit), Ok(cursor)) => (limit, cursor),
        (Err(wrong), _) | (_, Err(wrong)) => return Ok(wrong),
    };
    let rules = draft.acls()?;
    let mut found = draft.state_changes(space.home, cursor, limit + 1)?;
    let more = cursor.is_some() && found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().map(|changed| changed.index).or(cursor).unwrap_or(0);
    let prefix = text(arguments, "prefix");
    let changes: Vec<Value> = match cursor {
        // Without a cursor it only says where the ledger stands.
        None => Vec::new(),
        Some(_) => found
            .iter()
            .filter_map(told_change)
            .filter(|(key, _)| key.starts_with(prefix) && state::may_read(&rules, caller.agent, key))
            .map(|(_, told)| told)
            .collect(),
    };
    Ok(Performed::done(json!({ "changes": changes, "cursor": next, "more": more })))
}

fn told_change(changed: &Changed) -> Option<(String, Value)> {
    let (key, told) = match Change::of(&changed.event)? {
        Change::Set(set) => (&set.key, json!({"what": "set", "by": set.by, "version": set.version})),
        Change::Ended(ended) => (&ended.key, told_end(ended)),
        Change::Dropped(_) | Change::SessionOver(_) | Change::SweepDue(_) | Change::Quota { .. } => return None,
    };
    let mut told = told;
    told["key"] = key.as_str().into();
    told["at"] = changed.at.to_string().into();
    told["cursor"] = changed.index.into();
    Some((key.clone(), told))
}

fn told_end(ended: &Ended) -> Value {
    match ended.by {
        state::EndedBy::Actor { by } => json!({"what": "deleted", "by": by, "version": ended.version}),
        state::EndedBy::Expiry { due } => json!({"what": "expired", "due": due.to_string(), "version": ended.version}),
    }
}
