use std::os::unix::fs::{PermissionsExt, symlink};

use tenure_sandbox::protocol::{Answer, Kind, Operation, Refusal, Spawn, WriteMode};
use tenure_sandbox::{Client, Jail};

use crate::house::{House, inside, is_root, redirected, refusal};

fn chown_to_agent(path: &std::path::Path) {
    if is_root() {
        std::os::unix::fs::lchown(path, Some(300_001), Some(300_001)).expect("chown");
    }
}

#[test]
fn a_written_file_is_whole_keeps_its_mode_and_its_folders_are_made() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    assert!(client.write("a/b/c.txt", b"one", WriteMode::Create).unwrap());
    assert_eq!(refusal(client.write("a/b/c.txt", b"two", WriteMode::Create)), Refusal::Exists);
    assert_eq!(client.read("/workspace/a/b/c.txt", 10).unwrap(), b"one");
    inside(&mut client, "chmod 750 a/b/c.txt");
    assert!(!client.write("a/b/c.txt", b"three", WriteMode::Overwrite).unwrap());
    let found = client.stat("a/b/c.txt").unwrap();
    assert_eq!((found.kind, found.size, found.mode, found.name.as_str()), (Kind::File, 5, 0o750, "c.txt"));
    let large: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    client.write("large", &large, WriteMode::Create).unwrap();
    assert_eq!(client.read("large", u64::MAX).unwrap(), large);
    assert_eq!(refusal(client.write("a", b"x", WriteMode::Overwrite)), Refusal::IsDirectory);
    assert_eq!(refusal(client.write("large/x", b"x", WriteMode::Overwrite)), Refusal::NotDirectory);
    assert_eq!(inside(&mut client, "find . -name '.tenure*'"), "", "no temporary file stays");
}

#[test]
fn an_unfinished_write_changes_nothing() {
    let house = House::new();
    let (jail, mut client) = house.open();
    client.write("file", b"old", WriteMode::Create).unwrap();
    let half = Operation::Write { path: "file".into(), size: 100, mode: WriteMode::Overwrite };
    client.send(half, b"half of it").unwrap();
    assert_eq!(client.read("file", 100).unwrap(), b"old");
    assert_eq!(refusal(client.write("file", b"other", WriteMode::Overwrite)), Refusal::Busy);
    jail.kill().unwrap();
    assert_eq!(std::fs::read(house.path("work/file")).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(house.path("work")).unwrap().count(), 1, "the killed jail left no half file");
    let (_jail, mut client) = house.open();
    client.write("file", b"new", WriteMode::Overwrite).unwrap();
    assert_eq!(
        (client.read("file", 9).unwrap().as_slice(), inside(&mut client, "ls -A").as_str()),
        (&b"new"[..], "file")
    );
}

#[test]
fn append_edit_list_and_stat_do_what_they_say() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    client.append("log", b"one\n").unwrap();
    client.append("log", b"two\none\n").unwrap();
    assert_eq!(client.read("log", 100).unwrap(), b"one\ntwo\none\n");
    assert_eq!(refusal(client.edit("log", "one", "1", Some(1))), Refusal::NoMatch { count: 2, expected: 1 });
    assert_eq!(refusal(client.edit("log", "three", "3", None)), Refusal::NoMatch { count: 0, expected: 1 });
    assert_eq!(client.edit("log", "one", "1", Some(2)).unwrap(), 2);
    let (path, find, replace) = ("log".to_owned(), "two".to_owned(), "2".to_owned());
    let id = client.send(Operation::Edit { path, find, replace, expected_count: None, dry_run: true }, b"").unwrap();
    assert_eq!(client.answer(id).unwrap().0, Answer::Edited { replaced: 1 });
    assert_eq!(client.read("log", 100).unwrap(), b"1\ntwo\n1\n", "a dry run changes nothing");
    for name in ["c", "a", "b"] {
        client.write(&format!("folder/{name}"), b"", WriteMode::Create).unwrap();
    }
    let (page, next) = client.list("folder", 2, None).unwrap();
    assert_eq!(page.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let (page, next) = client.list("folder", 2, next).unwrap();
    assert_eq!((page[0].name.as_str(), page.len(), next), ("c", 1, None));
    assert_eq!(refusal(client.list("log", 2, None)), Refusal::NotDirectory);
    assert_eq!(refusal(client.stat("nothing")), Refusal::NotFound);
    assert_eq!(client.stat(".").unwrap().kind, Kind::Directory);
}

