//! What people are asked to allow goes to a webhook, signed, with a link that opens the card: it is told again until it is taken, shown by
//! a GET and answered by a POST alone, once; a forged or used link answers nothing.
use crate::doors::ask;
use crate::office::{MANIFEST, Office, WITHIN};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tests::scripted::Say;

const SECRET: &str = "a secret of both sides";
const RULES: &str =
    "@id(\"ask\")\n@verdict(\"approval_required\")\npermit(principal, action == Action::\"process.run\", resource);\n";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// What came, in order; the first of each is refused.
type Heard = Arc<Mutex<Vec<(HeaderMap, String)>>>;

async fn take(State(heard): State<Heard>, headers: HeaderMap, body: String) -> StatusCode {
    let mut heard = heard.lock().expect("nobody panics");
    heard.push((headers, body));
    if heard.len() == 1 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
}

struct Asking {
    office: Office,
    heard: Heard,
    address: String,
    /// Of the daemon's settings.
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

fn asking() -> Asking {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let heard = Heard::default();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let webhook = format!("http://{}/in?token=hidden", listener.local_addr().expect("it is bound"));
    let router = Router::new().route("/in", post(take)).with_state(Arc::clone(&heard));
    runtime.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
    let folder = tempfile::tempdir().expect("a folder");
    let (config, secret) = (folder.path().join("tenure.toml"), folder.path().join("secret"));
    std::fs::write(&secret, SECRET).expect("it can be written");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let text = format!("[approvals]\nwebhook = \"{webhook}\"\nwebhook_secret_file = \"{}\"\n", secret.display());
    std::fs::write(&config, text).expect("it can be written");
    let script = Arc::new(|_: &Value, answered| match answered {
        0 => Say::Calls(vec![("process.run", json!({"command": "sh", "args": ["-c", "echo '<b>' >> marks"]}))]),
        _ => Say::Text("Done.".to_string()),
    });
    let office = Office::open_with(script, &[("TENURE_CONFIG", config.to_str().expect("UTF-8"))]);
    let rules = office.folder.path().join("ask.cedar");
    std::fs::write(&rules, RULES).expect("it can be written");
    office.daemon.ok(&["policy", "apply", rules.to_str().expect("UTF-8")]);
    let address = crate::doors::address(&office);
    Asking { office, heard, address, _folder: folder, _runtime: runtime }
}

impl Asking {
    /// Starts one, and gives it with what was told of its call the `count`th time that something was told.
    fn told(&self, count: usize) -> (String, Value) {
        let started = self.office.daemon.json(&["execute", "--agent", "clerk", "--input", "x"]);
        let begin = Instant::now();
        while self.heard.lock().expect("nobody panics").len() < count {
            assert!(begin.elapsed() < WITHIN, "nothing was told\n{}", self.office.daemon.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        let body = self.heard.lock().expect("nobody panics")[count - 1].1.clone();
        (started["id"].as_str().expect("an id").to_string(), serde_json::from_str(&body).expect("JSON"))
    }

    fn path(&self, told: &Value) -> String {
        let link = told["link"].as_str().expect("a link");
        link.strip_prefix(&format!("http://{}", self.address)).expect("where the daemon listens").to_string()
    }

    fn pending(&self) -> usize {
        self.office.daemon.json(&["approval", "list"]).as_array().map_or(0, Vec::len)
    }
}

#[test]
fn an_approval_is_told_until_it_is_taken_and_its_link_shows_and_answers_it_once() {
    let asking = asking();
    let agent = asking.office.daemon.deploy(MANIFEST);
    let marks = asking.office.daemon.work_folder(agent["id"].as_str().expect("an id")).join("marks");
    let (execution, told) = asking.told(2);
    {
        let heard = asking.heard.lock().expect("nobody panics");
        let ids: Vec<_> = heard.iter().map(|(headers, _)| headers["tenure-approval"].clone()).collect();
        assert_eq!(ids[0], ids[1], "the same one under the same id, after a failure");
        for (headers, body) in heard.iter() {
            let signature = headers["tenure-signature"].to_str().expect("text");
            let (time, given) =
                signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect("its form");
            let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
            mac.update(format!("{time}.{body}").as_bytes());
            let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(given, hex);
        }
    }
    assert_eq!((&told["kind"], &told["approval"]["status"]), (&json!("approval.asked"), &json!("pending")), "{told:#}");
    let path = asking.path(&told);

    for _ in 0..2 {
        let (status, page) = ask(&asking.address, "GET", &path, &[], "");
        assert_eq!(status, 200, "{page}");
        assert!(
            page.contains("default-src 'none'") && !page.contains("<script") && page.contains("&lt;b&gt;"),
            "{page}"
        );
    }
    assert_eq!((asking.pending(), marks.exists()), (1, false), "a GET answers nothing");

    let forged = path.replace(".approver.", ".owner.");
    let (last, flipped) = (path.len() - 1, if path.ends_with('0') { "1" } else { "0" });
    for wrong in [forged, format!("{}{flipped}", &path[..last]), "/approve/x".to_string()] {
        for method in ["GET", "POST"] {
            assert_eq!(ask(&asking.address, method, &wrong, &[FORM], "answer=approve").0, 401, "{method} {wrong}");
        }
    }
    assert_eq!(ask(&asking.address, "POST", &path, &[FORM], "answer=perhaps").0, 422);
    let foreign = [FORM, ("origin", "https://evil.example")];
    assert_eq!(ask(&asking.address, "POST", &path, &foreign, "answer=approve").0, 403);
    assert_eq!((asking.pending(), marks.exists()), (1, false), "and neither does any of these");

    let answers: Vec<u16> = std::thread::scope(|scope| {
        let click = || ask(&asking.address, "POST", &path, &[FORM], "answer=approve&note=it+is+small").0;
        let clicks: Vec<_> = (0..4).map(|_| scope.spawn(click)).collect();
        clicks.into_iter().map(|click| click.join().expect("it answers")).collect()
    });
    let (taken, late) =
        (answers.iter().filter(|one| **one == 200).count(), answers.iter().filter(|one| **one == 409).count());
    assert_eq!((taken, late), (1, 3), "{answers:?}");
    assert_eq!(asking.office.daemon.ended(&execution, WITHIN)["status"], "completed");
    assert_eq!(std::fs::read_to_string(&marks).expect("the control: it was done"), "<b>\n", "and once");
    let all = asking.office.daemon.json(&["approval", "list", "--all"]);
    assert!(
        all[0]["detail"].as_str().is_some_and(|by| by.starts_with("by link:apr_") && by.ends_with("it is small")),
        "{all}"
    );
    let (status, page) = ask(&asking.address, "GET", &path, &[], "");
    assert!(status == 200 && page.contains("approved") && !page.contains("<form"), "{page}");
    assert_eq!(ask(&asking.address, "POST", &path, &[FORM], "answer=reject").0, 409, "a used link answers nothing");

    let (execution, told) = asking.told(3);
    assert_ne!(asking.path(&told), path);
    assert_eq!(ask(&asking.address, "POST", &asking.path(&told), &[FORM], "answer=reject&note=no").0, 200);
    asking.office.daemon.ended(&execution, WITHIN);
    assert_eq!(std::fs::read_to_string(&marks).expect("it is there"), "<b>\n", "what is rejected is not done");
    assert!(!asking.office.daemon.log().contains("hidden"), "the address may hold a secret");
    asking.office.holds();
}
