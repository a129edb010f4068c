//! `tenure policy …`: the rules by which calls are judged. What they mean is the daemon's to say; here files are read and answers
//! shown. Must never apply what was not named.
use std::path::Path;

use tenure_wire::api::policy::{
    AppliedPolicy, ApplyPolicy, CheckPolicy, ExplainPolicy, PolicyApplied, PolicyCase, PolicyChange, PolicyDocument,
    PolicyExplanation, PolicyFile, PolicyReplay, ReplayPolicy, RollbackPolicy, TestPolicy,
};
use tenure_wire::client::{self, Client};
use tenure_wire::problem::Fault;

use super::{moment, typed};
use crate::args::{self, Documents};
use crate::config::Settings;
use crate::failure::{Exit, Failure, fault_line};
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, when};
use crate::screen::{self, Ink, json, one_line};

mod files;
mod proposals;

/// Of arguments as JSON.
const INPUT_BYTES_MAX: usize = 1 << 20;

pub async fn run(verb: args::Policy, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    match verb {
        args::Policy::Show { number, out } => show(&client, number, out.as_deref(), output).await,
        args::Policy::Validate(documents) => validate(&client, &documents, output).await,
        args::Policy::Check(check) => check_call(&client, check, output).await,
        args::Policy::Explain(explain) => explain_call(&client, explain, output).await,
        args::Policy::Test { documents, cases } => test(&client, &documents, &cases, output).await,
        args::Policy::Diff(documents) => {
            let documents = read(&client, &documents).await?;
            let changed = dry_run(&client, documents).await?;
            warn(&changed.warnings);
            output.show(&changed.changes, || changes(&changed.changes))?;
            Ok(Exit::Done)
        }
        args::Policy::Replay { documents, since } => {
            let replay = ReplayPolicy { documents: read(&client, &documents).await?, since: moment::past(&since)? };
            let past = client.replay_policy(&replay).await?;
            output.show(&past, || replayed(&past))?;
            Ok(Exit::Done)
        }
        args::Policy::Learn { agent, since, out } => {
            proposals::learn(&client, agent, &since, out.as_deref(), output).await
        }
        args::Policy::Import { from, file, out } => {
            proposals::import(&client, from, &file, out.as_deref(), output).await
        }
        args::Policy::Apply { documents, note, expected, dry_run } => {
            let documents = read(&client, &documents).await?;
            apply(&client, ApplyPolicy { documents, expected, note, dry_run }, output).await
        }
        args::Policy::Remove { name, layer, note } => {
            let held = client.policy(None).await?;
            let mut documents = held.documents;
            let before = documents.len();
            documents.retain(|document| !(document.layer == layer && document.name == name));
            if documents.len() == before {
                return Err(Failure::new(Exit::NotFound, format!("the layer {layer} has no document {name}"))
                    .next("`tenure policy show` lists what holds"));
            }
            let expected = Some(held.applied.number);
            apply(&client, ApplyPolicy { documents, expected, note, dry_run: false }, output).await
        }
        args::Policy::History { limit, listing } => {
            let applied = client.policy_history(limit as usize).await?;
            let none = "No policy was applied: what is built in holds (`tenure policy show`)";
            output.list(&listing, &applied, none, |one| one.number.to_string(), || history(&applied, output))?;
            Ok(Exit::Done)
        }
        args::Policy::Rollback { to, note } => {
            let applied = client.roll_back_policy(&RollbackPolicy { to, note }).await?;
            output.show(&applied, || told(&applied))?;
            Ok(Exit::Done)
        }
        args::Policy::Template { name } => {
            let templates = client.policy_templates().await?;
            let wanted = templates.into_iter().find(|template| template.name == name);
            let text = wanted.map(|template| template.document.text).unwrap_or_default();
            screen::print(&text)?;
            Ok(Exit::Done)
        }
        args::Policy::Schema => {
            let schema = client.policy_schema().await?;
            output.show(&schema, || json(&schema))?;
            Ok(Exit::Done)
        }
    }
}

async fn validate(client: &Client, wanted: &Documents, output: Output) -> Result<Exit, Failure> {
    match (client.policy(None).await, &wanted.path) {
        (Err(client::Error::Unreachable { .. }), Some(path)) => return validate_alone(path, wanted, output),
        (Err(error), _) => return Err(error.into()),
        (Ok(_), _) => {}
    }
    let documents = read(client, wanted).await?;
    let count = documents.len();
    let checked = dry_run(client, documents).await?;
    warn(&checked.warnings);
    output.show(&checked.changes, || format!("The policy is valid ({})", counted(count)))?;
    Ok(Exit::Done)
}

