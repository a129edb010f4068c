//! The rules for texts of a known format: names, versions, paths, hosts, commands, times of a schedule. Must never trim,
//! fold or repair what was written.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{Node, Value};
use super::values::{text, text_of, wrong_type};
use crate::cron::{self, Cron};
use crate::fault::{Code, Fault, excerpt};
use crate::network::entry::{Entry, Unusable};
use crate::network::host::Misspelt;
use crate::template;

/// The most words of a command.
pub(super) const COMMAND_WORDS_MAX: usize = 64;
/// The longest instruction and prompt template, in bytes.
pub const INSTRUCTION_BYTES_MAX: usize = 64 * 1024;

/// The longest name of an agent, a volume or a label's key, in characters.
pub const NAME_CHARS_MAX: usize = 63;

/// An agent's name: a letter or digit, then up to 62 of letters, digits, dots, hyphens and underscores. Two names that
/// differ in case only are the same agent's: compare [`AgentName::folded`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AgentName(#[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"))] String);

impl AgentName {
    pub fn parse(name: &str) -> Result<Self, Fault> {
        check_name(name)?;
        Ok(Self(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form under which a name is unique in its project.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_name(name: &str) -> Result<(), Fault> {
    let rule = "a name starts with a letter or digit and has letters, digits, dots, hyphens and underscores only";
    if name.len() > NAME_CHARS_MAX {
        let reason = format!("{} has {} characters; at most {NAME_CHARS_MAX} are allowed", excerpt(name), name.len());
        return Err(Fault::new(Code::TooLong, reason));
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(inner) {
        let fault = Fault::new(Code::BadFormat, format!("{} is not a name", excerpt(name)));
        let fixed: String = name.trim().chars().map(|c| if inner(c) { c } else { '-' }).collect();
        let fixed = fixed.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        return Err(if fixed.is_empty() { fault.hint(rule) } else { fault.hint(format!("{rule}, as in `{fixed}`")) });
    }
    Ok(())
}

pub(super) fn name(node: &Node) -> Result<String, Fault> {
    let name = text(node)?;
    check_name(&name)?;
    Ok(name)
}

/// A word for something that an agent does for others: `scheduleEvent`.
pub(super) fn provided(node: &Node) -> Result<String, Fault> {
    let hint = "a letter first, then letters, digits, dots, hyphens and underscores, as in `scheduleEvent`";
    let word = one_word(node, 128, "._-", |c| c.is_ascii_alphanumeric(), "a word for what an agent provides", hint)?;
    if word.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok(word);
    }
    let fault = Fault::new(Code::BadFormat, format!("{} is not a word for what an agent provides", excerpt(&word)));
    Err(fault.hint(hint))
}

pub(super) fn agent_name(node: &Node) -> Result<AgentName, Fault> {
    AgentName::parse(&text(node)?)
}

/// A model's alias or `provider/model`.
pub(super) fn model(node: &Node) -> Result<String, Fault> {
    let model = text(node)?;
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/' | '@');
    if model.len() > 128 || !model.starts_with(|c: char| c.is_ascii_alphanumeric()) || !model.chars().all(inner) {
        let fault = Fault::new(Code::BadFormat, format!("{} is not a model's name", excerpt(&model)));
        return Err(fault.hint("name an alias such as `default`, or `provider/model`"));
    }
    Ok(model)
}

pub(super) fn version(node: &Node) -> Result<semver::Version, Fault> {
    let given = text(node)?;
    semver::Version::parse(&given).map_err(|error| {
        let fault = Fault::new(Code::BadFormat, format!("{} is not a semantic version: {error}", excerpt(&given)));
        let padded = [format!("{given}.0"), format!("{given}.0.0"), given.trim_start_matches(['v', 'V']).to_owned()];
        match padded.iter().find(|padded| semver::Version::parse(padded).is_ok()) {
            Some(padded) => fault.hint(format!("did you mean \"{padded}\"?")),
            None => fault.hint("write it as in \"1.0.0\""),
        }
    })
}

pub(super) fn version_range(node: &Node) -> Result<semver::VersionReq, Fault> {
    let given = text(node)?;
    semver::VersionReq::parse(&given).map_err(|error| {
        Fault::new(Code::BadFormat, format!("{} is not a range of versions: {error}", excerpt(&given)))
            .hint("write it as in \"^1.2\" or \">=1.2, <2\"")
    })
}

/// The version of a language: one to three numbers, as in `3.11`.
pub(super) fn language_version(node: &Node) -> Result<String, Fault> {
    let given = text(node)?;
    let parts: Vec<&str> = given.split('.').collect();
    let number = |part: &&str| !part.is_empty() && part.len() <= 6 && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() > 3 || !parts.iter().all(number) {
        return Err(Fault::new(Code::BadFormat, format!("{} is not a version", excerpt(&given)))
            .hint("write it as in \"3.11\""));
    }
    Ok(given)
}

/// The name of a language, in lower case.
pub(super) fn language(node: &Node) -> Result<String, Fault> {
    let hint = "write it in lower case, as in `python`";
    one_word(node, 32, "+-#.", |c| c.is_ascii_lowercase() || c.is_ascii_digit(), "a language's name", hint)
}

/// An IANA time zone that this program knows.
pub(super) fn timezone(node: &Node) -> Result<String, Fault> {
    let given = text(node)?;
    cron::zone(&given)?;
    Ok(given)
}

/// Text of 1 to `max` characters, each of which is `usual` or one of `signs`.
fn one_word(
    node: &Node,
    max: usize,
    signs: &str,
    usual: impl Fn(char) -> bool,
    noun: &str,
    hint: &str,
) -> Result<String, Fault> {
    let given = text(node)?;
    if given.is_empty() || given.len() > max || !given.chars().all(|c| usual(c) || signs.contains(c)) {
        return Err(Fault::new(Code::BadFormat, format!("{} is not {noun}", excerpt(&given))).hint(hint));
    }
    Ok(given)
}

/// A word of cron's, or its five fields one space apart.
pub(super) fn cron(node: &Node) -> Result<String, Fault> {
    let given = text(node)?;
    Cron::parse(&given)?;
    Ok(given.split_whitespace().collect::<Vec<&str>>().join(" "))
}

pub(super) fn url(node: &Node) -> Result<String, Fault> {
    let url = text_of(2048)(node)?;
    if !url.starts_with("https://") && !url.starts_with("http://") || url.contains(char::is_whitespace) {
        return Err(Fault::new(Code::BadFormat, format!("{} is not a URL of http or https", excerpt(&url))));
    }
    Ok(url)
}

pub(super) fn prompt_template(node: &Node) -> Result<String, Fault> {
    let given = text_of(INSTRUCTION_BYTES_MAX)(node)?;
    template::check(&given)?;
    Ok(given)
}

/// An absolute path inside the agent's file system, without `.`, `..`, empty parts or a slash at its end.
pub(super) fn path(node: &Node) -> Result<String, Fault> {
    absolute(&text(node)?)
}

/// As [`path`]; a relative one is below `/workspace`.
pub(super) fn workspace_path(given: &str) -> Result<String, Fault> {
    let relative = given.strip_prefix("./").unwrap_or(given);
    let whole = if given.starts_with('/') { given.to_owned() } else { format!("/workspace/{relative}") };
    let path = absolute(&whole)?;
    if path.strip_prefix("/workspace/").is_none() {
        return Err(Fault::new(Code::OutOfRange, format!("{} is not a file in the work folder", excerpt(given)))
            .hint("name a file below /workspace"));
    }
    Ok(path)
}

fn absolute(given: &str) -> Result<String, Fault> {
    let bad = |why: &str| Fault::new(Code::BadFormat, format!("{} {why}", excerpt(given)));
    if given.len() > 1024 {
        return Err(Fault::new(Code::TooLong, "a path has at most 1024 bytes"));
    }
    let Some(inner) = given.strip_prefix('/') else {
        return Err(bad("is not an absolute path").hint("write it as in /workspace"));
    };
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if given.chars().any(char::is_control) {
        return Err(bad("has a control character"));
    }
    if !inner.is_empty() && inner.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(bad("has an empty part, `.` or `..`").hint("write the path out, as in /workspace/output"));
    }
    Ok(format!("/{inner}"))
}

/// A host that may be reached: a name, `*.name`, an address or a range of them, each with an optional port.
pub(super) fn host(node: &Node) -> Result<String, Fault> {
    let given = text(node)?;
    let bad = || Fault::new(Code::BadFormat, format!("{} is not a host", excerpt(&given)));
    if let Some((_, rest)) = given.split_once("://") {
        let host = rest.split('/').next().unwrap_or(rest);
        return Err(bad().hint(format!("write the host alone: `{host}`")));
    }
    match Entry::parse(&given) {
        Ok(_) => Ok(given),
        Err(Unusable::Host(Misspelt::Character)) => Err(bad()
            .hint("name a host as in api.github.com, *.github.com, 10.1.2.3 or 10.0.0.0/8, with a port if need be")),
        Err(why) => Err(bad().hint(why.to_string())),
    }
}

/// A program with its arguments. Never a line for a shell.
pub(super) fn command(node: &Node) -> Result<Vec<String>, Fault> {
    let Value::List(items) = &node.value else {
        let fault = wrong_type(node, "a list with the program and its arguments");
        return Err(match &node.value {
            Value::Text(line) => {
                let words: Vec<String> = line.split_whitespace().take(16).map(|word| format!("{word:?}")).collect();
                fault.hint(format!("no shell reads this; write [{}]", words.join(", ")))
            }
            Value::Null | Value::Bool { .. } | Value::Number { .. } | Value::List(_) | Value::Map(_) => fault,
        });
    };
    if items.is_empty() || items.len() > COMMAND_WORDS_MAX {
        return Err(Fault::new(Code::TooMany, format!("a command has from 1 to {COMMAND_WORDS_MAX} words")));
    }
    let mut words = vec![text_of(4096)(&items[0])?];
    for item in &items[1..] {
        let word = text(item)?;
        if word.len() > 16 * 1024 || word.contains('\0') {
            return Err(Fault::new(Code::TooLong, "an argument has at most 16384 bytes and no NUL"));
        }
        words.push(word);
    }
    Ok(words)
}
