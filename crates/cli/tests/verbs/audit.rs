use std::path::Path;

use super::house::{AGENT, House, cassette};

#[test]
fn the_ledger_is_verified_beside_the_daemon_and_without_it_and_a_changed_byte_is_found() {
    let mut house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let beside = house.tenure(&["audit", "verify", "-o", "json"]).ok().json();
    assert_eq!((&beside["holds"], &beside["finding_count"], &beside["macs"]), (&true.into(), &0.into(), &true.into()));
    assert!(beside["rows"].as_u64() > Some(3) && beside["payloads"].as_u64() > Some(1), "{beside}");
    let chain = house.tenure(&["audit", "verify", "--chain", "-o", "json"]).ok().json();
    assert_eq!((&chain["root"], &chain["rows"]), (&beside["root"], &serde_json::Value::Null));
    let tail = house.tenure(&["audit", "tail", "--limit", "1"]).ok();
    assert!(tail.stdout.contains("agt_ID  agent.created  owner:"), "{}", tail.stdout);
    let newest = house.tenure(&["audit", "tail", "--limit", "1", "-o", "json"]).ok().json();
    assert_eq!(newest[0]["kind"], "agent.created");
    house.down();
    let without = house.tenure(&["audit", "verify"]).ok();
    assert!(
        without.stdout.starts_with("The ledger holds: ") && without.stdout.contains(" rows, "),
        "{}",
        without.stdout
    );
    let chain = house.tenure(&["audit", "verify", "--chain"]).ok();
    assert!(
        chain.stdout.starts_with("The chain holds: ") && chain.stdout.contains("not looked at"),
        "{}",
        chain.stdout
    );
    let touched = ["tenure.db", "tenure.db-wal"].map(|name| touch(&house.path("data").join(name)));
    assert!(touched.contains(&true), "the record lies in neither file");
    let changed = house.tenure(&["audit", "verify"]);
    assert_eq!(changed.code, 1, "{}{}", changed.stdout, changed.stderr);
}

