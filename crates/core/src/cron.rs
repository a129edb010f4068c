//! The times of a schedule, in the meaning of Debian's cron(8): which minutes an expression names, and what a jump of the
//! clock in its zone does to them. Must never read a clock, and never be asked by `apply` or `owed`: zones change.
//!
//! ```text
//! minute and hour fixed      a time that a jump forward skips comes right after it; one that a jump back repeats, once
//! a `*` first in either      follows real time: what is skipped does not come, what is repeated comes twice
//! both days restricted       either is enough; a `*` first in one of them (`*/2` too) and both must fit
//! ```
mod parse;

use crate::fault::{Code, Fault, excerpt, nearest};
use crate::time::Time;
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp};

/// Days that are looked through for a time: 29 February falls on one weekday at least every 40 years.
const DAYS_MAX: u32 = 41 * 366;
/// Stretches between two changes of a zone's offset that are looked through for one.
const STRETCHES_MAX: usize = 512;

/// An expression, as the sets of what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// Sunday is 0 and 7.
    weekdays: u64,
    /// Day of the month and day of the week must both fit.
    both_days: bool,
    real_time: bool,
}

/// An expression in its zone.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
}

/// # Errors
/// No zone has this name.
pub fn zone(name: &str) -> Result<TimeZone, Fault> {
    jiff::tz::db().get(name).map_err(|_| {
        let fault = Fault::new(Code::BadFormat, format!("{} is not an IANA time zone", excerpt(name)));
        let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        match nearest(name, known.iter().map(String::as_str)) {
            Some(word) => fault.hint(format!("did you mean `{word}`?")),
            None => fault.hint("write it as in `Europe/Berlin`"),
        }
    })
}

impl Timetable {
    /// # Errors
    /// No expression, or a zone that is not known.
    pub fn of(cron: &str, timezone: &str) -> Result<Timetable, Fault> {
        Ok(Timetable { cron: Cron::parse(cron)?, zone: zone(timezone)? })
    }

    /// The first time after a moment.
    pub fn next(&self, after: Time) -> Option<Time> {
        let after = Timestamp::from_millisecond(after.millis()).ok()?;
        let next = if self.cron.real_time { self.next_real(after) } else { self.next_fixed(after) };
        next.map(|next| Time::from_millis(next.as_millisecond()))
    }

    /// The last time up to `now`, where `first` is one of them.
    pub fn latest(&self, first: Time, now: Time) -> Time {
        let (mut found, mut end) = (first, now);
        while let Some(next) = self.next(found).filter(|next| *next <= end) {
            // Halves what is left at each step, whichever way it goes.
            let middle = Time::from_millis(found.millis().midpoint(end.millis()));
            match self.next(middle).filter(|late| *late <= now) {
                Some(late) => found = late,
                None => (found, end) = (next, middle),
            }
        }
        found
    }

    /// The first times after a moment.
    pub fn upcoming(&self, after: Time, count: usize) -> Vec<Time> {
        std::iter::successors(self.next(after), |time| self.next(*time)).take(count).collect()
    }

    /// What a wall clock in the zone shows, each time once, in its order.
    fn next_fixed(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = next_minute(self.zone.to_datetime(after))?;
        loop {
            let named = self.cron.from(from, Date::MAX)?;
            let at = self.instant(named)?;
            if at > after {
                return Some(at);
            }
            from = next_minute(named)?;
        }
    }

    /// The moment of a time by the wall: of a repeated one the first, of a skipped one the end of the jump.
    fn instant(&self, named: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(named).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(named).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(named).ok(),
            AmbiguousOffset::Gap { after, .. } => {
                let early = after.to_timestamp(named).ok()?;
                Some(self.zone.following(early).next()?.timestamp())
            }
        }
    }

    /// Each moment at which a wall clock in the zone shows a time that is named.
    fn next_real(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = after.checked_add(Span::new().milliseconds(1)).ok()?;
        for _ in 0..STRETCHES_MAX {
            let offset = self.zone.to_offset(from);
            let end = self.zone.following(from).next().map(|change| change.timestamp());
            let last = end.map_or(Date::MAX, |end| offset.to_datetime(end).date());
            if let Some(named) = whole_minute(offset.to_datetime(from)).and_then(|from| self.cron.from(from, last)) {
                let at = offset.to_timestamp(named).ok()?;
                if end.is_none_or(|end| at < end) {
                    return Some(at);
                }
            }
            from = end?;
        }
        None
    }
}

impl Cron {
    /// The first time by the wall from a whole minute on, not after the day `last`.
    fn from(&self, from: DateTime, last: Date) -> Option<DateTime> {
        let (mut date, mut hour, mut minute) = (from.date(), from.hour(), from.minute());
        for _ in 0..DAYS_MAX {
            if date > last {
                return None;
            }
            if has(self.months, date.month()) {
                let time = self.names_day(date).then(|| self.time_from(hour, minute)).flatten();
                if let Some((hour, minute)) = time {
                    return Some(date.at(hour, minute, 0, 0));
                }
                date = date.tomorrow().ok()?;
            } else {
                date = date.last_of_month().tomorrow().ok()?;
            }
            (hour, minute) = (0, 0);
        }
        None
    }

    fn time_from(&self, hour: i8, minute: i8) -> Option<(i8, i8)> {
        let first = least(self.minutes, 0)?;
        match least(self.minutes, minute) {
            Some(minute) if has(self.hours, hour) => Some((hour, minute)),
            Some(_) | None => least(self.hours, hour + 1).map(|hour| (hour, first)),
        }
    }

    fn names_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, weekday(date.weekday()));
        if self.both_days { day && weekday } else { day || weekday }
    }
}

fn weekday(weekday: Weekday) -> i8 {
    weekday.to_sunday_zero_offset()
}

fn has(set: u64, number: i8) -> bool {
    set >> number & 1 == 1
}

/// The least number of a set that is not below `number`.
fn least(set: u64, number: i8) -> Option<i8> {
    let rest = set & (u64::MAX << number);
    (rest != 0).then(|| i8::try_from(rest.trailing_zeros()).unwrap_or(i8::MAX))
}

fn whole_minute(at: DateTime) -> Option<DateTime> {
    if at.second() == 0 && at.subsec_nanosecond() == 0 { Some(at) } else { next_minute(at) }
}

fn next_minute(at: DateTime) -> Option<DateTime> {
    let floor = at.date().at(at.hour(), at.minute(), 0, 0);
    floor.checked_add(Span::new().minutes(1)).ok()
}
