//! Verdicts: may this call be made? Decided in the appending transaction, deterministic, no model involved.
//! A judge sees exact, bounded attributes, never a payload, and names the rules that made its verdict.
use crate::actor::Actor;
use crate::capability::{self, Attributes};
use crate::id::AgentId;
use serde::{Deserialize, Serialize};

/// In order of strictness: of several, the greatest holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Verdict {
    Autonomous,
    Notify,
    ApprovalRequired,
    Blocked,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What a judge is asked.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub actor: Actor,
    pub agent: AgentId,
    pub revision: u32,
    pub capability: &'a str,
    pub attributes: &'a Attributes,
    /// The `tools` list of the plan that runs.
    pub tools: &'a [String],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    pub verdict: Verdict,
    /// The rules that made it, as `layer:rule`.
    pub rules: Vec<String>,
}

impl Judgement {
    /// Different people who must allow the call, where its verdict asks for one.
    pub fn people(&self) -> u32 {
        1
    }
}

/// The table of verdicts in `sim` is the other implementation.
pub trait Judge: Send + Sync {
    fn judge(&self, ask: &Ask<'_>) -> Judgement;
}

/// The floor, which no file can loosen, and the manifest's `tools` list.
#[derive(Debug, Clone, Copy, Default)]
pub struct FloorAndTools;

impl Judge for FloorAndTools {
    fn judge(&self, ask: &Ask<'_>) -> Judgement {
        let blocked = |rule: &str| Judgement { verdict: Verdict::Blocked, rules: vec![rule.to_string()] };
        if capability::find(ask.capability).is_none() {
            return blocked("floor:unknown_capability");
        }
        if ask.actor == Actor::Validator {
            return Judgement { verdict: Verdict::Autonomous, rules: vec!["manifest:validation".to_string()] };
        }
        match ask.tools.iter().position(|pattern| capability::matches(pattern, ask.capability)) {
            Some(place) => Judgement {
                verdict: Verdict::Autonomous,
                rules: vec![format!("manifest:tools[{place}] {}", ask.tools[place])],
            },
            None => blocked("floor:default_deny"),
        }
    }
}
