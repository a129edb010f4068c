//! Recorded answers: for demos and tests that need no model, and say so.
//!
//! A cassette is a file of lines: a header, then one entry for each attempt at a turn, in the order in which they
//! ended. It holds no time, no execution id and no key, so the same run gives the same bytes. In a replay, an
//! execution takes the seat of the recorded execution whose request at that turn has the same hash, else the next free
//! seat; from then on iteration, turn and attempt decide, and a request that differs from the recorded one is answered
//! all the same, with a warning.

use super::answer::Answer;
use super::failure::{Failure, Kind};
use super::name::{ModelName, Provider};
use super::piece::PieceSink;
use super::request::{Request, Tag};
use super::{ANSWER_BYTES_MAX, Model};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::time::Instant;

const VERSION: u32 = 1;
const LINE_BYTES_MAX: usize = ANSWER_BYTES_MAX * 2;
const ENTRIES_MAX: usize = 100_000;
/// Executions that one replay or recording tells apart.
const EXECUTIONS_MAX: usize = 100_000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    cassette: u32,
}

/// One attempt at a turn of the `execution`-th execution of the recording. All four count from 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    execution: u32,
    iteration: u32,
    turn: u32,
    attempt: u32,
    /// Hash of the request. `None` in a cassette written by hand: never compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Answer(Answer),
    Failure(Failure),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open the cassette {path}: {cause}")]
    Io { path: String, cause: io::Error },
    #[error("{path}, line {line}: {why}")]
    Malformed { path: String, line: usize, why: String },
    #[error("the cassette {0} is there already; recording never overwrites: delete it or name another file")]
    Exists(String),
}

/// The file of a recording. Its models share it.
pub struct CassetteWriter {
    path: PathBuf,
    state: Mutex<WriterState>,
}

struct WriterState {
    file: File,
    ordinals: HashMap<String, u32>,
}

impl CassetteWriter {
    /// # Errors
    /// [`Error::Exists`] for a file that is there: a recording has one beginning.
    pub fn create(path: &Path) -> Result<CassetteWriter, Error> {
        let opened = File::options().create_new(true).append(true).open(path);
        let mut file = opened.map_err(|cause| match cause.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists(path.display().to_string()),
            _ => Error::Io { path: path.display().to_string(), cause },
        })?;
        write_line(&mut file, &Header { cassette: VERSION })
            .map_err(|cause| Error::Io { path: path.display().to_string(), cause })?;
        Ok(CassetteWriter { path: path.to_owned(), state: Mutex::new(WriterState { file, ordinals: HashMap::new() }) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&self, request: &Request, outcome: Outcome) -> io::Result<()> {
        let tag = &request.tag;
        let mut state = lock(&self.state);
        let next = u32::try_from(state.ordinals.len() + 1).unwrap_or(u32::MAX);
        if state.ordinals.len() >= EXECUTIONS_MAX && !state.ordinals.contains_key(&tag.execution) {
            return Err(io::Error::other(format!("it holds {EXECUTIONS_MAX} executions, which is the limit")));
        }
        let execution = *state.ordinals.entry(tag.execution.clone()).or_insert(next);
        let Tag { iteration, turn, attempt, .. } = *tag;
        let request = Some(request.hash());
        write_line(&mut state.file, &Entry { execution, iteration, turn, attempt, request, outcome })
    }
}

fn write_line<T: Serialize>(file: &mut File, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// A model whose answers are recorded as they come.
pub struct RecordingModel {
    inner: Arc<dyn Model>,
    writer: Arc<CassetteWriter>,
}

impl RecordingModel {
    pub fn new(inner: Arc<dyn Model>, writer: Arc<CassetteWriter>) -> Self {
        RecordingModel { inner, writer }
    }
}

impl Model for RecordingModel {
    fn name(&self) -> &ModelName {
        self.inner.name()
    }

    fn result_bytes_max(&self) -> usize {
        self.inner.result_bytes_max()
    }

    fn reserve_micro_usd(&self, request: &Request) -> Option<u64> {
        self.inner.reserve_micro_usd(request)
    }

    fn generate<'a>(
        &'a self,
        request: &'a Request,
        pieces: &'a PieceSink,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move {
            let outcome = self.inner.generate(request, pieces, deadline).await;
            let kept = match &outcome {
                Ok(answer) => Outcome::Answer(Answer { warning: None, ..answer.clone() }),
                Err(failure) => Outcome::Failure(failure.clone()),
            };
            let Err(cause) = self.writer.write(request, kept) else { return outcome };
            let path = self.writer.path.display();
            tracing::error!(%path, %cause, "the cassette misses an answer from here on");
            outcome.map(|answer| Answer { warning: Some(format!("not recorded on {path}: {cause}")), ..answer })
        }
        .boxed()
    }
}

/// Place of an attempt in a recorded execution.
type Place = (u32, u32, u32);

/// A cassette that answers.
pub struct Cassette {
    name: ModelName,
    file: String,
    /// The recorded executions by their ordinal.
    recorded: BTreeMap<u32, BTreeMap<Place, Entry>>,
    seats: Mutex<HashMap<String, u32>>,
}

