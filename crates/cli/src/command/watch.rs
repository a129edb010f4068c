//! `tenure watch`: all that happens to agents, a line an event, as it happens. Must never: let what an agent named pass for
//! more than a line of ours.
use std::pin::pin;

use tenure_wire::api::event::Piece;
use tenure_wire::api::watch::WatchEvent;
use tenure_wire::client::StreamItem;

use super::interrupted;
use crate::args::{Format, Watch};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, status_ink};
use crate::screen::{self, Ink, one_line};

pub async fn run(wanted: Watch, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let mut events = client.watch_all(wanted.agent.as_deref(), wanted.capability.as_deref(), wanted.after);
    let mut interrupted = pin!(interrupted()?);
    loop {
        let item = tokio::select! {
            item = events.next() => item?,
            () = &mut interrupted => return Ok(Exit::Program(130)),
        };
        match item {
            Some(StreamItem::Event(event)) => show(&event, output)?,
            Some(StreamItem::Broken) => screen::tell(&[(Ink::Dim, "the daemon is lost; it is looked for again\n")]),
            Some(StreamItem::Rejoined) => {
                screen::tell(&[(Ink::Dim, "the connection broke and was joined again; no event is missing\n")]);
            }
            Some(StreamItem::Piece(piece)) => show_piece(&piece, output)?,
            None => return Ok(Exit::Done),
        }
    }
}

pub(super) fn show(event: &WatchEvent, output: Output) -> Result<(), Failure> {
    match output.format {
        Format::Json => screen::print(&screen::json_line(event)),
        Format::Yaml => screen::print(&format!("---\n{}", screen::yaml(event))),
        Format::Table => {
            let (time, kind, rest) = line(event);
            let ink = event.outcome.as_deref().map_or(Ink::Plain, word_ink);
            screen::write(&[(Ink::Dim, &time), (ink, &kind), (Ink::Plain, &rest)])
        }
    }
}

/// What a program of a session prints, each line of it one of ours.
fn show_piece(piece: &Piece, output: Output) -> Result<(), Failure> {
    if output.format == Format::Json {
        return screen::print(&screen::json_line(piece));
    }
    if output.format == Format::Yaml {
        return screen::print(&format!("---\n{}", screen::yaml(piece)));
    }
    match piece {
        Piece::Output { stderr, text, of } => {
            let kind = format!("{:<25}{:<22}", "", if *stderr { "stderr" } else { "stdout" });
            let of = of.as_ref().map(|of| format!("  {} {}  ", of.agent_name, of.session.short())).unwrap_or_default();
            for line in text.lines() {
                screen::write(&[
                    (Ink::Dim, &kind),
                    (Ink::Dim, &one_line(&of)),
                    (Ink::Plain, &one_line(line)),
                    (Ink::Plain, "\n"),
                ])?;
            }
            Ok(())
        }
        Piece::Gap {} => screen::write(&[(Ink::Dim, "more was printed than could be shown\n")]),
        Piece::Text { .. } => Ok(()),
    }
}

fn word_ink(outcome: &str) -> Ink {
    match outcome {
        "blocked" | "lost" | "killed" | "timed_out" | "critical" => Ink::Bad,
        "done" => Ink::Plain,
        other => status_ink(other),
    }
}

/// When, what, and of whom: `TIME call.ended  clerk exe_1234abcd  state.persistent.set total · done`.
fn line(event: &WatchEvent) -> (String, String, String) {
    let of = event.execution.map(|id| id.short()).or_else(|| event.session.map(|id| id.short()));
    let whom = [event.agent_name.clone(), of].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let target = &event.target;
    let target = [&target.path, &target.command, &target.host, &target.key].into_iter().flatten().next();
    let what =
        [event.capability.as_ref(), target].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ");
    let ended =
        [event.outcome.as_deref(), event.detail.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let told = [what, ended].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ");
    let rest = format!("  {}\n", one_line(&[whom, told].join("  ")).trim_end());
    (format!("{} ", event.at), format!("{:<22}", event.kind), rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_core::id::{Mint, SessionId};
    use tenure_core::time::Time;
    use tenure_wire::api::execution::Target;

    #[test]
    fn an_event_is_one_line_whatever_an_agent_names() {
        let event = WatchEvent {
            kind: "call.ended".into(),
            agent_name: Some("clerk".into()),
            session: Some(SessionId::mint(&mut Mint::new(Time::from_millis(1), 1))),
            capability: Some("state.persistent.set".into()),
            target: Target { key: Some("a\nb".into()), ..Target::default() },
            outcome: Some("failed".into()),
            detail: Some("QuotaExceeded".into()),
            ..WatchEvent::default()
        };
        let (time, kind, rest) = line(&event);
        assert_eq!((time.as_str(), kind.trim()), ("1970-01-01T00:00:00.000Z ", "call.ended"));
        assert!(rest.contains("clerk ses_") && rest.ends_with("failed: QuotaExceeded\n"), "{rest}");
        assert_eq!(rest.matches('\n').count(), 1, "{rest}");
    }
}
