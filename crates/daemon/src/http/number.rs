//! Numbers of a query string or a header, held against their ranges. Must never: bend one that is out of its range into it, or
//! let one through that a row or a record cannot hold.
use std::ops::RangeInclusive;

use serde::Deserialize;
use tenure_wire::api::{LIMIT_DEFAULT, LIMIT_MAX};
use tenure_wire::problem::Code;

use super::problem::Failure;

/// The largest number that a record can hold, and so the largest index: 2^53 - 1.
pub(super) const INDEX_MAX: u64 = (1 << 53) - 1;

/// A number as it was written.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Number(String);

impl Number {
    pub(super) fn new(text: &str) -> Number {
        Number(text.trim().to_string())
    }

    /// # Errors
    /// A problem of form where it is no whole number, one of range where it is one and lies outside.
    pub(super) fn within(&self, name: &str, range: RangeInclusive<u64>) -> Result<u64, Failure> {
        let digits = self.0.strip_prefix('-').unwrap_or(&self.0);
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            let shown = super::lookup::quoted(&self.0);
            return Err(Code::ParameterWrong.problem(format!("`{name}` is no whole number: {shown}")).into());
        }
        match self.0.parse::<u64>() {
            Ok(number) if range.contains(&number) => Ok(number),
            Ok(_) | Err(_) => {
                let (least, most) = range.into_inner();
                Err(Code::ParameterOutOfRange.problem(format!("`{name}` is {least} to {most}")).into())
            }
        }
    }
}

/// Items of a page.
///
/// # Errors
/// As `within`.
pub(super) fn limit(stated: Option<&Number>) -> Result<u32, Failure> {
    let Some(stated) = stated else { return Ok(LIMIT_DEFAULT) };
    let limit = stated.within("limit", 1..=u64::from(LIMIT_MAX))?;
    Ok(u32::try_from(limit).expect("invariant: it is at most 500"))
}

/// The number of a revision.
///
/// # Errors
/// As `within`.
pub(super) fn revision(name: &str, stated: &Number) -> Result<u32, Failure> {
    let number = stated.within(name, 1..=u64::from(u32::MAX))?;
    Ok(u32::try_from(number).expect("invariant: it is at most the largest u32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T: std::fmt::Debug>(result: Result<T, Failure>) -> Code {
        result.unwrap_err().0.code
    }

    #[test]
    fn a_number_beyond_its_range_is_told_so_and_what_is_none_is_wrong() {
        assert_eq!(limit(None).unwrap(), LIMIT_DEFAULT);
        assert_eq!(limit(Some(&Number::new("500"))).unwrap(), 500);
        for beyond in ["0", "501", "-1", "4294967296", "99999999999999999999999999"] {
            assert_eq!(code(limit(Some(&Number::new(beyond)))), Code::ParameterOutOfRange, "{beyond}");
        }
        for wrong in ["", "-", "ten", "1.5", "0x10", "+1"] {
            assert_eq!(code(limit(Some(&Number::new(wrong)))), Code::ParameterWrong, "{wrong}");
        }
    }
}
