//! Exports: a stranger with the file and the public key sees what was changed in it, and where.
use crate::verify::make;
use crate::world::World;
use rusqlite::Connection;
use std::path::Path;
use tenure_core::ledger::export::{Check, Checked, Line};
use tenure_core::ledger::{Signer, Verifier};
use tenure_store::export::{Exported, Wanted, export, find_agent};
use tenure_store::{Error, Options, Selection, Store};

pub(crate) fn written(dir: &Path, wanted: &Wanted) -> (Exported, Vec<u8>) {
    let mut out = Vec::new();
    let exported = export(dir, wanted, &mut out, &mut |_| Ok(())).unwrap();
    (exported, out)
}

pub(crate) fn checked(file: &[u8], key: Option<Verifier>) -> Checked {
    let mut check = Check::new(key);
    file.split_inclusive(|byte| *byte == b'\n').for_each(|line| check.line(line));
    check.finish()
}

pub(crate) fn found(checked: &Checked) -> String {
    checked.found.iter().map(|found| format!("{found}\n")).collect()
}

pub(crate) fn key(dir: &Path) -> Verifier {
    Verifier::from_hex(std::fs::read_to_string(dir.join("ledger.pub")).unwrap().trim()).unwrap()
}

fn with_payloads(selection: Selection) -> Wanted {
    Wanted { selection, words: vec!["--payloads".into()], payloads: true }
}

fn lines(file: &[u8]) -> Vec<Vec<u8>> {
    file.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn records(file: &[u8]) -> Vec<String> {
    let lines = file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let read = lines.filter_map(|line| match serde_json::from_slice(line).unwrap() {
        Line::Record(record) => Some(record.bytes),
        Line::Export(_) | Line::Payload(_) | Line::Erased(_) | Line::End(_) => None,
    });
    read.collect()
}

#[test]
fn an_export_has_the_stored_bytes_of_what_was_selected_and_holds_by_the_ledger_s_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let (all, file) = written(dir.path(), &with_payloads(Selection::default()));
    let db = Connection::open(dir.path().join("tenure.db")).unwrap();
    let stored = |rest: &str| -> Vec<String> {
        let text = format!("SELECT CAST(body AS TEXT) FROM ledger {rest} ORDER BY idx");
        db.prepare(&text).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(records(&file), stored(""));
    let holds = checked(&file, Some(key(dir.path())));
    assert!(holds.holds(), "{}", found(&holds));
    assert_eq!((holds.records, holds.payloads, holds.erased), (all.records, all.payloads, all.erased));
    assert!(all.payloads > 40 && all.erased > 40, "{all:?}");
    assert_eq!(holds.erased_elsewhere, 0, "each erased payload is named by a record here");
    let other = checked(&file, Some(Signer::new(&[7; 32]).verifier()));
    assert!(found(&other).contains("line 1: the key that you trust is none of this ledger's"), "{}", found(&other));

    let agent = match find_agent(dir.path(), "validated").unwrap() {
        tenure_store::export::Lookup::One(agent) => agent,
        lookup => panic!("{lookup:?}"),
    };
    let of_agent = Selection { agent: Some(agent), ..Selection::default() };
    let (one, file) = written(dir.path(), &Wanted { selection: of_agent, ..Wanted::default() });
    let streams = format!("WHERE stream = '{agent}' OR stream IN (SELECT id FROM executions WHERE agent = '{agent}')");
    assert_eq!(records(&file), stored(&streams));
    assert!(one.records > 10 && one.records < all.records && one.payloads == 0, "{one:?}");
    assert!(checked(&file, Some(key(dir.path()))).holds());
    let refused = Selection { refused: true, ..Selection::default() };
    let (some, file) = written(dir.path(), &Wanted { selection: refused, ..Wanted::default() });
    assert!(some.records > 0 && records(&file).iter().all(|record| record.contains("command.refused")), "{some:?}");
}

/// A small ledger: few records, one payload of each sort.
fn small(dir: &Path) -> Wanted {
    let store = Store::open(Options::new(dir)).unwrap();
    let mut world = World::new(5);
    world.found(&store);
    let agent = world.deploy(&store, "a");
    let worker = world.worker(&store, 10);
    let id = world.whole(&store, agent, worker, 1);
    world.run_execution(&store, id, tenure_core::execution::Command::Erase { reason: "asked".into() });
    world.deploy(&store, "b");
    let kinds = ["agent.created", "execution.started", "execution.erased"].map(String::from).to_vec();
    with_payloads(Selection { kinds, ..Selection::default() })
}

#[test]
fn each_byte_of_an_export_that_is_changed_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (exported, file) = written(dir.path(), &{ small(dir.path()) });
    assert_eq!((exported.records, exported.payloads, exported.erased), (4, 4, 1));
    let key = key(dir.path());
    assert!(checked(&file, Some(key)).holds(), "the control");
    let mut located = 0;
    for place in 0..file.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut changed = file.clone();
            changed[place] ^= flip;
            let checked = checked(&changed, Some(key));
            assert!(!checked.holds(), "byte {place} of {}: {}", file.len(), String::from_utf8_lossy(&changed));
            let line = 1 + file[..place].iter().filter(|byte| **byte == b'\n').count() as u64;
            located += usize::from(checked.found.iter().any(|found| found.line == line));
        }
    }
    // The rest is what the first line tells of what was asked for, and a superseded value's line: the signed checksum finds it.
    assert!(located * 100 > file.len() * 3 * 95, "{located} of {}", file.len() * 3);
}

