//! SQLite: write-ahead log, synced at every commit. SQLite takes `$n` for names, numbered by first use, which is why
//! statements must first use them in order.
use super::{Cell, Columns, Sql, Walk};
use crate::Error;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Columns that one query may have.
const COLUMNS_MAX: usize = 32;
const STATEMENTS_KEPT: usize = 96;
/// How long another process may hold the database's lock before it is `Busy`.
const BUSY_MS: u64 = 2_000;
/// Frames in the log before they are moved into the database; each holds a page of 4 KiB.
const LOG_FRAMES: u32 = 2_000;
/// What the log comes to be long, with room for the transaction that goes over its limit.
pub(crate) const LOG_BYTES: u64 = (LOG_FRAMES as u64 + 200) * (4096 + 24);
/// Pages copied in one transaction at first: 4 MiB.
const COPY_PAGES: i32 = 1024;
/// How long a copy waits for a lock that another process holds, in all.
const COPY_WAIT: Duration = Duration::from_secs(20);
/// The database's file grows by so much at a time.
const GROWTH_BYTES: i32 = 1 << 20;

#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    folder: Option<PathBuf>,
}

impl Sqlite {
    /// Opens a database, or makes an empty one, and leaves what it holds as it is until [`Sqlite::into_writer`].
    ///
    /// # Errors
    /// Where the file cannot be opened as a database.
    pub fn open(path: &Path) -> Result<Sqlite, Error> {
        let connection = Connection::open(path).map_err(|error| failure("opening the database", &error))?;
        let sqlite = Sqlite { connection, folder: path.parent().map(Path::to_path_buf) };
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
        // What an event erased must not be found in free pages.
        sqlite.set("secure_delete", "ON")?;
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
        let sqlite = Sqlite { connection, folder: path.parent().map(Path::to_path_buf) };
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
        let sqlite = Sqlite { connection, folder: None };
        sqlite.set("journal_mode", "MEMORY")?;
        sqlite.set("cache_size", "-8192")?;
        sqlite.prepare_connection()
    }

    /// A private copy of one moment of this database, in a temporary file as of [`Sqlite::open_temporary`]. It is made in
    /// steps with `between` between them, when no transaction is open. A database that was written to meanwhile is copied
    /// anew, in steps twice as long, so that a busy one is held for no longer than must be, and comes to an end.
    ///
    /// # Errors
    /// The database's; `Full` where the disk of temporary files is; those of `between`.
    pub fn copy(&self, between: &mut dyn FnMut(u64) -> Result<(), Error>) -> Result<Sqlite, Error> {
        const DOING: &str = "copying the database into a temporary file";
        let failed = |error: rusqlite::Error| failure(DOING, &error).of_temporary(DOING);
        let mut copy = Sqlite::open_temporary()?;
        let backup = Backup::new(&self.connection, &mut copy.connection).map_err(failed)?;
        let (mut step, mut copied, mut waiting) = (COPY_PAGES, 0i32, None);
        loop {
            match backup.step(step).map_err(failed)? {
                StepResult::Done => break,
                StepResult::Busy | StepResult::Locked => {
                    if waiting.get_or_insert_with(Instant::now).elapsed() > COPY_WAIT {
                        return Err(Error::Busy { doing: DOING.to_string() });
                    }
                    thread::sleep(Duration::from_millis(20));
                }
                // More; the type may grow.
                _ => waiting = None,
            }
            let progress = backup.progress();
            let now = progress.pagecount.saturating_sub(progress.remaining);
            if now < copied.saturating_add(step).min(progress.pagecount) && waiting.is_none() {
                step = step.saturating_mul(2);
            }
            copied = now;
            between(0)?;
        }
        drop(backup);
        Ok(copy)
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

    /// Writes the log into the database and cuts it, so that nothing stays there of what was deleted. False: a reader is at
    /// work, and it was not cut.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn empty_log(&mut self) -> Result<bool, Error> {
        let wait = |ms| {
            let set = self.connection.busy_timeout(Duration::from_millis(ms));
            set.map_err(|error| failure("setting the wait for a lock", &error))
        };
        wait(0)?;
        let cut = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        wait(BUSY_MS)?;
        cut.map(|busy| busy == 0).map_err(|error| failure("cutting the log", &error))
    }

    /// Gives free pages back to the file system. It takes as much room again while it works.
    ///
    /// # Errors
    /// The database's; then it is as it was.
    pub(crate) fn give_room_back(&mut self) -> Result<(), Error> {
        self.connection.execute_batch("VACUUM").map_err(|error| failure("giving room back", &error))
    }

    /// Ends whatever statement runs with `Interrupted` once `over` says so; it is asked again and again meanwhile.
    ///
    /// # Errors
    /// The database's.
    pub fn interrupt_when(&mut self, over: Option<impl FnMut() -> bool + Send + 'static>) -> Result<(), Error> {
        /// Steps of SQLite's machine between two looks: less than a millisecond.
        const STEPS: i32 = 10_000;
        let set = self.connection.progress_handler(STEPS, over);
        set.map_err(|error| failure("setting when a statement ends", &error))
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
            debug_assert!(is_in_order(&statement), "its parameters are not numbered by first use: {sql}");
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
        debug_assert!(is_in_order(&statement), "its parameters are not numbered by first use: {sql}");
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

    fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
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
        ErrorCode::OperationInterrupted => Error::Interrupted,
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

/// Whether cells reach the parameters that they are meant for: SQLite counts them by their first use, whatever their numbers.
fn is_in_order(statement: &rusqlite::Statement<'_>) -> bool {
    let named = |place: usize| statement.parameter_name(place).and_then(|name| name.strip_prefix('$')?.parse().ok());
    (1..=statement.parameter_count()).all(|place| named(place) == Some(place))
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

    /// Every row, so many pages long, says which write of them was the last.
    #[test]
    fn a_copy_is_one_moment_and_comes_to_an_end_however_often_the_database_is_written_to() {
        const ROWS: i64 = 40;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("busy.db");
        let mut writer = Sqlite::open(&path).unwrap().into_writer().unwrap();
        writer.execute("CREATE TABLE t (id BIGINT PRIMARY KEY, written BIGINT, filler BYTEA)", &[]).unwrap();
        let filler = vec![7; 300_000];
        for id in 0..ROWS {
            writer.execute("INSERT INTO t VALUES ($1, 0, $2)", &[Cell::Int(id), Cell::Bytes(&filler)]).unwrap();
        }
        let reader = Sqlite::open_reader(&path).unwrap();
        let mut looks = 0;
        let mut write = |_| {
            looks += 1;
            writer.execute("UPDATE t SET written = written + 1", &[]).map(drop)
        };
        let mut copy = reader.copy(&mut write).unwrap();
        // 12 MiB by steps of 4, 8 and 16.
        assert!((2..=6).contains(&looks), "{looks} steps");
        let text = "SELECT count(*), min(written), max(written) FROM t";
        let read = |row: &Columns<'_>| Ok((row.int(0)?, row.int(1)?, row.int(2)?));
        let (count, first, last) = (&mut copy as &mut dyn Sql).first(text, &[], read).unwrap().unwrap();
        assert!(count == ROWS && first == last && first > 0, "{count} rows from {first} to {last}");
    }
}
