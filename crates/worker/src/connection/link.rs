//! Frames over any stream of bytes. Must never: make an answer to `Beat` wait behind others, or a lossy frame delay a sure one.
use crate::error::Error;
use crate::perform::error;
use std::time::Duration;
use tenure_core::call::Outcome;
use tenure_wire::frame::{self, CallOutcome, FrameError, FromWorker, ToWorker};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long the daemon may take to let one frame through.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const INBOUND_MAX: usize = 16;
const BEATS_MAX: usize = 16;
const SURE_MAX: usize = 16;
const LOSSY_MAX: usize = 256;
const STREAMS_MAX: usize = 64;

/// The ends of the queues to the daemon.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) beats: mpsc::Sender<FromWorker>,
    pub(super) sure: mpsc::Sender<FromWorker>,
    /// May be dropped when full.
    pub(super) lossy: mpsc::Sender<FromWorker>,
    /// What programs send on their streams; each waits for its turn here.
    pub(super) streams: mpsc::Sender<FromWorker>,
}

/// The next frame; None at the end of the stream, also in the middle of a frame.
pub(super) async fn read<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Option<ToWorker>, Error> {
    match frame::read(reader).await {
        Err(FrameError::Ended(_)) => Ok(None),
        frame => Ok(Some(frame?)),
    }
}

pub(super) async fn write<W: AsyncWrite + Unpin>(writer: &mut W, frame: &FromWorker) -> Result<(), Error> {
    match timeout(WRITE_TIMEOUT, frame::write(writer, frame)).await {
        Ok(Err(FrameError::Ended(error))) => Err(Error::io("send to the daemon")(error)),
        Ok(sent) => Ok(sent?),
        Err(_) => Err(Error::Deadline { what: "the daemon to take a frame", seconds: WRITE_TIMEOUT.as_secs() }),
    }
}

/// The frames that come, until the first that is none, and the task that reads them.
pub(super) fn inbound<R: AsyncRead + Unpin>(
    mut reader: R,
) -> (mpsc::Receiver<Result<ToWorker, Error>>, impl Future<Output = ()>) {
    let (sender, receiver) = mpsc::channel(INBOUND_MAX);
    let reading = async move {
        while let Some(frame) = read(&mut reader).await.transpose() {
            let last = frame.is_err();
            if sender.send(frame).await.is_err() || last {
                return;
            }
        }
    };
    (receiver, reading)
}

/// The queues to the daemon, and the task that empties them. It ends when the daemon does.
pub(super) fn outbound<W: AsyncWrite + Unpin>(mut writer: W) -> (Outbound, impl Future<Output = Result<(), Error>>) {
    let (beats, mut beat) = mpsc::channel(BEATS_MAX);
    let (sure, mut next) = mpsc::channel(SURE_MAX);
    let (lossy, mut plain) = mpsc::channel(LOSSY_MAX);
    let (streams, mut streamed) = mpsc::channel(STREAMS_MAX);
    let writing = async move {
        loop {
            let frame = tokio::select! {
                biased;
                Some(frame) = beat.recv() => frame,
                Some(frame) = next.recv() => frame,
                Some(frame) = either(&mut plain, &mut streamed) => frame,
                else => return Ok(()),
            };
            match write(&mut writer, &frame).await {
                Err(Error::Frame(FrameError::TooLong(bytes))) => write(&mut writer, &shortened(frame, bytes)).await?,
                sent => sent?,
            }
        }
    };
    (Outbound { beats, sure, lossy, streams }, writing)
}

/// The next of two that take turns.
async fn either(one: &mut mpsc::Receiver<FromWorker>, other: &mut mpsc::Receiver<FromWorker>) -> Option<FromWorker> {
    tokio::select! {
        Some(frame) = one.recv() => Some(frame),
        Some(frame) = other.recv() => Some(frame),
        else => None,
    }
}

/// An outcome whose result fits no frame is still an outcome.
fn shortened(frame: FromWorker, bytes: usize) -> FromWorker {
    match frame {
        FromWorker::Outcome(outcome) => {
            let result = error(format!("the result has {bytes} bytes, more than can be sent; ask for less at once"));
            let failed = Outcome::Failed { code: "result_too_large".to_owned() };
            FromWorker::Outcome(Box::new(CallOutcome { outcome: failed, result, ..*outcome }))
        }
        other => other,
    }
}
