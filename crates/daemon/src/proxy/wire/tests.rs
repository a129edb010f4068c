use super::*;
use crate::model::request::Format;

fn read(wire: Wire, body: Value) -> Result<Asked, Problem> {
    Asked::read(wire, &body.to_string(), false)
}

fn fault(wire: Wire, body: Value) -> String {
    read(wire, body).expect_err("it is refused").field.unwrap_or_default()
}

fn answer(text: &str, calls: Vec<ToolCall>) -> Answer {
    let stop = if calls.is_empty() { StopReason::End } else { StopReason::Calls };
    Answer {
        text: text.into(),
        calls,
        dropped: 0,
        reasoning: None,
        stop,
        usage: Usage { input: Some(30), output: Some(4), cached: Some(10), ..Usage::default() },
        model: "local/qwen".parse().unwrap(),
        cost_micro_usd: None,
        warning: None,
    }
}

fn weigh() -> ToolCall {
    ToolCall { id: "c1".into(), name: "weigh".into(), arguments: json!({"stone": 3}), misfit: None }
}

/// What the three wires have in common, said in each.
fn bodies() -> [(Wire, Value); 3] {
    [
        (
            Wire::Chat,
            json!({"model": "m", "max_tokens": 9, "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
                {"role": "assistant", "content": "I weigh", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weigh", "arguments": "{\"stone\":3}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "it weighs 3"},
            ], "tools": [{"type": "function", "function": {"name": "weigh", "description": "d", "parameters": {"type": "object"}}}],
            "tool_choice": "required", "temperature": 0.5}),
        ),
        (
            Wire::Responses,
            json!({"model": "m", "max_output_tokens": 9, "instructions": "be kind", "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I weigh"}]},
                {"type": "function_call", "call_id": "c1", "name": "weigh", "arguments": "{\"stone\":3}"},
                {"type": "function_call_output", "call_id": "c1", "output": "it weighs 3"},
            ], "tools": [{"type": "function", "name": "weigh", "description": "d", "parameters": {"type": "object"}}],
            "tool_choice": "required", "temperature": 0.5}),
        ),
        (
            Wire::Messages,
            json!({"model": "m", "max_tokens": 9, "system": [{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}], "messages": [
                {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
                {"role": "assistant", "content": [{"type": "text", "text": "I weigh"}, {"type": "tool_use", "id": "c1", "name": "weigh", "input": {"stone": 3}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "it weighs 3"}]}]},
            ], "tools": [{"name": "weigh", "description": "d", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any"}, "temperature": 0.5}),
        ),
    ]
}

#[test]
fn the_same_conversation_is_the_same_request_over_each_wire() {
    let requests: Vec<Request> = bodies().map(|(wire, body)| read(wire, body).unwrap().request).into();
    assert_eq!(requests[0].system, "be kind");
    assert_eq!(requests[0].messages.len(), 3);
    let image = Part::Image { media_type: "image/png".into(), data: "AAAA".into() };
    assert_eq!(requests[0].messages[0], Message::Parts { parts: vec![Part::Text { text: "look".into() }, image] });
    assert_eq!(requests[0].wishes.choice, Some(ToolChoice::Required));
    assert_eq!(requests[1], requests[0]);
    assert_eq!(requests[2], requests[0]);
}

#[test]
fn a_field_that_nobody_knows_is_refused_by_its_name_wherever_it_stands() {
    for (wire, body) in bodies() {
        read(wire, body.clone()).expect("the control");
        let mut above = body.clone();
        above["frobnicate"] = json!(1);
        assert_eq!(fault(wire, above), "frobnicate");
        let list = if wire == Wire::Responses { "input" } else { "messages" };
        let mut within = body.clone();
        within[list][1]["frobnicate"] = json!(1);
        assert_eq!(fault(wire, within), format!("{list}[1].frobnicate"));
        let mut null = body;
        null["frobnicate"] = Value::Null;
        read(wire, null).expect("a null asks for nothing");
    }
    assert_eq!(fault(Wire::Chat, json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "n": 2})), "n");
    let stored = json!({"model": "m", "input": "x", "previous_response_id": "r"});
    assert_eq!(fault(Wire::Responses, stored), "previous_response_id");
    let file = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]});
    assert_eq!(fault(Wire::Messages, file), "messages[0].content[0].type");
    let unasked = json!({"model": "m", "messages": [{"role": "tool", "tool_call_id": "c9", "content": "x"}]});
    assert_eq!(fault(Wire::Chat, unasked), "messages[0].tool_call_id");
}

