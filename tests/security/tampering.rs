//! Whoever changes, drops or swaps a record, or cuts the tail, is found by `audit verify`; an untouched ledger holds.
use crate::office::{MANIFEST, Office};
use std::path::Path;
use std::process::Command;
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
