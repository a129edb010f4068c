//! SQLite: write-ahead log, synced at every commit. SQLite takes `$n` for names, numbered by first use, which is why
//! statements must first use them in order.
use super::{Cell, Columns, Sql, Walk};
use crate::Error;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use std::path::Path;
use std::time::Duration;

/// Columns that one query may have.
const COLUMNS_MAX: usize = 32;
const STATEMENTS_KEPT: usize = 96;
/// How long another process may hold the database's lock before it is `Busy`.
const BUSY_MS: u64 = 2_000;
/// Frames in the log before they are moved into the database; each holds a page of 4 KiB.
const LOG_FRAMES: u32 = 2_000;
/// What the log comes to be long, with room for the transaction that goes over its limit.
pub(crate) const LOG_BYTES: u64 = (LOG_FRAMES as u64 + 200) * (4096 + 24);
/// The database's file grows by so much at a time.
const GROWTH_BYTES: i32 = 1 << 20;

#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
}

impl Sqlite {
    /// Opens a database, or makes an empty one, and leaves what it holds as it is until [`Sqlite::into_writer`].
    ///
    /// # Errors
    /// Where the file cannot be opened as a database.
    pub fn open(path: &Path) -> Result<Sqlite, Error> {
        let connection = Connection::open(path).map_err(|error| failure("opening the database", &error))?;
        let sqlite = Sqlite { connection };
        sqlite.moves_log_when_closed(false)?;
        Ok(sqlite)
    }

    /// # Errors
    /// The database's.
    pub fn into_writer(self) -> Result<Sqlite, Error> {
        let sqlite = self;
        sqlite.moves_log_when_closed(true)?;
        sqlite.set("journal_mode", "WAL")?;
        sqlite.set("synchronous", "FULL")?;
        sqlite.set("wal_autocheckpoint", &LOG_FRAMES.to_string())?;
        sqlite.set("cache_size", "-4096")?;
        let mut growth = GROWTH_BYTES;
        let chunk = rusqlite::FileControl::ChunkSize(&mut growth);
        sqlite
            .connection
            .file_control(None::<&str>, chunk)
            .map_err(|error| failure("setting how the database grows", &error))?;
        sqlite.prepare_connection()
    }