/// What is built in stands for what holds, and nobody knows which names there are.
fn validate_alone(path: &Path, wanted: &Documents, output: Output) -> Result<Exit, Failure> {
    let whole = path.is_dir();
    let documents = match whole {
        true => files::whole(path, wanted.layer.as_deref(), wanted.name.as_deref())?,
        false => vec![files::document(path, wanted.layer.as_deref(), wanted.name.as_deref())?],
    };
    let count = documents.len();
    let warnings = tenure_daemon::policy::validate_alone(documents, whole)
        .map_err(|problem| Failure::from(client::Error::Problem(problem)))?;
    warn(&warnings);
    let beside = if whole { "" } else { ", beside what is built in" };
    let unchecked = "No daemon answers: whether there are the agents and MCP servers that it names was not checked";
    let value = serde_json::json!({ "valid": true, "names_checked": false });
    output.show(&value, || format!("The policy is valid ({}{beside})\n{unchecked}", counted(count)))?;
    Ok(Exit::Done)
}

fn counted(documents: usize) -> String {
    if documents == 1 { "1 document".to_string() } else { format!("{documents} documents") }
}

fn warn(warnings: &[Fault]) {
    for fault in warnings {
        screen::tell(&[(Ink::Wait, "warning: "), (Ink::Plain, &format!("{}\n", fault_line(fault)))]);
    }
}

/// All documents that would hold: a folder's, or those that hold with one in its place.
async fn read(client: &Client, wanted: &Documents) -> Result<Vec<PolicyDocument>, Failure> {
    if let Some(template) = &wanted.template {
        let templates = client.policy_templates().await?;
        let document = templates.into_iter().find(|one| one.name == *template).map(|one| one.document);
        let mut documents = client.policy(None).await?.documents;
        documents.retain(|held| held.layer != "system");
        documents.extend(document);
        return Ok(documents);
    }
    let Some(path) = &wanted.path else { return Ok(Vec::new()) };
    candidate(client, path, wanted.layer.as_deref(), wanted.name.as_deref()).await
}

async fn candidate(
    client: &Client,
    path: &Path,
    layer: Option<&str>,
    name: Option<&str>,
) -> Result<Vec<PolicyDocument>, Failure> {
    if path.is_dir() {
        return files::whole(path, layer, name);
    }
    let own = files::document(path, layer, name)?;
    let mut documents = client.policy(None).await?.documents;
    documents.retain(|held| !(held.layer == own.layer && held.name == own.name));
    documents.push(own);
    Ok(documents)
}

async fn dry_run(client: &Client, documents: Vec<PolicyDocument>) -> Result<PolicyApplied, Failure> {
    let apply = ApplyPolicy { documents, expected: None, note: None, dry_run: true };
    Ok(client.apply_policy(&apply).await?)
}

async fn apply(client: &Client, apply: ApplyPolicy, output: Output) -> Result<Exit, Failure> {
    let applied = client.apply_policy(&apply).await?;
    warn(&applied.warnings);
    output.show(&applied, || told(&applied))?;
    Ok(Exit::Done)
}

fn told(applied: &PolicyApplied) -> String {
    let number = applied.applied.number;
    let head = match (applied.dry_run, applied.changes.is_empty()) {
        (true, _) => format!("Would change policy {number}"),
        (false, true) => format!("Policy {number} holds; no rule changed"),
        (false, false) => format!("Policy {number} holds now"),
    };
    format!("{head}\n{}", changes(&applied.changes))
}

/// A line a rule: `+ project  network.cedar:3 only_github`.
fn changes(changes: &[PolicyChange]) -> String {
    if changes.is_empty() {
        return "No rule differs\n".to_string();
    }
    let mut text = String::new();
    for change in changes {
        let (mark, rule) = match change.change.as_str() {
            "added" => ("+", &change.after),
            "removed" => ("-", &change.before),
            _ => ("~", &change.after),
        };
        let place = rule.as_ref().map(|rule| rule.place.as_str()).unwrap_or_default();
        let id = change.id.as_deref().unwrap_or_default();
        text.push_str(one_line(&format!("{mark} {}  {place} {id}", change.layer)).trim_end());
        text.push('\n');
        let lines = |text: &str, mark: &str| -> String {
            text.lines().map(|line| format!("    {mark} {}\n", one_line(line))).collect()
        };
        if change.change == "changed" {
            text.push_str(&change.before.as_ref().map(|rule| lines(&rule.text, "-")).unwrap_or_default());
        }
        let mark = if change.change == "removed" { "-" } else { "+" };
        text.push_str(&rule.as_ref().map(|rule| lines(&rule.text, mark)).unwrap_or_default());
    }
    text
}

