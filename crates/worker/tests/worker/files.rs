use crate::house::House;
use serde_json::json;
use tenure_core::call::Outcome;

#[tokio::test]
async fn a_file_is_written_read_changed_listed_and_thrown_away() {
    let mut house = House::new().await;
    let written = house.does("filesystem.write", json!({"path": "notes/a.txt", "content": "one\ntwo\nthree\n"})).await;
    assert_eq!(written, json!({"size": 14}));
    let read = house.does("filesystem.read", json!({"path": "/workspace/notes/a.txt"})).await;
    let whole = json!({"content": "one\ntwo\nthree\n", "size": 14, "truncated": false, "encoding": "utf-8"});
    assert_eq!(read, whole);
    let appended = house.does("filesystem.append", json!({"path": "notes/a.txt", "content": "four\n"})).await;
    assert_eq!(appended, json!({"size": 19}));

    let edit = json!({"path": "notes/a.txt", "find": "two", "replace": "2", "dry_run": true});
    let tried = house.does("filesystem.edit", edit).await;
    assert_eq!(tried["replaced"], 1);
    let edit = json!({"path": "notes/a.txt", "find": "two", "replace": "2", "expected_count": 1});
    let edited = house.does("filesystem.edit", edit.clone()).await;
    assert_eq!(edited, tried);
    assert_eq!(edited["diff"], "@@ -1,4 +1,4 @@\n one\n-two\n+2\n three\n four\n");
    let (code, sentence) = house.fails("filesystem.edit", edit).await;
    assert_eq!(code, "no_match");
    assert!(sentence.contains("read the file again"), "{sentence}");

    let listed = house.does("filesystem.list", json!({"path": "notes"})).await;
    assert_eq!(listed, json!({"entries": [{"name": "a.txt", "kind": "file", "size": 17}], "truncated": false}));
    let stat = house.does("filesystem.stat", json!({"path": "notes/a.txt"})).await;
    assert_eq!((&stat["kind"], &stat["size"], &stat["mode"]), (&json!("file"), &json!(17), &json!("0644")));
    let deleted = house.does("filesystem.delete", json!({"path": "notes/a.txt"})).await;
    let trash = deleted["trashed_as"].as_str().unwrap().to_owned();
    assert_eq!(house.fails("filesystem.stat", json!({"path": "notes/a.txt"})).await.0, "not_found");
    let read = house.does("filesystem.read", json!({"path": trash})).await;
    assert_eq!(read["content"], "one\n2\nthree\nfour\n");
}

#[tokio::test]
async fn what_was_thrown_away_comes_back_to_where_it_lay_once_that_is_judged_or_to_where_it_is_said() {
    let mut house = House::new().await;
    house.does("filesystem.write", json!({"path": "notes/a", "content": "kept"})).await;
    let deleted = house.does("filesystem.delete", json!({"path": "notes/a"})).await;
    let back = house.call("filesystem.restore", deleted.clone());
    let first = house.perform(&back).await;
    assert_eq!(first.outcome, Outcome::Redirected { path: "/workspace/notes/a".to_owned() }, "{first:?}");
    assert_eq!(house.fails("filesystem.stat", json!({"path": "notes/a"})).await.0, "not_found");
    assert_eq!(house.led(&back).await.result, json!({"restored_to": "/workspace/notes/a"}));
    assert_eq!(house.does("filesystem.read", json!({"path": "notes/a"})).await["content"], "kept");

    let mut deleted = house.does("filesystem.delete", json!({"path": "notes/a"})).await;
    deleted["path"] = json!("b");
    assert_eq!(house.does("filesystem.restore", deleted).await, json!({"restored_to": "/workspace/b"}));
    assert_eq!(house.does("filesystem.read", json!({"path": "b"})).await["content"], "kept");
    // Nobody judges what is taken: only what lies in a trash can be.
    for stolen in ["b", "/etc/hostname", ".trash/../b", ".trash", "../../etc/hostname"] {
        let arguments = json!({"trashed_as": stolen, "path": "c"});
        let (code, sentence) = house.fails("filesystem.restore", arguments).await;
        assert!(["invalid_arguments", "escape", "not_found"].contains(&code.as_str()), "{stolen}: {code}: {sentence}");
    }
    assert_eq!(house.fails("filesystem.stat", json!({"path": "c"})).await.0, "not_found");
    assert_eq!(house.does("filesystem.read", json!({"path": "b"})).await["content"], "kept");
}

