//! `tenure comms …`: people write to agents, and see what agents write to each other.
use std::time::Duration;

use serde_json::Value;
use tenure_core::manifest;
use tenure_wire::api::execution::ExecutionFile;
use tenure_wire::api::message::{Message, MessageFile, SendMessage};
use tenure_wire::client::{self, Client};

use super::{confirm, each, interrupted};
use crate::args::{Comms, Dead, Letters, Listing, Send};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, status_ink, table, when};
use crate::screen::one_line;

/// How often a message is asked after while its answer is waited for.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// How often a message is sent at most whose answer did not come.
const SENDS_MAX: u32 = 3;

pub async fn run(verb: Comms, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    match verb {
        Comms::Send(letter) => return send(letter, settings, output).await,
        Comms::List { agent, state, limit, listing } => {
            let messages = settings.client()?.messages(&agent, state.as_deref(), limit as usize).await?;
            list(&messages, &listing, output, false)?;
        }
        Comms::Get { message, agent } => {
            let file = settings.client()?.message(&message, agent.as_deref()).await?;
            output.show(&file, || facts(&file, output))?;
        }
        Comms::Dead(Dead::List { limit, listing }) => {
            let messages = settings.client()?.dead_letters(limit as usize).await?;
            list(&messages, &listing, output, true)?;
        }
        Comms::Dead(Dead::Resend(letters)) => return resend(letters, settings, output).await,
        Comms::Dead(Dead::Drop(letters)) => return drop_letters(letters, settings, output).await,
        Comms::Channels { limit, listing } => {
            let channels = settings.client()?.channels(limit as usize).await?;
            let table = || {
                let rows = channels
                    .iter()
                    .map(|channel| [Cell::from(channel.name.clone()), Cell::from(channel.subscribers.to_string())]);
                Table::new([Column::key("CHANNEL"), Column::key("SUBSCRIBERS")], rows)
            };
            output.list(
                &listing,
                &channels,
                "No channel; an agent makes one where it takes from it: `comms.subscribe`",
                |channel| channel.name.clone(),
                table,
            )?;
        }
    }
    Ok(Exit::Done)
}

async fn send(letter: Send, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let message = if letter.json {
        serde_json::from_str(&letter.message).map_err(|error| {
            Failure::new(Exit::Usage, format!("the message is no JSON: {error}"))
                .next("leave --json out to send it as a text")
        })?
    } else {
        Value::String(letter.message)
    };
    if message.as_str().is_some_and(|text| text.trim().is_empty()) {
        return Err(Failure::new(Exit::Refused, "the message is empty")
            .why("whom it wakes would be told nothing")
            .next("write what the agent is told; is a variable not set?"));
    }
    let deadline_seconds = letter.deadline.as_deref().map(seconds).transpose()?;
    let body = SendMessage { message, priority: letter.priority, correlation: letter.correlation, deadline_seconds };
    let client = settings.client()?;
    let key = letter.idempotency_key.unwrap_or_else(fresh_key);
    let sent = send_once(&client, &letter.agent, &body, &key).await?;
    if !letter.wait {
        output.show(&sent, || told(&sent))?;
        return Ok(if sent.state == "dead" { Exit::Refused } else { Exit::Done });
    }
    if output.terminal {
        crate::screen::tell(&[(crate::screen::Ink::Dim, &told(&sent)), (crate::screen::Ink::Plain, "\n")]);
    }
    tokio::select! {
        answer = answer(&client, &sent) => {
            let (answer, exit) = answer?;
            output.show(&answer, || text_of(&answer))?;
            Ok(exit)
        }
        () = interrupted()? => Ok(Exit::Failure),
    }
}

/// A connection that broke says nothing of whether the message was taken: it is sent again under the same key.
async fn send_once(client: &Client, agent: &str, body: &SendMessage, key: &str) -> Result<Message, client::Error> {
    let mut left = SENDS_MAX;
    loop {
        left -= 1;
        match client.send_message(agent, body, Some(key)).await {
            Err(client::Error::Broken(_) | client::Error::TimedOut(_)) if left > 0 => {
                tokio::time::sleep(ASK_EVERY).await
            }
            sent => return sent,
        }
    }
}

/// Of this call of the program alone.
fn fresh_key() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("tenure-comms-{}-{}", std::process::id(), now.as_nanos())
}

fn seconds(text: &str) -> Result<u64, Failure> {
    let wrong = || Failure::new(Exit::Usage, format!("`{text}` is no time: write 30s, 10m or 2h"));
    let duration = manifest::Duration::parse(text).map_err(|_| wrong())?;
    if duration.as_millis() == 0 {
        return Err(Failure::new(Exit::Usage, format!("a deadline of {text} is over before the message is sent"))
            .next("write 30s, 10m or 2h, or leave --deadline out where an answer may take any time"));
    }
    Ok((duration.as_millis() / 1000).max(1))
}

fn told(sent: &Message) -> String {
    let to = sent.to_name.as_deref().unwrap_or(&sent.to);
    match &sent.cause {
        Some(cause) => format!("\"{}\" cannot take it ({cause}): {} is a dead letter", one_line(to), sent.id),
        None => format!("Sent {} to \"{}\"", sent.id, one_line(to)),
    }
}

/// What came of a message: its answer, or what the execution that took it ended with.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum MessageOutcome {
    Answer(Box<MessageFile>),
    Execution(Box<ExecutionFile>),
}