/// Changes one letter of a record's kind, if it is there.
fn touch(file: &Path) -> bool {
    let Ok(mut bytes) = std::fs::read(file) else { return false };
    let Some(place) = bytes.windows(22).position(|window| window == br#""kind":"agent.created""#) else { return false };
    bytes[place + 14] = b'C';
    std::fs::write(file, bytes).unwrap();
    true
}

#[test]
fn a_folder_without_a_ledger_is_said_to_be_that() {
    let house = House::new();
    let told = |words: &[&str]| {
        let answer = house.tenure(&["audit", "verify"]);
        assert_eq!(answer.code, 4);
        for word in words.iter().chain(&["there is no ledger to be verified", "--data-dir"]) {
            assert!(answer.stderr.contains(word), "`{word}` is not in {}", answer.stderr);
        }
    };
    told(&["DIR/data does not exist"]);
    std::fs::create_dir(house.path("data")).unwrap();
    told(&["DIR/data holds no ledger: there is no tenure.db in it"]);
}

#[test]
fn the_tail_is_filtered_by_agent_execution_kind_and_time_and_says_its_columns() {
    let house = House::up(&cassette(2));
    for name in ["coder", "clerk"] {
        let file = house.write("agent.yaml", &AGENT.replace("name: coder", &format!("name: {name}")));
        house.tenure(&["agent", "deploy", &file]).ok();
    }
    let started = house.tenure(&["execute", "coder", "x", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap().to_string();
    house.wait(&id);
    let tail = |words: &[&str]| {
        let mut all = vec!["audit", "tail", "--limit", "500"];
        all.extend(words);
        house.tenure(&all).ok()
    };
    let of = |words: &[&str], key: &str| -> Vec<String> {
        let json = tail(&[words, &["-o", "json"]].concat()).json();
        json.as_array().unwrap().iter().map(|record| record[key].as_str().unwrap().to_string()).collect()
    };
    let (all, agent) = (of(&[], "stream"), of(&["--agent", "coder"], "stream"));
    let coder = house.tenure(&["agent", "get", "coder", "-o", "json"]).ok().json()["id"].as_str().unwrap().to_string();
    assert!(agent.contains(&coder) && agent.contains(&id) && all.len() > agent.len());
    assert!(agent.iter().all(|stream| *stream == coder || *stream == id), "{agent:?}");
    let execution = of(&["--execution", &id], "stream");
    assert!(execution.len() > 5 && execution.iter().all(|stream| *stream == id));
    assert_eq!(of(&["--kind", "agent.created"], "kind"), ["agent.created", "agent.created"]);
    let calls = of(&["--kind", "call.,agent.created", "--agent", "coder"], "kind");
    assert!(calls.contains(&"call.called".to_string()) && calls.contains(&"call.ended".to_string()), "{calls:?}");
    assert_eq!(calls.iter().filter(|kind| *kind == "agent.created").count(), 1);
    assert_eq!(of(&["--since", "2999-01-01T00:00:00Z"], "kind"), Vec::<String>::new());
    assert_eq!(of(&["--since", "1h"], "kind").len(), all.len());
    assert!(tail(&["--kind", "agent.created"]).stdout.starts_with("INDEX  AT  STREAM  KIND  ACTOR\n"));
    let bare = tail(&["--kind", "agent.created", "--no-headers"]);
    assert_eq!(bare.stdout.lines().count(), 2, "{}", bare.stdout);
    let quiet = tail(&["--kind", "agent.created", "-q"]);
    assert!(quiet.raw.lines().all(|line| line.parse::<u64>().is_ok()), "{}", quiet.raw);
    let refused = house.tenure(&["audit", "tail", "--agent", "nobody"]);
    assert_eq!(refused.code, 4);
}

/// A public key of nobody here: the first of RFC 8032's examples.
const ANOTHER: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// A program in Python of docs/proof.md, from 1.
fn program(number: usize) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/proof.md");
    let page = std::fs::read_to_string(page).unwrap();
    page.split("```python\n").nth(number).unwrap().split("```").next().unwrap().to_string()
}

#[test]
fn an_export_is_checked_by_strangers_with_the_program_alone_and_with_standard_tools_alone() {
    let mut house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let id = house.tenure(&["execute", "coder", "x", "-o", "json"]).ok().json()["id"].as_str().unwrap().to_string();
    house.wait(&id);
    let (path, key) = (house.path("whole.jsonl").display().to_string(), house.path("data/ledger.pub"));
    let key = key.display().to_string();
    let made = house.tenure(&["audit", "export", "--agent", "coder", "--payloads", "--out", &path, "-o", "json"]).ok();
    let made = made.json();
    assert!(made["records"].as_u64() > Some(10) && made["payloads"].as_u64() > Some(3), "{made}");
    house.down();
    // Another machine: no ledger, no daemon.
    let away = House::new();
    let told = away.tenure(&["audit", "verify", &path, "--key", &key]).ok();
    assert!(told.stdout.starts_with("The export holds: ") && told.stdout.contains("--agent agt_ID"), "{}", told.stdout);
    let alone = away.tenure(&["audit", "verify", &path]).ok();
    assert!(alone.stdout.contains("vouches for itself alone"), "{}", alone.stdout);
    let holds = away.tenure(&["audit", "verify", &path, "-o", "json"]).ok().json();
    assert_eq!((&holds["records"], &holds["payloads"]), (&made["records"], &made["payloads"]));
    let other = away.tenure(&["audit", "verify", &path, "--key", ANOTHER]);
    assert!(other.code == 1 && other.stdout.contains("none of this ledger's"), "{} {}", other.code, other.stdout);
    assert_eq!(away.tenure(&["audit", "verify", &path, "--key", "nonsense"]).code, 2);
    assert_eq!(away.tenure(&["audit", "verify", "nowhere.jsonl"]).code, 4);

    let text = std::fs::read_to_string(&path).unwrap();
    let place = text.find("agent.created").unwrap();
    let forged = format!("{}agent.CREATED{}", &text[..place], &text[place + 13..]);
    let forged = away.write("forged.jsonl", &forged);
    let told = away.tenure(&["audit", "verify", &forged, "--key", &key]);
    assert!(told.code == 1 && told.stdout.contains("line 2, record "), "{} {}", told.code, told.stdout);
    away.write("check.py", &program(1));
    let shell = |line: &str| {
        let mut command = std::process::Command::new("bash");
        command.args(["-c", line]).current_dir(away.path(""));
        away.run(command)
    };
    let told = shell(&format!("python3 check.py {path}")).ok();
    assert!(told.stdout.contains(" records hold"), "{}", told.stdout);
    let told = shell(&format!("python3 check.py {forged}"));
    assert!(told.code != 0 && told.stderr.contains("line 2: not in the tree"), "{}", told.stderr);
    let verify = |name: &str, signed: &str| {
        shell(&format!(
            "openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin -in {name}.bin -sigfile {signed}.sig"
        ))
    };
    verify("head", "head").ok();
    verify("end", "end").ok();
    assert_ne!(verify("head", "end").code, 0, "the control: a signature over something else");
}

#[test]
fn records_are_looked_for_by_what_they_say_counted_and_found_after_a_deletion() {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let id = house.tenure(&["execute", "coder", "x", "-o", "json"]).ok().json()["id"].as_str().unwrap().to_string();
    house.wait(&id);
    assert_eq!(house.tenure(&["execution", "cancel", &id]).code, 5, "a refusal");
    let kinds = |words: &[&str]| -> Vec<String> {
        let json = house.tenure(&[&["audit"], words, &["-o", "json"]].concat()).ok().json();
        json.as_array().unwrap().iter().map(|record| record["kind"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(kinds(&["query", "--refused"]), ["command.refused"]);
    assert_eq!(kinds(&["query", "--lifecycle", "created"]), ["agent.created"]);
    let created = house.tenure(&["audit", "query", "--lifecycle", "created", "-o", "json"]).ok().json();
    assert_eq!(created[0]["lifecycle"], serde_json::json!(["created", "registered"]));
    assert!(kinds(&["query", "--actor", "daemon", "--limit", "500"]).contains(&"daemon.started".to_string()));
    let calls = kinds(&["query", "--agent", "coder", "--kind", "call."]);
    assert!(calls.len() > 1 && calls.iter().all(|kind| kind.starts_with("call.")), "{calls:?}");
    assert_eq!(kinds(&["query", "--until", "1h"]), Vec::<String>::new());
    assert_eq!(kinds(&["query", "--execution", &id, "--oldest", "--limit", "1"]), ["execution.started"]);
    let newest = house.tenure(&["audit", "query", "--execution", &id, "--limit", "1"]).ok();
    assert!(newest.stderr.contains("these are the newest; --limit shows more"), "{}", newest.stderr);
    let wrong = house.tenure(&["audit", "query", "--lifecycle", "odd"]);
    assert!(wrong.code == 3 && wrong.stderr.contains("quarantined"), "{} {}", wrong.code, wrong.stderr);

    let stats = house.tenure(&["audit", "stats", "-o", "json"]).ok().json();
    let all = kinds(&["query", "--since", "1h", "--limit", "5000"]);
    assert_eq!(stats["records"].as_u64(), Some(all.len() as u64));
    assert_eq!((&stats["refusals"], &stats["outside"]), (&1.into(), &"agrees".into()));
    assert_eq!(stats["kinds"]["agent.created"], 1);
    assert_eq!(stats["agents"][0]["agent_name"], "coder");
    let told = house.tenure(&["audit", "stats"]).ok();
    assert!(told.stdout.contains("By kind") && told.stdout.contains("on this chain"), "{}", told.stdout);

    let call = house.tenure(&["audit", "query", "--kind", "call.called", "-o", "json"]).ok().json();
    let call = call[0]["data"]["call"].as_str().unwrap().to_string();
    house.tenure(&["agent", "delete", "coder", "--yes"]).ok();
    let of_call = kinds(&["history", &call]);
    assert!(of_call.contains(&"call.called".to_string()) && of_call.contains(&"call.ended".to_string()), "{of_call:?}");
    let of_agent = kinds(&["history", "coder"]);
    assert!(
        ["agent.created", "execution.ended", "agent.deleted"].iter().all(|kind| of_agent.iter().any(|it| it == kind)),
        "{of_agent:?}"
    );
    assert_eq!(house.tenure(&["audit", "history", "nobody"]).code, 4);
}

const SECRET: &str = "a secret of both sides";

/// A receiver that refuses the first delivery; gives each body that it took, with its signature.
fn receiver() -> (String, std::sync::mpsc::Receiver<(String, Vec<u8>)>) {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in?token=hidden", listener.local_addr().unwrap());
    let (taken, bodies) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut refused = false;
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut length, mut signature, mut line) = (0, String::new(), String::new());
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                let (name, value) = line.trim().split_once(": ").unwrap_or_default();
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.parse().unwrap(),
                    "tenure-signature" => signature = value.to_string(),
                    _ => {}
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let status = if std::mem::replace(&mut refused, true) { "204 No Content" } else { "503 Later" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            if status.starts_with('2') && taken.send((signature, body)).is_err() {
                return;
            }
        }
    });
    (url, bodies)
}

#[test]
fn records_go_on_to_a_file_and_a_webhook_each_once_more_after_a_failure_and_on_from_where_it_stood() {
    let (url, bodies) = receiver();
    let first = House::new();
    let (file, secret) = (first.path("sink.jsonl"), first.path("secret"));
    std::fs::write(&secret, SECRET).unwrap();
    let config = |house: &House| {
        let text = format!("[audit]\nsink_file = {file:?}\nsink_webhook = {url:?}\nsink_secret_file = {secret:?}\n");
        house.write("tenure.toml", &text)
    };
    let mut house = House::new();
    let config = config(&house);
    let open = house.tenure(&["--config", &config, "status"]);
    assert_eq!(open.code, 6, "{}", open.stderr);
    house.start(&cassette(1), &["--config", &config]);
    // Open to others: nothing is signed with it.
    let lags = house.until(&["status"], |answer| answer.stdout.contains("is open to others"));
    assert!(lags.stdout.contains("audit sink webhook") && !lags.stdout.contains("hidden"), "{}", lags.stdout);
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let all = house.until(&["status", "-o", "json"], |answer| {
        let status = answer.json();
        status["sinks"].as_array().unwrap().iter().all(|sink| sink["behind"] == 0 && sink["failing"].is_null())
    });
    assert_eq!(all.json()["sinks"][1]["kind"], "webhook");
    let (signature, body) = bodies.recv_timeout(super::house::PATIENCE).unwrap();
    let (time, signed) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).unwrap();
    std::fs::write(first.path("signed"), [format!("{time}.").as_bytes(), &body].concat()).unwrap();
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-hmac", SECRET, "-r"]).arg(first.path("signed"));
    assert!(first.run(openssl).raw.starts_with(signed), "the receiver makes the same signature");

    house.down();
    house.start(&cassette(1), &["--config", &config]);
    let manifest = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &manifest]).ok();
    let records = |house: &House| house.tenure(&["status", "-o", "json"]).ok().json()["records"].as_u64().unwrap();
    house.until(&["status", "-o", "json"], |answer| {
        let status = answer.json();
        status["sinks"].as_array().unwrap().iter().all(|sink| sink["delivered"] == status["records"])
    });
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let indexes: Vec<u64> = lines.iter().filter_map(|line| line["index"].as_u64()).collect();
    assert_eq!(indexes, (0..records(&house)).collect::<Vec<u64>>(), "each once, across the restart");
    assert!(lines.last().unwrap()["head"]["signature"].is_string(), "and the head that they lie under");
    let clear =
        house.write("clear.toml", "[audit]\nsink_webhook = \"http://siem.example/\"\nsink_secret_file = \"s\"\n");
    let refused = house.tenure(&["--config", &clear, "status"]);
    assert!(refused.code == 2 && refused.stderr.contains("in clear"), "{} {}", refused.code, refused.stderr);
}

