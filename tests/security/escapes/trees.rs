//! Links, trees without end and things in the way: file capabilities and the opening of a jail over a folder that a hostile
//! program prepared.
use super::ground::open_to_all;
use super::oddities::{alive, checked, odd, plain};
use super::probe::Stage::Capability;
use super::probe::{Attempt, Class, Control, Layer, Needs, Why, probe, word};
use super::trial::run;
use tenure_sandbox::protocol::{Kind, WriteMode};

pub const CLASS: Class = Class {
    name: "hostile trees",
    probes: &[
        odd(
            "trees/loop",
            "makes links that lead to each other",
            |a| {
                run(
                    a,
                    r"
                os.symlink('b', 'a')
                os.symlink('a', 'b')
                os.symlink('self', 'self')
                say('made')
                ",
                );
                let answers = [
                    word(a.client.read("a", 10)),
                    word(a.client.write("a", b"x", WriteMode::Overwrite)),
                    word(a.client.append("self", b"x")),
                ];
                if answers.iter().all(|answer| answer == "Invalid") { "Invalid".to_owned() } else { answers.join(" ") }
            },
            "Invalid",
            plain,
            "ok",
        ),
        odd(
            "trees/links-without-end",
            "makes forty links in a row",
            |a| {
                run(
                    a,
                    r"
                open('l0', 'w')
                for n in range(60): os.symlink(f'l{n}', f'l{n + 1}')
                say('made')
                ",
                );
                word(a.client.write("l60", b"x", WriteMode::Overwrite))
            },
            "Invalid",
            plain,
            "ok",
        ),
        odd(
            "trees/huge-folder",
            "fills a folder with 20,000 files",
            |a| {
                run(
                    a,
                    r"
                os.mkdir('/tmp/d')
                os.chdir('/tmp/d')
                for n in range(20000): os.mknod(f'{n:05}')
                say('made')
                ",
                );
                let (mut seen, mut cursor, mut pages) = (0, None, 0);
                while pages < 100 {
                    let (entries, next) = a.client.list("/tmp/d", 1000, cursor).expect("a page");
                    (seen, pages) = (seen + entries.len(), pages + 1);
                    cursor = next;
                    if cursor.is_none() {
                        break;
                    }
                }
                format!("{seen} in {pages} pages")
            },
            "20000 in 20 pages",
            |a| {
                run(
                    a,
                    r"
                os.mkdir('/tmp/d')
                open('/tmp/d/x', 'w')
                say('made')
                ",
                );
                format!("{} in 1 pages", a.client.list("/tmp/d", 1000, None).expect("a page").0.len())
            },
            "1 in 1 pages",
        ),
        checked(
            "trees/deep-tree",
            "makes a tree of 1,000 folders, one in another, and has it removed",
            |a| {
                run(
                    a,
                    r"
                os.mkdir('/tmp/t')
                os.chdir('/tmp/t')
                for n in range(1000):
                    os.mkdir('d')
                    os.chdir('d')
                say('made')
                ",
                );
                let said = word(a.client.delete("/tmp/t", true).map(|_| ()));
                alive(a, said)
            },
            "TooLarge",
            "ok|Io",
        ),
        odd(
            "trees/sparse",
            "has a file read that says it is 1 GiB of nothing",
            |a| {
                run(
                    a,
                    r"
                open('hole', 'w')
                os.truncate('hole', (1 << 30) - 1)
                say('made')
                ",
                );
                let answers = [word(a.client.read("hole", 1 << 20)), word(a.client.edit("hole", "a", "b", None))];
                if answers.iter().all(|answer| answer == "TooLarge") {
                    "TooLarge".to_owned()
                } else {
                    answers.join(" ")
                }
            },
            "TooLarge",
            plain,
            "ok",
        ),
        checked(
            "trees/trash-link",
            "makes the trash a link that leads out",
            |a| {
                run(
                    a,
                    r"
                os.symlink('/dev/shm', '.trash')
                open('victim', 'w')
                say('made')
                ",
                );
                let said = word(a.client.delete("victim", false).map(|_| ()));
                if run(a, "say('moved' if os.listdir('/dev/shm') else 'stays')") == "stays" {
                    said
                } else {
                    "moved out".to_owned()
                }
            },
            "Escape|NotDirectory|Invalid",
            "moved out",
        ),
        odd(
            "trees/trash-file",
            "makes the trash a file",
            |a| {
                run(
                    a,
                    r"
                open('.trash', 'w')
                open('victim', 'w')
                say('made')
                ",
                );
                word(a.client.delete("victim", false).map(|_| ()))
            },
            "Invalid|NotDirectory",
            |a| {
                run(
                    a,
                    r"
                open('victim', 'w')
                say('made')
                ",
                );
                word(a.client.delete("victim", false).map(|_| ()))
            },
            "ok",
        ),
        checked(
            "trees/forged-note",
            "forges the note of where a deleted file lay, and has it restored there",
            |a| {
                run(a, "open('victim', 'w')\nsay('made')");
                let trashed = a.client.delete("victim", false).expect("it goes").expect("into the trash");
                let mut answers = Vec::new();
                for place in ["/dev/shm/new/evil", "../dev/shm/new/evil", "/etc/evil", "/workspace/../dev/shm/evil"] {
                    forge(a, place);
                    answers.push(word(a.client.restore(&trashed, None)));
                }
                run(a, "os.symlink('/dev/shm', 'out')\nsay('made')");
                forge(a, "out/new/evil");
                answers.push(word(a.client.restore(&trashed, None)));
                let stays = run(a, "say('stays' if not os.listdir('/dev/shm') else 'moved out')");
                let refused = answers.iter().all(|answer| answer == "Escape");
                if refused || stays != "stays" { stays } else { answers.join(" ") }
            },
            "stays",
            "moved out",
        )
        .source("CVE-2018-15664 and its kin"),
        checked(
            "trees/delete-link",
            "has a link to something outside deleted",
            |a| {
                run(
                    a,
                    r"
                os.mkdir('/dev/shm/d')
                open('/dev/shm/d/kept', 'w')
                os.symlink('/dev/shm/d', 'link')
                say('made')
                ",
                );
                a.client.delete("link", true).expect("the link goes");
                run(a, "say('kept' if os.path.exists('/dev/shm/d/kept') else 'gone')")
            },
            "kept",
            "gone",
        ),
        checked(
            "trees/stat-link",
            "has a link to something outside looked at",
            |a| {
                run(
                    a,
                    r"
                os.symlink('/etc/passwd', 'link')
                say('made')
                ",
                );
                match a.client.stat("link") {
                    Ok(entry) if entry.kind == Kind::Symlink => "the link".to_owned(),
                    Ok(entry) => format!("{:?}", entry.kind),
                    Err(error) => error.to_string(),
                }
            },
            "the link",
            "File",
        ),
        checked(
            "trees/mount-link",
            "leaves a link where the next jail mounts a volume",
            |a| {
                let (outside, store) = (a.ground.fresh("elsewhere"), a.ground.fresh("store"));
                open_to_all(&outside, 0o777);
                std::os::unix::fs::symlink(&outside, a.spec.work_folder.join("store")).expect("a link");
                let mut spec = a.spec.clone();
                spec.mounts.push(tenure_sandbox::Mount {
                    source: store,
                    target: "/workspace/store/deep".into(),
                    read_only: true,
                });
                let opened = a.ground.try_open(&spec).map(drop);
                let made = std::fs::read_dir(&outside).expect("a folder").count();
                match (opened, made) {
                    (Err(tenure_sandbox::Error::Layer(_)), 0) => "refused".to_owned(),
                    (opened, made) => format!("{opened:?}, {made} made outside"),
                }
            },
            "refused",
            "Ok(()), 1 made outside",
        )
        .source("CVE-2026-87766 (bubblewrap), CVE-2021-30465"),
        checked(
            "trees/work-folder-link",
            "has its work folder, or one above it, swapped for a link before the next jail",
            |a| {
                let top = a.ground.fresh("elsewhere");
                let (above, name) = (a.spec.work_folder.parent(), a.spec.work_folder.file_name());
                let (above, name) = above.zip(name).expect("it lies somewhere");
                std::os::unix::fs::symlink(&a.spec.work_folder, top.join("work")).expect("a link");
                std::os::unix::fs::symlink(above, top.join("above")).expect("a link");
                // The worker itself looks at the last name; a link above it is the jail's to refuse.
                let opened = [top.join("work"), top.join("above").join(name)].map(|work_folder| {
                    let spec = tenure_sandbox::Spec { work_folder, ..a.spec.clone() };
                    a.ground.try_open(&spec).is_ok()
                });
                if opened == [false, false] { "refused".to_owned() } else { "opened".to_owned() }
            },
            "refused",
            "opened",
        ),
        checked(
            "trees/setuid-kept",
            "has a file that somebody outside made setuid written by a file capability",
            |a| {
                run(a, "open('file', 'w'); say('made')");
                let lent = std::os::unix::fs::PermissionsExt::from_mode(0o6777);
                std::fs::set_permissions(a.spec.work_folder.join("file"), lent).expect("a mode");
                match a.client.write("file", b"x", WriteMode::Overwrite) {
                    Ok(_) => format!("{:o}", a.client.stat("file").expect("it is there").mode),
                    Err(error) => format!("{error:?}"),
                }
            },
            "777",
            // Behind the check stands the filter.
            "Refused(Denied)",
        ),
        probe(
            "trees/owner",
            "makes files that the host may take for its own",
            Capability(|a| {
                run(
                    a,
                    r"
                os.makedirs('.git/hooks')
                open('.git/hooks/post-checkout', 'w').write('#!/bin/sh')
                say('made')
                ",
                );
                a.client.write(".bashrc", b"x", WriteMode::Create).expect("it is written");
                owners(a, &[".git/hooks/post-checkout", ".bashrc"])
            }),
            (Layer::Identity, "the agent's"),
            Control::Beside(
                Why::Always,
                "a file that root makes there",
                Capability(|a| {
                    std::fs::write(a.spec.work_folder.join("by-root"), "x").expect("a file");
                    owners(a, &["by-root"])
                }),
                "somebody's",
            ),
        )
        .needs(Needs::Root),
    ],
};

/// Writes `place` as where every deleted file lay.
fn forge(attempt: &mut Attempt<'_>, place: &str) {
    let script = format!(
        "for name in os.listdir('.trash/.from'): open('.trash/.from/' + name, 'w').write({place:?})\nsay('forged')"
    );
    assert_eq!(run(attempt, &script), "forged");
}

/// Whose these files of the work folder are, as the host sees it.
fn owners(attempt: &Attempt<'_>, names: &[&str]) -> String {
    use std::os::unix::fs::MetadataExt;
    let tenure_sandbox::Identity::Host { uid: agent, .. } = attempt.spec.identity else {
        return "the caller's".to_owned();
    };
    let about = |name: &&str| std::fs::metadata(attempt.spec.work_folder.join(name)).expect("it is there");
    let agents = names.iter().map(about).all(|found| found.uid() == agent && found.mode() & 0o7000 == 0);
    if agents { "the agent's".to_owned() } else { "somebody's".to_owned() }
}
