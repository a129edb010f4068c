//! The one path to a database. Statements use `$n` in order of first use, and columns are BIGINT, TEXT or BYTEA, so that
//! another engine is the same path. Nothing here may know what the tables mean.
mod sqlite;
pub(crate) mod stored;

pub(crate) use sqlite::LOG_BYTES;
pub use sqlite::Sqlite;

use crate::Error;
use std::path::Path;
use std::str::FromStr;

/// A parameter, or a column of a row. In the order of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl Cell<'_> {
    /// # Panics
    /// Beyond `i64`: canonical JSON refuses such numbers before they reach a row.
    pub fn count(value: u64) -> Cell<'static> {
        Cell::Int(i64::try_from(value).expect("invariant: a stored number is below 2^53"))
    }

    pub fn truth(value: bool) -> Cell<'static> {
        Cell::Int(i64::from(value))
    }
}

impl<'a> From<Option<&'a str>> for Cell<'a> {
    fn from(text: Option<&'a str>) -> Cell<'a> {
        text.map_or(Cell::Null, Cell::Text)
    }
}

impl<'a> From<Option<&'a [u8]>> for Cell<'a> {
    fn from(bytes: Option<&'a [u8]>) -> Cell<'a> {
        bytes.map_or(Cell::Null, Cell::Bytes)
    }
}

impl From<Option<i64>> for Cell<'_> {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Cell::Null, Cell::Int)
    }
}

/// The columns of one row, valid until the next.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a>(&'a [Cell<'a>]);

impl<'a> Columns<'a> {
    pub fn cells(&self) -> &'a [Cell<'a>] {
        self.0
    }

    fn cell(&self, place: usize) -> Result<Cell<'a>, Error> {
        self.0.get(place).copied().ok_or_else(|| Error::invariant(format!("a row has no column {place}")))
    }

    pub fn is_null(&self, place: usize) -> Result<bool, Error> {
        Ok(self.cell(place)? == Cell::Null)
    }

    pub fn int(&self, place: usize) -> Result<i64, Error> {
        self.int_or_null(place)?.ok_or_else(|| Error::corrupt(format!("column {place} of a row is empty")))
    }

    pub fn int_or_null(&self, place: usize) -> Result<Option<i64>, Error> {
        match self.cell(place)? {
            Cell::Null => Ok(None),
            Cell::Int(number) => Ok(Some(number)),
            Cell::Text(_) | Cell::Bytes(_) => Err(Error::corrupt(format!("column {place} of a row is no number"))),
        }
    }

    /// A number that cannot be negative and fits `T`.
    pub fn count<T: TryFrom<i64>>(&self, place: usize) -> Result<T, Error> {
        T::try_from(self.int(place)?).map_err(|_| Error::corrupt(format!("column {place} of a row is out of range")))
    }

    pub fn truth(&self, place: usize) -> Result<bool, Error> {
        Ok(self.int(place)? != 0)
    }

    pub fn text(&self, place: usize) -> Result<&'a str, Error> {
        self.text_or_null(place)?.ok_or_else(|| Error::corrupt(format!("column {place} of a row is empty")))
    }

    pub fn text_or_null(&self, place: usize) -> Result<Option<&'a str>, Error> {
        match self.cell(place)? {
            Cell::Null => Ok(None),
            Cell::Text(text) => Ok(Some(text)),
            Cell::Int(_) | Cell::Bytes(_) => Err(Error::corrupt(format!("column {place} of a row is no text"))),
        }
    }

    pub fn bytes(&self, place: usize) -> Result<&'a [u8], Error> {
        self.bytes_or_null(place)?.ok_or_else(|| Error::corrupt(format!("column {place} of a row is empty")))
    }

    pub fn bytes_or_null(&self, place: usize) -> Result<Option<&'a [u8]>, Error> {
        match self.cell(place)? {
            Cell::Null => Ok(None),
            Cell::Bytes(bytes) => Ok(Some(bytes)),
            Cell::Int(_) | Cell::Text(_) => Err(Error::corrupt(format!("column {place} of a row is no bytes"))),
        }
    }

    /// A text that is written form of a `T`.
    pub fn parse<T: FromStr>(&self, place: usize) -> Result<T, Error> {
        let text = self.text(place)?;
        text.parse().map_err(|_| Error::corrupt(format!("`{text}` in column {place} of a row cannot be read")))
    }

    pub fn parse_or_null<T: FromStr>(&self, place: usize) -> Result<Option<T>, Error> {
        self.text_or_null(place)?.map(|_| self.parse(place)).transpose()
    }

    pub fn hash(&self, place: usize) -> Result<tenure_core::bound::Hash, Error> {
        self.hash_or_null(place)?.ok_or_else(|| Error::corrupt(format!("column {place} of a row is empty")))
    }

    pub fn hash_or_null(&self, place: usize) -> Result<Option<tenure_core::bound::Hash>, Error> {
        let Some(bytes) = self.bytes_or_null(place)? else { return Ok(None) };
        let bytes = <[u8; 32]>::try_from(bytes);
        bytes
            .map(|bytes| Some(tenure_core::bound::Hash(bytes)))
            .map_err(|_| Error::corrupt(format!("column {place} of a row is no hash")))
    }

    pub fn time(&self, place: usize) -> Result<tenure_core::time::Time, Error> {
        self.int(place).map(tenure_core::time::Time::from_millis)
    }

    pub fn time_or_null(&self, place: usize) -> Result<Option<tenure_core::time::Time>, Error> {
        Ok(self.int_or_null(place)?.map(tenure_core::time::Time::from_millis))
    }
}

/// Whether a walk over rows wants the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    On,
    Stop,
}

/// A connection to a database.
pub trait Sql {
    /// Runs a statement; gives the rows that it changed.
    ///
    /// # Errors
    /// By what the database reports; after `Full` and `Io` the whole transaction may be gone.
    fn execute(&mut self, sql: &str, cells: &[Cell<'_>]) -> Result<usize, Error>;

    /// Runs a query and hands over each row.
    ///
    /// # Errors
    /// The database's, and those of `row`.
    fn each(
        &mut self,
        sql: &str,
        cells: &[Cell<'_>],
        row: &mut dyn FnMut(&Columns<'_>) -> Result<Walk, Error>,
    ) -> Result<(), Error>;

    /// Where files lie that rows name; none of what is temporary.
    fn folder(&self) -> Option<&Path>;

    /// Is no transaction open? After a failure the database may have ended it by itself.
    fn is_idle(&self) -> bool;
}

impl dyn Sql + '_ {
    /// The first row, if there is one.
    ///
    /// # Errors
    /// The database's, and those of `read`.
    pub fn first<T>(
        &mut self,
        sql: &str,
        cells: &[Cell<'_>],
        read: impl Fn(&Columns<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let mut found = None;
        self.each(sql, cells, &mut |columns| {
            found = Some(read(columns)?);
            Ok(Walk::Stop)
        })?;
        Ok(found)
    }

    /// All rows; the statement must hold them to a limit.
    ///
    /// # Errors
    /// The database's, and those of `read`.
    pub fn all<T>(
        &mut self,
        sql: &str,
        cells: &[Cell<'_>],
        read: impl Fn(&Columns<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        self.each(sql, cells, &mut |columns| {
            found.push(read(columns)?);
            Ok(Walk::On)
        })?;
        Ok(found)
    }
}
