//! Sinks: committed records, and the head that they lie under, go on to a file or a webhook, and what people are asked to allow to
//! another. It reads the store by cursor, so
//! that it never keeps a commit waiting; how far it came is plain data on disk, and after a restart it goes on from there: what
//! was on its way goes once more.
mod approvals;
mod deliver;

pub use deliver::{Refused, Target};

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tenure_core::ledger::Signed;
use tenure_core::time::Time;
use tenure_store::{Recorded, audit, events_from};
use tokio::task::JoinSet;

use crate::app::App;
use crate::http::Listening;
use deliver::{Delivery, Parcel, RECORDS};

/// Records of one delivery.
const PAGE: u32 = 256;
/// A look is taken at least so often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// The sinks of one daemon, and how far each is.
#[derive(Clone, Default)]
pub struct Sinks(Arc<OnceLock<Vec<Arc<Sink>>>>);

/// One place that records go to.
pub struct Sink {
    target: Target,
    /// The index that is delivered next.
    next: AtomicU64,
    /// Times that the next one was tried in vain.
    tries: AtomicU64,
    /// What links begin with.
    link_base: Option<String>,
    /// Since when, and why, nothing can be delivered. Held for microseconds, never across an await.
    failing: Mutex<Option<(Time, String)>>,
}

/// How far a sink is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkState {
    /// `file` or `webhook`.
    pub kind: &'static str,
    pub to: String,
    /// Records that were delivered.
    pub delivered: u64,
    pub failing: Option<(Time, String)>,
}

/// As on disk. Another target begins at the first record.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    to: String,
    next: u64,
}

impl Sinks {
    pub fn states(&self) -> Vec<SinkState> {
        self.0.get().into_iter().flatten().map(|sink| sink.state()).collect()
    }
}

impl Sink {
    fn state(&self) -> SinkState {
        SinkState {
            kind: self.target.kind(),
            to: self.target.shown(),
            delivered: self.next.load(Ordering::Relaxed),
            failing: self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Everything before `next` is delivered.
    async fn moved(&self, folder: &Path, next: u64) -> Result<(), String> {
        let (target, folder) = (self.target.clone(), folder.to_owned());
        let saved = tokio::task::spawn_blocking(move || save(&folder, &target, next)).await;
        saved.map_err(|error| error.to_string())?.map_err(|error| format!("its position cannot be kept: {error}"))?;
        self.next.store(next, Ordering::Relaxed);
        self.tries.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn set_failing(&self, now: Time, why: Option<String>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        *failing = why.map(|why| (failing.take().map_or(now, |(since, _)| since), why));
    }
}

/// Starts a task for each target. `listening`: what links begin with where nothing else is stated.
pub fn spawn(
    app: &Arc<App>,
    targets: &[Target],
    data_dir: &Path,
    listening: Option<&Listening>,
    tasks: &mut JoinSet<()>,
) {
    let folder = data_dir.join("sinks");
    let sinks = app.sinks.0.get_or_init(|| {
        let sink = |target: &Target| {
            let next = position(&folder, target);
            let link_base = match target {
                Target::Approvals { link_base: Some(base), .. } => Some(base.trim_end_matches('/').to_string()),
                Target::Approvals { link_base: None, .. } => listening.map(ToString::to_string),
                Target::File(_) | Target::Webhook { .. } => None,
            };
            Arc::new(Sink {
                target: target.clone(),
                next: AtomicU64::new(next),
                tries: AtomicU64::new(0),
                link_base,
                failing: Mutex::new(None),
            })
        };
        targets.iter().map(sink).collect()
    });
    for sink in sinks {
        tasks.spawn(run(Arc::clone(app), Arc::clone(sink), folder.clone()));
    }
}

fn file(folder: &Path, target: &Target) -> PathBuf {
    folder.join(format!("{}.json", target.kind()))
}

/// Where the last life stood.
fn position(folder: &Path, target: &Target) -> u64 {
    let read = fs::read(file(folder, target)).ok().and_then(|bytes| serde_json::from_slice::<Position>(&bytes).ok());
    read.filter(|position| position.to == target.shown()).map_or(0, |position| position.next)
}

fn save(folder: &Path, target: &Target, next: u64) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let (path, position) = (file(folder, target), Position { to: target.shown(), next });
    let part = path.with_extension("part");
    fs::write(&part, serde_json::to_vec(&position)?)?;
    fs::rename(part, path)
}

async fn run(app: Arc<App>, sink: Arc<Sink>, folder: PathBuf) {
    let mut moved = app.watch.moved();
    let mut delivery = match Delivery::new(sink.target.clone()) {
        Ok(delivery) => delivery,
        Err(refused) => {
            tracing::error!(%refused, sink = sink.target.kind(), "an audit sink cannot be used");
            return sink.set_failing(app.committer.now().at, Some(refused.to_string()));
        }
    };
    let mut backoff = BACKOFF_MIN;
    loop {
        let outcome = tokio::select! {
            biased;
            () = app.closing.cancelled() => return,
            outcome = next(&app, &sink, &folder, &mut delivery) => outcome,
        };
        let pause = match outcome {
            Ok(more) => {
                backoff = BACKOFF_MIN;
                sink.set_failing(app.committer.now().at, None);
                if more { Duration::ZERO } else { LOOK_EVERY }
            }
            Err(why) => {
                tracing::warn!(why, sink = sink.target.kind(), "an audit sink takes nothing; it is tried again");
                sink.set_failing(app.committer.now().at, Some(why));
                let pause = backoff;
                backoff = (backoff * 2).min(BACKOFF_MAX);
                tokio::select! {
                    biased;
                    () = app.closing.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                continue;
            }
        };
        tokio::select! {
            biased;
            () = app.closing.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            moved = moved.changed(), if !pause.is_zero() => if moved.is_err() { return },
        }
    }
}

/// True where there may be more.
async fn next(app: &App, sink: &Arc<Sink>, folder: &Path, delivery: &mut Delivery) -> Result<bool, String> {
    match &sink.target {
        Target::File(_) | Target::Webhook { .. } => records(app, sink, folder, delivery).await,
        Target::Approvals { .. } => approvals::page(app, sink, folder, delivery).await,
    }
}

/// Delivers one page. True where there may be more.
async fn records(app: &App, sink: &Arc<Sink>, folder: &Path, delivery: &mut Delivery) -> Result<bool, String> {
    let next = sink.next.load(Ordering::Relaxed);
    let reader = app.records.reader().background();
    let read = reader.read(move |sql| Ok((events_from(sql, next, PAGE)?, audit::head(sql)?)));
    let (records, head) = read.await.map_err(|error| error.to_string())?;
    let Some(last) = records.last().map(|record| record.meta.index) else { return Ok(false) };
    let name = (RECORDS, format!("{next}-{last}"));
    let bytes = lines(&records, head.as_ref())?;
    delivery.deliver(Parcel { bytes, media_type: "application/x-ndjson", name }).await?;
    sink.moved(folder, last + 1).await?;
    Ok(records.len() == PAGE as usize)
}

/// The records as stored, a line each, and the head that all of them lie under.
fn lines(records: &[Recorded], head: Option<&Signed>) -> Result<Vec<u8>, String> {
    let mut lines = Vec::new();
    for record in records {
        lines.extend_from_slice(&record.bytes);
        lines.push(b'\n');
    }
    if let Some(head) = head {
        let line = serde_json::to_string(&serde_json::json!({ "head": head })).map_err(|error| error.to_string())?;
        lines.extend_from_slice(line.as_bytes());
        lines.push(b'\n');
    }
    Ok(lines)
}
