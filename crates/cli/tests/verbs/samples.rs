//! Every sample of README and docs is run: commands against a daemon of their page's own, manifests and settings through the
//! program's own readers. What cannot run stands below with the reason; an exception that no page needs is a failure too.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

use super::house::{AGENT, Answer, House, cassette};

/// How a command begins, and why it is not run here.
const NOT_RUN: [(&str, &str); 17] = [
    ("tenure agent create coder --harness", "its program is of others; tests/agents has it"),
    ("cargo ", "it builds; `cargo xtask demo` and `cargo xtask test` are what is run by hand and by CI"),
    ("tenure config add", "its daemon is on another host; tests/verbs/config.rs has it"),
    ("tenure config use prod", "of the same sample"),
    ("tenure --context prod", "of the same sample"),
    ("tenure model remove qwen", "the weights are not there"),
    ("docker pull", "it needs a registry"),
    ("tenure init  ", "it asks three questions at a terminal; tests/verbs/init.rs has it"),
    ("tenure up  ", "it stays in the foreground; tests/verbs/up.rs has it"),
    ("tenure chat NAME  ", "it talks with whoever types; tests/verbs/chat.rs has it"),
    ("tenure watch --agent", "it stays until it is interrupted; tests/verbs/session.rs has it"),
    ("tenure up --allow-mount", "the folder is the operator's own; tests/verbs/sandbox.rs has it"),
    ("tenure up --home-grace", "it stays in the foreground; tests/verbs/up.rs has its flags"),
    ("tenure model pull local-default", "it fetches 1.1 GB; the daemon's tests/model/pull.rs has it"),
    ("tenure agent deploy agent.yaml", "of a page that needs a container engine; tests/main_job/containers.rs has it"),
    ("tenure sandbox run --profile AGENT -- python3 --version", "of the same page"),
    (
        "tenure sandbox run --profile AGENT -- sh -c 'id",
        "it asks a host of the internet; crates/worker/tests/egress has it",
    ),
];

/// Where pages that speak HTTP have the daemon.
const ADDRESS: &str = "http://127.0.0.1:7800";

/// Pages that no test of one host can run.
const PAGES: [(&str, &str); 5] = [
    ("code-agents.md", "its programs run in a sandbox; tests/code_agents and the worker's tests have it"),
    ("coding-agents.md", "its programs are of others; tests/agents has it"),
    ("model-proxy.md", "its program runs in a sandbox with a library of its own; tests/programs has it"),
    ("packages.md", "a publisher's key and a folder of its own; tests/verbs/package.rs has it"),
    ("remote.md", "two hosts and their certificates; tests/verbs has its parts"),
];

/// How a command begins, and how it must end where that is not well.
const ENDS: [(&str, i32, &str); 17] = [
    ("tenure agent start", 5, "each line has an agent of its own, which is no program; tests/code_agents has it"),
    (
        "tenure agent recover",
        5,
        "each line has an agent of its own, which nobody put away; tests/verbs/quarantine.rs has it",
    ),
    ("tenure approval show", 4, "nothing waits there: no approval has the id of the sample"),
    ("tenure approval approve", 4, "of the same page"),
    ("tenure approval reject", 4, "of the same page"),
    ("tenure approval revoke", 4, "of the same page"),
    ("tenure state get AGENT", 4, "each line has an agent of its own, which keeps nothing"),
    ("tenure state delete AGENT", 4, "of the same page"),
    ("tenure state history AGENT", 4, "of the same page"),
    ("tenure audit erase HASH", 4, "no record of the page's names a payload so"),
    ("tenure secret unbind", 5, "each line has an agent of its own, to which nothing is bound"),
    ("tenure comms dead resend", 4, "no message of the sample has that id"),
    ("tenure comms dead drop", 4, "of the same sample"),
    ("tenure execution cancel", 5, "the execution of the sample has ended"),
    ("tenure execution logs ID --iteration 2", 4, "the execution of the sample had one iteration"),
    ("tenure model test", 5, "answers come from a cassette, and no model is asked"),
    ("tenure execute fizz", 8, "the recorded model writes another file than the demo's check looks for"),
];

/// Which of the exceptions were needed.
#[derive(Default)]
struct Used(BTreeSet<&'static str>);

struct Block {
    language: String,
    line: usize,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut open): (Vec<Block>, bool) = (Vec::new(), false);
    for (index, line) in page.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(language) if !open => {
                open = true;
                blocks.push(Block { language: language.trim().to_string(), line: index + 1, text: String::new() });
            }
            Some(_) => open = false,
            None if open => blocks.last_mut().unwrap().text.push_str(&format!("{line}\n")),
            None => {}
        }
    }
    blocks
}

