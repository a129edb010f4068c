//! What the ledger costs: a governed call beside its two bare commits, steps a second beside bare batched commits.

use anyhow::Result;

use super::{Bench, Section};

pub(super) fn measure(bench: &Bench<'_>) -> Result<Section> {
    let _ = bench.example("tenure-store", "ledger_rate", &["--json"])?;
    Ok(Section { title: "Ledger", command: "cargo xtask bench ledger".to_owned(), rows: Vec::new(), notes: Vec::new() })
}
