//! Why a program gets no answer, in the words and the shape of its wire. Must never say what a provider's key is or where it lies.
use crate::model::failure::{Failure, Kind};
use serde_json::{Value, json};
use tenure_core::aggregate;
use tenure_core::execution::{Reason, Refusal};
use tenure_core::model_call::OPEN_MAX;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: u16,
    /// As the messages wire names it.
    pub(super) kind: &'static str,
    /// A stable word.
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Which field of the request it is about.
    pub(super) field: Option<String>,
    /// Whether the same request may be answered later; libraries ask again by themselves then.
    pub(super) again: bool,
}

impl Problem {
    fn new(status: u16, kind: &'static str, code: &'static str, message: impl Into<String>) -> Problem {
        Problem { status, kind, code, message: message.into(), field: None, again: false }
    }

    pub(super) fn field(field: impl Into<String>, why: impl Into<String>) -> Problem {
        let (field, why) = (field.into(), why.into());
        let message = format!("{field}: {why}");
        Problem { field: Some(field), ..Problem::new(400, "invalid_request_error", "invalid_request", message) }
    }

    pub(super) fn not_json(why: impl Into<String>) -> Problem {
        Problem::new(400, "invalid_request_error", "invalid_json", why)
    }

    pub(super) fn too_large() -> Problem {
        let message = "the body is longer than 16 MiB; send less at once";
        Problem::new(413, "request_too_large", "request_too_large", message)
    }

    pub(super) fn no_such_path(path: &str) -> Problem {
        let message = format!(
            "{path} is not served here; there are /v1/chat/completions, /v1/responses, /v1/messages, \
             /v1/messages/count_tokens, /v1/llm/generate, /v1/models, /mcp and what is below /v1/agent"
        );
        Problem::new(404, "not_found_error", "not_found", message)
    }

    pub(super) fn no_instance() -> Problem {
        let message = "only a program that its agent keeps running (`kind: hooks` or `acp`) has the agent's API here";
        Problem::new(403, "permission_error", "no_instance", message)
    }

    pub(super) fn no_api() -> Problem {
        let message = "the daemon is starting or closing; ask again";
        Problem { again: true, ..Problem::new(503, "api_error", "unavailable", message) }
    }

    pub(super) fn no_task() -> Problem {
        let message = "no message is being handled, and a model's cost belongs to one: ask while `message` runs";
        Problem::new(403, "permission_error", "no_message", message)
    }

    pub(super) fn wrong_method(method: &str, path: &str) -> Problem {
        let message = format!("{path} is not asked by {method}");
        Problem::new(405, "invalid_request_error", "method_not_allowed", message)
    }

    pub(super) fn busy() -> Problem {
        let message =
            format!("{OPEN_MAX} model calls of this sandbox are open, the most there may be; wait for one to end");
        Problem { again: true, ..Problem::new(429, "rate_limit_error", "too_many_open", message) }
    }

    pub(super) fn of_session() -> Problem {
        let message = "this sandbox belongs to a session, whose programs have no model calls; \
                       run the program in an execution of the agent";
        Problem::new(403, "permission_error", "no_execution", message)
    }

    /// Its event is not written, so nothing was asked.
    pub(super) fn unwritten() -> Problem {
        let message = "the call could not be recorded, so no model was asked; try again";
        Problem { again: true, ..Problem::new(503, "api_error", "not_recorded", message) }
    }

    /// The execution has moved on while the model answered.
    pub(super) fn over() -> Problem {
        Problem::new(409, "invalid_request_error", "execution_over", "the execution of this sandbox is ending")
    }

    pub(super) fn of_refusal(refusal: &aggregate::Refusal) -> Problem {
        match refusal {
            aggregate::Refusal::Execution(Refusal::ModelCallRefused { reason, detail }) => {
                let code = match reason {
                    Reason::TokenBudget => "token_budget",
                    Reason::CostBudget => "cost_budget",
                    Reason::ToolBudget => "tool_budget",
                    _ => "budget",
                };
                Problem::new(403, "permission_error", code, format!("the model is not asked: {detail}"))
            }
            aggregate::Refusal::Execution(Refusal::TooManyModelCalls {}) => Problem::busy(),
            _ => Problem::over(),
        }
    }

    pub(super) fn of_failure(failure: &Failure) -> Problem {
        let hint = if failure.hint.is_empty() { String::new() } else { format!("; {}", failure.hint) };
        let message = format!("{}{hint}", failure.sentence);
        let code = failure.kind.code();
        match failure.kind {
            Kind::UnknownModel => Problem::new(404, "not_found_error", "model_not_found", message),
            Kind::Rejected | Kind::ContextTooLong | Kind::Refused => {
                Problem::new(400, "invalid_request_error", code, message)
            }
            Kind::Auth | Kind::Quota | Kind::NotReady | Kind::CassetteEnded | Kind::Runaway => {
                Problem::new(502, "api_error", code, message)
            }
            Kind::RateLimited { .. } => Problem::new(429, "rate_limit_error", code, message),
            Kind::Overloaded { .. } => Problem::new(529, "overloaded_error", code, message),
            Kind::ServerError | Kind::Transport | Kind::Truncated | Kind::Empty | Kind::Malformed => {
                Problem::new(502, "api_error", code, message)
            }
            Kind::Deadline | Kind::Cancelled => Problem::new(504, "timeout_error", code, message),
        }
    }

    /// In a form that the libraries of both kinds of provider read.
    pub(super) fn body(&self) -> Value {
        json!({
            "type": "error",
            "error": {"type": self.kind, "message": self.message, "param": self.field, "code": self.code},
        })
    }
}
