//! From the tree to the canonical types, section by section. Must never stop at the first problem: each field is read
//! on its own, and the manifest comes into being only where nothing was wrong.

use std::collections::BTreeMap;

use super::canonical::{
    ApiVersion, Execution, Isolation, Kind, LimitsSpec, Manifest, McpServer, Metadata, Mode, Persona, Runtime,
    Schedule, Security, Spec, Task, Tool, Trigger,
};
use super::document::{Node, Value, located};
use super::fields::{Fields, Place, Problems, count, text, text_of, whole};
use super::problem::{Code, Fault, excerpt};
use super::quantity::{Duration, Money};
use super::tools::{TOOLS_MAX, ToolPattern};
use super::validator::{VALIDATORS_MAX, Validator};
use super::words::{agent_name, command, host, language_version, model, name, one_of, version};
use crate::template;

mod places;

/// The most labels, and annotations, of an agent.
pub const LABELS_MAX: usize = 64;
/// The longest instruction and prompt template, in bytes.
pub const INSTRUCTION_BYTES_MAX: usize = 64 * 1024;
const LIST_MAX: usize = 64;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// Reads a tree that already is of the canonical dialect.
pub(super) fn manifest(root: &Node, problems: &mut Problems) -> Option<Manifest> {
    let place = Place { node: root, path: String::new() };
    let mut fields = place.fields(problems)?;
    fields.need("apiVersion", text);
    fields.need("kind", text);
    let metadata = need_section(&mut fields, "metadata", metadata);
    let spec = need_section(&mut fields, "spec", spec);
    fields.close();
    Some(Manifest { api_version: ApiVersion::V1, kind: Kind::Agent, metadata: metadata??, spec: spec? })
}

fn need_section<T>(
    fields: &mut Fields<'_, '_>,
    name: &'static str,
    read: impl FnOnce(Fields<'_, '_>) -> T,
) -> Option<T> {
    if !fields.has(name) {
        fields.missing(name);
    }
    fields.section(name, read)
}

fn metadata(mut fields: Fields<'_, '_>) -> Option<Metadata> {
    let name = fields.need("name", agent_name);
    let version = fields.get("version", version);
    let description = fields.get("description", text_of(4096));
    let labels = pairs(&mut fields, "labels", 256);
    let annotations = pairs(&mut fields, "annotations", 4096);
    fields.close();
    Some(Metadata { name: name?, version, description, labels, annotations })
}

fn pairs(fields: &mut Fields<'_, '_>, name: &'static str, value_max: usize) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    let Some(place) = fields.place(name) else { return pairs };
    let Value::Map(entries) = &place.node.value else {
        place.refuse(super::fields::wrong_type(place.node, "a mapping of names to texts"), fields.problems);
        return pairs;
    };
    if entries.len() > LABELS_MAX {
        let fault = Fault::new(Code::TooMany, format!("{} {name}; at most {LABELS_MAX} are allowed", entries.len()));
        place.refuse(fault, fields.problems);
    }
    for (key, node) in entries.iter().take(LABELS_MAX) {
        let entry = Place { node, path: format!("{}.{}", place.path, key.word) };
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
        let well = key.word.len() <= 63 && key.word.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !well || !key.word.chars().all(inner) {
            let fault = Fault::new(Code::BadFormat, format!("{} cannot be a key here", excerpt(&key.word)));
            let hint = "a key starts with a letter or digit and has at most 63 letters, digits, . _ - and /";
            fields.problems.add(located(fault.hint(hint), &entry.path, key.at));
        }
        let value = entry.read(fields.problems, |node| {
            let value = text(node)?;
            if value.len() > value_max {
                let reason = format!("{} bytes; at most {value_max} are allowed", value.len());
                return Err(Fault::new(Code::TooLong, reason));
            }
            if value.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
                return Err(Fault::new(Code::BadFormat, "a control character is not allowed here"));
            }
            Ok(value)
        });
        pairs.insert(key.word.clone(), value.unwrap_or_default());
    }
    pairs
}

