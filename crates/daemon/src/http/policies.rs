//! `/v1/policy`: the rules by which calls are judged: read, checked, tried, held against the past, applied. What is applied is
//! compiled first; the decision picks it by its digest.
mod proposals;

use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use tenure_core::access::Role;
use tenure_core::actor::Actor;
use tenure_core::agent::AgentRow;
use tenure_core::aggregate::{Command, Refusal};
use tenure_core::call::{self, HolderKind};
use tenure_core::capability::{self, Attributes};
use tenure_core::fault::nearest;
use tenure_core::judge::{Ask, Circumstances, Counters, Digest, Verdict};
use tenure_core::plan::Plan;
use tenure_core::project;
use tenure_core::project::policy::{Apply, PolicyRow};
use tenure_core::secret;
use tenure_core::time::Time;
use tenure_policy::{Bundle, Explanation, Layer, Policy, Summary, Template, default_bundle, floor, review};
use tenure_store::rows::policies;
use tenure_wire::api::List;
use tenure_wire::api::policy::{
    AppliedPolicy, ApplyPolicy, CheckPolicy, ExplainPolicy, LayerOpinion, PolicyApplied, PolicyCase, PolicyChange,
    PolicyDifference, PolicyDocument, PolicyExplanation, PolicyFile, PolicyReplay, PolicyRule, PolicyTemplate,
    RecordedJudgement, ReplayPolicy, RollbackPolicy, RuleOpinion, TestPolicy,
};
use tenure_wire::problem::{Code, Problem};
use tokio::sync::{Semaphore, SemaphorePermit};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Operator, Owner, Viewer};
use super::body::{Json, Params, Segment};
use super::lookup::quoted;
use super::number::{self, Number};
use super::problem::{Answer, Failure};
use crate::commit;
use crate::policy::{self, bundle_of, documents_of, faults, invalid};
use crate::records::found;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(show, apply))
        .routes(routes!(history))
        .routes(routes!(one))
        .routes(routes!(roll_back))
        .routes(routes!(check))
        .routes(routes!(explain))
        .routes(routes!(test))
        .routes(routes!(replay))
        .routes(routes!(templates))
        .routes(routes!(schema))
        .merge(proposals::routes())
}

