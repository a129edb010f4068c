//! Policies: the rules by which calls are judged, and what they say of calls.
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tenure_core::id::CallId;

use super::moment::Moment;
use crate::problem::Fault;

/// A file of rules in a layer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// `system`, `project`, `agent:NAME` or `session:KEY`.
    #[cfg_attr(feature = "openapi", schema(example = "system"))]
    pub layer: String,
    /// As in `network.cedar`.
    pub name: String,
    /// In Cedar.
    pub text: String,
}

/// One that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppliedPolicy {
    /// From 1; 0 is what is built in.
    pub number: u32,
    /// SHA-256 of its documents as canonical JSON, in hex.
    pub digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// It is that one again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub applied_at: Option<Moment>,
}

/// A policy with its documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyFile {
    #[serde(flatten)]
    pub applied: AppliedPolicy,
    /// Rules in all layers, the floor's included; absent where this release cannot load the documents.
    pub rules: Option<u64>,
    pub documents: Vec<PolicyDocument>,
    /// The floor, which no document changes.
    pub floor: String,
}

/// The body of an application: all documents that are to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApplyPolicy {
    pub documents: Vec<PolicyDocument>,
    /// The number that must hold now; another is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u32>,
    /// Kept in the ledger; cut at 512 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Check it and say what would change; apply nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// The body of a rollback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RollbackPolicy {
    /// The one to go back to; 0 is what is built in.
    pub to: u32,
    /// Kept in the ledger; cut at 512 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What an application changed, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyApplied {
    /// The one that holds now.
    pub applied: AppliedPolicy,
    pub changes: Vec<PolicyChange>,
    /// What loads and is hardly meant: names that nobody bears, hosts that no call has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Fault>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// A rule that one of two policies has, or that both have otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyChange {
    pub layer: String,
    /// `removed`, `changed` or `added`.
    pub change: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<PolicyRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<PolicyRule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyRule {
    /// `file:line`.
    pub place: String,
    pub text: String,
}

/// The body of a check: a call that was not made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CheckPolicy {
    /// Name, id or short id.
    pub agent: String,
    pub capability: String,
    /// Its arguments; none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub input: Option<Box<RawValue>>,
    /// A candidate; without it the policy that holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<Vec<PolicyDocument>>,
}

/// How a call would be judged, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyExplanation {
    /// `autonomous`, `notify`, `approval_required` or `blocked`.
    pub verdict: String,
    /// The rules that made it, by layer, file and line.
    pub rules: Vec<String>,
    /// What the agent is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many people must allow it, where it is more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<u32>,
    /// The layers that speak of the call, the widest first.
    pub layers: Vec<LayerOpinion>,
    /// What rules see of the call: its arguments as they are judged, and its circumstances.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub facts: Value,
    /// Of a recorded call: what its record says of the judgement then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<RecordedJudgement>,
}

/// How a call was judged when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordedJudgement {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub call: CallId,
    /// `proposed`, `waiting`, `called`, `ended` or `blocked`.
    pub state: String,
    /// The rules that its record names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
}

/// The body of an explanation: a recorded call, judged by the policy that holds or by a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ExplainPolicy {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub call: CallId,
    /// A candidate; without it the policy that holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<Vec<PolicyDocument>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LayerOpinion {
    pub layer: String,
    /// Absent where the layer has no opinion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    pub rules: Vec<RuleOpinion>,
}

/// A rule that matched, or could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RuleOpinion {
    /// `file:line`.
    pub place: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub verdict: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The body of a test: cases that are kept beside the rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TestPolicy {
    /// A file of `[[case]]` tables, in TOML.
    pub cases: String,
    /// A candidate; without it the policy that holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<Vec<PolicyDocument>>,
}

/// What came of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyCase {
    pub name: String,
    pub line: u32,
    pub passed: bool,
    /// What came instead, or why the case could not be tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

/// The body of a replay: recorded calls, judged anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReplayPolicy {
    /// The candidate.
    pub documents: Vec<PolicyDocument>,
    /// Calls from then on.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Moment,
}

/// What a candidate would have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyReplay {
    pub judged: u64,
    pub unchanged: u64,
    pub changed: u64,
    /// Calls of which nothing can be said: what was judged of them is erased.
    pub unjudgeable: u64,
    /// Calls that stay blocked whatever rules say: they name a secret that nobody has bound for them.
    #[serde(default)]
    pub unbound: u64,
    /// The most frequent first.
    pub differences: Vec<PolicyDifference>,
    /// Changed calls of kinds that are not listed.
    pub more: u64,
    /// Older calls were left out: no more than 1,000,000 are judged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// Calls of one agent and capability that would be judged otherwise by the same rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyDifference {
    pub agent: String,
    pub capability: String,
    pub before: String,
    pub after: String,
    /// The first rule that makes the new verdict.
    pub rule: String,
    pub count: u64,
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub examples: Vec<CallId>,
}

/// A set of rules to begin with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyTemplate {
    /// `permissive`, `moderate` or `restrictive`.
    pub name: String,
    pub document: PolicyDocument,
}

/// The body of a lesson: what recorded calls ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LearnPolicy {
    /// Name, id or short id; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Calls from then on.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Moment,
}

/// Rules that recorded calls ask for, to review: nothing is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyLearned {
    /// Calls that were looked at.
    pub seen: u64,
    /// Calls of which nothing can be said: what was judged of them is erased.
    pub unjudgeable: u64,
    /// Older calls were left out: no more than 200,000 are looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    pub proposals: Vec<PolicyProposal>,
    /// What no rule is proposed for, and why.
    pub notes: Vec<String>,
    /// Against the documents that hold, as `patch` takes it in a folder of theirs; empty where nothing is proposed.
    pub diff: String,
    /// All documents with the rules in them, as an application takes them.
    pub documents: Vec<PolicyDocument>,
    /// What these documents would have changed of the recorded calls; absent where nothing is proposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<PolicyReplay>,
}

/// One proposed rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyProposal {
    pub layer: String,
    pub document: String,
    /// Its name, as its `@id` says it.
    pub rule: String,
    /// `denied`, `allowed` or `made`: what became of the calls that ask for it.
    pub ground: String,
    /// In plain words.
    pub about: String,
    /// Calls that ask for it.
    pub count: u64,
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub examples: Vec<CallId>,
}

/// The body of an import: the settings of another tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImportPolicy {
    /// `claude-code` or `codex`.
    pub from: String,
    /// The whole file.
    pub text: String,
}

/// A document of ours, to review and to apply; it only tightens what the layer `system` permits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyImported {
    /// In Cedar; it loads.
    pub text: String,
    pub rules: u64,
    /// What no rule says, in the order of the file.
    pub left_out: Vec<PolicyLeftOut>,
    /// What such rules cannot hold, in plain words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyLeftOut {
    /// From 1; 0 where it is not known.
    pub line: u32,
    pub what: String,
    pub why: String,
}
