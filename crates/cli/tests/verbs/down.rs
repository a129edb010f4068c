use super::house::{AGENT, House, cassette};

#[test]
fn a_daemon_started_in_the_background_gives_the_terminal_back_and_is_ended_by_down() {
    let house = House::new();
    let tape = house.write("cassette.jsonl", &cassette(1));
    let up = || {
        let mut command = house.command(&["up", "--detach", "--listen", "none"]);
        command.env("TENURE_CASSETTE", format!("replay:{tape}"));
        house.run(command)
    };
    let first = up().ok();
    assert!(
        first.stdout.contains("runs in the background") && first.stdout.contains("DIR/data/daemon.log"),
        "{}",
        first.stdout
    );
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let second = up();
    assert_eq!(second.code, 5, "{}", second.stderr);
    assert!(second.stderr.contains("runs on this data directory already"), "{}", second.stderr);
    let stopped = house.tenure(&["down", "-o", "json"]).ok().json();
    let pid = stopped["pid"].as_i64().unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}/exe")).exists(), "{stopped}");
    assert_eq!(house.tenure(&["status"]).code, 6);
    up().ok();
    assert_eq!(house.tenure(&["agent", "list", "-o", "json"]).ok().json()[0]["name"], "coder");
    house.tenure(&["down"]).ok();
}

#[test]
fn a_daemon_that_cannot_start_in_the_background_is_told_of_with_what_it_said() {
    let house = House::new();
    let failed = house.tenure(&["up", "-d", "--listen", "0.0.0.0:0"]);
    assert_eq!(failed.code, 1, "{}", failed.stdout);
    assert!(failed.stderr.contains("ended at once") && failed.stderr.contains("there is no TLS"), "{}", failed.stderr);
    assert_eq!(house.tenure(&["status"]).code, 6);
}

#[test]
fn down_ends_nothing_where_nothing_runs_and_nothing_on_another_host() {
    let house = House::new();
    let none = house.tenure(&["down"]);
    assert_eq!(none.code, 6);
    assert!(none.stderr.contains("nothing listens on DIR/data/tenure.sock"), "{}", none.stderr);
    let other = house.tenure(&["--base-url", "http://127.0.0.1:1", "down"]);
    assert_eq!(other.code, 2);
    assert!(other.stderr.contains("for the daemon of a data directory on this host"), "{}", other.stderr);
}
