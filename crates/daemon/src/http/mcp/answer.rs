//! What a call's answer is in MCP: the same in words and as structured content. What failed is a result that says so and what to do
//! next, never an error of the protocol: a model reads the one and not the other.
use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Value, json};
use tenure_core::id::{ApprovalId, CallId};
use tenure_wire::api::session::{Answered, CallState, Invoked, SessionCall};
use tenure_wire::problem::Code;

use super::tools::CALL_RESULT;
use super::upstream;
use crate::http::problem::Failure;

/// A result's JSON that is shown at once; the rest is asked for.
pub(super) const RESULT_BYTES_MAX: usize = 64 * 1024;

/// `offset`: of the result's JSON.
pub(super) fn of(answered: Result<Answered, Failure>, approval: Option<ApprovalId>, offset: usize) -> CallToolResult {
    match answered {
        Ok(Answered::Done(invoked)) => done(invoked, offset),
        Ok(Answered::Open(call)) => open(&call, approval),
        Err(failure) => failed(&failure),
    }
}

fn done(Invoked { call, result, detail, .. }: Invoked, offset: usize) -> CallToolResult {
    let text = result.to_string();
    let mut content = json!({"status": "done", "call": call});
    if let Some(detail) = detail {
        content["detail"] = detail;
    }
    if offset == 0 && text.len() <= RESULT_BYTES_MAX {
        content["result"] = result;
        return answer(text, content);
    }
    long(call, &text, offset, content)
}

/// A piece of a result that is too long to be shown at once, and where the whole is.
pub(super) fn long(call: CallId, text: &str, offset: usize, mut content: Value) -> CallToolResult {
    let begin = boundary(text, offset);
    let end = boundary(text, begin.saturating_add(RESULT_BYTES_MAX));
    content["bytes"] = json!(text.len());
    let mut shown = text[begin..end].to_string();
    if end < text.len() {
        content["next_offset"] = json!(end);
        let next = json!({"call": call, "offset": end});
        shown.push_str(&format!(
            "\n[cut: {end} of {} bytes of JSON; `{CALL_RESULT}` {next} gives the rest]",
            text.len()
        ));
    }
    let mut result = answer(shown, content);
    result.content.extend(upstream::link(call));
    result
}

/// The place, or the one before it that is in no letter's midst.
fn boundary(text: &str, place: usize) -> usize {
    (0..=place.min(text.len())).rev().find(|place| text.is_char_boundary(*place)).unwrap_or(0)
}

fn open(call: &SessionCall, approval: Option<ApprovalId>) -> CallToolResult {
    let (id, next) = (call.call, json!({"call": call.call}));
    let (status, why) = match (&approval, call.state) {
        (Some(approval), _) => ("waiting", format!("It waits for a person to allow it ({approval}).")),
        (None, CallState::Waiting) => ("in_flight", "It waits for a worker with room.".to_string()),
        (None, CallState::Running | CallState::Ended) => ("in_flight", "It runs.".to_string()),
    };
    let mut content = json!({"status": status, "call": id});
    if let Some(approval) = approval {
        content["approval"] = json!(approval);
    }
    let text = format!(
        "{} has not ended: {id}. {why} Do not call it again; `{CALL_RESULT}` {next} gives its result.",
        call.capability
    );
    answer(text, content)
}

pub(super) fn failed(failure: &Failure) -> CallToolResult {
    let problem = &failure.0;
    let fault = problem.errors.first();
    let status = if problem.code == Code::CallFailed { "failed" } else { "refused" };
    let code = fault.map_or_else(|| json!(problem.code), |fault| json!(fault.code));
    let (reason, next) = (&problem.detail, next(problem.code, &problem.hint));
    let content = json!({"status": status, "code": code, "reason": reason, "next": next});
    mistaken(format!("{}: {reason}\nnext: {next}", problem.title), content)
}

/// What to do next where the API's own hint names a request of its own.
fn next(code: Code, hint: &str) -> &str {
    const NEXT: [(Code, &str); 4] = [
        (
            Code::CallArgumentsWrong,
            "mend the arguments by the tool's inputSchema, then call again; `tools/list` has it",
        ),
        (Code::CallBlocked, "choose another tool of `tools/list`; only a person can allow this one"),
        (Code::CallUnknown, "give it the `call` that a tool's answer had"),
        (Code::SessionEnded, "begin anew with `initialize`"),
    ];
    match NEXT.iter().find(|(known, _)| *known == code) {
        Some((_, next)) => next,
        None if hint.contains("/v1/agent/capabilities") => NEXT[0].1,
        None => hint,
    }
}

/// A call that its client took back.
pub(super) fn taken_back(call: CallId) -> CallToolResult {
    let content = json!({"status": "refused", "call": call, "code": "cancelled", "reason": "its caller took it back"});
    mistaken(format!("{call} was taken back by its caller"), content)
}

fn mistaken(text: String, content: Value) -> CallToolResult {
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    result.structured_content = Some(content);
    result
}

fn answer(text: String, content: Value) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(content);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_core::id::Mint;
    use tenure_core::time::Time;

    fn text(result: &CallToolResult) -> String {
        serde_json::to_value(result).unwrap()["content"][0]["text"].as_str().unwrap().to_string()
    }

    #[test]
    fn a_long_result_is_cut_between_letters_and_its_pieces_are_the_whole() {
        let call = CallId::mint(&mut Mint::new(Time::from_millis(1), 1));
        let long = json!({ "content": "ü".repeat(RESULT_BYTES_MAX) });
        let answer = |offset| {
            let (result, capability) = (long.clone(), "filesystem.read".to_string());
            done(Invoked { call, capability, result, detail: None, repeated: false }, offset)
        };
        let (mut whole, mut offset) = (String::new(), 0);
        loop {
            let piece = answer(offset);
            let content = piece.structured_content.clone().unwrap();
            assert!(content.get("result").is_none() && content["bytes"] == long.to_string().len(), "{content}");
            whole.push_str(text(&piece).split("\n[cut: ").next().unwrap());
            match content["next_offset"].as_u64() {
                Some(next) => offset = usize::try_from(next).unwrap(),
                None => break,
            }
        }
        let all = long.to_string();
        assert!(whole == all, "the pieces are not the whole");
        assert_eq!(text(&answer(usize::MAX)), "", "past the end there is nothing");
    }
}
