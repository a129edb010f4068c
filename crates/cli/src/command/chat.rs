//! `tenure chat`: a person talks with an agent. Each message is an execution that goes on from the one before, shown as it
//! happens; the conversation lies with the daemon, so that it is left and taken up at will.
use std::io::BufRead;

use tenure_wire::api::conversation::{Conversation, ConversationFile, Say};
use tenure_wire::client::Client;
use tokio::sync::mpsc;

use super::interrupted;
use crate::args::{Chat, Format};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, watch_view, when};
use crate::screen::{self, Ink, one_line};

/// Exchanges that are shown again when a conversation is taken up.
const SHOWN_AGAIN: usize = 3;

pub async fn run(wanted: Chat, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    if wanted.list {
        let conversations = client.conversations(&wanted.agent, wanted.limit).await?.items;
        let id = |conversation: &Conversation| conversation.id.to_string();
        output.list(
            &wanted.listing,
            &conversations,
            &format!("No conversation; `tenure chat {}` begins one", wanted.agent),
            id,
            || table_of(&conversations, output),
        )?;
        return Ok(Exit::Done);
    }
    let mut conversation = taken_up(&client, &wanted).await?;
    if let Some(known) = &conversation {
        show_again(&client.conversation(known).await?, output);
    }
    let (mut typed, mut last) = (typed(), Exit::Done);
    loop {
        if output.terminal {
            screen::tell(&[(Ink::Next, "> ")]);
        }
        let message = tokio::select! {
            message = typed.recv() => message,
            () = interrupted()? => None,
        };
        let Some(message) = message else { break };
        if message.trim().is_empty() {
            continue;
        }
        let say = Say { message };
        let said = match &conversation {
            Some(known) => client.say(known, &say).await?,
            None => client.begin_conversation(&wanted.agent, &say).await?,
        };
        conversation = Some(said.conversation.to_string());
        last = watch_view::watch(&client, &said.execution.id.to_string(), output, interrupted()?).await?;
        if matches!(last, Exit::Program(_)) {
            break;
        }
    }
    if let (Some(known), Format::Table) = (&conversation, output.format) {
        let line = format!("\n`tenure chat {} --resume {known}` goes on with it\n", wanted.agent);
        screen::tell(&[(Ink::Dim, &line)]);
    }
    Ok(last)
}

/// The one that is named; without a word the one that was begun last; none begins another.
async fn taken_up(client: &Client, wanted: &Chat) -> Result<Option<String>, Failure> {
    match &wanted.resume {
        _ if wanted.new => Ok(None),
        Some(id) => {
            let file = client.conversation(id).await?;
            let agent = client.agent(&wanted.agent).await?.agent;
            if file.conversation.agent != agent.id {
                let (theirs, ours) = (&file.conversation.agent_name, &agent.name);
                let failure =
                    Failure::new(Exit::NotFound, format!("{id} is a conversation with {theirs}, not with {ours}"));
                return Err(failure.next(format!("`tenure chat {ours} --list` shows what there is")));
            }
            Ok(Some(file.conversation.id.to_string()))
        }
        None => {
            let newest = client.conversations(&wanted.agent, 1).await?.items;
            Ok(newest.first().map(|conversation| conversation.id.to_string()))
        }
    }
}

fn show_again(file: &ConversationFile, output: Output) {
    if !output.terminal {
        return;
    }
    let from = file.exchanges.len().saturating_sub(SHOWN_AGAIN);
    for exchange in &file.exchanges[from..] {
        let message = exchange.message.as_deref().unwrap_or("(erased)");
        let answer = exchange.answer.clone().unwrap_or_else(|| format!("({})", exchange.status.as_str()));
        let lines = format!("> {}\n{}\n", one_line(message), screen::indented(&answer, "  "));
        screen::tell(&[(Ink::Dim, &lines)]);
    }
}

/// Lines of standard input, by a thread of their own: nothing waits for it when the program ends.
fn typed() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

fn table_of(conversations: &[Conversation], output: Output) -> Table {
    let columns = [
        Column::key("ID"),
        Column::worth("TURNS", 1),
        Column::worth("LAST", 1),
        Column { wraps: true, ..Column::worth("SAID", 2) },
    ];
    let rows = conversations.iter().map(|conversation| {
        [
            Cell::from(if output.verbose { conversation.id.to_string() } else { conversation.id.short() }),
            Cell::from(conversation.turns.to_string()),
            Cell::from(when(conversation.last_at, output)),
            Cell::from(one_line(conversation.last_message.as_deref().unwrap_or("-"))),
        ]
    });
    Table::new(columns, rows)
}
