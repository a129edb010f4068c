//! Serving one connection: requests go out as frames, answers come back to whoever waits. One task owns the stream;
//! nothing else reads or writes it.
//!
//! ```text
//! stream ─ read ─> clean ─> sort ─┬─> output to watchers
//!                                 └─> reports, bounded ─> a task: commits, in the order sent ─> answers to whoever waits
//! ```
//! It must never wait for the worker to take something without taking what the worker sends, for each would wait for the
//! other; nor for a commit: a slow disk holds a worker back, and must not make it look silent.
use super::clean::CleanFrames;
use super::connection::{Pending, ServerEnd};
use super::report::report_in_order;
use crate::app::App;
use crate::proxy::Streams;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::call::Holder;
use tenure_core::capability::mcp;
use tenure_wire::frame::{self, FrameError, FromWorker, ToWorker};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, split};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

const BEAT_EVERY: Duration = Duration::from_secs(10);
/// Beats in a row after which a worker hangs that sent nothing meanwhile; a dead one shows at once by the end of its
/// stream. Beats are counted, not time: what stops this process must not count against the worker.
const SILENT_BEATS_MAX: u32 = 6;
/// The same of one that takes nothing of a frame.
const STUCK_BEATS_MAX: u32 = 3;
/// How long reading what a worker sent may take that takes no frames any more.
const LAST_READ_TIMEOUT: Duration = Duration::from_secs(1);
/// How long reports that came before the connection's end may take to be committed.
const LAST_REPORTS_TIMEOUT: Duration = Duration::from_secs(30);
/// Frames that were read and not yet sorted.
const RECEIVED_MAX: usize = 256;
/// Reports that wait for a commit; beyond, the worker is held back.
const REPORTS_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it sent nothing for {SILENT_BEATS_MAX} beats or took nothing of a frame for {STUCK_BEATS_MAX}, of {} s each", BEAT_EVERY.as_secs())]
    Silent,
    #[error("the daemon ended it")]
    Ended,
    #[error("what it reported cannot be written")]
    Unwritten,
}

/// Until the stream ends, the worker hangs or the daemon closes.
pub(super) async fn serve<S>(app: &Arc<App>, served: ServerEnd, stream: S) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let ServerEnd { connection, mut requests, mut pending } = served;
    let (reader, mut writer) = split(stream);
    let (frames, mut received) = mpsc::channel(RECEIVED_MAX);
    let reading = read(reader, frames);
    tokio::pin!(reading);
    let (reports, waiting) = mpsc::channel(REPORTS_MAX);
    let (answers, mut answered) = mpsc::channel(REPORTS_MAX);
    tokio::spawn(report_in_order(Arc::clone(app), connection.clone(), waiting, answers));
    let mut held: Option<FromWorker> = None;
    let mut streams = Streams::new(connection.slots);
    let mut clean = CleanFrames::new(app.vault.scrubber());
    let mut outbox = VecDeque::new();
    let (mut silent, mut stuck, mut count) = (0, 0, 0);
    let mut beats = interval(BEAT_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        let idle = outbox.is_empty();
        tokio::select! {
            // In this order none starves: what ends comes once, beats by the clock; requests and answers come no faster than
            // what the worker sends, which is read into a bounded queue first and sorted last.
            biased;
            () = app.closing.cancelled() => return Ok(()),
            () = connection.ending.cancelled() => return Err(Error::Ended),
            () = reports.closed() => return Err(Error::Unwritten),
            ended = &mut reading => break ended,
            _ = beats.tick() => {
                silent = if held.is_some() { 0 } else { silent + 1 };
                stuck = if idle { 0 } else { stuck + 1 };
                if silent > SILENT_BEATS_MAX || stuck > STUCK_BEATS_MAX {
                    return Err(Error::Silent);
                }
                count += 1;
                outbox.extend(frame::encode(&ToWorker::Beat { count })?);
            }
            Some(request) = requests.recv(), if idle => {
                outbox = frame::encode(&pending.begin(request))?.into();
                stuck = 0;
            }
            written = writer.write(outbox.as_slices().0), if !idle => match written {
                Ok(count @ 1..) => {
                    outbox.drain(..count);
                    stuck = 0;
                }
                Ok(0) | Err(_) => break timeout(LAST_READ_TIMEOUT, &mut reading).await.unwrap_or(Err(Error::Silent)),
            },
            Some(answer) = answered.recv() => pending.answer(answer),
            Ok(place) = reports.reserve(), if held.is_some() => {
                if let Some(report) = held.take() {
                    place.send(report);
                }
            }
            Some(frame) = received.recv(), if held.is_none() => {
                silent = 0;
                match clean.frame(app, frame) {
                    FromWorker::Stream { stream, part } => streams.take(app, &connection, stream, part),
                    frame => {
                        let report = sort(app, &mut pending, frame);
                        held = report.and_then(|report| reports.try_send(report).err()).map(unsent);
                    }
                }
            }
        }
    };
    let mut left: Vec<FromWorker> = held.take().into_iter().collect();
    left.extend(std::iter::from_fn(|| received.try_recv().ok()).map(|frame| clean.frame(app, frame)).filter(is_report));
    let finished = timeout(LAST_REPORTS_TIMEOUT, finish(left, reports, &mut answered, &mut pending)).await;
    if finished.is_err() {
        tracing::warn!(worker = %connection.worker, "its last reports are not committed in time; what they end is lost with it");
    }
    ended
}

