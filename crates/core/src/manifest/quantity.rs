//! Times, sizes, shares of a processor, scores and money: numbers that are nothing without their unit. Must never take
//! a bare number where a unit decides, and each prints in one way only, so that equal manifests have equal texts.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::document::{Node, Value};
use super::values::{text, whole, wrong_type};
use crate::fault::{Code, Fault, excerpt};

const MILLICORES_MIN: i64 = 10;
const MILLICORES_MAX: i64 = 1_000_000;

macro_rules! quantity {
    ($(#[$meta:meta])* $name:ident, pattern $pattern:literal, as in $example:literal $(, in $units:ident)?) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(|fault| de::Error::custom(fault.reason))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "examples": [$example] })
            }
        }

        $(impl $name {
            pub fn parse(text: &str) -> Result<Self, Fault> {
                $units.parse(text, $example).map(Self)
            }

            pub(super) fn between(least: Self, most: Self) -> impl Fn(&Node) -> Result<Self, Fault> {
                move |node| match Self::parse(&unit_text(node, $units.noun, $units.usual)?)? {
                    value if value >= least && value <= most => Ok(value),
                    value => Err(Fault::new(Code::OutOfRange, format!("{value} is out of range"))
                        .hint(format!("from {least} to {most} is allowed"))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $units.print(self.0, f)
            }
        })?
    };
}

quantity!(
    /// A length of time, in whole milliseconds: `500ms`, `300s`, `5m`, `1h`, `7d`.
    Duration, pattern "^[0-9]+(ms|s|m|h|d)$", as in "300s", in TIMES
);
quantity!(
    /// A size, in bytes: `512B`, `64Ki`, `512Mi`, `1Gi`, `2Ti`.
    Bytes, pattern "^[0-9]+(B|Ki|Mi|Gi|Ti)$", as in "512Mi", in SIZES
);
quantity!(
    /// Money, in millionths of a US dollar: `1.50 USD`.
    Money, pattern "^[0-9]+(\\.[0-9]{1,6})? USD$", as in "1.50 USD"
);

/// The units that one quantity is written in.
struct Units {
    noun: &'static str,
    /// The unit of zero, and the one that a bare number is likely to mean.
    zero: &'static str,
    usual: &'static str,
    /// From the smallest: its name, its size, and what others call it.
    units: [(&'static str, u64, &'static [&'static str]); 5],
}

const TIMES: Units = Units {
    noun: "a time",
    zero: "s",
    usual: "s",
    units: [
        ("ms", 1, &["ms", "msec", "millis", "milliseconds"]),
        ("s", 1_000, &["s", "sec", "secs", "second", "seconds"]),
        ("m", 60_000, &["m", "min", "mins", "minute", "minutes"]),
        ("h", 3_600_000, &["h", "hr", "hrs", "hour", "hours"]),
        ("d", 86_400_000, &["d", "day", "days"]),
    ],
};
const SIZES: Units = Units {
    noun: "a size",
    zero: "B",
    usual: "Mi",
    units: [
        ("B", 1, &["b", "byte", "bytes"]),
        ("Ki", 1 << 10, &["k", "kb", "kib", "ki"]),
        ("Mi", 1 << 20, &["m", "mb", "mib", "mi"]),
        ("Gi", 1 << 30, &["g", "gb", "gib", "gi"]),
        ("Ti", 1 << 40, &["t", "tb", "tib", "ti"]),
    ],
};

impl Units {
    fn parse(&self, text: &str, example: &str) -> Result<u64, Fault> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        if let Some((_, size, _)) = self.units.iter().find(|(known, ..)| *known == unit && !digits.is_empty()) {
            let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(*size));
            // The canonical form is JSON, whose numbers are exact up to here.
            let number = number.filter(|number| *number < 1 << 53);
            return number.ok_or_else(|| Fault::new(Code::OutOfRange, format!("{} is too large", excerpt(text))));
        }
        Err(self.misread(text, digits, unit.trim(), example))
    }

    /// Why a text is none of these, with the text that was likely meant.
    fn misread(&self, text: &str, digits: &str, unit: &str, example: &str) -> Fault {
        let spaceless: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
        let meant = self.sum(&spaceless).map(|value| format!("did you mean `{}`?", Printed(self, value)));
        let plain = spaceless.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let known = self.units.iter().any(|(known, ..)| *known == plain);
        if let Some(hint) = meant {
            let reason = match () {
                () if spaceless.contains('.') => format!("{} is not a whole number of its unit", excerpt(text)),
                () if known => format!("{} has a space between the number and its unit", excerpt(text)),
                () => format!("{} has more than one unit", excerpt(text)),
            };
            return Fault::new(Code::WrongUnit, reason).hint(hint);
        }
        let reason = match (digits, unit) {
            ("", _) => format!("{} is not a number with a unit", excerpt(text)),
            (_, "") => format!("{digits} has no unit"),
            (_, unit) if unit.starts_with(|letter: char| letter.is_alphabetic()) => {
                format!("{} is not a unit that is known here", excerpt(unit))
            }
            _ => format!("{} is not a whole number with a unit", excerpt(text)),
        };
        let meant = |(_, _, aliases): &&(_, _, &[&str])| aliases.contains(&unit.to_ascii_lowercase().as_str());
        let hint = match self.units.iter().find(meant).filter(|_| !digits.is_empty()) {
            Some((unit, ..)) => format!("did you mean `{digits}{unit}`?"),
            None => {
                let units = self.units.map(|(unit, ..)| unit).join(", ");
                format!("{} is a whole number with one of the units {units}, as in {example}", self.noun)
            }
        };
        Fault::new(Code::WrongUnit, reason).hint(hint)
    }

    /// The value of one or more numbers with units, decimals allowed, where it is a whole one: what people may have meant.
    fn sum(&self, text: &str) -> Option<u64> {
        let (mut rest, mut sum) = (Some(text).filter(|text| !text.is_empty())?, 0u64);
        while !rest.is_empty() {
            let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
            let (number, after) = rest.split_at(end);
            let next = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(next);
            let (_, size, _) = self.units.iter().find(|(known, ..)| *known == unit)?;
            let (whole, part) = number.split_once('.').unwrap_or((number, ""));
            if whole.is_empty() || part.len() > 9 || part.contains('.') {
                return None;
            }
            let scale = 10u128.pow(u32::try_from(part.len()).ok()?);
            let value = format!("{whole}{part}").parse::<u128>().ok()?.checked_mul(u128::from(*size))?;
            let value = if value % scale == 0 { u64::try_from(value / scale).ok()? } else { return None };
            sum = sum.checked_add(value).filter(|sum| *sum < 1 << 53)?;
            rest = after;
        }
        Some(sum)
    }

    fn print(&self, value: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if value == 0 {
            return write!(f, "0{}", self.zero);
        }
        // Days only from two on, and only where whole: `24h` and `90m` read better than `1d` and `1.5h`.
        let exact =
            |(unit, size, _): &&(&str, u64, _)| value.is_multiple_of(*size) && (*unit != "d" || value / size > 1);
        let (unit, size, _) = self.units.iter().rev().find(exact).expect("invariant: the smallest divides all");
        write!(f, "{}{unit}", value / size)
    }
}

/// A value as its units print it.
struct Printed<'u>(&'u Units, u64);

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.print(self.1, f)
    }
}

