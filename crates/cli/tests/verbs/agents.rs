use std::process::Command;

use super::house::{AGENT, Answer, House, cassette};

#[test]
fn elsewhere_than_at_a_terminal_the_agents_are_a_table_with_what_they_are_at() {
    let house = House::up(&cassette(1));
    house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", "agent.yaml"]).ok();
    house.tenure(&["agent", "create", "monitor", "--purpose", "System health monitoring"]).ok();
    house.tenure(&["pause", "monitor"]).ok();
    insta::assert_snapshot!(house.tenure(&["agents"]).ok().stdout, @r"
    NAME  STATUS  STEP  TOKENS  COST  NEXT RUN  MESSAGES
    coder  registered  -  -  -  -  -
    monitor  paused  -  -  -  -  -
    ");
    assert_eq!(house.tenure(&["agents", "-q"]).ok().stdout.lines().count(), 2);
    let listed = house.tenure(&["agents", "-o", "json"]).ok().json();
    assert_eq!(listed[0]["name"], "coder");
}

/// Runs a command on a terminal of 80 columns and 24 rows; when it shows a text, presses the keys beside it.
const TERMINAL: &str = r#"
import fcntl, json, os, pty, select, struct, sys, termios, time
steps = json.loads(sys.argv[1])
pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm-256color"
    os.execvp(sys.argv[2], sys.argv[2:])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
seen, end = b"", time.monotonic() + 110
while time.monotonic() < end:
    if not select.select([terminal], [], [], 1)[0]: continue
    try: part = os.read(terminal, 65536)
    except OSError: break
    if not part: break
    seen += part
    while steps and steps[0][0].encode() in seen:
        seen = seen.split(steps[0][0].encode(), 1)[1]
        os.write(terminal, steps.pop(0)[1].encode())
sys.stdout.write(seen.decode(errors="replace"))
if steps: sys.exit("not seen: " + steps[0][0])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

/// Each text that is waited for, and the keys that are pressed then.
pub(super) fn at_terminal(house: &House, steps: &[(&str, &str)], words: &[&str], more: &[(&str, &str)]) -> Answer {
    let script = house.write("terminal.py", TERMINAL);
    let command = house.command(&[]);
    let mut terminal = Command::new("python3");
    terminal.arg(script).arg(serde_json::to_string(steps).unwrap()).arg(command.get_program()).args(words);
    terminal.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    terminal.envs(more.iter().copied()).current_dir(house.path(""));
    house.run(terminal)
}

#[test]
fn at_a_terminal_the_agents_are_seen_at_work_and_held_and_the_terminal_is_given_back() {
    let house = House::up(&cassette(1));
    house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", "agent.yaml"]).ok();
    let steps = [
        ("n sets it to work", "n"),
        ("run coder:", "write it\r"),
        ("The answer is 42.", "p"),
        ("coder is paused", "k"),
        ("Kill what runs of coder?", "y"),
        ("Killed what ran", "q"),
    ];
    let left = at_terminal(&house, &steps, &["agents"], &[]);
    assert_eq!(left.code, 0, "{}{}", left.raw, left.stderr);
    assert!(left.raw.contains("\u{1b}[?1049l"), "the screen that was there before is back: {:?}", left.raw);
    let listed = house.tenure(&["agent", "list", "-o", "json"]).ok().json();
    assert_eq!(listed[0]["status"], "paused");
    let tasks = house.tenure(&["execution", "list", "-o", "json"]).ok().json();
    let id = tasks[0]["id"].as_str().unwrap();
    assert_eq!(house.tenure(&["execution", "get", id, "-o", "json"]).ok().json()["input"], "write it");
}
