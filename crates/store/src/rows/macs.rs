//! MACs of the rows that grant authority: keys, and revisions with the plans that they name. A row is written with its
//! MAC, read as [`Unverified`], and acted on only once that holds. Nothing else may be believed of what it permits.
use super::Table;
use crate::Error;
use crate::sql::stored::Value;
use crate::sql::{Cell, Columns, Sql};
use std::fmt;
use tenure_core::ledger::MacKey;

/// A row that grants authority, as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverified<R> {
    row: R,
    /// None where the database has none.
    mac: Option<Vec<u8>>,
}

/// A row that grants authority and bears no MAC of this ledger: it was put in or changed by another hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forged {
    table: &'static str,
    key: String,
}

impl fmt::Display for Forged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the row {} of `{}` was not written by this ledger: its MAC does not hold", self.key, self.table)
    }
}

impl From<Forged> for Error {
    fn from(forged: Forged) -> Error {
        Error::corrupt(forged.to_string())
    }
}

/// A row whose table has its MACs in `macs`.
pub(crate) trait Authority: Table {
    /// Reads what [`Authority::select_unverified`] selects.
    fn read_unverified(columns: &Columns<'_>) -> Result<Unverified<Self>, Error> {
        let mac = columns.bytes_or_null(Self::COLUMNS.len())?.map(<[u8]>::to_vec);
        Ok(Unverified { row: Self::read(columns)?, mac })
    }

    /// `SELECT` of all columns and the MAC; what comes after `FROM table`.
    fn select_unverified(rest: &str) -> String {
        let name = Self::NAME;
        let columns: Vec<String> = Self::COLUMNS.iter().map(|column| format!("{name}.{column}")).collect();
        let key: Vec<String> = Self::KEY.split(", ").map(|column| format!("{name}.{column}")).collect();
        format!(
            "SELECT {}, macs.mac FROM {name} LEFT JOIN macs ON macs.of_table = '{name}' AND macs.key = {} {rest}",
            columns.join(", "),
            key.join(" || ' ' || ")
        )
    }

    /// Writes the row with its MAC, both over those of the same key.
    fn write_with_mac(&self, sql: &mut dyn Sql, macs: &MacKey) -> Result<(), Error> {
        self.write(sql)?;
        write_mac(sql, macs, self)
    }
}

pub(super) fn write_mac<R: Table>(sql: &mut dyn Sql, macs: &MacKey, row: &R) -> Result<(), Error> {
    let mac = with_parts(row, |parts| macs.mac(parts));
    let text = "INSERT INTO macs (of_table, key, mac) VALUES ($1, $2, $3) \
        ON CONFLICT (of_table, key) DO UPDATE SET mac = excluded.mac";
    sql.execute(text, &[Cell::Text(R::NAME), Cell::Text(&key(row)), Cell::Bytes(&mac)]).map(|_| ())
}

/// Makes the MACs of a table's rows anew, page by page.
pub(super) fn rekey<R: Authority>(sql: &mut dyn Sql, old: &MacKey, new: &MacKey) -> Result<(), Error> {
    const PAGE: usize = 256;
    let key: Vec<String> = R::KEY.split(", ").map(|column| format!("{}.{column}", R::NAME)).collect();
    let text = R::select_unverified(&format!("ORDER BY {} LIMIT {PAGE} OFFSET $1", key.join(", ")));
    for offset in (0..).step_by(PAGE) {
        let rows = sql.all(&text, &[Cell::Int(offset)], R::read_unverified)?;
        let last = rows.len() < PAGE;
        for row in rows.into_iter().filter_map(|row| row.verified(old).ok()) {
            write_mac(sql, new, &row)?;
        }
        if last {
            break;
        }
    }
    Ok(())
}

#[expect(private_bounds, reason = "only a row of a table of this crate is ever unverified")]
impl<R: Table> Unverified<R> {
    /// The row, if this ledger wrote it so.
    ///
    /// # Errors
    /// `Forged`.
    pub fn verified(self, macs: &MacKey) -> Result<R, Forged> {
        let holds = self.mac.as_ref().is_some_and(|mac| with_parts(&self.row, |parts| macs.holds(parts, mac)));
        if holds { Ok(self.row) } else { Err(Forged { table: R::NAME, key: key(&self.row) }) }
    }
}

impl<R> Unverified<R> {
    /// The row as it stands, for showing it. Nothing may be permitted by it.
    pub fn as_it_stands(self) -> R {
        self.row
    }
}

/// The columns of the key, in order.
fn key<R: Table>(row: &R) -> String {
    let values = row.values();
    let named = |wanted: &str| R::COLUMNS.iter().position(|column| *column == wanted).map(|place| &values[place]);
    let parts = R::KEY.split(", ").filter_map(named).map(|value| match value {
        Value::Null | Value::Bytes(_) => String::new(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => text.clone(),
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// What a MAC is over: the table, and each column by its name, its type and its value.
fn with_parts<R: Table, T>(row: &R, over: impl FnOnce(&[&[u8]]) -> T) -> T {
    let values: Vec<(&[u8], Vec<u8>)> = row.values().into_iter().map(bytes).collect();
    let mut parts: Vec<&[u8]> = vec![R::NAME.as_bytes()];
    for (column, (kind, value)) in R::COLUMNS.iter().zip(&values) {
        parts.extend([column.as_bytes(), kind, value.as_slice()]);
    }
    over(&parts)
}

fn bytes(value: Value) -> (&'static [u8], Vec<u8>) {
    match value {
        Value::Null => (b"null", Vec::new()),
        Value::Int(number) => (b"int", number.to_be_bytes().to_vec()),
        Value::Text(text) => (b"text", text.into_bytes()),
        Value::Bytes(bytes) => (b"bytes", bytes),
    }
}
