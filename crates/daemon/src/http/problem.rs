//! The only translator of what fails in the daemon into problems on the wire. It adds what the reader needs to go on,
//! and never lets a path of the host, a key or another's data out.
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tenure_core::command::Refusal;
use tenure_core::manifest;
use tenure_core::{agent, execution, fleet, project};
use tenure_store as store;
use tenure_wire::problem::{Code, MEDIA_TYPE, Problem};

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
            store::Error::Io { .. } | store::Error::Corrupt { .. } | store::Error::Newer { .. } => {
                (Code::LedgerBroken, error.to_string())
            }
            store::Error::Stopped => (Code::Stopping, error.to_string()),
            store::Error::Busy { .. } | store::Error::Held { .. } => (Code::Overloaded, error.to_string()),
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
            other @ (records::Error::Gone(_) | records::Error::Payload(_) | records::Error::Manifest(_)) => {
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
        Refusal::Project(misstep) => of_project(*misstep),
        Refusal::Agent(misstep) => of_agent(*misstep),
        Refusal::Execution(misstep) => of_execution(misstep),
        Refusal::Worker(misstep) => of_worker(*misstep),
    }
}

fn of_project(misstep: project::Misstep) -> Problem {
    match misstep {
        project::Misstep::Founded => Code::Conflict.problem("the project is founded already"),
        project::Misstep::Unfounded => Code::NotReady.problem("the project is not founded yet"),
        project::Misstep::KeyNameTaken => Code::KeyNameTaken.problem("another live key has this name"),
        project::Misstep::KeyNameWrong => Code::KeyNameWrong.problem("the name is empty, too long or not printable"),
        project::Misstep::KeysFull => Code::KeysFull.problem("no more keys are kept alive at a time"),
        project::Misstep::KeyUnknown => Code::KeyUnknown.problem("no live key has this id"),
    }
}

fn of_agent(misstep: agent::Misstep) -> Problem {
    match misstep {
        agent::Misstep::Unknown => Code::AgentUnknown.problem("no agent has this id"),
        agent::Misstep::Unchanged => Code::Conflict.problem("the same manifest is already the newest revision"),
        agent::Misstep::Archived => Code::AgentArchived.problem("it was deleted, and is never restored"),
        agent::Misstep::NameTaken => Code::AgentNameTaken.problem("another agent has, or had, this name"),
        agent::Misstep::NameDiffers => Code::AgentNameTaken.problem("an agent keeps its name for good"),
        agent::Misstep::StillRunning => Code::AgentBusy.problem("executions of it are still open"),
    }
}

fn of_execution(misstep: &execution::Misstep) -> Problem {
    use execution::Misstep;
    match misstep {
        Misstep::Unknown => Code::ExecutionUnknown.problem("no execution has this id"),
        Misstep::AgentUnknown => Code::AgentUnknown.problem("no agent has this id"),
        Misstep::AgentArchived => Code::AgentArchived.problem("an archived agent runs no more"),
        Misstep::Twin(id) => Code::Conflict.problem(format!("the same idempotency key started {id}")),
        Misstep::Started => Code::Conflict.problem("it was started already"),
        Misstep::Ended => Code::ExecutionEnded.problem("it has ended, and nothing can be done to it any more"),
        Misstep::MaxIterationsWrong => Code::MaxIterationsWrong.problem("an execution has 1 to 1000 iterations"),
        Misstep::CancelRequested => Code::CancelRequested.problem("a cancel was accepted before"),
        Misstep::Stale
        | Misstep::NoSession
        | Misstep::SlotsFull
        | Misstep::Bound
        | Misstep::NotDue
        | Misstep::TooManyCalls
        | Misstep::TooManyRefusals => Code::Conflict.problem("the execution's state has moved on"),
    }
}

fn of_worker(misstep: fleet::Misstep) -> Problem {
    match misstep {
        fleet::Misstep::Registered
        | fleet::Misstep::Unregistered
        | fleet::Misstep::SessionOpen
        | fleet::Misstep::SessionUnknown => Code::Conflict.problem("the worker's state has moved on"),
    }
}
