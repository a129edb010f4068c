//! The Debian package, put together by dpkg's own tool alone. Must never name a dependency that its programs were not seen to
//! have, or carry a file that [`build`] does not list.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step;

const SCRIPTS: &str = "packaging/debian";

/// What goes into the package, beside the project's own papers.
pub(crate) struct Contents<'c> {
    pub(crate) root: &'c Path,
    pub(crate) version: &'c str,
    pub(crate) programs: &'c [PathBuf],
    /// `man/` and `completions/`.
    pub(crate) extras: &'c Path,
    pub(crate) unit: &'c str,
    pub(crate) oldest_glibc: &'c str,
}

/// The package of `contents` in the folder `out`, which holds nothing else of its name afterwards.
pub(crate) fn build(contents: &Contents, out: &Path) -> Result<PathBuf> {
    let arch = step::answer(Command::new("dpkg").arg("--print-architecture"))
        .context("dpkg is not there: a Debian package is made on a Debian")?;
    let stage = out.join("deb-stage");
    let _ = fs::remove_dir_all(&stage);
    files(contents, &stage)?;
    let control = stage.join("DEBIAN");
    fs::create_dir_all(&control)?;
    for entry in fs::read_dir(contents.root.join(SCRIPTS))? {
        let from = entry?.path();
        install("755", &from, &control.join(from.file_name().context("a script has a name")?))?;
    }
    let sums = step::answer(
        Command::new("sh")
            .current_dir(&stage)
            .args(["-c", "find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum"]),
    );
    fs::write(control.join("md5sums"), sums.context("md5sum cannot sum up the files")? + "\n")?;
    fs::write(control.join("control"), fields(contents, &arch, &stage)?)?;
    let file = out.join(format!("tenure_{}_{arch}.deb", contents.version));
    let mut dpkg = Command::new("dpkg-deb");
    // Owned by root whoever builds it; dated alike, so that the same files give the same bytes.
    dpkg.args(["--root-owner-group", "-Zxz", "--build"]).arg(&stage).arg(&file).env("SOURCE_DATE_EPOCH", "0");
    step::quiet("Debian package", &mut dpkg)?;
    fs::remove_dir_all(&stage)?;
    Ok(file)
}

fn files(contents: &Contents, stage: &Path) -> Result<()> {
    let usr = stage.join("usr");
    for program in contents.programs {
        install("755", program, &usr.join("bin").join(program.file_name().context("a program has a name")?))?;
    }
    let name = Path::new(contents.unit).file_name().context("the unit has a name")?;
    install("644", &contents.root.join(contents.unit), &usr.join("lib/systemd/system").join(name))?;
    let share = usr.join("share");
    for entry in fs::read_dir(contents.extras.join("man"))? {
        let page = entry?.path();
        let to = share.join("man/man1").join(page.file_name().context("a page has a name")?);
        install("644", &page, &to)?;
        step::answer(Command::new("gzip").arg("-9n").arg(&to)).with_context(|| format!("gzip {}", to.display()))?;
    }
    let shells = [
        ("tenure", "bash-completion/completions"),
        ("_tenure", "zsh/vendor-completions"),
        ("tenure.fish", "fish/vendor_completions.d"),
    ];
    for (file, folder) in shells {
        install("644", &contents.extras.join("completions").join(file), &share.join(folder).join(file))?;
    }
    for (file, name) in [("README.md", "README.md"), ("CHANGELOG.md", "CHANGELOG.md"), ("LICENSE", "copyright")] {
        install("644", &contents.root.join(file), &share.join("doc/tenure").join(name))?;
    }
    Ok(())
}

fn install(mode: &str, from: &Path, to: &Path) -> Result<()> {
    let done = step::answer(Command::new("install").args(["-D", "-m", mode]).arg(from).arg(to));
    done.map(|_| ()).with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))
}

