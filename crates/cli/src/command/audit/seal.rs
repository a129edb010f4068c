//! `tenure audit seal`: old records leave the database into a sealed file, in the data directory itself, while no daemon has it.
use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;
use tenure_core::actor::Actor;
use tenure_core::time::Time;
use tenure_daemon::{Sealed, seal, verify};

use super::super::confirm;
use super::super::moment;
use super::super::out_file::{OutFile, PRIVATE, refuse_taken, unwritten};
use super::unverifiable;
use crate::args::Seal;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, size};

pub(super) fn run(asked: &Seal, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let before = moment::past(&asked.before)?;
    let now = Time::from_millis(Timestamp::now().as_millisecond());
    if before.0 > now {
        return Err(Failure::new(Exit::Usage, format!("{before} is still to come"))
            .next("name a time that is past, as in --before 2026-02-23 or --before 90d"));
    }
    asked.out.as_deref().map_or(Ok(()), |out| refuse_taken(out, asked.force))?;
    confirm(&format!("Move the records of what had ended before {before} out of the database?"), settings)?;
    let actor = Actor::Owner { uid: rustix::process::geteuid().as_raw() };
    let sealed = seal(&settings.data_dir, before.0, (actor, now), &mut |_| Ok(())).map_err(|error| match error {
        verify::Error::Held { .. } => Failure::new(Exit::Conflict, "records are sealed only while no daemon runs")
            .why(error.to_string())
            .next("`tenure down`, this once more, then `tenure up`"),
        error => unverifiable(&error, settings, "sealed"),
    })?;
    let Some(sealed) = sealed else {
        output.show(&json!({ "status": "nothing_to_seal", "records": 0 }), || {
            format!("No execution or session that ended before {before} has records in the database: nothing is sealed")
        })?;
        return Ok(Exit::Done);
    };
    if let Some(out) = &asked.out {
        copy(&sealed.file, out, asked.force)?;
    }
    output.show(&shown(&sealed, asked.out.as_deref()), || told(&sealed, asked.out.as_deref()))?;
    Ok(Exit::Done)
}

/// The one that is read stays where it is.
fn copy(sealed: &Path, out: &Path, force: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        unwritten(out, &error).why(format!("the records are sealed in {}: copy it from there", sealed.display()))
    };
    let mut made = OutFile::begin(out, force, PRIVATE)?;
    let mut from = std::fs::File::open(sealed).map_err(failed)?;
    io::copy(&mut from, &mut made.file).map_err(failed)?;
    made.place()
}

fn shown(sealed: &Sealed, out: Option<&Path>) -> serde_json::Value {
    let Sealed { seal, file, file_bytes, index, database_bytes, kept_room } = sealed;
    json!({
        "status": "sealed",
        "records": seal.records,
        "first": seal.first,
        "through": seal.through,
        "file": file,
        "file_bytes": file_bytes,
        "sha256": seal.file,
        "out": out,
        "record": index,
        "database_bytes_before": database_bytes.0,
        "database_bytes": database_bytes.1,
        "room_not_given_back": kept_room.as_ref().map(ToString::to_string),
    })
}

fn told(sealed: &Sealed, out: Option<&Path>) -> String {
    let Sealed { seal, file, file_bytes, index, database_bytes, kept_room } = sealed;
    let mut text = format!(
        "Sealed {} records, from {} to {}, of what had ended before {}\n  file       {} ({})\n",
        seal.records,
        seal.first,
        seal.through,
        seal.before,
        file.display(),
        size(*file_bytes)
    );
    if let Some(out) = out {
        text.push_str(&format!("  copied to  {}\n", out.display()));
    }
    text.push_str(&format!("  record     {index} says so, with the file's SHA-256 {}\n", seal.file));
    text.push_str(&match kept_room {
        None => format!("  database   {}, before {}\n", size(database_bytes.1), size(database_bytes.0)),
        Some(why) => format!("  database   its free room stays in its file: {why}\n"),
    });
    text.push_str(
        "While the file lies there its records are read as before. Taken away, what asks for them says so; put back, they are read \
         again.\n  `tenure audit verify FILE` checks it anywhere",
    );
    text
}
