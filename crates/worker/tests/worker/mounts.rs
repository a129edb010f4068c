use crate::house::{House, is_root, shell};
use serde_json::{Value, json};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tenure_core::call::Outcome;
use tenure_core::manifest::HostMount;
use tenure_wire::confinement::{Life, Volume};
use tenure_wire::frame::CallOutcome;
use tenure_worker::{Options, WorkerRuntime};

/// Set in the environment of the second run, as an ordinary user: a folder beneath /srv that this user may fill.
pub(crate) const SRV: &str = "TENURE_TEST_SRV";

/// A folder of the host's beneath /srv, as an operator would have one, gone at the end of the test.
struct Shelf {
    path: PathBuf,
}

impl Shelf {
    /// None where this user may make none.
    fn make(name: &str) -> Option<Shelf> {
        let parent = std::env::var_os(SRV).map_or_else(|| PathBuf::from("/srv"), PathBuf::from);
        let path = parent.join(format!("tenure-test-{name}-{}", std::process::id()));
        if let Err(error) = std::fs::create_dir(&path) {
            eprintln!("skipped: {} cannot be made: {error}", path.display());
            return None;
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        Some(Shelf { path })
    }

    fn holds(&self, name: &str, content: &str) {
        let path = self.path.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::set_permissions(path.parent().unwrap(), PermissionsExt::from_mode(0o777)).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn inside(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    fn mount(&self, read_only: bool) -> HostMount {
        HostMount { path: self.path.display().to_string(), read_only }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

async fn listing(house: &mut House, read: &[&str], write: &[&str], capability: &str, arguments: Value) -> CallOutcome {
    let list = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    house.under(|wanted| (wanted.read, wanted.write) = (list(read), list(write)), capability, arguments).await
}

async fn refused(house: &mut House, read: &[&str], write: &[&str]) -> String {
    house.run.iteration += 1;
    let outcome = listing(house, read, write, "filesystem.list", json!({})).await;
    assert_eq!(outcome.outcome, Outcome::Failed { code: "sandbox".to_owned() }, "{outcome:?}");
    outcome.result["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_folder_of_the_host_is_shown_where_operator_and_manifest_both_name_it_and_as_both_do() {
    let Some(shelf) = Shelf::make("shown") else { return };
    shelf.holds("given/a", "from the host");
    shelf.holds("other/b", "not asked for");
    let (given, top) = (shelf.inside("given"), shelf.path.display().to_string());
    let mut house = House::with_mounts(vec![shelf.mount(true)]).await;
    assert_eq!(house.hello.host.mounts, [shelf.mount(true)], "the daemon knows what manifests may ask for");
    let (read, write) = (&["/workspace", given.as_str()][..], &["/workspace"][..]);
    let found = listing(&mut house, read, write, "filesystem.read", json!({"path": shelf.inside("given/a")})).await;
    assert_eq!(found.result["content"], "from the host", "{found:?}");
    let script = shell(&format!("cat {given}/a; ! echo x > {given}/new; ! rm {given}/a; ls {top}; ls /srv"));
    let found = listing(&mut house, read, write, "process.run", script).await;
    let said = found.result["stdout"].as_str().unwrap();
    assert!(said.starts_with("from the host") && said.contains("given"), "{found:?}");
    assert!(!said.contains("other"), "only what the manifest names: {said}");
    assert!(!shelf.path.join("given/new").exists() && shelf.path.join("given/a").exists());
    for (capability, path) in [("filesystem.write", "given/new"), ("filesystem.delete", "given/a")] {
        let mut arguments = json!({"path": shelf.inside(path)});
        if capability == "filesystem.write" {
            arguments["content"] = json!("x");
        }
        let denied = listing(&mut house, read, write, capability, arguments).await;
        assert_eq!(denied.outcome, Outcome::Failed { code: "denied".to_owned() }, "{capability}: {denied:?}");
    }
    // The control: without the manifest's word it is not there.
    house.run.iteration = 2;
    let unlisted = house.does("process.run", shell(&format!("ls {given} 2>&1; ls -A /srv"))).await;
    assert!(unlisted["stdout"].as_str().unwrap().contains("No such file"), "{unlisted}");
    // And to write takes the operator's word.
    let sentence = refused(&mut house, &["/workspace"], &[given.as_str()]).await;
    assert!(sentence.contains("for reading alone"), "{sentence}");
    for path in ["/srv", "/opt", "/etc", "/srv/../etc", "/"] {
        let sentence = refused(&mut house, &[path], &[]).await;
        assert!(sentence.contains("has not allowed"), "{path}: {sentence}");
    }
}

#[tokio::test]
async fn a_folder_of_the_host_can_be_written_where_the_operator_and_the_write_list_say_so() {
    let Some(shelf) = Shelf::make("written") else { return };
    shelf.holds("in/a", "x");
    let inside = shelf.inside("in");
    let mut house = House::with_mounts(vec![shelf.mount(false)]).await;
    let (both, own) = (&["/workspace", inside.as_str()][..], &["/workspace"][..]);
    let denied = listing(&mut house, both, own, "process.run", shell(&format!("echo y > {inside}/b"))).await;
    assert_ne!(denied.result["exit_code"], 0, "the manifest asks for reading alone");
    house.run.iteration = 2;
    let arguments = json!({"path": shelf.inside("in/b"), "content": "y"});
    let written = listing(&mut house, own, both, "filesystem.write", arguments).await;
    assert!(matches!(written.outcome, Outcome::Done { .. }), "{written:?}");
    assert_eq!(std::fs::read_to_string(shelf.path.join("in/b")).unwrap(), "y");
    let deleted = listing(&mut house, own, both, "filesystem.delete", json!({"path": shelf.inside("in/b")})).await;
    let trash = deleted.result["trashed_as"].as_str().unwrap_or_else(|| panic!("{deleted:?}"));
    assert!(trash.starts_with(&shelf.inside("in/.trash/")) && Path::new(trash).exists(), "{trash}");
}

#[tokio::test]
async fn links_and_volumes_do_not_lead_through_the_hosts_folders() {
    let Some(shelf) = Shelf::make("links") else { return };
    shelf.holds("real/a", "x");
    symlink("/etc", shelf.path.join("out")).unwrap();
    symlink("real", shelf.path.join("way")).unwrap();
    let mut house = House::with_mounts(vec![shelf.mount(false)]).await;
    for name in ["out", "way", "way/a", "out/passwd", "nothing"] {
        let sentence = refused(&mut house, &[&shelf.inside(name)], &[]).await;
        assert!(sentence.contains("no part of it may be a link"), "{name}: {sentence}");
    }
    // Inside, a link leads to where it would without the host's files behind it.
    house.run.iteration += 1;
    let top = shelf.path.display().to_string();
    let script = shell(&format!("cat {top}/way/a; cat {top}/out/hostname {top}/out/shadow"));
    let found = listing(&mut house, &["/workspace", &top], &[], "process.run", script).await;
    assert_eq!(found.result["stdout"], "x", "{found:?}");
    let read =
        listing(&mut house, &["/workspace", &top], &[], "filesystem.read", json!({"path": shelf.inside("out/hosts")}))
            .await;
    assert_eq!(read.outcome, Outcome::Failed { code: "escape".to_owned() }, "{read:?}");
    // A volume would need a folder in the host's.
    house.run.iteration += 1;
    let mut call = house.call("filesystem.list", json!({}));
    call.confinement.read.push(top.clone());
    let (name, mount_point) = ("store".to_owned(), shelf.inside("made"));
    call.confinement.volumes =
        vec![Volume { name, mount_point, read_only: false, size_bytes: None, life: Life::Persistent }];
    let outcome = house.perform(&call).await;
    assert!(outcome.result["error"].as_str().unwrap().contains("nothing is made in the host's"), "{outcome:?}");
    assert!(!shelf.path.join("made").exists());
}

#[test]
fn a_worker_shows_nobody_the_data_directory_or_what_is_not_there() {
    let Some(shelf) = Shelf::make("data") else { return };
    let mount = |path: PathBuf| HostMount { path: path.display().to_string(), read_only: true };
    let data_dir = shelf.path.join("tenure/data");
    shelf.holds("plain/a", "x");
    std::fs::create_dir_all(data_dir.join("agents-to-be")).unwrap();
    symlink(&data_dir, shelf.path.join("link")).unwrap();
    let prepare = |mounts: Vec<HostMount>| {
        let options =
            Options { data_dir: data_dir.clone(), exe: crate::house::exe(), name: "tests".into(), slots: 1, mounts };
        WorkerRuntime::prepare(&options).map(drop).map_err(|error| error.to_string())
    };
    for path in [shelf.path.clone(), shelf.path.join("tenure"), data_dir.clone(), data_dir.join("agents-to-be")] {
        let error = prepare(vec![mount(path.clone())]).unwrap_err();
        assert!(error.contains("data directory"), "{}: {error}", path.display());
    }
    for path in [shelf.path.join("link"), shelf.path.join("nothing"), "/etc".into(), "/".into()] {
        prepare(vec![mount(path)]).unwrap_err();
    }
    // Under another name it is still the data directory.
    if is_root() {
        let bound = shelf.path.join("bound");
        std::fs::create_dir(&bound).unwrap();
        rustix::mount::mount_bind(&data_dir, &bound).unwrap();
        let error = prepare(vec![mount(bound.clone())]);
        // A program that was just asked for its language's version may hold it until its exec.
        rustix::mount::unmount(&bound, rustix::mount::UnmountFlags::DETACH).unwrap();
        assert!(error.unwrap_err().contains("data directory"));
    }
    // The control: a neighbour.
    prepare(vec![mount(shelf.path.join("plain"))]).unwrap();
}

#[tokio::test]
async fn git_works_in_a_folder_of_the_host_that_belongs_to_somebody_else_there() {
    let Some(shelf) = Shelf::make("git") else { return };
    shelf.holds("r/a.txt", "a");
    let made = std::process::Command::new("sh")
        .args(["-c", "cd r && git init -q && git add . && git -c user.name=h -c user.email=h@example.com commit -qm first && chmod -R a+rX ."])
        .current_dir(&shelf.path)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .status();
    if !made.is_ok_and(|made| made.success()) {
        eprintln!("skipped: git is not installed");
        return;
    }
    let mut house = House::with_mounts(vec![shelf.mount(true)]).await;
    let repository = shelf.inside("r");
    let (read, write) = (&["/workspace", repository.as_str()][..], &["/workspace"][..]);
    let script = format!(
        "git -C {repository} log --format=%s && git clone -q {repository} own && cd own && echo b > b.txt && git add . && git commit -qm second && git log --format='%s by %an <%ae>' -1"
    );
    let said = listing(&mut house, read, write, "process.run", shell(&script)).await.result;
    assert_eq!(said["stdout"], "first\nsecond by agent <agent@localhost>\n", "{said}");
    // Only where a folder of the host's is shown is git told so.
    house.run.iteration += 1;
    let alone = listing(&mut house, &["/workspace"], write, "process.run", shell("env | grep -c GIT_ || true")).await;
    assert_eq!(alone.result["stdout"], "0\n");
}
