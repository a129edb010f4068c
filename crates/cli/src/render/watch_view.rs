//! Shows a watched execution as it happens: our lines, and in a margin of their own what the model says, what programs print
//! and why a validator is not content. A terminal gets model and programs as they speak and what is being waited for;
//! elsewhere each comes whole, in its place. Must never: let what was said pass for a line of ours.
use std::pin::pin;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tenure_wire::api::event::{ExecutionEvent, Piece, What};
use tenure_wire::api::execution::ExecutionStatus;
use tenure_wire::client::{self, Client, StreamItem};

use super::Output;
use super::formatter::{Formatter, Line, call_summary};
use super::margin::{Margin, Voice};
use crate::args::Format;
use crate::failure::{Exit, Failure};
use crate::screen::{self, Ink, one_line};

/// Of a turn's text as it streamed, kept to know whether all of it was seen.
const STREAMED_BYTES_MAX: usize = 1 << 20;
/// Between two looks at what one that has not begun waits for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Shows the execution until it ends, or until `interrupted`: the execution does not care who looks on.
pub async fn watch(
    client: &Client,
    id: &str,
    output: Output,
    interrupted: impl Future<Output = ()>,
) -> Result<Exit, Failure> {
    let mut view = WatchView::new(output, id);
    let mut events = client.watch(id, None);
    let mut interrupted = pin!(interrupted);
    loop {
        let mut next = pin!(events.next());
        let item = loop {
            tokio::select! {
                item = &mut next => break item,
                () = tokio::time::sleep(LOOK_EVERY), if view.queued => view.say_what_it_waits_for(client).await?,
                () = &mut interrupted => {
                    view.clear()?;
                    view.say_how_to_go_on();
                    return Ok(Exit::Program(130));
                }
            }
        };
        match item {
            Ok(Some(item)) => view.show(&item)?,
            Ok(None) => break,
            Err(error) => {
                view.clear()?;
                return Err(view.lost(error));
            }
        }
    }
    view.clear()?;
    match view.formatter.status() {
        Some(ExecutionStatus::Completed) => Ok(Exit::Done),
        Some(_) => Ok(Exit::NotCompleted),
        None => {
            let id = &view.id;
            Err(Failure::new(Exit::Failure, format!("the stream ended before the execution {id}"))
                .next(format!("`tenure execution get {id}` shows how it stands")))
        }
    }
}

struct WatchView {
    output: Output,
    /// As it was asked for, until the first event says the whole id.
    id: String,
    formatter: Formatter,
    margin: Margin,
    /// On a terminal alone.
    live: Option<Live>,
    /// It has not begun.
    queued: bool,
    /// What it was last said to wait for.
    waits_for: Option<String>,
}

/// What has been seen as it was said, so that it is not said again.
struct Live {
    spinner: ProgressBar,
    /// Of the open turn.
    streamed: Option<String>,
    /// Calls that run, and whether any of them has printed.
    running: u32,
    printed: bool,
}

impl Live {
    fn new() -> Live {
        let style = ProgressStyle::with_template("{spinner:.cyan} {wide_msg:.dim} {elapsed:.dim}");
        let spinner = ProgressBar::new_spinner();
        spinner.set_style(style.expect("invariant: the template is valid"));
        Live { spinner, streamed: None, running: 0, printed: false }
    }

    /// What is still to be said of a turn's text.
    fn rest_of(&mut self, text: &str) -> String {
        let streamed = self.streamed.take().unwrap_or_default();
        if streamed.trim() == text.trim() {
            return String::new();
        }
        match text.strip_prefix(streamed.as_str()) {
            Some(rest) => rest.to_string(),
            // Pieces were missed: what was seen of it is followed by the whole.
            None => format!("…\n{text}"),
        }
    }
}

impl WatchView {
    fn new(output: Output, id: &str) -> WatchView {
        let alive = output.terminal && output.format == Format::Table;
        let width = alive.then(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok()).flatten();
        let width = width.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        WatchView {
            output,
            id: id.to_string(),
            formatter: Formatter::default(),
            margin: Margin::new(width),
            live: alive.then(Live::new),
            queued: false,
            waits_for: None,
        }
    }

    fn show(&mut self, item: &StreamItem) -> Result<(), Failure> {
        match item {
            StreamItem::Event(event) => self.event(event),
            StreamItem::Piece(piece) => self.piece(piece),
            StreamItem::Broken => {
                let text = format!("the daemon is lost; it is looked for again, and {} goes on with it", self.id);
                self.note(&text)
            }
            StreamItem::Rejoined => self.note("the connection broke and was joined again; no event is missing"),
        }
    }

    fn event(&mut self, event: &ExecutionEvent) -> Result<(), Failure> {
        self.id = event.execution.to_string();
        self.queued = matches!(event.what, What::ExecutionStarted { .. });
        let lines = self.formatter.lines(event);
        if self.output.format != Format::Table {
            return self.output.show_next(event, String::new);
        }
        self.follow(&event.what);
        for line in lines {
            match line {
                Line::Ours(line) => {
                    self.clear()?;
                    let wrapped = self.margin.ours(&line);
                    screen::write(&[(Ink::Plain, &wrapped)])?;
                }
                Line::Said(voice, text) => {
                    if let Some(text) = self.unsaid(voice, &text) {
                        self.say(voice, &text)?;
                    }
                }
            }
        }
        self.wait_for(&event.what)
    }

