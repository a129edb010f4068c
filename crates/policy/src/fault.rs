//! What is wrong with a policy that a person wrote: where, what, and what to do about it.
use crate::layer::Layer;
use serde::Serialize;
use std::fmt;

/// The most that one answer lists.
pub(crate) const FAULTS_MAX: usize = 64;

/// One thing that is wrong. Lines and columns count from 1; 0 speaks of the whole file, and an empty file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub layer: Layer,
    pub file: String,
    pub line: u32,
    pub column: u32,
    pub what: String,
    /// What to do about it.
    pub help: String,
}

impl Fault {
    pub(crate) fn whole(layer: Layer, file: &str, what: impl Into<String>, help: impl Into<String>) -> Fault {
        Fault { layer, file: file.to_string(), line: 0, column: 0, what: what.into(), help: help.into() }
    }
}

impl fmt::Display for Fault {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file.as_str() {
            "" => write!(f, "{}: ", self.layer)?,
            file => write!(f, "{file}:")?,
        }
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        let gap = if self.file.is_empty() { "" } else { " " };
        let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        write!(f, "{gap}{}; {}", line(&self.what), line(&self.help))
    }
}

/// Line and column of a byte of a text, from 1.
pub(crate) fn place(text: &str, offset: usize) -> (u32, u32) {
    let before = &text[..floor_boundary(text, offset)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    (number(line), number(column))
}

fn floor_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}
