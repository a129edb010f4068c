//! What providers really send, over each wire, at each moment at which bytes come or stop coming: a table.
//!
//! A row is one answer of a provider. Each is served at once, byte by byte, with CR and LF apart, with what servers put
//! between, with its last line open and cut in half; half an answer is never one.
use crate::loopback::{Loopback, body_of, response};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Once};
use std::time::Duration;
use tenure_daemon::model::Model;
use tenure_daemon::model::answer::Answer;
use tenure_daemon::model::failure::{Failure, Kind};
use tenure_daemon::model::piece::PieceSink;
use tenure_daemon::model::remote::address::Protocol;
use tenure_daemon::model::remote::{ProviderClient, Remote};
use tenure_daemon::model::request::{Message, Reasoning, Request, Tag, Tool, ToolCall};
use tenure_daemon::model::wire::Wire;
use tokio::time::Instant;

#[path = "wires/chat.rs"]
mod chat;
#[path = "wires/messages.rs"]
mod messages;
#[path = "wires/responses.rs"]
mod responses;

/// One answer of a provider, and what it comes to.
struct Row {
    what: &'static str,
    wire: Wire,
    /// Name of the event, and its data; a chat event has no name.
    events: Vec<(&'static str, String)>,
    /// As [`told`] tells it.
    expected: String,
}

impl Row {
    fn new(wire: Wire, what: &'static str, events: Vec<(&'static str, String)>, expected: impl Into<String>) -> Row {
        Row { what, wire, events, expected: expected.into() }
    }

    fn text(&self, end_of_line: &str) -> String {
        let mut text = String::new();
        for (name, data) in &self.events {
            if !name.is_empty() {
                text.push_str(&format!("event: {name}{end_of_line}"));
            }
            text.push_str(&format!("data: {data}{end_of_line}{end_of_line}"));
        }
        text
    }
}

/// When bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    AtOnce,
    ByteByByte,
    /// CR and LF in two packets, everywhere.
    CrLfApart,
    /// A mark of byte order before it, comments and keep-alives between.
    Between,
    /// The last event lacks the empty line that ends it.
    LastLineOpen,
    /// The connection is closed in its midst as if all were well.
    ClosedInHalf,
    /// The connection breaks in its midst.
    BrokenInHalf,
}

impl Moment {
    const ALL: [Moment; 7] = [
        Moment::AtOnce,
        Moment::ByteByByte,
        Moment::CrLfApart,
        Moment::Between,
        Moment::LastLineOpen,
        Moment::ClosedInHalf,
        Moment::BrokenInHalf,
    ];

    fn is_cut(self) -> bool {
        matches!(self, Moment::ClosedInHalf | Moment::BrokenInHalf)
    }

    /// The packets in which a row goes out, each of which is sent before the next is.
    fn packets(self, row: &Row) -> Vec<Vec<u8>> {
        let head = |more: &str| {
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{more}connection: close\r\n\r\n")
                .into_bytes()
        };
        let text = row.text("\n");
        let bytes = text.as_bytes();
        let half = bytes.len() / 2;
        match self {
            Moment::AtOnce => vec![head(&format!("content-length: {}\r\n", bytes.len())), bytes.to_vec()],
            Moment::ByteByByte => [head("")].into_iter().chain(bytes.iter().map(|byte| vec![*byte])).collect(),
            Moment::CrLfApart => {
                let apart = row.text("\r\n");
                let parts = apart.split_inclusive('\r').map(|part| part.as_bytes().to_vec());
                [head("")].into_iter().chain(parts).collect()
            }
            Moment::Between => {
                let between = text.replace("\n\n", "\n\n: keep-alive\n\ndata: ping\n\nretry: 10\n\n");
                vec![head(""), b"\xEF\xBB\xBF".to_vec(), b": hello\n\n".to_vec(), between.into_bytes()]
            }
            Moment::LastLineOpen => vec![head(""), text.trim_end().as_bytes().to_vec()],
            Moment::ClosedInHalf => vec![head(""), bytes[..half].to_vec()],
            Moment::BrokenInHalf => vec![head(&format!("content-length: {}\r\n", bytes.len())), bytes[..half].to_vec()],
        }
    }
}

