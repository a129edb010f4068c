use super::Row;
use serde_json::{Value, json};
use tenure_daemon::model::wire::Wire;

type Events = Vec<(&'static str, String)>;

fn chunk(delta: Value, finish: Option<&str>) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

fn usage() -> Value {
    json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}})
}

fn events(values: &[Value]) -> Events {
    values.iter().map(|value| ("", value.to_string())).chain([("", "[DONE]".to_owned())]).collect()
}

/// Deltas, then the end with this reason, then the count.
fn ended(deltas: &[Value], finish: &str) -> Events {
    let mut values: Vec<Value> = deltas.iter().map(|delta| chunk(delta.clone(), None)).collect();
    values.extend([chunk(json!({}), Some(finish)), usage()]);
    events(&values)
}

fn call(index: Value, id: Value, name: Value, arguments: Value) -> Value {
    let mut call = json!({"type": "function", "function": {}});
    for (field, value) in [("index", index), ("id", id)] {
        if !value.is_null() {
            call[field] = value;
        }
    }
    for (field, value) in [("name", name), ("arguments", arguments)] {
        if !value.is_null() {
            call["function"][field] = value;
        }
    }
    json!({"tool_calls": [call]})
}

fn calls(fragments: &[(Value, Value, Value, Value)]) -> Events {
    let deltas: Vec<Value> =
        fragments.iter().cloned().map(|(index, id, name, args)| call(index, id, name, args)).collect();
    ended(&deltas, "tool_calls")
}

pub(super) fn with_reasoning() -> Row {
    let thought = json!({"reasoning_content": "I should "});
    let more = json!({"reasoning_content": "write it."});
    let asked = call(json!(0), json!("a"), json!("filesystem_read"), json!("{\"path\":\"x\"}"));
    let expected = "calls filesystem.read(a:{\"path\":\"x\"}) 9+2";
    Row::new(Wire::Chat, "reasoning before a call", ended(&[thought, more, asked], "tool_calls"), expected)
}

pub(super) fn rows() -> Vec<Row> {
    let row = |what, events, expected: &str| Row::new(Wire::Chat, what, events, expected);
    let said = || ended(&[json!({"role": "assistant", "content": "Hel"}), json!({"content": "lo"})], "stop");
    let mut rows = vec![row("text", said(), "end \"Hello\" 9+2"), with_reasoning()];
    rows.extend(streams(&said));
    rows.extend(fragments());
    rows.extend(arguments());
    rows.extend(ends());
    rows.extend(usages());
    rows
}

fn streams(said: &dyn Fn() -> Events) -> Vec<Row> {
    let row = |what, events, expected: &str| Row::new(Wire::Chat, what, events, expected);
    let mut without_done = said();
    without_done.pop();
    let mut with_null_error = said();
    with_null_error[0].1 = with_null_error[0].1.replacen('{', "{\"error\":null,", 1);
    let mut two_choices = said();
    let other = chunk(json!({"content": "other"}), None).to_string().replace("\"index\":0", "\"index\":1");
    two_choices.insert(1, ("", other));
    let mut repeated_whole = said();
    let message = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]});
    repeated_whole.insert(2, ("", message.to_string()));
    let parts = json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hello"}]});
    let refusal = [json!({"content": null, "refusal": "I will not."})];
    let error = |error: Value| events(&[chunk(json!({"content": "Hel"}), None), json!({"error": error})]);
    let named = vec![(
        "error",
        json!({"message": "context window of 4096 exceeded", "type": "invalid_request_error"}).to_string(),
    )];
    vec![
        row("no end mark after the reason", without_done, "end \"Hello\" 9+2"),
        row("an error that is null", with_null_error, "end \"Hello\" 9+2"),
        row("another choice between", two_choices, "end \"Hello\" 9+2"),
        row("the whole message once more", repeated_whole, "end \"Hello\" 9+2"),
        row("content in parts", ended(&[parts], "stop"), "end \"Hello\" 9+2"),
        row("letters of many bytes", ended(&[json!({"content": "aé☃𝄞"})], "stop"), "end \"aé☃𝄞\" 9+2"),
        row("the model refuses", ended(&refusal, "stop"), "fails: refused"),
        row("an error", error(json!({"message": "went wrong", "code": "server_error"})), "fails: server_error"),
        row("an error by number", error(json!({"message": "slow down", "code": 429})), "fails: rate_limited"),
        row("an error in words", error(json!("Insufficient credits")), "fails: quota"),
        row("an event named error", named, "fails: context_too_long"),
        row("no JSON", vec![("", "{no json".to_owned()), ("", "{nor this".to_owned())], "fails: malformed"),
        row("nothing but an end", events(&[]), "fails: truncated"),
        row("no reason for the end", events(&[chunk(json!({"content": "Hel"}), None)]), "fails: truncated"),
    ]
}