async fn show(client: &Client, number: Option<u32>, out: Option<&Path>, output: Output) -> Result<Exit, Failure> {
    let file = client.policy(number).await?;
    if let Some(folder) = out {
        let written = files::write(folder, &file.documents)?;
        let text = || written.iter().map(|path| format!("Wrote {}\n", path.display())).collect();
        output.show(&written, text)?;
        return Ok(Exit::Done);
    }
    output.show(&file, || documents(&file))?;
    Ok(Exit::Done)
}

fn documents(file: &PolicyFile) -> String {
    let rules = file.rules.map_or_else(|| "this release cannot load it".to_string(), |rules| format!("{rules} rules"));
    let mut text = match file.applied.number {
        0 => format!("What is built in holds ({rules})\n"),
        number => {
            let by = file.applied.by.as_deref().unwrap_or("nobody");
            format!("Policy {number} ({rules}), applied by {}\n", one_line(by))
        }
    };
    let floor = PolicyDocument { layer: "floor".into(), name: "floor.cedar".into(), text: file.floor.clone() };
    for document in file.documents.iter().chain([&floor]) {
        text.push_str(&format!("\n# {}  {}\n", one_line(&document.layer), one_line(&document.name)));
        document.text.lines().for_each(|line| text.push_str(&format!("{}\n", one_line(line))));
    }
    text
}

fn history(applied: &[AppliedPolicy], output: Output) -> Table {
    let columns = [
        Column::key("NUMBER"),
        Column::worth("APPLIED", 1),
        Column::text("BY"),
        Column::text("NOTE"),
        Column::detail("DIGEST"),
    ];
    let rows = applied.iter().map(|one| {
        let again = one.repeats.map(|number| format!("{number} again")).unwrap_or_default();
        let note = [Some(again).filter(|again| !again.is_empty()), one.note.clone()];
        [
            Cell::from(one.number.to_string()),
            Cell::from(one.applied_at.map_or_else(|| "-".to_string(), |at| when(at, output))),
            Cell::from(one.by.clone().unwrap_or_else(|| "-".to_string())),
            Cell::from(one_line(&note.into_iter().flatten().collect::<Vec<_>>().join(": "))),
            Cell::from(one.digest.clone()),
        ]
    });
    Table::new(columns, rows)
}

async fn check_call(client: &Client, check: args::Check, output: Output) -> Result<Exit, Failure> {
    let explanation = checked(client, check).await?;
    output.show(&explanation, || explained(&explanation))?;
    Ok(Exit::Done)
}

async fn checked(client: &Client, check: args::Check) -> Result<PolicyExplanation, Failure> {
    let input = check.input.as_deref().map(|text| typed::json(text, false, "input", INPUT_BYTES_MAX)).transpose()?;
    let documents = tried(client, &check.by).await?;
    let asked = CheckPolicy { agent: check.agent, capability: check.capability, input, documents };
    Ok(client.check_policy(&asked).await?)
}

async fn tried(client: &Client, by: &args::Candidate) -> Result<Option<Vec<PolicyDocument>>, Failure> {
    match &by.with {
        Some(path) => Ok(Some(candidate(client, path, by.layer.as_deref(), None).await?)),
        None => Ok(None),
    }
}

async fn explain_call(client: &Client, explain: args::Explain, output: Output) -> Result<Exit, Failure> {
    let explanation = match (explain.call, explain.agent, explain.capability) {
        (Some(call), _, _) => {
            let call = call.parse().map_err(|_| {
                Failure::new(Exit::Usage, format!("`{}` is no id of a call", one_line(&call)))
                    .next("`tenure execution logs ID -o json` shows the ids of what an execution called")
            })?;
            let documents = tried(client, &explain.by).await?;
            client.explain_policy(&ExplainPolicy { call, documents }).await?
        }
        (None, agent, capability) => {
            let (agent, capability) = (agent.unwrap_or_default(), capability.unwrap_or_default());
            checked(client, args::Check { agent, capability, input: explain.input, by: explain.by }).await?
        }
    };
    output.show(&explanation, || {
        let mut text = explained(&explanation);
        if let Some(record) = &explanation.recorded {
            let told = [Some(&record.state), record.outcome.as_ref(), record.rules.as_ref(), record.sentence.as_ref()];
            let told: Vec<&str> = told.into_iter().flatten().map(String::as_str).collect();
            text.push_str(&format!("its record: {}\n", one_line(&told.join("; "))));
        }
        text.push_str("facts that rules see:\n");
        json(&explanation.facts).lines().for_each(|line| text.push_str(&format!("  {}\n", one_line(line))));
        text
    })?;
    Ok(Exit::Done)
}

