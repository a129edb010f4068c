//! The rows of lists and facts, made again from the records in a private database in a temporary file, and held against
//! the stored ones, table by table, both ways. It knows no table by name but those that no event writes: a new one is
//! compared from its first day. It must never write to the database that is verified.
use super::findings::Findings;
use crate::sql::stored::Value;
use crate::sql::{Cell, Columns, Sql, Sqlite, Walk};
use crate::{Error, migration, rows};
use std::collections::{BTreeMap, VecDeque};
use tenure_core::aggregate::Stream;
use tenure_core::bound::Hash;
use tenure_core::facts::Counter;
use tenure_core::ledger::{MacKey, Signer};
use tenure_core::row::Row;

/// What the records themselves, their payloads, folds and obligations lie in. All of it is verified elsewhere.
const NOT_ROWS: [&str; 6] = ["heads", "ledger", "migrations", "owed", "payloads", "snapshots"];
const MACS: &str = "macs";
/// Rows read at a time.
const PAGE: usize = 256;
/// Characters of a value that a finding shows.
const SHOWN_MAX: usize = 64;

pub(super) struct Rebuilt {
    sql: Sqlite,
    macs: Option<MacKey>,
    /// Makes MACs that are compared with nothing, where the ledger's key may not be read.
    stand_in: MacKey,
    schema: Schema,
}

/// Tables, indexes and the like, by kind and name, with the words that make them.
type Schema = BTreeMap<(String, String), String>;

/// A table of rows, as the migrations make it.
struct Table {
    name: String,
    columns: Vec<String>,
    /// Places of the columns of its primary key, in the key's order.
    key: Vec<usize>,
}

type Cells = Vec<Value>;

impl Rebuilt {
    pub(super) fn new(macs: Option<MacKey>) -> Result<Rebuilt, Error> {
        let mut sql = Sqlite::open_temporary()?;
        migration::run(&mut sql)?;
        let schema = schema(&mut sql)?;
        // Rows are reached by their primary key alone, which no `DROP` removes.
        for ((kind, name), text) in &schema {
            if kind == "index" && !text.is_empty() {
                sql.execute(&format!("DROP INDEX {name}"), &[])?;
            }
        }
        sql.execute("BEGIN", &[])?;
        let stand_in = Signer::new(&[0; 32]).macs().clone();
        Ok(Rebuilt { sql, macs, stand_in, schema })
    }

    /// Holds the stored tables against those that the migrations make; false where one is missing or another, so that
    /// its rows cannot be read.
    pub(super) fn compare_tables(&self, stored: &mut dyn Sql, findings: &mut Findings) -> Result<bool, Error> {
        let sql = stored;
        let stored = schema(sql)?;
        if stored.is_empty() {
            // A daemon was killed before it had made them.
            return Ok(false);
        }
        if stored == self.schema
            && let Ok(Some(name)) = migration::unwritten(sql)
        {
            findings.add(None, None, format!("its migration `{name}` is not put down, and its tables are there"));
        }
        let mut readable = true;
        for ((kind, name), text) in &self.schema {
            let what = match stored.get(&(kind.clone(), name.clone())) {
                Some(found) if found == text => continue,
                Some(_) => "is not the one that this program makes",
                None => "is missing",
            };
            readable &= kind != "table";
            findings.add(None, None, format!("the {kind} `{name}` {what}"));
        }
        for (kind, name) in stored.keys().filter(|key| !self.schema.contains_key(*key)) {
            findings.add(None, None, format!("the {kind} {} is none that this program makes", shown(Cell::Text(name))));
        }
        Ok(readable)
    }

    /// Takes in a row that a record, or the fold at the end of a stream, implies.
    pub(super) fn write(
        &mut self,
        index: Option<u64>,
        stream: Stream,
        row: &Row,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        match rows::write(&mut self.sql, self.macs.as_ref().unwrap_or(&self.stand_in), row) {
            Err(Error::Invariant { what }) => {
                findings.add(index, Some(stream), format!("implies a row that cannot be written: {what}"));
                Ok(())
            }
            result => result.map_err(|error| error.of_temporary("making rows again in a temporary file")),
        }
    }

    /// Holds the stored rows against those made again; gives how many are stored. Nothing is known of the rows of a
    /// stream that cannot be read.
    pub(super) fn compare(
        &mut self,
        stored: &mut dyn Sql,
        is_unread: &dyn Fn(Stream) -> bool,
        findings: &mut Findings,
    ) -> Result<u64, Error> {
        let mut count = 0;
        for table in self.tables()? {
            let mut found = Found { table: &table, is_unread, findings: &mut *findings };
            let compared = table.compare(&mut self.sql, stored, &mut found);
            count += findings.readable(compared, &format!("the table `{}`", table.name))?.unwrap_or(0);
        }
        Ok(count)
    }

