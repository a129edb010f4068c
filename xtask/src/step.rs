//! One step of a task: a program run with one line on the screen, its output shown only where it is wanted. Must never
//! swallow a failure, or leave a child of its own behind.

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Lines of a failed program's output that are shown.
const TAIL_LINES_MAX: usize = 80;
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// Runs it in silence; says `what` and how long it took. What it printed is shown when it fails.
pub(crate) fn quiet(what: &str, command: &mut Command) -> Result<()> {
    let begun = Instant::now();
    let name = name(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{what}: {name} cannot be started"))?;
    if output.status.success() {
        done(what, begun);
        return Ok(());
    }
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprintln!("{}", tail(&text));
    bail!("{what}: {name} ended with {}", output.status)
}

/// As [`quiet`], but on a terminal the program draws its own progress.
pub(crate) fn shown(what: &str, command: &mut Command) -> Result<()> {
    if !std::io::stderr().is_terminal() {
        return quiet(what, command);
    }
    let begun = Instant::now();
    let name = name(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("{what}: {name} cannot be started"))?;
    if !status.success() {
        bail!("{what}: {name} ended with {status}")
    }
    done(what, begun);
    Ok(())
}

/// Shows its output as it comes and gives it back, with whether it succeeded.
pub(crate) fn overheard(command: &mut Command) -> Result<(bool, String)> {
    let name = name(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{name} cannot be started"))?;
    let out = child.stdout.take().context("its output is piped")?;
    let err = child.stderr.take().context("its errors are piped")?;
    let reader = std::thread::spawn(move || repeat(out));
    let errors = repeat(err);
    let output = reader.join().unwrap_or_default();
    let status = child.wait().with_context(|| format!("{name} cannot be waited for"))?;
    Ok((status.success(), format!("{output}{errors}")))
}

/// What a program prints, for a question; `None` when it fails or is not there.
pub(crate) fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Asks a child to stop as Ctrl-C does, waits, and kills it in the end. Gone when this returns.
pub(crate) fn stop(child: &mut Child) {
    let begun = Instant::now();
    let asked = answer(Command::new("kill").args(["-INT", &child.id().to_string()])).is_some();
    while asked && begun.elapsed() < STOP_DEADLINE {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}

pub(crate) fn done(what: &str, begun: Instant) {
    println!("  {what} ({:.1} s)", begun.elapsed().as_secs_f64());
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn repeat(from: impl Read) -> String {
    let mut text = String::new();
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        let said = String::from_utf8_lossy(&line);
        let mut screen = std::io::stdout().lock();
        // A closed screen is no reason to lose count.
        let _ = screen.write_all(said.as_bytes()).and_then(|()| screen.flush());
        text.push_str(&said);
        line.clear();
    }
    text
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES_MAX)..].join("\n")
}
