//! Reading records: a stream's, or the whole chain's from an index on.
use crate::Error;
use crate::audit::Order;
use crate::rows::{messages, state};
use crate::sealed::Bodies;
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

/// Of a row that begins with its body.
pub(crate) fn recorded(bodies: &Bodies, row: &Columns<'_>) -> Result<Recorded, Error> {
    let bytes = bodies.read(row.bytes(0)?)?.into_owned();
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
    let bodies = Bodies::of(sql);
    sql.all(text, &[index(from), Cell::Int(limit.into())], |row| recorded(&bodies, row))
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
    each_selected(sql, selection, also, (within, Order::OldestFirst, limit), &mut |index, body| {
        found.push((index, body.to_vec()));
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
    each_selected(sql, selection, None, (within, order, limit), &mut |_, body| {
        let (meta, event) = ledger::read(body).map_err(Error::corrupt)?;
        found.push(Recorded { meta, event, bytes: body.to_vec() });
        Ok(())
    })?;
    Ok(found)
}

/// Takes a record's index and its bytes.
pub(crate) type EachBody<'a> = dyn FnMut(u64, &[u8]) -> Result<(), Error> + 'a;

fn each_selected(
    sql: &mut dyn Sql,
    selection: &Selection,
    also: Option<&str>,
    (within, order, limit): (Range<u64>, Order, u32),
    each: &mut EachBody<'_>,
) -> Result<(), Error> {
    let bodies = Bodies::of(sql);
    let clause = selection.clause(5);
    let order = match order {
        Order::OldestFirst => "ASC",
        Order::NewestFirst => "DESC",
    };
    let text = format!(
        "SELECT body, idx, kind, {} FROM ledger WHERE project = (SELECT project FROM heads LIMIT 1) AND idx >= $2 AND \
         idx < $3 AND (kind = $4 OR ({})) ORDER BY idx {order}",
        Selection::sealed_is_about("$1"),
        clause.text
    );
    let about = Cell::Text(selection.about.as_deref().unwrap_or_default());
    let mut cells = vec![about, index(within.start), index(within.end), Cell::Text(also.unwrap_or_default())];
    cells.extend(clause.cells());
    let mut left = limit;
    sql.each(&text, &cells, &mut |row| {
        let stored = row.bytes(0)?;
        let body = bodies.read(stored)?;
        // The condition looks into bodies that are in their rows alone.
        let is_wanted =
            is_same(stored, &body) || also == Some(row.text(2)?) || selection.fits_body(&body, row.truth(3)?);
        if is_wanted {
            each(row.count(1)?, &body)?;
            left = left.saturating_sub(1);
        }
        Ok(if left == 0 { Walk::Stop } else { Walk::On })
    })
}

fn is_same(stored: &[u8], body: &[u8]) -> bool {
    std::ptr::eq(stored, body)
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
    let bodies = Bodies::of(sql);
    sql.all(text, &[Cell::Text(&stream.to_string()), index(from), Cell::Int(limit.into())], |row| {
        recorded(&bodies, row)
    })
}

/// Records of one stream after its `n`th.
pub(crate) fn events_after(sql: &mut dyn Sql, stream: Stream, n: u64, limit: u32) -> Result<Vec<Recorded>, Error> {
    let text = "SELECT body FROM ledger WHERE stream = $1 AND n > $2 ORDER BY n LIMIT $3";
    let bodies = Bodies::of(sql);
    sql.all(text, &[Cell::Text(&stream.to_string()), Cell::count(n), Cell::Int(limit.into())], |row| {
        recorded(&bodies, row)
    })
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
    let bodies = Bodies::of(sql);
    sql.each(text, &[Cell::Text(&stream.to_string()), Cell::Int(limit.into())], &mut |row| {
        if since.is_some_and(|since| row.int(1).is_ok_and(|at| at < since.millis())) {
            return Ok(Walk::Stop);
        }
        let record = recorded(&bodies, row)?;
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
