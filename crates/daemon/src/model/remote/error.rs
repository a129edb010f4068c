//! Turns what went wrong with a provider into our kinds, by the status, the headers and the provider's own error body.
//!
//! Whatever of that body is kept has been scrubbed of the key first and clipped after.

use super::address::Protocol;
use crate::model::failure::{Failure, Kind};
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// Letters of a provider's own message that are kept.
const MESSAGE_CHARS_MAX: usize = 300;
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;

/// What went wrong.
pub(super) enum ProviderError<'a> {
    Status {
        status: StatusCode,
        headers: &'a HeaderMap,
        body: &'a str,
    },
    /// An error inside an answer that had begun with 200.
    Told(&'a Value),
    /// The connection, or what came over it, broke; `begun`: part of an answer had come.
    Broken {
        error: &'a (dyn std::error::Error + 'static),
        begun: bool,
    },
    NotTheProtocol,
}

pub(super) struct ErrorContext<'a> {
    pub(super) protocol: Protocol,
    pub(super) base_url: &'a str,
    pub(super) key: Option<&'a SecretString>,
    /// The variable that may lead requests through a proxy.
    pub(super) proxy_variable: Option<&'a str>,
}

impl ErrorContext<'_> {
    pub(super) fn failure(&self, error: &ProviderError<'_>) -> Failure {
        match error {
            ProviderError::Status { status, headers, body } => {
                self.status(*status, headers, &ErrorBody::of(&self.scrubbed(body)))
            }
            ProviderError::Told(body) => self.told(&ErrorBody::of(&self.scrubbed(&body.to_string()))),
            ProviderError::Broken { error, begun } => self.broken(&innermost(*error), *begun),
            ProviderError::NotTheProtocol => self.not_the_protocol(),
        }
    }

    fn status(&self, status: StatusCode, headers: &HeaderMap, body: &ErrorBody) -> Failure {
        let kind = kind(status.as_u16(), retry_after_ms(headers), body);
        let sentence = format!("{} answered {}{}", self.base_url, status.as_u16(), body.colon());
        self.describe(kind, sentence, "")
    }

    fn told(&self, body: &ErrorBody) -> Failure {
        let kind = match body.code.as_str() {
            _ if body.is_out_of_credit() => Kind::Quota,
            _ if body.is_too_long() => Kind::ContextTooLong,
            _ if body.is_filtered() => Kind::Refused,
            "overloaded_error" | "overloaded" | "engine_overloaded" | "engine_overloaded_error" | "unavailable" => {
                Kind::Overloaded { retry_after_ms: None }
            }
            "rate_limit_error" | "rate_limit_exceeded" | "rate_limit" | "resource_exhausted" | "too_many_requests" => {
                Kind::RateLimited { retry_after_ms: None }
            }
            "authentication_error"
            | "permission_error"
            | "invalid_api_key"
            | "unauthenticated"
            | "permission_denied" => Kind::Auth,
            "not_found_error" | "model_not_found" | "not_found" => Kind::UnknownModel,
            "invalid_request_error" | "invalid_request" | "invalid_argument" | "invalid_prompt" | "bad_request" => {
                Kind::Rejected
            }
            code => match code.parse::<u16>() {
                Ok(status) if (400..600).contains(&status) => kind(status, None, body),
                Ok(_) | Err(_) => Kind::ServerError,
            },
        };
        self.describe(kind, format!("{} broke its answer off with an error{}", self.base_url, body.colon()), "")
    }

    fn broken(&self, cause: &str, begun: bool) -> Failure {
        match begun {
            true => self.describe(
                Kind::Truncated,
                format!("the connection to {} broke in the middle of an answer: {cause}", self.base_url),
                "",
            ),
            false => {
                let proxy = self.proxy_variable.map(|variable| format!(" ({variable} leads through a proxy)"));
                let sentence = format!("{}{} gave no answer: {cause}", self.base_url, proxy.unwrap_or_default());
                self.describe(Kind::Transport, sentence, "")
            }
        }
    }

    fn not_the_protocol(&self) -> Failure {
        let name = self.protocol.provider().as_str();
        self.describe(Kind::Malformed, format!("{} does not answer as {name}'s protocol says", self.base_url), "")
    }

    fn describe(&self, kind: Kind, sentence: String, hint: &str) -> Failure {
        let hint = if hint.is_empty() { self.hint(&kind) } else { hint.to_owned() };
        Failure::new(kind, self.clean(&sentence), hint)
    }

    fn clean(&self, text: &str) -> String {
        let limit = MESSAGE_CHARS_MAX + self.base_url.len() + 80;
        let visible = self.scrubbed(text);
        visible.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(limit).collect()
    }

    /// Before anything is clipped: a clipped key is no longer found.
    fn scrubbed(&self, text: &str) -> String {
        match self.key.map(ExposeSecret::expose_secret).filter(|key| !key.is_empty()) {
            Some(key) => text.replace(key, "[key]"),
            None => text.to_owned(),
        }
    }

    fn hint(&self, kind: &Kind) -> String {
        let (key, url) = (self.protocol.key_variable(), self.protocol.url_variable());
        match kind {
            Kind::Auth => format!("check {key} (and {url}, if set), then start the daemon again"),
            Kind::Quota => "the account has no credit left: top it up or choose another model".to_owned(),
            Kind::UnknownModel => format!("check the model's name; if {url} is set, it may lack a part such as /v1"),
            Kind::RateLimited { .. } | Kind::Overloaded { .. } | Kind::ServerError => {
                "it is asked again after a wait".to_owned()
            }
            Kind::Transport => match self.proxy_variable {
                Some(variable) => format!("it is asked again; check the network, {url} and {variable}"),
                None => format!("it is asked again; check the network and {url}"),
            },
            Kind::Truncated => "it is asked again; the half that came is not used".to_owned(),
            Kind::Malformed => format!("it is asked again; check that {url} points at this protocol"),
            Kind::ContextTooLong => "shorten the input, or choose a model with a longer context".to_owned(),
            Kind::Rejected => format!("read the provider's words; if {url} is set, check its address"),
            Kind::Refused => "change the instruction or choose another model".to_owned(),
            Kind::Empty | Kind::Runaway | Kind::Deadline | Kind::Cancelled | Kind::NotReady | Kind::CassetteEnded => {
                String::new()
            }
        }
    }
}

