//! `tenure audit consistency`: that the ledger which a daemon has only grew since a head that somebody kept. Its proof is checked here,
//! against that head: the daemon's word counts for nothing.
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use serde_json::{Value, json};
use tenure_core::ledger::consistency::Consistency;
use tenure_core::ledger::{Signed, Verifier};
use tenure_wire::client::Error;
use tenure_wire::problem::Code;

use super::super::out_file::{OutFile, SHARED, refuse_taken, unwritten};
use super::check::read_key;
use crate::args::Consistent;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::Output;
use crate::screen::one_line;

/// Of the first line of a file with a head in it.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

pub(super) async fn run(asked: Consistent, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let trusted = asked.key.as_deref().map(read_key).transpose()?;
    asked.out.as_deref().map_or(Ok(()), |out| refuse_taken(out, asked.force))?;
    let kept = asked.from.as_deref().map(read_head).transpose()?;
    let size = kept.as_ref().map(|head| head.head.size);
    let proof = match (settings.client()?.consistency(size).await, size) {
        (Err(Error::Problem(problem)), Some(size)) if problem.code == Code::ParameterOutOfRange => {
            return Err(Failure::new(
                Exit::Failure,
                format!("the ledger has fewer records than the {size} under the head that you kept"),
            )
            .why("it was cut, an older copy was put back, or it is another ledger")
            .next("`tenure audit verify` on its host looks at it"));
        }
        (asked, _) => asked?,
    };
    let newest = proof.head.ok_or_else(|| {
        Failure::new(Exit::Failure, "the daemon gives no signed head").next("ask again: the ledger grew meanwhile")
    })?;
    let proof = Consistency::new(kept.unwrap_or_else(|| newest.clone()), newest, proof.keys, proof.path);
    if let Some(out) = &asked.out {
        let bytes = proof.to_bytes().map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
        let mut file = OutFile::begin(out, asked.force, SHARED)?;
        file.file.write_all(&bytes).map_err(|error| unwritten(out, &error))?;
        file.place()?;
    }
    tell(&proof, trusted, output)
}

/// A file that `--out` wrote, checked by its bytes alone.
pub(super) fn verify(bytes: &[u8], trusted: Option<Verifier>, output: Output) -> Result<Exit, Failure> {
    let proof =
        Consistency::read(bytes).map_err(|why| Failure::new(Exit::Failure, "the proof does not hold").why(why))?;
    tell(&proof, trusted, output)
}

fn tell(proof: &Consistency, trusted: Option<Verifier>, output: Output) -> Result<Exit, Failure> {
    let findings = proof.findings(trusted);
    output.show(&shown(proof, &findings, trusted.is_some()), || told(proof, &findings, trusted.is_some()))?;
    Ok(if findings.is_empty() { Exit::Done } else { Exit::Failure })
}

fn shown(proof: &Consistency, findings: &[String], trusted: bool) -> Value {
    json!({
        "status": if findings.is_empty() { "holds" } else { "broken" },
        "holds": findings.is_empty(),
        "project": proof.project,
        "from": proof.from.head,
        "to": proof.to.head,
        "key": proof.to.key,
        "key_trusted": trusted,
        "findings": findings,
    })
}

fn told(proof: &Consistency, findings: &[String], trusted: bool) -> String {
    let (from, to) = (&proof.from.head, &proof.to.head);
    let mut text = match (findings.is_empty(), from.size == to.size) {
        (true, false) => format!("The ledger only grew: from {} records to {}\n", from.size, to.size),
        (true, true) => format!("The ledger has {} records, as the head says\n", to.size),
        (false, _) => "The proof does not hold\n".to_string(),
    };
    text.push_str(&format!("  from       {} records at {}, root {}\n", from.size, from.at, from.root));
    text.push_str(&format!("  to         {} records at {}, root {}\n", to.size, to.at, to.root));
    text.push_str(&format!("  key        {}\n", one_line(&proof.to.key)));
    if !trusted {
        text.push_str("  the heads vouch for themselves alone: give the key that you trust with --key\n");
    }
    findings.iter().for_each(|found| text.push_str(&format!("  {}\n", one_line(found))));
    text
}

/// A signed head: as the daemon keeps it (head.json), as a sink was told it, of an export, or the newer one of such a proof.
fn read_head(file: &Path) -> Result<Signed, Failure> {
    let unread = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::new(Exit::NotFound, format!("there is no file {}", file.display())).next("check the path")
        }
        _ => Failure::new(Exit::Failure, format!("{} cannot be read: {error}", file.display())),
    };
    let mut line = Vec::new();
    BufReader::new(File::open(file).map_err(unread)?.take(LINE_BYTES_MAX))
        .read_until(b'\n', &mut line)
        .map_err(unread)?;
    let mut read: Value = serde_json::from_slice(&line).unwrap_or_default();
    let place = ["/consistency/to", "/export/head"].into_iter().find(|place| read.pointer(place).is_some());
    let place = place.or_else(|| read.pointer("/head/head").map(|_| "/head")).unwrap_or_default();
    let head = read.pointer_mut(place).map(Value::take).and_then(|head| serde_json::from_value::<Signed>(head).ok());
    head.ok_or_else(|| {
        Failure::new(Exit::Usage, format!("no signed head begins {}", file.display()))
            .next("give head.json of a data directory, a `{\"head\":…}` line of a sink, an export, or what --out wrote")
    })
}