fn tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

fn tool(name: &str) -> Tool {
    let schema = json!({"type": "object", "properties": {"path": {"type": "string"}}});
    Tool { name: name.into(), description: "Do it.".into(), schema }
}

fn ask(messages: Vec<Message>) -> Request {
    Request {
        system: "You are an agent.".into(),
        messages,
        tools: vec![tool("filesystem.read"), tool("filesystem.write"), tool("filesystem.list")],
        max_tokens: 200,
        wishes: Default::default(),
        tag: Tag { iteration: 1, turn: 3, ..Tag::default() },
    }
}

fn hello() -> Request {
    ask(vec![Message::User { text: "hello".into() }])
}

fn protocol(wire: Wire) -> Protocol {
    match wire {
        Wire::Chat | Wire::Responses => Protocol::OpenAi,
        Wire::Messages => Protocol::Anthropic,
    }
}

fn model(wire: Wire, url: &str) -> Remote {
    tls();
    let client = ProviderClient::new(protocol(wire), Some(SecretString::from("sk-loopback-0123456789")), Some(url));
    Remote::new(Arc::new(client.unwrap()), "m").speaking(wire)
}

async fn generate(model: &Remote, request: &Request) -> Result<Answer, Failure> {
    model.generate(request, &PieceSink::none(), Instant::now() + Duration::from_secs(60)).await
}

/// Reads a request to its end.
fn swallow(stream: &mut TcpStream) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return;
            }
        }
        match stream.read(&mut chunk) {
            Ok(count @ 1..) => bytes.extend_from_slice(&chunk[..count]),
            Ok(0) | Err(_) => return,
        }
    }
}

/// Serves each row once, packet by packet.
fn serve(answers: Vec<Vec<Vec<u8>>>) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        for packets in answers {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            swallow(&mut stream);
            for packet in packets {
                if stream.write_all(&packet).is_err() {
                    break;
                }
            }
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read(&mut [0; 1]);
        }
    });
    (url, thread)
}

/// What an answer came to, in one line.
fn told(outcome: &Result<Answer, Failure>) -> String {
    let answer = match outcome {
        Err(failure) => return format!("fails: {}", failure.kind),
        Ok(answer) => answer,
    };
    let mut told = format!("{:?}", answer.stop).to_lowercase();
    if !answer.text.is_empty() {
        told.push_str(&format!(" {:?}", answer.text));
    }
    for call in &answer.calls {
        let arguments = if call.misfit.is_some() { "misfit".to_owned() } else { call.arguments.to_string() };
        told.push_str(&format!(" {}({}:{arguments})", call.name, call.id));
    }
    let usage = &answer.usage;
    let count = |tokens: Option<u64>| tokens.map_or("-".to_owned(), |tokens| tokens.to_string());
    match usage.estimated {
        true => told.push_str(" estimated"),
        false => told.push_str(&format!(" {}+{}", count(usage.input), count(usage.output))),
    }
    told
}

fn table() -> Vec<Row> {
    [chat::rows(), responses::rows(), messages::rows()].into_iter().flatten().collect()
}

#[test]
fn the_table_has_a_row_of_each_kind_for_each_wire() {
    let rows = table();
    assert!(rows.len() * Moment::ALL.len() >= 150, "{} rows", rows.len());
    for wire in Wire::ALL {
        let of = rows.iter().filter(|row| row.wire == wire);
        assert!(of.count() >= 20, "{}", wire.as_str());
    }
}

