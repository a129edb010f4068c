//! Archives: what one may be, and that nothing of one can be changed unseen.
use crate::packages::{built, file, files, key};
use tenure_core::package::archive::{self, File, Wrong};

#[test]
fn the_same_files_give_the_same_bytes_in_whatever_order_they_come() {
    let one = built("1.0.0", "echo 1", 1);
    let mut turned = files("1.0.0", "echo 1");
    turned.reverse();
    assert_eq!(archive::build(turned, Some(&key(1))).unwrap(), one);
    let opened = archive::open(&one).unwrap();
    let paths: Vec<&str> = opened.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["agent.yaml", "main.sh", "src/lib/deep.txt"]);
    assert!(opened.files[1].executable && !opened.files[0].executable);
    assert_eq!(opened.contents.publisher, archive::publisher_of(&key(1)));
    assert_ne!(built("1.0.0", "echo 2", 1), one);
}

#[test]
fn an_archive_in_which_a_changed_byte_changes_what_is_packed_is_refused() {
    let archive = built("1.0.0", "echo 1", 1);
    let sound = archive::open(&archive).expect("the control");
    let mut unseen = 0;
    for place in 0..archive.len() {
        let mut changed = archive.clone();
        changed[place] ^= 1;
        // A few bytes say nothing of what is packed: the time in gzip's head, codes that no byte is written by.
        if let Ok(opened) = archive::open(&changed) {
            assert_eq!(opened, sound, "byte {place} changes what is packed");
            unseen += 1;
        }
    }
    assert!(unseen < archive.len() / 50, "{unseen} of {}", archive.len());
    let longer = [archive.as_slice(), b"more"].concat();
    assert!(matches!(archive::open(&longer), Err(Wrong::NotGzip { .. })));
    assert!(archive::open(&archive[..archive.len() - 1]).is_err());
    let unsigned = archive::build(files("1.0.0", "echo 1"), None).unwrap();
    assert_eq!(archive::open(&unsigned), Err(Wrong::Unsigned));
}

#[test]
fn a_path_that_leaves_the_package_and_a_file_that_is_none_are_refused() {
    let with = |path: &str| {
        let mut all = files("1.0.0", "echo 1");
        all.push(file(path, "x"));
        archive::build(all, Some(&key(1)))
    };
    with("src/more.txt").expect("the control");
    for path in
        ["../x", "/etc/x", "a/../x", "a//x", "./x", "a\\x", "a\nx", ".tenure/index.json", "main.sh", "main.sh/x"]
    {
        assert!(matches!(with(path), Err(Wrong::Path { .. })), "{path:?}: {:?}", with(path));
    }
    let long = "x".repeat(archive::PATH_BYTES_MAX + 1);
    assert!(matches!(with(&long), Err(Wrong::Path { .. })));
    let missing = archive::build(vec![file("main.sh", "x")], Some(&key(1)));
    assert!(matches!(missing, Err(Wrong::Manifest { .. })), "{missing:?}");
    let many = (0..=archive::FILES_MAX).map(|number| file(&format!("f{number}"), "x"));
    let many: Vec<File> = files("1.0.0", "echo 1").into_iter().chain(many).collect();
    assert_eq!(archive::build(many, None), Err(Wrong::TooManyFiles));
}

#[test]
fn what_is_loaded_is_what_was_pushed_by_somebody_who_is_trusted_still() {
    let (first, second) = (built("1.0.0", "echo 1", 1), built("1.0.0", "echo 2", 1));
    let pushed = archive::open(&first).unwrap().contents;
    archive::load(&first, &pushed, |_| true).expect("the control");
    assert_eq!(archive::load(&second, &pushed, |_| true), Err(Wrong::Form));
    assert_eq!(archive::load(&first, &pushed, |_| false), Err(Wrong::Signature));
}
