//! What the daemon and the program `tenure-local-model` say to each other over one Unix socket.
//!
//! Both ways: one JSON value a line, closed by `\n`, never longer than [`LINE_BYTES_MAX`]. The program speaks first:
//! [`Event::Hello`] when the weights are loaded, or [`Event::Unloadable`] and the end. After that every
//! [`Request::Generate`] gets any number of [`Event::Text`] and then exactly one [`Event::Done`] or [`Event::Failed`].
//! The end of the socket is the order to end, also in the midst of an answer.
//!
//! Nothing here may name a provider or a file of weights, and no secret ever crosses this socket.

use std::io::{self, BufRead, Read};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Version of this protocol; [`Hello`] carries it and the daemon refuses another.
pub const PROTOCOL: u32 = 1;
/// Longest line either side sends or accepts, in bytes, its newline included.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Generations that may wait behind the one that runs; one more is answered with [`FailureKind::Busy`].
pub const WAITING_MAX: usize = 8;
/// Messages in one request.
pub const MESSAGES_MAX: usize = 512;
/// Tools offered in one request.
pub const TOOLS_MAX: usize = 64;
/// Calls that one answer can ask for.
pub const CALLS_MAX: u32 = 4;
/// The name under which the model gives its final text; no offered tool may bear it.
pub const ANSWER: &str = "answer";

/// What the daemon sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// Asks for one turn.
    Generate(Generate),
    /// Ends the generation `id`, waiting or running; it then fails as [`FailureKind::Cancelled`]. Unknown ids are
    /// ignored, for an answer may have crossed this line.
    Cancel { id: u64 },
}

/// One turn: a conversation and what may be called next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    /// Chosen by the daemon, not in use by another open generation.
    pub id: u64,
    /// Oldest first. A leading `system` message and the tools make up the prefix whose state is kept.
    pub messages: Vec<Message>,
    /// Empty: the answer is free text. Otherwise the answer is calls of these, or [`ANSWER`].
    #[serde(default)]
    pub tools: Vec<Tool>,
    /// Calls that one answer may ask for, 1 to [`CALLS_MAX`]. Small models do best with one: they choose the next after
    /// they have seen what came of the last.
    #[serde(default = "one")]
    pub calls_max: u32,
    /// Bound of the answer in tokens.
    pub max_tokens: u32,
    /// Milliseconds from receipt, waiting included, after which the generation fails; absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

fn one() -> u32 {
    1
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    System {
        content: String,
    },
    User {
        content: String,
    },
    /// What the model said: a text, or calls. If it is what this program gave before, word for word, its state is
    /// found again and nothing of it is computed twice.
    Assistant {
        #[serde(default)]
        content: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<Call>,
    },
    /// The result of one call. Results stand behind the assistant's message in the order of its calls.
    Tool {
        name: String,
        content: String,
    },
}

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// 1 to 64 of `A-Z a-z 0-9 _ . -`.
    pub name: String,
    /// One short sentence: every word costs prompt time.
    pub description: String,
    /// JSON Schema of an object. Arguments are asked for in the order of `required`, then the rest by name.
    pub schema: serde_json::Value,
}

/// A call that the model asks for. It satisfies the offered schema as far as a grammar can say it; the daemon checks it
/// again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub name: String,
    pub arguments: serde_json::Value,
}

/// What the program sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The weights are loaded.
    Hello(Hello),
    /// They cannot be; the program ends with a non-zero code after this.
    Unloadable { kind: LoadFailure, message: String },
    /// A piece of generation `id` as it is made.
    Text { id: u64, part: Part, piece: String },
    /// Generation `id` ended well. `circled`: the conversation's newest calls had all been made before with the same
    /// results, so this turn was held to the final text.
    Done {
        id: u64,
        outcome: Outcome,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        circled: bool,
        usage: Usage,
        timings: Timings,
    },
    /// Generation `id` ended otherwise. `partial` is what the model had written, raw.
    Failed {
        id: u64,
        kind: FailureKind,
        message: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        partial: String,
        usage: Usage,
    },
}

/// What is loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    /// Version of the program.
    pub version: String,
    /// The model's own name from its file, or the file's name.
    pub model: String,
    /// Tokens of prompt and answer together that one generation may hold.
    pub context_tokens: u32,
    pub threads: u32,
    /// Milliseconds that loading took.
    pub load_ms: u64,
}

/// Why nothing was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadFailure {
    /// Missing, unreadable, cut, or not a GGUF file that this build knows.
    File,
    /// The host has too little memory free.
    Memory,
    /// The host's processor lacks instructions that this build uses.
    Processor,
}

