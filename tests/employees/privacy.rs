//! The privacy-conscious user of seed 001: everything runs here. On a scripted Ollama, beside clouds whose keys are there and which
//! nobody asks; and on the local model itself, where its weights are.
use crate::{WITHIN, ended};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tests::daemon::Daemon;
use tests::page::Page;
use tests::scripted::{Say, Script, Scripted, ScriptedDaemon};
use tests::weights::LocalDaemon;

const LINES: [&str; 4] = [
    "tenure agent create jarvis --purpose \"General assistant\"",
    "tenure agent set-model jarvis local-default",
    r#"tenure agent create researcher \
  --purpose "Research and summarize documents" \
  --autonomous --schedule "0 8 * * *""#,
    "tenure agent set-model researcher local-default",
];

/// What each model cost, by its name.
fn costs(daemon: &Daemon) -> Vec<(String, Value)> {
    let costs = daemon.json(&["cost", "--by", "model"]);
    let items = costs["items"].as_array().expect("a list").iter();
    items.map(|item| (item["name"].as_str().unwrap_or_default().to_string(), item["cost_micro_usd"].clone())).collect()
}

/// A program of the agent's tries to get out by itself, then the agent writes a summary.
fn script(way_out: String) -> Script {
    Arc::new(move |_, answered| match answered {
        0 => {
            let script = format!("python3 -c 'import urllib.request as r; r.urlopen(\"{way_out}models\", timeout=5)'");
            Say::Calls(vec![("process.run", json!({"command": "sh", "args": ["-c", script]}))])
        }
        1 => Say::Calls(vec![("filesystem.write", json!({"path": "summary.md", "content": "It is short.\n"}))]),
        _ => Say::Text("It is summarized.".to_string()),
    })
}

#[test]
fn seed_001_the_privacy_conscious_user() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let cloud = runtime.block_on(Scripted::serve(crate::answers()));
    let ollama = runtime.block_on(Scripted::serve(script(cloud.base_url())));
    let (host, url) = (ollama.address.to_string(), cloud.base_url());
    let more =
        [("OLLAMA_HOST", host.as_str()), ("OPENAI_BASE_URL", url.as_str()), ("ANTHROPIC_BASE_URL", url.as_str())];
    let house = ScriptedDaemon::start_with(crate::answers(), &more);
    let daemon = &house.daemon;
    let mut page = Page::beside(daemon, house.folder());
    page.lines(&LINES);
    insta::assert_snapshot!(page.told);
    let shown = page.shell("tenure agent show jarvis -o json").ok().json();
    assert_eq!((&shown["model"], &shown["schedule"]), (&json!("local-default"), &Value::Null));

    cloud.asked();
    for agent in ["jarvis", "researcher"] {
        page.shell(&format!("tenure agent set-model {agent} ollama")).ok();
        daemon.json(&["agent", "run", agent, "Summarize what there is"]);
        let tasks = ended(daemon, agent, 1);
        assert_eq!(tasks[0]["status"], "completed", "{tasks:#?}");
        let logs = daemon.json(&["execution", "logs", tasks[0]["id"].as_str().expect("an id")]);
        let tried = &logs[0]["log"][0]["calls"][0];
        assert_eq!(
            (&tried["outcome"], &tried["exit_code"]),
            (&json!("done"), &json!(1)),
            "it found a way out: {logs:#}"
        );
        let file = page.shell(&format!("tenure agent files ls {agent}")).ok().stdout;
        assert!(file.contains("summary.md"), "{file}");
    }
    assert_eq!(ollama.asked(), ["scripted over chat"; 6], "the control: this one was asked");
    assert!(cloud.asked().is_empty(), "a cloud was asked");
    assert_eq!(costs(daemon), [("ollama/scripted".to_string(), json!(0))]);
    daemon.ok(&["audit", "verify"]);
}

#[test]
fn the_privacy_conscious_users_agents_work_on_the_local_model() {
    let Some(mut local) = LocalDaemon::start() else { return };
    let page_folder = local.folder().to_path_buf();
    let daemon = &mut local.daemon;
    let mut page = Page::beside(daemon, &page_folder);
    page.lines(&LINES);
    for (agent, task) in [
        ("jarvis", "Answer at once with the word yes. Call no tool."),
        ("researcher", "Write the word done into summary.md, then answer."),
    ] {
        let started = daemon.json(&["agent", "run", agent, task]);
        let record = daemon.ended(started["id"].as_str().expect("an id"), WITHIN + Duration::from_secs(900));
        assert_eq!(record["status"], "completed", "{record:#}\n{}", daemon.log());
    }
    let costs = costs(daemon);
    assert!(costs.iter().all(|(name, cost)| name.starts_with("local/") && *cost == json!(0)), "{costs:?}");
    assert_eq!(costs.len(), 1, "{costs:?}");
    daemon.ok(&["audit", "verify"]);
    daemon.stop();
}