/// A change of the file, and what is to be found of it.
type Case<'a> = (&'a str, Box<dyn Fn(&mut Vec<Vec<u8>>) + 'a>, &'a str);

#[test]
fn what_is_dropped_doubled_swapped_cut_or_put_in_is_found_where_it_is() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    small(other.path());
    let wanted = Wanted::default();
    let ((exported, file), (_, foreign)) = (written(dir.path(), &wanted), written(other.path(), &wanted));
    let (size, foreign) = (exported.records as usize, lines(&foreign));
    let text = |line: &[u8]| String::from_utf8(line.to_vec()).unwrap();
    let cases: [Case<'_>; 9] = [
        ("dropped", Box::new(|lines| drop(lines.remove(9))), "the checksum is not that of the lines before it"),
        ("doubled", Box::new(|lines| lines.insert(9, lines[9].clone())), "line 11, record 8: is here twice"),
        ("swapped", Box::new(|lines| lines.swap(9, 10)), "line 11, record 8: comes after record 9"),
        ("cut", Box::new(|lines| lines.truncate(40)), "line 41: is missing: the end of the export was cut off"),
        ("cut before its end", Box::new(|lines| drop(lines.remove(size))), "records, and"),
        (
            "a record of another ledger",
            Box::new(|lines| lines[9].clone_from(&foreign[9])),
            "line 10, record 8: is not in the tree under the signed head",
        ),
        (
            "a head of another ledger",
            Box::new(|lines| lines[0].clone_from(&foreign[0])),
            "line 1: the key that you trust is none of this ledger's",
        ),
        (
            "a greater head",
            Box::new(|lines| {
                let more = format!(r#""size":{}"#, size + 1);
                lines[0] = text(&lines[0]).replace(&format!(r#""size":{size}"#), &more).into_bytes();
            }),
            "line 1: the head is not signed by the newest key",
        ),
        ("more after the end", Box::new(|lines| lines.push(b"{}\n".to_vec())), "comes after the end"),
    ];
    for (what, change, told) in cases {
        let mut changed = lines(&file);
        change(&mut changed);
        let checked = checked(&changed.concat(), Some(key(dir.path())));
        assert!(found(&checked).contains(told), "{what}: `{told}` is not in\n{}", found(&checked));
    }
    // Whoever has another ledger's key makes a file that vouches for itself: only the key that is trusted tells.
    let all = foreign.concat();
    assert!(checked(&all, None).holds() && !checked(&all, Some(key(dir.path()))).holds());
}

#[test]
fn a_ledger_that_does_not_hold_is_not_exported_and_one_without_its_key_neither() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let failed = |wanted: &Wanted| export(dir.path(), wanted, &mut Vec::new(), &mut |_| Ok(())).unwrap_err();
    let db = Connection::open(dir.path().join("tenure.db")).unwrap();
    db.execute(
        "UPDATE payloads SET bytes = CAST('forged' AS BLOB) WHERE rowid = (SELECT min(rowid) FROM payloads)",
        [],
    )
    .unwrap();
    assert!(failed(&with_payloads(Selection::default())).to_string().contains("was changed"));
    assert!(export(dir.path(), &Wanted::default(), &mut Vec::new(), &mut |_| Ok(())).is_ok(), "the control");
    let sql = "UPDATE ledger SET body = CAST(replace(CAST(body AS TEXT), 'local', 'loyal') AS BLOB) WHERE idx = 8";
    assert_eq!(db.execute(sql, []).unwrap(), 1);
    assert!(matches!(failed(&Wanted::default()), Error::Corrupt { .. }));
    std::fs::remove_file(dir.path().join("ledger.key")).unwrap();
    assert_eq!(failed(&Wanted::default()), Error::KeyLost);
}

#[test]
fn a_hostile_file_is_a_finding_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (_, file) = written(dir.path(), &small(dir.path()));
    let whole = lines(&file);
    let header = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut line: serde_json::Value = serde_json::from_slice(&whole[0]).unwrap();
        change(&mut line["export"]);
        let line: Line = serde_json::from_value(line).unwrap();
        line.to_bytes()
    };
    let sizes = [0u64, 1, 1 << 53, (1 << 53) - 1];
    let sized = sizes.iter().filter_map(|size| header(&|export| export["head"]["head"]["size"] = (*size).into()).ok());
    let mut heads: Vec<Vec<u8>> = sized.collect();
    heads.push(header(&|export| export["keys"] = serde_json::json!([])).unwrap());
    heads.push(header(&|export| export["keys"][0]["key"] = "x".into()).unwrap());
    heads.push(
        String::from_utf8(whole[0].clone()).unwrap().replace("\"size\":", "\"size\":18446744073709551615").into(),
    );
    heads.push(b"[]\n".to_vec());
    heads.push(Vec::new());
    for head in heads {
        let told = checked(&[&[head], &whole[1..]].concat().concat(), None);
        assert!(!told.holds());
    }
    // Any lines in any order, and cut anywhere.
    for seed in 0..200usize {
        let mut mixed: Vec<Vec<u8>> =
            (0..whole.len()).map(|place| whole[(place * 7 + seed * 13) % whole.len()].clone()).collect();
        if let Some(line) = mixed.get_mut(seed % whole.len()) {
            line.truncate(line.len() * (seed % 10) / 10);
        }
        assert!(!checked(&mixed.concat(), None).holds(), "{seed}");
    }
    assert!(checked(&file, None).holds(), "the control");
}