/// What a streamed piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Text of the answer, as people read it.
    Answer,
    /// Raw JSON of calls: to be shown, never to be read as calls.
    Calls,
}

/// What the model decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    Answer {
        text: String,
    },
    /// 1 to [`CALLS_MAX`].
    Calls {
        calls: Vec<Call>,
    },
}

/// Why a generation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request itself cannot be served; the message says what is wrong with it.
    Request,
    /// Prompt and `max_tokens` do not fit the context.
    Context,
    /// `max_tokens` ended the answer before it was whole.
    Length,
    /// The model went round in a circle.
    Repetition,
    Deadline,
    Cancelled,
    /// [`WAITING_MAX`] generations wait already.
    Busy,
    /// The engine failed; the program is still well.
    Engine,
}

/// Tokens of one generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub prompt_tokens: u32,
    /// Of the prompt's, those whose state was still there.
    pub cached_tokens: u32,
    pub completion_tokens: u32,
}

/// Milliseconds of one generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// From receipt until it began.
    pub waited_ms: u64,
    /// Computing the part of the prompt that was not cached.
    pub prompt_ms: u64,
    /// Making the answer.
    pub answer_ms: u64,
}

/// Writes `value` as one line.
///
/// # Errors
/// `InvalidData` when it does not serialise or exceeds [`LINE_BYTES_MAX`].
pub fn to_line<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value).map_err(invalid)?;
    line.push(b'\n');
    if line.len() > LINE_BYTES_MAX {
        return Err(invalid(format!("a line of {} bytes; the bound is {LINE_BYTES_MAX}", line.len())));
    }
    Ok(line)
}

/// Reads the next line, or `None` at the end of the stream.
///
/// # Errors
/// `InvalidData` when the line is longer than [`LINE_BYTES_MAX`], cut by the end of the stream or not a `T`; the stream
/// is of no more use then. Any error of the reader.
pub fn read_line<T: DeserializeOwned>(reader: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let bound = u64::try_from(LINE_BYTES_MAX).expect("invariant: the bound fits u64");
    let read = reader.by_ref().take(bound).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(invalid(format!("a line is cut or longer than {LINE_BYTES_MAX} bytes")));
    }
    serde_json::from_slice(&line).map(Some).map_err(invalid)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<Option<T>> {
        read_line(&mut io::BufReader::new(bytes))
    }

    #[test]
    fn a_request_keeps_its_shape_on_the_wire() {
        let request = Request::Generate(Generate {
            id: 7,
            messages: vec![
                Message::System { content: "s".into() },
                Message::Assistant {
                    content: String::new(),
                    calls: vec![Call { name: "stat".into(), arguments: json!({"path": "a"}) }],
                },
                Message::Tool { name: "stat".into(), content: "ok".into() },
            ],
            tools: vec![Tool { name: "stat".into(), description: "d".into(), schema: json!({"type": "object"}) }],
            calls_max: 2,
            max_tokens: 9,
            deadline_ms: None,
        });
        let line = to_line(&request).unwrap();
        assert_eq!(
            String::from_utf8(line.clone()).unwrap(),
            concat!(
                r#"{"type":"generate","id":7,"messages":[{"role":"system","content":"s"},"#,
                r#"{"role":"assistant","content":"","calls":[{"name":"stat","arguments":{"path":"a"}}]},"#,
                r#"{"role":"tool","name":"stat","content":"ok"}],"#,
                r#""tools":[{"name":"stat","description":"d","schema":{"type":"object"}}],"calls_max":2,"max_tokens":9}"#,
                "\n"
            )
        );
        assert_eq!(read::<Request>(&line).unwrap(), Some(request));
    }

    #[test]
    fn an_event_keeps_its_shape_on_the_wire() {
        let event = Event::Done {
            id: 1,
            outcome: Outcome::Answer { text: "a\nb".into() },
            circled: false,
            usage: Usage { prompt_tokens: 3, cached_tokens: 2, completion_tokens: 1 },
            timings: Timings::default(),
        };
        let line = to_line(&event).unwrap();
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        assert_eq!(read::<Event>(&line).unwrap(), Some(event));
    }

    #[test]
    fn an_over_long_or_cut_line_is_an_error_and_the_end_is_none() {
        let long = Event::Text { id: 1, part: Part::Answer, piece: "x".repeat(LINE_BYTES_MAX) };
        assert_eq!(to_line(&long).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut bytes = serde_json::to_vec(&long).unwrap();
        bytes.push(b'\n');
        assert_eq!(read::<Event>(&bytes).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read::<Request>(br#"{"type":"cancel","id":1}"#).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read::<Request>(b"").unwrap(), None);
    }
}
