//! What was judged is what is opened: a call acts on the path that came with it, or on its own as its text resolves, and where a
//! link is on that path it acts on nothing and says where the link leads.
use crate::house::{House, shell};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use tenure_core::call::Outcome;
use tenure_core::capability::path::{WORKSPACE, judged};
use tenure_wire::frame::{CallOutcome, LeasedCall};

/// Each file holds its own path, so that a read tells what was opened. Links, by where they lie and what they say.
const FILES: [&str; 5] = ["a", "d/a", "d/e/a", "d/e/b", "e/a"];
const FOLDERS: [&str; 4] = ["", "d", "d/e", "e"];
const LINKS: [(&str, &str); 9] = [
    ("l", "d"),
    ("d/l", "../e"),
    ("d/e/l", "/workspace/d"),
    ("e/l", "../l/e/../a"),
    ("b", "d/e/b"),
    ("d/b", "/workspace/l/e/b"),
    ("e/b", "./../nothing/here"),
    ("loop", "e/../loop"),
    ("out", "/etc"),
];

/// What becomes of a path, by a reading of the tree above.
#[derive(Debug, PartialEq)]
enum Expected {
    Opens(String),
    Leads(String),
    Fails(&'static str),
}

/// Follows links until there is none, or says how that fails.
fn real(path: &str) -> Result<String, &'static str> {
    let links: BTreeMap<String, &str> = LINKS.iter().map(|(at, to)| (format!("{WORKSPACE}/{at}"), *to)).collect();
    let mut path = path.to_owned();
    'again: for _ in 0..64 {
        let ends = path.match_indices('/').map(|(end, _)| end).skip(1).chain([path.len()]).collect::<Vec<_>>();
        for end in ends {
            if let Some(to) = links.get(&path[..end]) {
                let folder = path[..end].rsplit_once('/').map_or("", |(folder, _)| folder);
                path = judged(&format!("{to}{}", &path[end..]), folder).unwrap();
                continue 'again;
            }
        }
        let inside = path == WORKSPACE || path.starts_with("/workspace/");
        return if inside { Ok(path) } else { Err("escape") };
    }
    Err("invalid_arguments")
}

fn is_below_a_file(path: &str) -> bool {
    FILES.iter().any(|file| path.starts_with(&format!("{WORKSPACE}/{file}/")))
}

fn expected(path: &str) -> Expected {
    let resolved = judged(path, WORKSPACE).unwrap();
    let inside = |path: &str| path.strip_prefix(WORKSPACE).map(|rest| rest.trim_start_matches('/').to_owned());
    let Some(rest) = inside(&resolved).filter(|_| resolved == WORKSPACE || resolved.starts_with("/workspace/")) else {
        return Expected::Fails("escape");
    };
    match real(&resolved) {
        Err(code) => Expected::Fails(code),
        Ok(real) if real != resolved && !is_below_a_file(&real) => Expected::Leads(real),
        Ok(real) if real != resolved => Expected::Fails("not_directory"),
        Ok(_) if FILES.contains(&rest.as_str()) => Expected::Opens(resolved),
        Ok(_) if FOLDERS.contains(&rest.as_str()) => Expected::Fails("is_directory"),
        Ok(real) if is_below_a_file(&real) => Expected::Fails("not_directory"),
        Ok(_) => Expected::Fails("not_found"),
    }
}

async fn furnish(house: &mut House) {
    let mut script = "mkdir -p d/e e".to_owned();
    for file in FILES {
        script.push_str(&format!("; printf /workspace/{file} > {file}"));
    }
    for (at, to) in LINKS {
        script.push_str(&format!("; ln -s {to} {at}"));
    }
    house.does("process.run", shell(&script)).await;
}

fn told(outcome: &CallOutcome) -> Expected {
    match &outcome.outcome {
        Outcome::Done { .. } => Expected::Opens(outcome.result["content"].as_str().unwrap().to_owned()),
        Outcome::Redirected { path } => Expected::Leads(path.clone()),
        Outcome::Failed { code } => Expected::Fails(match code.as_str() {
            "escape" => "escape",
            "not_found" => "not_found",
            "is_directory" => "is_directory",
            "not_directory" => "not_directory",
            "invalid_arguments" => "invalid_arguments",
            _ => "something else",
        }),
        other => panic!("{other:?}"),
    }
}

/// A path of names, links, dots and slashes.
fn paths() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "d", "e", "l", "loop", "out", "..", ".", "", "nothing"]);
    let start = prop::sample::select(vec!["", "/workspace/", "./", "//workspace//", "/"]);
    (start, prop::collection::vec(part, 1..7))
        .prop_map(|(start, parts)| format!("{start}{}", parts.join("/")))
        .prop_filter("a path names something", |path| !path.is_empty())
}

