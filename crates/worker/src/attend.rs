//! One program for a person who sits before it: the worker's own jail, limits and egress, without a daemon. What is typed goes in as
//! it comes and what is printed comes out whole, as fast as it is taken. Must never: drop any of it, or leave the jail behind.
use crate::connection::leave;
use crate::error::Error;
use crate::jail::{End, JailEvent, JailTask, Key, QueuedCall};
use crate::runtime::WorkerRuntime;
use std::sync::Arc;
use tenure_core::network::Refusal;
use tenure_sandbox::protocol::TerminalSize;
use tenure_wire::frame::{CallOutcome, LeasedCall};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const EVENTS_MAX: usize = 64;

/// What somebody does at their end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputEvent {
    /// At most 64 KiB.
    Bytes(Vec<u8>),
    /// Nothing more comes.
    End,
    Resized(TerminalSize),
}

/// What the program wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputChunk {
    pub stderr: bool,
    pub bytes: Vec<u8>,
}

/// The two directions of one program, and its terminal if it is to have one.
#[derive(Debug)]
pub struct AttendedStreams {
    pub typed: mpsc::Receiver<InputEvent>,
    pub printed: mpsc::Sender<OutputChunk>,
    pub terminal: Option<TerminalSize>,
}

/// How it ended.
#[derive(Debug)]
pub struct AttendedOutcome {
    /// Err: the jail ended before the program did, and why.
    pub outcome: Result<CallOutcome, String>,
    /// What its network was asked for and refused.
    pub refused: Vec<Refusal>,
}

/// Does one `process.run` and ends the worker. `stop` ends both at any time.
///
/// # Errors
/// As [`crate::serve`]; the caller must end the process.
pub async fn attend(
    runtime: WorkerRuntime,
    call: LeasedCall,
    attendance: AttendedStreams,
    stop: CancellationToken,
) -> Result<AttendedOutcome, Error> {
    let runtime = Arc::new(runtime);
    let (key, agent) = (Key::of(&call), call.agent);
    let deadline = Instant::now() + std::time::Duration::from_millis(call.deadline_ms);
    let (_calls, queue) = mpsc::channel(1);
    let (notify, mut events) = mpsc::channel(EVENTS_MAX);
    // Frames for those who watch an execution: nobody does.
    let (shown, _) = mpsc::channel(1);
    let close = stop.child_token();
    let task = JailTask {
        key,
        runtime: Arc::clone(&runtime),
        calls: queue,
        close: close.clone(),
        events: notify,
        shown,
        models: None,
    };
    let cancel = CancellationToken::new();
    let queued = QueuedCall { call: Box::new(call), deadline, cancel, attendance: Some(attendance) };
    let living = tokio::spawn(task.run(queued));
    let (mut outcome, mut refused) = (None, Vec::new());
    let mut end = Err(Error::Protocol("the jail's task ended without a word"));
    while let Some(event) = events.recv().await {
        match event {
            JailEvent::Finished(finished) => {
                outcome = Some(*finished);
                close.cancel();
            }
            JailEvent::Refused(_, refusals) => refused.extend(refusals),
            JailEvent::Ended(_, End::Fatal(error)) => end = Err(error),
            JailEvent::Ended(_, End::Closed(_)) => end = Ok("it was closed".to_owned()),
            JailEvent::Ended(_, End::Lost(why, _)) => end = Ok(format!("the jail was lost: {why}")),
            JailEvent::Ended(_, End::Refused(why)) => end = Ok(format!("the jail did not open: {why}")),
            JailEvent::HomeRemoved(..)
            | JailEvent::Cleared(..)
            | JailEvent::StreamOpened(_)
            | JailEvent::StreamClosed(_) => {}
        }
    }
    living.await?;
    let holder = key.holder;
    let ended = Arc::clone(&runtime);
    let _ = tokio::task::spawn_blocking(move || ended.folders.end(agent, holder)).await;
    leave(runtime).await?;
    let why = end?;
    Ok(AttendedOutcome { outcome: outcome.ok_or(why), refused })
}
