//! Rules to review: learnt from recorded calls, or translated from the settings of another tool. What is printed is a document or a
//! diff with the rest as comments of it, so that it can go straight into a file. Must never apply one.
use std::path::Path;

use tenure_wire::api::policy::{ImportPolicy, LearnPolicy, PolicyImported, PolicyLearned};
use tenure_wire::client::Client;

use super::{files, replayed};
use crate::command::moment;
use crate::failure::{Exit, Failure};
use crate::render::Output;
use crate::screen::{one_line, plain};

pub(super) async fn learn(
    client: &Client,
    agent: Option<String>,
    since: &str,
    out: Option<&Path>,
    output: Output,
) -> Result<Exit, Failure> {
    let learned = client.learn_policy(&LearnPolicy { agent, since: moment::past(since)? }).await?;
    let written = match out {
        Some(folder) if !learned.proposals.is_empty() => files::write(folder, &learned.documents)?,
        Some(_) | None => Vec::new(),
    };
    output.show(&learned, || {
        let paths: String = written.iter().map(|path| format!("# wrote {}\n", path.display())).collect();
        told(&learned) + &paths
    })?;
    Ok(Exit::Done)
}

fn comments(text: &str) -> String {
    text.lines().map(|line| format!("# {}\n", one_line(line))).collect()
}

fn told(learned: &PolicyLearned) -> String {
    let count = learned.proposals.len();
    let head = match count {
        0 => format!("Recorded calls looked at: {}; they ask for no rule", learned.seen),
        1 => format!("Recorded calls looked at: {}; they ask for 1 rule, which is not applied", learned.seen),
        count => {
            format!("Recorded calls looked at: {}; they ask for {count} rules, none of which is applied", learned.seen)
        }
    };
    let mut text = comments(&head);
    if learned.unjudgeable > 0 {
        text += &comments(&format!("{} more say nothing: what was seen of them is erased", learned.unjudgeable));
    }
    if learned.cut {
        text += &comments("No more than these are looked at: name a later --since");
    }
    for proposal in &learned.proposals {
        text += &comments(&format!("{}/{} {}: {}", proposal.layer, proposal.document, proposal.rule, proposal.about));
    }
    for note in &learned.notes {
        text += &comments(&format!("no rule: {note}"));
    }
    if let Some(replay) = &learned.replay {
        text += &comments(&format!("Under these rules:\n{}", replayed(replay)));
    }
    text + &plain(&learned.diff)
}

pub(super) async fn import(
    client: &Client,
    from: String,
    file: &Path,
    out: Option<&Path>,
    output: Output,
) -> Result<Exit, Failure> {
    let text = files::text(file)?;
    let imported = client.import_policy(&ImportPolicy { from, text }).await?;
    if let Some(path) = out {
        files::write_new(path, &imported.text)?;
    }
    output.show(&imported, || {
        let left_out = left_out(&imported);
        match out {
            Some(path) => {
                let notes: String = imported.notes.iter().map(|note| format!("// {}\n", one_line(note))).collect();
                format!("Wrote {} rules to {}\n{notes}{left_out}", imported.rules, path.display())
            }
            None => format!("{}\n{left_out}", plain(&imported.text)),
        }
    })?;
    Ok(Exit::Done)
}

/// As comments of Cedar.
fn left_out(imported: &PolicyImported) -> String {
    let lines = imported.left_out.iter().map(|one| {
        let line = if one.line == 0 { String::new() } else { format!("line {}: ", one.line) };
        format!("// {}\n", one_line(&format!("{line}{}: {}", one.what, one.why)))
    });
    let lines: String = lines.collect();
    if lines.is_empty() { "// Everything is translated.\n".to_string() } else { format!("// Not translated:\n{lines}") }
}
