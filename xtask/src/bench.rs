//! `cargo xtask bench`: the figures that we state, each beside what it is compared with, measured in one run of the shipped
//! profile, into bench/RESULTS.md. Must never print an aim without what was reached, or keep a figure without its commit.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::{demo, install, step};

mod machine;
mod jail;
mod gates;
mod ledger;
mod policy;
mod daemon;
mod staff;
mod crash;

const RESULTS: &str = "bench/RESULTS.md";
const HEAD: &str = "# Figures\nWritten by `cargo xtask bench`, from programs of the profile `dist`. Each section says when, on what and of which commit it was\n\
measured; figures of different sections were not measured together. Compare ratios, not times: machines differ, and load does.\n";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Which figures; all but `staff` and `crash`, which take long, when none is named.
    #[arg(value_name = "NAME", value_parser = NAMES)]
    names: Vec<String>,
    /// How often `crash` kills.
    #[arg(long, default_value_t = 500)]
    kills: u32,
    /// The program of npm's sandbox-runtime, to stand beside the jails.
    #[arg(long, value_name = "PATH")]
    srt: Option<String>,
}

const NAMES: [&str; 9] = ["jail", "gates", "ledger", "policy", "ready", "idle", "size", "staff", "crash"];
const LONG: [&str; 2] = ["staff", "crash"];

/// One table of RESULTS.md.
struct Section {
    title: &'static str,
    command: String,
    rows: Vec<Row>,
    /// What stands in the way where an aim is not reached, and how it was measured.
    notes: Vec<String>,
}

#[derive(Clone)]
struct Row {
    what: String,
    measured: String,
    aim: String,
    reached: Option<bool>,
}

impl Row {
    /// A figure that is only there to compare with.
    fn plain(what: impl Into<String>, measured: impl Into<String>) -> Row {
        Row { what: what.into(), measured: measured.into(), aim: String::new(), reached: None }
    }

    fn aimed(what: impl Into<String>, measured: impl Into<String>, aim: impl Into<String>, reached: bool) -> Row {
        Row { what: what.into(), measured: measured.into(), aim: aim.into(), reached: Some(reached) }
    }
}

/// The project and where its programs are built.
struct Bench<'b> {
    root: &'b Path,
    programs: PathBuf,
    srt: Option<String>,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<ExitCode> {
    install::packages(&install::BUILD)?;
    let bench = Bench { root, programs: demo::target(root)?.join("dist"), srt: arguments.srt.clone() };
    let short = || NAMES.iter().filter(|name| !LONG.contains(name)).map(|name| (*name).to_owned()).collect();
    let names: Vec<String> = if arguments.names.is_empty() { short() } else { arguments.names.clone() };
    let machine = machine::describe(root);
    for name in names {
        println!("{name}");
        let section = match name.as_str() {
            "jail" => jail::measure(&bench)?,
            "gates" => gates::measure(&bench)?,
            "ledger" => ledger::measure(&bench)?,
            "policy" => policy::measure(&bench)?,
            "ready" => daemon::ready(&bench)?,
            "idle" => daemon::idle(&bench)?,
            "size" => daemon::size(&bench)?,
            "staff" => staff::measure(&bench)?,
            "crash" => crash::measure(&bench, arguments.kills)?,
            other => bail!("there is no figure {other}: there are {}", NAMES.join(", ")),
        };
        let text = render(&section, &machine);
        println!("{text}");
        let path = root.join(RESULTS);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, replaced(&before, section.title, &text)).with_context(|| RESULTS.to_owned())?;
    }
    println!("written to {RESULTS}");
    Ok(ExitCode::SUCCESS)
}

impl Bench<'_> {
    /// Builds in the shipped profile.
    fn build(&self, what: &[&str]) -> Result<()> {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--profile", "dist"]).args(what).current_dir(self.root);
        step::shown(&format!("build {}", what.join(" ")), &mut cargo)
    }

    /// Builds an example of `package` and gives the objects that it prints, one a line.
    fn example(&self, package: &str, name: &str, arguments: &[&str]) -> Result<Vec<Value>> {
        self.build(&["--package", package, "--example", name])?;
        self.said(name, arguments)
    }

    /// What an example that was built prints.
    fn said(&self, name: &str, arguments: &[&str]) -> Result<Vec<Value>> {
        let mut command = Command::new(self.programs.join("examples").join(name));
        let output = command.args(arguments).output().with_context(|| format!("{name} cannot be started"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        said.lines().map(|line| serde_json::from_str(line).with_context(|| format!("{name} printed {line}"))).collect()
    }
}

fn render(section: &Section, machine: &str) -> String {
    let Section { title, command, rows, notes } = section;
    let mut text =
        format!("## {title}\n`{command}` · {machine}\n\n| figure | measured | aim | reached |\n|---|---|---|---|\n");
    for Row { what, measured, aim, reached } in rows {
        let reached = match reached {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let _ = writeln!(text, "| {what} | {measured} | {aim} | {reached} |");
    }
    for note in notes {
        let _ = write!(text, "\n{note}\n");
    }
    text
}

/// The page with this section in place of its last one, others as they were.
fn replaced(page: &str, title: &str, text: &str) -> String {
    let mut sections: Vec<String> =
        page.split("\n## ").skip(1).map(|section| format!("## {}\n", section.trim_end())).collect();
    let heading = format!("## {title}\n");
    match sections.iter_mut().find(|section| section.starts_with(&heading)) {
        Some(section) => *section = text.to_owned(),
        None => sections.push(text.to_owned()),
    }
    let sections: String = sections.iter().map(|section| format!("\n{section}")).collect();
    format!("{HEAD}{sections}")
}

fn number(object: &Value, key: &str) -> Result<f64> {
    object.get(key).and_then(Value::as_f64).with_context(|| format!("{object} has no number {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(measured: &str) -> Section {
        let rows = vec![Row::aimed("a jail", measured, "≤ 3 ms", false), Row::plain("a plain spawn", "1 ms")];
        Section {
            title: "Jail start",
            command: "cargo xtask bench jail".to_owned(),
            rows,
            notes: vec!["Why.".to_owned()],
        }
    }

    #[test]
    fn a_section_measured_again_takes_its_own_place_and_leaves_the_others() {
        let first = replaced("", "Jail start", &render(&section("4 ms"), "here"));
        let other = "## Size\n`x` · here\n";
        let both = replaced(&first, "Size", other);
        let again = replaced(&both, "Jail start", &render(&section("5 ms"), "there"));
        assert!(again.starts_with("# Figures\n"), "{again}");
        assert!(!again.contains("4 ms"), "{again}");
        assert!(again.contains("| a jail | 5 ms | ≤ 3 ms | **no** |"), "{again}");
        assert!(again.find("## Jail start").unwrap() < again.find("## Size").unwrap(), "{again}");
        assert_eq!(replaced(&again, "Size", other), again);
    }
}