#[test]
fn an_edit_that_could_mean_several_places_changes_none_unless_all_are_meant() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let content = b"return None\nx = 1\nreturn None\n";
    client.write("f.py", content, WriteMode::Create).unwrap();
    let refused = refusal(client.edit("f.py", "return None", "return 0", None));
    assert_eq!(refused, Refusal::NoMatch { count: 2, expected: 1 });
    assert!(refused.to_string().contains("expected_count: 2"), "{refused}");
    assert_eq!(client.read("f.py", 100).unwrap(), content);
    assert_eq!(client.edit("f.py", "x = 1", "x = 2", None).unwrap(), 1);
    assert_eq!(client.edit("f.py", "return None", "return 0", Some(2)).unwrap(), 2);
    assert_eq!(client.read("f.py", 100).unwrap(), b"return 0\nx = 2\nreturn 0\n");
}

#[test]
fn a_file_with_crlf_lines_keeps_them_when_it_is_edited_by_texts_without() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    client.write("dos.txt", b"one\r\ntwo\r\nthree\r\n", WriteMode::Create).unwrap();
    assert_eq!(client.edit("dos.txt", "one\ntwo\n", "1\n1.5\n2\n", None).unwrap(), 1);
    assert_eq!(client.read("dos.txt", 100).unwrap(), b"1\r\n1.5\r\n2\r\nthree\r\n");
}

#[test]
fn names_that_are_no_utf_8_are_listed_read_deleted_and_restored_by_the_text_that_is_shown() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    inside(
        &mut client,
        "mkdir odd && cd odd && printf 1 > \"$(printf 'a\\377b')\" && printf 2 > \"$(printf 'a\\376b')\" && printf 3 > 'a\\xffb'",
    );
    let (page, _) = client.list("odd", 9, None).unwrap();
    let names: Vec<&str> = page.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["a\\x5cxffb", "a\\xfeb", "a\\xffb"]);
    for (name, content) in names.iter().zip([b"3", b"2", b"1"]) {
        let path = format!("odd/{name}");
        assert_eq!(client.read(&path, 9).unwrap(), content);
        assert_eq!(client.stat(&path).unwrap().name, *name);
        let trash = client.delete(&path, false).unwrap().unwrap();
        assert_eq!(client.read(&trash, 9).unwrap(), content);
        assert_eq!(refusal(client.restore(&trash, None)), redirected(&format!("/workspace/{path}")));
        assert_eq!(client.restore(&trash, Some(&path)).unwrap(), path);
        assert_eq!(client.read(&path, 9).unwrap(), content);
    }
    inside(&mut client, "ln -s \"$(printf 'a\\377b')\" odd/way");
    assert_eq!(refusal(client.read("odd/way", 9)), redirected("/workspace/odd/a\\xffb"));
}

/// Judged by another spelling, a forbidden file would be reached.
#[test]
fn a_path_has_no_second_spelling() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    client.write("caf\u{e9}", b"x", WriteMode::Create).unwrap();
    client.write("back\\slash", b"x", WriteMode::Create).unwrap();
    for (spelling, form) in [("caf\\xc3\\xa9", "caf\u{e9}"), ("back\\x5cslash", "back\\slash")] {
        assert_eq!(refusal(client.read(spelling, 9)), redirected(&format!("/workspace/{form}")));
        assert_eq!(refusal(client.delete(spelling, false)), redirected(&format!("/workspace/{form}")));
        assert_eq!(client.read(form, 9).unwrap(), b"x");
    }
    let folder = Spawn { cwd: Some("caf\\xc3\\xa9".to_owned()), ..Spawn::new(["true"]) };
    assert_eq!(refusal(client.run(folder, b"").map(drop)), redirected("/workspace/caf\u{e9}"));
}

