//! Images as people have them: with a loader, libraries and a language of their own, or not there at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tenure_sandbox::Error;

use crate::house::{engines, inside, run, text};

/// The host's Python with the libraries that it names, in a tree of their own; None if the host has none under /usr.
fn python_root(folder: &Path) -> Option<PathBuf> {
    let python = fs::canonicalize("/usr/bin/python3").ok().filter(|path| path.starts_with("/usr"))?;
    let told = Command::new(&python)
        .args(["-I", "-S", "-c", "import os; print(os.__file__.rsplit('/', 1)[0])"])
        .output()
        .ok()?;
    let library = PathBuf::from(text(&told.stdout));
    let linked = Command::new("ldd").arg(&python).output().ok()?;
    let linked = text(&linked.stdout);
    let needed = linked.split_ascii_whitespace().filter(|word| word.starts_with('/'));
    let root = folder.join("python");
    let mut copy = vec![python.clone(), PathBuf::from("/bin/sh")];
    let shell = Command::new("ldd").arg("/bin/sh").output().ok()?;
    copy.extend(needed.map(PathBuf::from));
    copy.extend(text(&shell.stdout).split_ascii_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    for host in copy {
        let inside = root.join(host.strip_prefix("/").ok()?);
        fs::create_dir_all(inside.parent()?).ok()?;
        fs::copy(&host, &inside).ok()?;
    }
    let inside = root.join(library.strip_prefix("/").ok()?);
    fs::create_dir_all(&inside).ok()?;
    for module in [
        "encodings",
        "codecs.py",
        "io.py",
        "abc.py",
        "site.py",
        "os.py",
        "stat.py",
        "posixpath.py",
        "genericpath.py",
        "_collections_abc.py",
    ] {
        let status = Command::new("cp").arg("-r").arg(library.join(module)).arg(&inside).status().ok()?;
        assert!(status.success(), "{module}");
    }
    Some(root)
}

#[test]
fn the_jail_runs_in_any_root_and_the_images_own_language_runs_in_it() {
    for house in engines() {
        let name = house.engine.name();
        let Some(root) = python_root(house.folder.path()) else {
            eprintln!("skipped: no python3 under /usr");
            return;
        };
        house.import("python", &root);
        let (contained, mut client) = house.open_image(&house.spec("work", 1), "python");
        let python = fs::canonicalize("/usr/bin/python3").unwrap();
        let python = python.file_name().unwrap().to_str().unwrap();
        let output = run(&mut client, &[python, "-I", "-S", "-c", "import os; print(6 * 7, os.getcwd())"]);
        assert_eq!(text(&output.stdout), "42 /workspace", "{name}: {}", text(&output.stderr));
        assert_eq!(
            inside(&mut client, "echo own shell > file && read line < file && echo $line"),
            "own shell",
            "{name}"
        );
        house.kill(&contained);
    }
}

#[test]
fn an_image_that_is_not_there_is_named_with_the_way_to_get_it_and_never_pulled() {
    for house in engines() {
        let name = house.engine.name();
        let refused = house.try_open(&house.spec("work", 1), "not-there:3").map(drop).unwrap_err();
        assert!(matches!(&refused, Error::Image { image, .. } if image == "not-there:3"), "{refused:?}");
        assert!(refused.to_string().contains(&format!("`{name} pull not-there:3`")), "{refused}");
        let odd = house.try_open(&house.spec("work", 1), "../containers/json?x").map(drop).unwrap_err();
        assert!(matches!(odd, Error::Spec { field: "image", .. }), "{odd:?}");
        let listed = house.runtime.block_on(house.engine.images()).unwrap();
        assert!(listed.iter().any(|image| image.ends_with("busybox-for-tests:latest")), "{name}: {listed:?}");
        let (found, _client) = house.open_image(&house.spec("work", 1), "localhost/busybox-for-tests");
        house.kill(&found);
        assert_eq!(house.containers(), Vec::<String>::new(), "{name}: nothing stays of a refusal");
    }
}
