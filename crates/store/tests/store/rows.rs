//! Every table of rows is verified, whichever there are: what another hand changes, drops, puts in or makes live again is
//! found under its table.
use crate::verify::{check, found, make};
use rusqlite::Connection;
use std::path::Path;
use tenure_store::verify::Report;

/// What holds the records and their bytes; each has tamperings of its own.
const NOT_ROWS: [&str; 4] = ["heads", "ledger", "migrations", "payloads"];

struct Column {
    name: String,
    kind: String,
    is_key: bool,
    /// In an index that allows it once.
    is_unique: bool,
}

fn texts(db: &Connection, sql: &str) -> Vec<String> {
    let mut select = db.prepare(sql).unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn columns(db: &Connection, table: &str) -> Vec<Column> {
    let unique = format!(
        "SELECT info.name FROM pragma_index_list('{table}') list, pragma_index_info(list.name) info \
         WHERE list.\"unique\" = 1 AND info.name IS NOT NULL"
    );
    let unique = texts(db, &unique);
    let mut select = db.prepare(&format!("SELECT name, type, pk FROM pragma_table_info('{table}')")).unwrap();
    let read = |row: &rusqlite::Row<'_>| {
        let name: String = row.get(0)?;
        let (is_key, is_unique) = (row.get::<_, i64>(2)? > 0, unique.contains(&name));
        Ok(Column { name, kind: row.get(1)?, is_key, is_unique })
    };
    select.query_map([], read).unwrap().map(Result::unwrap).collect()
}

/// Another value of the column's type.
fn another(column: &Column) -> String {
    let Column { name, kind, .. } = column;
    match kind.as_str() {
        "BIGINT" => format!("{name} = COALESCE({name}, 0) + 1"),
        "TEXT" => format!("{name} = COALESCE({name}, '') || 'x'"),
        "BYTEA" => format!("{name} = CAST(COALESCE({name}, X'') || X'00' AS BLOB)"),
        other => panic!("a column of another type: {other}"),
    }
}

/// Rows whose figures the records give: refusals are counted beside any event, and a running execution's row is behind.
fn told(table: &str) -> &'static str {
    match table {
        "counters" => "counter NOT LIKE 'refusals%'",
        "executions" => "ended_at IS NOT NULL",
        _ => "TRUE",
    }
}

fn apply(db: &Connection, sql: &str) {
    assert_eq!(db.execute(sql, []).unwrap(), 1, "not one row was tampered with by: {sql}");
}

/// Tampers, verifies, and puts all back.
fn verified(dir: &Path, table: &str, tamper: impl FnOnce(&Connection)) -> Report {
    let db = Connection::open(dir.join("tenure.db")).unwrap();
    db.execute_batch(&format!("CREATE TEMP TABLE before AS SELECT * FROM {table}")).unwrap();
    tamper(&db);
    let report = check(dir);
    db.execute_batch(&format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM before")).unwrap();
    report
}

/// Findings about what is owed and about snapshots speak of the stream that they are of.
fn named(table: &str) -> String {
    match table {
        "owed" => "owe".to_string(),
        "snapshots" => "snapshot".to_string(),
        rows => format!("`{rows}`"),
    }
}

#[test]
fn in_each_table_a_changed_a_dropped_and_a_made_up_row_is_found() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let db = Connection::open(dir.path().join("tenure.db")).unwrap();
    let tables = texts(&db, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name");
    let rows: Vec<&String> = tables.iter().filter(|table| !NOT_ROWS.contains(&table.as_str())).collect();
    assert!(rows.len() >= 15, "{rows:?}");
    for table in rows {
        let columns = columns(&db, table);
        let key: Vec<&str> = columns.iter().filter(|column| column.is_key).map(|column| column.name.as_str()).collect();
        let one = format!(
            "({key}) = (SELECT {key} FROM {table} WHERE {} ORDER BY {key} LIMIT 1)",
            told(table),
            key = key.join(", ")
        );
        let found_in = |report: &Report, what: &str| {
            let text = found(report);
            assert!(!report.holds() && text.contains(&named(table)), "{table}: {what} is not in\n{text}");
            text
        };

        let others: Vec<&Column> = columns.iter().filter(|column| !column.is_key).collect();
        if !others.is_empty() {
            let sets: Vec<String> = others.iter().map(|column| another(column)).collect();
            let changed = format!("UPDATE {table} SET {} WHERE {one}", sets.join(", "));
            let text = found_in(&verified(dir.path(), table, |db| apply(db, &changed)), "a changed row");
            let seen = |column: &&&Column| text.contains(&format!("{} is ", column.name));
            let unseen: Vec<&str> =
                others.iter().filter(|column| !seen(column)).map(|column| column.name.as_str()).collect();
            assert!(
                named(table) != format!("`{table}`") || unseen.is_empty(),
                "{table}: {unseen:?} may be changed\n{text}"
            );
        }

        let dropped = verified(dir.path(), table, |db| apply(db, &format!("DELETE FROM {table} WHERE {one}")));
        // A snapshot may always be missing: its stream is read from the first record.
        if table != "snapshots" {
            found_in(&dropped, "a dropped row");
        }

        let keyed: Vec<&Column> = columns.iter().filter(|column| column.is_key || column.is_unique).collect();
        let made_up = verified(dir.path(), table, |db| {
            db.execute_batch(&format!("CREATE TEMP TABLE one AS SELECT * FROM {table} WHERE {one}")).unwrap();
            // Of a key that is a stream or an obligation, another that can be read.
            let sets: Vec<String> = keyed
                .iter()
                .filter(|column| !matches!((table.as_str(), column.name.as_str()), ("owed", "axis" | "stream" | "key")))
                .map(|column| another(column))
                .collect();
            apply(db, &format!("UPDATE one SET {}", sets.join(", ")));
            apply(db, &format!("INSERT INTO {table} SELECT * FROM one"));
        });
        found_in(&made_up, "a made-up row");
        let untouched = check(dir.path());
        assert!(untouched.holds(), "{table} was put back: {}", found(&untouched));
    }
}

#[test]
fn a_trigger_a_changed_index_and_a_dropped_table_are_found() {
    for (tampering, expected) in [
        (
            "CREATE TRIGGER wider AFTER INSERT ON keys BEGIN UPDATE keys SET role = 'owner'; END",
            "the trigger `wider` is none that this program makes",
        ),
        ("DROP INDEX keys_by_hash", "the index `keys_by_hash` is missing"),
        ("DROP TABLE keys", "the table `keys` is missing"),
        ("ALTER TABLE keys ADD COLUMN more TEXT", "the table `keys` is not the one that this program makes"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        Connection::open(dir.path().join("tenure.db")).unwrap().execute_batch(tampering).unwrap();
        let text = found(&check(dir.path()));
        assert!(text.contains(expected), "{tampering}: `{expected}` is not in\n{text}");
    }
}
