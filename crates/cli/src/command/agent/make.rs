//! `tenure agent create`, `edit` and `set-model`: a manifest from a few words. What the words mean is core's; the daemon
//! checks the result as it checks any manifest. Must never write over what somebody else changed meanwhile.
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tenure_core::manifest::changes::{Change, Changes, Difference, differences};
use tenure_core::manifest::{INSTRUCTION_BYTES_MAX, Manifest, Problem, TEXT_BYTES_MAX};
use tenure_wire::api::agent::{AgentFile, Deployed};
use tenure_wire::api::model::Model;
use tenure_wire::client::{self, Client};
use tenure_wire::problem::{Code, Fault};

use super::harness;
use crate::args::{Create, Edit, Profile};
use crate::command::contents;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::Output;
use crate::screen::{self, Ink, one_line, plain, yaml};

pub(super) async fn create(create: Create, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let name = create.name.or(create.called).expect("invariant: the parser wants one of both");
    let profile = &create.profile;
    if !profile.autonomous && (profile.schedule.is_some() || !profile.triggers.is_empty()) {
        return Err(Failure::new(Exit::Usage, "an agent that is woken works by itself")
            .next("say --autonomous too, or leave --schedule and --triggers out"));
    }
    if profile.purpose.is_none() && profile.instructions.is_none() && create.harness.is_none() {
        return Err(Failure::new(Exit::Usage, "nothing says what the agent does")
            .next("give --purpose, and --instructions where it needs standing orders of its own"));
    }
    let model = create.profile.model.clone();
    let mut manifest = changes(create.profile)?.create(&name);
    let mut folders = Vec::new();
    if let Some(harness) = create.harness {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let found = harness::find(harness, create.program.as_deref(), &path)?;
        harness::apply(harness, &found, model.as_deref(), &mut manifest);
        folders = found.folders;
    }
    if create.dry_run {
        let manifest = canonical(&manifest.to_string())?;
        output.show(&manifest, || yaml(&manifest))?;
        return Ok(Exit::Done);
    }
    let deployed = settings.client()?.create_agent(manifest.to_string().into_bytes()).await.map_err(taken)?;
    output.show(&deployed, || {
        let Some(agent) = &deployed.agent else { return String::new() };
        let (name, id) = (&agent.name, agent.id);
        let key = deployed.key.as_ref().map(|key| format!("key: {} (shown once; programs connect with it)\n", key.0));
        let key = key.unwrap_or_default();
        let show = |folder: &String| format!("its program lies in {folder}: keep `tenure up --allow-mount {folder}`\n");
        let shown: String = folders.iter().map(show).collect();
        format!(
            "Created agent \"{name}\" (id: {id})\n{key}{shown}next: tenure agent run {name} \"What to do now\" --watch"
        )
    })?;
    Ok(Exit::Done)
}

fn taken(error: client::Error) -> Failure {
    let is_taken = matches!(&error, client::Error::Problem(problem) if problem.code == Code::AgentNameTaken);
    let failure = Failure::from(error);
    if !is_taken {
        return failure;
    }
    failure.next("`tenure agent edit NAME` changes the one that there is; or choose another name")
}

pub(super) async fn edit(edit: Edit, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let file = client.agent(&edit.agent).await?;
    let mut changes = changes(edit.profile)?;
    if edit.unset_schedule {
        changes.schedule = Change::Unset;
    }
    if edit.unset_timezone {
        changes.timezone = Change::Unset;
    }
    if edit.unset_triggers {
        changes.triggers = Change::Unset;
    }
    changes.labels.extend(edit.unset_labels.into_iter().map(|key| (key, None)));
    let wanted = if changes.is_nothing() { Wanted::typed(&file)? } else { Wanted::of(&changes.apply(&file.manifest)) };
    let revised = wanted.revise(&client, &file, edit.dry_run).await?;
    show(&file, &revised, output, |agent| format!("Edited agent \"{agent}\""))
}

pub(super) async fn set_model(
    agent: &str,
    model: String,
    settings: &Settings,
    output: Output,
) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let file = client.agent(agent).await?;
    let changes = Changes { model: Some(model.clone()), ..Changes::default() };
    let revised = Wanted::of(&changes.apply(&file.manifest)).revise(&client, &file, false).await?;
    let done =
        show(&file, &revised, output, |agent| format!("Agent \"{agent}\" thinks with {model} from its next task on"))?;
    let means = |known: &Model| known.name == model || known.aliases.contains(&model);
    let models = client.models().await?.items;
    if let Some(missing) = models.iter().find(|known| means(known) && !known.ready) {
        let why = missing.note.as_deref().unwrap_or("something is missing");
        screen::tell(&[(Ink::Wait, &format!("Not usable yet: {why}\n"))]);
    }
    Ok(done)
}

fn changes(profile: Profile) -> Result<Changes, Failure> {
    let listed = |words: Vec<String>| (!words.is_empty()).then_some(words);
    Ok(Changes {
        purpose: profile.purpose,
        autonomous: profile.autonomous,
        schedule: profile.schedule.into(),
        timezone: profile.timezone.into(),
        instructions: profile.instructions.as_deref().map(instructions).transpose()?,
        triggers: listed(profile.triggers).into(),
        max_iterations: profile.max_iterations,
        model: profile.model,
        labels: profile.labels.into_iter().map(|(key, value)| (key, Some(value))).collect(),
        tools: listed(profile.tools),
    })
}

