//! The daemons that have names, and which of them is meant.
use std::os::unix::fs::PermissionsExt;

use super::house::{House, cassette};
use super::settings::stranger;

const FINGERPRINT: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn key(number: u8) -> String {
    tenure_wire::api::key::KeyText::new([number; 20]).reveal().to_string()
}

#[test]
fn a_context_is_kept_chosen_shown_and_forgotten_and_its_key_is_never_shown() {
    let house = House::new();
    let file = house.write("key", &format!("{}\n", key(1)));
    let added = house.tenure(&[
        "config",
        "add",
        "prod",
        "--base-url",
        "https://prod.example:7800",
        "--fingerprint",
        FINGERPRINT,
        "--key-file",
        &file,
    ]);
    insta::assert_snapshot!(added.ok().stdout, @r#"
    Kept "prod" (https://prod.example:7800) in DIR/.config/tenure/contexts.toml
    `tenure config use prod` means it from now on, `--context prod` once.
    "#);
    let kept = house.path(".config/tenure/contexts.toml");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o7777, 0o600);
    let mut use_it = house.command(&["config", "use", "prod"]);
    use_it.env_remove("TENURE_DATA_DIR");
    let chosen = house.run(use_it).ok();
    assert!(chosen.stdout.contains("From now on \"prod\"") && chosen.stderr.is_empty(), "{chosen:?}");
    let listed = house.tenure(&["config", "list"]).ok();
    insta::assert_snapshot!(listed.stdout, @r"
    NAME  STATUS  BASE_URL  KEY  FINGERPRINT
    local  kept  unix:DIR/data/tenure.sock  -  -
    prod  in_use  https://prod.example:7800  kept  sha256:DIGEST
    ");
    let mut show = house.command(&["config", "show"]);
    show.env_remove("TENURE_DATA_DIR");
    let shown = house.run(show).ok();
    assert!(
        ["prod", "https://prod.example:7800", "config use", "from the context"]
            .iter()
            .all(|word| shown.stdout.contains(word)),
        "{shown:?}"
    );
    for answer in [&chosen, &listed, &shown, &house.tenure(&["config", "list", "-o", "json"])] {
        assert!(!answer.raw.contains("tnr_"), "{answer:?}");
    }
    assert_eq!(house.tenure(&["config", "remove", "prod"]).code, 2, "without a terminal it wants --yes");
    house.tenure(&["config", "remove", "prod", "--yes"]).ok();
    assert!(!std::fs::read_to_string(&kept).unwrap().contains("tnr_"));
    assert_eq!(house.tenure(&["config", "list", "-o", "json"]).ok().json().as_array().unwrap().len(), 1);
}

#[test]
fn a_key_goes_to_its_own_context_alone_and_a_flag_before_a_variable_before_what_is_in_use() {
    let house = House::new();
    let (one, at_one) = stranger();
    let (other, at_other) = stranger();
    for (name, address, number) in [("one", &one, 1), ("other", &other, 2)] {
        house
            .tenure(&["config", "add", name, "--base-url", &format!("http://{address}"), "--api-key", &key(number)])
            .ok();
    }
    let ask = |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = house.command(&[words, &["agent", "list"]].concat());
        command.env_remove("TENURE_DATA_DIR").envs(variables.iter().copied());
        house.run(command)
    };
    ask(&["--context", "one"], &[("TENURE_API_KEY", &key(9))]).ok();
    assert!(at_one.recv().unwrap().contains(&key(1)), "its own, whatever a variable has");
    ask(&["--context", "one", "--api-key", &key(8)], &[]).ok();
    assert!(at_one.recv().unwrap().contains(&key(8)), "what is typed goes first");
    ask(&[], &[("TENURE_CONTEXT", "other")]).ok();
    assert!(at_other.recv().unwrap().contains(&key(2)));
    house.tenure(&["config", "use", "one"]).ok();
    ask(&[], &[]).ok();
    assert!(at_one.recv().unwrap().contains(&key(1)), "the one in use");
    ask(&["--base-url", &format!("http://{other}")], &[]).ok();
    let heard = at_other.recv().unwrap();
    assert!(!heard.contains("tnr_"), "the key of the context in use went to another address: {heard}");
    ask(&["--context", "other"], &[("TENURE_BASE_URL", &format!("http://{one}"))]).ok();
    assert!(at_other.recv().unwrap().contains(&key(2)), "a flag goes before a variable");
    assert_eq!(ask(&["--context", "local"], &[]).code, 6, "the data directory's own, which does not run");
    let both = ask(&["--context", "one", "--base-url", "127.0.0.1:1"], &[]);
    assert!(both.code == 2 && both.stderr.contains("each name a daemon"), "{}", both.stderr);
    assert!(at_one.try_recv().is_err() && at_other.try_recv().is_err());
}

#[test]
fn what_cannot_be_meant_is_refused_and_nothing_is_kept() {
    let house = House::new();
    let add = |words: &[&str]| house.tenure(&[&["config", "add"], words].concat());
    for (words, code, said) in [
        (&["prod"][..], 2, "wants the daemon's address"),
        (&["local", "--base-url", "127.0.0.1:1"], 2, "data directory's own"),
        (&["a b", "--base-url", "127.0.0.1:1"], 2, "no name of a context"),
        (&["../x", "--base-url", "127.0.0.1:1"], 2, "no name of a context"),
        (&["", "--base-url", "127.0.0.1:1"], 2, "it is empty"),
        (&["x", "--base-url", "ftp://a:1"], 2, "names no daemon"),
        (&["x", "--base-url", "https://a:1/projects/y"], 2, "a daemon has one project"),
        (&["x", "--base-url", "http://192.0.2.1:7800"], 7, "without TLS"),
        (&["x", "--base-url", "https://a:1", "--fingerprint", "sha256:12"], 2, "no fingerprint"),
        (&["x", "--base-url", "http://127.0.0.1:1", "--fingerprint", FINGERPRINT], 2, "shows none"),
        (&["x", "--base-url", "https://a:1", "--api-key", "hunter2"], 7, "--api-key"),
        (&["x", "--base-url", "https://a:1", "--key-file", "/nowhere"], 4, "there is no file"),
    ] {
        let answer = add(words);
        assert!(answer.code == code && answer.stderr.contains(said), "{words:?}: {} {}", answer.code, answer.stderr);
        assert!(!answer.stderr.contains("hunter2"), "{}", answer.stderr);
    }
    assert!(!house.path(".config/tenure/contexts.toml").exists());
    add(&["prod", "--base-url", "127.0.0.1:1"]).ok();
    assert_eq!(add(&["prod", "--base-url", "127.0.0.1:2"]).code, 5, "there is one already");
    add(&["prod", "--base-url", "127.0.0.1:2", "--replace"]).ok();
    for words in [
        &["config", "use", "prid"][..],
        &["--context", "prid", "status"],
        &["config", "remove", "prid"],
        &["config", "show", "prid"],
    ] {
        let near = house.tenure(words);
        assert!(near.code == 4 && near.stderr.contains("did you mean `prod`?"), "{words:?}: {}", near.stderr);
    }
    let down = house.tenure(&["--context", "prod", "down"]);
    assert!(down.code == 2 && down.stderr.contains("--context local"), "{}", down.stderr);
}

#[test]
fn a_file_of_contexts_in_the_current_folder_or_open_to_others_is_not_used() {
    let house = House::up(&cassette(1));
    let (address, heard) = stranger();
    let planted = format!("current = \"x\"\n[contexts.x]\nbase_url = \"http://{address}\"\n");
    house.write("contexts.toml", &planted);
    house.tenure(&["agent", "list"]).ok();
    assert!(heard.try_recv().is_err(), "the planted file was used");
    let kept = house.path(".config/tenure/contexts.toml");
    std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
    std::fs::write(&kept, &planted).unwrap();
    let ask = |mode| {
        std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(mode)).unwrap();
        house.tenure(&["--context", "x", "agent", "list"])
    };
    let open = ask(0o644);
    assert!(open.code == 7 && open.stderr.contains("chmod 600"), "{}", open.stderr);
    assert!(heard.try_recv().is_err());
    ask(0o600).ok();
    assert!(heard.recv().is_ok(), "the control: the user's own, closed, is used");
}
