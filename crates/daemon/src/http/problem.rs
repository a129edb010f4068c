//! The only translator of what fails in the daemon into problems on the wire. It adds what the reader needs to go on,
//! and never lets a path of the host, a key or another's data out.
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tenure_core::aggregate::Refusal;
use tenure_core::comms::{BODY_BYTES_MAX, CORRELATION_BYTES_MAX, WAITING_MAX};
use tenure_core::manifest;
use tenure_core::state::Conflict;
use tenure_core::{agent, execution, fleet, instance, model_call, package, project, secret, session};
use tenure_store as store;
use tenure_wire::api::moment::Moment;
use tenure_wire::problem::{Code, MEDIA_TYPE, Problem};

use super::lookup::quoted;
use crate::commit;
use crate::model::failure;
use crate::records;

/// A handler's failure: a problem on its way out.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Box<Problem>);

pub(super) type Answer<T> = Result<Json<T>, Failure>;

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        Failure(Box::new(problem))
    }
}

impl From<Box<Problem>> for Failure {
    fn from(problem: Box<Problem>) -> Failure {
        Failure(problem)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.0.retry_after;
        let mut response = (status, Json(self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<commit::Error> for Failure {
    fn from(error: commit::Error) -> Failure {
        match error {
            commit::Error::Refused(refusal) => of_refusal(&refusal).into(),
            commit::Error::Store(error) => error.into(),
        }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Failure {
        let (code, detail) = match &error {
            store::Error::Full { .. } => (Code::LedgerFull, error.to_string()),
            store::Error::Io { .. }
            | store::Error::Corrupt { .. }
            | store::Error::Foreign { .. }
            | store::Error::Lost { .. }
            | store::Error::KeyLost
            | store::Error::Newer { .. }
            | store::Error::Older => (Code::LedgerBroken, error.to_string()),
            store::Error::Sealed { .. } => (Code::RecordsSealed, error.to_string()),
            store::Error::Stopped => (Code::Stopping, error.to_string()),
            store::Error::Busy { .. } | store::Error::Held { .. } => (Code::Overloaded, error.to_string()),
            // Of verify and of the look at a start, which no request asks for.
            store::Error::TemporaryFull { .. }
            | store::Error::Interrupted
            | store::Error::Out { .. }
            | store::Error::NoLedger { .. } => (Code::Internal, error.to_string()),
            store::Error::Invariant { .. } => (Code::Internal, error.to_string()),
        };
        tracing::error!(%error, "the store failed a request");
        code.problem(detail).into()
    }
}

impl From<records::Error> for Failure {
    fn from(error: records::Error) -> Failure {
        match error {
            records::Error::Store(error) => error.into(),
            other @ (records::Error::Gone(_) | records::Error::Payload(_)) => {
                tracing::error!(error = %other, "stored bytes cannot be shown");
                Code::LedgerBroken.problem(other.to_string()).into()
            }
        }
    }
}

/// A manifest's faults, all at once.
pub(super) fn of_manifest(code: Code, problems: Vec<manifest::Problem>) -> Failure {
    let shown = problems.first().map(ToString::to_string).unwrap_or_default();
    let detail = match problems.len() {
        1 => shown,
        count => format!("{count} problems, the first: {shown}"),
    };
    code.problem(detail).errors(problems.into_iter().map(Into::into).collect()).into()
}

pub(super) fn of_model(code: Code, failure: &failure::Failure) -> Failure {
    let problem = code.problem(failure.sentence.clone());
    if failure.hint.is_empty() { problem.into() } else { problem.hint(failure.hint.clone()).into() }
}

fn of_refusal(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::Project(refusal) => of_project(refusal),
        Refusal::Agent(refusal) => of_agent(refusal),
        Refusal::Execution(refusal) => of_execution(refusal),
        Refusal::Worker(refusal) => of_worker(refusal),
        Refusal::Session(refusal) => of_session(refusal),
        Refusal::Secret(refusal) => of_secret(refusal),
        Refusal::Package(refusal) => of_package(refusal),
        Refusal::Instance(refusal) => of_instance(refusal),
    }
}

fn of_project(refusal: &project::Refusal) -> Problem {
    use project::Refusal as R;
    match refusal {
        R::Founded {} => Code::Conflict.problem("the project is founded already"),
        R::Unfounded {} => Code::NotReady.problem("the project is not founded yet"),
        R::RotationWrong {} => Code::Conflict.problem("the change of the ledger's key is not signed by both keys"),
        R::SealWrong {} => Code::Conflict.problem("the sealed file is none of this ledger's"),
        R::KeyNameTaken {} => Code::KeyNameTaken.problem("another live key has this name"),
        R::KeyNameWrong {} => Code::KeyNameWrong.problem("the name is empty, too long or not printable"),
        R::KeysFull {} => Code::KeysFull.problem("no more keys are kept alive at a time"),
        R::KeyUnknown {} => Code::KeyUnknown.problem("no live key has this id"),
        R::NothingToTell {} => Code::Conflict.problem("every refusal is told"),
        R::StateVersion { key, current } => version_conflict(key, *current),
        R::StateQuota { conflict, .. } => Code::StateQuotaExceeded.problem(conflict.to_string()),
        R::StateWrong { key, conflict } => state_wrong(key, *conflict),
        R::StateMissing { key } => Code::StateUnknown.problem(format!("nothing is shared under {}", quoted(key))),
        R::NothingDue {} => Code::Conflict.problem("no value's time is over"),
        R::AclWrong {} => Code::StateWrong
            .problem("a prefix has at most 512 bytes and no control character, a rule names at most 64 agents"),
        R::AclsFull {} => Code::StateWrong.problem("256 rules are kept").hint("remove one that is not needed"),
        R::BudgetWrong {} => Code::BudgetWrong.problem("a limit is out of range or stands twice, or none is named"),
        R::PolicyMoved { number } => Code::PolicyMoved.problem(format!("the policy that holds is number {number}")),
        R::PolicyUnchanged { number } => Code::Conflict.problem(format!("policy {number} holds, and says the same")),
        R::PolicyRejudged {} => Code::Conflict.problem("what waits is judged by it already"),
        R::PolicyTooLarge {} => Code::PolicyInvalid.problem("a policy has at most 1 MiB"),
        R::RetentionWrong {} => Code::RetentionWrong.problem("an age or a size is out of range"),
        R::NothingToErase {} => Code::Conflict.problem("nothing is kept too long"),
        R::PublisherWrong { why } => Code::PublisherWrong.problem(why.clone()),
        R::PublisherTrusted {} => Code::Conflict.problem("it is trusted already"),
        R::PublishersFull {} => {
            Code::PackagesFull.problem(format!("{} publishers are trusted", project::PUBLISHERS_MAX))
        }
        R::PublisherUnknown {} => Code::PublisherUnknown.problem("no trusted publisher has this key"),
        R::AclUnknown { prefix } => Code::StateUnknown.problem(format!("there is no rule for {}", quoted(prefix))),
    }
}

fn of_instance(refusal: &instance::Refusal) -> Problem {
    use instance::Refusal as R;
    match refusal {
        R::Unknown {} | R::Stopped {} => Code::InstanceNone.problem("it is stopped"),
        R::Running { instance } => Code::Conflict.problem(format!("its program is kept running by {instance} already")),
        R::NoProgram {} => Code::AgentNoProgram.problem("its manifest names no program of kind `hooks` or `acp`"),
        R::NotReady {} => Code::InstanceNone.problem("its program is not ready"),
        R::NotDue {} | R::Stale {} => Code::Conflict.problem("the instance's state has moved on"),
    }
}

fn of_agent(refusal: &agent::Refusal) -> Problem {
    use agent::Refusal as R;
    match refusal {
        R::Unknown {} => Code::AgentUnknown.problem("no agent has this id"),
        R::Unchanged { .. } => Code::Conflict.problem("the same manifest is already the newest revision"),
        R::Archived {} => Code::AgentArchived.problem("it was deleted, and is never restored"),
        R::IsPaused { until: None } => Code::AgentPaused.problem("nothing of it begins until it is resumed"),
        R::IsPaused { until: Some(until) } => {
            Code::AgentPaused.problem(format!("nothing of it begins until {}", Moment(*until)))
        }
        R::AlreadyPaused {} => Code::Conflict.problem("it is paused already, in the same words"),
        R::NotPaused {} => Code::Conflict.problem("it is not paused"),
        R::IsQuarantined { cause, severity } => {
            let (cause, severity) = (cause.as_str(), severity.as_str());
            Code::AgentQuarantined.problem(format!("{cause} ({severity}): nothing of it begins until it is recovered"))
        }
        R::AlreadyQuarantined {} => Code::Conflict.problem("it is in quarantine already"),
        R::NotQuarantined {} => Code::AgentNotQuarantined.problem("nobody put it into quarantine"),
        R::MaxRetriesExceeded { severity } => Code::MaxRetriesExceeded.problem(format!(
            "max_retries_exceeded: of an agent in quarantine as {}, recovery may be tried {} times",
            severity.as_str(),
            severity.tries_max()
        )),
        R::AlreadyRevoked {} => Code::AgentRevoked.problem("it was revoked, for good"),
        R::StillEnding {} => Code::AgentEnding.problem("it was killed, and what ran has not ended yet"),
        R::UntilPast {} => Code::ParameterOutOfRange.problem("`until` is past"),
        R::NameTaken {} => Code::AgentNameTaken.problem("it was to be a new agent, and another one has the name"),
        R::RevisedMeanwhile { revision } => {
            Code::AgentRevised.problem(format!("its newest revision is {revision}, and the change was made to another"))
        }
        R::RevisionUnknown { newest } => Code::RevisionUnknown.problem(format!("its revisions are 1 to {newest}")),
        R::NameDiffers {} => Code::AgentNameTaken.problem("an agent keeps its name for good"),
        R::WakeStale {} | R::WakeNotDue {} => Code::Conflict.problem("its schedule has moved on"),
        R::KeyDead {} => Code::Unauthenticated.problem("the API key is unknown or revoked"),
        R::NoKeyDue {} => Code::Conflict.problem("no key of the agent is to end now"),
        R::OverlapTooLong {} => Code::OverlapTooLong.problem("the overlap is longer than 7 days"),
        R::StateVersion { key, current } => version_conflict(key, *current),
        R::StateQuota { conflict, .. } => Code::StateQuotaExceeded.problem(conflict.to_string()),
        R::StateWrong { key, conflict } => state_wrong(key, *conflict),
        R::StateMissing { key } => Code::StateUnknown.problem(format!("the agent keeps nothing under {}", quoted(key))),
        R::NothingDue {} => Code::Conflict.problem("no value's time is over"),
        R::MessageRepeated { message } => Code::Conflict.problem(format!("the same idempotency key sent {message}")),
        R::MessageUnknown {} => Code::MessageUnknown.problem("no such message is there"),
        R::MessageNotDead {} => Code::MessageNotDead.problem("it waits, was received or was dropped"),
        R::MessageTooLarge {} => Code::MessageTooLarge
            .problem(format!("a message has at most {BODY_BYTES_MAX} bytes, its correlation {CORRELATION_BYTES_MAX}")),
        R::DeadlinePast {} => Code::ParameterOutOfRange.problem("the deadline is past"),
        R::DeadlineAhead {} => Code::Conflict.problem("no deadline is over"),
        R::ScheduleUnknown {} => Code::ScheduleUnknown.problem("it planned no such wake"),
        R::ApprovalUnknown {} => Code::ApprovalUnknown.problem("no such approval is there"),
        R::ApprovalOver { state } => Code::ApprovalOver.problem(format!("it is {state}")),
        R::ApprovalSamePerson {} => {
            Code::ApprovalSamePerson.problem("you have allowed it already, and it wants others")
        }
        R::ApprovalNotAPerson {} => Code::Forbidden.problem("only a person can allow a call, or not"),
        R::ApprovalMisfit { sentence } => Code::CallArgumentsWrong.problem(sentence.clone()),
        R::GrantUnknown {} => Code::GrantUnknown.problem("the agent has no such grant, or it is over"),
        R::GrantWrong {} => Code::GrantWrong.problem("a time that is past, no calls, or no execution asked"),
        R::GrantsFull {} => Code::GrantsFull.problem("no more are kept"),
        R::AlertUnknown {} => Code::AlertUnknown.problem("no such alert is there"),
        R::AlertAcknowledged {} => Code::Conflict.problem("it is acknowledged already"),
        R::MailboxFull {} => Code::MailboxFull.problem(format!("{WAITING_MAX} messages wait for it")),
        R::BudgetWrong {} => Code::BudgetWrong.problem("a limit is out of range or stands twice, or none is named"),
        R::NothingToErase {} => Code::Conflict.problem("nothing is kept too long"),
        R::DependenciesUnmet { unmet } => {
            let unmet: Vec<String> = unmet.iter().map(ToString::to_string).collect();
            Code::DependencyUnmet.problem(unmet.join("; "))
        }
        R::HomeUnknown {} => Code::Conflict.problem("the agent's work folder lies elsewhere, or is kept"),
    }
}

fn version_conflict(key: &str, current: u64) -> Problem {
    let detail = match current {
        0 => format!("nothing is under {}, so that its version is 0", quoted(key)),
        current => format!("the version of {} is {current}", quoted(key)),
    };
    Code::StateVersionConflict.problem(detail)
}

fn state_wrong(key: &str, conflict: Conflict) -> Problem {
    match conflict {
        Conflict::Value { .. } => Code::StateWrong.problem(format!("{}: {conflict}", quoted(key))),
        other => Code::StateWrong.problem(other.to_string()),
    }
}

fn of_execution(refusal: &execution::Refusal) -> Problem {
    use execution::Refusal as R;
    match refusal {
        R::Unknown {} => Code::ExecutionUnknown.problem("no execution has this id"),
        R::Repeated { execution } => Code::Conflict.problem(format!("the same idempotency key started {execution}")),
        R::ConversationUnknown {} => Code::ConversationUnknown.problem("the agent has no such conversation"),
        R::ConversationBusy { execution } => {
            Code::ConversationBusy.problem(format!("what was said last is being answered by {execution}"))
        }
        R::Started {} => Code::Conflict.problem("it was started already"),
        R::Ended {} => Code::ExecutionEnded.problem("it has ended, and nothing can be done to it any more"),
        R::MaxIterationsWrong {} => Code::MaxIterationsWrong.problem("an execution has 1 to 1000 iterations"),
        R::CancelRequested {} => Code::CancelRequested.problem("a cancel was accepted before"),
        R::NotEnded {} => Code::NotEnded.problem("it has not ended"),
        R::Erased {} => Code::Erased.problem("it was erased before"),
        R::ReasonWrong {} => Code::ReasonWrong.problem("a reason has 1 to 512 characters"),
        R::PayloadUnknown {} => Code::PayloadUnknown.problem("the record that names it first did not bring it"),
        R::BudgetSpent { shut } => Code::BudgetSpent.problem(shut.to_string()),
        R::PlanLost {} => Code::LedgerBroken.problem("what its agent's revision runs by is not in the store"),
        R::Stale {}
        | R::NotConnected {}
        | R::SlotsFull {}
        | R::AgentBusy {}
        | R::ProgramNotReady {}
        | R::Bound {}
        | R::NotHome {}
        | R::NotDue {}
        | R::TooManyCalls {}
        | R::TooManyRefusals {} => Code::Conflict.problem("the execution's state has moved on"),
        R::TooManyModelCalls {} => {
            Code::CallsInFlight.problem(format!("{} model calls of its programs may be open", model_call::OPEN_MAX))
        }
        R::ModelCallRefused { detail, .. } => Code::BudgetSpent.problem(detail.clone()),
    }
}

fn of_session(refusal: &session::Refusal) -> Problem {
    use session::Refusal as R;
    match refusal {
        R::Unknown {} => Code::SessionUnknown.problem("you have no such session"),
        R::Opened {} => Code::Conflict.problem("it was opened already"),
        R::NotEnded {} => Code::NotEnded.problem("it is open, or a call of it has not ended"),
        R::Erased {} => Code::Erased.problem("it was erased before"),
        R::ReasonWrong {} => Code::ReasonWrong.problem("a reason has 1 to 512 characters"),
        R::PayloadUnknown {} => Code::PayloadUnknown.problem("the record that names it first did not bring it"),
        R::Ended { ending } => Code::SessionEnded.problem(format!("it has ended: {}", ending.as_str())),
        R::Paused { until: None } => {
            Code::SessionPaused.problem("SessionPaused: the agent is paused until a person resumes it")
        }
        R::Paused { until: Some(until) } => {
            Code::SessionPaused.problem(format!("SessionPaused: the agent is paused until {}", Moment(*until)))
        }
        R::Repeated { call } => Code::Conflict.problem(format!("the same idempotency key made {call}")),
        R::TooManyCalls {} => {
            let most = session::CALLS_PER_MINUTE_MAX;
            Code::RateLimited.problem(format!("{most} calls and openings of an agent are taken in a minute"))
        }
        R::CallsInFlight {} => {
            Code::CallsInFlight.problem(format!("{} calls of a session may be in flight", session::CALLS_MAX))
        }
        R::CallEnded {} => Code::CallEnded.problem("it has ended, and nothing can be taken back"),
        R::Unplaced { .. } | R::Stale {} | R::TooManyRefusals {} => {
            Code::Conflict.problem("the session's state has moved on")
        }
        R::NotDue {} => Code::Conflict.problem("the session is not silent"),
    }
}

fn of_secret(refusal: &secret::Refusal) -> Problem {
    use secret::Refusal as R;
    match refusal {
        R::NameWrong {} => Code::SecretNameWrong.problem("the name is empty, too long or has another letter"),
        R::NameTaken { name } => Code::SecretNameTaken.problem(format!("{} is set already", quoted(name))),
        R::TooMany {} => Code::SecretsFull.problem(format!("{} secrets are kept", secret::SECRETS_MAX)),
        R::TooLarge {} => Code::SecretValueWrong.problem("the value is too large"),
        R::Unknown {} => Code::SecretUnknown.problem("no secret has this id"),
        R::Revoked {} => Code::SecretRevoked.problem("it was revoked, for good"),
        R::Moved { version } => Code::SecretMoved.problem(format!("its version is {version}")),
        R::AgentGone {} => Code::SecretBindingWrong.problem("the agent is revoked or deleted"),
        R::BindingWrong { why } => Code::SecretBindingWrong.problem(why.clone()),
        R::AlreadyBound {} => Code::Conflict.problem("it is bound so already"),
        R::BindingsFull {} => Code::SecretsFull.problem(format!("a secret has {} bindings", secret::BINDINGS_MAX)),
        R::NotBound {} => Code::SecretNotBound.problem("the agent has no such binding of the secret"),
    }
}

fn of_package(refusal: &package::Refusal) -> Problem {
    use package::Refusal as R;
    match refusal {
        R::PublisherUnknown { publisher } => {
            Code::PublisherUntrusted.problem(format!("it is signed by {publisher}, whom nobody trusts"))
        }
        R::VersionTaken { package } => Code::PackageVersionTaken.problem(format!("{package} is this version")),
        R::Unchanged { package } => Code::Conflict.problem(format!("{package} has the same contents")),
        R::TooMany {} => Code::PackagesFull.problem(format!("{} packages are kept", package::PACKAGES_MAX)),
        R::TooLarge {} => Code::PackageInvalid.problem("the archive is too large"),
        R::Exists {} => Code::Conflict.problem("it was pushed already"),
    }
}

fn of_worker(refusal: &fleet::Refusal) -> Problem {
    use fleet::Refusal as R;
    match refusal {
        R::Registered {} | R::Unregistered {} | R::Connected {} | R::ConnectionUnknown {} => {
            Code::Conflict.problem("the worker's state has moved on")
        }
    }
}