#[test]
fn delete_moves_into_the_trash_and_only_there_it_is_final() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    client.write("folder/file", b"x", WriteMode::Create).unwrap();
    assert_eq!(refusal(client.delete("folder", false)), Refusal::NotEmpty);
    let trash = client.delete("folder", true).unwrap().unwrap();
    assert_eq!(client.read(&format!("{trash}/file"), 10).unwrap(), b"x");
    assert_eq!(refusal(client.stat("folder")), Refusal::NotFound);
    assert_eq!(client.delete(&trash, true).unwrap(), None);
    assert_eq!(refusal(client.stat(&trash)), Refusal::NotFound);
    client.write("/tmp/deep/file", b"x", WriteMode::Create).unwrap();
    assert_eq!(client.delete("/tmp/deep", true).unwrap(), None);
    assert_eq!(inside(&mut client, "ls -A /tmp"), "");
    for path in [".", "/workspace", "/tmp", ".trash"] {
        assert!(client.delete(path, true).is_err(), "{path} stays");
    }
    assert_eq!(client.stat(".").unwrap().kind, Kind::Directory);
}

#[test]
fn a_restored_file_lies_where_it_lay_and_replaces_nothing() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    client.write("notes/a", b"one", WriteMode::Create).unwrap();
    inside(&mut client, "ln -s notes way; mkdir -p deep/er && echo d > deep/er/file");
    assert_eq!(refusal(client.delete("way/a", false)), redirected("/workspace/notes/a"));
    let trash = client.delete("notes/a", false).unwrap().unwrap();
    client.write("notes/a", b"two", WriteMode::Create).unwrap();
    assert_eq!(refusal(client.restore(&trash, Some("notes/a"))), Refusal::Exists);
    assert_eq!(refusal(client.restore(&trash, Some("way/b"))), redirected("/workspace/notes/b"));
    assert_eq!(client.restore(&trash, Some("new/folder/a")).unwrap(), "new/folder/a");
    assert_eq!(client.read("new/folder/a", 9).unwrap(), b"one");
    assert_eq!(client.read("notes/a", 9).unwrap(), b"two");
    assert_eq!(refusal(client.restore(&trash, None)), Refusal::NotFound);
    // A folder too, by its own path, with its parents made again.
    let trash = client.delete("deep/er", true).unwrap().unwrap();
    client.delete("deep", true).unwrap();
    assert_eq!(refusal(client.restore(&trash, None)), redirected("/workspace/deep/er"), "nobody has judged that yet");
    assert_eq!(refusal(client.stat("deep")), Refusal::NotFound, "nothing was made for it");
    assert_eq!(client.restore(&trash, Some("/workspace/deep/er")).unwrap(), "/workspace/deep/er");
    assert_eq!(client.read("deep/er/file", 9).unwrap(), b"d\n");
    assert_eq!(inside(&mut client, "ls .trash/.from | wc -l"), "1", "notes go with their entries");
}

#[test]
fn a_forged_trash_leads_nowhere() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let forge = |client: &mut Client, origin: &str| {
        client.write("file", b"x", WriteMode::Overwrite).unwrap();
        let trash = client.delete("file", false).unwrap().unwrap();
        let name = trash.strip_prefix(".trash/").unwrap().to_owned();
        inside(client, &format!("printf '{origin}' > .trash/.from/{name}"));
        (trash, name)
    };
    for origin in ["/etc/passwd", "../../outside", "/workspace/../outside"] {
        let (trash, _) = forge(&mut client, origin);
        assert_eq!(refusal(client.restore(&trash, None)), Refusal::Escape, "{origin}");
    }
    for origin in ["", "..", ".trash/again", "/workspace/.trash/.from/x", "/tmp/file", "a\\000b"] {
        let (trash, _) = forge(&mut client, origin);
        let refused = refusal(client.restore(&trash, None));
        assert!(matches!(refused, Refusal::Invalid { .. }), "{origin}: {refused:?}");
    }
    let (trash, name) = forge(&mut client, "x");
    inside(&mut client, &format!("rm .trash/.from/{name}; ln -s /etc/hostname .trash/.from/{name}"));
    assert!(matches!(refusal(client.restore(&trash, None)), Refusal::Invalid { .. }), "a link is no note");
    inside(&mut client, &format!("rm .trash/.from/{name}; mkfifo .trash/.from/{name}"));
    assert!(matches!(refusal(client.restore(&trash, None)), Refusal::Invalid { .. }), "a fifo is no note");
    for path in [".trash", ".trash/.from", "file", "/usr/bin/env", ".trash/..", "notes/.trash/x"] {
        assert!(client.restore(path, Some("stolen")).is_err(), "{path} is no entry");
    }
    // A path that only seems to lie in the trash is deleted into it.
    client.write("kept", b"x", WriteMode::Create).unwrap();
    assert!(client.delete(".trash/../kept", false).unwrap().is_some());
    // The control: the same entry, to a path of one's own.
    assert_eq!(client.restore(&trash, Some("mine")).unwrap(), "mine");
    inside(&mut client, "rm -rf .trash; ln -s /tmp .trash");
    assert!(client.delete("mine", false).is_err(), "a trash that is a link takes nothing");
    assert_eq!(client.stat("mine").unwrap().size, 1);
}