const X: &str = "{\"path\":\"x\"}";
const Y: &str = "{\"path\":\"y\"}";
const READ: &str = "filesystem_read";
const WRITE: &str = "filesystem_write";
const ONE: &str = "calls filesystem.read(a:{\"path\":\"x\"}) 9+2";
const BOTH: &str = "calls filesystem.read(a:{\"path\":\"x\"}) filesystem.write(b:{\"path\":\"y\"}) 9+2";

/// Index, id, name and arguments of a piece of a call; what is none is not sent.
type Part = (Value, Option<&'static str>, Option<&'static str>, Option<&'static str>);

fn in_parts(what: &'static str, parts: &[Part], expected: &str) -> Row {
    let text = |text: &Option<&str>| text.map_or(Value::Null, |text| json!(text));
    let fragments: Vec<_> =
        parts.iter().map(|(index, id, name, args)| (index.clone(), text(id), text(name), text(args))).collect();
    Row::new(Wire::Chat, what, calls(&fragments), expected)
}

fn fragments() -> Vec<Row> {
    let mut rows = indexes();
    rows.extend(ids_and_names());
    let old = json!({"function_call": {"name": READ, "arguments": X}});
    let expected = "calls filesystem.read(call_1_3_1:{\"path\":\"x\"}) 9+2";
    rows.push(Row::new(Wire::Chat, "the old form", ended(&[old], "function_call"), expected));
    rows
}

fn indexes() -> Vec<Row> {
    let none = || Value::Null;
    let read = |index: Value| (index, Some("a"), Some(READ), Some(X));
    let write = |index: Value| (index, Some("b"), Some(WRITE), Some(Y));
    vec![
        in_parts("no index", &[read(none())], ONE),
        in_parts("two without index", &[read(none()), write(none())], BOTH),
        in_parts("both with index 0", &[read(json!(0)), write(json!(0))], BOTH),
        in_parts("index from 1", &[read(json!(1)), write(json!(2))], BOTH),
        in_parts("a huge index", &[read(json!(4_000_000_000u64))], ONE),
        in_parts("the largest index", &[read(json!(u64::MAX)), write(json!(0))], BOTH),
        in_parts("an index as text", &[read(json!("0"))], ONE),
        in_parts("an index as a float", &[read(json!(0.0))], ONE),
        in_parts("a negative index", &[read(json!(-1))], ONE),
        in_parts("an index that is an object", &[read(json!({}))], ONE),
    ]
}

fn ids_and_names() -> Vec<Row> {
    let (begin, rest) = (Some("{\"path\":"), Some("\"x\"}"));
    let (first, second) = (|| json!(0), || json!(1));
    let own = "calls filesystem.read(call_1_3_1:{\"path\":\"x\"}) 9+2";
    let twice = "calls filesystem.read(a:{\"path\":\"x\"}) filesystem.write(call_1_3_2:{\"path\":\"y\"}) 9+2";
    let nameless = "calls unnamed(a:misfit) filesystem.write(b:{\"path\":\"y\"}) 9+2";
    let good = |index: Value| (index, Some("a"), Some(READ), Some(X));
    vec![
        in_parts("the same id twice", &[good(first()), (second(), Some("a"), Some(WRITE), Some(Y))], twice),
        in_parts("no id", &[(first(), None, Some(READ), Some(X))], own),
        in_parts("an empty id", &[(first(), Some(""), Some(READ), Some(X))], own),
        in_parts("a late id", &[(first(), None, Some(READ), begin), (first(), Some("a"), None, rest)], ONE),
        in_parts("a late name", &[(first(), Some("a"), None, Some("")), (first(), None, Some(READ), Some(X))], ONE),
        in_parts("a name at last", &[(first(), Some("a"), None, Some(X)), (first(), None, Some(READ), None)], ONE),
        in_parts(
            "the name with each piece",
            &[(first(), Some("a"), Some(READ), begin), (first(), Some("a"), Some(READ), rest)],
            ONE,
        ),
        in_parts(
            "an id of its own for each piece",
            &[(first(), Some("a"), Some(READ), begin), (first(), Some("z"), None, rest)],
            ONE,
        ),
        in_parts("an empty call before", &[(first(), Some(""), Some(""), Some("")), good(second())], ONE),
        in_parts("an empty call behind", &[good(first()), (second(), Some("p"), None, Some(""))], ONE),
        in_parts("nothing but an empty call", &[(first(), Some("a"), None, Some(""))], "callslost 9+2"),
        in_parts(
            "a call without a name",
            &[(first(), Some("a"), None, Some(X)), (second(), Some("b"), Some(WRITE), Some(Y))],
            nameless,
        ),
        in_parts(
            "a name that is not on offer",
            &[(first(), Some("a"), Some("format_disk"), Some(X))],
            "calls format_disk(a:{\"path\":\"x\"}) 9+2",
        ),
    ]
}

fn arguments() -> Vec<Row> {
    let with = |arguments: Value| calls(&[(json!(0), json!("a"), json!("filesystem_read"), arguments)]);
    let good = "calls filesystem.read(a:{\"path\":\"x\"}) 9+2";
    let blank = "calls filesystem.read(a:{}) 9+2";
    let misfit = "calls filesystem.read(a:misfit) 9+2";
    [
        ("arguments as an object", json!({"path": "x"}), good),
        ("arguments encoded twice", json!("\"{\\\"path\\\":\\\"x\\\"}\""), good),
        ("an empty object before the arguments", json!("{}{\"path\":\"x\"}"), good),
        ("no arguments", Value::Null, blank),
        ("empty arguments", json!(""), blank),
        ("blank arguments", json!(" "), blank),
        ("null as text", json!("null"), blank),
        ("a trailing comma", json!("{\"path\":\"x\",}"), misfit),
        ("a raw line end", json!("{\"path\":\"a\nb\"}"), misfit),
        ("half a surrogate", json!("{\"path\":\"\\ud83d\"}"), misfit),
        ("a quote within", json!("{\"path\":\"say \"x\"\"}"), misfit),
        ("half an object", json!("{\"path\":"), misfit),
        ("an array", json!("[1]"), misfit),
        ("a number", json!(7), misfit),
        ("words", json!("read x please"), misfit),
    ]
    .into_iter()
    .map(|(what, arguments, expected)| Row::new(Wire::Chat, what, with(arguments), expected))
    .collect()
}

fn ends() -> Vec<Row> {
    let said = |finish: &str| ended(&[json!({"content": "Half"})], finish);
    let asked = |arguments: &str, finish: &str| {
        let good = call(json!(0), json!("a"), json!("filesystem_read"), json!("{\"path\":\"x\"}"));
        let cut = call(json!(1), json!("b"), json!("filesystem_write"), json!(arguments));
        ended(&[good, cut], finish)
    };
    let row = |what, events, expected: &str| Row::new(Wire::Chat, what, events, expected);
    vec![
        row("cut by the limit", said("length"), "length \"Half\" 9+2"),
        row("nothing but the limit", ended(&[json!({"reasoning": "hm"})], "length"), "length 9+2"),
        row(
            "a call cut by the limit",
            asked("{\"path\":", "length"),
            "calls filesystem.read(a:{\"path\":\"x\"}) filesystem.write(b:misfit) 9+2",
        ),
        row(
            "a call cut before its arguments",
            asked("", "max_tokens"),
            "calls filesystem.read(a:{\"path\":\"x\"}) filesystem.write(b:misfit) 9+2",
        ),
        row(
            "calls that end as text",
            asked("{}", "stop"),
            "calls filesystem.read(a:{\"path\":\"x\"}) filesystem.write(b:{}) 9+2",
        ),
        row("a call that broke off", asked("{}", "error"), "fails: server_error"),
        row("an error for an end", said("error"), "fails: server_error"),
        row("an abort", said("abort"), "fails: server_error"),
        row("no system resource", said("insufficient_system_resource"), "fails: server_error"),
        row("a network error", said("network_error"), "fails: server_error"),
        row("a filter", said("content_filter"), "fails: refused"),
        row("a sensitive word", said("sensitive"), "fails: refused"),
        row("the context exceeded", said("model_context_window_exceeded"), "fails: context_too_long"),
        row("a reason that nobody knows", said("because"), "fails: malformed"),
        row("a malformed call", said("malformed_function_call"), "callslost \"Half\" 9+2"),
        row("calls that did not come", said("tool_calls"), "callslost \"Half\" 9+2"),
        row("in capitals", said("STOP"), "end \"Half\" 9+2"),
        row("thought and no word", ended(&[json!({"reasoning_content": "hm"})], "stop"), "silent 9+2"),
        row("nothing at all", ended(&[], "stop"), "fails: empty"),
    ]
}

fn usages() -> Vec<Row> {
    let with = |usage: Value, place: usize| {
        let mut values = [chunk(json!({"content": "Hello"}), None), chunk(json!({}), Some("stop"))];
        values[place]["usage"] = usage;
        events(&values)
    };
    let row = |what, events, expected: &str| Row::new(Wire::Chat, what, events, expected);
    let mut in_the_choice = [chunk(json!({"content": "Hello"}), None), chunk(json!({}), Some("stop"))];
    in_the_choice[1]["choices"][0]["usage"] = json!({"prompt_tokens": 9, "completion_tokens": 2});
    let mut of_groq = [chunk(json!({"content": "Hello"}), None), chunk(json!({}), Some("stop"))];
    of_groq[1]["x_groq"] = json!({"usage": {"prompt_tokens": 9, "completion_tokens": 2}});
    vec![
        row(
            "tokens on the first event",
            with(json!({"prompt_tokens": 9, "completion_tokens": 2}), 0),
            "end \"Hello\" 9+2",
        ),
        row("tokens as floats", with(json!({"prompt_tokens": 9.0, "completion_tokens": 2.0}), 1), "end \"Hello\" 9+2"),
        row("tokens under other names", with(json!({"input_tokens": 9, "output_tokens": 2}), 1), "end \"Hello\" 9+2"),
        row("tokens in the choice", events(&in_the_choice), "end \"Hello\" 9+2"),
        row("tokens in a vendor's field", events(&of_groq), "end \"Hello\" 9+2"),
        row("tokens in all alone", with(json!({"prompt_tokens": 9, "total_tokens": 11}), 1), "end \"Hello\" 9+2"),
        row("no tokens", with(Value::Null, 1), "end \"Hello\" estimated"),
        row(
            "tokens that are nothing",
            with(json!({"prompt_tokens": 0, "completion_tokens": 0}), 1),
            "end \"Hello\" estimated",
        ),
        row("tokens of the prompt alone", with(json!({"prompt_tokens": 9}), 1), "end \"Hello\" estimated"),
        row(
            "tokens beyond all bounds",
            with(json!({"prompt_tokens": u64::MAX, "completion_tokens": 1e300}), 1),
            "end \"Hello\" 1099511627776+1099511627776",
        ),
    ]
}
