//! Verdicts: may this call be made? Decided in the appending transaction, deterministic, no model involved.
//! A judge sees exact, bounded attributes, never a payload, and names the rules that made its verdict.
use crate::actor::Actor;
use crate::bound::Hash;
use crate::call::HolderKind;
use crate::capability::{self, Attributes};
use crate::id::AgentId;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

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

/// A policy by its content, as the project's fold and the records of calls name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub Hash);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// In which circumstances a call is asked for: all that a judge sees beside its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Circumstances {
    pub agent_name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What holds the call.
    pub caller: HolderKind,
    /// Of a session's call: the key, or the person, that opened the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opener: Option<String>,
    /// Of an execution's call: what started the execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The confinement that the jail has reached, where one is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    pub at: Time,
    #[serde(default)]
    pub counters: Counters,
}

/// What was done and spent before this call. Each is 0 where no rule asks for it: see [`Judge::wants`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Calls of this capability by this agent, this one not counted.
    pub calls_minute: u64,
    pub calls_hour: u64,
    pub calls_day: u64,
    /// Millionths of a US dollar that the agent used up or holds for open model calls.
    pub spent_day_micro_usd: u64,
    pub spent_month_micro_usd: u64,
}

/// Which of [`Counters`] a judgement may depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    pub counters: bool,
    pub money: bool,
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
    pub context: &'a Circumstances,
    /// None where no policy was ever applied: the built-in one.
    pub policy: Option<Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    pub verdict: Verdict,
    /// The rules that made it, as `layer:rule`.
    pub rules: Vec<String>,
    /// The policy that it was judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Digest>,
    /// What the agent is told, where a rule says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of a call that wants an approval: the text of the rules that ask, so that it is known whether they ask still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Hash>,
    /// Of a call that wants an approval: how many people must give it, where it is more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<u32>,
}

impl Judgement {
    pub fn new(verdict: Verdict, rule: impl Into<String>) -> Judgement {
        Judgement { verdict, rules: vec![rule.into()], policy: None, reason: None, basis: None, approvers: None }
    }

    pub fn blocked(rule: impl Into<String>) -> Judgement {
        Judgement::new(Verdict::Blocked, rule)
    }

    /// Different people who must allow the call, where its verdict asks for one.
    pub fn people(&self) -> u32 {
        self.approvers.unwrap_or(1).max(1)
    }
}

/// The table of verdicts in `sim` is the other implementation.
pub trait Judge: Send + Sync {
    fn judge(&self, ask: &Ask<'_>) -> Judgement;

    /// What must be read before a call of this capability by this agent is judged. It may say too much, never too little.
    fn wants(&self, policy: Option<Digest>, agent: &str, capability: &str) -> Wants;
}

/// The floor, which no file can loosen, and the manifest's `tools` list.
#[derive(Debug, Clone, Copy, Default)]
pub struct FloorAndTools;

impl Judge for FloorAndTools {
    fn judge(&self, ask: &Ask<'_>) -> Judgement {
        if capability::terms(ask.capability).is_none() {
            return Judgement::blocked(UNKNOWN_CAPABILITY);
        }
        if ask.actor == Actor::Validator {
            return Judgement::new(Verdict::Autonomous, VALIDATION);
        }
        match tools_rule(ask) {
            Some(rule) => Judgement::new(Verdict::Autonomous, rule),
            None => Judgement::blocked(DEFAULT_DENY),
        }
    }

    fn wants(&self, _: Option<Digest>, _: &str, _: &str) -> Wants {
        Wants::default()
    }
}

/// The words of rules that no file holds.
pub const UNKNOWN_CAPABILITY: &str = "floor:unknown_capability";
pub const DEFAULT_DENY: &str = "floor:default_deny";
/// Checks of the manifest's own are allowed by the manifest itself.
pub const VALIDATION: &str = "manifest:validation";

/// The entry of the manifest's `tools` that lists the capability.
pub fn tools_rule(ask: &Ask<'_>) -> Option<String> {
    let place = ask.tools.iter().position(|pattern| capability::matches(pattern, ask.capability))?;
    Some(format!("manifest:tools[{place}] {}", ask.tools[place]))
}
