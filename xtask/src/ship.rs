//! `cargo xtask install` and `cargo xtask package`: the program on a PATH, and as files for other machines. Must never change a
//! shell's configuration, or name a package by what it was not built for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::{demo, install, step};

mod deb;

const UNIT: &str = "packaging/tenure.service";

#[derive(Args)]
pub(crate) struct Built {
    /// Also the program that runs a local model; its C++ takes minutes.
    #[arg(long)]
    local_model: bool,
    /// `dist` is what is shipped; `quick` is what the demo built, slower and there at once.
    #[arg(long, value_name = "NAME", default_value = "dist")]
    profile: String,
}

#[derive(Args)]
pub(crate) struct Install {
    #[command(flatten)]
    built: Built,
    /// Instead of cargo's own folder: programs go into bin/ below it.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// Builds, in the folder of every other build, so that nothing is compiled a second time; gives the programs.
fn build(root: &Path, built: &Built) -> Result<Vec<PathBuf>> {
    install::packages(if built.local_model { &install::BUILD } else { &install::BUILD[..1] })?;
    let names = if built.local_model { &demo::PROGRAMS[..] } else { &demo::PROGRAMS[..1] };
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--profile", &built.profile]).current_dir(root);
    cargo.args(names.iter().flat_map(|name| ["--package", name, "--bin", name]));
    step::shown(&names.join(", "), &mut cargo)?;
    let folder = demo::target(root)?.join(if built.profile == "dev" { "debug" } else { built.profile.as_str() });
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

/// Puts the programs where cargo puts programs.
pub(crate) fn onto_path(root: &Path, arguments: &Install) -> Result<ExitCode> {
    let bin = arguments.root.clone().map_or_else(cargo_home, Ok)?.join("bin");
    for program in build(root, &arguments.built)? {
        let to = bin.join(program.file_name().context("a program has a name")?);
        fs::create_dir_all(&bin).with_context(|| format!("{} cannot be made", bin.display()))?;
        // Beside and renamed: the old one may be running.
        let beside = to.with_extension("new");
        fs::copy(&program, &beside).with_context(|| format!("{} cannot be written", beside.display()))?;
        fs::rename(&beside, &to).with_context(|| format!("{} cannot be replaced", to.display()))?;
        println!("installed {}", to.display());
    }
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
pub(crate) fn package(root: &Path, arguments: &Built) -> Result<ExitCode> {
    install::packages(&["binutils"])?;
    let programs = build(root, arguments)?;
    let out = demo::target(root)?.join("package");
    fs::create_dir_all(&out)?;
    let oldest = programs.iter().map(|program| oldest_glibc(program)).collect::<Result<BTreeSet<_>>>()?;
    let (_, oldest) = oldest.into_iter().next_back().context("a program asks for a glibc")?;
    let extras = extras(root, &programs[0], &out.join("extras"))?;
    let version = version(root)?;
    let tarball = tarball(root, &version, &programs, &extras, &out)?;
    let contents = deb::Contents {
        root,
        version: &version,
        programs: &programs,
        extras: &extras,
        unit: UNIT,
        oldest_glibc: &oldest,
    };
    let deb = deb::build(&contents, &out)?;
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

fn tarball(root: &Path, version: &str, programs: &[PathBuf], extras: &Path, out: &Path) -> Result<PathBuf> {
    let name = format!("tenure-{version}-{}-linux", std::env::consts::ARCH);
    let stage = out.join(&name);
    let _ = fs::remove_dir_all(&stage);
    fs::create_dir_all(&stage)?;
    let mut copy = Command::new("cp");
    copy.arg("-r").args(programs).arg(extras.join("man")).arg(extras.join("completions"));
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

fn version(root: &Path) -> Result<String> {
    let text = fs::read_to_string(root.join("Cargo.toml"))?;
    let table: toml::Table = text.parse()?;
    let version = table.get("workspace").and_then(|workspace| workspace.get("package")?.get("version")?.as_str());
    Ok(version.context("Cargo.toml states no version")?.to_owned())
}

/// The newest of the versions that its symbols ask for.
fn oldest_glibc(program: &Path) -> Result<(Vec<u32>, String)> {
    let symbols = step::answer(Command::new("objdump").arg("-T").arg(program)).context("objdump cannot read it")?;
    let wanted = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let number: String = rest.chars().take_while(|letter| letter.is_ascii_digit() || *letter == '.').collect();
        let parts: Vec<u32> = number.split('.').filter_map(|part| part.parse().ok()).collect();
        (!parts.is_empty()).then_some((parts, number))
    });
    let newest: Option<(Vec<u32>, String)> = wanted.collect::<BTreeSet<_>>().into_iter().next_back();
    newest.context("it asks for no glibc")
}
