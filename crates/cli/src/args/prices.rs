//! `tenure model prices …`.
use clap::Subcommand;

use super::{Listing, named};
use crate::config::Usd;

#[derive(Debug, Subcommand)]
pub enum Prices {
    /// List the prices that were set, and which holds; of one model also what is known without them.
    #[command(visible_alias = "ls")]
    List {
        /// provider/model, or a word of `tenure model add`.
        #[arg(value_parser = named)]
        model: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Set what a model costs from a day on; what was charged before stays as it is.
    Set {
        /// provider/model, or a word of `tenure model add`.
        #[arg(value_parser = named)]
        model: String,
        /// US dollars for a million tokens of input, as in 3 or 0.15.
        #[arg(id = "price_in", long = "in", value_name = "USD")]
        input: Usd,
        /// The same of output.
        #[arg(id = "price_out", long = "out", value_name = "USD")]
        output: Usd,
        /// The same of input that the provider had in its cache [default: as other input]
        #[arg(long, value_name = "USD")]
        cached: Option<Usd>,
        /// A day of UTC, as in 2026-02-23 [default: today]
        #[arg(long, value_name = "DATE")]
        from: Option<String>,
    },
    /// Remove the prices that were set of a model, or the one from a day on.
    #[command(visible_alias = "rm")]
    Remove {
        /// provider/model, or a word of `tenure model add`.
        #[arg(value_parser = named)]
        model: String,
        /// Only the one from this day on.
        #[arg(long, value_name = "DATE")]
        from: Option<String>,
    },
}