    /// Takes in that a record binds this payload.
    pub(super) fn bind(&mut self, hash: &Hash) -> Result<(), Error> {
        let text = "INSERT INTO payloads (hash, salt, size) VALUES ($1, $2, 0) ON CONFLICT (hash) DO NOTHING";
        let taken = self.sql.execute(text, &[Cell::Bytes(&hash.0), Cell::Bytes(&[])]);
        taken.map(|_| ()).map_err(|error| error.of_temporary("keeping what records bind in a temporary file"))
    }

    /// Finds stored payloads that no record binds.
    pub(super) fn compare_payloads(&mut self, stored: &mut dyn Sql, findings: &mut Findings) -> Result<(), Error> {
        let made: &mut dyn Sql = &mut self.sql;
        let compared = stored.each("SELECT hash FROM payloads", &[], &mut |row| {
            let hash = [Cell::Bytes(row.bytes(0)?)];
            if made.first("SELECT 1 FROM payloads WHERE hash = $1", &hash, |row| row.int(0))?.is_none() {
                let what = format!("the row {} of `payloads` is there, and no record binds it", shown(hash[0]));
                findings.add(None, None, what);
            }
            Ok(Walk::On)
        });
        findings.readable(compared, "the table `payloads`").map(|_| ())
    }

    fn tables(&mut self) -> Result<Vec<Table>, Error> {
        let sql: &mut dyn Sql = &mut self.sql;
        let names = sql.all("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name", &[], |row| {
            Ok(row.text(0)?.to_string())
        })?;
        let mut tables = Vec::new();
        let checked = self.macs.is_some();
        let is_rows = |name: &String| !NOT_ROWS.contains(&name.as_str()) && (checked || name != MACS);
        for name in names.into_iter().filter(is_rows) {
            let text = "SELECT name, pk FROM pragma_table_info($1) ORDER BY cid";
            let columns =
                sql.all(text, &[Cell::Text(&name)], |row| Ok((row.text(0)?.to_string(), row.count::<usize>(1)?)))?;
            let mut key: Vec<(usize, usize)> = Vec::new();
            key.extend(columns.iter().enumerate().filter(|(_, (_, pk))| *pk > 0).map(|(place, (_, pk))| (*pk, place)));
            key.sort_unstable();
            let (columns, key) = (
                columns.into_iter().map(|(name, _)| name).collect(),
                key.into_iter().map(|(_, place)| place).collect(),
            );
            tables.push(Table { name, columns, key });
        }
        Ok(tables)
    }
}

fn schema(sql: &mut dyn Sql) -> Result<Schema, Error> {
    let text = "SELECT type, name, COALESCE(sql, '') FROM sqlite_master";
    let found =
        sql.all(text, &[], |row| Ok(((row.text(0)?.to_string(), row.text(1)?.to_string()), row.text(2)?.to_string())))?;
    Ok(found.into_iter().collect())
}

impl Table {
    fn compare(&self, made: &mut Sqlite, stored: &mut dyn Sql, found: &mut Found<'_>) -> Result<u64, Error> {
        let (mut pages, mut count) = (Pages::new(self), 0);
        let text = format!("{} ORDER BY {}", self.select(), self.key_columns());
        stored.each(&text, &[], &mut |row| {
            count += 1;
            let cells = row.cells();
            loop {
                let Some(next) = pages.peek(made)? else {
                    found.is_made_up(cells);
                    break;
                };
                match self.order(next, cells) {
                    std::cmp::Ordering::Less => {
                        found.is_missing(next);
                        pages.pop();
                    }
                    std::cmp::Ordering::Equal => {
                        found.compare(next, cells);
                        pages.pop();
                        break;
                    }
                    std::cmp::Ordering::Greater => {
                        found.is_made_up(cells);
                        break;
                    }
                }
            }
            Ok(Walk::On)
        })?;
        while let Some(next) = pages.peek(made)? {
            found.is_missing(next);
            pages.pop();
        }
        Ok(count)
    }

    /// Refusals are counted beside any event, so that no record gives their counters.
    fn select(&self) -> String {
        let untold = [Counter::Refusals, Counter::RefusalsUntold].map(|counter| format!("'{}'", counter.as_str()));
        let wheres = match self.name.as_str() {
            "counters" => format!("WHERE counter NOT IN ({})", untold.join(", ")),
            _ => "WHERE TRUE".to_string(),
        };
        format!("SELECT {} FROM {} {wheres}", self.columns.join(", "), self.name)
    }

    fn key_columns(&self) -> String {
        let names: Vec<&str> = self.key.iter().map(|place| self.columns[*place].as_str()).collect();
        names.join(", ")
    }

