//! `tenure retention …`.
use clap::{Args, Subcommand};
use tenure_core::manifest::{Bytes, Duration};

use super::Limit;

#[derive(Debug, Subcommand)]
pub enum Retention {
    /// Show how long, and how much, of what ended executions were told and said is kept.
    Show,
    /// Say how long, and how much, of all agents' is kept; what is not named stays.
    #[command(after_help = "What is older, or beyond the size of all together, is erased for ever, the oldest first. \
                      Records, figures and reasons stay. `spec.retention` of a manifest says the same of one agent; the \
                      stricter one decides.")]
    Set(Wanted),
    /// Keep all again. What is erased does not come back.
    #[command(visible_alias = "rm")]
    Remove,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Wanted {
    /// After the end of an execution, as in 12h or 30d; `none` keeps any age.
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub age: Option<Limit>,
    /// Of all executions together, as in 512Mi or 10Gi; `none` keeps any size.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub size: Option<Limit>,
}

fn age(text: &str) -> Result<Limit, String> {
    read(text, |text| Duration::parse(text).map(|age| age.as_millis()).map_err(|fault| fault.reason))
}

fn size(text: &str) -> Result<Limit, String> {
    read(text, |text| Bytes::parse(text).map(|size| size.get()).map_err(|fault| fault.reason))
}

fn read(text: &str, parse: impl Fn(&str) -> Result<u64, String>) -> Result<Limit, String> {
    match text.trim() {
        text if text.eq_ignore_ascii_case("none") => Ok(Limit(None)),
        text => parse(text).map(|number| Limit(Some(number))),
    }
}
