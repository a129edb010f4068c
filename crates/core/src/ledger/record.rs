//! One record: the canonical JSON of an event with its place in the chain.
use crate::actor::Actor;
use crate::aggregate::{Event, Stream};
use crate::bound::Hash;
use crate::id::ProjectId;
use crate::time::{Run, Stamp, Time};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io::Write;

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
    pub stamp: Stamp,
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
}

/// What a record says of an event beside the event itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub project: ProjectId,
    pub index: u64,
    pub stream: Stream,
    pub n: u64,
    pub stamp: Stamp,
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
        let (kind, version) = (self.event.kind(), self.event.version());
        let event =
            serde_json_canonicalizer::to_vec(self.event).map_err(|error| Unrecordable::Json(error.to_string()))?;
        // An event is an object of `data` and `kind`, in this order, and no kind needs escaping.
        let rest = format!(r#","kind":"{kind}"}}"#);
        let data = event.strip_prefix(DATA).and_then(|data| data.strip_suffix(rest.as_bytes()));
        let Some(data) = data else { return Err(Unrecordable::Json("it is no event of a kind".to_string())) };
        let Stamp { at, run } = self.stamp;
        let whole = [self.index, self.n, run.millis(), at.millis().unsigned_abs()].iter().all(|n| *n <= INTEGER_MAX);
        if !whole || !numbers_exact(data) {
            return Err(Unrecordable::Number { kind: kind.to_string() });
        }
        // The keys of the envelope stand in canonical order; a test holds it to the canonicalizer.
        let mut bytes = Vec::with_capacity(data.len() + 340);
        let (n, prev, project, stream) = (self.n, self.prev, self.project, self.stream);
        let (at, run) = (at.millis(), run.millis());
        let written = write!(bytes, r#"{{"actor":"{}","at":{at},"data":"#, self.actor)
            .and_then(|()| bytes.write_all(data))
            .and_then(|()| write!(bytes, r#","index":{},"kind":"{kind}","n":{n},"prev":"{prev}""#, self.index))
            .and_then(|()| write!(bytes, r#","project":"{project}","run":{run},"stream":"{stream}","v":{version}}}"#));
        written.map_err(|error| Unrecordable::Json(error.to_string()))?;
        let leaf = super::leaf(&bytes);
        Ok(Encoded { bytes, leaf })
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
    run: u64,
    stream: Stream,
    v: u32,
}

/// Reads a record from its stored bytes.
///
/// # Errors
/// Bytes that are no record, a number that no record has, or an event of a kind or version that this program does not
/// know.
pub fn read(bytes: &[u8]) -> Result<(Meta, Event), String> {
    let record = envelope(bytes)?;
    let event = Event::read(record.stream, &record.kind, record.v, record.data.get())?;
    Ok((meta(record), event))
}

/// What a record says beside its event, which may be of a kind that this program does not know, and the event's data.
///
/// # Errors
/// Bytes that are no record, or a number that no record has.
pub fn read_meta(bytes: &[u8]) -> Result<(Meta, &RawValue), String> {
    let record = envelope(bytes)?;
    let data = record.data;
    Ok((meta(record), data))
}

fn envelope(bytes: &[u8]) -> Result<Envelope<'_>, String> {
    if !numbers_exact(bytes) {
        return Err("this is no record: a number in it is no integer within ±(2^53−1)".to_string());
    }
    serde_json::from_slice(bytes).map_err(|error| format!("this is no record: {error}"))
}

fn meta(record: Envelope<'_>) -> Meta {
    Meta {
        project: record.project,
        index: record.index,
        stream: record.stream,
        n: record.n,
        stamp: Stamp { at: Time::from_millis(record.at), run: Run::from_millis(record.run) },
        actor: record.actor,
        kind: record.kind.into_owned(),
        version: record.v,
        prev: record.prev,
    }
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
            stream: Stream::Project(ProjectId::mint(&mut Mint::new(Time::from_millis(5), 1))),
            n: 2,
            stamp: Stamp { at: Time::from_millis(1_700_000_000_000), run: Run::from_millis(77) },
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
        assert_eq!(encoded.leaf, crate::ledger::leaf(&encoded.bytes));
        let (meta, again) = read(&encoded.bytes).unwrap();
        assert_eq!(again, event);
        let written = record(&event);
        assert_eq!((meta.index, meta.n, meta.stream, meta.prev), (4, 2, written.stream, Hash::of(b"before")));
        assert_eq!((meta.kind.as_str(), meta.version), ("project.founded", 1));
        assert_eq!((meta.actor, meta.stamp), (written.actor, written.stamp));
    }

    #[test]
    fn a_number_that_canonical_json_would_round_is_refused_before_hashing() {
        let with = |checkpoint_size| {
            let event = Event::Project(project::Event::RestoreAccepted {
                checkpoint_size,
                why: "1e5 99999999999999999".into(),
            });
            record(&event).encode()
        };
        assert!(with(INTEGER_MAX).is_ok());
        assert_eq!(with(INTEGER_MAX + 1), Err(Unrecordable::Number { kind: "restore.accepted".into() }));
        assert_eq!(with(u64::MAX), Err(Unrecordable::Number { kind: "restore.accepted".into() }));
        let text = String::from_utf8(with(INTEGER_MAX).unwrap().bytes).unwrap();
        assert!(read(text.as_bytes()).is_ok());
        let tampered = text.replace(&INTEGER_MAX.to_string(), &u64::MAX.to_string());
        assert!(read(tampered.as_bytes()).unwrap_err().contains("a number in it"));
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