    /// Keeps what must be known to tell what of an event was seen already.
    fn follow(&mut self, what: &What) {
        let Some(live) = &mut self.live else { return };
        match what {
            What::ModelCalled { .. } => live.streamed = Some(String::new()),
            What::ModelFailed { .. } | What::ModelLost { .. } => live.streamed = None,
            What::CallCalled { .. } => {
                (live.running, live.printed) = (live.running + 1, live.printed && live.running > 0);
            }
            What::CallEnded { .. } => live.running = live.running.saturating_sub(1),
            What::IterationStarted { .. } | What::IterationUnbound { .. } | What::JailLost { .. } => live.running = 0,
            _ => {}
        }
    }

    /// What of an event's own text has not been seen as it was said.
    fn unsaid(&mut self, voice: Voice, text: &str) -> Option<String> {
        let Some(live) = &mut self.live else { return Some(text.to_string()) };
        match voice {
            Voice::Model => Some(live.rest_of(text)).filter(|rest| !rest.is_empty()),
            Voice::Output | Voice::Errors => Some(text.to_string()).filter(|_| !live.printed),
            Voice::Check => Some(text.to_string()),
        }
    }

    /// On a terminal what is said streams; elsewhere the events bring it, whole and in its place.
    fn piece(&mut self, piece: &Piece) -> Result<(), Failure> {
        let Some(live) = &mut self.live else { return Ok(()) };
        match piece {
            // A piece that comes after its turn was said with the turn.
            Piece::Text { text, so_far } => {
                let Some(streamed) = &mut live.streamed else { return Ok(()) };
                if *so_far && !streamed.is_empty() {
                    return Ok(());
                }
                if streamed.len() + text.len() <= STREAMED_BYTES_MAX {
                    streamed.push_str(text);
                }
                self.say(Voice::Model, text)
            }
            Piece::Output { .. } if live.running == 0 => Ok(()),
            Piece::Output { stderr, text, .. } => {
                live.printed = true;
                self.say(if *stderr { Voice::Errors } else { Voice::Output }, text)
            }
            // What is missing of a model's text comes with its turn.
            Piece::Gap {} if live.running > 0 => self.say(Voice::Output, "…\n"),
            Piece::Gap {} => Ok(()),
        }
    }

    fn say(&mut self, voice: Voice, text: &str) -> Result<(), Failure> {
        self.still();
        let mut rows = self.margin.say(voice, text);
        if self.live.is_none() {
            rows.push_str(self.margin.close());
        }
        if rows.is_empty() { Ok(()) } else { screen::write(&[(Ink::Dim, &rows)]) }
    }

    fn note(&mut self, text: &str) -> Result<(), Failure> {
        self.clear()?;
        if self.output.format == Format::Table {
            screen::tell(&[(Ink::Dim, text), (Ink::Plain, "\n")]);
        }
        Ok(())
    }

    async fn say_what_it_waits_for(&mut self, client: &Client) -> Result<(), Failure> {
        // Whether the daemon still answers is told by the stream.
        let Ok(file) = client.execution(&self.id).await else { return Ok(()) };
        let thing = file.execution.waiting_for.filter(|thing| self.waits_for.as_ref() != Some(thing));
        let Some(thing) = thing else { return Ok(()) };
        let message = format!("waiting for {thing}");
        self.waits_for = Some(thing);
        match &self.live {
            Some(live) => live.spinner.set_message(one_line(&message)),
            None => self.note(&message)?,
        }
        Ok(())
    }

    fn wait_for(&mut self, what: &What) -> Result<(), Failure> {
        let message = match what {
            What::ExecutionStarted { .. } => "waiting for its turn".to_string(),
            What::ModelCalled { model, .. } => format!("{model} thinks"),
            What::CallCalled { capability, target, .. } => call_summary(capability, target),
            What::ModelAnswered { calls, .. } if calls.is_empty() => "checking".to_string(),
            What::IterationClosing { .. } => "ending the sandbox".to_string(),
            _ => return Ok(()),
        };
        if self.live.is_none() {
            return Ok(());
        }
        // It is drawn over the row that the cursor is in.
        self.clear()?;
        if let Some(live) = &self.live {
            live.spinner.reset();
            live.spinner.set_message(one_line(&message));
            live.spinner.enable_steady_tick(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Leaves the cursor at the start of an empty row.
    fn clear(&mut self) -> Result<(), Failure> {
        self.still();
        match self.margin.close() {
            "" => Ok(()),
            end => screen::write(&[(Ink::Plain, end)]),
        }
    }

    fn still(&self) {
        if let Some(live) = &self.live {
            live.spinner.disable_steady_tick();
            live.spinner.finish_and_clear();
        }
    }

    fn say_how_to_go_on(&self) {
        let id = &self.id;
        let text = format!(
            "The execution goes on: {id}\n  look on again: tenure execution logs {id} --follow\n  end it: tenure execution \
             cancel {id}\n"
        );
        screen::tell(&[(Ink::Plain, &text)]);
    }

    /// The watcher lost the daemon, not the daemon the execution.
    fn lost(&self, error: client::Error) -> Failure {
        let id = &self.id;
        let again =
            format!("the execution {id} goes on with the daemon: `tenure execution logs {id} --follow` joins it again");
        match error {
            error @ (client::Error::Problem(_)
            | client::Error::Foreign(..)
            | client::Error::InClear(_)
            | client::Error::OtherCertificate { .. }
            | client::Error::Untrusted { .. }
            | client::Error::NoTls(_)) => error.into(),
            error @ client::Error::Unreachable { .. } => {
                Failure::from(error).next(format!("start it with `tenure up`; {again}"))
            }
            error @ (client::Error::TimedOut(_) | client::Error::Broken(_)) => Failure::from(error).next(again),
        }
    }
}