/// A page's own daemon, and what its placeholders stand for.
struct World {
    house: House,
    /// Where its daemon listens for keys: only for pages that speak HTTP themselves.
    listen: &'static str,
    deployed: usize,
    ended: Option<String>,
}

impl World {
    fn new(speaks_http: bool) -> World {
        let house = House::new();
        house.write("cassette.jsonl", &cassette(20));
        house.write("manifest.yaml", &AGENT.replace("name: coder", "name: of-a-file"));
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        std::os::unix::fs::symlink(examples.canonicalize().unwrap(), house.path("examples")).unwrap();
        let listen = if speaks_http { "127.0.0.1:0" } else { "none" };
        World { house, listen, deployed: 0, ended: None }
    }

    fn shell(&self, line: &str) -> Answer {
        let program = Path::new(env!("CARGO_BIN_EXE_tenure")).parent().unwrap().display().to_string();
        let mut command = Command::new("bash");
        command.args(["-c", line]).current_dir(self.house.path("")).env_clear().env("HOME", self.house.path(""));
        command.env("PATH", format!("{program}:/usr/bin:/bin")).env("TENURE_DATA_DIR", self.house.path("data"));
        command.env("TENURE_LISTEN", self.listen);
        command.env("TENURE_CASSETTE", format!("replay:{}", self.house.path("cassette.jsonl").display()));
        self.house.run(command)
    }

    fn up(&self) {
        if self.shell("tenure status").code != 0 {
            self.shell("tenure up -d").ok();
        }
    }

    /// The text with the address that this daemon really has.
    fn addressed(&self, text: &str) -> String {
        if !text.contains(ADDRESS) {
            return text.to_string();
        }
        self.up();
        let listening = self.shell("tenure status -o json").ok().json()["listening"].clone();
        let mut address = listening.as_array().unwrap().iter().filter_map(|one| one.as_str());
        let address = address.find(|one| one.starts_with("http")).unwrap().to_string();
        text.replace(ADDRESS, &address)
    }

    fn agent(&mut self) -> String {
        self.deployed += 1;
        let name = format!("sample-{}", self.deployed);
        let file = self.house.write("sample.yaml", &AGENT.replace("name: coder", &format!("name: {name}")));
        self.shell(&format!("tenure agent deploy {file}")).ok();
        name
    }

    fn ended(&mut self) -> String {
        if self.ended.is_none() {
            let name = self.agent();
            let started = self.shell(&format!("tenure execute {name} x -o json")).ok().json();
            let id = started["id"].as_str().unwrap().to_string();
            self.shell(&format!("tenure execution watch {id}")).ok();
            self.ended = Some(id);
        }
        self.ended.clone().unwrap()
    }

    /// An agent that has run, with the files that samples name.
    fn worked(&mut self) -> String {
        let id = self.ended();
        let agent = self.shell(&format!("tenure execution get {id} -o json")).ok().json();
        let agent = agent["agent_name"].as_str().unwrap().to_string();
        for path in ["report.md", "out/part.md"] {
            self.shell(&format!("tenure agent files put {agent} manifest.yaml {path}")).ok();
        }
        agent
    }

    /// The line with what its placeholders stand for.
    fn filled(&mut self, line: &str) -> String {
        let has = |word: &str| Regex::new(&format!(r"\b{word}\b")).unwrap();
        let mut filled = line.replace('…', "");
        if has("NAME|AGENT").is_match(&filled) {
            self.up();
            let agent = if filled.contains("agent files") { self.worked() } else { self.agent() };
            filled = has("NAME|AGENT").replace_all(&filled, agent).into_owned();
        }
        if has("ID").is_match(&filled) {
            self.up();
            let id = self.ended();
            filled = has("ID").replace_all(&filled, id).into_owned();
        }
        if has("LAST").is_match(&filled) {
            let id = self.shell("tenure execution list --quiet --limit 1").ok().raw.trim().to_string();
            filled = has("LAST").replace_all(&filled, id).into_owned();
        }
        for (word, meaning) in
            [("FILE", "manifest.yaml"), ("DIR", "man"), ("DATA", "data"), ("BACKUP", "backup"), ("COMMAND", "true")]
        {
            filled = has(word).replace_all(&filled, meaning).into_owned();
        }
        let asks = ["tenure agent delete", "tenure agent revoke", "tenure key revoke", "tenure comms dead drop"];
        if asks.iter().any(|begin| filled.starts_with(begin)) {
            filled.push_str(" --yes");
        }
        filled
    }