#[test]
fn what_is_asked_for_is_what_is_opened_or_else_where_its_links_lead_and_then_that_is() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let house = RefCell::new(runtime.block_on(async {
        let mut house = House::new().await;
        furnish(&mut house).await;
        house
    }));
    let ask = |call: &dyn Fn(&mut House) -> LeasedCall| {
        let house = &mut *house.borrow_mut();
        let call = call(house);
        runtime.block_on(house.perform(&call))
    };
    let leads = Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let tried = runner.run(&paths(), |path| {
        let by_path = |house: &mut House, path: Option<String>, said: &str| LeasedCall {
            path,
            ..house.call("filesystem.read", json!({ "path": said }))
        };
        let raw = ask(&|house| by_path(house, None, &path));
        prop_assert_eq!(told(&raw), expected(&path), "{}", path);
        // The path that was judged alone counts, whatever the arguments say.
        let resolved = judged(&path, WORKSPACE);
        let same = ask(&|house| by_path(house, resolved.clone(), "a"));
        prop_assert_eq!(told(&same), expected(&path), "{}", path);
        if let Expected::Leads(real) = expected(&path) {
            leads.set(leads.get() + 1);
            let again = ask(&|house| by_path(house, Some(real.clone()), &path));
            prop_assert_eq!(told(&again), expected(&real), "{} by {}", real, path);
            prop_assert!(!matches!(told(&again), Expected::Leads(_)), "{} is real", real);
        }
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
    assert!(leads.get() > 20, "only {leads:?} paths went through a link");
}

fn led(path: &str) -> Outcome {
    Outcome::Redirected { path: path.to_owned() }
}

#[tokio::test]
async fn nothing_is_done_through_a_link_by_any_capability_and_what_acts_on_the_link_itself_does() {
    let mut house = House::new().await;
    furnish(&mut house).await;
    let before = house.does("process.run", shell("find . -printf '%p %l %T@\\n' | sort")).await;
    let calls: [(&str, Value, &str); 9] = [
        ("filesystem.read", json!({"path": "b"}), "/workspace/d/e/b"),
        ("filesystem.write", json!({"path": "b", "content": "x"}), "/workspace/d/e/b"),
        ("filesystem.write", json!({"path": "l/made/x", "content": "x"}), "/workspace/d/made/x"),
        ("filesystem.append", json!({"path": "b", "content": "x"}), "/workspace/d/e/b"),
        ("filesystem.edit", json!({"path": "l/a", "find": "a", "replace": "b"}), "/workspace/d/a"),
        ("filesystem.list", json!({"path": "l"}), "/workspace/d"),
        ("filesystem.stat", json!({"path": "l/b"}), "/workspace/d/b"),
        ("filesystem.delete", json!({"path": "l/b"}), "/workspace/d/b"),
        ("process.run", json!({"command": "touch", "args": ["made"], "cwd": "l/e"}), "/workspace/d/e"),
    ];
    for (capability, arguments, leads) in calls {
        let call = house.call(capability, arguments);
        assert_eq!(house.perform(&call).await.outcome, led(leads), "{capability}");
    }
    let after = house.does("process.run", shell("find . -printf '%p %l %T@\\n' | sort")).await;
    assert_eq!(before["stdout"], after["stdout"], "nothing was done");
    assert_eq!(house.does("filesystem.stat", json!({"path": "b"})).await["kind"], "symlink");
    let trash = house.does("filesystem.delete", json!({"path": "b"})).await["trashed_as"].clone();
    assert_eq!(house.does("filesystem.read", json!({"path": "d/e/b"})).await["content"], "/workspace/d/e/b");
    house.does("filesystem.restore", json!({"trashed_as": trash, "path": "b"})).await;
    let call = house.call("filesystem.restore", json!({"trashed_as": trash, "path": "l/x"}));
    assert_eq!(house.perform(&call).await.outcome, Outcome::Failed { code: "not_found".to_owned() });
    // A program follows links as ever.
    assert_eq!(
        house.does("process.run", shell("cat b; cd l && cat a")).await["stdout"],
        "/workspace/d/e/b/workspace/d/a"
    );
    // A path that came with the call and is not in the form that is judged was judged by nobody.
    for path in ["d/a", "/workspace/./d/a", "/workspace/d/../a", ""] {
        let call = house.call("filesystem.read", json!({"path": "a"}));
        let outcome = house.perform(&LeasedCall { path: Some(path.to_owned()), ..call }).await;
        assert_eq!(outcome.outcome, Outcome::Failed { code: "invalid_arguments".to_owned() }, "{path}");
    }
}
