use super::Row;
use serde_json::{Value, json};
use tenure_daemon::model::wire::Wire;

type Events = Vec<(&'static str, String)>;

fn start() -> (&'static str, String) {
    let usage = json!({"input_tokens": 2, "cache_read_input_tokens": 7, "output_tokens": 1});
    let message = json!({"id": "m", "type": "message", "role": "assistant", "content": [], "usage": usage});
    ("message_start", json!({"type": "message_start", "message": message}).to_string())
}

fn begin(index: u64, block: &Value) -> (&'static str, String) {
    ("content_block_start", json!({"type": "content_block_start", "index": index, "content_block": block}).to_string())
}

fn delta(index: u64, delta: &Value) -> (&'static str, String) {
    ("content_block_delta", json!({"type": "content_block_delta", "index": index, "delta": delta}).to_string())
}

fn stop(index: u64) -> (&'static str, String) {
    ("content_block_stop", json!({"type": "content_block_stop", "index": index}).to_string())
}

fn ended(blocks: Vec<(&'static str, String)>, reason: &str) -> Events {
    let end = json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2}});
    let end = [("message_delta", end.to_string()), ("message_stop", json!({"type": "message_stop"}).to_string())];
    [start()].into_iter().chain(blocks).chain(end).collect()
}

fn said(index: u64, parts: &[&str]) -> Events {
    let mut events = vec![begin(index, &json!({"type": "text", "text": ""}))];
    events.extend(parts.iter().map(|text| delta(index, &json!({"type": "text_delta", "text": text}))));
    events.push(stop(index));
    events
}

fn asked(index: u64, id: &str, name: &str, parts: &[&str]) -> Events {
    let mut events = vec![begin(index, &json!({"type": "tool_use", "id": id, "name": name, "input": {}}))];
    events.extend(parts.iter().map(|part| delta(index, &json!({"type": "input_json_delta", "partial_json": part}))));
    events.push(stop(index));
    events
}

pub(super) fn thought() -> Value {
    json!({"type": "thinking", "thinking": "I should write it.", "signature": "c2lnbmVk"})
}

pub(super) fn with_reasoning() -> Row {
    let mut events = vec![
        begin(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "I should "})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "write it."})),
        delta(0, &json!({"type": "signature_delta", "signature": "c2lnbmVk"})),
        stop(0),
    ];
    events.extend(asked(1, "a", "filesystem_read", &["{\"path\":\"x\"}"]));
    let expected = "calls filesystem.read(a:{\"path\":\"x\"}) 9+2";
    Row::new(Wire::Messages, "reasoning before a call", ended(events, "tool_use"), expected)
}

pub(super) fn rows() -> Vec<Row> {
    let row = |what, events, expected: &str| Row::new(Wire::Messages, what, events, expected);
    let mut rows = vec![
        row("text", ended(said(0, &["Hel", "lo"]), "end_turn"), "end \"Hello\" 9+2"),
        with_reasoning(),
        row("text by a stop sequence", ended(said(0, &["Hello"]), "stop_sequence"), "end \"Hello\" 9+2"),
    ];
    rows.extend(calls());
    rows.extend(ends());
    rows.extend(streams());
    rows
}