/// The policy that holds, with its documents.
#[utoipa::path(
    get, path = "/v1/policy", tag = "policy",
    responses((status = 200, body = PolicyFile), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn show(State(api): State<Arc<ApiState>>, _: Viewer) -> Answer<PolicyFile> {
    let number = policy::applied(&api.app).await?.map_or(0, |applied| applied.number);
    Ok(Out(api.policy_file(number).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryParams {
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Policies that were applied, the newest first.
#[utoipa::path(
    get, path = "/v1/policy/history", tag = "policy", params(HistoryParams),
    responses((status = 200, body = List<AppliedPolicy>), (status = "4XX", body = Problem))
)]
async fn history(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<HistoryParams>,
) -> Answer<List<AppliedPolicy>> {
    let wrong = |_| Failure::from(Code::ParameterWrong.problem("the cursor is none of a list of policies"));
    let before = params.cursor.as_deref().map(str::parse::<u32>).transpose().map_err(wrong)?;
    let limit = number::limit(params.limit.as_ref())?;
    let page = api.reader().read(move |sql| policies::list(sql, before, limit)).await?;
    let items = page.rows.into_iter().map(applied_of).collect();
    Ok(Out(List { items, next_cursor: page.next.map(|number| number.to_string()) }))
}

/// One policy that was applied, with its documents; 0 is what is built in.
#[utoipa::path(
    get, path = "/v1/policy/history/{number}", tag = "policy",
    params(("number" = u32, Path, description = "As the history lists it")),
    responses((status = 200, body = PolicyFile), (status = "4XX", body = Problem))
)]
async fn one(State(api): State<Arc<ApiState>>, _: Viewer, Segment(wanted): Segment) -> Answer<PolicyFile> {
    let number = wanted.parse::<u32>().map_err(|_| unknown(&wanted))?;
    Ok(Out(api.policy_file(number).await?))
}

/// Apply a policy: all documents that are to hold. It judges from the next call on, what waits too.
#[utoipa::path(
    put, path = "/v1/policy", tag = "policy", request_body = ApplyPolicy,
    responses((status = 200, body = PolicyApplied), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn apply(
    State(api): State<Arc<ApiState>>,
    Owner(caller): Owner,
    Json(body): Json<ApplyPolicy>,
) -> Answer<PolicyApplied> {
    let bundle = bundle_of(body.documents)?;
    let compiled = policy::compile(bundle.clone()).await.map_err(invalid)?;
    let known = api.records.read(policy::known_names).await?;
    let review = review(&bundle, &known);
    if !review.faults.is_empty() {
        return Err(invalid(review.faults).into());
    }
    let warnings = faults(review.warnings);
    let (before, applied) = api.bundle_that_holds().await?;
    let changes = changes(&before, &bundle)?;
    if body.dry_run {
        return Ok(Out(PolicyApplied { applied, changes, warnings, dry_run: true }));
    }
    let applied = api.apply_policy(caller.actor, &bundle, compiled, (body.expected, None, body.note)).await?;
    Ok(Out(PolicyApplied { applied, changes, warnings, dry_run: false }))
}

/// Go back to a policy that was applied before; the history goes on.
#[utoipa::path(
    post, path = "/v1/policy/rollback", tag = "policy", request_body = RollbackPolicy,
    responses((status = 200, body = PolicyApplied), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn roll_back(
    State(api): State<Arc<ApiState>>,
    Owner(caller): Owner,
    Json(RollbackPolicy { to, note }): Json<RollbackPolicy>,
) -> Answer<PolicyApplied> {
    let (_, bundle) = api.bundle(to).await?;
    let compiled = policy::compile(bundle.clone()).await.map_err(invalid)?;
    let (before, _) = api.bundle_that_holds().await?;
    let changes = changes(&before, &bundle)?;
    let applied = api.apply_policy(caller.actor, &bundle, compiled, (None, Some(to), note)).await?;
    Ok(Out(PolicyApplied { applied, changes, warnings: Vec::new(), dry_run: false }))
}

/// How a call would be judged now, and why. Nothing is called. With documents of one's own, which are compiled for it, it wants the
/// role operator.
#[utoipa::path(
    post, path = "/v1/policy/check", tag = "policy", request_body = CheckPolicy,
    responses((status = 200, body = PolicyExplanation), (status = "4XX", body = Problem))
)]
async fn check(
    State(api): State<Arc<ApiState>>,
    Viewer(caller): Viewer,
    Json(body): Json<CheckPolicy>,
) -> Answer<PolicyExplanation> {
    if body.documents.is_some() {
        caller.must_be(Role::Operator)?;
    }
    let wrong = |error: serde_json::Error| Code::CallArgumentsWrong.problem(error.to_string());
    let input = body.input.map(|input| serde_json::from_str(input.get())).transpose().map_err(wrong)?;
    let attributes = capability::attributes(&body.capability, &input.unwrap_or_else(|| serde_json::json!({})));
    let attributes = attributes.ok_or_else(|| no_capability(&body.capability))?;
    let row = api.agent(&body.agent).await?;
    let (agent, revision) = (row.id, row.standing.revision);
    let plan = api.records.read(move |txn| txn.plan(agent, revision)).await?;
    let policy = api.candidate(body.documents).await?;
    let asked = Asked::new(&row, &plan, &body.capability, attributes, api.app.committer.now().at);
    Ok(Out(explained(asked.explain(&api, &policy).await?)))
}

/// A call that nobody makes, for the judge.
pub(super) struct Asked<'a> {
    row: &'a AgentRow,
    plan: &'a Plan,
    capability: &'a str,
    attributes: Attributes,
    context: Circumstances,
}

