//! What an agent outside is told of a call of its session that gave no result: the call's own reason, and what to do about it.
use tenure_wire::problem::{Code, Fault};

use super::problem::Failure;

/// A call that was not made.
pub(super) fn blocked(why: &str, sentence: String) -> Failure {
    match why {
        "misfit" => Code::CallArgumentsWrong.problem(sentence).into(),
        "policy" => Code::CallBlocked.problem(sentence).into(),
        _ => failed(why.to_string(), sentence),
    }
}

/// A call that was made; `code`: what its outcome is called.
pub(super) fn failed(code: String, reason: String) -> Failure {
    let (detail, next) = (format!("{code}: {reason}"), next(&code));
    let hint = next.map(str::to_string);
    let fault = Fault { code, path: String::new(), line: None, column: None, reason, hint };
    let problem = Code::CallFailed.problem(detail).errors(vec![fault]);
    let problem = match next {
        Some(next) => problem.hint(next),
        None => problem,
    };
    problem.into()
}

/// None of codes whose reason says all, and of those that a later worker may send.
fn next(code: &str) -> Option<&'static str> {
    Some(match code {
        "VersionConflict" => "read the value again, then decide with the version that it has",
        "QuotaExceeded" => "delete what is not needed, then call again; a person may raise the quota",
        "AccessDenied" | "denied" => "choose another; only a person can allow this one",
        "not_found" => "look at what there is, then name one of that",
        "invalid_arguments" | "invalid_schedule" | "unknown_capability" | "no_match" | "is_directory"
        | "not_directory" => {
            "mend the arguments, then call again: `GET /v1/agent/capabilities?name=NAME` gives their schema"
        }
        "escape" => "name a path in /workspace, in /tmp or in a volume",
        "exists" | "not_empty" => "choose another name, or delete what is there first",
        "too_large" | "result_too_large" => "ask for less or send less at a time, or put it into a file",
        "session_starts_none" => "leave it to a person, or write to an agent that may: comms.send",
        "too_many_schedules" | "too_many_alerts" => "end one that is not needed any more, then call again",
        "rate_limited" => "wait for the next minute, and ask for less",
        "hop_limit" => "finish here, or tell a person",
        "recipient_gone" => "look whether its name is right; of an agent that is gone, none takes it",
        "network_refused" | "redirect_refused" => "name a host that the manifest lists; only a person can list another",
        "unresolved" | "unreachable" | "tls" | "broken_off" | "too_many_redirects" | "http_status" | "checksum" => {
            "check the address and what answers there; the same call may succeed later"
        }
        "busy" => "call again in a moment",
        "sandbox" | "io" => "call again; if it fails again a person should look at `tenure status`",
        "lost" => "look whether it was done before you call again",
        "killed" | "withdrawn" | "expired" | "cancelled" => "call again if it is still wanted",
        "timed_out" => "look what of it was done, then ask for less at a time",
        other if other.starts_with("resource_exhausted") => {
            "use less of it, then call again; a person may raise the manifest's limit"
        }
        _ => return None,
    })
}
