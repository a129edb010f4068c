//! Claude Code's `settings.json`: `permissions` with its three lists, its mode and its folders. There a first match of deny, ask
//! and allow decides; here the strictest rule holds, which is the same.
use super::sheet::{
    Case, RUN, Say, Sheet, WRITE, command, command_however_run, like, literal, pattern_however_run, words,
};
use serde_json::{Map, Value};
use tenure_core::approval::cedar_text;
use tenure_core::capability::{clip, mcp};
use tenure_core::fault::nearest;

const READ: &[&str] = &["filesystem.read", "filesystem.list", "filesystem.stat"];
const EDIT: &[&str] =
    &["filesystem.write", "filesystem.append", "filesystem.edit", "filesystem.delete", "filesystem.restore"];
const WEB: &[&str] = &["network.http_request", "network.credentialed_request", "network.download"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Deny,
    Ask,
    Allow,
}

/// What is not asked about.
#[derive(Default)]
struct Allowed {
    run: Vec<Case>,
    edit: Vec<Case>,
    web: Vec<Case>,
}

pub(super) fn read(text: &str) -> Result<Sheet, String> {
    let settings: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("it is no settings.json of Claude Code: {error}"))?;
    let (mut sheet, mut lines, mut allowed) = (Sheet::default(), Lines { text, from: 0 }, Allowed::default());
    known_keys(&settings, text)?;
    for (key, _) in settings.iter().filter(|(key, _)| !matches!(key.as_str(), "permissions" | "$schema")) {
        let line = Lines { text, from: 0 }.key(key);
        sheet.leave_out(line, key.clone(), elsewhere(key));
    }
    let none = Map::new();
    let permissions = match settings.get("permissions") {
        None => &none,
        Some(permissions) => permissions.as_object().ok_or("`permissions` is no object")?,
    };
    for (key, value) in permissions {
        let list = match key.as_str() {
            "deny" => List::Deny,
            "ask" => List::Ask,
            "allow" => List::Allow,
            "defaultMode" => continue,
            other => {
                sheet.leave_out(Lines { text, from: 0 }.key(other), format!("permissions.{other}"), elsewhere(other));
                continue;
            }
        };
        let rules = value.as_array().ok_or_else(|| format!("`permissions.{key}` is no list"))?;
        lines.from = Lines { text, from: 0 }.offset_of_key(key);
        for rule in rules {
            let rule = rule.as_str().ok_or_else(|| format!("`permissions.{key}` holds what is no text"))?;
            let line = lines.next(rule);
            if let Err(why) = one(&mut sheet, &mut allowed, list, rule, line) {
                sheet.leave_out(line, format!("{}: {rule}", word(list)), why);
            }
        }
    }
    let mode = permissions.get("defaultMode").and_then(Value::as_str).unwrap_or("default");
    by_mode(&mut sheet, mode, Lines { text, from: 0 }.key("defaultMode"), &allowed);
    Ok(sheet)
}

const PERMISSIONS: &str = "permissions";
const LISTS: [&str; 6] =
    ["allow", "ask", "deny", "defaultMode", "additionalDirectories", "disableBypassPermissionsMode"];

/// A list that stands under a misspelt key would be left out, and with it what it forbids. Of the many other keys of such a file
/// none is near to these.
fn known_keys(settings: &Map<String, Value>, text: &str) -> Result<(), String> {
    let misspelt = |key: &str, known: &[&str]| {
        let near = nearest(key, known.iter().copied()).filter(|_| !known.contains(&key))?;
        let line = match (Lines { text, from: 0 }).key(key) {
            0 => String::new(),
            line => format!("line {line}: "),
        };
        Some(format!("{line}`{}` is no key of Claude Code's settings; did you mean `{near}`?", clip(key)))
    };
    let inner = settings.get(PERMISSIONS).and_then(Value::as_object);
    let inner = inner.into_iter().flat_map(|keys| keys.keys()).find_map(|key| misspelt(key, &LISTS));
    if let Some(why) = settings.keys().find_map(|key| misspelt(key, &[PERMISSIONS])).or(inner) {
        return Err(why);
    }
    if settings.contains_key(PERMISSIONS) {
        return Ok(());
    }
    let lists = settings.keys().find(|key| LISTS.contains(&key.as_str()));
    Err(match lists {
        Some(list) => format!("`{list}` stands outside of `{PERMISSIONS}`, where Claude Code does not read it"),
        None => format!("it has no `{PERMISSIONS}`, so that no rule can be made of it"),
    })
}

fn word(list: List) -> &'static str {
    match list {
        List::Deny => "deny",
        List::Ask => "ask",
        List::Allow => "allow",
    }
}

/// Where a setting has its place here, if it has one.
fn elsewhere(key: &str) -> String {
    let place = match key {
        "sandbox" => "what programs may open and reach stands in the manifest, under spec.security",
        "additionalDirectories" => "folders that an agent sees stand in the manifest, under spec.volumes",
        "env" => "variables are given to each program by its call",
        "hooks" => "programs that run beside calls are not governed by a policy",
        "enabledMcpjsonServers"
        | "disabledMcpjsonServers"
        | "enableAllProjectMcpServers"
        | "allowedMcpServers"
        | "deniedMcpServers" => "MCP servers stand in the manifest, under spec.tools",
        "model" => "the model stands in the manifest, under spec.runtime",
        "disableBypassPermissionsMode" => "no mode here passes the rules by",
        _ => "it says nothing about which calls may be made",
    };
    place.to_string()
}