fn calls() -> Vec<Row> {
    let row = |what, events, expected: &str| Row::new(Wire::Messages, what, events, expected);
    let one = "calls filesystem.read(a:{\"path\":\"x\"}) 9+2";
    let read = |parts: &[&str]| ended(asked(0, "a", "filesystem_read", parts), "tool_use");
    let two = |first: u64, second: u64, id: &str| {
        let mut events = asked(first, "a", "filesystem_read", &["{\"path\":\"x\"}"]);
        events.extend(asked(second, id, "filesystem_write", &["{\"path\":\"y\"}"]));
        ended(events, "tool_use")
    };
    let both = "calls filesystem.read(a:{\"path\":\"x\"}) filesystem.write(b:{\"path\":\"y\"}) 9+2";
    let mut without_index = two(0, 1, "b");
    for (_, data) in &mut without_index {
        let mut event: Value = serde_json::from_str(data).unwrap();
        event.as_object_mut().unwrap().remove("index");
        *data = event.to_string();
    }
    let at_once = vec![
        begin(0, &json!({"type": "tool_use", "id": "a", "name": "filesystem_read", "input": {"path": "x"}})),
        stop(0),
    ];
    vec![
        row("a call in pieces", read(&["{\"path\"", ":\"x\"}"]), one),
        row("two calls", two(0, 1, "b"), both),
        row("blocks from 1", two(1, 2, "b"), both),
        row("a huge block number", two(4_000_000_000, u64::MAX, "b"), both),
        row("both blocks numbered 0", two(0, 0, "b"), both),
        row("blocks without a number", without_index, both),
        row(
            "the same id twice",
            two(0, 1, "a"),
            "calls filesystem.read(a:{\"path\":\"x\"}) filesystem.write(call_1_3_2:{\"path\":\"y\"}) 9+2",
        ),
        row(
            "an empty id",
            two(0, 1, ""),
            "calls filesystem.read(a:{\"path\":\"x\"}) filesystem.write(call_1_3_2:{\"path\":\"y\"}) 9+2",
        ),
        row("the input at once", ended(at_once, "tool_use"), one),
        row("no input", read(&[]), "calls filesystem.read(a:{}) 9+2"),
        row("an empty input", read(&[""]), "calls filesystem.read(a:{}) 9+2"),
        row("an empty object before the input", read(&["{}", "{\"path\":\"x\"}"]), one),
        row("half an input", read(&["{\"path\":"]), "calls filesystem.read(a:misfit) 9+2"),
        row("an array for input", read(&["[1]"]), "calls filesystem.read(a:misfit) 9+2"),
        row("a raw line end", read(&["{\"path\":\"a\nb\"}"]), "calls filesystem.read(a:misfit) 9+2"),
        row(
            "a call without a name",
            ended(asked(0, "a", "", &["{\"path\":\"x\"}"]), "tool_use"),
            "calls unnamed(a:misfit) 9+2",
        ),
        row("an empty call", ended(asked(0, "a", "", &[]), "tool_use"), "callslost 9+2"),
    ]
}

fn ends() -> Vec<Row> {
    let end = |reason: &str| ended(said(0, &["Half"]), reason);
    let row = |what, events, expected: &str| Row::new(Wire::Messages, what, events, expected);
    let cut = ended(asked(0, "a", "filesystem_write", &["{\"path\":"]), "max_tokens");
    vec![
        row("cut by the limit", end("max_tokens"), "length \"Half\" 9+2"),
        row("a call cut by the limit", cut, "calls filesystem.write(a:misfit) 9+2"),
        row("a pause", end("pause_turn"), "pause \"Half\" 9+2"),
        row("a refusal", end("refusal"), "fails: refused"),
        row("the context exceeded", end("model_context_window_exceeded"), "fails: context_too_long"),
        row("an error for an end", end("error"), "fails: server_error"),
        row("a reason that nobody knows", end("because"), "fails: malformed"),
        row("calls that did not come", end("tool_use"), "callslost \"Half\" 9+2"),
        row("nothing at all", ended(Vec::new(), "end_turn"), "fails: empty"),
    ]
}

fn streams() -> Vec<Row> {
    let row = |what, events, expected: &str| Row::new(Wire::Messages, what, events, expected);
    let hello = || ended(said(0, &["Hello"]), "end_turn");
    let mut without_stop = hello();
    without_stop.pop();
    let mut without_names = hello();
    without_names.iter_mut().for_each(|(name, _)| *name = "");
    let mut without_types = hello();
    for (_, data) in &mut without_types {
        let mut event: Value = serde_json::from_str(data).unwrap();
        event.as_object_mut().unwrap().remove("type");
        *data = event.to_string();
    }
    let mut pinged = hello();
    pinged.insert(2, ("ping", json!({"type": "ping"}).to_string()));
    let mut uncounted = hello();
    uncounted[0].1 = json!({"type": "message_start", "message": {"content": []}}).to_string();
    let overloaded =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}).to_string();
    let mut unknown = hello();
    unknown.insert(1, ("content_block_start", json!({"type": "content_block_start", "index": 9, "content_block": {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}}).to_string()));
    vec![
        row("no stop after the reason", without_stop, "end \"Hello\" 9+2"),
        row("events without names", without_names, "end \"Hello\" 9+2"),
        row("events without types", without_types, "end \"Hello\" 9+2"),
        row("a ping", pinged, "end \"Hello\" 9+2"),
        row("a block that nobody knows", unknown, "end \"Hello\" 9+2"),
        row("no tokens of the prompt", uncounted, "end \"Hello\" estimated"),
        row("an error within", vec![start(), ("error", overloaded)], "fails: overloaded"),
        row(
            "no JSON",
            vec![("message_start", "{no json".to_owned()), ("", "{nor this".to_owned())],
            "fails: malformed",
        ),
        row("nothing but a beginning", vec![start()], "fails: truncated"),
    ]
}
