use super::house::{House, cassette};

#[test]
fn a_key_is_shown_once_opens_tcp_and_shuts_with_its_revocation() {
    let house = House::up(&cassette(1));
    let made = house.tenure(&["key", "create", "--name", "ci", "--role", "viewer"]).ok();
    insta::assert_snapshot!(made.stdout);
    let key = made.raw.split_whitespace().find(|word| word.starts_with("tnr_")).unwrap().to_string();
    let url = house.url.clone();
    let over_tcp = |key: &str| house.tenure(&["--base-url", &url, "--api-key", key, "agent", "list"]);
    over_tcp(&key).ok();
    let list = house.tenure(&["key", "list"]).ok();
    assert!(!list.raw.contains(&key));
    insta::assert_snapshot!(list.stdout);
    let taken = house.tenure(&["key", "create", "--name", "ci"]);
    assert_eq!(taken.code, 5, "{}", taken.stderr);
    let wrong = house.tenure(&["key", "create", "--name", "x", "--role", "king"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("viewer, approver, operator or owner"), "{}", wrong.stderr);
    assert_eq!(house.tenure(&["key", "revoke", "ci"]).code, 2, "without a terminal it wants --yes");
    house.tenure(&["key", "revoke", "ci", "--yes"]).ok();
    let refused = over_tcp(&key);
    assert_eq!(refused.code, 7);
    assert!(!refused.stderr.contains(&key));
    let slip = over_tcp(&key.replace("tnr_", "tnr_x"));
    assert!(slip.code == 7 && slip.stderr.contains("has 37 characters"), "{}", slip.stderr);
}

#[test]
fn no_key_is_made_where_nobody_would_see_it() {
    let house = House::up(&cassette(1));
    let program = env!("CARGO_BIN_EXE_tenure");
    let run = |script: &str| {
        let mut bash = std::process::Command::new("bash");
        bash.args(["-c", &format!("{program} key create --name lost {script}")])
            .env_clear()
            .env("HOME", house.path(""));
        house.run({
            bash.env("TENURE_DATA_DIR", house.path("data")).env("PATH", "/usr/bin:/bin");
            bash
        })
    };
    for script in [">&-", "> /dev/null", "-o json >&-", "> /dev/full"] {
        let answer = run(script);
        assert_ne!(answer.code, 0, "{script}: {}", answer.stderr);
        let live = house.tenure(&["key", "list", "-o", "json"]).ok().json();
        let live: Vec<_> = live.as_array().unwrap().iter().filter(|key| key["status"] == "live").collect();
        assert!(live.is_empty(), "{script}: {live:?}");
    }
    assert_eq!(run(&format!("> {}", house.path("key").display())).code, 0, "the control");
    assert!(std::fs::read_to_string(house.path("key")).unwrap().contains("tnr_"));
}
