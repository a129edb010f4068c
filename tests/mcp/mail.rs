//! examples/mail against a real IMAP and a real SMTP server: the pipeline of seed 001 reads an invoice and answers its sender, once a
//! person has allowed it, and nobody inside is ever given the mailbox's password.
use crate::others::tools;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tests::daemon::Daemon;
use tests::scripted::{Say, Script, ScriptedDaemon, said, woken_with};

const HOUSE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mcp/mail/house.py");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
const USER: &str = "email-bot@example.com";
const PASSWORD: &str = "correct-horse-battery-17";
const INVOICE: &str = "From: Ada <ada@example.com>\r\nTo: email-bot@example.com\r\nSubject: Invoice 17\r\n\
    Message-ID: <i17@example.com>\r\n\r\nPlease pay 12 EUR for the pencils.\r\n";
const WITHIN: Duration = Duration::from_secs(60);

/// A program that says something a line; it ends with this value.
struct Beside {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Beside {
    fn start(mut command: Command) -> Beside {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        Beside { child, out }
    }

    fn says(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("it speaks UTF-8");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that a model was sent.
type Heard = Arc<Mutex<String>>;

fn script(heard: &Heard, port: u64) -> Script {
    let heard = Arc::clone(heard);
    Arc::new(move |request, answered| {
        heard.lock().expect("no test thread panicked with it").push_str(&request.to_string());
        // A list of mails is one of objects too.
        let mut messages = woken_with(request);
        messages.retain(|message| message.get("message").is_some());
        let is_bot = said(request).contains("You watch a mailbox");
        match (is_bot, messages.first(), answered) {
            (true, None, 0) => Say::Calls(vec![("mcp.mail.list_messages", json!({}))]),
            (true, None, 1) => Say::Calls(vec![("mcp.mail.read_message", json!({"id": "101"}))]),
            (true, None, 2) => {
                // Its programs reach the address, and have no login.
                let url = format!("http://127.0.0.1:{port}/mcp");
                let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
                Say::Calls(vec![("network.http_request", json!({"url": url, "method": "POST", "body": body}))])
            }
            (true, None, 3) if request.to_string().contains("12 EUR for the pencils") => {
                let invoice = json!({"action": "new_invoice", "email_id": "101", "text": "12 EUR"});
                Say::Calls(vec![("comms.send", json!({"to": "bookkeeper", "message": invoice.to_string()}))])
            }
            (false, Some(invoice), 0) => {
                Say::Calls(vec![("state.persistent.set", json!({"key": "invoices:101", "value": invoice["message"]}))])
            }
            (false, Some(invoice), 1) => {
                let done = json!({"action": "task_complete", "email_id": "101", "status": "reconciled"});
                Say::Calls(vec![("comms.reply", json!({"id": invoice["id"], "message": done}))])
            }
            (true, Some(done), 0) => {
                let body = format!("Your invoice is {}.", done["message"]["status"].as_str().unwrap_or("lost"));
                Say::Calls(vec![("mcp.mail.reply", json!({"id": done["message"]["email_id"], "body": body}))])
            }
            _ => Say::Text("Done.".to_string()),
        }
    })
}

fn example(name: &str) -> String {
    std::fs::read_to_string(format!("{EXAMPLES}/{name}")).expect("the example is there")
}

fn secret(daemon: &Daemon, verb: &str, value: &str) {
    let mut child = daemon_command(daemon, &["secret", verb, "mailbox"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it runs");
    child.stdin.take().expect("it is piped").write_all(value.as_bytes()).expect("it reads");
    assert!(child.wait().is_ok_and(|status| status.success()), "secret {verb}");
}

fn daemon_command(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = Command::new(tests::daemon::program("tenure"));
    command.args(arguments).env("TENURE_DATA_DIR", &daemon.data);
    command
}

/// The first thing that is not none.
fn waited<T>(what: impl Fn() -> String, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < WITHIN, "waited in vain: {}", what());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_invoice_is_read_and_its_sender_answered_with_a_password_that_nobody_inside_is_given() {
    let Some(folder) = tools() else { return };
    let mut house = Command::new(folder.join("mail/bin/python"));
    house.args([HOUSE, USER, PASSWORD, INVOICE]);
    let mut house = Beside::start(house);
    let ports = house.says();
    let place = |name: &str| format!("127.0.0.1:{}", ports[name].as_u64().expect("a port"));
    let mut server = Command::new("python3");
    server.arg(format!("{EXAMPLES}/mail/server.py")).args(["--imap", &place("imap"), "--smtp", &place("smtp")]);
    server.args(["--plain", "--port", "0"]);
    let mut server = Beside::start(server);
    let port = server.says().as_u64().expect("a port");

    let heard = Heard::default();
    let scripted = ScriptedDaemon::start(script(&heard, port));
    let daemon = &scripted.daemon;
    daemon.deploy(&example("invoice-pipeline/bookkeeper.yaml"));
    let bot = example("mail/email-bot.yaml").replace("127.0.0.1:8025", &format!("127.0.0.1:{port}"));
    let agent = daemon.deploy(&bot.replace("    - comms.send\n", "    - comms.send\n    - network.http_request\n"));
    daemon.ok(&["policy", "apply", &format!("{EXAMPLES}/mail/mail.cedar")]);

    // Nothing is sent with what nobody bound.
    secret(daemon, "set", PASSWORD);
    let asked = || {
        let started = daemon.json(&["execute", "--agent", "email-bot"]);
        daemon.ended(started["id"].as_str().expect("an id"), WITHIN)
    };
    asked();
    let told = heard.lock().expect("no test thread panicked with it").clone();
    assert!(told.contains("mail cannot be used") && told.contains("no secret of this name is bound"), "{told}");
    assert!(!told.contains("Invoice 17"), "the control: without the binding nothing is read");
    let doctor = daemon.run(&["doctor", "email-bot", "--no-model"]);
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    for words in ["mcp.mail.*", "secret bind mailbox", "it could not be used in exe_"] {
        assert!(doctor.contains(words), "{words}: {doctor}");
    }

    let host = format!("127.0.0.1:{port}");
    for (capability, host) in [("mcp.mail.*", "127.0.0.1:1"), ("network.credentialed_request", &host)] {
        daemon.ok(&["secret", "bind", "mailbox", "--agent", "email-bot", "--capability", capability, "--host", host]);
    }
    asked();
    let told = heard.lock().expect("no test thread panicked with it").clone();
    assert!(!told.contains("Invoice 17"), "the control: another port's and another capability's binding are none");
    daemon.ok(&["secret", "bind", "mailbox", "--agent", "email-bot", "--capability", "mcp.mail.*", "--host", &host]);
    let record = asked();
    assert_eq!(record["status"], "completed", "{record:#}\n{}", daemon.log());

    // The bookkeeper answers, which wakes it again; its answer waits for a person.
    let unseen = || format!("an approval: {}", heard.lock().expect("no test thread panicked with it"));
    let approval = waited(unseen, || {
        let waiting = daemon.json(&["approval", "list"]);
        waiting.as_array()?.first()?["id"].as_str().map(str::to_string)
    });
    let card = daemon.ok(&["approval", "show", &approval]);
    assert!(card.contains("Your invoice is reconciled."), "{card}");
    daemon.ok(&["approval", "approve", &approval]);
    let mail = house.says();
    assert_eq!((&mail["to"], &mail["by"]), (&json!(["ada@example.com"]), &json!(USER)), "{mail}");
    let text = mail["mail"].as_str().expect("a text");
    assert!(text.contains("Your invoice is reconciled.") && text.contains("In-Reply-To: <i17@example.com>"), "{text}");

    let told = heard.lock().expect("no test thread panicked with it").clone();
    assert!(told.contains("401"), "a request of its own, without the login, is refused: {told}");
    let ledger = daemon.json(&["audit", "tail", "--limit", "500"]).to_string();
    let work = daemon.work_folder(agent["id"].as_str().expect("an id"));
    let kept = Command::new("grep").args(["-r", "-l", PASSWORD]).arg(&work).output().expect("grep runs");
    for (place, text) in [("the model", &told), ("the ledger", &ledger), ("the log", &daemon.log())] {
        assert!(!text.contains(PASSWORD), "{place} was given the password");
    }
    assert!(kept.stdout.is_empty(), "the work folder holds the password");
    daemon.ok(&["audit", "verify"]);
}