#[test]
fn what_asks_for_effort_is_named_as_left_out_and_what_asks_nothing_is_not() {
    let body = json!({"model": "m", "input": "x", "reasoning": {"effort": "high"}, "prompt_cache_key": "k", "include": [],
        "store": false, "text": {"verbosity": "low"}, "parallel_tool_calls": true, "tools": [{"type": "web_search"}]});
    let asked = read(Wire::Responses, body).unwrap();
    assert_eq!(asked.left_out, ["tools[0] (web_search)", "text.verbosity", "reasoning"]);
    let body = json!({"model": "m", "max_tokens": 1, "metadata": {"user_id": "u"}, "thinking": {"type": "enabled", "budget_tokens": 1},
        "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(read(Wire::Messages, body).unwrap().left_out, ["thinking"]);
    let schema = json!({"name": "n", "schema": {"type": "object"}, "strict": true});
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema", "json_schema": schema}});
    let asked = read(Wire::Chat, body).unwrap();
    assert!(matches!(asked.request.wishes.format, Some(Format::Schema { strict: true, .. })));
    assert!(asked.left_out.is_empty());
}

fn speech(wire: Wire) -> Speech {
    let (_, body) = bodies().into_iter().find(|(known, _)| *known == wire).unwrap();
    let asked = Asked { stream: true, count: true, ..read(wire, body).unwrap() };
    Speech::new(wire, &asked)
}

fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[test]
fn what_was_streamed_and_what_is_left_make_the_whole_answer_with_its_calls() {
    let whole = answer("I weigh it", vec![weigh()]);
    for (wire, place) in
        [(Wire::Chat, "/choices/0/delta/content"), (Wire::Responses, "/delta"), (Wire::Messages, "/delta/text")]
    {
        let mut speech = speech(wire);
        let mut out = speech.text("I we");
        out.push_str(&speech.end(&whole));
        let events = events(&out);
        let of_text = |event: &&Value| {
            let kind = event["type"].as_str().unwrap_or_default();
            wire == Wire::Chat || kind == "response.output_text.delta" || kind == "content_block_delta"
        };
        let said: String = events.iter().filter(of_text).filter_map(|event| event.pointer(place)?.as_str()).collect();
        assert_eq!(said, "I weigh it", "{wire:?}: {out}");
        assert!(out.contains(r#"\"stone\":3"#), "{wire:?}: {out}");
    }
    let mut torn = speech(Wire::Chat);
    torn.text("something else");
    assert!(torn.end(&whole).contains("error"), "what does not belong together is no answer");
}

#[test]
fn a_tool_of_a_namespace_is_offered_under_one_name_and_called_by_both() {
    let spawn = json!({"type": "function", "name": "spawn", "parameters": {"type": "object"}});
    let body = json!({"model": "m", "input": [
        {"role": "user", "content": "x"},
        {"type": "function_call", "call_id": "c0", "namespace": "agents", "name": "spawn", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c0", "output": "it runs"},
    ], "tools": [{"type": "namespace", "name": "agents", "description": "d", "tools": [spawn]}, {"type": "custom", "name": "patch"}]});
    let asked = read(Wire::Responses, body).unwrap();
    let offered: Vec<&str> = asked.request.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(
        (offered, asked.left_out.as_slice()),
        (vec!["agents__spawn"], ["tools[1] (custom)".to_string()].as_slice())
    );
    assert!(matches!(&asked.request.messages[2], Message::Tool { name, .. } if name == "agents__spawn"));
    let call = ToolCall { name: "agents__spawn".into(), ..weigh() };
    let whole = Speech::new(Wire::Responses, &asked).whole(&answer("", vec![call]));
    assert_eq!((&whole["output"][0]["namespace"], &whole["output"][0]["name"]), (&json!("agents"), &json!("spawn")));
}

#[test]
fn a_whole_answer_says_tokens_as_its_wire_counts_them_and_a_wrong_call_in_the_calls_own_place() {
    let wrong = ToolCall { arguments: json!({}), misfit: Some("no object".into()), ..weigh() };
    let answer = answer("", vec![wrong]);
    let chat = speech(Wire::Chat).whole(&answer);
    assert_eq!(chat["usage"]["prompt_tokens"], 30);
    assert_eq!(chat["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], r#"{"_misfit":"no object"}"#);
    let messages = speech(Wire::Messages).whole(&answer);
    assert_eq!(
        (&messages["usage"]["input_tokens"], &messages["usage"]["cache_read_input_tokens"]),
        (&json!(20), &json!(10))
    );
    assert_eq!(messages["stop_reason"], "tool_use");
    let responses = speech(Wire::Responses).whole(&answer);
    assert_eq!(responses["output"][0]["call_id"], "c1");
    assert_eq!(responses["usage"]["total_tokens"], 34);
}
