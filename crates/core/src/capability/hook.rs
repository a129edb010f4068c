//! What a running code agent's program is asked by its host: its run as a whole, and each hook (seed 003, `AgentLifecycleHooks`).
//! They are capabilities in the ledger alone: no catalogue lists them, and nobody but an instance asks them.
use super::{Effects, Place, Terms};

pub const PREFIX: &str = "hook.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumIter, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Hook {
    /// The program itself, from its start to its end.
    Run,
    Init,
    Start,
    Message,
    Health,
    Upgrade,
    Save,
    Restore,
    Error,
    Shutdown,
}

/// Longer than any machine stands: a program runs until it is told to end.
const RUN_MS: u64 = 10 * 365 * 24 * 3600 * 1000;

impl Hook {
    pub fn all() -> impl Iterator<Item = Hook> {
        <Hook as strum::IntoEnumIterator>::iter()
    }

    /// None of what is no hook's name.
    pub fn of(capability: &str) -> Option<Hook> {
        capability.strip_prefix(PREFIX)?.parse().ok()
    }

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub fn capability(self) -> &'static str {
        match self {
            Hook::Run => "hook.run",
            Hook::Init => "hook.init",
            Hook::Start => "hook.start",
            Hook::Message => "hook.message",
            Hook::Health => "hook.health",
            Hook::Upgrade => "hook.upgrade",
            Hook::Save => "hook.save",
            Hook::Restore => "hook.restore",
            Hook::Error => "hook.error",
            Hook::Shutdown => "hook.shutdown",
        }
    }

    /// A program is told of a message again under the same id, and that is for the instance to decide.
    pub fn terms(self) -> Terms {
        Terms { effects: Effects::Irreversible, idempotent: false, place: Place::Sandbox }
    }

    /// How long it may take, in milliseconds; `task_ms`: how long what the message asks for may take.
    pub fn timeout_ms(self, task_ms: u64) -> u64 {
        match self {
            Hook::Run => RUN_MS,
            Hook::Message => task_ms,
            Hook::Init | Hook::Start | Hook::Upgrade | Hook::Save | Hook::Restore | Hook::Shutdown => 30_000,
            Hook::Health | Hook::Error => 5_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_found_by_the_capability_that_it_is() {
        for hook in Hook::all() {
            assert_eq!(Hook::of(hook.capability()), Some(hook));
            assert_eq!(hook.capability(), format!("{PREFIX}{}", hook.as_str()));
        }
        assert_eq!(Hook::of("hook.deploy"), None, "the control: no other is one");
    }
}