fn one(sheet: &mut Sheet, allowed: &mut Allowed, list: List, rule: &str, line: u32) -> Result<(), String> {
    let (tool, specifier) = match rule.split_once('(') {
        None => (rule.trim(), None),
        Some((tool, rest)) => (tool.trim(), Some(rest.strip_suffix(')').ok_or("its bracket is not closed")?)),
    };
    let specifier = specifier.filter(|text| !text.is_empty() && *text != "*");
    let tightens = list != List::Allow;
    let whole = || Case { condition: None, example: None };
    if let Some(named) = tool.strip_prefix("mcp__") {
        return of_server(sheet, list, (named, rule), line);
    }
    let (actions, case) = match tool {
        "Bash" => (RUN, specifier.map_or_else(|| Ok(whole()), |text| commands(text, tightens))?),
        "Read" => (READ, specifier.map_or_else(|| Ok(whole()), |text| path(text, tightens, "filesystem.read"))?),
        "Edit" | "MultiEdit" => {
            let case = specifier.map_or_else(|| Ok(whole()), |text| path(text, tightens, "filesystem.write"))?;
            (if tightens && case.condition.is_some() { WRITE } else { EDIT }, case)
        }
        "Write" if specifier.is_none() => (EDIT, whole()),
        "Write" if tightens => (WRITE, path(specifier.unwrap_or_default(), true, "filesystem.write")?),
        "Write" => return Err("Claude Code asks Edit(…) alone of a path: write it so".to_string()),
        "Glob" | "Grep" | "LS" => {
            return Err("searches read files here as filesystem.list and filesystem.read: write Read(…)".to_string());
        }
        "WebFetch" => (WEB, specifier.map_or_else(|| Ok(whole()), domain)?),
        "WebSearch" => return Err("no capability here searches the web".to_string()),
        "Agent" | "Task" | "Skill" | "SlashCommand" | "TodoWrite" | "NotebookEdit" | "NotebookRead"
        | "ExitPlanMode" | "KillShell" | "BashOutput" | "PowerShell" => {
            return Err(format!("{tool} is a tool of Claude Code's own"));
        }
        _ => return Err(format!("{tool} is no tool that is known here")),
    };
    let said = format!("line {line}, {}: {rule}", word(list));
    match list {
        List::Deny => sheet.rule(&said, Say::Forbid, actions, &case, None),
        List::Ask => sheet.rule(&said, Say::Ask, actions, &case, None),
        List::Allow => {
            let list = match tool {
                "Bash" => &mut allowed.run,
                "WebFetch" => &mut allowed.web,
                "Edit" | "MultiEdit" | "Write" => &mut allowed.edit,
                // Reads are not asked about.
                _ => return Ok(()),
            };
            list.push(case);
        }
    }
    Ok(())
}

/// A tool of an MCP server, or all of its: `server__tool`, `server`.
fn of_server(sheet: &mut Sheet, list: List, (named, rule): (&str, &str), line: u32) -> Result<(), String> {
    let (server, tool) = named.split_once("__").unwrap_or((named, "*"));
    let action = format!("{}{server}.{tool}", mcp::PREFIX);
    let example = format!("{}{server}.{}", mcp::PREFIX, if tool == "*" { "a" } else { tool });
    if mcp::Name::parse(&example).is_none() {
        return Err(
            "a server's name has lower-case letters, digits, `-` and `_` here: call it so in the manifest".into()
        );
    }
    let say = match list {
        List::Deny => Say::Forbid,
        List::Ask => Say::Ask,
        List::Allow => {
            return Err("the servers that a manifest names may be used unasked: nothing is to be said".to_string());
        }
    };
    let case = Case { condition: None, example: Some(format!("{{capability = '{example}'}}")) };
    sheet.rule(&format!("line {line}, {}: {rule}", word(list)), say, &[&action], &case, None);
    Ok(())
}

fn commands(text: &str, tightens: bool) -> Result<Case, String> {
    let prefix = text.strip_suffix(":*").or_else(|| text.strip_suffix(" *"));
    let (text, whole) = prefix.map_or((text, true), |prefix| (prefix, false));
    if let Some(words) = words(text) {
        let each: Vec<Vec<String>> = words.into_iter().map(|word| vec![word]).collect();
        return Ok(if tightens { command_however_run(&each, whole) } else { command(&each, whole) });
    }
    let is_pattern = text.contains('*') && words(&text.replace('*', "x")).is_some();
    match (is_pattern, tightens) {
        (true, true) => {
            let end = if whole { "" } else { "*" };
            Ok(pattern_however_run(&format!("{text}{end}")))
        }
        (true, false) => {
            Err("a star inside an allowed command would allow more here: name its first words".to_string())
        }
        (false, _) => Err("it is written for a shell; here a program gets its words one by one".to_string()),
    }
}

