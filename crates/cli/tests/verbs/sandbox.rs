use super::house::{AGENT, House, cassette};

#[test]
fn the_check_tells_each_layer_and_ends_by_whether_agents_can_run() {
    let house = House::new();
    let checked = house.tenure(&["sandbox", "check"]);
    for layer in ["namespaces", "landlock", "seccomp", "memory", "pids", "cpu"] {
        assert!(checked.stdout.contains(layer), "{}{}", checked.stdout, checked.stderr);
    }
    let report = house.tenure(&["sandbox", "check", "--json"]).json();
    assert_eq!(checked.code == 0, report["level"].is_object());
    assert_eq!(report["findings"].as_array().unwrap().len(), 6);
}

#[test]
fn an_agent_s_sandbox_is_explained_in_words_and_in_json() {
    let house = House::up(&cassette(1));
    let security = "  security:\n    network: {mode: allow, allowlist: [\"*.example.com\"], blocklist: [evil.example.com]}\n    filesystem: {read: [/workspace], write: [/workspace/out], temp: false}\n    resources: {memory: 300Mi, pids: 7}\n";
    let file = house.write("agent.yaml", &AGENT.replace("spec:\n", &format!("spec:\n{security}")));
    house.tenure(&["agent", "deploy", &file]).ok();
    let told = house.tenure(&["sandbox", "explain", "coder"]).ok().stdout;
    // What the host gives differs from host to host.
    let told: String =
        told.lines().filter(|line| !line.contains("this host gives")).map(|line| format!("{line}\n")).collect();
    insta::assert_snapshot!(told);
    let json = house.tenure(&["sandbox", "explain", "coder", "-o", "json"]).ok().json();
    assert_eq!(json["confinement"]["memory_bytes"], 300 << 20);
    assert_eq!(json["confinement"]["network"]["block"][0], "evil.example.com");
    assert_eq!(house.tenure(&["sandbox", "explain", "nobody"]).code, 4);
}