fn explained(explanation: &PolicyExplanation) -> String {
    let mut text = format!("{}  by {}\n", explanation.verdict, one_line(&explanation.rules.join(", ")));
    if let Some(reason) = &explanation.reason {
        text.push_str(&format!("  the agent is told: {}\n", one_line(reason)));
    }
    if let Some(people) = explanation.approvers {
        text.push_str(&format!("  {people} different people must allow it\n"));
    }
    for layer in &explanation.layers {
        let verdict = layer.verdict.as_deref().unwrap_or("no opinion");
        text.push_str(&format!("{:<9} {verdict}\n", one_line(&layer.layer)));
        for rule in &layer.rules {
            let id = rule.id.as_deref().map(|id| format!(" {id}")).unwrap_or_default();
            let error = rule.error.as_deref().map(|error| format!(" (error: {error})")).unwrap_or_default();
            text.push_str(&format!("  {}\n", one_line(&format!("{}{id}: {}{error}", rule.place, rule.verdict))));
        }
    }
    text
}

async fn test(
    client: &Client,
    wanted: &Documents,
    more: &[std::path::PathBuf],
    output: Output,
) -> Result<Exit, Failure> {
    let documents = read(client, wanted).await?;
    let mut paths =
        wanted.path.as_deref().filter(|path| path.is_dir()).map(files::cases).transpose()?.unwrap_or_default();
    paths.extend(more.iter().cloned());
    if paths.is_empty() {
        return Err(Failure::new(Exit::NotFound, "there is no file of cases")
            .next("put NAME.test.toml beside the rules, or name one with --cases"));
    }
    let mut outcomes: Vec<PolicyCase> = Vec::new();
    for path in &paths {
        let cases = files::text(path)?;
        let tried = client.test_policy(&TestPolicy { cases, documents: Some(documents.clone()) }).await?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        outcomes.extend(tried.into_iter().map(|case| PolicyCase { name: format!("{name}: {}", case.name), ..case }));
    }
    let failed = outcomes.iter().filter(|case| !case.passed).count();
    output.show(&outcomes, || {
        let mut text = String::new();
        for case in &outcomes {
            let word = if case.passed { "PASS" } else { "FAIL" };
            let why = case.told.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            text.push_str(&format!("{word}  {}\n", one_line(&format!("{}{why}", case.name))));
        }
        text.push_str(&format!("{} passed, {failed} failed\n", outcomes.len() - failed));
        text
    })?;
    Ok(if failed == 0 { Exit::Done } else { Exit::Failure })
}

fn replayed(past: &PolicyReplay) -> String {
    let mut text = format!("{} calls judged, {} would have been judged otherwise\n", past.judged, past.changed);
    if past.unjudgeable > 0 {
        text.push_str(&format!("{} more cannot be judged: what was seen of them is erased\n", past.unjudgeable));
    }
    if past.unbound > 0 {
        let unbound = past.unbound;
        text.push_str(&format!(
            "Blocked whatever rules say, for no secret is bound for them: {unbound} (`tenure secret bind`)\n"
        ));
    }
    if past.cut {
        text.push_str("No more than these are judged at a time: name a later --since\n");
    }
    for difference in &past.differences {
        let line = format!(
            "{:>7}  {}  {}  {} -> {}  by {}",
            difference.count,
            difference.agent,
            difference.capability,
            difference.before,
            difference.after,
            difference.rule
        );
        text.push_str(&format!("{}\n", one_line(&line)));
        let examples: Vec<String> = difference.examples.iter().map(ToString::to_string).collect();
        text.push_str(&format!("         as in {}\n", examples.join(", ")));
    }
    if past.more > 0 {
        text.push_str(&format!("{} more of other kinds\n", past.more));
    }
    text
}
