//! `tenure manifest …`. Without a daemon a manifest is still checked, but nobody can say what its host enforces.
use std::path::Path;

use serde_json::json;
use tenure_core::manifest;
use tenure_wire::client;
use tenure_wire::problem::{Code, Fault};

use super::contents;
use crate::args::{Format, Manifest};
use crate::config::Settings;
use crate::failure::{Exit, Failure, fault_line};
use crate::render::Output;
use crate::screen::json;

pub async fn run(verb: Manifest, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    match verb {
        Manifest::Init(init) => super::init::run(init, output),
        Manifest::Validate { file } => validate(&file, settings, output).await,
        Manifest::Schema => {
            let schema = manifest::schema();
            let format = if output.format == Format::Yaml { Format::Yaml } else { Format::Json };
            Output { format, ..output }.show(schema, || json(schema))?;
            Ok(Exit::Done)
        }
    }
}

async fn validate(file: &Path, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let text = contents(file, manifest::TEXT_BYTES_MAX)?;
    let validated = match settings.client()?.validate_manifest(text.clone()).await {
        Ok(validated) => validated,
        Err(client::Error::Unreachable { .. }) => return alone(&text, output),
        Err(error) => return Err(error.into()),
    };
    output.show(&validated, || {
        let mut lines = format!("The manifest of \"{}\" is valid\n", validated.name);
        validated.notes.iter().for_each(|note| lines.push_str(&format!("note: {note}\n")));
        if !validated.unenforced.is_empty() {
            lines.push_str("A deploy would be refused, because this host does not enforce:\n");
            validated.unenforced.iter().for_each(|fault| lines.push_str(&format!("  {}\n", fault_line(fault))));
        }
        lines
    })?;
    Ok(Exit::Done)
}

fn alone(text: &[u8], output: Output) -> Result<Exit, Failure> {
    let parsed = manifest::Manifest::parse_bytes(text).map_err(|problems| {
        let faults: Vec<Fault> = problems.into_iter().map(Into::into).collect();
        let detail = format!("{} problems", faults.len());
        Failure::from(client::Error::Problem(Box::new(Code::ManifestInvalid.problem(detail).errors(faults))))
    })?;
    let value = json!({ "valid": true, "name": parsed.name(), "manifest": parsed });
    output.show(&value, || {
        let name = parsed.name();
        format!("The manifest of \"{name}\" is valid\nNo daemon answers, so what its host enforces was not checked.")
    })?;
    Ok(Exit::Done)
}