/// What a status means, with what the body says of it.
fn kind(status: u16, retry_after_ms: Option<u64>, body: &ErrorBody) -> Kind {
    let of_the_request = (400..500).contains(&status);
    match status {
        _ if body.is_out_of_credit() => Kind::Quota,
        _ if of_the_request && body.is_too_long() => Kind::ContextTooLong,
        _ if of_the_request && body.is_unknown_model() => Kind::UnknownModel,
        _ if of_the_request && body.is_filtered() => Kind::Refused,
        401 | 403 => Kind::Auth,
        402 => Kind::Quota,
        404 => Kind::UnknownModel,
        413 => Kind::ContextTooLong,
        429 => Kind::RateLimited { retry_after_ms },
        408 | 425 | 503 | 529 => Kind::Overloaded { retry_after_ms },
        code if code >= 500 => Kind::ServerError,
        _ => Kind::Rejected,
    }
}

/// The provider's own error: its code and its message.
struct ErrorBody {
    code: String,
    message: String,
}

impl ErrorBody {
    fn of(body: &str) -> ErrorBody {
        match serde_json::from_str::<Value>(body) {
            Ok(value) => ErrorBody::of_value(&value),
            Err(_) => ErrorBody { code: String::new(), message: body.trim().to_owned() },
        }
    }

    fn of_value(body: &Value) -> ErrorBody {
        // Some send a list with one error in it.
        let body = body.as_array().and_then(|list| list.first()).unwrap_or(body);
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let word = |field: &str| match error.get(field) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            Some(_) | None => None,
        };
        // A number says less than a word that stands beside it.
        let words = [word("code"), word("type"), word("status")];
        let named = words.iter().flatten().find(|word| word.parse::<f64>().is_err() && *word != "error");
        let code = named.or_else(|| words.iter().flatten().next()).cloned().unwrap_or_default();
        let told = word("message").or_else(|| word("detail")).or_else(|| word("msg"));
        let message = told.or_else(|| error.as_str().map(str::to_owned)).unwrap_or_else(|| error.to_string());
        ErrorBody { code: code.to_lowercase(), message }
    }

    fn colon(&self) -> String {
        let message: String = self.message.chars().take(MESSAGE_CHARS_MAX).collect();
        if message.is_empty() { String::new() } else { format!(": {message}") }
    }

    fn says(&self, words: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        words.iter().any(|word| message.contains(word))
    }

    fn is_out_of_credit(&self) -> bool {
        matches!(
            self.code.as_str(),
            "insufficient_quota" | "billing_error" | "billing_hard_limit_reached" | "insufficient_balance"
        ) || self.says(&["credit balance is too low", "insufficient credit", "insufficient balance", "no credit left"])
    }

    fn is_too_long(&self) -> bool {
        matches!(
            self.code.as_str(),
            "context_length_exceeded" | "exceed_context_size_error" | "context_window_exceeded"
        ) || self.says(&[
            "maximum context length",
            "prompt is too long",
            "context window",
            "context size",
            "context length exceeded",
            "exceeds the context",
            "input is too long",
        ])
    }

    fn is_filtered(&self) -> bool {
        matches!(self.code.as_str(), "content_filter" | "content_policy_violation" | "safety")
    }

    fn is_unknown_model(&self) -> bool {
        self.code == "model_not_found"
    }
}

fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let wait = match text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        Some(milliseconds) => milliseconds,
        None => match text(RETRY_AFTER.as_str())? {
            seconds if seconds.parse::<f64>().is_ok() => seconds.parse::<f64>().ok()? * 1000.0,
            date => {
                let until = http_date(date)?;
                let from = text(DATE.as_str()).and_then(http_date).unwrap_or_else(jiff::Timestamp::now);
                until.as_millisecond().saturating_sub(from.as_millisecond()) as f64
            }
        },
    };
    // A float that is no sensible wait becomes 0 or the maximum by `as`, which saturates.
    wait.is_finite().then(|| (wait.max(0.0) as u64).min(RETRY_AFTER_MS_MAX))
}

fn http_date(text: &str) -> Option<jiff::Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// The deepest cause: the outer ones repeat the address.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_wait_is_read_in_every_form_that_providers_use_and_is_bounded() {
        let date = [("date", "Fri, 20 Nov 2026 08:00:00 GMT"), ("retry-after", "Fri, 20 Nov 2026 08:00:07 GMT")];
        assert_eq!(retry_after_ms(&headers(&[("retry-after", "2")])), Some(2000));
        assert_eq!(retry_after_ms(&headers(&[("retry-after-ms", "150"), ("retry-after", "2")])), Some(150));
        assert_eq!(retry_after_ms(&headers(&date)), Some(7000));
        assert_eq!(retry_after_ms(&headers(&[("retry-after", "1e30")])), Some(RETRY_AFTER_MS_MAX));
        assert_eq!(retry_after_ms(&headers(&[("retry-after", "-5")])), Some(0));
        assert_eq!(retry_after_ms(&headers(&[("retry-after", "soon")])), None);
        assert_eq!(retry_after_ms(&headers(&[])), None);
    }
}