impl<'a> Asked<'a> {
    pub(super) fn new(
        row: &'a AgentRow,
        plan: &'a Plan,
        capability: &'a str,
        attributes: Attributes,
        at: Time,
    ) -> Asked<'a> {
        let context = Circumstances {
            agent_name: row.name.clone(),
            labels: plan.labels.iter().cloned().collect(),
            caller: HolderKind::Execution,
            opener: None,
            trigger: None,
            level: None,
            at,
            counters: Counters::default(),
        };
        Asked { row, plan, capability, attributes, context }
    }

    /// By the policy, and by what is bound where it would use a secret.
    pub(super) async fn explain(&self, api: &ApiState, policy: &Policy) -> Result<Explanation, Failure> {
        let mut explanation = policy.explain(&self.ask(policy.digest()));
        if secret::is_wanted(self.plan, self.capability) && explanation.judgement.verdict != Verdict::Blocked {
            let id = self.row.id;
            let bound = api.records.read(move |txn| txn.secret_bindings(id)).await?;
            if !secret::covers(&bound, self.plan, self.capability, &self.attributes) {
                explanation.judgement = call::secret_unbound();
            }
        }
        Ok(explanation)
    }

    fn ask(&self, policy: Digest) -> Ask<'_> {
        Ask {
            actor: call::judged_as(Actor::Agent(self.row.id), self.capability),
            agent: self.row.id,
            revision: self.row.standing.revision,
            capability: self.capability,
            attributes: &self.attributes,
            tools: &self.plan.tools,
            context: &self.context,
            policy: Some(policy),
        }
    }
}

pub(super) fn no_capability(wanted: &str) -> Failure {
    let names = capability::catalogue().map(|known| known.name);
    let near = nearest(wanted, names).map(|near| format!(": did you mean `{near}`?"));
    let detail = format!("no capability is called {}{}", quoted(wanted), near.unwrap_or_default());
    Code::CallArgumentsWrong.problem(detail).into()
}

/// Why a recorded call is judged as it is now, with the facts that rules see of it and what its record says. Nothing is called.
#[utoipa::path(
    post, path = "/v1/policy/explain", tag = "policy", request_body = ExplainPolicy,
    responses((status = 200, body = PolicyExplanation), (status = "4XX", body = Problem))
)]
async fn explain(
    State(api): State<Arc<ApiState>>,
    Viewer(caller): Viewer,
    Json(body): Json<ExplainPolicy>,
) -> Answer<PolicyExplanation> {
    if body.documents.is_some() {
        caller.must_be(Role::Operator)?;
    }
    let id = body.call;
    let unknown = || Failure::from(Code::CallUnknown.problem(format!("no judge has seen a call {id}")));
    let (mut recorded_call, row) = api.records.read(move |txn| policy::recorded(txn, id)).await?.ok_or_else(unknown)?;
    let candidate = api.candidate(body.documents).await?;
    if candidate.wants(&recorded_call.context.agent_name, &recorded_call.capability).counters {
        let _one = one_at_a_time()?;
        recorded_call.context.counters = policy::counters(Arc::clone(&api.app), &recorded_call).await?;
    }
    let Some(ask) = recorded_call.ask(candidate.digest()) else {
        let told = format!("what was judged of {id} is erased, so that nobody can say how it would be judged");
        return Err(Code::Erased.problem(told).into());
    };
    let recorded = RecordedJudgement {
        call: id,
        state: row.state,
        rules: row.rules,
        outcome: row.outcome,
        sentence: row.sentence,
    };
    let mut explanation = candidate.explain(&ask);
    if recorded_call.unbound && explanation.judgement.verdict != Verdict::Blocked {
        explanation.judgement = call::secret_unbound();
    }
    Ok(Out(PolicyExplanation { recorded: Some(recorded), ..explained(explanation) }))
}

/// Try the cases that people keep beside their rules.
#[utoipa::path(
    post, path = "/v1/policy/test", tag = "policy", request_body = TestPolicy,
    responses((status = 200, body = List<PolicyCase>), (status = "4XX", body = Problem))
)]
async fn test(State(api): State<Arc<ApiState>>, _: Operator, Json(body): Json<TestPolicy>) -> Answer<List<PolicyCase>> {
    let policy = api.candidate(body.documents).await?;
    let tried = tokio::task::spawn_blocking(move || tenure_policy::run_tests(&policy, &body.cases)).await;
    let outcomes = tried.expect("invariant: trying cases does not panic").map_err(|fault| invalid(vec![fault]))?;
    let items = outcomes.into_iter();
    let items = items.map(|case| PolicyCase { name: case.name, line: case.line, passed: case.passed, told: case.told });
    Ok(Out(List { items: items.collect(), next_cursor: None }))
}