fn text_of(outcome: &MessageOutcome) -> String {
    match outcome {
        MessageOutcome::Answer(file) => file.reply.as_ref().map_or_else(|| told(&file.message), body),
        MessageOutcome::Execution(file) => file.output.clone().unwrap_or_else(|| {
            format!("{} ended without an answer: {}", file.execution.id, file.execution.status.as_str())
        }),
    }
}

/// Asks until there is one, or none can come any more.
async fn answer(client: &Client, sent: &Message) -> Result<(MessageOutcome, Exit), Failure> {
    let (id, agent) = (sent.id.to_string(), sent.to.clone());
    loop {
        let file = client.message(&id, Some(&agent)).await?;
        if file.reply.is_some() {
            return Ok((MessageOutcome::Answer(Box::new(file)), Exit::Done));
        }
        if matches!(file.message.state.as_str(), "dead" | "dropped") || file.message.expired {
            return Ok((MessageOutcome::Answer(Box::new(file)), Exit::Failure));
        }
        if let Some(execution) = file.message.execution {
            let taken = client.execution(&execution.to_string()).await?;
            if taken.execution.status.ended() {
                // It may have answered with its last breath.
                let file = client.message(&id, Some(&agent)).await?;
                if file.reply.is_some() {
                    return Ok((MessageOutcome::Answer(Box::new(file)), Exit::Done));
                }
                let well = taken.output.is_some();
                let exit = if well { Exit::Done } else { Exit::NotCompleted };
                return Ok((MessageOutcome::Execution(Box::new(taken)), exit));
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn list(messages: &[Message], listing: &Listing, output: Output, dead: bool) -> Result<(), Failure> {
    let none = match dead {
        true => "No dead letter: whatever was sent waits for its agent or was taken",
        false => "No message; `tenure comms send AGENT MESSAGE` writes one",
    };
    let table = || {
        let columns = [
            Column::key("ID"),
            Column::key("FROM"),
            if dead { Column::key("TO") } else { Column::detail("TO") },
            Column::key("STATE"),
            Column::worth("PRIORITY", 3),
            Column::worth("CHANNEL", 4),
            Column::text("MESSAGE"),
            Column::worth("SENT", 2),
        ];
        let rows = messages.iter().map(|message| {
            let state = match &message.cause {
                Some(cause) => format!("{} ({cause})", message.state),
                None => message.state.clone(),
            };
            let to = message.to_name.clone().unwrap_or_else(|| message.to.clone());
            [
                Cell::from(if output.verbose { message.id.to_string() } else { message.id.short() }),
                Cell::from(message.from_name.clone().unwrap_or_else(|| message.from.clone())),
                Cell::from(to),
                Cell::inked(state, status_ink(if message.state == "dead" { "failed" } else { &message.state })),
                Cell::from(message.priority.clone()),
                Cell::from(message.channel.clone().unwrap_or_else(|| "-".to_string())),
                Cell::from(clipped(&body(message))),
                Cell::from(when(message.sent_at, output)),
            ]
        });
        Table::new(columns, rows)
    };
    output.list(listing, messages, none, |message| message.id.to_string(), table)
}

/// As a person reads it: a text without quotes, JSON as it is.
fn body(message: &Message) -> String {
    match &message.message {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "(erased)".to_string(),
    }
}

fn clipped(text: &str) -> String {
    const LETTERS_MAX: usize = 60;
    let line = one_line(text);
    if line.chars().count() <= LETTERS_MAX {
        return line;
    }
    line.chars().take(LETTERS_MAX - 1).chain(std::iter::once('…')).collect()
}

fn facts(file: &MessageFile, output: Output) -> String {
    let lines = |message: &Message| {
        let cause = message.cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
        let expired = if message.expired { ", its deadline passed without an answer" } else { "" };
        table::lines(
            output.width(),
            [
                ("id", Some(message.id.to_string())),
                ("from", Some(message.from_name.clone().unwrap_or_else(|| message.from.clone()))),
                ("to", Some(message.to_name.clone().unwrap_or_else(|| message.to.clone()))),
                ("channel", message.channel.clone()),
                ("state", Some(format!("{}{cause}{expired}", message.state))),
                ("priority", Some(message.priority.clone())),
                ("correlation", Some(message.correlation.clone())),
                ("reply to", message.reply_to.map(|id| id.to_string())),
                ("deadline", message.deadline.map(|at| at.to_string())),
                ("hops", Some(message.hop.to_string())),
                ("execution", message.execution.map(|id| id.to_string())),
                ("sent", Some(when(message.sent_at, output))),
                ("message", Some(body(message))),
            ],
        )
    };
    let mut text = lines(&file.message);
    if let Some(reply) = &file.reply {
        text.push_str("\nANSWER\n");
        text.push_str(&lines(reply));
    }
    text
}

async fn resend(letters: Letters, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let resend = async |id: &str| Ok(client.resend(id, letters.agent.as_deref()).await?);
    let text = |message: &Message| {
        let to = message.to_name.as_deref().unwrap_or(&message.to);
        format!("Sent {} to \"{}\" again", message.id, one_line(to))
    };
    each(&letters.messages, output, resend, text).await
}

async fn drop_letters(letters: Letters, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let drop = async |id: &str| {
        confirm(&format!("Drop the dead letter `{id}` for good?"), settings)?;
        Ok(client.drop_message(id, letters.agent.as_deref()).await?)
    };
    each(&letters.messages, output, drop, |message: &Message| format!("Dropped {}", message.id)).await
}
