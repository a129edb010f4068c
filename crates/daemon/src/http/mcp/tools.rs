//! Capabilities as MCP tools: the same names, arguments and effects. What a tool gives is wrapped, because a call may be answered
//! before it has ended, and clients refuse structured content that does not fit the tool's schema.
use std::sync::Arc;

use rmcp::model::{ErrorData, JsonObject, ListToolsResult, Tool, ToolAnnotations};
use serde_json::{Value, json};
use tenure_core::capability::{Capability, Effects};

/// The tool that is no capability: it gives what came of a call that was answered early.
pub(super) const CALL_RESULT: &str = "tenure.call_result";
/// Tools of one page. More than there are: some clients ask for no second page.
const PAGE: usize = 128;
/// How long that tool may wait; clients give up after a minute.
pub(super) const WAIT_MS_MAX: u64 = 50_000;

/// Some clients write no dots.
pub(super) fn is_call_result(name: &str) -> bool {
    name == CALL_RESULT || name == CALL_RESULT.replace('.', "_")
}

/// Those after the tool that the cursor names.
pub(super) fn page(
    offered: &[&'static Capability],
    brought: Vec<Tool>,
    cursor: Option<&str>,
) -> Result<ListToolsResult, ErrorData> {
    let built = offered.iter().map(|known| of_capability(known));
    cut(built.chain(brought).chain([call_result()]).collect(), cursor, PAGE)
}

fn cut(mut tools: Vec<Tool>, cursor: Option<&str>, size: usize) -> Result<ListToolsResult, ErrorData> {
    if let Some(cursor) = cursor {
        let place = tools.iter().position(|tool| tool.name == cursor).ok_or_else(|| {
            ErrorData::invalid_params("the cursor is of another list; ask for the first page again, without one", None)
        })?;
        tools.drain(..=place);
    }
    let more = tools.len() > size;
    tools.truncate(size);
    let last = tools.last().filter(|_| more).map(|tool| tool.name.to_string());
    let mut page = ListToolsResult::with_all_items(tools);
    page.next_cursor = last;
    Ok(page)
}

fn of_capability(capability: &Capability) -> Tool {
    let mut description = capability.brief.to_string();
    for (title, text) in [("Use when", capability.use_when), ("Avoid when", capability.avoid_when)] {
        if !text.is_empty() {
            description.push_str(&format!("\n{title}: {text}"));
        }
    }
    let annotations = ToolAnnotations::new()
        .read_only(capability.effects == Effects::None)
        .destructive(capability.effects == Effects::Irreversible)
        .idempotent(capability.idempotent)
        .open_world(capability.name.starts_with("network."));
    Tool::new(capability.name, description, Arc::new(object(capability.input())))
        .with_title(title(capability.name))
        .with_raw_output_schema(Arc::new(output(capability.output())))
        .with_annotations(annotations)
}

fn call_result() -> Tool {
    let input = json!({
        "type": "object",
        "properties": {
            "call": {"type": "string", "description": "The id of the call."},
            "wait_ms": {"type": "integer", "minimum": 0, "maximum": WAIT_MS_MAX, "description": "How long to wait for its end; 20000 without it."},
            "offset": {"type": "integer", "minimum": 0, "description": "Of a result that was cut: from this byte of its JSON on."},
        },
        "required": ["call"],
        "additionalProperties": false,
    });
    let description = "Give the result of a call that was answered before it ended, or the rest of a long one.\n\
                       Use when: a tool answered `in_flight` or `waiting`, or with a result that was cut.\n\
                       Avoid when: the tool's own answer was `done` and whole.";
    Tool::new(CALL_RESULT, description, Arc::new(object(input)))
        .with_title(title(CALL_RESULT))
        .with_raw_output_schema(Arc::new(output(json!({}))))
        .with_annotations(ToolAnnotations::new().read_only(true).destructive(false).idempotent(true).open_world(false))
}

/// What each tool answers with.
fn output(result: Value) -> JsonObject {
    object(json!({
        "type": "object",
        "properties": {
            "status": {
                "enum": ["done", "in_flight", "waiting", "failed", "refused"],
                "description": "in_flight and waiting (for a person to allow it): tenure.call_result gives the result later.",
            },
            "call": {"type": "string"},
            "result": result,
            "detail": {"description": "What stands beside the result."},
            "approval": {"type": "string", "description": "What a person is asked to allow."},
            "bytes": {"type": "integer", "description": "Of a result that was cut: its length."},
            "next_offset": {"type": "integer", "description": "Of a result that was cut: where the rest begins."},
            "code": {"type": "string"},
            "reason": {"type": "string"},
            "next": {"type": "string"},
        },
        "required": ["status"],
    }))
}

/// `state.persistent.set` as people read it.
fn title(name: &str) -> String {
    let text = name.replace(['.', '_'], " ");
    let mut letters = text.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

pub(super) fn object(schema: Value) -> JsonObject {
    match schema {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_core::capability::catalogue;

    #[test]
    fn every_capability_is_a_tool_whose_schemas_are_objects_and_whose_name_any_client_takes() {
        let all: Vec<_> = catalogue().collect();
        let page = page(&all, Vec::new(), None).unwrap();
        assert_eq!((page.tools.len(), page.next_cursor), (all.len() + 1, None), "one page holds all");
        for tool in &page.tools {
            assert!(tool.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{tool:?}");
            assert!(tool.name.len() <= 64, "{tool:?}");
            assert_eq!(tool.input_schema["type"], "object", "{tool:?}");
            assert_eq!(tool.output_schema.as_ref().unwrap()["type"], "object", "{tool:?}");
        }
        let named = |name: &str| page.tools.iter().find(|tool| tool.name == name).unwrap().clone();
        let hints = |name: &str| named(name).annotations.unwrap();
        assert_eq!(hints("filesystem.read").read_only_hint, Some(true));
        assert_eq!(hints("state.persistent.set").read_only_hint, Some(false));
        assert_eq!(named("state.persistent.set").title.as_deref(), Some("State persistent set"));
    }

    #[test]
    fn pages_follow_each_other_to_the_end_and_a_foreign_cursor_is_refused() {
        let all: Vec<Tool> = catalogue().take(5).map(of_capability).collect();
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = cut(all.clone(), cursor.as_deref(), 2).unwrap();
            seen.extend(page.tools);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
        assert!(cut(all, Some("none.such"), 2).is_err());
    }
}
