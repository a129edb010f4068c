use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::house::{House, cassette};

const MANIFEST: &str = include_str!("../../../../examples/kai/calendarAgent.manifest.json");

/// A key as people make one.
fn key(house: &House, name: &str) -> (String, String) {
    let (private, public) = (house.path(&format!("{name}.pem")), house.path(&format!("{name}.pub")));
    for words in [
        vec!["genpkey", "-algorithm", "ed25519", "-out", private.to_str().unwrap()],
        vec!["pkey", "-in", private.to_str().unwrap(), "-pubout", "-out", public.to_str().unwrap()],
    ] {
        assert!(Command::new("openssl").args(words).output().unwrap().status.success());
    }
    (private.to_str().unwrap().to_string(), public.to_str().unwrap().to_string())
}

fn folder(house: &House, program: &str) -> String {
    let folder = house.path("agent");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    std::fs::write(folder.join("calendarAgent.manifest.json"), MANIFEST).unwrap();
    std::fs::write(folder.join("main.ts"), program).unwrap();
    std::fs::write(folder.join("src/run.sh"), "echo\n").unwrap();
    std::fs::set_permissions(folder.join("src/run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder.to_str().unwrap().to_string()
}

#[test]
fn a_package_is_built_pushed_listed_and_verified_and_what_is_not_sound_or_not_trusted_is_refused() {
    let mut house = House::up(&cassette(1));
    let (private, public) = key(&house, "publisher");
    let agent = folder(&house, "console.log(1)\n");
    let at = |name: &str| house.path(name).to_str().unwrap().to_string();
    let (one, two, other) = (at("one.tgz"), at("two.tgz"), at("other.tgz"));
    house.tenure(&["package", "build", &agent, "--key", &private, "--out", &one]).ok();
    house.tenure(&["package", "build", &agent, "--key", &private, "--out", &two]).ok();
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    assert_eq!(house.tenure(&["package", "build", &agent, "--key", &private, "--out", &one]).code, 5);
    let refused = house.tenure(&["package", "push", &one]);
    assert!(refused.code == 7 && refused.stderr.contains("package keys add"), "{} {}", refused.code, refused.stderr);
    house.tenure(&["package", "keys", "add", "kOS Team", &public]).ok();
    let pushed = house.tenure(&["package", "push", &one]).ok();
    assert!(pushed.stdout.contains("Pushed calendarAgent@1.0.3, signed by kOS Team"), "{}", pushed.stdout);
    assert!(house.tenure(&["package", "push", &one]).ok().stdout.starts_with("Unchanged"));
    let listed = house.tenure(&["package", "list"]).ok().stdout;
    assert!(listed.contains("calendarAgent") && listed.contains("1.0.3"), "{listed}");
    assert!(house.tenure(&["package", "verify", "calendarAgent"]).ok().stdout.contains("Verified"));
    assert!(house.tenure(&["package", "verify", &one]).ok().stdout.contains("trusted as kOS Team"));
    folder(&house, "console.log(2)\n");
    house.tenure(&["package", "build", &agent, "--key", &private, "--out", &other]).ok();
    let taken = house.tenure(&["package", "push", &other]);
    assert!(taken.code == 5 && taken.stderr.contains("new version"), "{} {}", taken.code, taken.stderr);
    let mut bytes = std::fs::read(&one).unwrap();
    let place = bytes.len() - 5;
    bytes[place] ^= 1;
    std::fs::write(&other, bytes).unwrap();
    assert_eq!(house.tenure(&["package", "verify", &other]).code, 3);
    symlink("/etc/passwd", house.path("agent/link")).unwrap();
    let link = house.tenure(&["package", "build", &agent, "--out", &other, "--force"]);
    assert!(link.code == 3 && link.stderr.contains("link"), "{} {}", link.code, link.stderr);
    // Whoever is trusted no more is not loaded either.
    house.tenure(&["package", "keys", "remove", "kos team", "--yes"]).ok();
    let gone = house.tenure(&["package", "verify", "calendarAgent@1.0.3"]);
    assert!(gone.code == 7 && gone.stderr.contains("trusted no more"), "{} {}", gone.code, gone.stderr);
    house.tenure(&["audit", "verify"]).ok();
    house.down();
}

#[test]
fn a_kai_agent_is_deployed_unchanged_and_found_by_what_it_provides() {
    let house = House::up(&cassette(1));
    let manifest = house.write("calendarAgent.manifest.json", MANIFEST);
    let deployed = house.tenure(&["agent", "deploy", &manifest]).ok();
    assert!(deployed.stdout.contains("calendarAgent"), "{}", deployed.stdout);
    for told in ["indexeddb", "`calendar` (read, write) is a wish", "date-fns"] {
        assert!(deployed.stderr.contains(told), "{told}: {}", deployed.stderr);
    }
    assert!(house.tenure(&["agent", "deploy", &manifest]).ok().stdout.contains("unchanged"));
    let found = |word: &str| house.tenure(&["agent", "list", "--provides", word, "-o", "json"]).ok().json();
    assert_eq!(found("cancelEvent").as_array().unwrap().len(), 1);
    assert_eq!(found("cancel").as_array().unwrap().len(), 0);
    let shown = house.tenure(&["agent", "get", "calendarAgent", "-o", "yaml"]).ok().stdout;
    assert!(shown.contains("kind: hooks") && shown.contains("kai/author: kOS Team"), "{shown}");
    let depends = MANIFEST.replace("calendarAgent", "tripAgent").replace("date-fns", "calendarAgent");
    let depends = depends.replace("^2.29.0", "^2").replace("\"module\"", "\"agent\"");
    let lacking = house.tenure(&["agent", "deploy", &house.write("trip.json", &depends)]);
    assert_eq!(lacking.code, 5, "{}", lacking.stderr);
    assert!(lacking.stderr.contains("has version 1.0.3, and ^2 is wanted"), "{}", lacking.stderr);
    let met = house.write("trip.json", &depends.replace("\"^2\"", "\"^1\""));
    house.tenure(&["agent", "deploy", &met]).ok();
    let back = MANIFEST.replace("date-fns", "tripAgent").replace("^2.29.0", "1").replace("\"module\"", "\"agent\"");
    let circle = house.tenure(&["agent", "deploy", &house.write("back.json", &back)]);
    assert!(circle.code == 5 && circle.stderr.contains("a circle"), "{} {}", circle.code, circle.stderr);
}
