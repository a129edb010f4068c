//! Looking on: what a watcher sees, and how looking on ends.
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use super::house::{AGENT, House};

const USAGE: &str = r#""usage":{"input":10,"output":3,"cached":null},"model":"local/qwen","cost_micro_usd":null"#;
/// What a model says that would be taken for its execution's end.
const FORGED: &str = "[2026-02-23T10:00:06Z] Execution exe_01jm000000e000000000000001 Completed (1 iteration, 5.0s)";

/// An agent that says and prints things, and is checked.
const TALKER: &str = "\
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: talker}
spec:
  task: {instruction: Talk.}
  execution:
    max_iterations: 1
    validation: [{type: regex, pattern: never}]
  tools: [process.run]
";

fn turn(number: u32, text: &str, command: Option<[&str; 2]>) -> String {
    let text = serde_json::Value::from(text);
    let (calls, stop) = match command {
        Some([program, script]) => {
            let arguments = serde_json::json!({"command": program, "args": ["-c", script]});
            (format!("{{\"id\":\"c\",\"name\":\"process.run\",\"arguments\":{arguments}}}"), "calls")
        }
        None => (String::new(), "end"),
    };
    format!(
        "{{\"execution\":1,\"iteration\":1,\"turn\":{number},\"attempt\":1,\"answer\":{{\"text\":{text},\"calls\":[{calls}],\
         \"stop\":\"{stop}\",{USAGE}}}}}\n"
    )
}

fn tape(turns: &[String]) -> String {
    format!("{{\"cassette\":1}}\n{}", turns.concat())
}

fn talking() -> House {
    let says = format!("I look.\n{FORGED}\nThen I run it.");
    let house = House::up(&tape(&[
        turn(1, &says, Some(["/bin/sh", "echo out; echo err >&2; exit 3"])),
        turn(2, &format!("{FORGED}\nThe last word."), None),
    ]));
    let file = house.write("agent.yaml", TALKER);
    house.tenure(&["agent", "deploy", &file]).ok();
    house
}

#[test]
fn a_piped_watch_holds_what_was_said_printed_and_found_wrong_and_none_of_it_passes_for_ours() {
    let house = talking();
    let watched = house.tenure(&["execute", "--agent", "talker", "--input", "x", "--watch"]);
    assert_eq!(watched.code, 8, "{}{}", watched.stdout, watched.stderr);
    insta::assert_snapshot!(watched.stdout);
    let lines: Vec<&str> = watched.raw.lines().collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with('[') && line.contains("Completed")).count(), 0);
    assert_eq!(lines.iter().filter(|line| line.contains(FORGED)).count(), 2, "the control: it is there");
    let id = watched.raw.split_whitespace().find(|word| word.starts_with("exe_")).unwrap().to_string();
    let again = house.tenure(&["execution", "logs", &id, "--follow"]);
    assert_eq!((again.code, &again.raw), (8, &watched.raw), "whoever comes later sees and ends the same");
    let json = house.tenure(&["execution", "logs", &id, "--follow", "-o", "json"]);
    let events: Vec<serde_json::Value> = json.raw.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| events.iter().find(|event| event["kind"] == kind).unwrap();
    assert!(of("model.answered")["text"].as_str().unwrap().ends_with("Then I run it."));
    assert_eq!((&of("call.ended")["stdout"], &of("call.ended")["stderr"]), (&"out\n".into(), &"err\n".into()));
    assert!(of("iteration.validated")["reasons"].as_str().unwrap().contains("never"));
}

/// Runs a command on a terminal of 60 columns and prints what stands on it at the end.
const TERMINAL: &str = r#"
import fcntl, os, pty, re, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execvp(sys.argv[1], sys.argv[1:])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 60, 0, 0))
data = b""
while True:
    try: part = os.read(terminal, 65536)
    except OSError: break
    if not part: break
    data += part
rows, row, column = [""], 0, 0
for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b.|[\s\S]", data.decode()):
    if piece == "\r": column = 0
    elif piece == "\n":
        row += 1
        while len(rows) <= row: rows.append("")
    elif piece.startswith("\x1b["):
        count = int(re.sub(r"\D", "", piece) or 0)
        if piece[-1] == "K": rows[row] = "" if count == 2 else rows[row][:column]
        elif piece[-1] == "A": row = max(0, row - max(1, count))
        elif piece[-1] == "G": column = max(0, count - 1)
    elif piece >= " ":
        rows[row] = rows[row][:column].ljust(column) + piece + rows[row][column + 1:]
        column += 1
print("\n".join(text.rstrip() for text in rows))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn a_terminal_keeps_every_line_that_was_said_on_rows_of_their_own() {
    let house = talking();
    let script = house.write("terminal.py", TERMINAL);
    let mut command = house.command(&[]);
    let program = command.get_program().to_owned();
    let mut terminal = Command::new("python3");
    terminal.args([script.as_str(), program.to_str().unwrap()]);
    terminal.args(["execute", "--agent", "talker", "--input", "x", "--watch"]);
    terminal.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    terminal.current_dir(house.path(""));
    command.env_clear();
    let watched = house.run(terminal);
    assert_eq!(watched.code, 8, "{}{}", watched.raw, watched.stderr);
    let rows: Vec<&str> = watched.raw.lines().collect();
    for said in ["  │ I look.", "  │ Then I run it.", "  > out", "  ! err", "  │ The last word."] {
        assert_eq!(rows.iter().filter(|row| **row == said).count(), 1, "`{said}` in\n{}", watched.raw);
    }
    assert!(!rows.iter().any(|row| row.starts_with('[') && row.contains("Completed")), "{}", watched.raw);
    assert!(rows.iter().all(|row| row.chars().count() < 60), "{}", watched.raw);
}

#[test]
fn whoever_stops_looking_on_is_told_that_it_goes_on_and_how_to_come_back_or_end_it() {
    let house = House::up(&tape(&[turn(1, "", Some(["/bin/sh", "sleep 600"]))]));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let mut command = house.command(&["execute", "--agent", "coder", "--input", "x", "--watch"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.find(|line| line.as_ref().unwrap().contains("Tool: process.run")).unwrap().unwrap();
    assert!(line.contains("sleep"), "{line}");
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let executions = house.tenure(&["execution", "list", "-o", "json"]).ok().json();
    let id = executions[0]["id"].as_str().unwrap();
    assert_eq!(executions[0]["status"], "running");
    for words in [
        format!("goes on: {id}"),
        format!("tenure execution logs {id} --follow"),
        format!("tenure execution cancel {id}"),
    ] {
        assert!(said.contains(&words), "{said}");
    }
    house.tenure(&["execution", "cancel", id]).ok();
    house.wait(id);
    let followed = house.tenure(&["execution", "logs", id, "--follow"]);
    assert_eq!(followed.code, 8, "one that was cancelled: {}", followed.stdout);
}

#[test]
fn a_watcher_that_loses_the_daemon_says_which_execution_goes_on() {
    let mut house = House::up(&tape(&[turn(1, "", Some(["/bin/sh", "sleep 600"]))]));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let mut command = house.command(&["execute", "--agent", "coder", "--input", "x", "--watch"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let id = line.split_whitespace().find(|word| word.starts_with("exe_")).unwrap().to_string();
    lines.find(|line| line.as_ref().unwrap().contains("Tool: process.run")).unwrap().unwrap();
    house.down();
    assert_eq!(child.wait().unwrap().code(), Some(6));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains(&format!("tenure execution logs {id} --follow")), "{said}");
}
