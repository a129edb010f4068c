//! The index of what is owed: one row an obligation, written with the events that owe or settle it.
use crate::Error;
use crate::sql::{Cell, Columns, Sql};
use tenure_core::aggregate::Stream;
use tenure_core::draft::Decision;
use tenure_core::owed::{Kind, Obligation, Owed};
use tenure_core::time::{Due, Run, Stamp, Time};

const RUN: &str = "run";
const WALL: &str = "wall";

fn axis(due: Due) -> (&'static str, i64) {
    match due {
        Due::Run(run) => (RUN, i64::try_from(run.millis()).expect("invariant: a stored number is below 2^53")),
        Due::Wall(at) => (WALL, at.millis()),
    }
}

/// What a decision owes anew, and no more.
pub(crate) fn write(sql: &mut dyn Sql, decision: &Decision) -> Result<(), Error> {
    let delete = "DELETE FROM owed WHERE kind = $1 AND axis = $2 AND due = $3 AND stream = $4 AND key = $5";
    let insert = "INSERT INTO owed (kind, axis, due, stream, key) VALUES ($1, $2, $3, $4, $5)";
    let gone = decision.owes_no_more.iter().map(|owed| (delete, owed));
    let come = decision.owes.iter().map(|owed| (insert, owed));
    for (text, (stream, owed)) in gone.chain(come) {
        let (axis, due) = axis(owed.due);
        let (stream, key) = (stream.to_string(), owed.obligation.to_key());
        let kind = owed.obligation.kind().as_str();
        sql.execute(
            text,
            &[Cell::Text(kind), Cell::Text(axis), Cell::Int(due), Cell::Text(&stream), Cell::Text(&key)],
        )?;
    }
    Ok(())
}

/// Reads `axis, due, stream, key`.
pub(crate) fn row(columns: &Columns<'_>) -> Result<(Stream, Owed), Error> {
    let due = match columns.text(0)? {
        RUN => Due::Run(Run::from_millis(columns.count(1)?)),
        WALL => Due::Wall(columns.time(1)?),
        other => return Err(Error::corrupt(format!("something is owed by a clock `{other}`"))),
    };
    let obligation = Obligation::from_key(columns.text(3)?).map_err(Error::corrupt)?;
    Ok((columns.parse(2)?, Owed { obligation, due }))
}

/// What is owed of a kind by this moment, each axis by its own clock, the longest owed first; a page of it, after the first
/// `skip`. `now.at` is the raw wall clock.
///
/// # Errors
/// The database's.
pub fn owed_now(
    sql: &mut dyn Sql,
    kind: Kind,
    now: Stamp,
    skip: u32,
    limit: u32,
) -> Result<Vec<(Stream, Owed)>, Error> {
    let ((run_axis, run), (wall_axis, wall)) = (axis(Due::Run(now.run)), axis(Due::Wall(now.at)));
    // One range of the key an axis: an OR over both would read all that is ever due.
    let text = "SELECT axis, due, stream, key FROM owed WHERE kind = $1 AND axis = $2 AND due <= $3 \
        UNION ALL SELECT axis, due, stream, key FROM owed WHERE kind = $1 AND axis = $4 AND due <= $5 \
        ORDER BY axis, due, stream, key LIMIT $6 OFFSET $7";
    let cells = [
        Cell::Text(kind.as_str()),
        Cell::Text(run_axis),
        Cell::Int(run),
        Cell::Text(wall_axis),
        Cell::Int(wall),
        Cell::Int(limit.into()),
        Cell::Int(skip.into()),
    ];
    sql.all(text, &cells, row)
}

/// What one stream owes of a kind, due or not.
///
/// # Errors
/// The database's.
pub fn owed_by(sql: &mut dyn Sql, kind: Kind, stream: Stream) -> Result<Vec<Owed>, Error> {
    let text = "SELECT axis, due, stream, key FROM owed WHERE kind = $1 AND stream = $2";
    let found = sql.all(text, &[Cell::Text(kind.as_str()), Cell::Text(&stream.to_string())], row)?;
    Ok(found.into_iter().map(|(_, owed)| owed).collect())
}

/// Milliseconds until something of a kind will next be owed, by whichever axis comes first.
///
/// # Errors
/// The database's.
pub fn next_owed_ms(sql: &mut dyn Sql, kind: Kind, now: Stamp) -> Result<Option<u64>, Error> {
    let text = "SELECT due FROM owed WHERE kind = $1 AND axis = $2 AND due > $3 ORDER BY due LIMIT 1";
    let mut next = |axis: &str, now: i64| {
        sql.first(text, &[Cell::Text(kind.as_str()), Cell::Text(axis), Cell::Int(now)], |columns| columns.int(0))
    };
    let ((_, run), (_, wall)) = (axis(Due::Run(now.run)), axis(Due::Wall(now.at)));
    let by_run = next(RUN, run)?.map(|due| due.saturating_sub(run).unsigned_abs());
    let by_wall = next(WALL, wall)?.map(|due| Time::from_millis(due).since_ms(now.at));
    Ok(by_run.into_iter().chain(by_wall).min())
}
