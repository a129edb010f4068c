//! `tenure retention …`: what is kept of ended executions. Every change is recorded as the supervisor's.
use tenure_core::manifest::{Bytes, Duration};
use tenure_wire::api::retention::{Retention as Shown, SetRetention};
use tenure_wire::client::Client;

use super::confirm;
use crate::args::{Retention, RetentionWanted};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, size, table};

pub async fn run(verb: Retention, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = &settings.client()?;
    let now = match verb {
        Retention::Show => client.retention().await?,
        Retention::Set(wanted) => set(client, &wanted, settings).await?,
        Retention::Remove => client.set_retention(&SetRetention { age_ms: None, bytes: None }).await?,
    };
    output.show(&now, || told(&now, output))?;
    Ok(Exit::Done)
}

async fn set(
    client: &Client,
    RetentionWanted { age, size }: &RetentionWanted,
    settings: &Settings,
) -> Result<Shown, Failure> {
    if age.is_some_and(|age| age.0.is_some()) || size.is_some_and(|size| size.0.is_some()) {
        let question = "Erase what ended executions of all agents were told and said, as soon as it is beyond this rule? What is beyond \
                        it now goes at once, and nothing of it comes back.";
        confirm(question, settings)?;
    }
    let known = client.retention().await?;
    let set =
        SetRetention { age_ms: age.map_or(known.age_ms, |age| age.0), bytes: size.map_or(known.bytes, |size| size.0) };
    Ok(client.set_retention(&set).await?)
}

fn told(now: &Shown, output: Output) -> String {
    let any = || "any".to_string();
    table::lines(
        output.width(),
        [
            ("age", Some(now.age_ms.map_or_else(any, |age| Duration::from_millis(age).to_string()))),
            ("size", Some(now.bytes.map_or_else(any, |bytes| Bytes::new(bytes).to_string()))),
            ("kept now", Some(size(now.kept_bytes))),
            ("next look", now.due_at.map(|at| at.to_string())),
        ],
    )
}
