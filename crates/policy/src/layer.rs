//! The layers of a policy, the widest first. Each is judged on its own; the strictest of them holds.
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use tenure_core::call::HolderKind;
use tenure_core::judge::Ask;

/// Of an agent's name, and of the word of whoever opens sessions.
const WORD_BYTES_MAX: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// Compiled in: no bundle has it.
    Floor,
    System,
    Project,
    /// The agent of this name.
    Agent(String),
    /// The sessions that this key, or person, opens.
    Session(String),
}

impl Layer {
    /// What no rule of the layer permits is blocked; a permit of the others says `at least this verdict`.
    pub fn denies_by_default(&self) -> bool {
        match self {
            Layer::Floor | Layer::System => true,
            Layer::Project | Layer::Agent(_) | Layer::Session(_) => false,
        }
    }

    /// Whether its rules speak of a call.
    pub fn covers(&self, ask: &Ask<'_>) -> bool {
        match self {
            Layer::Floor | Layer::System | Layer::Project => true,
            Layer::Agent(name) => *name == ask.context.agent_name,
            Layer::Session(opener) => opener_of(ask) == Some(opener),
        }
    }
}

/// Who opened the session that a call is of.
pub(crate) fn opener_of<'a>(ask: &Ask<'a>) -> Option<&'a str> {
    match ask.context.caller {
        HolderKind::Session => ask.context.opener.as_deref(),
        HolderKind::Execution => None,
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layer::Floor => f.write_str("floor"),
            Layer::System => f.write_str("system"),
            Layer::Project => f.write_str("project"),
            Layer::Agent(name) => write!(f, "agent:{name}"),
            Layer::Session(opener) => write!(f, "session:{opener}"),
        }
    }
}

impl FromStr for Layer {
    type Err = String;

    /// Every layer but the floor.
    fn from_str(text: &str) -> Result<Layer, String> {
        let word = |word: &str| {
            // It is the name of a folder, too.
            let is_safe = |letter: char| !letter.is_control() && letter != '/' && letter != '\\';
            let fits =
                !word.is_empty() && word.len() <= WORD_BYTES_MAX && word.chars().all(is_safe) && !word.starts_with('.');
            fits.then(|| word.to_string()).ok_or_else(|| {
                format!("a layer names 1 to {WORD_BYTES_MAX} bytes after its `:`, no `/` and no `.` at the beginning")
            })
        };
        match text.split_once(':') {
            None if text == "system" => Ok(Layer::System),
            None if text == "project" => Ok(Layer::Project),
            Some(("agent", name)) => word(name).map(Layer::Agent),
            Some(("session", opener)) => word(opener).map(Layer::Session),
            None | Some(_) => {
                Err("a layer is `system`, `project`, `agent:NAME` or `session:KEY`; the floor cannot be changed"
                    .to_string())
            }
        }
    }
}

impl Serialize for Layer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Layer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Layer, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