#[test]
fn the_ledger_s_key_changes_while_no_daemon_runs_and_an_export_holds_by_the_old_key() {
    let mut house = House::up(&cassette(1));
    let busy = house.tenure(&["audit", "rotate-key", "--why", "yearly"]);
    assert!(busy.code == 5 && busy.stderr.contains("tenure down"), "{} {}", busy.code, busy.stderr);
    house.down();
    let old = std::fs::read_to_string(house.path("data/ledger.pub")).unwrap();
    let rotated = house.tenure(&["audit", "rotate-key", "--why", "yearly", "-o", "json"]).ok().json();
    assert_eq!(rotated["old"], old.trim());
    house.tenure(&["audit", "verify"]).ok();
    let path = house.path("all.jsonl").display().to_string();
    house.tenure(&["audit", "export", "--out", &path]).ok();
    house.tenure(&["audit", "verify", &path, "--key", &old]).ok();
    house.tenure(&["audit", "verify", &path, "--key", rotated["new"].as_str().unwrap()]).ok();
    assert_eq!(house.tenure(&["audit", "verify", &path, "--key", ANOTHER]).code, 1);
    house.start(&cassette(1), &[]);
    house.tenure(&["audit", "query", "--kind", "ledger.key_rotated"]).ok();
    house.tenure(&["audit", "verify"]).ok();
}

