//! `tenure key …`.
use tenure_wire::api::key::{Key as Shown, NewKey};

use super::{confirm, each};
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
                    let status = match (key.forged, key.revoked_at) {
                        (true, _) => "forged",
                        (false, Some(_)) => "revoked",
                        (false, None) => "live",
                    };
                    [key.id.short(), key.name.clone(), key.role.to_string(), status.to_string(), ago(key.created_at)]
                });
                table::table(["ID", "NAME", "ROLE", "STATUS", "CREATED"], rows)
            });
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