#[tokio::test]
async fn a_long_file_is_read_in_pieces_and_bytes_that_are_no_text_come_as_base64() {
    let mut house = House::new().await;
    let long = "€".repeat(300_000);
    house.does("filesystem.write", json!({"path": "long", "content": long})).await;
    let (mut all, mut offset) = (String::new(), 0);
    loop {
        let piece = json!({"path": "long", "offset": offset, "max_bytes": 700_001});
        let read = house.does("filesystem.read", piece).await;
        assert_eq!((&read["size"], &read["encoding"]), (&json!(900_000), &json!("utf-8")));
        all.push_str(read["content"].as_str().unwrap());
        offset = all.len();
        if read["truncated"] == false {
            break;
        }
    }
    assert_eq!(all, long);
    let read = house.does("filesystem.read", json!({"path": "long", "offset": 1, "max_bytes": 2})).await;
    assert_eq!((&read["content"], &read["encoding"]), (&json!("gqw="), &json!("base64")));
}

#[tokio::test]
async fn a_wrong_call_is_answered_with_its_reason() {
    let mut house = House::new().await;
    let (code, sentence) = house.fails("filesystem.read", json!({"file": "a"})).await;
    assert_eq!(code, "invalid_arguments");
    assert!(sentence.contains("`file`"), "{sentence}");
    assert_eq!(house.fails("filesystem.read", json!({"path": "none"})).await.0, "not_found");
    assert_eq!(house.fails("filesystem.read", json!({"path": "."})).await.0, "is_directory");
    assert_eq!(house.fails("filesystem.shred", json!({"path": "a"})).await.0, "unknown_capability");
}

#[tokio::test]
async fn no_path_leads_out_of_the_work_folder() {
    let mut house = House::new().await;
    let links =
        "ln -s /etc out; ln -s ../../../etc up; ln -s /proc/self/root root; mkdir in; echo mine > in/f; ln -s in well";
    house.does("process.run", json!({"command": "sh", "args": ["-c", links]})).await;
    for path in ["../../../etc/passwd", "/etc/passwd", "out/passwd", "up/passwd", "root/etc/passwd", "in/../../x"] {
        let (code, sentence) = house.fails("filesystem.read", json!({"path": path})).await;
        assert_eq!(code, "escape", "{path}: {sentence}");
        assert!(sentence.contains("/workspace"));
        let (code, _) = house.fails("filesystem.write", json!({"path": path, "content": "x"})).await;
        assert_eq!(code, "escape", "{path}");
    }
    // The control: where a link that stays within leads to can be asked for.
    let read = house.call("filesystem.read", json!({"path": "well/f"}));
    assert_eq!(house.led(&read).await.result["content"], "mine\n");
}

#[tokio::test]
async fn an_edit_keeps_crlf_shows_it_in_its_diff_and_wants_one_match_unless_told() {
    let mut house = House::new().await;
    house.does("filesystem.write", json!({"path": "dos", "content": "one\r\ntwo\r\ntwo\r\n"})).await;
    let edited = house.does("filesystem.edit", json!({"path": "dos", "find": "one\ntwo", "replace": "1\n2"})).await;
    assert_eq!(edited["diff"], "@@ -1,3 +1,3 @@\n-one\r\n-two\r\n+1\r\n+2\r\n two\r\n");
    assert_eq!(house.does("filesystem.read", json!({"path": "dos"})).await["content"], "1\r\n2\r\ntwo\r\n");
    house.does("filesystem.write", json!({"path": "twice", "content": "a a"})).await;
    let (code, sentence) = house.fails("filesystem.edit", json!({"path": "twice", "find": "a", "replace": "b"})).await;
    assert!(code == "no_match" && sentence.contains("expected_count: 2"), "{code}: {sentence}");
    let both = json!({"path": "twice", "find": "a", "replace": "b", "expected_count": 2});
    assert_eq!(house.does("filesystem.edit", both).await["replaced"], 2);
}

#[tokio::test]
async fn a_program_that_asks_for_a_terminal_gets_one_and_its_input_ends() {
    let mut house = House::new().await;
    let run = |pty: bool| json!({"command": "sh", "args": ["-c", "test -t 0 && test -t 1 && tty; cat; echo err >&2"], "stdin": "in\n", "pty": pty});
    let result = house.does("process.run", run(true)).await;
    assert_eq!((&result["stdout"], &result["stderr"]), (&json!("/dev/pts/0\r\nin\r\nerr\r\n"), &json!("")));
    let plain = house.does("process.run", run(false)).await;
    assert_eq!((&plain["stdout"], &plain["stderr"]), (&json!("in\n"), &json!("err\n")));
}
