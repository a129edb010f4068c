//! Reading records: a stream's, or the whole chain's from an index on.
use crate::Error;
use crate::audit::Order;
use crate::rows::{messages, state};
use crate::select::Selection;
use crate::sql::{Cell, Columns, Sql, Walk};
use crate::txn::load;
use std::ops::Range;
use tenure_core::agent::Agent;
use tenure_core::aggregate::{Event, Member, Stream};
use tenure_core::briefing::Source;
use tenure_core::comms::MessageRow;
use tenure_core::execution::Execution;
use tenure_core::id::{AgentId, ExecutionId};
use tenure_core::ledger::{self, MacKey, Meta};
use tenure_core::state::Acl;
use tenure_core::time::{Stamp, Time};

/// A record as read back: its bytes are those that were hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub meta: Meta,
    pub event: Event,
    pub bytes: Vec<u8>,
}

pub(crate) fn recorded(row: &Columns<'_>) -> Result<Recorded, Error> {
    let bytes = row.bytes(0)?.to_vec();
    let (meta, event) = ledger::read(&bytes).map_err(Error::corrupt)?;
    Ok(Recorded { meta, event, bytes })
}

/// Records of the whole chain with an index of at least `from`.
///
/// # Errors
/// The database's; `Corrupt` where a record cannot be read.
pub fn events_from(sql: &mut dyn Sql, from: u64, limit: u32) -> Result<Vec<Recorded>, Error> {
    let text = "SELECT body FROM ledger WHERE project = (SELECT project FROM heads LIMIT 1) AND idx >= $1 \
        ORDER BY idx LIMIT $2";
    sql.all(text, &[index(from), Cell::Int(limit.into())], recorded)
}

/// Index and bytes of the first records of a selection, or of the kind `also`, within these indexes.
pub(crate) fn selected_after(
    sql: &mut dyn Sql,
    selection: &Selection,
    also: Option<&str>,
    within: Range<u64>,
    limit: u32,
) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let mut found = Vec::new();
    each_selected(sql, selection, also, (within, Order::OldestFirst, limit), &mut |row| {
        found.push((row.count(1)?, row.bytes(0)?.to_vec()));
        Ok(())
    })?;
    Ok(found)
}

/// The same, read.
pub(crate) fn selected(
    sql: &mut dyn Sql,
    selection: &Selection,
    order: Order,
    within: Range<u64>,
    limit: u32,
) -> Result<Vec<Recorded>, Error> {
    let mut found = Vec::new();
    each_selected(sql, selection, None, (within, order, limit), &mut |row| {
        found.push(recorded(row)?);
        Ok(())
    })?;
    Ok(found)
}

fn each_selected(
    sql: &mut dyn Sql,
    selection: &Selection,
    also: Option<&str>,
    (within, order, limit): (Range<u64>, Order, u32),
    each: &mut dyn FnMut(&Columns<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let clause = selection.clause(4);
    let order = match order {
        Order::OldestFirst => "ASC",
        Order::NewestFirst => "DESC",
    };
    let text = format!(
        "SELECT body, idx FROM ledger WHERE project = (SELECT project FROM heads LIMIT 1) AND idx >= $1 AND idx < $2 \
         AND (kind = $3 OR ({})) ORDER BY idx {order} LIMIT {limit}",
        clause.text
    );
    let mut cells = vec![index(within.start), index(within.end), Cell::Text(also.unwrap_or_default())];
    cells.extend(clause.cells());
    sql.each(&text, &cells, &mut |row| each(row).map(|()| Walk::On))
}

/// Of an index that a caller chose: beyond what a column can hold there is no record either way.
fn index(from: u64) -> Cell<'static> {
    Cell::Int(i64::try_from(from).unwrap_or(i64::MAX))
}

/// Records of one stream with an index of at least `from`.
///
/// # Errors
/// The database's; `Corrupt` where a record cannot be read.
pub fn events_of(sql: &mut dyn Sql, stream: Stream, from: u64, limit: u32) -> Result<Vec<Recorded>, Error> {
    let text = "SELECT body FROM ledger WHERE stream = $1 AND idx >= $2 ORDER BY n LIMIT $3";
    sql.all(text, &[Cell::Text(&stream.to_string()), index(from), Cell::Int(limit.into())], recorded)
}

/// Records of one stream after its `n`th.
pub(crate) fn events_after(sql: &mut dyn Sql, stream: Stream, n: u64, limit: u32) -> Result<Vec<Recorded>, Error> {
    let text = "SELECT body FROM ledger WHERE stream = $1 AND n > $2 ORDER BY n LIMIT $3";
    sql.all(text, &[Cell::Text(&stream.to_string()), Cell::count(n), Cell::Int(limit.into())], recorded)
}

/// The newest records of one stream from `since` on, the newest first.
pub(crate) fn events_before(
    sql: &mut dyn Sql,
    stream: Stream,
    since: Option<Time>,
    limit: u32,
) -> Result<Vec<(Stamp, Event)>, Error> {
    // Times never fall within a stream, so that the first older one ends the look.
    let text = "SELECT body, at FROM ledger WHERE stream = $1 ORDER BY n DESC LIMIT $2";
    let mut found = Vec::new();
    sql.each(text, &[Cell::Text(&stream.to_string()), Cell::Int(limit.into())], &mut |row| {
        if since.is_some_and(|since| row.int(1).is_ok_and(|at| at < since.millis())) {
            return Ok(Walk::Stop);
        }
        let record = recorded(row)?;
        found.push((record.meta.stamp, record.event));
        Ok(Walk::On)
    })?;
    Ok(found)
}

/// An aggregate as the records say that it stands.
///
/// # Errors
/// The database's; `Corrupt` where a record cannot be read.
pub fn fold<A: Member>(sql: &mut dyn Sql, macs: &MacKey, id: A::Id) -> Result<Option<A>, Error> {
    let fold = load(sql, macs, A::stream(id))?.fold;
    Ok(fold.and_then(|fold| fold.as_a::<A>().cloned()))
}

/// A reader of the store, as a briefing asks it.
pub struct BriefingReader<'a> {
    pub sql: &'a mut dyn Sql,
    pub macs: &'a MacKey,
}

impl Source for BriefingReader<'_> {
    type Error = Error;

    fn agent(&mut self, id: AgentId) -> Result<Option<Agent>, Error> {
        fold::<Agent>(self.sql, self.macs, id)
    }

    fn execution(&mut self, id: ExecutionId) -> Result<Option<Execution>, Error> {
        fold::<Execution>(self.sql, self.macs, id)
    }

    fn events(&mut self, stream: Stream, since: Option<Time>, limit: u32) -> Result<Vec<(Stamp, Event)>, Error> {
        events_before(self.sql, stream, since, limit)
    }

    fn project(&mut self) -> Result<Option<Stream>, Error> {
        let text = "SELECT project FROM heads LIMIT 1";
        Ok(self.sql.first(text, &[], |row| row.parse(0))?.map(Stream::Project))
    }

    fn acls(&mut self) -> Result<Vec<Acl>, Error> {
        state::acls(self.sql, self.macs)
    }

    fn waiting(&mut self, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Error> {
        messages::waiting(self.sql, agent, limit)
    }
}