#[test]
fn old_records_are_sealed_into_a_file_while_no_daemon_runs_and_are_read_and_proved_from_it() {
    let mut house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let started = house.tenure(&["execute", "coder", "x", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap().to_string();
    house.wait(&id);
    let busy = house.tenure(&["audit", "seal", "--before", "0s", "--yes"]);
    assert!(busy.code == 5 && busy.stderr.contains("tenure down"), "{} {}", busy.code, busy.stderr);
    house.down();
    let ahead = house.tenure(&["audit", "seal", "--before", "2999-01-01", "--yes"]);
    assert!(ahead.code == 2 && ahead.stderr.contains("still to come"), "{} {}", ahead.code, ahead.stderr);
    let early = house.tenure(&["audit", "seal", "--before", "2020-01-01", "--yes"]).ok();
    assert!(early.stdout.contains("nothing is sealed"), "{}", early.stdout);
    let copy = house.path("sealed.jsonl").display().to_string();
    let seal = ["audit", "seal", "--before", "0s", "--out", &copy, "--yes", "-o", "json"];
    let sealed = house.tenure(&seal).ok().json();
    assert!(sealed["records"].as_u64() > Some(5), "{sealed}");
    let whole = house.tenure(&["audit", "verify", "-o", "json"]).ok().json();
    assert_eq!((&whole["sealed"][0]["records"], &whole["sealed"][0]["is_here"]), (&sealed["records"], &true.into()));
    let key = house.path("data/ledger.pub").display().to_string();
    house.tenure(&["audit", "verify", &copy, "--key", &key]).ok();
    let taken = house.tenure(&seal);
    assert!(taken.code == 5 && taken.stderr.contains("--force"), "{} {}", taken.code, taken.stderr);

    house.start(&cassette(1), &[]);
    house.tenure(&["audit", "query", "--kind", "ledger.sealed"]).ok();
    let history = house.tenure(&["audit", "history", &id]).ok();
    assert!(history.stdout.contains("execution.started"), "{}", history.stdout);
    // Taken away, it is said to be that; put back, all is as it was.
    let name = sealed["file"].as_str().unwrap();
    std::fs::remove_file(name).unwrap();
    let gone = house.tenure(&["audit", "history", &id]);
    assert!(gone.code == 5 && gone.stderr.contains("put it back"), "{} {}", gone.code, gone.stderr);
    let told = house.tenure(&["audit", "verify"]).ok();
    assert!(told.stdout.contains("which is not here"), "{}", told.stdout);
    std::fs::copy(&copy, name).unwrap();
    house.tenure(&["audit", "history", &id]).ok();
    house.tenure(&["audit", "verify"]).ok();
}

#[test]
fn a_file_that_is_there_is_written_over_only_where_it_is_said_so() {
    let house = House::up(&cassette(1));
    for words in [["audit", "export"], ["audit", "consistency"]] {
        let path = house.write("kept", "mine");
        let told = house.tenure(&[words.as_slice(), &["--out", &path]].concat());
        assert!(told.code == 5 && told.stderr.contains("--force"), "{} {}", told.code, told.stderr);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        house.tenure(&[words.as_slice(), &["--out", &path, "--force"]].concat()).ok();
        assert_ne!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}

#[test]
fn who_kept_a_head_is_shown_that_the_ledger_only_grew_and_a_cut_or_other_one_is_told() {
    let mut house = House::up(&cassette(1));
    let kept = house.path("kept.json").display().to_string();
    let first = house.tenure(&["audit", "consistency", "--out", &kept, "-o", "json"]).ok().json();
    assert_eq!((&first["holds"], &first["from"]["size"]), (&true.into(), &first["to"]["size"]));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let key = house.path("data/ledger.pub").display().to_string();
    let path = house.path("proof.json").display().to_string();
    let asked = ["audit", "consistency", "--from", &kept, "--out", &path, "--key", &key];
    let told = house.tenure(&asked).ok();
    assert!(told.stdout.starts_with("The ledger only grew: from "), "{}", told.stdout);
    // Heads lie in other places, too.
    let export = house.path("export.jsonl").display().to_string();
    house.tenure(&["audit", "export", "--out", &export]).ok();
    house.tenure(&["audit", "consistency", "--from", &export]).ok();
    house.tenure(&["audit", "consistency", "--from", &house.path("data/head.json").display().to_string()]).ok();
    let wrong = house.tenure(&["audit", "consistency", "--from", &file]);
    assert!(wrong.code == 2 && wrong.stderr.contains("no signed head begins"), "{} {}", wrong.code, wrong.stderr);
    assert_eq!(house.tenure(&["audit", "consistency", "--from", "nowhere"]).code, 4);
    // A ledger that does not have what the head covers: a younger one of another project.
    let other = House::up(&cassette(1));
    let strange = other.tenure(&["audit", "consistency", "--from", &export]);
    assert_eq!(strange.code, 1, "{}{}", strange.stdout, strange.stderr);
    assert!(strange.stdout.contains("another project's") || strange.stderr.contains("fewer records"), "{strange:?}");
    house.down();
    // Another machine: no ledger, no daemon.
    let away = House::new();
    away.tenure(&["audit", "verify", &path, "--key", &key]).ok();
    let stranger = away.tenure(&["audit", "verify", &path, "--key", ANOTHER]);
    assert!(
        stranger.code == 1 && stranger.stdout.contains("the new head is not signed by the key"),
        "{}",
        stranger.stdout
    );
    let text = std::fs::read_to_string(&path).unwrap();
    let sibling = text.find(r#""path":[""#).unwrap() + 9;
    let digit = if &text[sibling..=sibling] == "0" { "1" } else { "0" };
    let forged = away.write("forged.json", &format!("{}{digit}{}", &text[..sibling], &text[sibling + 1..]));
    let told = away.tenure(&["audit", "verify", &forged, "--key", &key]);
    assert!(told.code == 1 && told.stdout.contains("is not the beginning"), "{} {}", told.code, told.stdout);
    away.write("grew.py", &program(2));
    let shell = |line: &str| {
        let mut command = std::process::Command::new("bash");
        command.args(["-c", line]).current_dir(away.path(""));
        away.run(command)
    };
    let told = shell(&format!("python3 grew.py {forged}"));
    assert!(told.code != 0 && told.stderr.contains("is not the beginning"), "{}", told.stderr);
    let told = shell(&format!("python3 grew.py {path}")).ok();
    assert!(told.stdout.starts_with("grew from "), "{}", told.stdout);
    let verify = |name: &str, signed: &str| {
        let files = format!("-inkey {name}.der -rawin -in {name}.bin -sigfile {signed}.sig");
        shell(&format!("openssl pkeyutl -verify -pubin -keyform DER {files}"))
    };
    verify("old", "old").ok();
    verify("new", "new").ok();
    assert_ne!(verify("old", "new").code, 0, "the control: a signature over something else");
}
