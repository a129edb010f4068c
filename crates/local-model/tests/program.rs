//! The program as the daemon meets it: over the socket that is its stdin. What needs weights runs where
//! `TENURE_TEST_MODEL` names a GGUF file, and says so where it does not.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::ffi::OsStr;
use std::io::{BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tenure_wire::local::{
    Call, Event, FailureKind, Generate, LoadFailure, Message, Outcome, Part, Request, Tool, Usage, read_line, to_line,
};

struct Program {
    child: Child,
    socket: UnixStream,
    events: BufReader<UnixStream>,
}

impl Program {
    fn start<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tenure-local-model"))
            .args(args)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, events: BufReader::new(ours.try_clone().unwrap()), socket: ours }
    }

    fn send(&mut self, request: &Request) {
        self.socket.write_all(&to_line(request).unwrap()).unwrap();
    }

    fn next(&mut self) -> Event {
        read_line(&mut self.events).unwrap().expect("the program ended")
    }

    /// The end of generation `id`, and what was streamed before.
    fn end_of(&mut self, id: u64) -> (Event, String) {
        let mut streamed = String::new();
        loop {
            match self.next() {
                Event::Text { id: of, piece, .. } if of == id => streamed.push_str(&piece),
                event => return (event, streamed),
            }
        }
    }

    fn ask(&mut self, generate: Generate) -> (Event, String) {
        let id = generate.id;
        self.send(&Request::Generate(generate));
        self.end_of(id)
    }

    fn hang_up(self) -> (Option<i32>, String) {
        drop((self.socket, self.events));
        let output = self.child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn a_file_that_is_no_model_is_said_on_the_socket_on_stderr_and_by_the_exit_code() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all(b"<!doctype html>").unwrap();
    let mut program = Program::start([OsStr::new("--model"), file.path().as_os_str()]);
    let Event::Unloadable { kind, message } = program.next() else { panic!("it was loaded") };
    assert_eq!(kind, LoadFailure::File);
    assert!(message.contains("not a GGUF file"), "{message}");
    let (code, stderr) = program.hang_up();
    assert_eq!(code, Some(3));
    assert!(stderr.contains(&message), "{stderr}");
}

fn weights() -> Option<PathBuf> {
    let named = std::env::var_os("TENURE_TEST_MODEL").filter(|path| !path.is_empty()).map(PathBuf::from);
    if named.is_none() {
        eprintln!("skipped: TENURE_TEST_MODEL names no GGUF file");
    }
    named
}

fn turn(id: u64, messages: Vec<Message>) -> Generate {
    let path = json!({"type": "string", "maxLength": 100});
    let schema = |more: &str| {
        let mut properties = serde_json::Map::from_iter([("path".to_owned(), path.clone())]);
        let mut required = vec!["path"];
        if !more.is_empty() {
            properties.insert(more.to_owned(), json!({"type": "string"}));
            required.push(more);
        }
        json!({"type": "object", "properties": properties, "required": required})
    };
    let tool = |name: &str, description: &str, more: &str| Tool {
        name: name.into(),
        description: description.into(),
        schema: schema(more),
    };
    let tools = vec![
        tool("filesystem_write", "Create or replace a file with this text.", "content"),
        tool("filesystem_delete", "Delete a file.", ""),
    ];
    Generate { id, messages, tools, calls_max: 1, max_tokens: 200, deadline_ms: None }
}

fn system() -> Message {
    let content = "You are an agent that works in the folder /workspace. Call one tool, read its result, then call the \
                   next. When the task is done, call answer with one short sentence.";
    Message::System { content: content.into() }
}

fn user(content: &str) -> Message {
    Message::User { content: content.into() }
}

fn calls_of(event: Event) -> (Vec<Call>, Usage) {
    match event {
        Event::Done { outcome: Outcome::Calls { calls }, usage, .. } => (calls, usage),
        other => panic!("no calls: {other:?}"),
    }
}

#[test]
fn real_weights_call_the_right_tool_and_every_turn_goes_on_from_the_last() {
    let Some(weights) = weights() else { return };
    let state = tempfile::tempdir().unwrap();
    let args = [OsStr::new("--model"), weights.as_os_str(), OsStr::new("--state"), state.path().as_os_str()];
    let mut program = Program::start(args);
    assert!(matches!(program.next(), Event::Hello(_)));

    let mut messages = vec![system(), user("Delete the file /workspace/old.txt.")];
    let (calls, first) = calls_of(program.ask(turn(1, messages.clone())).0);
    assert_eq!(calls, [Call { name: "filesystem_delete".into(), arguments: json!({"path": "/workspace/old.txt"}) }]);
    assert_eq!(first.cached_tokens, 0);

    messages.push(Message::Assistant { content: String::new(), calls });
    messages.push(Message::Tool { name: "filesystem_delete".into(), content: "ok".into() });
    let (event, streamed) = program.ask(turn(2, messages));
    let Event::Done { outcome: Outcome::Answer { text }, usage, .. } = event else { panic!("no answer: {event:?}") };
    assert_eq!(streamed, text);
    let before = first.prompt_tokens + first.completion_tokens;
    assert!(usage.cached_tokens + 8 >= before, "{before} tokens were there, {usage:?}");
    assert_eq!(program.hang_up().0, Some(0));

    let mut again = Program::start(args);
    assert!(matches!(again.next(), Event::Hello(_)));
    let (calls, warm) = calls_of(again.ask(turn(1, vec![system(), user("Delete /workspace/b.txt.")])).0);
    assert_eq!(calls[0].arguments, json!({"path": "/workspace/b.txt"}));
    assert!(warm.cached_tokens > 60, "the beginning was not kept on disk: {warm:?}");
    assert_eq!(again.hang_up().0, Some(0));
}

#[test]
fn real_weights_obey_cancel_bounds_and_the_end_of_the_socket() {
    let Some(weights) = weights() else { return };
    let mut program =
        Program::start([OsStr::new("--model"), weights.as_os_str(), OsStr::new("--context"), OsStr::new("1024")]);
    assert!(matches!(program.next(), Event::Hello(_)));
    let failed = |event: Event| match event {
        Event::Failed { kind, message, partial, .. } => (kind, message, partial),
        other => panic!("no failure: {other:?}"),
    };
    let long = |id| Generate {
        tools: vec![],
        max_tokens: 900,
        ..turn(id, vec![user("Write a long story about the sea, of at least a thousand words.")])
    };

    let huge = turn(1, vec![user(&"word ".repeat(3000))]);
    let (kind, message, _) = failed(program.ask(huge).0);
    assert_eq!(kind, FailureKind::Context);
    assert!(message.contains("1024"), "{message}");

    let (kind, _, partial) = failed(program.ask(Generate { max_tokens: 5, ..long(2) }).0);
    assert_eq!(kind, FailureKind::Length);
    assert!(!partial.is_empty());

    program.send(&Request::Generate(long(3)));
    assert!(matches!(program.next(), Event::Text { id: 3, part: Part::Answer, .. }));
    program.send(&Request::Cancel { id: 3 });
    assert_eq!(failed(program.end_of(3).0).0, FailureKind::Cancelled);

    program.send(&Request::Generate(long(4)));
    assert!(matches!(program.next(), Event::Text { id: 4, .. }));
    assert_eq!(program.hang_up().0, Some(0));
}