/// Judge recorded calls by a candidate, and say which verdicts would have been others. Nothing is applied.
#[utoipa::path(
    post, path = "/v1/policy/replay", tag = "policy", request_body = ReplayPolicy,
    responses((status = 200, body = PolicyReplay), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn replay(State(api): State<Arc<ApiState>>, _: Operator, Json(body): Json<ReplayPolicy>) -> Answer<PolicyReplay> {
    let _one = one_at_a_time()?;
    let candidate = compile(bundle_of(body.documents)?).await?.map_err(invalid)?;
    let holds = api.candidate(None).await?;
    let past = policy::replay(Arc::clone(&api.app), body.since.0, holds, candidate).await?;
    Ok(Out(replayed(past.summary, past.cut)))
}

/// Sets of rules to begin with.
#[utoipa::path(
    get, path = "/v1/policy/templates", tag = "policy",
    responses((status = 200, body = List<PolicyTemplate>), (status = "4XX", body = Problem))
)]
async fn templates(_: Viewer) -> Answer<List<PolicyTemplate>> {
    let items = Template::ALL.into_iter().map(|template| {
        let (layer, name) = (Layer::System.to_string(), format!("{}.cedar", template.as_str()));
        let document = PolicyDocument { layer, name, text: template.text().to_string() };
        PolicyTemplate { name: template.as_str().to_string(), document }
    });
    Ok(Out(List { items: items.collect(), next_cursor: None }))
}

/// The Cedar schema that rules are held against: every capability with its arguments and circumstances.
#[utoipa::path(
    get, path = "/v1/policy/schema", tag = "policy",
    responses((status = 200, body = serde_json::Value), (status = "4XX", body = Problem))
)]
async fn schema(_: Viewer) -> Answer<serde_json::Value> {
    Ok(Out(tenure_policy::schema_json()))
}

/// Who reads the past reads much of it.
fn one_at_a_time() -> Result<SemaphorePermit<'static>, Failure> {
    static READING: Semaphore = Semaphore::const_new(1);
    READING
        .try_acquire()
        .map_err(|_| Code::Overloaded.problem("recorded calls are being read for another replay").into())
}

const COMPILING_MAX: usize = 2;
const COMPILING_WAIT_MAX: usize = 14;

type Said = (Option<u32>, Option<u32>, Option<String>);

impl ApiState {
    async fn policy_file(&self, number: u32) -> Result<PolicyFile, Failure> {
        let (applied, bundle) = self.bundle(number).await?;
        let documents = documents_of(&bundle);
        let compiled = match self.app.policies.policy((number != 0).then(|| bundle.digest())) {
            Some(policy) => Some(policy),
            None => compile(bundle).await?.ok(),
        };
        let rules = compiled.map(|policy| policy.rules_count() as u64);
        Ok(PolicyFile { applied, rules, documents, floor: floor().text })
    }

    async fn bundle(&self, number: u32) -> Result<(AppliedPolicy, Bundle), Failure> {
        if number == 0 {
            let bundle = default_bundle();
            let digest = bundle.digest().to_string();
            let built_in = AppliedPolicy { number, digest, by: None, note: None, repeats: None, applied_at: None };
            return Ok((built_in, bundle));
        }
        let read = self.records.read(move |txn| Ok(found(policy::bundle(txn, number))?.flatten()));
        let (row, bundle) = read.await?.ok_or_else(|| unknown(&number.to_string()))?;
        Ok((applied_of(row), bundle))
    }

    async fn bundle_that_holds(&self) -> Result<(Bundle, AppliedPolicy), Failure> {
        let number = policy::applied(&self.app).await?.map_or(0, |applied| applied.number);
        let (applied, bundle) = self.bundle(number).await?;
        Ok((bundle, applied))
    }

    /// These documents, compiled; else the policy that holds.
    pub(super) async fn candidate(&self, documents: Option<Vec<PolicyDocument>>) -> Result<Arc<Policy>, Failure> {
        if let Some(documents) = documents {
            return compile(bundle_of(documents)?).await?.map_err(|wrong| invalid(wrong).into());
        }
        let digest = policy::applied(&self.app).await?.map(|applied| applied.digest);
        match self.app.policies.policy(digest) {
            Some(policy) => Ok(policy),
            None => Err(Code::PolicyInvalid.problem("the policy that holds could not be loaded; see the log").into()),
        }
    }

