use crate::loopback::{Loopback, body_of, response};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;
use tenure_daemon::model::Model;
use tenure_daemon::model::answer::{Answer, StopReason, Usage};
use tenure_daemon::model::failure::{Failure, Kind};
use tenure_daemon::model::piece::PieceSink;
use tenure_daemon::model::remote::address::Protocol;
use tenure_daemon::model::remote::{ProviderClient, Remote};
use tenure_daemon::model::request::{Message, Request, Tag, Tool, ToolCall};
use tokio::time::Instant;

const KEY: &str = "sk-loopback-0123456789abcdef";
const BOTH: [Protocol; 2] = [Protocol::Anthropic, Protocol::OpenAi];

fn tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

fn tool(name: &str) -> Tool {
    Tool {
        name: name.into(),
        description: "Do it.".into(),
        schema: json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}),
    }
}

fn ask(messages: Vec<Message>) -> Request {
    Request {
        system: "You are an agent.".into(),
        messages,
        tools: vec![tool("filesystem.read"), tool("filesystem.write")],
        max_tokens: 200,
        wishes: Default::default(),
        tag: Tag::default(),
    }
}

fn hello() -> Request {
    ask(vec![Message::User { text: "hello".into() }])
}

fn sse(status: &str, events: &[(&str, Value)]) -> Vec<u8> {
    response(status, "content-type: text/event-stream\r\n", frames(events).as_bytes())
}

/// `""` is an event without a name, as OpenAI sends them; a string goes out as it is.
fn frames(events: &[(&str, Value)]) -> String {
    let data = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let frame = |(name, value): &(&str, Value)| match *name {
        "" => format!("data: {}\n\n", data(value)),
        name => format!("event: {name}\ndata: {}\n\n", data(value)),
    };
    events.iter().map(frame).collect()
}

fn openai_text() -> Vec<(&'static str, Value)> {
    let chunk =
        |delta: Value, finish: Value| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    vec![
        ("", chunk(json!({"role": "assistant", "content": "Hel"}), Value::Null)),
        ("", chunk(json!({"content": "lo"}), Value::Null)),
        ("", chunk(json!({}), json!("stop"))),
        (
            "",
            json!({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22,
                "prompt_tokens_details": {"cached_tokens": 16}}}),
        ),
        ("", json!("[DONE]")),
    ]
}

fn openai_calls(arguments: [&str; 2]) -> Vec<(&'static str, Value)> {
    let part = |index: u32, call: Value| {
        let mut call = call;
        call["index"] = json!(index);
        json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}]})
    };
    let (first, rest) = arguments[0].split_at(arguments[0].len() / 2);
    vec![
        (
            "",
            part(0, json!({"id": "c1", "type": "function", "function": {"name": "filesystem_read", "arguments": ""}})),
        ),
        ("", part(0, json!({"function": {"arguments": first}}))),
        ("", part(0, json!({"function": {"arguments": rest}}))),
        (
            "",
            part(
                1,
                json!({"id": "c2", "type": "function",
                    "function": {"name": "format_disk", "arguments": arguments[1]}}),
            ),
        ),
        ("", json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})),
        ("", json!("[DONE]")),
    ]
}

fn anthropic_start() -> (&'static str, Value) {
    let usage =
        json!({"input_tokens": 4, "cache_read_input_tokens": 16, "cache_creation_input_tokens": 0, "output_tokens": 1});
    ("message_start", json!({"type": "message_start", "message": {"role": "assistant", "content": [], "usage": usage}}))
}

fn anthropic_end(reason: &str) -> [(&'static str, Value); 2] {
    let delta = json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2}});
    [("message_delta", delta), ("message_stop", json!({"type": "message_stop"}))]
}

