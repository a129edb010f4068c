//! One rule: a policy of Cedar's with its place, what it says of itself, and whom and what it is about by its scope alone.
use crate::annotation::Annotations;
use crate::layer::Layer;
use crate::request::project_uid;
use crate::uses::Uses;
use crate::vocabulary::{ACTION, AGENT, LABEL, PROJECT};
use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};
use serde_json::Value;
use std::sync::Arc;
use tenure_core::judge::Verdict;

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) layer: Layer,
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) said: Annotations,
    pub(crate) policy: Policy,
    pub(crate) scope: Scope,
    pub(crate) uses: Uses,
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Any,
    Agent(String),
    Label(String),
}

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum What {
    Any,
    Is(String),
    In(String),
}

/// A scope in the terms of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) who: Who,
    pub(crate) what: Vec<What>,
    /// Whoever and whatever is found under these is in the scope: it says no more.
    pub(crate) whole: bool,
}

impl Rule {
    pub(crate) fn new(layer: Layer, file: Arc<str>, place: (u32, u32), said: Annotations, policy: Policy) -> Rule {
        let json = policy.to_json().unwrap_or(Value::Null);
        let uses = if json.is_null() { Uses::ALL } else { Uses::of(&json) };
        let scope = Scope::of(&policy);
        Rule { layer, file, line: place.0, column: place.1, said, policy, scope, uses }
    }

    pub(crate) fn effect(&self) -> Effect {
        self.policy.effect()
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match self.effect() {
            Effect::Forbid => Verdict::Blocked,
            Effect::Permit => self.said.verdict.unwrap_or(Verdict::Autonomous),
        }
    }

    /// As a record of a call names it.
    pub(crate) fn word(&self) -> String {
        let place = format!("{}:{}:{}", self.layer, self.file, self.line);
        match &self.said.id {
            Some(id) => format!("{place} {id}"),
            None => place,
        }
    }

    /// Whoever and whatever is in its scope is matched by it, without a look at the call.
    pub(crate) fn is_plain(&self) -> bool {
        self.scope.whole && !self.policy.has_non_scope_constraint()
    }

    /// Its meaning as one text: equal where two rules differ in comments and gaps alone.
    pub(crate) fn normal_form(&self) -> String {
        let json = self.policy.to_json().ok();
        let canonical = json.and_then(|json| serde_json_canonicalizer::to_string(&json).ok());
        canonical.unwrap_or_else(|| self.policy.to_string())
    }
}

impl Scope {
    fn of(policy: &Policy) -> Scope {
        let (who, whole_who) = who(&policy.principal_constraint());
        let (what, whole_what) = what(&policy.action_constraint());
        let whole_resource = match policy.resource_constraint() {
            ResourceConstraint::Any => true,
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) => uid == project_uid(),
            ResourceConstraint::Is(kind) => kind.to_string() == PROJECT,
            ResourceConstraint::IsIn(kind, uid) => kind.to_string() == PROJECT && uid == project_uid(),
        };
        Scope { who, what, whole: whole_who && whole_what && whole_resource }
    }
}

/// What cannot be told apart here is looked at for every agent, and left to Cedar.
fn who(constraint: &PrincipalConstraint) -> (Who, bool) {
    let named = |uid: &EntityUid, label: bool| {
        let name = uid.id().unescaped().to_string();
        match uid.type_name().to_string().as_str() {
            AGENT => (Who::Agent(name), true),
            LABEL if label => (Who::Label(name), true),
            _ => (Who::Any, false),
        }
    };
    match constraint {
        PrincipalConstraint::Any => (Who::Any, true),
        PrincipalConstraint::Is(kind) => (Who::Any, kind.to_string() == AGENT),
        PrincipalConstraint::Eq(uid) => named(uid, false),
        PrincipalConstraint::In(uid) => named(uid, true),
        PrincipalConstraint::IsIn(kind, uid) if kind.to_string() == AGENT => named(uid, true),
        PrincipalConstraint::IsIn(_, _) => (Who::Any, false),
    }
}

fn what(constraint: &ActionConstraint) -> (Vec<What>, bool) {
    let name = |uid: &EntityUid| (uid.type_name().to_string() == ACTION).then(|| uid.id().unescaped().to_string());
    let all = (vec![What::Any], false);
    match constraint {
        ActionConstraint::Any => (vec![What::Any], true),
        ActionConstraint::Eq(uid) => name(uid).map_or(all, |name| (vec![What::Is(name)], true)),
        ActionConstraint::In(uids) => {
            let names: Option<Vec<What>> = uids.iter().map(|uid| name(uid).map(What::In)).collect();
            names.map_or(all, |names| (names, true))
        }
    }
}
