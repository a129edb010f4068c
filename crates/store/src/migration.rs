//! The tables, and how a database comes to have them. A migration that was run once must never change: its hash is kept.
use crate::Error;
use crate::sql::{Cell, Sql};
use tenure_core::bound::Hash;

/// Oldest first. `{clustered}` marks tables kept in the order of their key, where the engine can.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001 rows with MACs", include_str!("migration/0001.sql")),
    ("0002 names of archived agents are free", include_str!("migration/0002-names.sql")),
    ("0003 a queue an agent", include_str!("migration/0003-queues.sql")),
    ("0004 estimated tokens are marked", include_str!("migration/0004-estimated.sql")),
    ("0005 schedules", include_str!("migration/0005-schedules.sql")),
    ("0006 sessions and conversations", include_str!("migration/0006-sessions.sql")),
    ("0007 agents by label and status", include_str!("migration/0007-labels.sql")),
    ("0008 versions of stored values", include_str!("migration/0008-state.sql")),
    ("0009 messages", include_str!("migration/0009-messages.sql")),
    ("0010 executions that executions started", include_str!("migration/0010-children.sql")),
    ("0011 schedules of agents' own, and alerts", include_str!("migration/0011-items.sql")),
    ("0012 costs", include_str!("migration/0012-costs.sql")),
    ("0013 jails of sessions", include_str!("migration/0013-session-jails.sql")),
    ("0014 what ended executions bound", include_str!("migration/0014-retention.sql")),
    ("0015 policies", include_str!("migration/0015-policies.sql")),
    ("0016 secrets", include_str!("migration/0016-secrets.sql")),
    ("0017 what ended sessions bound", include_str!("migration/0017-sessions-kept.sql")),
    ("0018 executions that have begun", include_str!("migration/0018-begun.sql")),
    ("0019 sealed records", include_str!("migration/0019-sealed.sql")),
    ("0020 packages", include_str!("migration/0020-packages.sql")),
    ("0021 instances", include_str!("migration/0021-instances.sql")),
];

/// What the first migration of a ledger was called that no release reads any more.
const FORGOTTEN: [&str; 2] = ["0001 first light", "0001 the house made ready"];

/// Brings the tables up to this program's, in one transaction.
///
/// # Errors
/// As `check`.
pub(crate) fn run(sql: &mut dyn Sql) -> Result<(), Error> {
    let done = check(sql)?;
    if done == MIGRATIONS.len() {
        return Ok(());
    }
    sql.execute("BEGIN IMMEDIATE", &[])?;
    sql.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, hash TEXT NOT NULL)", &[])?;
    for (name, text) in &MIGRATIONS[done..] {
        for statement in text.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
            sql.execute(&statement.replace("{clustered}", "WITHOUT ROWID"), &[])?;
        }
        let hash = Hash::of(text.as_bytes()).to_string();
        sql.execute("INSERT INTO migrations (name, hash) VALUES ($1, $2)", &[Cell::Text(name), Cell::Text(&hash)])?;
    }
    sql.execute("COMMIT", &[])?;
    Ok(())
}

/// How many migrations a database has. Only reads.
///
/// # Errors
/// `Older` where no upgrade leads from it; `Newer` where the database knows migrations that this program does not;
/// `Corrupt` where one differs.
pub(crate) fn check(sql: &mut dyn Sql) -> Result<usize, Error> {
    let known = "SELECT 1 FROM sqlite_master WHERE name = 'migrations'";
    if sql.first(known, &[], |row| row.int(0))?.is_none() {
        return Ok(0);
    }
    let done = sql.all("SELECT name, hash FROM migrations ORDER BY name", &[], |row| {
        Ok((row.text(0)?.to_string(), row.text(1)?.to_string()))
    })?;
    compare(&done)?;
    Ok(done.len())
}

/// The first migration that is not put down, where it is known that its tables are there.
pub(crate) fn unwritten(sql: &mut dyn Sql) -> Result<Option<&'static str>, Error> {
    let done = check(sql)?;
    Ok(MIGRATIONS.get(done).map(|(name, _)| *name))
}

fn compare(done: &[(String, String)]) -> Result<(), Error> {
    if done.iter().any(|(name, _)| FORGOTTEN.contains(&name.as_str())) {
        return Err(Error::Older);
    }
    for (place, (name, hash)) in done.iter().enumerate() {
        let Some((ours, text)) = MIGRATIONS.get(place) else {
            return Err(Error::Newer { what: format!("it has the migration `{name}`") });
        };
        if ours != name || Hash::of(text.as_bytes()).to_string() != *hash {
            return Err(Error::corrupt(format!("its migration `{name}` is not the one that this program knows")));
        }
    }
    Ok(())
}
