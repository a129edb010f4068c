//! Codex' `config.toml`, or a file of its `prefix_rule`s. What a program opens and reaches is the manifest's to say, and so is the
//! sandbox: here its modes become rules on the calls that write and that use the network.
use super::sheet::{
    Case, RUN, Say, Sheet, WRITE, command, command_however_run, like, literal, run_example, too_many_ways, words,
};
use super::starlark::{Call, Value as Said, calls};
use tenure_core::capability::clip;
use tenure_core::fault::nearest;

const NETWORK: &[&str] = &["network.*"];

pub(super) fn read(text: &str) -> Result<Sheet, String> {
    match toml::from_str::<toml::Table>(text) {
        Ok(config) => {
            known_keys(&config, text)?;
            Ok(config_of(&config, text))
        }
        Err(_) if text.contains("prefix_rule") => rules_of(text),
        Err(error) => Err(format!("it is neither a config.toml nor a file of prefix_rule: {}", error.message())),
    }
}

const KEYS: [&str; 3] = ["approval_policy", "sandbox_mode", "sandbox_workspace_write"];

/// What stands under a misspelt key would be left out, and the mode that holds unsaid taken for it.
fn known_keys(config: &toml::Table, text: &str) -> Result<(), String> {
    let mut unknown = config.keys().filter(|key| !KEYS.contains(&key.as_str()));
    if let Some((key, near)) = unknown.find_map(|key| Some((key, nearest(key, KEYS)?))) {
        let line = line_of(text, None, key);
        return Err(format!("line {line}: `{}` is no key of Codex' config.toml; did you mean `{near}`?", clip(key)));
    }
    if KEYS.iter().any(|key| config.contains_key(*key)) {
        return Ok(());
    }
    Err(format!("it has none of {}, so that no rule can be made of it", KEYS.join(", ")))
}

fn config_of(config: &toml::Table, text: &str) -> Sheet {
    let mut sheet = Sheet::default();
    let (mut asks, mut mode) = ("on-request", "read-only");
    for (key, value) in config {
        let line = line_of(text, None, key);
        match (key.as_str(), value) {
            ("approval_policy", toml::Value::String(word))
                if matches!(word.as_str(), "untrusted" | "on-request" | "on-failure" | "never") =>
            {
                asks = word;
            }
            ("sandbox_mode", toml::Value::String(word))
                if matches!(word.as_str(), "read-only" | "workspace-write" | "danger-full-access") =>
            {
                mode = word;
            }
            ("sandbox_workspace_write", toml::Value::Table(_)) => {}
            (key, toml::Value::Table(table)) => {
                for inner in table.keys() {
                    let line = line_of(text, Some(key), inner);
                    sheet.leave_out(line, format!("{key}.{inner}"), elsewhere(key));
                }
            }
            (key, value) => sheet.leave_out(line, format!("{key} = {value}"), elsewhere(key)),
        }
    }
    asked(&mut sheet, asks, line_of(text, None, "approval_policy"));
    let stated = config.contains_key("sandbox_mode");
    let line = if stated { line_of(text, None, "sandbox_mode") } else { 0 };
    let say = if asks == "never" { Say::Forbid } else { Say::Ask };
    let workspace = config.get("sandbox_workspace_write").and_then(toml::Value::as_table);
    let said =
        format!("line {line}: sandbox_mode = \"{mode}\"{}", if stated { "" } else { ", as Codex has it unsaid" });
    match mode {
        "danger-full-access" => {
            sheet.leave_out(
                line,
                format!("sandbox_mode = \"{mode}\""),
                "an agent here is always confined, by its manifest",
            );
        }
        "workspace-write" => {
            let none = toml::Table::new();
            within(&mut sheet, &said, say, workspace.unwrap_or(&none), text);
        }
        _ => {
            sheet.all_but(&said, say, WRITE, &[]);
            sheet.all_but(&said, say, NETWORK, &[]);
            if let Some(table) = workspace {
                for key in table.keys() {
                    let line = line_of(text, Some("sandbox_workspace_write"), key);
                    let what = format!("sandbox_workspace_write.{key}");
                    sheet.leave_out(line, what, "it holds where sandbox_mode is workspace-write");
                }
            }
        }
    }
    sheet
}