impl Cassette {
    /// # Errors
    /// The file cannot be read, or a line of it is no entry; the line is named.
    pub fn open(path: &Path) -> Result<Cassette, Error> {
        let file = path.display().to_string();
        let failed = |cause| Error::Io { path: file.clone(), cause };
        let mut reader = BufReader::new(File::open(path).map_err(failed)?);
        let mut recorded: BTreeMap<u32, BTreeMap<Place, Entry>> = BTreeMap::new();
        let mut number = 0;
        while let Some(line) = next_line(&mut reader).map_err(failed)? {
            number += 1;
            let malformed = |why: String| Error::Malformed { path: file.clone(), line: number, why };
            if number == 1 {
                let header: Header = serde_json::from_slice(&line)
                    .map_err(|error| malformed(format!("is no header of a cassette ({error})")))?;
                if header.cassette != VERSION {
                    return Err(malformed(format!("version {} is not {VERSION}", header.cassette)));
                }
                continue;
            }
            if number > ENTRIES_MAX {
                return Err(malformed(format!("a cassette has at most {ENTRIES_MAX} lines")));
            }
            let entry: Entry = serde_json::from_slice(&line).map_err(|error| malformed(error.to_string()))?;
            let place = (entry.iteration, entry.turn, entry.attempt);
            if recorded.entry(entry.execution).or_default().insert(place, entry).is_some() {
                return Err(malformed("the same attempt stands here twice".to_owned()));
            }
        }
        if number == 0 {
            return Err(Error::Malformed { path: file, line: 1, why: "is no header of a cassette".to_owned() });
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().replace(char::is_whitespace, "_");
        Ok(Cassette { name: ModelName::new(Provider::Cassette, stem), file, recorded, seats: Mutex::default() })
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    fn replay(&self, request: &Request, pieces: &PieceSink) -> Result<Answer, Failure> {
        let hash = request.hash();
        let seat = self.seat(&request.tag, &hash)?;
        let entry = self.recorded.get(&seat).and_then(|execution| entry_of(execution, &request.tag));
        let entry = entry.ok_or_else(|| self.ended(&request.tag))?;
        let differs = entry.request.as_ref().is_some_and(|recorded| *recorded != hash);
        if differs {
            let Tag { execution, iteration, turn, .. } = &request.tag;
            tracing::warn!(cassette = %self.file, %execution, iteration, turn, "another request than recorded");
        }
        match &entry.outcome {
            Outcome::Failure(failure) => Err(failure.clone()),
            Outcome::Answer(answer) => {
                pieces.push(&answer.text);
                pieces.flush();
                Ok(Answer {
                    model: answer.model.as_cassette(),
                    cost_micro_usd: Some(0),
                    warning: differs.then(|| format!("the request differs from the one recorded in {}", self.file)),
                    ..answer.clone()
                })
            }
        }
    }

    fn seat(&self, tag: &Tag, hash: &str) -> Result<u32, Failure> {
        let mut seats = lock(&self.seats);
        if let Some(seat) = seats.get(&tag.execution) {
            return Ok(*seat);
        }
        if seats.len() >= EXECUTIONS_MAX {
            return Err(self.ended(tag));
        }
        let here = || self.recorded.iter().filter_map(|(seat, execution)| Some((*seat, entry_of(execution, tag)?)));
        let same = |entry: &Entry| entry.request.as_deref() == Some(hash);
        let free = |seat: u32| !seats.values().any(|taken| *taken == seat);
        let fitting = here().find(|(seat, entry)| same(entry) && free(*seat));
        let repeated = || here().find(|(_, entry)| same(entry));
        let next = || here().find(|(seat, _)| free(*seat));
        let (seat, _) = fitting.or_else(repeated).or_else(next).ok_or_else(|| self.ended(tag))?;
        seats.insert(tag.execution.clone(), seat);
        Ok(seat)
    }

    fn ended(&self, tag: &Tag) -> Failure {
        let Tag { iteration, turn, .. } = tag;
        let executions = self.recorded.len();
        Failure::new(
            Kind::CassetteEnded,
            format!(
                "the cassette {} has {executions} executions and no answer left for turn {turn} of iteration \
                 {iteration}",
                self.file
            ),
            "record it again with TENURE_CASSETTE=record:FILE, or start the daemon without TENURE_CASSETTE",
        )
    }
}

/// The attempt, or the last one before it: an answer that was lost on its way is given again.
fn entry_of<'a>(execution: &'a BTreeMap<Place, Entry>, tag: &Tag) -> Option<&'a Entry> {
    let turn = (tag.iteration, tag.turn, 0)..=(tag.iteration, tag.turn, tag.attempt);
    execution.range(turn).next_back().map(|(_, entry)| entry)
}

fn next_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let bound = u64::try_from(LINE_BYTES_MAX).expect("invariant: the bound fits u64");
    if reader.by_ref().take(bound).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is cut or too long"));
    }
    Ok(Some(line))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Model for Cassette {
    fn name(&self) -> &ModelName {
        &self.name
    }

    /// That of the recorded model, so that the same run makes the same requests.
    fn result_bytes_max(&self) -> usize {
        let entries = self.recorded.values().flat_map(BTreeMap::values);
        let providers = entries.filter_map(|entry| match &entry.outcome {
            Outcome::Answer(answer) => Some(answer.model.provider),
            Outcome::Failure(_) => None,
        });
        providers.map(Provider::result_bytes_max).min().unwrap_or(Provider::Cassette.result_bytes_max())
    }

    fn reserve_micro_usd(&self, _: &Request) -> Option<u64> {
        Some(0)
    }

    fn generate<'a>(
        &'a self,
        request: &'a Request,
        pieces: &'a PieceSink,
        _: Instant,
    ) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move { self.replay(request, pieces) }.boxed()
    }
}

#[cfg(test)]
mod tests;
