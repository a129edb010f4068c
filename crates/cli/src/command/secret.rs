//! `tenure secret …`: a value goes in by standard input, a file or an unseen prompt, and none comes out.
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use tenure_core::secret::{VALUE_BYTES_MAX, VALUE_BYTES_MIN};
use tenure_wire::api::secret::{BindSecret, KeptSecret as Shown, NewSecret, RotateSecret, SecretValue as Value};

use super::{confirm, each};
use crate::args::{Secret, SecretValue};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, status_ink, table, when};

pub async fn run(verb: Secret, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let now = match verb {
        Secret::Set(SecretValue { name, from_file }) => {
            let value = value(from_file.as_deref(), &name)?;
            client.set_secret(&NewSecret { name, value }).await?
        }
        Secret::Rotate(SecretValue { name, from_file }) => {
            // Before anybody types a value for nothing.
            client.secret(&name).await?;
            let value = value(from_file.as_deref(), &name)?;
            client.rotate_secret(&name, &RotateSecret { value }).await?
        }
        Secret::List { all, limit, listing } => {
            let secrets = client.secrets(all, limit as usize).await?;
            output.list(
                &listing,
                &secrets,
                "No secret; `tenure secret set NAME` keeps one",
                |secret| secret.id.to_string(),
                || table_of(&secrets, output),
            )?;
            return Ok(Exit::Done);
        }
        Secret::Show { secret } => client.secret(&secret).await?,
        Secret::Revoke { secrets } => {
            let revoke = async |secret: &str| {
                confirm(&format!("Revoke the secret `{secret}`? Its value is erased for good."), settings)?;
                Ok(client.revoke_secret(secret).await?)
            };
            let text = |revoked: &Shown| format!("Revoked secret \"{}\" (id: {})", revoked.name, revoked.id);
            return each(&secrets, output, revoke, text).await;
        }
        Secret::Bind { secret, agent, capability, host } => {
            client.bind_secret(&secret, &BindSecret { agent, capability, host }).await?
        }
        Secret::Unbind { secret, agent, host } => client.unbind_secret(&secret, &agent, host.as_deref()).await?,
    };
    output.show(&now, || told(&now, output))?;
    Ok(Exit::Done)
}

fn told(secret: &Shown, output: Output) -> String {
    let uses = secret.bindings.iter().map(|binding| {
        let forged = if binding.forged { " (forged: it lets nobody use anything)" } else { "" };
        format!("{} by {} with {}{forged}", binding.agent_name, binding.capability, binding.host)
    });
    let uses: Vec<String> = uses.collect();
    let uses = if uses.is_empty() { "nobody; `tenure secret bind` lets an agent".to_string() } else { uses.join("\n") };
    table::lines(
        output.width(),
        [
            ("id", Some(secret.id.to_string())),
            ("name", Some(secret.name.clone())),
            ("status", Some(secret.status.as_str().to_string())),
            ("version", Some(secret.version.to_string())),
            ("set", Some(when(secret.set_at, output))),
            ("changed", Some(when(secret.changed_at, output))),
            ("used by", Some(uses)),
        ],
    )
}

fn table_of(secrets: &[Shown], output: Output) -> Table {
    let columns = [
        Column::key("ID"),
        Column::key("NAME"),
        Column::worth("VERSION", 1),
        Column::key("STATUS"),
        Column::worth("BINDINGS", 1),
        Column::worth("CHANGED", 2),
    ];
    let rows = secrets.iter().map(|secret| {
        let status = secret.status.as_str();
        [
            Cell::from(if output.verbose { secret.id.to_string() } else { secret.id.short() }),
            Cell::from(secret.name.clone()),
            Cell::from(secret.version.to_string()),
            Cell::inked(status, status_ink(status)),
            Cell::from(secret.bindings.len().to_string()),
            Cell::from(when(secret.changed_at, output)),
        ]
    });
    Table::new(columns, rows)
}

/// Reads it, without the line break at its end.
fn value(from_file: Option<&Path>, name: &str) -> Result<Value, Failure> {
    let stdin = std::io::stdin();
    let text = match from_file {
        Some(path) => {
            let unread = |why: String| Failure::new(Exit::Usage, format!("{} cannot be read: {why}", path.display()));
            read(File::open(path).map_err(|error| unread(error.to_string()))?).map_err(unread)?
        }
        None if stdin.is_terminal() => asked(name)?,
        None => {
            read(stdin.lock()).map_err(|why| Failure::new(Exit::Usage, format!("the value cannot be read: {why}")))?
        }
    };
    let text = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).unwrap_or(&text).to_string();
    let length = text.len();
    if !(VALUE_BYTES_MIN..=VALUE_BYTES_MAX).contains(&length) {
        return Err(Failure::new(
            Exit::Usage,
            format!("the value has {length} bytes; it has {VALUE_BYTES_MIN} to {VALUE_BYTES_MAX}"),
        )
        .why("a shorter one could not be told from what is no secret, and so not be taken out of what agents say")
        .next("pipe it in, name --from-file, or type it at a terminal"));
    }
    Ok(Value::new(text))
}

fn read(from: impl Read) -> Result<String, String> {
    let mut text = String::new();
    from.take(VALUE_BYTES_MAX as u64 + 3).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

/// Asks at the terminal, which shows nothing of what is typed.
fn asked(name: &str) -> Result<String, Failure> {
    let failed = |why: String| {
        Failure::new(Exit::Failure, format!("the terminal cannot be used: {why}")).next("pipe the value in")
    };
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).map_err(|error| failed(error.to_string()))?;
    let mut unseen = before.clone();
    unseen.local_modes.remove(LocalModes::ECHO);
    unseen.local_modes.insert(LocalModes::ECHONL);
    let mut terminal = std::io::stderr();
    let asked = write!(terminal, "Value of {name} (not shown): ").and_then(|()| terminal.flush());
    asked.map_err(|error| failed(error.to_string()))?;
    tcsetattr(&stdin, OptionalActions::Flush, &unseen).map_err(|error| failed(error.to_string()))?;
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    // It is put back whatever came.
    let put_back = tcsetattr(&stdin, OptionalActions::Now, &before);
    read.and(Ok(())).map_err(|error| failed(error.to_string()))?;
    put_back.map_err(|error| failed(error.to_string()))?;
    Ok(line)
}
