use super::Row;
use serde_json::{Value, json};
use tenure_daemon::model::wire::Wire;

type Events = Vec<(&'static str, String)>;

fn event(value: &Value) -> (&'static str, String) {
    ("", value.to_string())
}

fn usage() -> Value {
    json!({"input_tokens": 9, "output_tokens": 2, "total_tokens": 11, "input_tokens_details": {"cached_tokens": 4}})
}

fn created() -> (&'static str, String) {
    event(
        &json!({"type": "response.created", "response": {"id": "r", "status": "in_progress", "error": null, "output": []}}),
    )
}

fn completed(output: &[Value]) -> (&'static str, String) {
    let response = json!({"id": "r", "status": "completed", "error": null, "output": output, "usage": usage()});
    event(&json!({"type": "response.completed", "response": response}))
}

fn message(text: &str) -> Value {
    json!({"type": "message", "id": "i", "role": "assistant", "content": [{"type": "output_text", "text": text}]})
}

fn text_delta(text: &str) -> (&'static str, String) {
    event(
        &json!({"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0, "delta": text}),
    )
}

fn function(id: &str, name: &str, arguments: Value) -> Value {
    json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": name, "arguments": arguments})
}

/// One call as it is streamed: announced, in pieces, whole.
fn asked(index: u64, id: &str, name: &str, parts: &[&str]) -> Events {
    let item = format!("fc_{id}");
    let mut events = vec![event(
        &json!({"type": "response.output_item.added", "output_index": index, "item": function(id, name, json!(""))}),
    )];
    events.extend(parts.iter().map(|part| {
        event(&json!({"type": "response.function_call_arguments.delta", "item_id": item, "output_index": index, "delta": part}))
    }));
    let whole = parts.concat();
    events.push(event(&json!({"type": "response.function_call_arguments.done", "item_id": item, "output_index": index, "arguments": whole})));
    events.push(event(
        &json!({"type": "response.output_item.done", "output_index": index, "item": function(id, name, json!(whole))}),
    ));
    events
}

fn around(events: Events, output: &[Value]) -> Events {
    [created()].into_iter().chain(events).chain([completed(output)]).collect()
}

fn ended(event_kind: &str, response: Value) -> Events {
    let mut response = response;
    response["usage"] = usage();
    vec![created(), text_delta("Half"), event(&json!({"type": event_kind, "response": response}))]
}

pub(super) fn thought() -> Value {
    json!({"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "I should write it."}], "encrypted_content": "c2VhbGVk"})
}

pub(super) fn with_reasoning() -> Row {
    let mut item = thought();
    item["status"] = json!("completed");
    let mut events = vec![event(&json!({"type": "response.output_item.done", "output_index": 0, "item": item}))];
    events.extend(asked(1, "a", "filesystem_read", &["{\"path\":\"x\"}"]));
    let expected = "calls filesystem.read(a:{\"path\":\"x\"}) 9+2";
    Row::new(Wire::Responses, "reasoning before a call", around(events, &[]), expected)
}

pub(super) fn rows() -> Vec<Row> {
    let row = |what, events, expected: &str| Row::new(Wire::Responses, what, events, expected);
    let hello = || vec![text_delta("Hel"), text_delta("lo")];
    let unnamed = event(&json!({"type": "response.output_text.delta", "delta": "Hello"}));
    let mut named = around(hello(), &[message("Hello")]);
    for (name, data) in &mut named {
        let mut event: Value = serde_json::from_str(data).unwrap();
        let kind = event.as_object_mut().unwrap().remove("type").unwrap();
        *name = if kind == "response.created" {
            "response.created"
        } else if kind == "response.completed" {
            "response.completed"
        } else {
            "response.output_text.delta"
        };
        *data = event.to_string();
    }
    let mut rows = vec![
        row("text", around(hello(), &[message("Hello")]), "end \"Hello\" 9+2"),
        with_reasoning(),
        row("text that is not repeated", around(hello(), &[]), "end \"Hello\" 9+2"),
        row("text at the end alone", around(Vec::new(), &[message("Hello")]), "end \"Hello\" 9+2"),
        row("text of no item", around(vec![unnamed], &[message("Hello")]), "end \"Hello\" 9+2"),
        row("types by the events' names", named, "end \"Hello\" 9+2"),
    ];
    rows.extend(calls());
    rows.extend(ends());
    rows
}

fn calls() -> Vec<Row> {
    let row = |what, events, expected: &str| Row::new(Wire::Responses, what, events, expected);
    let one = "calls filesystem.read(a:{\"path\":\"x\"}) 9+2";
    let both = "calls filesystem.read(a:{\"path\":\"x\"}) filesystem.write(b:{\"path\":\"y\"}) 9+2";
    let whole = function("a", "filesystem_read", json!("{\"path\":\"x\"}"));
    let read = |parts: &[&str]| around(asked(0, "a", "filesystem_read", parts), &[]);
    let two = |first: u64, second: u64| {
        let mut events = asked(first, "a", "filesystem_read", &["{\"path\":", "\"x\"}"]);
        events.extend(asked(second, "b", "filesystem_write", &["{\"path\":\"y\"}"]));
        around(events, &[])
    };
    let same_id = around(
        Vec::new(),
        &[
            whole.clone(),
            json!({"type": "function_call", "call_id": "a", "name": "filesystem_write", "arguments": "{}"}),
        ],
    );
    let mut unfinished = asked(0, "a", "filesystem_read", &["{\"path\":", "\"x\"}"]);
    unfinished.truncate(3);
    vec![
        row("a call in pieces", read(&["{\"path\"", ":\"x\"}"]), one),
        row("a call at the end alone", around(Vec::new(), std::slice::from_ref(&whole)), one),
        row(
            "a call that is repeated at the end",
            around(asked(0, "a", "filesystem_read", &["{\"path\":\"x\"}"]), &[whole]),
            one,
        ),
        row("a call that is never told whole", around(unfinished, &[]), one),
        row("two calls", two(0, 1), both),
        row("a huge place", two(4_000_000_000, u64::MAX), both),
        row(
            "the same id twice",
            same_id,
            "calls filesystem.read(a:{\"path\":\"x\"}) filesystem.write(call_1_3_2:{}) 9+2",
        ),
        row(
            "arguments as an object",
            around(Vec::new(), &[function("a", "filesystem_read", json!({"path": "x"}))]),
            one,
        ),
        row("no arguments", read(&[]), "calls filesystem.read(a:{}) 9+2"),
        row("half an object", read(&["{\"path\":"]), "calls filesystem.read(a:misfit) 9+2"),
        row("an array", read(&["[1]"]), "calls filesystem.read(a:misfit) 9+2"),
        row(
            "a call without a name",
            around(asked(0, "a", "", &["{\"path\":\"x\"}"]), &[]),
            "calls unnamed(a:misfit) 9+2",
        ),
    ]
}

fn ends() -> Vec<Row> {
    let row = |what, events, expected: &str| Row::new(Wire::Responses, what, events, expected);
    let incomplete = |reason: &str| {
        ended("response.incomplete", json!({"status": "incomplete", "incomplete_details": {"reason": reason}}))
    };
    let mut cut = vec![created()];
    cut.extend(asked(0, "a", "filesystem_write", &["{\"path\":"]));
    let response =
        json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "usage": usage()});
    cut.push(event(&json!({"type": "response.incomplete", "response": response})));
    let failed = |error: Value| ended("response.failed", json!({"status": "failed", "error": error}));
    let error = event(&json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow down"}));
    let refusal = json!({"type": "message", "id": "i", "content": [{"type": "refusal", "refusal": "I will not."}]});
    let uncounted = event(&json!({"type": "response.completed", "response": {"status": "completed", "output": []}}));
    vec![
        row("cut by the limit", incomplete("max_output_tokens"), "length \"Half\" 9+2"),
        row("a call cut by the limit", cut, "calls filesystem.write(a:misfit) 9+2"),
        row("a filter", incomplete("content_filter"), "fails: refused"),
        row("a reason that nobody knows", incomplete("because"), "fails: malformed"),
        row(
            "incomplete for no reason",
            ended("response.incomplete", json!({"status": "incomplete"})),
            "fails: server_error",
        ),
        row("a failure", failed(json!({"code": "server_error", "message": "went wrong"})), "fails: server_error"),
        row(
            "a failure for the context",
            failed(json!({"code": "context_length_exceeded", "message": "no"})),
            "fails: context_too_long",
        ),
        row("an error within", vec![created(), error], "fails: rate_limited"),
        row("the model refuses", around(Vec::new(), &[refusal]), "fails: refused"),
        row("no tokens", vec![created(), text_delta("Hello"), uncounted], "end \"Hello\" estimated"),
        row("nothing at all", around(Vec::new(), &[]), "fails: empty"),
        row("no JSON", vec![("", "{no json".to_owned()), ("", "{nor this".to_owned())], "fails: malformed"),
        row("nothing but a beginning", vec![created()], "fails: truncated"),
    ]
}
