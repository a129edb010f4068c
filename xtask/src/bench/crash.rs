//! Kills at random points, by the durability suite with another number.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Bench, Row, Section};
use crate::step;

pub(super) fn measure(bench: &Bench<'_>, kills: u32) -> Result<Section> {
    let mut build = Command::new("cargo");
    build.args(["build", "--workspace", "--bins", "--tests"]).current_dir(bench.root);
    step::shown("programs and tests", &mut build)?;
    let mut suite = Command::new("cargo");
    suite.args(["test", "--workspace", "--test", "durability", "--", "--nocapture", "--test-threads", "1"]);
    suite.current_dir(bench.root).env("TENURE_KILLS", kills.to_string());
    let begun = std::time::Instant::now();
    let (held, said) = step::overheard(&mut suite)?;
    ensure!(held, "the durability suite failed");
    let result = said.lines().rfind(|line| line.starts_with("test result: ok")).context("the suite gave no result")?;
    let mut rows = vec![Row::aimed(
        format!("{kills} kills"),
        format!("all invariants hold ({:.0} s)", begun.elapsed().as_secs_f64()),
        "0 executions lost, 0 finished calls repeated, chain valid, nothing left behind",
        true,
    )];
    rows.extend(said.lines().filter_map(|line| line.strip_prefix("figure: ")).map(|line| {
        let (what, measured) = line.split_once(": ").unwrap_or((line, ""));
        Row::plain(what, measured)
    }));
    let command = format!("cargo xtask bench crash --kills {kills}");
    Ok(Section { title: "Kills", command, rows, notes: vec![format!("`{result}`, programs of the profile `dev`.")] })
}
