use std::process::Command;

use super::house::{AGENT, House, cassette};

const VALUE: &str = "s3cr3t-value-of-the-test";

fn piped(house: &House, value: &str, words: &str) -> super::house::Answer {
    let program = env!("CARGO_BIN_EXE_tenure");
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("printf '%s\\n' '{value}' | {program} {words}")]).env_clear();
    bash.env("HOME", house.path("")).env("TENURE_DATA_DIR", house.path("data")).env("PATH", "/usr/bin:/bin");
    house.run(bash)
}

#[test]
fn a_secret_is_set_bound_rotated_unbound_and_revoked_and_its_value_is_shown_nowhere() {
    let mut house = House::up(&cassette(1));
    let agent = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &agent]).ok();
    assert!(!house.path("data/vault.key").exists(), "no key is made before it is wanted");
    let set = piped(&house, VALUE, "secret set github").ok();
    insta::assert_snapshot!(set.stdout);
    assert_eq!(piped(&house, VALUE, "secret set GitHub").code, 5, "the name is taken, whatever its case");
    let bound = house.tenure(&["secret", "bind", "github", "--agent", "coder", "--host", "API.example.com"]).ok();
    insta::assert_snapshot!(bound.stdout);
    house.tenure(&["secret", "bind", "github", "--agent", "coder", "--host", "api.example.com"]).ok();
    insta::assert_snapshot!(house.tenure(&["secret", "list"]).ok().stdout);
    let other = house.write("value", &format!("{VALUE}-2\n"));
    let rotated = house.tenure(&["secret", "rotate", "github", "--from-file", &other, "-o", "json"]).ok().json();
    assert_eq!((&rotated["version"], &rotated["bindings"][0]["host"]), (&2.into(), &"api.example.com".into()));
    for (words, code, said) in [
        (&["secret", "bind", "github", "--agent", "coder", "--host", "10.0.0.0/8"][..], 3, "range"),
        (&["secret", "bind", "github", "--agent", "nobody", "--host", "a.example"], 4, "nobody"),
        (
            &["secret", "bind", "github", "--agent", "coder", "--host", "a", "--capability", "process.run"],
            3,
            "uses no secret",
        ),
        (&["secret", "show", "gitlab"], 4, "no live secret"),
        (&["secret", "set", "x", "--from-file", "/dev/null"], 2, "0 bytes"),
        (&["secret", "set", "x", "a-value-as-an-argument"], 2, "unexpected argument"),
        (&["secret", "revoke", "github"], 2, "--yes"),
    ] {
        let answer = house.tenure(words);
        assert!(answer.code == code && answer.stderr.contains(said), "{words:?}: {} {}", answer.code, answer.stderr);
    }
    assert_eq!(piped(&house, VALUE, "secret set 'not a name'").code, 3);
    house.tenure(&["secret", "unbind", "github", "--agent", "coder"]).ok();
    assert_eq!(house.tenure(&["secret", "unbind", "github", "--agent", "coder"]).code, 5);
    house.tenure(&["secret", "revoke", "github", "--yes"]).ok();
    assert_eq!(house.tenure(&["secret", "rotate", "github", "--from-file", &other]).code, 4);
    assert!(house.tenure(&["secret", "list", "--all"]).ok().stdout.contains("revoked"));
    piped(&house, VALUE, "secret set github").ok();
    let kinds = house.tenure(&["audit", "tail", "--limit", "50", "-o", "json"]).ok();
    for kind in ["secret.set", "secret.bound", "secret.rotated", "secret.unbound", "secret.revoked"] {
        assert!(kinds.raw.contains(kind), "{kind}");
    }
    assert!(!kinds.raw.contains(VALUE));
    house.tenure(&["audit", "verify"]).ok();
    let log = house.down();
    assert!(!log.contains(VALUE));
    let holds = |name: &str| {
        let bytes = std::fs::read(house.path("data").join(name)).unwrap_or_default();
        bytes.windows(VALUE.len()).any(|part| part == VALUE.as_bytes())
    };
    assert!(!holds("tenure.db") && !holds("tenure.db-wal") && !holds("vault.key"));
}

#[test]
fn with_a_wrong_key_the_daemon_runs_and_says_that_the_vault_is_locked() {
    let mut house = House::up(&cassette(1));
    piped(&house, VALUE, "secret set github").ok();
    assert!(!house.tenure(&["status"]).ok().stdout.contains("another one"), "the control");
    house.down();
    let key = house.path("data/vault.key");
    std::fs::write(&key, "k".repeat(44)).unwrap();
    house.start(&cassette(1), &[]);
    let status = house.tenure(&["status"]).ok();
    assert!(status.stdout.contains("another one"), "{}", status.stdout);
    let refused = piped(&house, VALUE, "secret set gitlab");
    assert!(refused.code == 1 && refused.stderr.contains("another one"), "{} {}", refused.code, refused.stderr);
    house.tenure(&["secret", "show", "github"]).ok();
}

#[test]
fn an_agent_shows_which_secrets_it_asks_for_and_which_nobody_bound() {
    let house = House::up(&cassette(1));
    let asks = "  secrets:\n    - {name: github, capability: network.credentialed_request, host: api.example.com}\n    \
                - {name: mail, capability: network.credentialed_request, host: mail.example.com}\n";
    let agent = house.write("agent.yaml", &format!("{AGENT}{asks}"));
    house.tenure(&["agent", "deploy", &agent]).ok();
    piped(&house, VALUE, "secret set github").ok();
    house.tenure(&["secret", "bind", "github", "--agent", "coder", "--host", "api.example.com"]).ok();
    let shown = house.tenure(&["agent", "show", "coder"]).ok().stdout;
    assert!(shown.contains("github with api.example.com (bound)"), "{shown}");
    assert!(shown.contains("mail with mail.example.com (not bound"), "{shown}");
    let refused =
        house.write("wrong.yaml", &format!("{AGENT}{}", asks.replace("network.credentialed_request", "process.run")));
    let refused = house.tenure(&["agent", "deploy", &refused]);
    assert!(refused.code != 0 && refused.stderr.contains("uses no secret"), "{}", refused.stderr);
}
