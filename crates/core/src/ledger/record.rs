//! One record: the canonical JSON of an event with its place in the chain.
use crate::actor::Actor;
use crate::bound::Hash;
use crate::fold::{EVENT_VERSION, Event, Stream};
use crate::id::ProjectId;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io::Write;
use std::ops::Range;

/// The most that an integer of a record may be away from 0; canonical JSON would round what is beyond.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// An event on its way into the chain.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    pub project: ProjectId,
    /// Its place in the project's chain, from 0.
    pub index: u64,
    pub stream: Stream,
    /// Its place in its stream, from 1.
    pub n: u64,
    pub at: Time,
    pub actor: Actor,
    pub event: &'a Event,
    /// The leaf hash of the record before it.
    pub prev: Hash,
}

/// Why an event cannot be recorded. Nothing was hashed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unrecordable {
    #[error("a number in {kind} is no integer within ±(2^53−1); write larger ones as text")]
    Number { kind: String },
    #[error("the event cannot be written as canonical JSON: {0}")]
    Json(String),
}

/// A record as it is stored, and its leaf hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub bytes: Vec<u8>,
    pub leaf: Hash,
    kind: Range<usize>,
}

impl Encoded {
    pub fn kind(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.kind.clone()]).expect("invariant: a record is UTF-8")
    }
}

/// What a record says of an event beside the event itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub project: ProjectId,
    pub index: u64,
    pub stream: Stream,
    pub n: u64,
    pub at: Time,
    pub actor: Actor,
    pub kind: String,
    pub version: u32,
    pub prev: Hash,
}

/// Canonical JSON (RFC 8785).
///
/// # Errors
/// A value that JSON cannot hold, or a number that canonical JSON would round.
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, Unrecordable> {
    let bytes = serde_json_canonicalizer::to_vec(value).map_err(|error| Unrecordable::Json(error.to_string()))?;
    if !numbers_exact(&bytes) {
        return Err(Unrecordable::Number { kind: "the value".to_string() });
    }
    Ok(bytes)
}

impl Record<'_> {
    /// # Errors
    /// A number that canonical JSON would round.
    pub fn encode(&self) -> Result<Encoded, Unrecordable> {
        const DATA: &[u8] = br#"{"data":"#;
        const KIND: &[u8] = br#","kind":""#;
        let event =
            serde_json_canonicalizer::to_vec(self.event).map_err(|error| Unrecordable::Json(error.to_string()))?;
        // An event is an object of `data` and `kind`, and no kind has a quote in it.
        let split = event.windows(KIND.len()).rposition(|window| window == KIND);
        let (Some(split), true) = (split, event.starts_with(DATA)) else {
            return Err(Unrecordable::Json("it has no kind".to_string()));
        };
        let (data, kind) = (&event[DATA.len()..split], &event[split + KIND.len()..event.len() - 2]);
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let whole =
            self.index <= INTEGER_MAX && self.n <= INTEGER_MAX && self.at.millis().unsigned_abs() <= INTEGER_MAX;
        if !whole || !numbers_exact(data) {
            return Err(Unrecordable::Number { kind: text(kind) });
        }
        // The keys of the envelope stand in canonical order; a test holds it to the canonicalizer.
        let mut bytes = Vec::with_capacity(data.len() + 320);
        let written = write!(bytes, r#"{{"actor":"{}","at":{},"data":"#, self.actor, self.at.millis())
            .and_then(|()| bytes.write_all(data))
            .and_then(|()| write!(bytes, r#","index":{},"kind":""#, self.index))
            .map(|()| bytes.len())
            .and_then(|start| bytes.write_all(kind).map(|()| start..bytes.len()))
            .and_then(|kind| {
                let (n, prev, project, stream) = (self.n, self.prev, self.project, self.stream);
                let tail = format_args!(
                    r#"","n":{n},"prev":"{prev}","project":"{project}","stream":"{stream}","v":{EVENT_VERSION}}}"#
                );
                bytes.write_fmt(tail).map(|()| kind)
            });
        let kind = written.map_err(|error| Unrecordable::Json(error.to_string()))?;
        let leaf = super::leaf(&bytes);
        Ok(Encoded { bytes, leaf, kind })
    }
}

/// Is every number outside of strings an integer within ±(2^53−1)? `bytes` must be canonical JSON, in which a rounded
/// integer shows as one of at least 2^53.
fn numbers_exact(bytes: &[u8]) -> bool {
    let (mut place, mut in_string) = (0, false);
    while place < bytes.len() {
        let byte = bytes[place];
        place += 1;
        match (in_string, byte) {
            (true, b'\\') => place += 1,
            (_, b'"') => in_string = !in_string,
            (false, b'0'..=b'9') => {
                let start = place - 1;
                while place < bytes.len() && bytes[place].is_ascii_digit() {
                    place += 1;
                }
                let broken = matches!(bytes.get(place), Some(b'.' | b'e' | b'E'));
                if broken || (place - start >= 16 && !within(&bytes[start..place])) {
                    return false;
                }
            }
            (true | false, _) => {}
        }
    }
    true
}

fn within(digits: &[u8]) -> bool {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok()).is_some_and(|n| n <= INTEGER_MAX)
}

#[derive(Deserialize)]
struct Envelope<'a> {
    actor: Actor,
    at: i64,
    #[serde(borrow)]
    data: &'a RawValue,
    index: u64,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    n: u64,
    prev: Hash,
    project: ProjectId,
    stream: Stream,
    v: u32,
}

