//! Seed 004's page, line by line, as it is written there: in a shell, with the program under the page's own name, `aegis`. What
//! each line prints is in the snapshot. Ids are ours, since those of the page are examples.
use std::process::Command;

use super::house::{AGENT, Answer, House, cassette, example};

/// The page's shell, which goes on from line to line.
struct Page {
    house: House,
    told: String,
}

impl Page {
    fn open(executions: u32) -> Page {
        let house = House::up(&cassette(executions));
        let bin = house.path("bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tenure"), bin.join("aegis")).unwrap();
        Page { house, told: String::new() }
    }

    fn shell(&self, script: &str) -> Answer {
        let mut command = Command::new("bash");
        command.args(["-c", script]).current_dir(self.house.path("")).env_clear().env("HOME", self.house.path(""));
        command.env("PATH", format!("{}:/usr/bin:/bin", self.house.path("bin").display()));
        command.env("TENURE_DATA_DIR", self.house.path("data"));
        self.house.run(command)
    }

    /// One line of the page: what it prints and how it ends.
    fn line(&mut self, line: &str) -> Answer {
        let answer = self.shell(line);
        let (shown, code) = (self.house.steady(line), answer.code);
        self.told.push_str(&format!("$ {shown}\n{}{}[{code}]\n", answer.stdout, answer.stderr));
        answer
    }

    /// The Python that this host has, in the place of the page's.
    fn with_python(&self, manifest: &str) -> String {
        let host = self.shell("aegis status -o json").ok().json();
        let languages = host["worker"]["toolchains"].as_array().unwrap();
        let python = languages.iter().find_map(|found| found.as_str()?.strip_prefix("python ")).unwrap();
        let python = python.rsplit_once('.').unwrap().0;
        manifest.replace("version: \"3.11\"", &format!("version: \"{python}\""))
    }
}

/// `python-coder` as the page speaks of it: its tools by the page's names, and validators that the recorded answers satisfy.
fn coder() -> String {
    AGENT
        .replace("apiVersion: tenure.dev/v1", "apiVersion: 100monkeys.ai/v1")
        .replace("name: coder", "name: python-coder")
        .replace("tools: [filesystem.write, process.run]", "tools: [fs.*, cmd.run]")
}

#[test]
fn the_seeds_page_runs_line_by_line_and_prints_what_it_says() {
    let mut page = Page::open(8);
    std::fs::create_dir(page.house.path("my-agent")).unwrap();
    page.house.write("my-agent/agent.yaml", &coder());
    page.house.write("agent.yaml", &coder());
    // Agent lifecycle.
    page.line("aegis agent deploy ./my-agent/agent.yaml").ok();
    let id = page.line("aegis agent deploy ./my-agent/agent.yaml --output json | jq -r .id").ok().raw;
    page.line("aegis agent list").ok();
    page.line("aegis agent list --output json | jq -r '.[].name'").ok();
    page.line("aegis agent list --status deployed").ok();
    page.line("aegis agent list --status paused").ok();
    page.line(&format!("aegis agent get {}", id.trim())).ok();
    page.line("aegis agent get python-coder --output json | jq -r '.manifest.spec.tools[]'").ok();
    page.line("aegis agent pause python-coder").ok();
    page.line("aegis agent list --status paused").ok();
    let refused = page.line("aegis execute --agent python-coder --input '{\"task\": \"…\"}'");
    assert_eq!(refused.code, 5);
    page.line("aegis agent resume python-coder").ok();
    // Executions.
    let input = "'{\"task\": \"Write a function that reverses a linked list.\"}'";
    let started = page.line(&format!("aegis execute --agent python-coder --input {input}")).ok().raw;
    let execution = started.trim().strip_prefix("Execution started: ").unwrap().to_string();
    page.house.wait(&execution);
    page.line(&format!("aegis execute --agent python-coder --input {input} --watch")).ok();
    page.line("aegis execute --agent python-coder --input '{\"task\": \"...\"}' --max-iterations 3 --watch").ok();
    page.line("aegis execution list").ok();
    page.line("aegis execution list --agent python-coder --limit 1").ok();
    page.line("aegis execution list --status completed --limit 20").ok();
    page.line("aegis execution list --status failed").ok();
    page.line("aegis execution list --status running").ok();
    page.line(&format!("aegis execution get {execution}")).ok();
    page.line(&format!("aegis execution logs {execution}")).ok();
    page.line(&format!("aegis execution logs {execution} --iteration 1")).ok();
    assert_eq!(page.line(&format!("aegis execution cancel {execution}")).code, 5, "it has ended");
    // Deleting.
    assert_eq!(page.line("aegis agent delete python-coder < /dev/null").code, 2);
    page.line("aegis agent delete python-coder --yes").ok();
    page.line("aegis execution list --limit 1").ok();
    insta::assert_snapshot!(page.told);
}

