//! `tenure agents`: the agents as they work. At a terminal a live view, elsewhere the table once. It reaches the daemon by the
//! typed client alone, so that any context will do. Must never: act on an agent that is not the one shown as chosen, or leave
//! the terminal in another state than it found it in.
mod feed;
mod input;
mod view;

#[cfg(test)]
mod tests;

use std::io::IsTerminal;

use serde::Serialize;
use tenure_wire::api::agent::{Act, Agent};
use tenure_wire::api::execution::{Execution, ExecutionStatus};
use tenure_wire::api::moment::Moment;
use tenure_wire::client::Client;

use super::NO_AGENT;
use super::execution::status_word;
use crate::args::{Format, Listing};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::margin::Voice;
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, cost, status_ink, tokens};
use feed::{Feed, Snapshot};
use input::Keys;
use view::Screen;

/// Agents that are shown.
const AGENTS_MAX: usize = 500;
/// Lines of a transcript that are kept.
const LINES_MAX: usize = 5000;

pub async fn run(listing: &Listing, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let first = feed::snapshot(&client).await?;
    let live = output.format == Format::Table && output.terminal && std::io::stdin().is_terminal() && !listing.quiet;
    if live {
        return watch(client, first).await;
    }
    let lines: Vec<Line> = first.into_lines();
    output.list(listing, &lines, NO_AGENT, |line| line.agent.id.to_string(), || table(&lines))?;
    Ok(Exit::Done)
}

/// An agent with the execution that it is at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Line {
    #[serde(flatten)]
    pub(super) agent: Agent,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) execution: Option<Execution>,
}

impl Line {
    /// What it is at.
    fn step(&self) -> String {
        let Some(execution) = &self.execution else { return "-".to_string() };
        let (number, most) = (execution.iteration, execution.max_iterations);
        let word = status_word(execution);
        if execution.status == ExecutionStatus::Running { format!("{word} {number}/{most}") } else { word }
    }

    /// How far its next run is off.
    fn next_run(&self, now: Moment) -> String {
        let Some(at) = self.agent.next_run_at else { return "-".to_string() };
        let seconds = at.0.millis().saturating_sub(now.0.millis()).max(0) / 1000;
        match seconds {
            0..60 => format!("{seconds}s"),
            60..3600 => format!("{}m", seconds / 60),
            3600..172_800 => format!("{}h", seconds / 3600),
            _ => format!("{}d", seconds / 86_400),
        }
    }

    /// Messages that wait for it.
    fn messages(&self) -> String {
        match self.agent.messages_waiting {
            0 => "-".to_string(),
            waiting => waiting.to_string(),
        }
    }

    fn tokens(&self) -> String {
        let spent =
            |execution: &Execution| tokens(execution.tokens_in + execution.tokens_out, execution.tokens_estimated);
        self.execution.as_ref().map_or_else(|| "-".to_string(), spent)
    }

    fn cost(&self) -> String {
        let paid = |execution: &Execution| cost(execution.cost_micro_usd, execution.unpriced_model_calls);
        self.execution.as_ref().map_or_else(|| "-".to_string(), paid)
    }
}

fn table(lines: &[Line]) -> Table {
    let columns = [
        Column::key("NAME"),
        Column::key("STATUS"),
        Column::text("STEP"),
        Column::worth("TOKENS", 1),
        Column::worth("COST", 2),
        Column::worth("NEXT RUN", 3),
        Column::worth("MESSAGES", 4),
    ];
    let rows = lines.iter().map(|line| {
        let word = line.agent.status.as_str();
        [
            Cell::from(line.agent.name.clone()),
            Cell::inked(word, status_ink(word)),
            Cell::from(line.step()),
            Cell::from(line.tokens()),
            Cell::from(line.cost()),
            Cell::from(line.agent.next_run_at.map_or_else(|| "-".to_string(), |at| at.to_string())),
            Cell::from(line.messages()),
        ]
    });
    Table::new(columns, rows)
}

/// Until a person leaves.
async fn watch(client: Client, first: Snapshot) -> Result<Exit, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failure, format!("the terminal cannot be used: {error}"));
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let _restored = Restored;
    let mut keys = Keys::read();
    let mut feed = Feed::start(client.clone());
    let mut screen = Screen::of(first);
    feed.choose(screen.chosen());
    let left = loop {
        if let Err(error) = terminal.draw(|frame| view::draw(frame, &mut screen)) {
            break Err(failed(error));
        }
        let before = screen.chosen();
        tokio::select! {
            key = keys.next() => match key {
                Some(key) => if let Some(wish) = screen.press(key) {
                    match wish {
                        Wish::Leave => break Ok(Exit::Done),
                        Wish::Do(action) => feed.act(action),
                    }
                },
                None => break Ok(Exit::Done),
            },
            news = feed.next() => screen.take(news),
        }
        // The transcript follows who is chosen, and what that one is at.
        if screen.chosen() != before {
            screen.begin_transcript();
            feed.choose(screen.chosen());
        }
    };
    feed.close().await;
    left
}

/// Gives the terminal back, however the view ends.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What a person wants of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    Leave,
    Do(Action),
}

/// What is to be done to an agent, by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Action {
    agent: String,
    name: String,
    what: Do,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Do {
    Pause,
    Supervise(Act),
    Run(String),
}

/// A line of a transcript: ours, or what was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spoken {
    Ours(String),
    Said(Voice, String),
}
