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
    let log = std::fs::read_to_string(house.path("data/daemon.log")).unwrap();
    assert!(log.contains("INFO") && !log.contains('\u{1b}'), "no colours in a file: {log}");
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
    let again = house.tenure(&["up", "-d", "--listen", "everywhere"]);
    assert!(again.stderr.contains("everywhere") && !again.stderr.contains("TLS"), "its own words: {}", again.stderr);
}

#[test]
fn a_daemon_is_started_once_however_the_words_are_written_and_has_a_worker_when_it_is_said_to_run() {
    let house = House::new();
    let up = house.tenure(&["up", "-dy", "--listen", "none", "-o", "json"]).ok().json();
    assert!(up["worker"].is_object(), "{up}");
    house.tenure(&["down"]).ok();
}

#[test]
fn a_log_that_is_no_file_is_refused_and_not_waited_for() {
    let house = House::new();
    let data = house.path("data");
    std::fs::create_dir(&data).unwrap();
    let made = std::process::Command::new("mkfifo").arg(data.join("daemon.log")).status().unwrap();
    assert!(made.success());
    let refused = house.tenure(&["up", "-d", "--listen", "none"]);
    assert!(refused.code == 1 && refused.stderr.contains("daemon.log cannot be written"), "{}", refused.stderr);
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

#[test]
fn a_worker_looks_for_no_settings_and_so_for_no_home_folder_of_its_own() {
    let house = House::new();
    house.write("tenure.toml", "slots = 3\n");
    house.tenure(&["up", "-d", "--listen", "none"]).ok();
    let log = std::fs::read_to_string(house.path("data/daemon.log")).unwrap();
    house.tenure(&["down"]).ok();
    assert_eq!(log.matches("was found in the current folder").count(), 1, "the daemon alone did: {log}");
}