/// What the worker sent before its end still counts.
async fn finish(
    left: Vec<FromWorker>,
    reports: mpsc::Sender<FromWorker>,
    answered: &mut mpsc::Receiver<FromWorker>,
    pending: &mut Pending,
) {
    let reporting = async move {
        for report in left {
            // It fails only where the task that commits them is gone.
            let _ = reports.send(report).await;
        }
    };
    let answering = async {
        while let Some(answer) = answered.recv().await {
            pending.answer(answer);
        }
    };
    tokio::join!(reporting, answering);
}

fn unsent(error: mpsc::error::TrySendError<FromWorker>) -> FromWorker {
    match error {
        mpsc::error::TrySendError::Full(frame) | mpsc::error::TrySendError::Closed(frame) => frame,
    }
}

async fn read<S: AsyncRead>(mut reader: ReadHalf<S>, frames: mpsc::Sender<FromWorker>) -> Result<(), Error> {
    loop {
        if frames.send(frame::read(&mut reader).await?).await.is_err() {
            return Ok(());
        }
    }
}

/// Whether a frame must keep its place among the others of its execution or session.
fn is_report(frame: &FromWorker) -> bool {
    match frame {
        FromWorker::Outcome(_)
        | FromWorker::Released { .. }
        | FromWorker::HomeRemoved { .. }
        | FromWorker::NetworkRefused { .. }
        | FromWorker::Surveyed { .. }
        | FromWorker::JailLost { .. } => true,
        FromWorker::Files { .. }
        | FromWorker::Stream { .. }
        | FromWorker::Output { .. }
        | FromWorker::ToolsChanged { .. }
        | FromWorker::Beat { .. }
        | FromWorker::Hello(_) => false,
    }
}

/// Does at once what waits for nothing; gives back what is to be reported in order.
fn sort(app: &App, pending: &mut Pending, frame: FromWorker) -> Option<FromWorker> {
    match frame {
        report if is_report(&report) => {
            pending.came(&report);
            return Some(report);
        }
        FromWorker::Output { holder: Holder::Execution(id), stderr, text, .. } => app.watch.output(id, stderr, text),
        FromWorker::Output { holder: Holder::Session(_), call, stderr, text, .. } => {
            app.watch.session_output(call, stderr, text);
        }
        FromWorker::ToolsChanged { holder: Holder::Session(id), server } if mcp::is_server(&server) => {
            app.watch.tools_announced(id, server, app.committer.now().at);
        }
        // Each iteration asks anew before its first turn; what was offered in one stays.
        FromWorker::ToolsChanged { .. } => {}
        FromWorker::Hello(_) => tracing::warn!("a second greeting of the worker is ignored"),
        other => pending.answer(other),
    }
    None
}

#[cfg(test)]
mod tests;
