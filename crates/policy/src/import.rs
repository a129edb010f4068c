//! The settings of other tools, as rules of ours: what can be said is said, and every line that cannot is listed with its reason.
//! The rules stand in a layer that only tightens: what another tool allows is what is not asked about. Must never leave a line
//! out in silence, and never say less than a line that forbids.
mod claude;
mod codex;
mod sheet;
mod starlark;

use crate::bundle::BUNDLE_BYTES_MAX;
use crate::layer::Layer;
use crate::policy::Policy;
use serde::Serialize;
use std::str::FromStr;

/// A tool whose settings are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    ClaudeCode,
    Codex,
}

impl FromStr for Foreign {
    type Err = String;

    fn from_str(text: &str) -> Result<Foreign, String> {
        match text {
            "claude-code" => Ok(Foreign::ClaudeCode),
            "codex" => Ok(Foreign::Codex),
            _ => Err("settings are those of `claude-code` or `codex`".to_string()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// A document for the layer of a project or an agent.
    pub text: String,
    pub rules: u64,
    /// In the order of the file.
    pub left_out: Vec<LeftOut>,
    /// What such rules cannot hold; the text begins with it.
    pub notes: Vec<String>,
}

/// A line that no rule says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LeftOut {
    /// From 1; 0 where it is not known.
    pub line: u32,
    pub what: String,
    pub why: String,
}

/// # Errors
/// Why it cannot be read as such a file.
pub fn import(from: Foreign, text: &str) -> Result<Imported, String> {
    if text.len() > BUNDLE_BYTES_MAX {
        return Err(format!("{} bytes, at most {BUNDLE_BYTES_MAX} are taken", text.len()));
    }
    let sheet = match from {
        Foreign::ClaudeCode => claude::read(text)?,
        Foreign::Codex => codex::read(text)?,
    };
    let imported = sheet.finish();
    let bundle = crate::default_bundle().with(Layer::Project, "imported.cedar", &imported.text);
    match Policy::compile(&bundle) {
        Ok(_) => Ok(imported),
        Err(faults) => {
            let why = faults.first().map(ToString::to_string).unwrap_or_default();
            Err(format!("what it says could not be written as rules that load ({why}): report it"))
        }
    }
}
