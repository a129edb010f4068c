//! `tenure audit rotate-key`: the ledger's key is changed in the data directory itself, while no daemon has it.
use jiff::Timestamp;
use serde_json::json;
use tenure_core::actor::Actor;
use tenure_core::time::Time;
use tenure_daemon::{Rotated, rotate_key, verify};

use super::unverifiable;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::Output;

pub(super) fn run(why: &str, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let actor = Actor::Owner { uid: rustix::process::geteuid().as_raw() };
    let now = Time::from_millis(Timestamp::now().as_millisecond());
    let rotated = rotate_key(&settings.data_dir, actor, now, why).map_err(|error| match error {
        verify::Error::Held { .. } => {
            Failure::new(Exit::Conflict, "the ledger's key changes only while no daemon runs")
                .why(error.to_string())
                .next("`tenure down`, this once more, then `tenure up`")
        }
        error => unverifiable(&error, settings, "given another key"),
    })?;
    let Rotated { old, new, index } = rotated;
    output.show(&json!({ "status": "rotated", "old": old, "new": new, "record": index }), || {
        format!(
            "The ledger has another key from record {index} on\n  old  {old}\n  new  {new}\n  ledger.pub holds it: give it to \
             those who check; who trusts the old one is led to it by the record"
        )
    })?;
    Ok(Exit::Done)
}