/// As it stands on the page, but that its agent is `python-coder` and the pause shorter.
const LOOP: &str = r#"
AGENT_ID=$(aegis agent deploy ./agent.yaml --output json | jq -r '.id')
EXEC_ID=$(aegis execute --agent python-coder \
  --input '{"task": "..."}' \
  --output json | jq -r '.id')
while true; do
  STATUS=$(aegis execution get $EXEC_ID --output json | jq -r '.status')
  echo "Status: $STATUS" >&2
  if [[ "$STATUS" == "completed" || "$STATUS" == "failed" || "$STATUS" == "cancelled" ]]; then
    break
  fi
  sleep 0.2
done
echo "$AGENT_ID $EXEC_ID"
echo "Final status: $STATUS"
"#;

#[test]
fn the_seeds_scripting_loop_runs_unchanged_also_by_address_and_key() {
    let mut page = Page::open(2);
    page.house.write("agent.yaml", &coder());
    let told = page.line(LOOP).ok().stdout;
    assert_eq!(told, "agt_ID exe_ID\nFinal status: completed\n");
    let key = page.shell("aegis key create --name loop -o json | jq -r .secret").ok().raw;
    let address = page.house.url.trim_start_matches("http://").to_string();
    let elsewhere = format!("export TENURE_API_KEY={} TENURE_BASE_URL={address}\n{LOOP}", key.trim());
    let told = page.shell(&elsewhere).ok().stdout;
    assert_eq!(told, "agt_ID exe_ID\nFinal status: completed\n");
    let list = format!("TENURE_API_KEY={} aegis --daemon-addr {address} agent list -q", key.trim());
    assert_eq!(page.shell(&list).ok().stdout, "agt_ID\n");
}

#[test]
fn the_seeds_reviewer_deploys_natively_where_that_is_asked_for_and_its_record_says_so() {
    let page = Page::open(1);
    let reviewer = page.with_python(&example("aegis/pr-reviewer.yaml"));
    page.house.write("pr-reviewer.yaml", &reviewer);
    let plain = page.shell("DOCKER_HOST=unix:///nowhere aegis agent deploy ./pr-reviewer.yaml");
    assert!(plain.code == 0 || plain.stderr.contains("spec.runtime.isolation"), "{}", plain.stderr);
    page.shell("aegis agent deploy ./pr-reviewer.yaml --isolation native").ok();
    let shown = page.shell("aegis agent get pr-reviewer -o json").ok().json();
    assert_eq!(shown["runtime"], "native");
    assert_eq!(shown["manifest"]["spec"]["runtime"]["isolation"], "native");
    let record = shown["manifest"]["metadata"]["annotations"]["tenure.dev/asked-isolation"].as_str().unwrap();
    assert_eq!(record, "native was asked for at the deploy; the file states docker");
    let input = r#"'{"diff": "<git diff output>", "repo": "my-org/my-repo", "pr": 42}'"#;
    let watched = page.shell(&format!("aegis execute --agent pr-reviewer --input {input} --watch"));
    assert!(watched.stdout.contains("Iteration 1 Started"), "{}{}", watched.stdout, watched.stderr);
    let wrong = page.shell("aegis agent deploy ./pr-reviewer.yaml --isolation vm");
    assert_eq!(wrong.code, 2);
}

#[test]
fn every_fs_and_cmd_name_of_the_seeds_system_is_one_of_ours_or_refused_by_its_own_name() {
    let page = Page::open(1);
    for (theirs, ours) in [
        ("fs.read", "filesystem.read"),
        ("fs.write", "filesystem.write"),
        ("fs.list", "filesystem.list"),
        ("fs.edit", "filesystem.edit"),
        ("fs.multi_edit", "filesystem.edit"),
        ("fs.append", "filesystem.append"),
        ("fs.stat", "filesystem.stat"),
        ("fs.delete", "filesystem.delete"),
        ("fs.restore", "filesystem.restore"),
        ("fs.*", "filesystem.*"),
        ("cmd.run", "process.run"),
        ("cmd.*", "process.*"),
    ] {
        let file = page.house.write("one.yaml", &coder().replace("[fs.*, cmd.run]", &format!("[{theirs}]")));
        let shown = page.shell(&format!("aegis manifest validate {file} -o json")).ok().json();
        assert_eq!(shown["manifest"]["spec"]["tools"], serde_json::json!([ours]), "{theirs}");
    }
    let file = page.house.write("one.yaml", &coder().replace("[fs.*, cmd.run]", "[fs.create_dir]"));
    let refused = page.shell(&format!("aegis manifest validate {file}"));
    assert!(refused.code == 3 && refused.stderr.contains("create_dir"), "{}", refused.stderr);
}