fn unit_text(node: &Node, noun: &str, unit: &str) -> Result<String, Fault> {
    match &node.value {
        Value::Number { digits, .. }
            if !digits.bytes().all(|digit| digit.is_ascii_digit()) && !unit.starts_with(' ') =>
        {
            let reason = format!("{noun} is a whole number with its unit, and {} is neither", excerpt(digits));
            Err(Fault::new(Code::WrongUnit, reason).hint(format!("write it as in `1{unit}`")))
        }
        Value::Number { digits, .. } => Err(Fault::new(Code::WrongUnit, format!("{noun} needs its unit"))
            .hint(format!("did you mean `{digits}{unit}`?"))),
        Value::Null | Value::Bool { .. } | Value::Text(_) | Value::List(_) | Value::Map(_) => text(node),
    }
}

impl Duration {
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000)
    }

    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl Bytes {
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    pub const fn mebi(count: u64) -> Self {
        Self(count << 20)
    }

    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Money {
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    pub fn parse(text: &str) -> Result<Self, Fault> {
        let bad = || {
            Fault::new(Code::WrongUnit, format!("{} is not an amount of money", excerpt(text)))
                .hint("write it as in `1.50 USD`")
        };
        let amount = text.strip_suffix(" USD").ok_or_else(bad)?;
        let (whole, part) = amount.split_once('.').unwrap_or((amount, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 6 || whole.len() > 9 {
            return Err(bad());
        }
        let whole: u64 = whole.parse().map_err(|_| bad())?;
        let part: u64 = format!("{part:0<6}").parse().map_err(|_| bad())?;
        Ok(Self(whole * 1_000_000 + part))
    }

    pub(super) fn read(node: &Node) -> Result<Self, Fault> {
        Self::parse(&unit_text(node, "an amount of money", " USD")?)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if part % 10_000 == 0 {
            write!(f, "{whole}.{:02} USD", part / 10_000)
        } else {
            write!(f, "{whole}.{part:06} USD")
        }
    }
}

/// A share of the processors, in thousandths of one: 1000 is one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Millicores(#[schemars(range(min = MILLICORES_MIN, max = MILLICORES_MAX))] u32);

impl Millicores {
    pub const fn new(millicores: u32) -> Self {
        Self(millicores)
    }

    pub const fn get(self) -> u32 {
        self.0
    }

    pub(super) fn read(node: &Node) -> Result<Self, Fault> {
        let cores = |text: &str| text.parse::<f64>().is_ok_and(|cores| cores > 0.0 && cores < 10.0);
        let wanted = "cpu is in thousandths of a core: 1000 is one core, 500 is half of one";
        match &node.value {
            Value::Text(text) => {
                let digits = text.strip_suffix('m').filter(|digits| digits.parse::<u32>().is_ok());
                let hint = digits.map_or_else(|| wanted.to_owned(), |digits| format!("write {digits}; {wanted}"));
                Err(Fault::new(Code::WrongUnit, format!("{} is not a share of a core", excerpt(text))).hint(hint))
            }
            Value::Number { digits, .. } if cores(digits) => {
                Err(Fault::new(Code::WrongUnit, format!("cpu {digits} looks like cores")).hint(wanted))
            }
            Value::Null | Value::Bool { .. } | Value::Number { .. } | Value::List(_) | Value::Map(_) => {
                whole(MILLICORES_MIN..=MILLICORES_MAX)(node).map(Self).map_err(|fault| fault.hint(wanted))
            }
        }
    }
}

/// A part of one, from 0 to 1, in thousandths: 850 is 0.85.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(u16);

impl Score {
    pub const fn from_thousandths(thousandths: u16) -> Self {
        Self(if thousandths > 1000 { 1000 } else { thousandths })
    }

    pub const fn as_thousandths(self) -> u16 {
        self.0
    }

    pub(super) fn read(node: &Node) -> Result<Self, Fault> {
        let Value::Number { digits, .. } = &node.value else {
            return Err(wrong_type(node, "a number from 0 to 1"));
        };
        let bad = |code, why: &str| Fault::new(code, format!("{} {why}", excerpt(digits))).hint("write it as in 0.85");
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) || part.is_empty() {
            return Err(bad(Code::BadFormat, "is not a score with at most three decimals"));
        }
        let part: u16 = format!("{part:0<3}").parse().map_err(|_| bad(Code::BadFormat, "is not a score"))?;
        match (whole, part) {
            ("0", part) => Ok(Self(part)),
            ("1", 0) => Ok(Self(1000)),
            _ => Err(bad(Code::OutOfRange, "is not from 0 to 1")),
        }
    }
}

impl Serialize for Score {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match f64::deserialize(deserializer)? {
            score if (0.0..=1.0).contains(&score) => Ok(Self((score * 1000.0).round() as u16)),
            score => Err(de::Error::custom(format!("{score} is not from 0 to 1"))),
        }
    }
}

impl JsonSchema for Score {
    fn schema_name() -> Cow<'static, str> {
        "Score".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.001 })
    }
}
