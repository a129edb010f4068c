//! Times as the API writes them: RFC 3339 in UTC with milliseconds.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tenure_core::time::Time;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Time);

impl From<Time> for Moment {
    fn from(time: Time) -> Moment {
        Moment(time)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0.millis()) {
            Ok(stamp) => f.pad(&stamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()),
            Err(_) => write!(f, "{} ms", self.0.millis()),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        let stamp: jiff::Timestamp =
            text.parse().map_err(|_| format!("`{text}` is no time: write it as 2026-02-23T10:00:01Z"))?;
        Ok(Moment(Time::from_millis(stamp.as_millisecond())))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_back_as_written() {
        let moment = Moment(Time::from_millis(1_771_840_801_234));
        assert_eq!(moment.to_string(), "2026-02-23T10:00:01.234Z");
        assert_eq!(moment.to_string().parse(), Ok(moment));
        assert!("yesterday".parse::<Moment>().is_err());
    }
}