    fn run(&mut self, page: &str, line: &str, used: &mut Used) {
        let spaced = format!("{line}  ");
        if let Some((begin, _)) = NOT_RUN.iter().find(|(begin, _)| spaced.starts_with(begin)) {
            used.0.insert(begin);
            return;
        }
        let end = ENDS.iter().find(|(begin, ..)| line.starts_with(begin));
        used.0.extend(end.map(|(begin, ..)| *begin));
        let needs_daemon =
            !["tenure up", "tenure down", "tenure audit rotate-key", "tenure audit seal", "tenure --version", "cp "]
                .iter()
                .any(|it| line.starts_with(it));
        if needs_daemon {
            self.up();
        }
        let filled = self.filled(line);
        let filled = self.addressed(&filled);
        let answer = self.shell(&filled);
        let wanted = end.map_or(0, |(_, code, _)| *code);
        assert_eq!(answer.code, wanted, "{page}: `{filled}`\n{}{}", answer.stdout, answer.stderr);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shell("tenure down");
    }
}

/// A line of a shell block without its remark.
fn command(line: &str) -> Option<&str> {
    let line = line.split("  #").next().unwrap_or_default().trim().trim_start_matches("$ ");
    (!line.is_empty() && !line.starts_with('#')).then_some(line)
}

/// A fragment of a manifest as a whole one.
fn manifest(text: &str) -> String {
    let head =
        "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata:\n  name: sample\nspec:\n  task:\n    instruction: x\n";
    let margin = text.lines().next().map_or(0, |line| line.len() - line.trim_start().len());
    let lines: Vec<&str> = text.lines().map(|line| line.get(margin..).unwrap_or_default()).collect();
    let inner: Vec<String> = match lines.split_first() {
        Some((first, _)) if first.starts_with("apiVersion") => return text.to_string(),
        Some((first, rest)) if first.trim_end() == "spec:" => rest.iter().map(|line| line.to_string()).collect(),
        _ => lines.iter().map(|line| format!("  {line}")).collect(),
    };
    head.to_string() + &inner.join("\n") + "\n"
}

fn run(page: &Path, used: &mut Used) -> usize {
    let text = std::fs::read_to_string(page).unwrap();
    let (name, blocks) = (page.file_name().unwrap().to_string_lossy().into_owned(), blocks(&text));
    if let Some((begin, _)) = PAGES.iter().find(|(begin, _)| *begin == name) {
        used.0.insert(begin);
        return 0;
    }
    if blocks.is_empty() {
        return 0;
    }
    let mut world = World::new(blocks.iter().any(|block| block.text.contains(ADDRESS)));
    for block in &blocks {
        let place = format!("{name}:{}", block.line);
        match block.language.as_str() {
            "sh" => block.text.lines().filter_map(command).for_each(|line| world.run(&place, line, used)),
            "yaml" => {
                let file = world.house.write("block.yaml", &manifest(&block.text));
                let answer = world.shell(&format!("tenure manifest validate {file}"));
                assert_eq!(answer.code, 0, "{place}: {}", answer.stderr);
            }
            "cedar" => {
                let file = world.house.write("block.cedar", &block.text);
                world.up();
                let answer = world.shell(&format!("tenure policy validate {file}"));
                assert_eq!(answer.code, 0, "{place}: {}", answer.stderr);
            }
            "toml" => {
                let file = world.house.write("block.toml", &block.text);
                world.up();
                let answer = world.shell(&format!("tenure --config {file} status"));
                assert_eq!(answer.code, 0, "{place}: {}", answer.stderr);
            }
            "python" => {
                let program = world.addressed(&block.text);
                world.house.write("block.py", &program);
                let answer = world.shell("python3 block.py");
                assert_eq!(answer.code, 0, "{place}: {}{}", answer.stdout, answer.stderr);
            }
            // A picture, not a sample.
            "" => {}
            other => panic!("{place}: nothing here runs a sample in `{other}`"),
        }
    }
    blocks.len()
}

#[test]
fn every_sample_of_readme_and_docs_does_what_it_says_or_says_why_it_is_not_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = |folder: &str| std::fs::read_dir(root.join(folder)).unwrap().flatten().map(|entry| entry.path());
    let mut pages: Vec<PathBuf> = found("docs").chain(found("docs/security")).collect();
    pages.retain(|page| page.extension().is_some_and(|end| end == "md"));
    pages.push(root.join("README.md"));
    pages.sort();
    let mut used = Used::default();
    let samples: usize = pages.iter().map(|page| run(page, &mut used)).sum();
    assert!(samples > 15, "only {samples} samples were found");
    let exceptions = NOT_RUN.iter().chain(&PAGES).map(|(begin, _)| *begin);
    for begin in exceptions.chain(ENDS.iter().map(|(begin, ..)| *begin)) {
        assert!(used.0.contains(begin), "no page has `{begin}` any more: its exception goes");
    }
}