/// Every operation on one path.
fn attempts(client: &mut Client, path: &str) -> Vec<(&'static str, Result<(), tenure_sandbox::Error>)> {
    let mut all = uses(client, path);
    all.push(("delete", client.delete(path, true).map(drop)));
    all
}

/// Every one that acts on what a link at the end of the path leads to.
fn uses(client: &mut Client, path: &str) -> Vec<(&'static str, Result<(), tenure_sandbox::Error>)> {
    vec![
        ("read", client.read(path, 100).map(drop)),
        ("write", client.write(path, b"breach", WriteMode::Overwrite).map(drop)),
        ("create", client.write(path, b"breach", WriteMode::Create).map(drop)),
        ("append", client.append(path, b"breach").map(drop)),
        ("edit", client.edit(path, "secret", "breach", None).map(drop)),
        ("list", client.list(path, 10, None).map(drop)),
    ]
}

#[test]
fn no_path_leaves_the_work_folder() {
    let house = House::new();
    std::fs::create_dir(house.path("outside")).unwrap();
    let (_jail, mut client) = house.open();
    let secret = house.path("outside/secret");
    std::fs::write(&secret, "secret").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o666)).unwrap();
    std::fs::set_permissions(house.path("outside"), PermissionsExt::from_mode(0o777)).unwrap();
    let work = house.path("work");
    for (name, target) in
        [("up", "../outside"), ("absolute", "/etc/hosts"), ("etc", "/etc"), ("proc", "/proc/self/root")]
    {
        symlink(target, work.join(name)).unwrap();
        chown_to_agent(&work.join(name));
    }
    std::fs::create_dir(work.join("sub")).unwrap();
    let paths = [
        "../outside/secret",
        "sub/../../outside/secret",
        "/workspace/../outside/secret",
        "up/secret",
        "etc/passwd",
        "/etc/passwd",
        "proc/etc/passwd",
        "/proc/self/environ",
        "/dev/null",
        "/usr/bin/env",
        "/tmp/../etc/passwd",
    ];
    for path in paths {
        for (operation, result) in attempts(&mut client, path) {
            let escape = matches!(result, Err(tenure_sandbox::Error::Refused(Refusal::Escape)));
            assert!(escape, "{operation} {path}: {result:?}");
        }
        assert!(matches!(refusal(client.stat(path)), Refusal::Escape), "stat {path}");
    }
    for (operation, result) in attempts(&mut client, "absolute") {
        // A link itself may be deleted; nothing may pass through it.
        if operation != "delete" {
            assert_eq!(refusal(result), Refusal::Escape, "{operation} through an absolute link");
        }
    }
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(std::fs::read_dir(house.path("outside")).unwrap().count(), 1, "nothing was made beside it");
}

