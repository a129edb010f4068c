//! Shows a watched execution as it happens: lines, and on a terminal the model's text as it comes and what is being
//! waited for.
use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;
use tenure_wire::api::event::{ExecutionEvent, Piece, What};
use tenure_wire::api::execution::ExecutionStatus;
use tenure_wire::client::{Client, StreamItem};

use super::formatter::{Formatter, call_summary};
use super::table::printable;
use super::{Output, print};
use crate::args::Format;
use crate::failure::{Exit, Failure};

/// Shows the execution until it ends.
pub async fn watch(client: &Client, id: &str, output: Output) -> Result<Exit, Failure> {
    let mut view = WatchView::new(output);
    let mut events = client.watch(id, None);
    loop {
        match events.next().await {
            Ok(Some(item)) => view.show(&item),
            Ok(None) => break,
            Err(error) => {
                view.clear();
                return Err(error.into());
            }
        }
    }
    view.clear();
    Ok(match view.formatter.status() {
        Some(ExecutionStatus::Completed) => Exit::Done,
        Some(_) => Exit::NotCompleted,
        None => {
            return Err(Failure::new(Exit::Failure, "the stream ended before the execution")
                .next(format!("`tenure execution get {id}` shows how it stands")));
        }
    })
}

struct WatchView {
    output: Output,
    formatter: Formatter,
    spinner: Option<ProgressBar>,
    /// The current line ends with text of the model.
    open_line: bool,
}

impl WatchView {
    fn new(output: Output) -> WatchView {
        let alive = output.terminal && output.format == Format::Table;
        let spinner = alive.then(|| {
            let style = ProgressStyle::with_template("{spinner:.cyan} {wide_msg:.dim} {elapsed:.dim}");
            let spinner = ProgressBar::new_spinner();
            spinner.set_style(style.expect("invariant: the template is valid"));
            spinner
        });
        WatchView { output, formatter: Formatter::default(), spinner, open_line: false }
    }

    fn show(&mut self, item: &StreamItem) {
        match item {
            StreamItem::Event(event) => self.event(event),
            StreamItem::Piece(piece) => self.piece(piece),
            StreamItem::Rejoined => self.note("joined the daemon again; no event is missing"),
        }
    }

    fn event(&mut self, event: &ExecutionEvent) {
        let lines = self.formatter.lines(event);
        match self.output.format {
            Format::Json => print(&serde_json::to_string(event).expect("invariant: an event is JSON")),
            Format::Yaml => print(&format!("---\n{}", super::yaml(event))),
            Format::Table => {
                if !lines.is_empty() {
                    self.clear();
                    lines.iter().for_each(|line| print(line));
                }
            }
        }
        self.wait_for(&event.what);
    }

    /// Model text streams dim on a terminal; elsewhere it is in the logs.
    fn piece(&mut self, piece: &Piece) {
        if self.spinner.is_none() {
            return;
        }
        let text = match piece {
            Piece::Text { text, .. } | Piece::Output { text, .. } => printable(text),
            Piece::Gap {} => "…".to_string(),
        };
        if text.is_empty() {
            return;
        }
        if !self.open_line {
            self.clear();
        }
        let mut out = anstream::stdout().lock();
        let _ = write!(out, "{}", text.dimmed());
        let _ = out.flush();
        self.open_line = !text.ends_with('\n');
    }

    fn note(&mut self, text: &str) {
        self.clear();
        if self.output.format == Format::Table {
            anstream::eprintln!("{}", text.dimmed());
        }
    }

    fn wait_for(&mut self, what: &What) {
        let message = match what {
            What::ExecutionStarted { .. } => "waiting for a worker".to_string(),
            What::ModelCalled { model, .. } => format!("{model} thinks"),
            What::CallCalled { capability, target, .. } => call_summary(capability, target),
            What::ModelAnswered { calls, .. } if calls.is_empty() => "checking".to_string(),
            What::IterationClosing { .. } => "ending the sandbox".to_string(),
            What::ExecutionEnded { .. } => return,
            _ => return,
        };
        if let Some(spinner) = &self.spinner {
            spinner.reset();
            spinner.set_message(printable(&message));
            spinner.enable_steady_tick(Duration::from_millis(100));
        }
    }

    /// Leaves the cursor at the start of an empty line.
    fn clear(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.disable_steady_tick();
            spinner.finish_and_clear();
        }
        if std::mem::take(&mut self.open_line) {
            let _ = writeln!(anstream::stdout());
        }
    }
}
