//! `tenure key …`.
use tenure_wire::api::key::{Key as Shown, NewKey};
use tenure_wire::client::Client;

use super::{confirm, each};
use crate::args::Key;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, ago, table};

pub async fn run(verb: Key, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    match verb {
        Key::Create { name, role } => {
            let created = client.create_key(&NewKey { name, role }).await?;
            let shown = output.show(&created, || {
                let mut text = table::lines([
                    ("id", Some(created.key.id.to_string())),
                    ("name", Some(created.key.name.clone())),
                    ("role", Some(created.key.role.to_string())),
                    ("key", Some(created.secret.clone())),
                ]);
                text.push_str("It is shown this once: keep it where only its user can read it.\n");
                text
            });
            if let Err(unwritten) = shown {
                return Err(take_back(&client, &created.key, &unwritten).await);
            }
        }
        Key::List => {
            let keys = client.keys().await?;
            output.show(&keys, || {
                let rows = keys.iter().map(|key| {
                    let status = if key.forged { "forged" } else { key.status.as_str() };
                    [key.id.short(), key.name.clone(), key.role.to_string(), status.to_string(), ago(key.created_at)]
                });
                table::table(["ID", "NAME", "ROLE", "STATUS", "CREATED"], rows)
            })?;
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

/// A key whose text nobody saw must not live. Its failure is said even where the reader of the answer is gone.
async fn take_back(client: &Client, key: &Shown, unwritten: &Failure) -> Failure {
    let id = key.id.to_string();
    let failure = Failure::new(unwritten.exit, "the key's text could not be shown");
    match client.revoke_key(&id).await {
        Ok(_) => failure.why(format!("the key {id} was revoked again")).next("make another where it can be written"),
        Err(error) => failure.why(format!("and the key {id} lives: {error}")).next(format!("`tenure key revoke {id}`")),
    }
}