#[test]
fn a_link_is_never_followed_but_said_where_it_leads() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    client.write("real/file", b"content", WriteMode::Create).unwrap();
    client.write("real/sub/deep", b"deep", WriteMode::Create).unwrap();
    inside(
        &mut client,
        "ln -s real alias; ln -s ../real/file real/link; ln -s /workspace/real/file absolute; ln -s alias/sub chain
         ln -s real/nothing dangling; ln -s /tmp/there elsewhere; ln -s sub/../../real/./file real/odd",
    );
    for (asked, leads) in [
        ("alias/file", "/workspace/real/file"),
        ("/workspace/alias/./sub/../file", "/workspace/real/file"),
        ("real/link", "/workspace/real/file"),
        ("real/odd", "/workspace/real/file"),
        ("absolute", "/workspace/real/file"),
        ("chain/deep", "/workspace/real/sub/deep"),
        ("chain/new/er", "/workspace/real/sub/new/er"),
        ("dangling", "/workspace/real/nothing"),
        ("elsewhere", "/tmp/there"),
    ] {
        for (operation, result) in uses(&mut client, asked) {
            assert_eq!(refusal(result), redirected(leads), "{operation} {asked}");
        }
    }
    assert_eq!(client.read("real/file", 100).unwrap(), b"content", "nothing was done");
    assert_eq!(client.stat("real/link").unwrap().kind, Kind::Symlink);
    assert_eq!(
        refusal(client.stat("alias/link")),
        redirected("/workspace/real/link"),
        "the link itself, by its own path"
    );
    assert_eq!(refusal(client.delete("alias/link", false)), redirected("/workspace/real/link"));
    client.delete("absolute", false).unwrap();
    assert_eq!(refusal(client.list("alias", 10, None)), redirected("/workspace/real"));
    inside(&mut client, "ln -s loop loop; ln -s real/file/x through");
    assert!(matches!(refusal(client.read("loop", 10)), Refusal::Invalid { .. }));
    assert_eq!(refusal(client.read("through", 10)), Refusal::NotDirectory);
}

#[test]
fn a_program_starts_in_the_folder_that_was_named_and_follows_links_itself() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    inside(&mut client, "mkdir real; echo in-real > real/file; ln -s real alias; ln -s /proc/self/cwd magic");
    let mut run = |cwd: &str| {
        let spawn = Spawn { cwd: Some(cwd.to_owned()), ..Spawn::new(["cat", "file", "../alias/file"]) };
        client.run(spawn, b"").map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(run("real").unwrap(), "in-real\nin-real\n");
    assert_eq!(refusal(run("alias")), redirected("/workspace/real"));
    assert!(matches!(refusal(run("magic")), Refusal::Invalid { .. }));
    assert_eq!(refusal(run("nothing")), Refusal::NotFound);
}

#[test]
fn special_files_neither_block_nor_open() {
    let house = House::new();
    let (_jail, mut client): (Jail, Client) = house.open();
    let make = "mkfifo fifo; python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('socket')\"; ls";
    assert_eq!(inside(&mut client, make), "fifo\nsocket");
    for path in ["fifo", "socket"] {
        for (operation, result) in attempts(&mut client, path) {
            match (operation, result) {
                ("create", result) => assert!(matches!(refusal(result), Refusal::Exists | Refusal::Invalid { .. })),
                ("list", result) => assert_eq!(refusal(result), Refusal::NotDirectory),
                ("delete", result) => result.unwrap(),
                (_, result) => assert!(matches!(refusal(result), Refusal::Invalid { .. }), "{operation} {path}"),
            }
        }
    }
}

#[test]
fn bad_paths_and_bad_sizes_are_refused_and_the_jail_lives_on() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    for path in ["", "a\0b", &"x".repeat(5000), &"x".repeat(300)] {
        assert!(matches!(refusal(client.read(path, 10)), Refusal::Invalid { .. }));
    }
    let id = client.send(Operation::Write { path: "f".into(), size: 2, mode: WriteMode::Create }, b"more").unwrap();
    assert!(matches!(client.answer(id).unwrap().0, Answer::Refused(Refusal::Invalid { .. })));
    assert_eq!(refusal(client.stat("f")), Refusal::NotFound);
    client.ping().unwrap();
}

#[test]
fn a_worker_that_asks_faster_than_it_reads_gets_every_answer() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    client.write("big", &vec![7; 500_000], WriteMode::Create).unwrap();
    let read = || Operation::Read { path: "big".into(), offset: 0, max: 500_000 };
    let ids: Vec<u32> = (0..200).map(|_| client.send(read(), b"").unwrap()).collect();
    for id in ids {
        let (answer, body) = client.answer(id).unwrap();
        assert_eq!((answer, body.len()), (Answer::Read { size: 500_000, eof: true }, 500_000));
    }
}
