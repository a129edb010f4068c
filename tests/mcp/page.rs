//! docs/mcp.md: each of its samples, in its order, as a reader would run it.
use crate::client::Holder;
use std::sync::Arc;
use tests::page::Page;
use tests::scripted::{Say, ScriptedDaemon};

const PAGE: &str = include_str!("../../docs/mcp.md");

/// The fenced blocks, with what they are.
fn samples() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push((kind.to_string(), block.join("\n")));
        }
    }
    found
}

#[test]
fn every_sample_of_the_page_does_what_the_page_says() {
    let scripted = ScriptedDaemon::start(Arc::new(|_, _| Say::Text("fine".to_string())));
    let (daemon, folder) = (&scripted.daemon, scripted.folder());
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    std::os::unix::fs::symlink(examples, folder.join("examples")).expect("a link can be made");
    let page = Page::beside(daemon, folder);
    let samples = samples();
    let kinds: Vec<&str> = samples.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["sh", "sh", "sh", "python", "yaml", "yaml"], "a new sample wants a line here");
    for (kind, text) in &samples {
        match kind.as_str() {
            "sh" => {
                // A key is made by each block; the first of them only shows it.
                page.shell(&format!("set -e\n{text}")).ok();
            }
            "python" => {
                let address = Holder::of(daemon, "outside").address;
                page.shell("tenure agent rotate outside -o json | sed -n 's/.*\"secret\": *\"\\([^\"]*\\)\".*/\\1/p' > agent.key").ok();
                std::fs::write(folder.join("sample.py"), text.replace("127.0.0.1:7800", &address))
                    .expect("it can be written");
                let printed = page.shell("python3 sample.py").ok();
                assert!(printed.stdout.contains("state.persistent.set"), "{}", printed.stdout);
            }
            _ => {
                let deployed = daemon.deploy(text);
                assert!(deployed["name"] == "clerk" || deployed["name"] == "postmaster", "{deployed}");
            }
        }
    }
    let config = std::fs::read_to_string(folder.join(".mcp.json")).expect("the second block writes it");
    assert!(config.contains("tenure") && !config.contains("tnr_"), "{config}");
}
