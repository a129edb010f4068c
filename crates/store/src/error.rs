//! What can go wrong with the store, by what a caller can do about it.
use std::path::PathBuf;

/// Cloned to everyone whose work stood in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing of the transaction was kept. Goes on by itself once there is room.
    #[error("the disk that holds the ledger is full ({doing}): free some space; nothing new is done until then")]
    Full { doing: String },
    /// The writer has ended, for what is on disk is no longer known.
    #[error("the ledger cannot be written ({doing}): {why}; check the disk, then start again")]
    Io { doing: String, why: String },
    /// The writer had ended before.
    #[error("the ledger's writer has stopped after an earlier failure; start again")]
    Stopped,
    /// Another process holds the database's lock.
    #[error("another program holds the database ({doing}); end it, then try again")]
    Busy { doing: String },
    #[error(
        "the disk of temporary files is full ({doing}): it takes as much room as the database; free some, or name another folder in SQLITE_TMPDIR"
    )]
    TemporaryFull { doing: &'static str },
    /// What was to be written elsewhere was not; the ledger is as it was.
    #[error("the export cannot be written: {why}; check its disk, or name another file")]
    Out { broken_pipe: bool, why: String },
    /// Somebody asked for it.
    #[error("a look at the database was ended before it was done")]
    Interrupted,
    /// What was to be verified is not there.
    #[error("{} {what}", .dir.display())]
    NoLedger { dir: PathBuf, what: &'static str },
    /// Another daemon holds the data directory.
    #[error("{} is held by another daemon{}: stop that one, or choose another data directory", .dir.display(), of_process(.pid))]
    Held { dir: PathBuf, pid: Option<u32> },
    /// It, or a file in it, is another user's.
    #[error(
        "{} belongs to another user (uid {uid}): run as that user, choose another data directory, or give all of it to this \
         user with chown", .path.display()
    )]
    Foreign { path: PathBuf, uid: u32 },
    /// The database is gone, and none is made in its place.
    #[error(
        "{what}, and {beside} tells that a project was kept here: put tenure.db back from a backup, or start with an empty \
         data directory"
    )]
    Lost { what: &'static str, beside: &'static str },
    /// The ledger has records, and the key that signs them is gone.
    #[error(
        "ledger.key is missing, without which nothing can be added to this ledger: put it back from where you keep it; \
         `tenure audit verify` works without it"
    )]
    KeyLost,
    #[error("the store is damaged: {what}; run `tenure audit verify`, and put back a backup if it confirms this")]
    Corrupt { what: String },
    /// A record's body is in a sealed file that was taken away.
    #[error(
        "what is asked for was sealed into {file}, which is not in the folder `sealed` of the data directory: put it back there"
    )]
    Sealed { file: String },
    /// Written by a newer program.
    #[error("the data directory was written by a newer version: {what}; use that version")]
    Newer { what: String },
    /// Written by a program before the first release whose ledgers are kept.
    #[error(
        "the data directory was written by an earlier version of Tenure, whose ledgers are not read any more: keep it with that version, and start this one with an empty directory"
    )]
    Older,
    /// A fault of the program. The job that met it changed nothing.
    #[error("this should not happen, please report it: {what}")]
    Invariant { what: String },
}

fn of_process(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

impl Error {
    pub(crate) fn corrupt(what: impl Into<String>) -> Error {
        Error::Corrupt { what: what.into() }
    }

    pub(crate) fn invariant(what: impl Into<String>) -> Error {
        Error::Invariant { what: what.into() }
    }

    /// Of a database in a temporary file, which may lie on another disk than the ledger.
    pub(crate) fn of_temporary(self, doing: &'static str) -> Error {
        match self {
            Error::Full { .. } => Error::TemporaryFull { doing },
            other => other,
        }
    }

    /// Of what an export is written to.
    pub(crate) fn out(error: &std::io::Error) -> Error {
        Error::Out { broken_pipe: error.kind() == std::io::ErrorKind::BrokenPipe, why: error.to_string() }
    }

    /// An error of the file system while `doing`.
    pub(crate) fn file(doing: &str, error: &std::io::Error) -> Error {
        let doing = doing.to_string();
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::Full { doing },
            _ => Error::Io { doing, why: error.to_string() },
        }
    }

    /// After this one, what is on disk is not known: the writer must end.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            Error::Io { .. } | Error::Corrupt { .. } | Error::Stopped => true,
            Error::Full { .. }
            | Error::Busy { .. }
            | Error::Held { .. }
            | Error::TemporaryFull { .. }
            | Error::Interrupted
            | Error::Out { .. }
            | Error::NoLedger { .. }
            | Error::Foreign { .. }
            | Error::Lost { .. }
            | Error::KeyLost
            | Error::Sealed { .. }
            | Error::Newer { .. }
            | Error::Older
            | Error::Invariant { .. } => false,
        }
    }
}
