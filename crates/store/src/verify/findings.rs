//! What verify found wrong, and where.
use crate::Error;
use std::fmt;
use tenure_core::aggregate::Stream;

/// Findings kept word for word; more are counted.
const KEPT_MAX: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The record that it is about.
    pub index: Option<u64>,
    pub stream: Option<Stream>,
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.index {
            write!(f, "record {index}")?;
        }
        match (self.index, self.stream) {
            (Some(_), Some(stream)) => write!(f, " of {stream}: ")?,
            (None, Some(stream)) => write!(f, "{stream}: ")?,
            (Some(_), None) => f.write_str(": ")?,
            (None, None) => {}
        }
        f.write_str(&self.what)
    }
}

#[derive(Debug, Clone, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    count: u64,
}

impl Findings {
    pub(crate) fn add(&mut self, index: Option<u64>, stream: Option<Stream>, what: impl Into<String>) {
        self.count += 1;
        if self.kept.len() < KEPT_MAX {
            self.kept.push(Finding { index, stream, what: what.into() });
        }
    }

    /// What was read; where the database holds something else there, that is a finding.
    pub(crate) fn readable<T>(&mut self, read: Result<T, Error>, of: &str) -> Result<Option<T>, Error> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(Error::Corrupt { what }) => {
                self.add(None, None, format!("{of} cannot be read: {what}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// All of them, those not kept included.
    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }
}