fn fields(contents: &Contents, arch: &str, stage: &Path) -> Result<String> {
    let size = step::answer(Command::new("du").args(["-sk", "--apparent-size"]).arg(stage.join("usr")));
    let size = size.and_then(|line| line.split_whitespace().next().map(str::to_owned)).context("du gave no size")?;
    let depends = depends(contents.programs, contents.oldest_glibc)?;
    Ok(format!(
        "Package: tenure\nVersion: {}\nArchitecture: {arch}\nMaintainer: The Tenure authors\n\
         Installed-Size: {size}\nDepends: {depends}\nSection: admin\nPriority: optional\n\
         Homepage: https://github.com/tenure-dev/tenure\nDescription: control plane for AI agents\n \
         Runs AI agents under a ledger, limits and a sandbox: daemon, worker and command\n line in one program.\n",
        contents.version
    ))
}

/// The packages of the libraries that the programs ask for.
fn depends(programs: &[PathBuf], oldest_glibc: &str) -> Result<String> {
    let mut packages = vec![format!("libc6 (>= {oldest_glibc})"), "passwd".to_owned()];
    for program in programs {
        let headers = step::answer(Command::new("objdump").arg("-p").arg(program)).context("objdump cannot read it")?;
        for library in headers.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")) {
            let package = match library.trim() {
                "libc.so.6" | "libm.so.6" | "libdl.so.2" | "libpthread.so.0" | "librt.so.1" => continue,
                loader if loader.starts_with("ld-linux") => continue,
                "libgcc_s.so.1" => "libgcc-s1",
                "libstdc++.so.6" => "libstdc++6",
                other => bail!("{} asks for {other}: say in xtask/src/ship/deb.rs whose it is", program.display()),
            };
            if !packages.iter().any(|known| known == package) {
                packages.push(package.to_owned());
            }
        }
    }
    Ok(packages.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any program will do.
    #[test]
    fn the_package_installs_what_it_lists_and_depends_on_what_its_program_asks_for() {
        if step::answer(Command::new("dpkg-deb").arg("--version")).is_none() {
            eprintln!("skipped: no dpkg-deb here");
            return;
        }
        let folder = std::env::temp_dir().join(format!("tenure-deb-{}", std::process::id()));
        let program = folder.join("tenure");
        fs::create_dir_all(folder.join("extras/man")).unwrap();
        fs::create_dir_all(folder.join("extras/completions")).unwrap();
        fs::copy("/bin/true", &program).unwrap();
        fs::write(folder.join("extras/man/tenure.1"), ".TH tenure 1\n").unwrap();
        for file in ["tenure", "_tenure", "tenure.fish"] {
            fs::write(folder.join("extras/completions").join(file), "\n").unwrap();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let contents = Contents {
            root,
            version: "1.2.3",
            programs: &[program],
            extras: &folder.join("extras"),
            unit: "packaging/tenure.service",
            oldest_glibc: "2.36",
        };
        let file = build(&contents, &folder).unwrap();
        let ask = |words: &[&str]| step::answer(Command::new("dpkg-deb").args(words).arg(&file)).unwrap();
        let depends = ask(&["--showformat=${Depends}", "--show"]);
        let listed = ask(&["--contents"]);
        let scripts = ask(&["--info"]);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(depends, "libc6 (>= 2.36), passwd");
        for script in ["postinst", "prerm", "postrm"] {
            assert!(scripts.contains(script), "{scripts}");
        }
        for (mode, owner, path) in [
            ("-rwxr-xr-x", "root/root", "./usr/bin/tenure"),
            ("-rw-r--r--", "root/root", "./usr/lib/systemd/system/tenure.service"),
            ("-rw-r--r--", "root/root", "./usr/share/man/man1/tenure.1.gz"),
            ("-rw-r--r--", "root/root", "./usr/share/bash-completion/completions/tenure"),
            ("-rw-r--r--", "root/root", "./usr/share/doc/tenure/copyright"),
        ] {
            let line = listed.lines().find(|line| line.ends_with(path)).unwrap_or_else(|| panic!("{path}: {listed}"));
            assert!(line.starts_with(&format!("{mode} {owner} ")), "{line}");
        }
    }
}