fn spec(mut fields: Fields<'_, '_>) -> Spec {
    let persona = fields.get("persona", one_of(Persona::WORDS));
    let runtime = fields.section("runtime", runtime);
    let task = fields.section("task", task);
    let mut execution = fields.section("execution", execution);
    let tools = fields.places("tools", TOOLS_MAX, tool);
    let mut security = fields.section("security", places::security);
    let volumes = fields.places("volumes", LIST_MAX, places::volume).unwrap_or_default();
    let schedule = fields.section("schedule", schedule).flatten();
    let triggers = fields.list("triggers", 8, one_of(Trigger::WORDS)).unwrap_or_default();
    let limits = limits(&mut fields, &mut execution, &mut security);
    let secrets = fields.places("secrets", LIST_MAX, places::secret).unwrap_or_default();
    let memory = fields.section("memory", places::memory);
    let supervision = fields.section("supervision", places::supervision);
    let dependencies = fields.places("dependencies", LIST_MAX, places::dependency).unwrap_or_default();
    if schedule.is_none() && triggers.contains(&Trigger::Schedule) && !fields.has("schedule") {
        let fault = Fault::new(Code::Contradiction, "the trigger `schedule` is given without a schedule");
        fields.refuse("triggers", fault.hint("add spec.schedule with its cron"));
    }
    let one_shot = execution.as_ref().is_some_and(|execution| {
        execution.mode == Some(Mode::OneShot) && execution.max_iterations.is_some_and(|iterations| iterations > 1)
    });
    if one_shot {
        let fault =
            Fault::new(Code::Contradiction, "a one-shot agent has one iteration, and max_iterations asks for more");
        fields.refuse("execution", fault.hint("use mode iterative, or bound the turns by max_turns"));
    }
    fields.close();
    Spec {
        persona,
        runtime,
        task,
        execution,
        tools,
        security,
        volumes,
        schedule,
        triggers,
        limits,
        secrets,
        memory,
        supervision,
        dependencies,
    }
}

fn runtime(mut fields: Fields<'_, '_>) -> Runtime {
    let language = fields.get("language", |node| {
        let language = text(node)?;
        let well = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '#' | '.');
        if language.is_empty() || language.len() > 32 || !language.chars().all(well) {
            let fault = Fault::new(Code::BadFormat, format!("{} is not a language's name", excerpt(&language)));
            return Err(fault.hint("write it in lower case, as in `python`"));
        }
        Ok(language)
    });
    let version = fields.get("version", language_version);
    let image = fields.get("image", text_of(512));
    let isolation = fields.get("isolation", one_of(Isolation::WORDS));
    let model = fields.get("model", model);
    let command = fields.get("command", command);
    if version.is_some() && !fields.has("language") {
        let fault = Fault::new(Code::MissingField, "a version is given without the language that it is of");
        fields.refuse("version", fault.hint("add `language: python`"));
    }
    fields.close();
    Runtime { language, version, image, isolation, model, command }
}

fn task(mut fields: Fields<'_, '_>) -> Task {
    let instruction = fields.get("instruction", text_of(INSTRUCTION_BYTES_MAX));
    let prompt_template = fields.get("prompt_template", |node| {
        let template = text_of(INSTRUCTION_BYTES_MAX)(node)?;
        let used = template::check(&template)?;
        if instruction.is_some() && !used.instruction {
            let fault = Fault::new(Code::Contradiction, "the template does not use the instruction, which is given");
            return Err(fault.hint("put {{instruction}} where it belongs, or leave the instruction out"));
        }
        Ok(template)
    });
    fields.close();
    Task { instruction, prompt_template }
}

fn execution(mut fields: Fields<'_, '_>) -> Execution {
    let mode = fields.get("mode", one_of(Mode::WORDS));
    let max_iterations = fields.get("max_iterations", count(1..=1000));
    let max_turns = fields.get("max_turns", count(1..=1000));
    let iteration_timeout = fields.get("iteration_timeout", Duration::between(SECOND, DAY));
    let validation = fields.places("validation", VALIDATORS_MAX, Validator::read).unwrap_or_default();
    fields.close();
    Execution { mode, max_iterations, max_turns, iteration_timeout, validation }
}

fn tool(place: &Place<'_>, problems: &mut Problems) -> Option<Tool> {
    if !matches!(place.node.value, Value::Map(_)) {
        return place.read(problems, |node| ToolPattern::parse(&text(node)?)).map(Tool::Capability);
    }
    let mut fields = place.fields(problems)?;
    let name = fields.need("name", name);
    let command = fields.get("command", command);
    let url = fields.get("url", |node| {
        let url = text_of(2048)(node)?;
        if !url.starts_with("https://") && !url.starts_with("http://") || url.contains(char::is_whitespace) {
            return Err(Fault::new(Code::BadFormat, format!("{} is not a URL of http or https", excerpt(&url))));
        }
        Ok(url)
    });
    if fields.has("command") == fields.has("url") {
        let fault = Fault::new(Code::Contradiction, "an MCP server has either a command or a url");
        fields.refuse("name", fault);
    }
    fields.close();
    Some(Tool::Mcp(McpServer { name: name?, command, url }))
}

