//! `cargo xtask install` and `cargo xtask package`: the program on a PATH, and as files for other machines. Must never change a
//! shell's configuration, or name a package by what it was not built for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{demo, install, step};

const DEB: &str = "cargo-deb@3.8.0";
const UNIT: &str = "packaging/tenure.service";

#[derive(Args)]
pub(crate) struct Install {
    /// Also the program that runs a local model, whose C++ takes minutes.
    #[arg(long)]
    local_model: bool,
    /// Instead of cargo's own folder: programs go into bin/ below it.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// Builds the shipped profile and puts the programs where cargo puts programs.
pub(crate) fn onto_path(root: &Path, arguments: &Install) -> Result<ExitCode> {
    install::packages(if arguments.local_model { &install::BUILD } else { &install::BUILD[..1] })?;
    let folder = arguments.root.clone().map_or_else(cargo_home, Ok)?;
    let mut crates = vec!["crates/cli"];
    if arguments.local_model {
        crates.push("crates/local-model");
    }
    for path in crates {
        let mut cargo = Command::new("cargo");
        cargo.args(["install", "--locked", "--profile", "dist", "--force", "--path", path, "--root"]).arg(&folder);
        // The same folder as every other build, so that nothing is compiled a second time.
        cargo.arg("--target-dir").arg(demo::target(root)?);
        step::shown(path, cargo.current_dir(root))?;
    }
    let bin = folder.join("bin");
    println!("installed in {}", bin.display());
    let on_path = std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|at| at == bin));
    if !on_path {
        println!("it is not on the PATH: export PATH={}:$PATH", bin.display());
    }
    println!("next: tenure up -d; tenure status");
    Ok(ExitCode::SUCCESS)
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_INSTALL_ROOT").or_else(|| std::env::var_os("CARGO_HOME")) {
        return Ok(PathBuf::from(home));
    }
    let home = std::env::var_os("HOME").context("HOME is not set: say where with --root DIR")?;
    Ok(PathBuf::from(home).join(".cargo"))
}

/// A tarball and a Debian package in target/package.
pub(crate) fn package(root: &Path) -> Result<ExitCode> {
    install::packages(&install::BUILD[..1])?;
    let target = demo::target(root)?;
    let out = target.join("package");
    fs::create_dir_all(&out)?;
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--profile", "dist", "--package", "tenure", "--bin", "tenure"]).current_dir(root);
    step::shown("tenure", &mut cargo)?;
    let program = target.join("dist/tenure");
    let files = extras(root, &program, &target.join("dist/extras"))?;
    let tarball = tarball(root, &program, &files, &out)?;
    let deb = deb(root, &out)?;
    let oldest = oldest_glibc(&program)?;
    println!("{}\n{}\noldest glibc that they start with: {oldest}", tarball.display(), deb.display());
    Ok(ExitCode::SUCCESS)
}

/// Manual pages and completions, as the program itself writes them.
fn extras(root: &Path, program: &Path, folder: &Path) -> Result<PathBuf> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder.join("completions"))?;
    let run = |words: &[&str]| step::answer(Command::new(program).args(words).current_dir(root));
    let man = folder.join("man");
    let man = man.to_str().context("the target folder has a path of odd bytes")?;
    run(&["man", man]).context("tenure man failed")?;
    for (shell, name) in [("bash", "tenure"), ("zsh", "_tenure"), ("fish", "tenure.fish")] {
        let script = run(&["completions", shell]).with_context(|| format!("tenure completions {shell} failed"))?;
        fs::write(folder.join("completions").join(name), script + "\n")?;
    }
    Ok(folder.to_path_buf())
}

fn tarball(root: &Path, program: &Path, extras: &Path, out: &Path) -> Result<PathBuf> {
    let name = format!("tenure-{}-{}-linux", version(root)?, std::env::consts::ARCH);
    let stage = out.join(&name);
    let _ = fs::remove_dir_all(&stage);
    fs::create_dir_all(&stage)?;
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(program).arg(extras.join("man")).arg(extras.join("completions"));
    for file in ["README.md", "LICENSE", "CHANGELOG.md", UNIT] {
        copy.arg(root.join(file));
    }
    step::quiet("files", copy.arg(&stage))?;
    let file = out.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    // The same files give the same bytes.
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-C"]).arg(out);
    step::quiet("tarball", tar.arg("-czf").arg(&file).arg(&name))?;
    fs::remove_dir_all(&stage)?;
    Ok(file)
}

/// What it holds stands in crates/cli/Cargo.toml.
fn deb(root: &Path, out: &Path) -> Result<PathBuf> {
    if step::answer(Command::new("cargo").args(["deb", "--version"])).is_none() {
        let mut cargo = Command::new("cargo");
        cargo.args(["install", "--locked", "--debug", "--quiet", DEB]).env("CARGO_PROFILE_DEV_DEBUG", "0");
        step::shown("cargo install cargo-deb", &mut cargo)?;
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["deb", "--locked", "--no-build", "--profile", "dist", "--package", "tenure", "--output"]).arg(out);
    step::shown("Debian package", cargo.current_dir(root))?;
    let version = version(root)?;
    let mine =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "deb") && path.to_string_lossy().contains(&version);
    let found: Vec<PathBuf> = fs::read_dir(out)?.filter_map(|entry| Some(entry.ok()?.path())).filter(mine).collect();
    ensure!(found.len() == 1, "{} Debian packages of {version} lie in {}", found.len(), out.display());
    found.into_iter().next().context("one was found")
}

fn version(root: &Path) -> Result<String> {
    let text = fs::read_to_string(root.join("Cargo.toml"))?;
    let table: toml::Table = text.parse()?;
    let version = table.get("workspace").and_then(|workspace| workspace.get("package")?.get("version")?.as_str());
    Ok(version.context("Cargo.toml states no version")?.to_owned())
}

/// The newest of the versions that its symbols ask for.
fn oldest_glibc(program: &Path) -> Result<String> {
    let symbols = step::answer(Command::new("objdump").arg("-T").arg(program)).context("objdump cannot read it")?;
    let wanted = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let number: String = rest.chars().take_while(|letter| letter.is_ascii_digit() || *letter == '.').collect();
        let parts: Vec<u32> = number.split('.').filter_map(|part| part.parse().ok()).collect();
        (!parts.is_empty()).then_some((parts, number))
    });
    let newest: Option<(Vec<u32>, String)> = wanted.collect::<BTreeSet<_>>().into_iter().next_back();
    Ok(newest.context("it asks for no glibc")?.1)
}
