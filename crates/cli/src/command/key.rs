//! `tenure key …`.
use tenure_wire::api::key::{Key as Shown, NewKey};
use tenure_wire::client::Client;

use super::{confirm, each};
use crate::args::Key;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, status_ink, table, when};

pub async fn run(verb: Key, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    match verb {
        Key::Create { name, role } => {
            check_seen()?;
            let created = client.create_key(&NewKey { name, role }).await?;
            let shown = output.show(&created, || {
                let mut text = table::lines(
                    output.width(),
                    [
                        ("id", Some(created.key.id.to_string())),
                        ("name", Some(created.key.name.clone())),
                        ("role", Some(created.key.role.to_string())),
                        ("key", Some(created.secret.clone())),
                    ],
                );
                text.push_str("It is shown this once: keep it where only its user can read it.\n");
                text
            });
            if let Err(unwritten) = shown {
                return Err(take_back(&client, &created.key, &unwritten).await);
            }
        }
        Key::List(listing) => {
            let keys = client.keys().await?;
            output.list(
                &listing,
                &keys,
                "No key; `tenure key create --name NAME` makes one",
                |key| key.id.to_string(),
                || table_of(&keys, output),
            )?;
        }
        Key::Revoke { keys } => {
            let revoke = async |key: &str| {
                confirm(&format!("Revoke the key `{key}`? Whoever holds it is shut out at once."), settings)?;
                Ok(client.revoke_key(key).await?)
            };
            let text = |revoked: &Shown| format!("Revoked key \"{}\" (id: {})", revoked.name, revoked.id);
            return each(&keys, output, revoke, text).await;
        }
    }
    Ok(Exit::Done)
}

fn table_of(keys: &[Shown], output: Output) -> Table {
    let columns = [
        Column::key("ID"),
        Column::key("NAME"),
        Column::worth("ROLE", 1),
        Column::key("STATUS"),
        Column::worth("CREATED", 2),
    ];
    let rows = keys.iter().map(|key| {
        let status = if key.forged { "forged" } else { key.status.as_str() };
        [
            Cell::from(if output.verbose { key.id.to_string() } else { key.id.short() }),
            Cell::from(key.name.clone()),
            Cell::from(key.role.to_string()),
            Cell::inked(status, status_ink(status)),
            Cell::from(when(key.created_at, output)),
        ]
    });
    Table::new(columns, rows)
}

/// Where standard output was closed, the start of the program has put /dev/null in its place: nobody would see the key.
pub(super) fn check_seen() -> Result<(), Failure> {
    let (out, null) = (rustix::fs::fstat(std::io::stdout()), rustix::fs::stat("/dev/null"));
    match (out, null) {
        (Ok(out), Ok(null)) if out.st_rdev == null.st_rdev && out.st_mode == null.st_mode => {
            let failure = Failure::new(Exit::Usage, "the key would be shown to nobody, so none was made");
            Err(failure
                .why("standard output is closed or /dev/null")
                .next("run it at a terminal, or into a file of yours"))
        }
        (Ok(_) | Err(_), _) => Ok(()),
    }
}

/// A key whose text nobody saw must not live. Its failure is said even where the reader of the answer is gone.
async fn take_back(client: &Client, key: &Shown, unwritten: &Failure) -> Failure {
    let id = key.id.to_string();
    let failure = Failure::new(unwritten.exit, "the key's text could not be shown");
    match client.revoke_key(&id).await {
        Ok(_) => failure.why(format!("the key {id} was revoked again")).next("make another where it can be written"),
        Err(error) => failure.why(format!("and the key {id} lives: {error}")).next(format!("`tenure key revoke {id}`")),
    }
}