fn schedule(mut fields: Fields<'_, '_>) -> Option<Schedule> {
    let cron = fields.need("cron", |node| {
        let cron = text(node)?;
        let parts: Vec<&str> = cron.split_whitespace().collect();
        let well = |c: char| c.is_ascii_alphanumeric() || matches!(c, '*' | '/' | ',' | '-' | '?' | '#');
        if parts.len() != 5 || !parts.iter().all(|part| part.chars().all(well)) {
            let fault = Fault::new(Code::BadFormat, format!("{} is not a cron expression", excerpt(&cron)));
            return Err(fault.hint("five fields are wanted: minute, hour, day, month, weekday, as in `0 9 * * 1-5`"));
        }
        Ok(parts.join(" "))
    });
    let timezone = fields.get("timezone", |node| {
        let zone = text(node)?;
        let well = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
        if zone.is_empty() || zone.len() > 64 || !zone.chars().all(well) {
            let fault = Fault::new(Code::BadFormat, format!("{} is not an IANA time zone", excerpt(&zone)));
            return Err(fault.hint("write it as in `Europe/Berlin`"));
        }
        Ok(zone)
    });
    let jitter = fields.get("jitter", Duration::between(SECOND, DAY));
    let overlap = fields.get("overlap", one_of(super::canonical::Overlap::WORDS));
    let missed = fields.get("missed", one_of(super::canonical::Missed::WORDS));
    fields.close();
    Some(Schedule { cron: cron?, timezone, jitter, overlap, missed })
}

/// Reads `limits`. Four limits have their home elsewhere: stated here they move there, and stated in both places with
/// different values they are refused.
fn limits(
    spec: &mut Fields<'_, '_>,
    execution: &mut Option<Execution>,
    security: &mut Option<Security>,
) -> Option<LimitsSpec> {
    let mut moved = Moved::default();
    let limits = spec.section("limits", |mut fields| {
        moved.max_iterations = fields.get("max_iterations", count(1..=1000));
        moved.max_turns = fields.get("max_turns", count(1..=1000));
        moved.iteration_timeout = fields.get("iteration_timeout", Duration::between(SECOND, DAY));
        moved.timeout = fields.get("timeout", Duration::between(SECOND, MONTH));
        let tokens = fields.get("tokens", whole(1..=1_000_000_000_000));
        let limits = LimitsSpec {
            tool_calls: fields.get("tool_calls", count(1..=1_000_000)),
            tokens: tokens.map(i64::unsigned_abs),
            money: fields.get("money", Money::read),
            messages_per_minute: fields.get("messages_per_minute", count(1..=10_000)),
            hop_limit: fields.get("hop_limit", count(1..=64)),
        };
        fields.close();
        limits
    })?;
    if moved.max_iterations.is_some() || moved.max_turns.is_some() || moved.iteration_timeout.is_some() {
        let home = execution.get_or_insert_default();
        settle(spec, "execution.max_iterations", &mut home.max_iterations, moved.max_iterations);
        settle(spec, "execution.max_turns", &mut home.max_turns, moved.max_turns);
        settle(spec, "execution.iteration_timeout", &mut home.iteration_timeout, moved.iteration_timeout);
    }
    if moved.timeout.is_some() {
        let home = security.get_or_insert_default().resources.get_or_insert_default();
        settle(spec, "security.resources.timeout", &mut home.timeout, moved.timeout);
    }
    (limits != LimitsSpec::default()).then_some(limits)
}

#[derive(Default)]
struct Moved {
    max_iterations: Option<u32>,
    max_turns: Option<u32>,
    iteration_timeout: Option<Duration>,
    timeout: Option<Duration>,
}

fn settle<T: PartialEq + std::fmt::Display>(
    spec: &mut Fields<'_, '_>,
    home_path: &str,
    home: &mut Option<T>,
    stated: Option<T>,
) {
    let Some(stated) = stated else { return };
    let word = home_path.rsplit('.').next().unwrap_or(home_path);
    match home {
        None => *home = Some(stated),
        Some(other) if *other == stated => {}
        Some(other) => {
            let reason = format!("spec.limits.{word} says {stated}, and spec.{home_path} says {other}");
            let hint = format!("keep spec.{home_path} alone");
            spec.refuse("limits", Fault::new(Code::Contradiction, reason).hint(hint));
        }
    }
}

fn hosts(fields: &mut Fields<'_, '_>, name: &'static str) -> Vec<String> {
    fields.list(name, 256, host).unwrap_or_default()
}