fn path(text: &str, tightens: bool, capability: &str) -> Result<Case, String> {
    if text.starts_with('~') {
        return Err("there is no home in the sandbox".to_string());
    }
    if text.contains(['?', '[', '{', '!', '\\']) {
        return Err("of patterns only stars are translated".to_string());
    }
    let anywhere = !text.contains('/');
    let absolute = if let Some(rest) = text.strip_prefix("//") {
        format!("/{rest}")
    } else {
        let rest = text.strip_prefix("./").or_else(|| text.strip_prefix('/')).unwrap_or(text);
        format!("/workspace/{rest}")
    };
    let folder = absolute.strip_suffix("/**").or_else(|| absolute.strip_suffix('/')).filter(|head| !head.contains('*'));
    if let Some(folder) = folder {
        let condition = format!("context has path && {}", like("path", &format!("{folder}/*")));
        return Ok(Case { condition: Some(condition), example: example(capability, &format!("{folder}/a")) });
    }
    if !absolute.contains('*') {
        let (condition, sample) = if anywhere && tightens {
            (format!("{} || {}", like("path", &format!("*/{text}")), like("path", &format!("*/{text}/*"))), absolute)
        } else {
            let exact = format!("context.path == {}", cedar_text(&absolute));
            (format!("{exact} || {}", like("path", &format!("{absolute}/*"))), absolute)
        };
        let condition = Some(format!("context has path && ({condition})"));
        return Ok(Case { condition, example: example(capability, &sample) });
    }
    if !tightens {
        return Err("a star here stands for folders too, which would allow more: name the folder with /**".to_string());
    }
    let pattern = if anywhere { format!("*/{text}") } else { absolute };
    let pattern = pattern.replace("/**/", "/*").replace("**", "*");
    let condition =
        format!("context has path && ({} || {})", like("path", &pattern), like("path", &format!("{pattern}/*")));
    Ok(Case { condition: Some(condition), example: None })
}

fn example(capability: &str, path: &str) -> Option<String> {
    Some(format!("{{capability = '{capability}', input = {{path = {}}}}}", literal(path)?))
}

fn domain(text: &str) -> Result<Case, String> {
    let host = text.strip_prefix("domain:").ok_or("an address goes by its domain: write WebFetch(domain:…)")?;
    let host = host.trim().to_ascii_lowercase();
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
    };
    let (condition, sample) = match host.strip_prefix("*.") {
        Some(below) if is_name(below) => (like("host", &format!("*.{below}")), format!("a.{below}")),
        None if is_name(&host) => (format!("context.host == {}", cedar_text(&host)), host),
        Some(_) | None => return Err("it is no domain".to_string()),
    };
    let example = format!("{{capability = 'network.http_request', input = {{url = 'https://{sample}/'}}}}");
    Ok(Case { condition: Some(format!("context has host && {condition}")), example: Some(example) })
}

/// What no list names.
fn by_mode(sheet: &mut Sheet, mode: &str, line: u32, allowed: &Allowed) {
    let said = |what: &str| format!("{what} that no list names, in the mode {mode}");
    let (run, edit) = match mode {
        "default" | "manual" => (Some(Say::Ask), Some(Say::Ask)),
        "acceptEdits" => (Some(Say::Ask), None),
        "plan" | "dontAsk" => (Some(Say::Forbid), Some(Say::Forbid)),
        "bypassPermissions" => return,
        other => {
            let why = "it is no mode that is known here: what no list names is asked about";
            sheet.leave_out(line, format!("permissions.defaultMode: {other}"), why);
            (Some(Say::Ask), Some(Say::Ask))
        }
    };
    if let Some(say) = run {
        sheet.all_but(&said("programs"), say, RUN, &allowed.run);
        sheet.all_but(&said("web addresses"), say, WEB, &allowed.web);
    }
    if let Some(say) = edit {
        sheet.all_but(&said("edits"), say, EDIT, &allowed.edit);
    }
}

/// Where in the file a text stands.
struct Lines<'t> {
    text: &'t str,
    from: usize,
}

impl Lines<'_> {
    fn line(&self, at: usize) -> u32 {
        u32::try_from(self.text[..at].matches('\n').count() + 1).unwrap_or(u32::MAX)
    }

    fn offset_of_key(&self, key: &str) -> usize {
        let quoted = serde_json::to_string(key).expect("invariant: a text is JSON");
        let mut found = self.text.match_indices(&quoted).map(|(at, _)| at);
        let is_key = |at: &usize| self.text[at + quoted.len()..].trim_start().starts_with(':');
        found.find(is_key).unwrap_or(0)
    }

    fn key(&self, key: &str) -> u32 {
        match self.offset_of_key(key) {
            0 => 0,
            at => self.line(at),
        }
    }

    /// The next text of a list.
    fn next(&mut self, value: &str) -> u32 {
        let quoted = serde_json::to_string(value).expect("invariant: a text is JSON");
        let Some(at) = self.text[self.from..].find(&quoted).map(|at| at + self.from) else { return 0 };
        self.from = at + quoted.len();
        self.line(at)
    }
}