    /// # Errors
    /// Where the file cannot be opened as a database.
    pub fn open_reader(path: &Path) -> Result<Sqlite, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(|error| failure("opening the database", &error))?;
        let sqlite = Sqlite { connection };
        sqlite.set("cache_size", "-1024")?;
        sqlite.prepare_connection()
    }

    /// A database in a temporary file that no other connection finds and that is gone with this one. Nothing in it
    /// outlives a failure.
    ///
    /// # Errors
    /// Where no temporary file can be made.
    pub fn open_temporary() -> Result<Sqlite, Error> {
        // Were the setting of `prepare_connection` made before, this would lie in memory.
        let connection = Connection::open("").map_err(|error| failure("opening a temporary database", &error))?;
        let sqlite = Sqlite { connection };
        sqlite.set("journal_mode", "MEMORY")?;
        sqlite.set("cache_size", "-8192")?;
        sqlite.prepare_connection()
    }

    fn moves_log_when_closed(&self, moves: bool) -> Result<(), Error> {
        let result = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !moves);
        result.map(|_| ()).map_err(|error| failure("setting what closing the database does", &error))
    }

    fn prepare_connection(self) -> Result<Sqlite, Error> {
        self.set("foreign_keys", "OFF")?;
        self.set("temp_store", "MEMORY")?;
        self.connection
            .busy_timeout(Duration::from_millis(BUSY_MS))
            .map_err(|error| failure("setting the wait for a lock", &error))?;
        // Else a statement is parsed anew each time that it is run with other values.
        self.connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
            .map_err(|error| failure("setting how statements are kept", &error))?;
        self.connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        Ok(self)
    }

    fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        let result = self.connection.execute_batch(&format!("PRAGMA {name} = {value}"));
        result.map_err(|error| failure(&format!("setting {name}"), &error))
    }

    /// Holds the database to a number of pages, to see what a full disk does.
    ///
    /// # Errors
    /// The database's.
    pub fn limit_pages(&self, pages: u32) -> Result<(), Error> {
        self.set("max_page_count", &pages.to_string())
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Cell::Null => ValueRef::Null,
            Cell::Int(number) => ValueRef::Integer(*number),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
            Cell::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Sql for Sqlite {
    fn execute(&mut self, sql: &str, cells: &[Cell<'_>]) -> Result<usize, Error> {
        let run = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            for (place, cell) in cells.iter().enumerate() {
                statement.raw_bind_parameter(place + 1, cell)?;
            }
            statement.raw_execute()
        };
        run().map_err(|error| failure(sql, &error))
    }

    fn each(
        &mut self,
        sql: &str,
        cells: &[Cell<'_>],
        row: &mut dyn FnMut(&Columns<'_>) -> Result<Walk, Error>,
    ) -> Result<(), Error> {
        let failed = |error: rusqlite::Error| failure(sql, &error);
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        for (place, cell) in cells.iter().enumerate() {
            statement.raw_bind_parameter(place + 1, cell).map_err(failed)?;
        }
        let count = statement.column_count();
        if count > COLUMNS_MAX {
            return Err(Error::invariant(format!("a query of {count} columns: {sql}")));
        }
        let mut rows = statement.raw_query();
        while let Some(found) = rows.next().map_err(failed)? {
            let mut columns = [Cell::Null; COLUMNS_MAX];
            for (place, cell) in columns.iter_mut().enumerate().take(count) {
                *cell = match found.get_ref(place).map_err(failed)? {
                    ValueRef::Null => Cell::Null,
                    ValueRef::Integer(number) => Cell::Int(number),
                    ValueRef::Real(_) => return Err(Error::corrupt(format!("a fraction in: {sql}"))),
                    ValueRef::Text(text) => Cell::Text(
                        std::str::from_utf8(text).map_err(|_| Error::corrupt(format!("broken text in: {sql}")))?,
                    ),
                    ValueRef::Blob(bytes) => Cell::Bytes(bytes),
                };
            }
            if row(&Columns(&columns[..count]))? == Walk::Stop {
                break;
            }
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.connection.is_autocommit()
    }
}

fn failure(doing: &str, error: &rusqlite::Error) -> Error {
    let doing: String = doing.split_whitespace().take(6).collect::<Vec<_>>().join(" ");
    let Some(inner) = error.sqlite_error() else {
        return Error::invariant(format!("{doing}: {error}"));
    };
    match inner.code {
        ErrorCode::DiskFull => Error::Full { doing },
        // The log's index could not grow, which only a full disk does.
        ErrorCode::SystemIoFailure if inner.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Error::Full { doing },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Error::Busy { doing },
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Error::corrupt(format!("{doing}: {error}")),
        ErrorCode::ConstraintViolation
        | ErrorCode::TypeMismatch
        | ErrorCode::ApiMisuse
        | ErrorCode::ParameterOutOfRange
        | ErrorCode::InternalMalfunction
        | ErrorCode::TooBig
        | ErrorCode::Unknown => Error::invariant(format!("{doing}: {error}")),
        _ => Error::Io { doing, why: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::StatementStatus;

    #[test]
    fn a_statement_is_parsed_once_whatever_values_it_is_run_with() {
        let sqlite = Sqlite::open_temporary().unwrap();
        sqlite.connection.execute_batch("CREATE TABLE t (a BIGINT, b BIGINT); CREATE INDEX i ON t (a, b)").unwrap();
        let mut parsed_again = 0;
        for value in 0..4 {
            let text = "SELECT b FROM t WHERE (a = 1 AND b <= $1) OR (a = 2 AND b <= $2) ORDER BY a LIMIT $3";
            let mut statement = sqlite.connection.prepare_cached(text).unwrap();
            let rows = statement.query_map([value, value + 1, value + 2], |row| row.get::<_, i64>(0)).unwrap();
            assert_eq!(rows.count(), 0);
            parsed_again += statement.get_status(StatementStatus::RePrepare);
        }
        assert_eq!(parsed_again, 0);
    }
}