fn asked(sheet: &mut Sheet, asks: &str, line: u32) {
    let what = format!("approval_policy = \"{asks}\"");
    match asks {
        "untrusted" => {
            let trusted: Vec<Case> =
                ["cat", "cd", "echo", "head", "ls", "nl", "pwd", "rg", "tail", "true", "wc", "which"]
                    .into_iter()
                    .map(|word| command(&[vec![word.to_string()]], false))
                    .collect();
            let said = format!("line {line}: {what}: programs but those that only show");
            sheet.all_but(&said, Say::Ask, RUN, &trusted);
        }
        "on-request" => sheet.leave_out(line, what, "there the model says when to ask; here rules do"),
        "on-failure" => sheet.leave_out(line, what, "a call that failed is not repeated outside the sandbox here"),
        _ => {}
    }
}

/// Writes below the work folder and the roots, and the network where it is on.
fn within(sheet: &mut Sheet, said: &str, say: Say, table: &toml::Table, text: &str) {
    let line = |key: &str| line_of(text, Some("sandbox_workspace_write"), key);
    let below = |folder: &str| {
        let condition = format!("context has path && {}", like("path", &format!("{folder}/*")));
        let example = literal(&format!("{folder}/a"))
            .map(|path| format!("{{capability = 'filesystem.write', input = {{path = {path}}}}}"));
        Case { condition: Some(condition), example }
    };
    let mut roots = vec![below("/workspace")];
    let flag = |key: &str| table.get(key).and_then(toml::Value::as_bool);
    if flag("exclude_slash_tmp") != Some(true) {
        roots.push(below("/tmp"));
    }
    for root in table.get("writable_roots").and_then(toml::Value::as_array).into_iter().flatten() {
        match root.as_str().map(|root| root.trim_end_matches('/')) {
            Some(root) if root.starts_with('/') && !root.contains(['*', '\'']) => {
                roots.push(below(root));
                let what = format!("writable_roots: {root}");
                sheet.leave_out(
                    line("writable_roots"),
                    what,
                    "calls may write there; the folder itself is the manifest's to mount",
                );
            }
            Some(_) | None => {
                let what = format!("writable_roots: {root}");
                sheet.leave_out(line("writable_roots"), what, "it is no absolute path inside the sandbox");
            }
        }
    }
    sheet.all_but(said, say, WRITE, &roots);
    if flag("network_access") != Some(true) {
        let said = match flag("network_access") {
            Some(_) => format!("line {}: network_access = false", line("network_access")),
            None => "network_access, which is off where nothing is said".to_string(),
        };
        sheet.all_but(&said, say, NETWORK, &[]);
    }
    let known = ["writable_roots", "network_access", "exclude_slash_tmp"];
    for key in table.keys().filter(|key| !known.contains(&key.as_str())) {
        sheet.leave_out(line(key), format!("sandbox_workspace_write.{key}"), "a jail has no such variable");
    }
}

fn elsewhere(key: &str) -> &'static str {
    match key {
        "mcp_servers" => "MCP servers stand in the manifest, under spec.tools",
        "profiles" | "profile" => "of a file one policy is made: import each profile as a file of its own",
        "projects" => "whom a folder belongs to is not asked here",
        "model" | "model_provider" | "model_providers" | "model_reasoning_effort" => {
            "the model stands in the manifest, under spec.runtime"
        }
        "tools" | "web_search" => "no capability here searches the web",
        "shell_environment_policy" => "variables are given to each program by its call",
        "approval_policy" => "it is none of untrusted, on-request, on-failure and never",
        "sandbox_mode" => "it is none of read-only, workspace-write and danger-full-access",
        _ => "it says nothing about which calls may be made",
    }
}

