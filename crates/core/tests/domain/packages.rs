//! Packages: which are taken, and of whom.
use crate::office::{OWNER, Office};
use tenure_core::aggregate::{Command, Event, Refusal, Stream};
use tenure_core::bound::Hash;
use tenure_core::id::PackageId;
use tenure_core::package;
use tenure_core::package::archive::{self, File, Key};
use tenure_core::project;

pub fn key(seed: u8) -> Key {
    Key::from_bytes(&[seed; 32])
}

pub fn file(path: &str, text: &str) -> File {
    File { path: path.into(), executable: path.ends_with(".sh"), bytes: text.as_bytes().to_vec() }
}

pub fn files(version: &str, program: &str) -> Vec<File> {
    let manifest = format!(
        "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {{name: clerk, version: {version}}}\n\
         spec: {{runtime: {{kind: command, command: [sh, main.sh]}}}}\n"
    );
    vec![file("src/lib/deep.txt", "deep"), file("main.sh", program), file("agent.yaml", &manifest)]
}

pub fn built(version: &str, program: &str, seed: u8) -> Vec<u8> {
    archive::build(files(version, program), Some(&key(seed))).expect("a manifest and two files")
}

fn tell(office: &mut Office, command: project::Command) -> Result<Vec<Event>, Refusal> {
    let project = office.project;
    office.world.commit(OWNER, Command::Project(project, command))
}

fn trust(office: &mut Office, seed: u8) {
    let key = archive::publisher_of(&key(seed));
    tell(office, project::Command::TrustPublisher { name: format!("publisher {seed}"), key }).expect("a new publisher");
}

fn push(office: &mut Office, archive: &[u8]) -> Result<Vec<Event>, Refusal> {
    let contents = archive::open(archive).expect("it was built just now").contents;
    let id = PackageId::mint(&mut office.world.mint());
    let archive = tenure_core::bound::Payload::new(*b"0123456789abcdef", archive.to_vec());
    office.world.commit(OWNER, Command::Package(id, package::Command::Push { contents, archive }))
}

/// A history with every kind of event of packages and publishers.
pub fn every_kind(office: &mut Office) {
    trust(office, 1);
    push(office, &built("1.0.0", "echo 1", 1)).expect("its publisher is trusted");
    let key = archive::publisher_of(&key(1));
    tell(office, project::Command::RemovePublisher { key }).expect("it is trusted");
}

#[test]
fn a_package_is_taken_of_a_trusted_publisher_alone_and_a_version_is_one_thing_for_ever() {
    let mut office = Office::new(0);
    let first = built("1.2.0", "echo 1", 1);
    let unknown = push(&mut office, &first).unwrap_err();
    assert!(matches!(unknown, Refusal::Package(package::Refusal::PublisherUnknown { .. })), "{unknown:?}");
    trust(&mut office, 1);
    push(&mut office, &first).unwrap();
    let again = push(&mut office, &first).unwrap_err();
    assert!(matches!(again, Refusal::Package(package::Refusal::Unchanged { .. })), "{again:?}");
    let other = push(&mut office, &built("1.2.0", "echo 2", 1)).unwrap_err();
    assert!(matches!(other, Refusal::Package(package::Refusal::VersionTaken { .. })), "{other:?}");
    let newest = |events: Vec<Event>| match &events[0] {
        Event::Package(package::Event::Pushed { newest, .. }) => newest.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(newest(push(&mut office, &built("1.10.0", "echo 3", 1)).unwrap()), "1.10.0");
    assert_eq!(newest(push(&mut office, &built("1.9.0", "echo 4", 1)).unwrap()), "1.10.0", "a downgrade is told");
    let foreign = push(&mut office, &built("2.0.0", "echo 5", 2)).unwrap_err();
    assert!(matches!(foreign, Refusal::Package(package::Refusal::PublisherUnknown { .. })), "{foreign:?}");
}

#[test]
fn publishers_have_a_name_and_a_key_of_their_own() {
    let mut office = Office::new(0);
    trust(&mut office, 1);
    let add = |office: &mut Office, name: &str, key: Hash| {
        tell(office, project::Command::TrustPublisher { name: name.into(), key }).map(|_| ())
    };
    let (one, two) = (archive::publisher_of(&key(1)), archive::publisher_of(&key(2)));
    let quiet = Refusal::Project(project::Refusal::PublisherTrusted {});
    assert_eq!(add(&mut office, "publisher 1", one), Err(quiet));
    for (name, key) in [("other", one), ("Publisher 1", two), ("", two), ("a\nb", two), ("zero", Hash([0; 32]))] {
        let refused = add(&mut office, name, key).unwrap_err();
        assert!(matches!(refused, Refusal::Project(project::Refusal::PublisherWrong { .. })), "{name}: {refused:?}");
    }
    tell(&mut office, project::Command::RemovePublisher { key: one }).unwrap();
    let gone = Refusal::Project(project::Refusal::PublisherUnknown {});
    assert_eq!(tell(&mut office, project::Command::RemovePublisher { key: one }), Err(gone));
    let kept = office.world.memory.folds.keys().any(|stream| matches!(stream, Stream::Package(_)));
    assert!(!kept, "nothing was pushed");
}