/// As typed, or of a file.
fn instructions(typed: &str) -> Result<String, Failure> {
    let path = match typed.strip_prefix('@') {
        Some(file) => Path::new(file),
        None if typed == "-" => Path::new("-"),
        None => return Ok(typed.to_string()),
    };
    let text = String::from_utf8(contents(path, INSTRUCTION_BYTES_MAX)?);
    let text = text.map_err(|_| Failure::new(Exit::Refused, format!("{} is not UTF-8", path.display())))?;
    Ok(text.trim_end().to_string())
}

/// The canonical form, by this program's own reader.
fn canonical(text: &str) -> Result<Value, Failure> {
    let parsed = Manifest::parse(text).map_err(invalid)?;
    Ok(serde_json::to_value(&parsed).expect("invariant: a manifest has text keys and finite numbers only"))
}

fn invalid(problems: Vec<Problem>) -> Failure {
    let faults: Vec<Fault> = problems.into_iter().map(Into::into).collect();
    let problem = Code::ManifestInvalid.problem("with these words it is no manifest");
    Failure::from(client::Error::Problem(Box::new(problem.errors(faults))))
}

/// The next revision as it is asked for.
struct Wanted {
    text: String,
    /// Where a person wrote it.
    draft: Option<PathBuf>,
}

struct Revised {
    deployed: Deployed,
    differences: Vec<Difference>,
}

impl Wanted {
    fn of(manifest: &Value) -> Wanted {
        Wanted { text: manifest.to_string(), draft: None }
    }

    /// What a person makes of the manifest in their editor.
    fn typed(file: &AgentFile) -> Result<Wanted, Failure> {
        if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
            return Err(Failure::new(Exit::Usage, "nothing is to be changed, and there is no terminal for an editor")
                .next("say what: `tenure agent edit NAME --max-iterations 20`, or deploy a file"));
        }
        let draft = draft_of(file)?;
        let stated = |name| std::env::var(name).ok().filter(|word: &String| !word.trim().is_empty());
        let editor = stated("VISUAL").or_else(|| stated("EDITOR")).unwrap_or_else(|| "vi".to_string());
        // As git does: the variable may hold words of its own.
        let status = Command::new("sh").args(["-c", &format!("{editor} \"$1\""), "sh"]).arg(&draft).status();
        if !status.is_ok_and(|status| status.success()) {
            let _ = std::fs::remove_file(&draft);
            let what = format!("the editor `{}` failed; nothing was changed", one_line(&editor));
            return Err(Failure::new(Exit::Failure, what).next("set EDITOR to one that this host has"));
        }
        let text = String::from_utf8(contents(&draft, TEXT_BYTES_MAX)?);
        let text = text.map_err(|_| Failure::new(Exit::Refused, format!("{} is not UTF-8", draft.display())))?;
        Ok(Wanted { text, draft: Some(draft) })
    }

    /// A person's words are kept until they are a revision.
    async fn revise(self, client: &Client, file: &AgentFile, dry_run: bool) -> Result<Revised, Failure> {
        let revised = self.send(client, file, dry_run).await;
        match (revised, self.draft) {
            (Ok(revised), Some(draft)) => {
                let _ = std::fs::remove_file(draft);
                Ok(revised)
            }
            (Ok(revised), None) => Ok(revised),
            (Err(failure), Some(draft)) => {
                let draft = draft.display();
                Err(failure.next(format!("what you wrote is in {draft}: mend it and `tenure agent deploy` it")))
            }
            (Err(failure), None) => Err(failure),
        }
    }

    async fn send(&self, client: &Client, file: &AgentFile, dry_run: bool) -> Result<Revised, Failure> {
        let after = canonical(&self.text)?;
        let (id, known) = (file.agent.id.to_string(), file.agent.revision);
        let deployed = client.revise_agent(&id, known, self.text.clone().into_bytes(), dry_run).await?;
        Ok(Revised { deployed, differences: differences(&file.manifest, &after) })
    }
}

/// The manifest in a file that only this user can read.
fn draft_of(file: &AgentFile) -> Result<PathBuf, Failure> {
    let name = format!("tenure-{}-{}-{}.yaml", file.agent.id, file.agent.revision, std::process::id());
    let path = std::env::temp_dir().join(name);
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let written = opened.and_then(|mut draft| draft.write_all(yaml(&file.manifest).as_bytes()));
    written.map_err(|error| Failure::new(Exit::Failure, format!("{} cannot be written: {error}", path.display())))?;
    Ok(path)
}

fn show(file: &AgentFile, revised: &Revised, output: Output, done: impl Fn(&str) -> String) -> Result<Exit, Failure> {
    let Revised { deployed, differences } = revised;
    output.show(deployed, || {
        let (name, known) = (&file.agent.name, file.agent.revision);
        if !deployed.changed {
            return format!("Agent \"{name}\" is unchanged (revision {known})");
        }
        let head = if deployed.dry_run { format!("Would edit agent \"{name}\"") } else { done(name) };
        format!("{head} (revision {})\n{}", known + 1, told(differences))
    })?;
    Ok(Exit::Done)
}

/// Field by field: the path, and under it what it was and what it is.
pub(super) fn told(differences: &[Difference]) -> String {
    let mut text = String::new();
    for Difference { path, before, after } in differences {
        text.push_str(&format!("  {}\n", one_line(path)));
        for (sign, value) in [('-', before), ('+', after)] {
            let Some(value) = value else { continue };
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
            plain(&value).lines().for_each(|line| text.push_str(&format!("    {sign} {line}\n")));
        }
    }
    text
}