fn anthropic_text() -> Vec<(&'static str, Value)> {
    let delta =
        |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    let mut events = vec![
        anthropic_start(),
        ("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}})),
        ("ping", json!({"type": "ping"})),
        ("content_block_delta", delta("Hel")),
        ("content_block_delta", delta("lo")),
        ("content_block_stop", json!({"index": 0})),
    ];
    events.extend(anthropic_end("end_turn"));
    events
}

fn anthropic_calls(arguments: [&str; 2]) -> Vec<(&'static str, Value)> {
    let mut events = vec![anthropic_start()];
    for (index, (id, name)) in [("c1", "filesystem_read"), ("c2", "format_disk")].into_iter().enumerate() {
        let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        events.push(("content_block_start", json!({"index": index, "content_block": block})));
        let (first, rest) = arguments[index].split_at(arguments[index].len() / 2);
        for part in [first, rest] {
            let delta = json!({"type": "input_json_delta", "partial_json": part});
            events.push(("content_block_delta", json!({"index": index, "delta": delta})));
        }
        events.push(("content_block_stop", json!({"index": index})));
    }
    events.extend(anthropic_end("tool_use"));
    events
}

fn text_events(protocol: Protocol) -> Vec<(&'static str, Value)> {
    match protocol {
        Protocol::Anthropic => anthropic_text(),
        Protocol::OpenAi | Protocol::Ollama => openai_text(),
    }
}

fn call_events(protocol: Protocol, arguments: [&str; 2]) -> Vec<(&'static str, Value)> {
    match protocol {
        Protocol::Anthropic => anthropic_calls(arguments),
        Protocol::OpenAi | Protocol::Ollama => openai_calls(arguments),
    }
}

async fn answer_of(protocol: Protocol, script: Vec<u8>, request: &Request) -> (Result<Answer, Failure>, String) {
    tls();
    let server = Loopback::serving(vec![script]);
    let client = ProviderClient::new(protocol, Some(SecretString::from(KEY)), Some(&server.url)).unwrap();
    let model = Remote::new(Arc::new(client), "some-model-high");
    let deadline = Instant::now() + Duration::from_secs(20);
    let outcome = model.generate(request, &PieceSink::none(), deadline).await;
    drop(model);
    (outcome, server.heard().remove(0))
}

async fn failure_of(protocol: Protocol, script: Vec<u8>) -> Failure {
    let failure = answer_of(protocol, script, &hello()).await.0.unwrap_err();
    let shown = format!("{failure:?} {failure} {}", serde_json::to_string(&failure).unwrap());
    assert!(!shown.contains(KEY), "the key is shown: {shown}");
    assert!(!failure.sentence.is_empty() && !failure.hint.is_empty(), "{failure:?}");
    failure
}

#[tokio::test]
async fn a_text_answer_streams_and_comes_whole_in_both_protocols() {
    for protocol in BOTH {
        tls();
        let server = Loopback::serving(vec![sse("200 OK", &text_events(protocol))]);
        let client = ProviderClient::new(protocol, Some(SecretString::from(KEY)), Some(&server.url)).unwrap();
        let model = Remote::new(Arc::new(client), "some-model-high");
        let (sender, mut reader) = tokio::sync::mpsc::channel(8);
        let deadline = Instant::now() + Duration::from_secs(20);
        let answer = model.generate(&hello(), &PieceSink::new(sender), deadline).await.unwrap();
        assert_eq!((answer.text.as_str(), answer.stop), ("Hello", StopReason::End));
        let told = Usage { input: Some(20), output: Some(2), cached: Some(16), ..answer.usage };
        assert_eq!(answer.usage, told);
        assert!(!answer.usage.estimated);
        assert_eq!(answer.cost_micro_usd, None, "the price at another address is unknown");
        assert_eq!(reader.recv().await.as_deref(), Some("Hel"));
        let sent = body_of(&server.heard()[0]);
        assert_eq!(sent["model"], "some-model-high", "the name goes out as it was written");
        assert_eq!(sent["max_tokens"], 200);
    }
}

#[tokio::test]
async fn several_calls_of_one_answer_keep_their_order_ids_and_capability_names() {
    for protocol in BOTH {
        let script = sse("200 OK", &call_events(protocol, [r#"{"path":"a.txt"}"#, "{}"]));
        let (outcome, request) = answer_of(protocol, script, &hello()).await;
        let answer = outcome.unwrap();
        let call = |id: &str, name: &str, arguments: Value| ToolCall {
            id: id.into(),
            name: name.into(),
            arguments,
            misfit: None,
        };
        assert_eq!(answer.stop, StopReason::Calls);
        assert_eq!(
            answer.calls,
            [call("c1", "filesystem.read", json!({"path": "a.txt"})), call("c2", "format_disk", json!({}))]
        );
        let offered = body_of(&request)["tools"].to_string();
        assert!(offered.contains("filesystem_write") && !offered.contains("filesystem.write"), "{offered}");
    }
}

#[tokio::test]
async fn the_results_of_all_calls_go_back_as_each_protocol_wants_them() {
    let call = |id: &str| ToolCall {
        id: id.into(),
        name: "filesystem.read".into(),
        arguments: json!({"path": id}),
        misfit: None,
    };
    let result =
        |id: &str| Message::Tool { call_id: id.into(), name: "filesystem.read".into(), content: format!("of {id}") };
    let request = ask(vec![
        Message::User { text: "read both".into() },
        Message::Assistant { text: String::new(), calls: vec![call("c1"), call("c2")], reasoning: None },
        result("c1"),
        result("c2"),
    ]);
    let (outcome, heard) = answer_of(Protocol::OpenAi, sse("200 OK", &openai_text()), &request).await;
    outcome.unwrap();
    let sent = body_of(&heard);
    let messages = sent["messages"].as_array().unwrap();
    assert_eq!(messages[2]["tool_calls"][1]["function"]["name"], "filesystem_read");
    assert_eq!((&messages[3]["tool_call_id"], &messages[4]["tool_call_id"]), (&json!("c1"), &json!("c2")));
    assert!(heard.to_lowercase().contains(&format!("authorization: bearer {KEY}")));

    let (outcome, heard) = answer_of(Protocol::Anthropic, sse("200 OK", &anthropic_text()), &request).await;
    outcome.unwrap();
    let sent = body_of(&heard);
    let messages = sent["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3, "all results are one message: {messages:?}");
    assert_eq!(messages[1]["content"][1]["name"], "filesystem_read");
    assert_eq!(
        (&messages[2]["content"][0]["tool_use_id"], &messages[2]["content"][1]["content"]),
        (&json!("c1"), &json!("of c2"))
    );
    assert_eq!(messages[2]["content"][1]["cache_control"]["type"], "ephemeral");
    assert_eq!(sent["system"][0]["cache_control"]["type"], "ephemeral");
    assert!(heard.starts_with("POST /v1/messages "), "{heard}");
}

#[tokio::test]
async fn each_refusal_of_a_provider_has_its_kind() {
    let body = |code: &str| json!({"error": {"type": code, "code": code, "message": "no"}}).to_string().into_bytes();
    let table = [
        ("401 Unauthorized", "", "invalid_api_key", Kind::Auth),
        ("403 Forbidden", "", "permission_error", Kind::Auth),
        ("404 Not Found", "", "not_found_error", Kind::UnknownModel),
        ("429 Too Many", "retry-after: 3\r\n", "rate_limit_error", Kind::RateLimited { retry_after_ms: Some(3000) }),
        ("429 Too Many", "", "rate_limit_error", Kind::RateLimited { retry_after_ms: None }),
        ("429 Too Many", "", "insufficient_quota", Kind::Quota),
        ("400 Bad Request", "", "context_length_exceeded", Kind::ContextTooLong),
        ("400 Bad Request", "", "invalid_request_error", Kind::Rejected),
        ("302 Found", "location: http://127.0.0.1:1/\r\n", "", Kind::Rejected),
        ("500 Oops", "", "api_error", Kind::ServerError),
        ("502 Bad Gateway", "", "", Kind::ServerError),
        ("503 Unavailable", "retry-after: 1\r\n", "", Kind::Overloaded { retry_after_ms: Some(1000) }),
        ("529 Overloaded", "", "overloaded_error", Kind::Overloaded { retry_after_ms: None }),
    ];
    for protocol in BOTH {
        for (status, headers, code, kind) in &table {
            let failure = failure_of(protocol, response(status, headers, &body(code))).await;
            assert_eq!(&failure.kind, kind, "{status} {code}");
        }
    }
}

#[tokio::test]
async fn half_a_stream_is_never_an_answer() {
    for protocol in BOTH {
        for events in [text_events(protocol), call_events(protocol, [r#"{"path":"a"}"#, "{}"])] {
            // What follows the reason of the end is not the answer.
            let end = events.iter().position(|(_, event)| event.to_string().contains("_reason\":\"")).unwrap();
            for kept in 2..=end {
                let ended = sse("200 OK", &events[..kept]);
                assert_eq!(failure_of(protocol, ended).await.kind, Kind::Truncated, "{protocol:?} after {kept} events");
            }
            let whole = sse("200 OK", &events);
            let cut = failure_of(protocol, whole[..whole.len() - 30].to_vec()).await;
            assert_eq!(cut.kind, Kind::Truncated, "{protocol:?} cut by the network");
        }
    }
}

#[tokio::test]
async fn nothing_is_told_apart_from_a_closed_connection() {
    for protocol in BOTH {
        let empty = failure_of(protocol, response("200 OK", "content-type: text/event-stream\r\n", b"")).await;
        assert_eq!(empty.kind, Kind::Empty);
        let closed = failure_of(protocol, Vec::new()).await;
        assert_eq!(closed.kind, Kind::Transport);
        let page = failure_of(protocol, response("200 OK", "content-type: text/html\r\n", b"<html>hi</html>")).await;
        assert_eq!(page.kind, Kind::Empty);
        let silent = match protocol {
            Protocol::Anthropic => [vec![anthropic_start()], anthropic_end("end_turn").to_vec()].concat(),
            Protocol::OpenAi | Protocol::Ollama => openai_text().split_off(2),
        };
        assert_eq!(failure_of(protocol, sse("200 OK", &silent)).await.kind, Kind::Empty);
    }
}

#[tokio::test]
async fn arguments_that_are_no_json_object_spoil_no_other_call_and_are_told() {
    for protocol in BOTH {
        for arguments in [r#"{"path": "a"#, "[1]", "\"text\"", "nonsense"] {
            let script = sse("200 OK", &call_events(protocol, [arguments, "{}"]));
            let answer = answer_of(protocol, script, &hello()).await.0.unwrap();
            let misfits: Vec<bool> = answer.calls.iter().map(|call| call.misfit.is_some()).collect();
            assert_eq!(misfits, [true, false], "{arguments}");
        }
        let garbage = sse("200 OK", &[("message_start", json!("{no json")), ("", json!("{no json"))]);
        assert_eq!(failure_of(protocol, garbage).await.kind, Kind::Malformed);
    }
}

#[tokio::test]
async fn an_error_inside_a_stream_has_its_kind() {
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let failure = failure_of(Protocol::Anthropic, sse("200 OK", &[anthropic_start(), ("error", overloaded)])).await;
    assert_eq!(failure.kind, Kind::Overloaded { retry_after_ms: None });
    let broken = json!({"error": {"type": "server_error", "message": "went wrong"}});
    let failure = failure_of(Protocol::OpenAi, sse("200 OK", &[openai_text().remove(0), ("", broken)])).await;
    assert_eq!(failure.kind, Kind::ServerError);
}

#[tokio::test]
async fn a_provider_that_is_silent_is_left_at_the_deadline() {
    tls();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = ProviderClient::new(Protocol::OpenAi, None, Some(&url)).unwrap();
    let model = Remote::new(Arc::new(client), "m");
    let soon = Instant::now() + Duration::from_millis(200);
    let failure = model.generate(&hello(), &PieceSink::none(), soon).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Deadline);
    assert!(failure.retryable());
}

/// Keeps all that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_key_that_a_provider_echoes_reaches_neither_the_failure_nor_a_log() {
    let log = Log::default();
    let written = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || written.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::error!("control: {}", "this is logged");
    for protocol in BOTH {
        let echo = format!("{}{KEY} is no key {}", "x".repeat(280), "y".repeat(1000));
        let body = json!({"error": {"message": echo, "type": "invalid_request_error"}}).to_string();
        let failure = failure_of(protocol, response("401 Unauthorized", "", body.as_bytes())).await;
        assert!(failure.sentence.chars().count() < 500, "{}", failure.sentence.len());
        assert!(!failure.sentence.contains("sk-loopback"), "not even a part of it: {failure}");
        let event = json!({"error": {"message": format!("bad {KEY}"), "type": "server_error"}});
        let stream = match protocol {
            Protocol::Anthropic => sse("200 OK", &[("error", event)]),
            Protocol::OpenAi | Protocol::Ollama => sse("200 OK", &[("", event)]),
        };
        assert!(failure_of(protocol, stream).await.sentence.contains("[key]"));
    }
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("this is logged"));
    assert!(!logged.contains("sk-loopback"), "{logged}");
}

#[tokio::test]
async fn a_server_with_one_model_needs_no_name_and_one_with_several_does() {
    tls();
    let list = |names: &[&str]| {
        let data: Vec<Value> = names.iter().map(|name| json!({"id": name})).collect();
        response("200 OK", "content-type: application/json\r\n", json!({"data": data}).to_string().as_bytes())
    };
    let server = Loopback::serving(vec![list(&["qwen"]), list(&["qwen", "llama"])]);
    let url = format!("{}/v1", server.url);
    let client = ProviderClient::new(Protocol::OpenAi, None, Some(&url)).unwrap();
    assert_eq!(client.only_model().await.unwrap(), "qwen");
    let failure = client.only_model().await.unwrap_err();
    assert_eq!(failure.kind, Kind::UnknownModel);
    assert!(failure.sentence.contains("qwen, llama") && failure.hint.contains("TENURE_DEFAULT_MODEL=openai/"));
    assert!(server.heard()[0].starts_with("GET /v1/models "));
}

#[test]
fn a_base_url_that_would_leak_or_fail_is_refused() {
    for url in ["ftp://host/v1", "http://user:pass@host/v1", "nonsense", "file:///etc/passwd"] {
        let failure = ProviderClient::new(Protocol::OpenAi, None, Some(url)).unwrap_err();
        assert_eq!(failure.kind, Kind::NotReady, "{url}");
        assert!(failure.sentence.contains("OPENAI_BASE_URL"));
    }
    let client = ProviderClient::new(Protocol::Anthropic, None, Some("https://api.anthropic.com")).unwrap();
    assert!(client.is_official());
}