    /// The judge has it before the decision can name it.
    async fn apply_policy(
        &self,
        actor: Actor,
        bundle: &Bundle,
        compiled: Arc<Policy>,
        (expected, repeats, note): Said,
    ) -> Result<AppliedPolicy, Failure> {
        let bytes = bundle.to_bytes();
        if self.app.vault.scrubber().finds(&bytes) {
            let problem = Code::PolicyInvalid.problem("it holds the value of a secret");
            return Err(problem.hint("take it out: rules go by a secret's name, `context.input.secret`").into());
        }
        self.app.policies.insert(compiled);
        let committer = &self.app.committer;
        let apply = Apply { digest: bundle.digest(), bundle: committer.payload(bytes), expected, repeats, note };
        let command = Command::Project(committer.project(), project::Command::ApplyPolicy(apply));
        match committer.commit(actor, command).await {
            Ok(_) | Err(commit::Error::Refused(Refusal::Project(project::Refusal::PolicyUnchanged { .. }))) => {}
            Err(error) => {
                // What holds is among the few that are kept, whatever is tried beside it.
                if policy::applied(&self.app).await?.is_none_or(|applied| applied.digest != bundle.digest()) {
                    self.app.policies.remove(bundle.digest());
                }
                return Err(error.into());
            }
        }
        Ok(self.bundle_that_holds().await?.1)
    }
}

/// For a request: it takes a core for seconds where the rules are many, so that two are compiled at a time and few wait.
async fn compile(bundle: Bundle) -> Result<Result<Arc<Policy>, Vec<tenure_policy::Fault>>, Failure> {
    static COMPILING: Semaphore = Semaphore::const_new(COMPILING_MAX);
    static ASKED: Semaphore = Semaphore::const_new(COMPILING_MAX + COMPILING_WAIT_MAX);
    let busy = |_| Code::Overloaded.problem("other policies are being compiled");
    let _asked = ASKED.try_acquire().map_err(busy)?;
    let _one = COMPILING.acquire().await.expect("invariant: nobody closes it");
    Ok(policy::compile(bundle).await)
}

fn unknown(wanted: &str) -> Failure {
    Code::PolicyUnknown.problem(format!("no policy has the number {}", quoted(wanted))).into()
}

fn applied_of(row: PolicyRow) -> AppliedPolicy {
    AppliedPolicy {
        number: row.number,
        digest: row.digest.to_string(),
        by: Some(row.by),
        note: row.note,
        repeats: row.repeats,
        applied_at: Some(row.at.into()),
    }
}

fn changes(before: &Bundle, after: &Bundle) -> Result<Vec<PolicyChange>, Failure> {
    let changes = tenure_policy::diff(before, after).map_err(invalid)?;
    let rule = |side: Option<(String, String)>| side.map(|(place, text)| PolicyRule { place, text });
    let changes = changes.into_iter().map(|change| PolicyChange {
        layer: change.layer.to_string(),
        change: change.kind.as_str().to_string(),
        id: change.id,
        before: rule(change.before),
        after: rule(change.after),
    });
    Ok(changes.collect())
}

fn explained(explanation: Explanation) -> PolicyExplanation {
    let layers = explanation.layers.into_iter().map(|view| LayerOpinion {
        layer: view.layer.to_string(),
        verdict: view.verdict.map(|verdict| verdict.as_str().to_string()),
        rules: view
            .rules
            .into_iter()
            .map(|rule| RuleOpinion {
                place: format!("{}:{}", rule.file, rule.line),
                id: rule.id,
                verdict: rule.verdict.as_str().to_string(),
                reason: rule.reason,
                error: rule.error,
            })
            .collect(),
    });
    let judgement = explanation.judgement;
    PolicyExplanation {
        verdict: judgement.verdict.as_str().to_string(),
        rules: judgement.rules,
        reason: judgement.reason,
        approvers: judgement.approvers,
        layers: layers.collect(),
        facts: explanation.facts,
        recorded: None,
    }
}

fn replayed(summary: Summary, cut: bool) -> PolicyReplay {
    let differences = summary.differences.into_iter().map(|difference| PolicyDifference {
        agent: difference.agent,
        capability: difference.capability,
        before: difference.before.as_str().to_string(),
        after: difference.after.as_str().to_string(),
        rule: difference.rule,
        count: difference.count,
        examples: difference.examples,
    });
    PolicyReplay {
        judged: summary.judged,
        unchanged: summary.unchanged,
        changed: summary.changed,
        unjudgeable: summary.unjudgeable,
        unbound: summary.unbound,
        differences: differences.collect(),
        more: summary.more,
        cut,
    }
}
