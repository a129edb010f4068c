//! The program as a person meets it: each verb's file shows what it prints, against a daemon of its own on a fresh data
//! directory. No model is asked: answers come from a cassette.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod verbs {
    mod steady;
    pub(crate) mod house;
    mod agent;
    mod agents;
    mod alerts;
    mod api;
    mod approval;
    mod audit;
    mod budget;
    mod chat;
    mod comms;
    mod completions;
    mod config;
    mod cost;
    mod door;
    mod doctor;
    mod down;
    mod execute;
    mod execution;
    mod files;
    mod init;
    mod key;
    mod kill;
    mod life;
    mod logs;
    mod man;
    mod manifest;
    mod mcp;
    mod model;
    mod package;
    mod pause;
    mod policy;
    mod ps;
    mod quarantine;
    mod resume;
    mod retention;
    mod samples;
    mod sandbox;
    mod screen;
    mod secret;
    mod seed;
    mod session;
    mod staff;
    mod settings;
    mod state;
    mod status;
    mod tls;
    mod up;
    mod watch;
}

use std::collections::BTreeSet;
use verbs::house::House;

#[test]
fn no_verb_is_forgotten() {
    let house = House::new();
    let help = house.tenure(&["--help"]);
    let listed = help.stdout.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs: BTreeSet<&str> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help").collect();
    assert!(verbs.contains("execute") && verbs.len() > 8, "{verbs:?}");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verbs");
    for verb in verbs {
        assert!(folder.join(format!("{verb}.rs")).is_file(), "`tenure {verb}` has no file in tests/verbs");
    }
}