/// Reads a record from its stored bytes.
///
/// # Errors
/// Bytes that are no record, or an event of a kind or version that this program does not know.
pub fn read(bytes: &[u8]) -> Result<(Meta, Event), String> {
    let record: Envelope<'_> = serde_json::from_slice(bytes).map_err(|error| format!("this is no record: {error}"))?;
    let event = event(&record)?;
    let meta = Meta {
        project: record.project,
        index: record.index,
        stream: record.stream,
        n: record.n,
        at: Time::from_millis(record.at),
        actor: record.actor,
        kind: record.kind.into_owned(),
        version: record.v,
        prev: record.prev,
    };
    Ok((meta, event))
}

/// An event of the present shape is read from its text as it is; an older one goes by way of its upcast.
fn event(record: &Envelope<'_>) -> Result<Event, String> {
    let (stream, kind, data) = (record.stream, &*record.kind, record.data.get());
    if record.v == EVENT_VERSION && kind.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'_')) {
        let tagged = format!(r#"{{"kind":"{kind}","data":{data}}}"#);
        let event = match stream {
            Stream::Project => serde_json::from_str(&tagged).map(Event::Project),
            Stream::Agent(_) => serde_json::from_str(&tagged).map(Event::Agent),
            Stream::Execution(_) => serde_json::from_str(&tagged).map(Event::Execution),
            Stream::Worker(_) => serde_json::from_str(&tagged).map(Event::Worker),
        };
        return event.map_err(|error| format!("event `{kind}` of {stream} cannot be read: {error}"));
    }
    let data = serde_json::from_str(data).map_err(|error| format!("its data cannot be read: {error}"))?;
    Event::read(stream, kind, record.v, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AgentId, Mint};
    use crate::project;

    fn founded(name: &str) -> Event {
        let project = ProjectId::mint(&mut Mint::new(Time::from_millis(5), 1));
        Event::Project(project::Event::Founded { project, name: name.to_string() })
    }

    fn record(event: &Event) -> Record<'_> {
        let mut mint = Mint::new(Time::from_millis(7), 3);
        Record {
            project: ProjectId::mint(&mut mint),
            index: 4,
            stream: Stream::Project,
            n: 2,
            at: Time::from_millis(1_700_000_000_000),
            actor: Actor::Agent(AgentId::mint(&mut mint)),
            event,
            prev: Hash::of(b"before"),
        }
    }

    #[test]
    fn a_record_is_canonical_json_and_reads_back_as_written() {
        let event = founded("a \"kind\":\"name\", with quotes, \u{1} and ü");
        let encoded = record(&event).encode().unwrap();
        let value: serde_json::Value = serde_json::from_slice(&encoded.bytes).unwrap();
        assert_eq!(encoded.bytes, serde_json_canonicalizer::to_vec(&value).unwrap());
        assert_eq!(encoded.kind(), "project.founded");
        assert_eq!(encoded.leaf, crate::ledger::leaf(&encoded.bytes));
        let (meta, again) = read(&encoded.bytes).unwrap();
        assert_eq!(again, event);
        assert_eq!((meta.index, meta.n, meta.stream, meta.prev), (4, 2, Stream::Project, Hash::of(b"before")));
        assert_eq!((meta.kind.as_str(), meta.version), ("project.founded", EVENT_VERSION));
        assert_eq!(meta.actor, record(&event).actor);
    }

    #[test]
    fn a_number_that_canonical_json_would_round_is_refused_before_hashing() {
        let with = |outside_index| {
            let event =
                Event::Project(project::Event::RestoreAccepted { outside_index, why: "1e5 99999999999999999".into() });
            record(&event).encode()
        };
        assert!(with(INTEGER_MAX).is_ok());
        assert_eq!(with(INTEGER_MAX + 1), Err(Unrecordable::Number { kind: "restore.accepted".into() }));
        assert_eq!(with(u64::MAX), Err(Unrecordable::Number { kind: "restore.accepted".into() }));
        assert!(canonical(&serde_json::json!({ "score": 0.5 })).is_err());
        assert!(canonical(&serde_json::json!({ "score": -7, "text": "0.5" })).is_ok());
    }

    #[test]
    fn an_unknown_kind_or_version_refuses_to_be_read() {
        let bytes = record(&founded("p")).encode().unwrap().bytes;
        let text = String::from_utf8(bytes).unwrap();
        let unknown = read(text.replace("project.founded", "project.sunk").as_bytes()).unwrap_err();
        assert!(unknown.contains("project.sunk"), "{unknown}");
        let newer = read(text.replace("\"v\":1}", "\"v\":2}").as_bytes()).unwrap_err();
        assert!(newer.contains("version 2"), "{newer}");
    }
}
