//! Times as people type them: a moment, or how far it lies from now.
use jiff::{SignedDuration, Timestamp};
use tenure_core::manifest;
use tenure_core::time::Time;
use tenure_wire::api::moment::Moment;

use crate::failure::{Exit, Failure};

/// `7d` is seven days ago.
pub(super) fn past(text: &str) -> Result<Moment, Failure> {
    read(text, |span| Timestamp::now().checked_sub(span))
}

/// `7d` is in seven days.
pub(super) fn ahead(text: &str) -> Result<Moment, Failure> {
    read(text, |span| Timestamp::now().checked_add(span))
}

fn read(text: &str, from_now: impl Fn(SignedDuration) -> Result<Timestamp, jiff::Error>) -> Result<Moment, Failure> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    // A day begins at its midnight of UTC.
    let day = text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 10);
    if let Some(midnight) = day.and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC).ok()) {
        return Ok(Moment(Time::from_millis(midnight.timestamp().as_millisecond())));
    }
    let distance = manifest::Duration::parse(text).ok().and_then(|distance| i64::try_from(distance.as_millis()).ok());
    let moment = distance.and_then(|ms| from_now(SignedDuration::from_millis(ms)).ok());
    moment.map(|moment| Moment(Time::from_millis(moment.as_millisecond()))).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("`{text}` is no time: write 2026-02-23T10:00:00Z, or 30m, 24h, 7d"))
    })
}
