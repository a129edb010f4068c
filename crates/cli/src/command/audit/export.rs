//! `tenure audit export`: a file that strangers check. It is made from the data directory itself, beside a running daemon or without
//! one, for it is signed with the ledger's key. A file that is named is there whole or not at all.
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::json;
use tenure_core::id::{AgentId, ExecutionId};
use tenure_daemon::export::{self, Exported, Lookup, Wanted};
use tenure_daemon::{Selection, verify};

use super::super::moment;
use super::super::out_file::{OutFile, PRIVATE, unwritten};
use super::unverifiable;
use crate::args::Export;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::Output;
use crate::screen::{self, Ink};

pub(super) fn run(asked: &Export, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let wanted = wanted(asked, settings)?;
    let Some(file) = &asked.out else {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let exported = export::export(&settings.data_dir, &wanted, &mut out, &mut |_| Ok(()));
        let exported = exported.map_err(|error| failed(error, settings))?;
        screen::tell(&[(Ink::Plain, &format!("{}\n", told(&exported)))]);
        return Ok(Exit::Done);
    };
    let exported = to_file(file, asked.force, &wanted, settings)?;
    let value = json!({
        "status": "exported",
        "file": file,
        "records": exported.records,
        "payloads": exported.payloads,
        "erased": exported.erased,
        "head": exported.head,
        "checksum": exported.checksum,
    });
    output.show(&value, || {
        format!(
            "{}\n  {}\n  `tenure audit verify {}` checks it anywhere",
            told(&exported),
            file.display(),
            file.display()
        )
    })?;
    Ok(Exit::Done)
}

fn to_file(file: &Path, force: bool, wanted: &Wanted, settings: &Settings) -> Result<Exported, Failure> {
    let made = OutFile::begin(file, force, PRIVATE)?;
    let mut out = BufWriter::new(&made.file);
    let exported = export::export(&settings.data_dir, wanted, &mut out, &mut |_| Ok(()));
    let exported = exported.map_err(|error| failed(error, settings))?;
    out.flush().map_err(|error| unwritten(file, &error))?;
    drop(out);
    made.place().map(|()| exported)
}

/// What was typed, with ids for names.
fn wanted(asked: &Export, settings: &Settings) -> Result<Wanted, Failure> {
    let mut words = Vec::new();
    let agent = asked.agent.as_ref().map(|name| agent(name, settings)).transpose()?;
    let execution = asked.execution.as_ref().map(|name| execution(name, settings)).transpose()?;
    let since = asked.since.as_deref().map(moment::past).transpose()?.map(|moment| moment.0);
    let until = asked.until.as_deref().map(moment::past).transpose()?.map(|moment| moment.0);
    words.extend(agent.map(|id| format!("--agent {id}")));
    words.extend(execution.map(|id| format!("--execution {id}")));
    words.extend(since.map(|time| format!("--since {time}")));
    words.extend(until.map(|time| format!("--until {time}")));
    words.extend(asked.payloads.then(|| "--payloads".to_string()));
    let selection = Selection { agent, execution, since, until, ..Selection::default() };
    Ok(Wanted { selection, words, payloads: asked.payloads })
}

fn agent(name: &str, settings: &Settings) -> Result<AgentId, Failure> {
    let found = export::find_agent(&settings.data_dir, name).map_err(|error| failed(error, settings))?;
    one(found, "agent", name)
}

fn execution(name: &str, settings: &Settings) -> Result<ExecutionId, Failure> {
    let found = export::find_execution(&settings.data_dir, name).map_err(|error| failed(error, settings))?;
    one(found, "execution", name)
}

fn one<T>(found: Lookup<T>, kind: &str, name: &str) -> Result<T, Failure> {
    match found {
        Lookup::One(id) => Ok(id),
        Lookup::None => Err(Failure::new(Exit::NotFound, format!("no {kind} is called `{}`", screen::one_line(name)))
            .next(format!("`tenure {kind} list` shows all"))),
        Lookup::Many(ids) => {
            Err(Failure::new(Exit::Usage, format!("`{name}` could be {}", ids.join(", "))).next("write the whole id"))
        }
    }
}

fn failed(error: verify::Error, settings: &Settings) -> Failure {
    match error {
        verify::Error::Out { broken_pipe: true, .. } => Failure::unheard(),
        error => unverifiable(&error, settings, "exported"),
    }
}

fn told(exported: &Exported) -> String {
    let Exported { records, payloads, erased, head, .. } = exported;
    let mut text = format!("Exported {records} records under the head over {} records", head.head.size);
    if payloads + erased > 0 {
        text.push_str(&format!(", with {payloads} payloads and {erased} that are erased"));
    }
    text
}