    /// In the order of the database: none, numbers, texts, bytes.
    fn order(&self, made: &Cells, stored: &[Cell<'_>]) -> std::cmp::Ordering {
        let orders = self.key.iter().map(|place| made[*place].cell().cmp(&stored[*place]));
        orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    }
}

/// The rows made again of one table, in the order of its key.
struct Pages<'a> {
    table: &'a Table,
    rows: VecDeque<Cells>,
    last: Option<Cells>,
    at_end: bool,
}

impl<'a> Pages<'a> {
    fn new(table: &'a Table) -> Pages<'a> {
        Pages { table, rows: VecDeque::with_capacity(PAGE), last: None, at_end: false }
    }

    fn peek(&mut self, sql: &mut Sqlite) -> Result<Option<&Cells>, Error> {
        if self.rows.is_empty() && !self.at_end {
            self.fill(sql)?;
        }
        Ok(self.rows.front())
    }

    fn pop(&mut self) {
        self.last = self.rows.pop_front();
    }

    fn fill(&mut self, sql: &mut dyn Sql) -> Result<(), Error> {
        let (table, key) = (self.table, self.table.key_columns());
        let last: Vec<Cell<'_>> = match &self.last {
            Some(last) => table.key.iter().map(|place| last[*place].cell()).collect(),
            None => Vec::new(),
        };
        let places: Vec<String> = (1..=last.len()).map(|place| format!("${place}")).collect();
        let after = match places.as_slice() {
            [] => String::new(),
            places => format!("AND ({key}) > ({})", places.join(", ")),
        };
        let text = format!("{} {after} ORDER BY {key} LIMIT {PAGE}", table.select());
        let rows = &mut self.rows;
        sql.each(&text, &last, &mut |row: &Columns<'_>| {
            rows.push_back(row.cells().iter().map(|cell| Value::from(*cell)).collect());
            Ok(Walk::On)
        })?;
        self.at_end = self.rows.len() < PAGE;
        Ok(())
    }
}

/// Where rows that differ are reported.
struct Found<'a> {
    table: &'a Table,
    is_unread: &'a dyn Fn(Stream) -> bool,
    findings: &'a mut Findings,
}

impl Found<'_> {
    fn is_missing(&mut self, made: &Cells) {
        let cells: Vec<Cell<'_>> = made.iter().map(Value::cell).collect();
        self.add(&cells, "is missing".to_string());
    }

    fn is_made_up(&mut self, stored: &[Cell<'_>]) {
        self.add(stored, "is there, and no record implies it".to_string());
    }

    fn compare(&mut self, made: &Cells, stored: &[Cell<'_>]) {
        let differs = |place: &usize| made[*place].cell() != stored[*place] && !self.lags(*place, stored);
        let differing: Vec<usize> = (0..made.len()).filter(differs).collect();
        if differing.is_empty() {
            return;
        }
        let told = differing.iter().map(|place| {
            let (stored, made) = (shown(stored[*place]), shown(made[*place].cell()));
            format!("{} is {stored}, by the records {made}", self.table.columns[*place])
        });
        let what = format!("differs: {}", told.collect::<Vec<_>>().join("; "));
        self.add(stored, what);
    }

    /// A call alone does not write its execution's row, so that the figure is the one of the last other change.
    fn lags(&self, place: usize, stored: &[Cell<'_>]) -> bool {
        let ended = self.table.columns.iter().position(|column| column == "ended_at");
        self.table.name == "executions"
            && self.table.columns[place] == "tool_calls"
            && ended.is_some_and(|ended| stored[ended] == Cell::Null)
    }

    fn add(&mut self, cells: &[Cell<'_>], what: String) {
        let texts = cells.iter().filter_map(|cell| if let Cell::Text(text) = cell { text.parse().ok() } else { None });
        let stream: Option<Stream> = texts.into_iter().next();
        if stream.is_some_and(self.is_unread) {
            return;
        }
        let key: Vec<String> = self.table.key.iter().map(|place| shown(cells[*place])).collect();
        self.findings.add(None, stream, format!("the row {} of `{}` {what}", key.join(" "), self.table.name));
    }
}

fn shown(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => "empty".to_string(),
        Cell::Int(number) => number.to_string(),
        Cell::Text(text) => {
            let clipped: String = text.chars().take(SHOWN_MAX).collect();
            format!("`{}`", clipped.escape_debug())
        }
        Cell::Bytes(bytes) => {
            let digits = bytes.iter().take(SHOWN_MAX / 2).map(|byte| format!("{byte:02x}"));
            format!("x{}", digits.collect::<String>())
        }
    }
}
