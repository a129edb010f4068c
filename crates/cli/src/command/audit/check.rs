//! `tenure audit verify FILE`: an export, or a proof that a ledger only grew, checked by nothing but its bytes and a key that is trusted. No ledger and no daemon is
//! asked, so that it is the same on any machine.
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use serde_json::{Value, json};
use tenure_core::ledger::Verifier;
use tenure_core::ledger::consistency::Consistency;
use tenure_core::ledger::export::{Check, Checked};

use super::consistency;
use crate::failure::{Exit, Failure};
use crate::render::Output;
use crate::screen::one_line;

/// Of one line: more than the largest payload takes.
const LINE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Of a file that holds a key.
const KEY_BYTES_MAX: u64 = 4096;

pub(super) fn run(file: &Path, key: Option<&str>, output: Output) -> Result<Exit, Failure> {
    let trusted = key.map(read_key).transpose()?;
    let checked = match check(file, trusted)? {
        Read::Export(checked) => checked,
        Read::Consistency(bytes) => return consistency::verify(&bytes, trusted, output),
    };
    output.show(&shown(&checked, trusted.is_some()), || told(&checked, trusted.is_some()))?;
    Ok(if checked.holds() { Exit::Done } else { Exit::Failure })
}

/// What the file was.
enum Read {
    Export(Box<Checked>),
    /// That a ledger only grew; all of it.
    Consistency(Vec<u8>),
}

fn check(file: &Path, trusted: Option<Verifier>) -> Result<Read, Failure> {
    let unread = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::new(Exit::NotFound, format!("there is no file {}", file.display())).next("check the path")
        }
        _ => Failure::new(Exit::Failure, format!("{} cannot be read: {error}", file.display())),
    };
    let opened: Box<dyn std::io::Read> = match file == Path::new("-") {
        true => Box::new(std::io::stdin()),
        false => Box::new(File::open(file).map_err(unread)?),
    };
    let (mut reader, mut check, mut line) = (BufReader::new(opened), Check::new(trusted), Vec::new());
    let mut is_first = true;
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(unread)?;
        if read == 0 {
            return Ok(Read::Export(Box::new(check.finish())));
        }
        if is_first && Consistency::begins(&line) {
            (&mut reader).take(LINE_BYTES_MAX).read_to_end(&mut line).map_err(unread)?;
            return Ok(Read::Consistency(line));
        }
        is_first = false;
        check.line(&line);
    }
}

/// A public key in hexadecimal digits, or the file that holds one, as `ledger.pub`.
pub(super) fn read_key(text: &str) -> Result<Verifier, Failure> {
    if let Ok(key) = Verifier::from_hex(text) {
        return Ok(key);
    }
    let mut found = String::new();
    let read = File::open(text).and_then(|file| file.take(KEY_BYTES_MAX).read_to_string(&mut found));
    let key = read.map_err(|error| error.to_string()).and_then(|_| Verifier::from_hex(found.trim()));
    key.map_err(|why| {
        Failure::new(Exit::Usage, format!("`{}` is no public key and no file that holds one", one_line(text)))
            .why(why)
            .next("give the 64 digits of ledger.pub, or that file")
    })
}

fn shown(checked: &Checked, trusted: bool) -> Value {
    let found = checked.found.iter();
    let findings = found.map(|found| json!({ "line": found.line, "record": found.record, "what": found.what }));
    json!({
        "status": if checked.holds() { "holds" } else { "broken" },
        "holds": checked.holds(),
        "records": checked.records,
        "first": checked.range.map(|(first, _)| first),
        "last": checked.range.map(|(_, last)| last),
        "payloads": checked.payloads,
        "erased": checked.erased,
        "selection": checked.header.as_ref().map(|header| &header.selection),
        "project": checked.header.as_ref().map(|header| header.project.to_string()),
        "key": checked.header.as_ref().map(|header| &header.head.key),
        "keys": checked.header.as_ref().map(|header| &header.keys),
        "key_trusted": trusted,
        "head": checked.header.as_ref().map(|header| &header.head.head),
        "finding_count": checked.count,
        "findings": findings.collect::<Vec<_>>(),
    })
}

fn told(checked: &Checked, trusted: bool) -> String {
    let mut text = match checked.holds() {
        true => format!("The export holds: {} records", checked.records),
        false => format!("The export does not hold: {} findings in {} records", checked.count, checked.records),
    };
    if let Some((first, last)) = checked.range {
        text.push_str(&format!(", from {first} to {last}"));
    }
    if checked.payloads + checked.erased > 0 {
        text.push_str(&format!(", with {} payloads and {} that are erased", checked.payloads, checked.erased));
    }
    text.push('\n');
    if let Some(header) = &checked.header {
        let head = &header.head.head;
        let selection = if header.selection.is_empty() { "all".to_string() } else { header.selection.join(" ") };
        text.push_str(&format!("  selected   {}\n", one_line(&selection)));
        text.push_str(&format!("  head       {} records at {}, root {}\n", head.size, head.at, head.root));
        text.push_str(&format!("  key        {}\n", one_line(&header.head.key)));
    }
    if !trusted {
        text.push_str("  the file vouches for itself alone: give the key that you trust with --key\n");
    }
    if checked.erased_elsewhere > 0 {
        let word = "payloads are said to be erased by records that are not in this file";
        text.push_str(&format!("  {} {word}\n", checked.erased_elsewhere));
    }
    checked.found.iter().for_each(|found| text.push_str(&format!("  {}\n", one_line(&found.to_string()))));
    let more = checked.count.saturating_sub(checked.found.len() as u64);
    if more > 0 {
        text.push_str(&format!("  and {more} more\n"));
    }
    text
}
