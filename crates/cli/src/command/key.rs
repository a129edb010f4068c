//! `tenure key …`.
use tenure_wire::api::key::NewKey;

use super::confirm;
use crate::args::{Format, Key};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, ago, print, table};

pub async fn run(verb: Key, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    match verb {
        Key::Create { name, role } => {
            let created = client.create_key(&NewKey { name, role }).await?;
            output.show(&created, || {
                table::lines([
                    ("id", Some(created.key.id.to_string())),
                    ("name", Some(created.key.name.clone())),
                    ("role", Some(created.key.role.to_string())),
                    ("key", Some(created.secret.clone())),
                ])
            });
            if output.format == Format::Table {
                print("It is shown this once: keep it where only its user can read it.");
            }
        }
        Key::List => {
            let keys = client.keys().await?;
            output.show(&keys, || {
                let rows = keys.iter().map(|key| {
                    let status = if key.revoked_at.is_some() { "revoked" } else { "live" };
                    [key.id.short(), key.name.clone(), key.role.to_string(), status.to_string(), ago(key.created_at)]
                });
                table::table(["ID", "NAME", "ROLE", "STATUS", "CREATED"], rows)
            });
        }
        Key::Revoke { key } => {
            confirm(&format!("Revoke the key `{key}`? Whoever holds it is shut out at once."), settings)?;
            let revoked = client.revoke_key(&key).await?;
            output.show(&revoked, || format!("Revoked key \"{}\" (id: {})", revoked.name, revoked.id));
        }
    }
    Ok(Exit::Done)
}