/// The line on which a key stands, by its own name or as a table's.
fn line_of(text: &str, table: Option<&str>, key: &str) -> u32 {
    let mut within: Option<String> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let name = name.trim_start_matches('[').trim().to_string();
            let named = match table {
                None => name == key || name.starts_with(&format!("{key}.")),
                Some(table) => {
                    let rest = name.strip_prefix(&format!("{table}."));
                    rest.is_some_and(|rest| {
                        rest.trim_matches(['"', '\'']) == key || rest.starts_with(&format!("{key}."))
                    })
                }
            };
            if named {
                return number;
            }
            within = Some(name);
        } else if within.as_deref() == table
            && line.split('=').next().is_some_and(|name| name.trim().trim_matches(['"', '\'']) == key)
        {
            return number;
        }
    }
    0
}

fn rules_of(text: &str) -> Result<Sheet, String> {
    let mut sheet = Sheet::default();
    for call in calls(text)? {
        if call.name != "prefix_rule" {
            sheet.leave_out(call.line, format!("{}(…)", call.name), "only prefix_rule is translated");
            continue;
        }
        if let Err(why) = prefix_rule(&mut sheet, &call) {
            sheet.leave_out(call.line, "prefix_rule(…)", why);
        }
    }
    Ok(sheet)
}

fn prefix_rule(sheet: &mut Sheet, call: &Call) -> Result<(), String> {
    let pattern = match call.argument("pattern") {
        Some(Said::List(parts)) if !parts.is_empty() && parts.len() <= 16 => parts,
        _ => return Err("its pattern is no list of 1 to 16 words".to_string()),
    };
    let alternatives = |part: &Said| match part {
        Said::Text(word) => Ok(vec![word.clone()]),
        Said::List(any) => any.iter().map(|one| one.text().map(str::to_string).ok_or(())).collect(),
        Said::Name(_) => Err(()),
    };
    let each: Result<Vec<Vec<String>>, ()> = pattern.iter().map(alternatives).collect();
    let each = each.map_err(|()| "its pattern holds what is no word".to_string())?;
    if each.iter().any(Vec::is_empty) {
        return Err("a list of no words matches nothing".to_string());
    }
    let shown: Vec<String> = each.iter().map(|any| any.join("|")).collect();
    let said = format!("line {}: {}", call.line, shown.join(" "));
    let reason = call.argument("justification").and_then(Said::text);
    let decision = call.argument("decision").map_or(Some("allow"), Said::text);
    let say = match decision {
        Some("forbidden") => Say::Forbid,
        Some("prompt") => Say::Ask,
        Some("allow") => {
            let why = "nothing asks about it in this layer, and what the layer `system` forbids no other allows";
            sheet.leave_out(call.line, format!("allow {}", shown.join(" ")), why);
            return Ok(());
        }
        Some(_) | None => return Err("its decision is none of allow, prompt and forbidden".to_string()),
    };
    let mut case = command_however_run(&each, false);
    if too_many_ways(&each) {
        let why = "said in too many ways to be looked for behind a launcher such as env or sh -c: there it is not held";
        sheet.leave_out(call.line, shown.join(" "), why);
    }
    case.example = example(call.argument("match")).or(case.example);
    match example(call.argument("not_match")) {
        Some(left_alone) => sheet.rule_but(&said, say, RUN, &case, &left_alone, reason),
        None => sheet.rule(&said, say, RUN, &case, reason),
    }
    Ok(())
}

/// The first of its examples: a list of words, or a line of plain ones.
fn example(given: Option<&Said>) -> Option<String> {
    let Some(Said::List(examples)) = given else { return None };
    let first = match examples.first()? {
        Said::Text(line) => words(line)?,
        Said::List(words) => {
            words.iter().map(|word| word.text().map(str::to_string)).collect::<Option<Vec<String>>>()?
        }
        Said::Name(_) => return None,
    };
    run_example(&first.iter().collect::<Vec<_>>())
}
