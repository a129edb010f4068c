//! `tenure mcp`: an MCP client's stdin and stdout, bridged to the daemon's `/mcp`, and what the client's settings want for that. Each
//! line is one message; what it asks for is decided by the daemon.
//! Must never: write anything but the protocol to standard output, or hold more than a bounded line.
mod lines;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tenure_wire::client::Endpoint;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::args::{Mcp, McpClient, McpVerb};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::screen::{self, Ink};
use lines::Line;
use wire::Wire;

/// Requests that the daemon is asked at a time; it takes 32 of one agent.
const REQUESTS_MAX: usize = 24;

pub async fn run(wanted: Mcp, settings: &Settings) -> Result<Exit, Failure> {
    match wanted.verb {
        Some(McpVerb::Config { client, agent }) => config(client, agent.as_deref(), settings),
        None => bridge(settings).await,
    }
}

async fn bridge(settings: &Settings) -> Result<Exit, Failure> {
    let meant = settings.meant()?;
    if meant.key.is_none() {
        return Err(Failure::new(Exit::Usage, "an MCP client acts as an agent, and there is no agent's key")
            .next("set TENURE_API_KEY to the key that `tenure agent rotate NAME` prints"));
    }
    let client = meant.client();
    // A key that does not fit is said at once, and not in answer to each message.
    client.whoami().await?;
    let wire = Arc::new(Wire::new(client));
    let (mut lines, places) = (lines::of_stdin(), Arc::new(Semaphore::new(REQUESTS_MAX)));
    let mut asking: JoinSet<Result<(), Failure>> = JoinSet::new();
    let mut listening = JoinSet::new();
    let listener = Arc::clone(&wire);
    listening.spawn(async move { listener.listen().await });
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                None => break,
                Some(Line::TooLong) => say(&wire::refused(&Value::Null, lines::TOO_LONG))?,
                Some(Line::Whole(bytes)) => take(&wire, bytes, &places, &mut asking).await?,
            },
            Some(ended) = asking.join_next() => over(ended)?,
        }
    }
    while let Some(ended) = asking.join_next().await {
        over(ended)?;
    }
    listening.shutdown().await;
    wire.end().await;
    Ok(Exit::Done)
}

/// What opens the session and what waits for no answer goes in the order in which it came; the rest side by side.
async fn take(
    wire: &Arc<Wire>,
    bytes: Vec<u8>,
    places: &Arc<Semaphore>,
    asking: &mut JoinSet<Result<(), Failure>>,
) -> Result<(), Failure> {
    let Ok(message) = serde_json::from_slice::<Value>(&bytes) else {
        return say(&wire::unread());
    };
    if message["id"].is_null() || message["method"] == "initialize" {
        return match wire.ask(message).await {
            Some(answer) => say(&answer),
            None => Ok(()),
        };
    }
    let (wire, places) = (Arc::clone(wire), Arc::clone(places));
    let entry = wire.enter(&message["id"]);
    asking.spawn(async move {
        let _place = places.acquire_owned().await;
        match wire.unless_left(message, entry).await {
            Some(answer) => say(&answer),
            None => Ok(()),
        }
    });
    Ok(())
}

fn over(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    ended.unwrap_or_else(|error| Err(Failure::new(Exit::Failure, format!("a request broke off: {error}"))))
}

/// A notification as the daemon sent it. Where standard output is gone, the next answer says so.
fn pass_on(message: &[u8]) {
    if let Ok(message) = serde_json::from_slice(message) {
        let _ = say(&message);
    }
}

/// One message, one line.
fn say(message: &Value) -> Result<(), Failure> {
    screen::write(&[(Ink::Plain, &screen::json_line(message)), (Ink::Plain, "\n")])
}

fn config(client: McpClient, agent: Option<&str>, settings: &Settings) -> Result<Exit, Failure> {
    let meant = settings.meant()?;
    let name = agent.map_or_else(|| "tenure".to_string(), |agent| format!("tenure-{agent}"));
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("tenure")).display().to_string();
    let mut words = vec!["mcp".to_string(), "--base-url".to_string(), meant.endpoint.to_string()];
    if let Endpoint::Tls { pin: Some(pin), .. } = &meant.endpoint {
        words.extend(["--fingerprint".to_string(), pin.to_string()]);
    }
    let (place, key) = match client {
        McpClient::ClaudeCode => (".mcp.json of the project", "${TENURE_API_KEY}"),
        McpClient::Codex => ("~/.codex/config.toml", ""),
        McpClient::Generic => ("the client's settings", "the agent's key"),
    };
    match client {
        McpClient::ClaudeCode | McpClient::Generic => {
            let server = json!({"command": program, "args": words, "env": {"TENURE_API_KEY": key}});
            screen::print(&screen::json(&json!({"mcpServers": {name: server}})))?;
        }
        McpClient::Codex => {
            // A string of JSON is one of TOML.
            let (program, words) = (json!(program), json!(words));
            screen::print(&format!(
                "[mcp_servers.{name}]\ncommand = {program}\nargs = {words}\nenv_vars = [\"TENURE_API_KEY\"]\n"
            ))?;
        }
    }
    let whose = agent.unwrap_or("NAME");
    screen::tell(&[(
        Ink::Next,
        &format!("Put it into {place}; `tenure agent rotate {whose}` makes the key that TENURE_API_KEY is to hold\n"),
    )]);
    Ok(Exit::Done)
}