#[test]
fn a_mistyped_word_gets_the_near_one_and_a_word_of_a_later_release_is_said_to_be_that() {
    let house = House::new();
    let near = house.tenure(&["agnet", "list"]);
    assert_eq!(near.code, 2);
    assert!(near.stderr.contains("'agent'"), "{}", near.stderr);
    let later = house.tenure(&["agent", "upgrade", "python-coder"]);
    assert_eq!(later.code, 9, "{}", later.stderr);
    insta::assert_snapshot!(later.stderr, @r"
    error: `tenure agent upgrade` is not in this release
      it comes with upgrades of code agents
    next: today: `tenure agent deploy FILE` makes the next revision
    ");
}

#[test]
fn numbers_and_names_that_cannot_be_meant_get_the_right_sentence_before_anything_is_asked() {
    let house = House::new();
    for (words, said) in [
        (&["execute", "--agent", "a", "--max-iterations", "-1"][..], "-1 is not in 1..=1000"),
        (&["execute", "--agent", "a", "--max-iterations", "0"], "0 is not in 1..=1000"),
        (&["execution", "logs", "exe_1", "--iteration", "0"], "0 is not in 1.."),
        (&["agent", "list", "--limit", "-5"], "-5 is not in 1..=100000"),
        (&["budget", "set", "a", "--day", "-5"], "it is no amount of US dollars"),
        (&["budget", "set", "a", "--day", "-5USD"], "it is no amount of US dollars"),
        (&["budget", "set", "a", "--tokens-day", "-200k"], "it is no number of tokens"),
        (&["cost", "--since", "-7d"], "`-7d` is no time"),
        (&["state", "quota", "a", "--set", "-5MiB"], "invalid value '-5MiB'"),
        (&["agent", "get", ""], "it is empty"),
        (&["agent", "delete", "  "], "it is empty"),
        (&["execution", "cancel", ""], "it is empty"),
        (&["key", "revoke", ""], "it is empty"),
        (&["execute", "--agent", "", "--input", "x"], "it is empty"),
    ] {
        let answer = house.tenure(words);
        assert!(
            answer.code == 2 && answer.stderr.contains(said) && !answer.stderr.contains("use '--"),
            "{words:?} ended with {}: {}",
            answer.code,
            answer.stderr
        );
    }
    for (input, said) in [("", "the input is empty"), ("{\"task\": ", "begins as JSON and is none")] {
        let answer = house.tenure(&["execute", "--agent", "a", "--input", input]);
        assert!(
            answer.code == 3 && answer.stderr.contains(said) && answer.stderr.contains("--text"),
            "{}",
            answer.stderr
        );
    }
}

#[test]
fn an_empty_list_says_in_one_line_beside_it_that_there_is_nothing_and_what_makes_the_first() {
    let house = House::up(&verbs::house::cassette(1));
    for (words, said) in [
        (&["agent", "list"][..], "No agent; `tenure agent create NAME`"),
        (&["agents"], "No agent; `tenure agent create NAME`"),
        (&["execution", "list"], "No execution; `tenure execute AGENT INPUT`"),
        (&["ps"], "Nothing runs or waits; `tenure execution list`"),
        (&["key", "list"], "No key; `tenure key create --name NAME`"),
        (&["session", "list"], "No session; a program with an agent's key opens one"),
        (&["budget", "list"], "No limit; `tenure budget set AGENT --day 5USD`"),
        (&["cost"], "No model call; `tenure execute AGENT INPUT`"),
        (&["alerts"], "No open alert;"),
        (&["comms", "dead", "list"], "No dead letter"),
        (&["comms", "channels"], "No channel;"),
        (&["state", "shared", "list"], "Nothing is kept; `tenure state shared set KEY VALUE`"),
        (&["state", "shared", "acl", "list"], "No rule:"),
        (&["model", "prices", "list"], "No model has a price here; `tenure model prices set"),
    ] {
        let answer = house.tenure(words).ok();
        assert!(answer.stderr.starts_with(said), "{words:?}: {}", answer.stderr);
        assert_eq!(answer.stderr.lines().count(), 1, "{words:?}: {}", answer.stderr);
        for quiet in [&["--no-headers"][..], &["-q"], &["-o", "json"]] {
            let words = [words, quiet].concat();
            assert_eq!(house.tenure(&words).ok().stderr, "", "{words:?}: programs read it");
        }
    }
}

#[test]
fn on_a_terminal_of_80_columns_no_line_is_wider_and_columns_without_room_are_named() {
    let house = House::up(&verbs::house::cassette(1));
    let name = "a-rather-long-name";
    let file = house.write("agent.yaml", &verbs::house::AGENT.replace("name: coder", &format!("name: {name}")));
    house.tenure(&["agent", "deploy", &file]).ok();
    house.tenure(&["execute", name, "go", "--watch"]).ok();
    assert_eq!(house.tenure(&["execute", name, "go", "--watch"]).code, 8, "nothing more is recorded");
    for words in [
        &["agent", "briefing", name, "--since", "1h"][..],
        &["agent", "logs", name],
        &["agent", "show", name],
        &["cost"],
        &["agent", "list", "-v"],
    ] {
        let told = house.on_terminal(80, words);
        let manifest = told.find("MANIFEST").unwrap_or(told.len());
        let ours = told[..manifest].lines().chain(told.split("LAST TASKS").nth(1).unwrap_or_default().lines());
        // What is asked and answered is traced as it is.
        let ours = ours.filter(|line| !line.starts_with(['>', '<']));
        let wide: Vec<&str> = ours.filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty() && told.lines().count() > 1, "{words:?}: {wide:#?}\n{told}");
    }
    let whole = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let briefing = ["agent", "briefing", name, "--since", "1h"];
    let (told, raw) = (house.on_terminal(80, &briefing), house.tenure(&briefing).ok().raw);
    let long = raw.lines().find(|line| line.chars().count() > 80).unwrap();
    assert!(whole(&told).contains(&whole(long)), "no word of it is lost: {told}");
    let list = house.on_terminal(80, &["agent", "list", "-v"]);
    assert!(whole(&list).contains("no room for") && whole(&list).contains("SESSION, CALLS, LAST"), "{list}");
    assert!(
        !house.on_terminal(400, &["agent", "list", "-v"]).contains("no room for"),
        "the control: a wide one has all"
    );
}

#[test]
fn without_a_daemon_each_asking_verb_says_so_and_ends_with_6() {
    let house = House::new();
    for words in [&["status"][..], &["agent", "list"], &["execution", "list"], &["key", "list"], &["model", "list"]] {
        let answer = house.tenure(words);
        assert_eq!(answer.code, 6, "{words:?}: {}", answer.stderr);
        assert!(answer.stderr.contains("next: start one with `tenure up`"), "{}", answer.stderr);
    }
    let json = house.tenure(&["status", "-o", "json"]);
    let error: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
    assert!(error["error"]["title"].as_str().unwrap().contains("no daemon answers"));
}

#[test]
fn a_yaml_config_is_refused_with_its_toml() {
    let house = House::new();
    let file = house.write("aegis-config.yaml", "slots: 3\nlisten: none\n");
    let answer = house.tenure(&["--config", &file, "status"]);
    assert_eq!(answer.code, 2);
    assert!(
        answer.stderr.contains("it is YAML") && answer.stderr.contains("slots = 3\n  listen = \"none\""),
        "{}",
        answer.stderr
    );
}
