//! Whoever changes, drops or swaps a record, cuts the tail, or changes a row, is found by `audit verify`; an untouched
//! ledger holds. A row that was to grant authority grants none.
use crate::office::{MANIFEST, Office};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use tests::scripted::Say;

/// Runs SQL on a copied data directory, with the python that the tests need anyhow.
fn sql(data: &Path, statements: &str) {
    let script = format!(
        "import sqlite3,glob,sys\nfor f in glob.glob(sys.argv[1]+'/*.db')+glob.glob(sys.argv[1]+'/*.sqlite*'):\n  \
         c=sqlite3.connect(f)\n  c.executescript({statements:?})\n  c.commit()\n  c.close()\n"
    );
    let output = Command::new("python3").args(["-c", &script]).arg(data).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn copied(from: &Path, to: &Path) {
    let output = Command::new("cp").arg("-a").arg(from).arg(to).output().expect("cp runs");
    assert!(output.status.success());
}

#[test]
fn a_changed_dropped_swapped_or_cut_record_is_found() {
    let mut office = Office::open(Arc::new(|_, _| Say::Text("fine".to_string())));
    assert!(office.deploy(MANIFEST).status.success());
    for _ in 0..3 {
        office.execute("clerk", "x");
    }
    office.daemon.stop();
    office.holds();
    let cases = [
        (
            "changed",
            "UPDATE ledger SET body = CAST(replace(CAST(body AS TEXT), 'execution.ended', 'execution.endex') AS BLOB) WHERE idx = (SELECT max(idx) FROM ledger WHERE kind = 'execution.ended');",
        ),
        ("dropped", "DELETE FROM ledger WHERE idx = 5;"),
        (
            "swapped",
            "UPDATE ledger SET idx = -1 WHERE idx = 5; UPDATE ledger SET idx = 5 WHERE idx = 6; UPDATE ledger SET idx = 6 WHERE idx = -1;",
        ),
        ("cut", "DELETE FROM ledger WHERE idx > (SELECT max(idx) - 2 FROM ledger);"),
        (
            "a payload",
            "UPDATE payloads SET bytes = CAST('forged' AS BLOB) WHERE rowid = (SELECT min(rowid) FROM payloads WHERE bytes IS NOT NULL);",
        ),
    ];
    for (what, statements) in cases {
        let copy = office.folder.path().join(format!("copy-{}", what.replace(' ', "-")));
        copied(&office.daemon.data, &copy);
        sql(&copy, statements);
        let mut command = Command::new(tests::daemon::program("tenure"));
        let output = command.arg("--data-dir").arg(&copy).args(["audit", "verify"]).output().expect("it runs");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success(), "{what}: not found\n{text}");
        println!("{what}: {text}");
    }
    office.holds();
}

/// What the API says to whoever holds this key and no socket.
fn by_key(office: &Office, daemon: &tests::daemon::Daemon, key: &str) -> Output {
    let listening = daemon.json(&["status"])["listening"].clone();
    let url = listening
        .as_array()
        .and_then(|places| places.iter().filter_map(Value::as_str).find(|at| at.starts_with("http")));
    let url = url.expect("it listens").to_string();
    let nowhere = office.folder.path().join("nowhere");
    let mut command = Command::new(tests::daemon::program("tenure"));
    command.args(["--data-dir".as_ref(), nowhere.as_os_str()]).args(["--base-url", &url, "key", "list"]);
    command.env("TENURE_API_KEY", key).output().expect("it runs")
}

/// As one who writes the database and does not hold the ledger's key would: an owner's key of another installation is put
/// in, what was done is told otherwise. Then the daemon runs on it.
#[test]
fn a_forged_owner_key_opens_nothing_and_verify_names_each_row_that_was_changed() {
    let mut office = Office::open(Arc::new(|_, _| Say::Text("fine".to_string())));
    assert!(office.deploy(MANIFEST).status.success());
    office.execute("clerk", "x");
    office.daemon.stop();
    let forged = office.folder.path().join("forged");
    copied(&office.daemon.data, &forged);
    office.daemon.start_again();
    let secret = office.daemon.json(&["key", "create", "--name", "x", "--role", "owner"])["secret"].clone();
    let secret = secret.as_str().expect("a key has a text");
    assert!(by_key(&office, &office.daemon, secret).status.success(), "the control: where the key was made it opens");
    let viewer = office.daemon.json(&["key", "create", "--name", "low", "--role", "viewer"])["secret"].clone();
    let viewer = viewer.as_str().expect("a key has a text").to_string();
    office.daemon.stop();
    office.holds();

    let raised = office.folder.path().join("raised");
    copied(&office.daemon.data, &raised);
    sql(&raised, "UPDATE keys SET role = 'owner' WHERE name = 'low';");
    let from = office.daemon.data.join("tenure.db");
    let put_in = format!(
        "ATTACH '{}' AS other; INSERT INTO keys SELECT * FROM other.keys WHERE name = 'x';\
         UPDATE executions SET status = 'failed', reason = 'crashed'; DELETE FROM turns;",
        from.display()
    );
    sql(&forged, &put_in);
    for (data, key, rows) in [
        (
            &forged,
            secret,
            vec![
                "of `keys` is there, and no record implies it",
                "of `executions` differs: status is `failed`, by the records `completed`",
                "of `turns` is missing",
            ],
        ),
        (&raised, viewer.as_str(), vec!["of `keys` differs: role is `owner`, by the records `viewer`"]),
    ] {
        let mut daemon = tests::daemon::Daemon::start(data, &[]);
        let output = by_key(&office, &daemon, key);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains("unknown or revoked"), "{text}");
        assert!(daemon.log().contains("a forged API key was refused"), "{}", daemon.log());
        let listed = daemon.json(&["key", "list"]);
        assert!(listed.as_array().expect("a list").iter().any(|key| key["forged"] == true), "{listed}");
        daemon.stop();
        let output = daemon.run(&["audit", "verify"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success());
        for row in rows {
            assert!(text.contains(row), "`{row}` is not in\n{text}");
        }
        let chain = daemon.run(&["audit", "verify", "--chain"]);
        assert!(chain.status.success(), "no record was changed: {}", String::from_utf8_lossy(&chain.stdout));
    }
}