async fn at(moments: &[Moment]) {
    let rows = table();
    for moment in moments {
        for wire in Wire::ALL {
            let of: Vec<&Row> = rows.iter().filter(|row| row.wire == wire).collect();
            let (url, thread) = serve(of.iter().map(|row| moment.packets(row)).collect());
            let model = model(wire, &url);
            for row in of {
                let outcome = generate(&model, &hello()).await;
                let place = format!("{} over {}, {moment:?}", row.what, wire.as_str());
                if moment.is_cut() {
                    // Half an answer may hold the words of an error whole, and nothing else.
                    let failure = outcome.as_ref().expect_err(&place);
                    assert!(failure.retryable() || told(&outcome) == row.expected, "{place}: {failure:?}");
                } else {
                    assert_eq!(told(&outcome), row.expected, "{place}: {outcome:?}");
                }
            }
            thread.join().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_comes_to_what_the_table_says_at_once_and_byte_by_byte() {
    at(&[Moment::AtOnce, Moment::ByteByByte]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_comes_to_the_same_with_all_that_servers_put_between() {
    at(&[Moment::CrLfApart, Moment::Between, Moment::LastLineOpen]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_any_row_is_never_an_answer() {
    at(&[Moment::ClosedInHalf, Moment::BrokenInHalf]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_as_one_body_is_taken_and_an_error_in_one_is_told_in_its_words() {
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 2});
    let chat = json!({"choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}], "usage": usage});
    let items = json!([{"type": "message", "id": "i", "content": [{"type": "output_text", "text": "Hello"}]}]);
    let responses = json!({"object": "response", "status": "completed", "error": null, "output": items,
        "usage": {"input_tokens": 9, "output_tokens": 2}});
    let messages = json!({"type": "message", "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 9, "output_tokens": 2}});
    let error = json!({"error": {"message": "Insufficient credits for this model", "code": 402}});
    for (wire, whole) in [(Wire::Chat, chat), (Wire::Responses, responses), (Wire::Messages, messages)] {
        let of = |body: &Value| response("200 OK", "content-type: application/json\r\n", body.to_string().as_bytes());
        let detail = json!({"detail": "no such deployment"});
        let bodies = vec![of(&whole), of(&error), of(&detail), of(&json!([]))];
        let server = Loopback::serving(bodies);
        let model = model(wire, &server.url);
        assert_eq!(told(&generate(&model, &hello()).await), "end \"Hello\" 9+2");
        let failure = generate(&model, &hello()).await.unwrap_err();
        assert_eq!(failure.kind, Kind::Quota);
        assert!(failure.sentence.contains("Insufficient credits for this model"), "{failure}");
        let failure = generate(&model, &hello()).await.unwrap_err();
        assert!(failure.sentence.contains("no such deployment"), "{failure}");
        assert!(generate(&model, &hello()).await.unwrap_err().retryable());
        drop(model);
        server.heard();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_body_or_an_answer_without_end_is_left_after_its_bound() {
    for (status, wire, piece) in [
        ("500 Oops", Wire::Chat, "the GPU fell off the bus "),
        ("200 OK", Wire::Chat, "{\"error\": \"no\", \"more\": \""),
        ("200 OK", Wire::Messages, "data: {\"type\": \"ping\", \"x\": \""),
        ("200 OK", Wire::Responses, ": comment without end "),
        ("200 OK", Wire::Chat, " \n"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            swallow(&mut stream);
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n{piece}").as_bytes());
            let block = piece.repeat(64 * 1024 / piece.len()).into_bytes();
            let mut written = 0usize;
            while written < 256 * 1024 * 1024 && stream.write_all(&block).is_ok() {
                written += block.len();
            }
            written
        });
        let failure = generate(&model(wire, &url), &hello()).await.unwrap_err();
        let written = server.join().unwrap();
        assert!(written < 100 * 1024 * 1024, "{written} bytes were taken of {piece:?}");
        assert!(failure.sentence.chars().count() < 500);
        if status.starts_with("500") {
            assert_eq!(failure.kind, Kind::ServerError);
            assert!(failure.sentence.contains("the GPU fell off the bus"), "{failure}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_parameter_is_left_out_at_once_and_never_sent_again() {
    let refusal =
        |message: &str| response("400 Bad Request", "", json!({"error": {"message": message}}).to_string().as_bytes());
    let row = chat::rows().remove(0);
    let whole = || Moment::AtOnce.packets(&row).concat();
    let server = Loopback::serving(vec![
        refusal(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        ),
        refusal("Unrecognized request argument supplied: stream_options"),
        whole(),
        whole(),
    ]);
    let model = model(Wire::Chat, &server.url);
    for _ in 0..2 {
        assert_eq!(told(&generate(&model, &hello()).await), row.expected);
    }
    drop(model);
    let bodies: Vec<Value> = server.heard().iter().map(|heard| body_of(heard)).collect();
    assert_eq!((bodies[0]["max_tokens"].as_u64(), bodies[0]["stream_options"].is_object()), (Some(200), true));
    assert_eq!((bodies[1]["max_completion_tokens"].as_u64(), bodies[1]["max_tokens"].is_null()), (Some(200), true));
    for later in &bodies[2..] {
        assert_eq!((later["max_completion_tokens"].as_u64(), later.get("stream_options")), (Some(200), None));
    }
    // The control: what is refused for another reason is asked once.
    let server = Loopback::serving(vec![refusal("max_tokens is too large: this model supports at most 100")]);
    let failure = generate(&self::model(Wire::Chat, &server.url), &hello()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Rejected);
    assert!(failure.sentence.contains("at most 100"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_is_served_over_responses_alone_is_asked_there() {
    tls();
    let words = "This model is only supported in v1/responses and not in v1/chat/completions.";
    let refusal = response("404 Not Found", "", json!({"error": {"message": words}}).to_string().as_bytes());
    let row = responses::rows().remove(0);
    let server = Loopback::serving(vec![refusal, Moment::AtOnce.packets(&row).concat()]);
    let client = ProviderClient::new(Protocol::OpenAi, None, Some(&server.url)).unwrap();
    let model = Remote::new(Arc::new(client), "m");
    assert_eq!(told(&generate(&model, &hello()).await), row.expected);
    drop(model);
    let heard = server.heard();
    assert!(heard[0].starts_with("POST /chat/completions ") && heard[1].starts_with("POST /responses "), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_model_thought_goes_back_to_it_as_it_came() {
    let rows = [
        (Wire::Chat, chat::with_reasoning(), "/messages/2/reasoning_content", json!("I should write it.")),
        (Wire::Messages, messages::with_reasoning(), "/messages/1/content/0", messages::thought()),
        (Wire::Responses, responses::with_reasoning(), "/input/1", responses::thought()),
    ];
    for (wire, row, place, wanted) in rows {
        let (url, thread) = serve(vec![Moment::ByteByByte.packets(&row)]);
        let answer = generate(&model(wire, &url), &hello()).await.unwrap();
        thread.join().unwrap();
        assert!(answer.reasoning.is_some(), "{wire:?}");
        let followed = |reasoning: Option<Reasoning>| {
            let call = ToolCall { misfit: None, ..answer.calls[0].clone() };
            ask(vec![
                Message::User { text: "hello".into() },
                Message::Assistant { text: answer.text.clone(), calls: vec![call.clone()], reasoning },
                Message::Tool { call_id: call.id, name: call.name, content: "done".into() },
            ])
        };
        let server = Loopback::serving(vec![Moment::AtOnce.packets(&table_text(wire)).concat()]);
        let next = model(wire, &server.url);
        generate(&next, &followed(answer.reasoning.clone())).await.unwrap();
        drop(next);
        let sent = body_of(&server.heard()[0]);
        assert_eq!(sent.pointer(place), Some(&wanted), "{wire:?}: {sent:#}");
        // Another wire's reasoning means nothing here.
        let other = if wire == Wire::Chat { Wire::Messages } else { Wire::Chat };
        let server = Loopback::serving(vec![Moment::AtOnce.packets(&table_text(other)).concat()]);
        let next = model(other, &server.url);
        generate(&next, &followed(answer.reasoning.clone())).await.unwrap();
        drop(next);
        assert!(!server.heard()[0].contains("I should write it."));
    }
}

fn table_text(wire: Wire) -> Row {
    table().into_iter().find(|row| row.wire == wire).unwrap()
}
