//! `tenure package …`: a folder becomes a signed archive, which the daemon checks and keeps. A private key is read here and goes
//! nowhere.
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use tenure_core::bound::Hash;
use tenure_core::package::archive::{self, ARCHIVE_BYTES_MAX, FILES_MAX, File, Opened, UNPACKED_BYTES_MAX, Wrong};
use tenure_wire::api::package::{KeptPackage as Shown, NewPublisher, PackagePublisher};

use super::{confirm, contents};
use crate::args::{Package, PackageKeys};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, size, table, when};

const KEY_BYTES_MAX: usize = 16 * 1024;
/// Folders in folders of a package.
const DEPTH_MAX: usize = 32;

pub async fn run(verb: Package, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    match verb {
        Package::Build { folder, key, to, force } => build(&folder, key.as_deref(), &to, force, output),
        Package::Push { file } => {
            let archive = contents(&file, ARCHIVE_BYTES_MAX)?;
            // Here it costs nothing to say what is wrong.
            archive::open(&archive).map_err(|wrong| refused(&file.display().to_string(), &wrong))?;
            let pushed = settings.client()?.push_package(archive).await?;
            if let Some(newest) = &pushed.package.older_than {
                eprintln!("note: {newest} is there already, and {} is older", pushed.package.version);
            }
            let word = if pushed.changed { "Pushed" } else { "Unchanged:" };
            output.show(&pushed, || {
                let Shown { id, name, version, signed_by, .. } = &pushed.package;
                format!("{word} {name}@{version}, signed by {signed_by} (id: {id})")
            })?;
            Ok(Exit::Done)
        }
        Package::List { limit, listing } => {
            let packages = settings.client()?.packages(limit as usize).await?;
            output.list(
                &listing,
                &packages,
                "No package; `tenure package push FILE` keeps one",
                |package| package.id.to_string(),
                || table_of(&packages, output),
            )?;
            Ok(Exit::Done)
        }
        Package::Show { package } => {
            let package = settings.client()?.package(&package).await?;
            output.show(&package, || told(&package, output))?;
            Ok(Exit::Done)
        }
        Package::Verify { what } => verify(&what, settings, output).await,
        Package::Keys(verb) => keys(verb, settings, output).await,
    }
}

fn build(folder: &Path, key: Option<&Path>, to: &Path, force: bool, output: Output) -> Result<Exit, Failure> {
    let key = key.map(private_key).transpose()?;
    let files = files(folder)?;
    let bytes = archive::build(files, key.as_ref()).map_err(|wrong| refused(&folder.display().to_string(), &wrong))?;
    let failed = |why: String| Failure::new(Exit::Failure, format!("{} cannot be written: {why}", to.display()));
    let opened = OpenOptions::new().write(true).create(true).create_new(!force).truncate(force).open(to);
    let mut file = opened.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::new(Exit::Conflict, format!("{} is there already", to.display())).next("use --force")
        }
        _ => failed(error.to_string()),
    })?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|error| failed(error.to_string()))?;
    if key.is_none() {
        eprintln!("note: nobody signed it, so no daemon takes it; build it with --key FILE");
    }
    let publisher = key.as_ref().map(|key| archive::publisher_of(key).to_string());
    let sha256 = Hash::of(&bytes).to_string();
    let value = json!({ "file": to, "bytes": bytes.len(), "sha256": sha256, "publisher": publisher });
    output.show(&value, || {
        let by = publisher.map(|key| format!(", signed by {key}")).unwrap_or_default();
        format!("Built {} ({}{by})", to.display(), size(bytes.len() as u64))
    })?;
    Ok(Exit::Done)
}

fn private_key(path: &Path) -> Result<archive::Key, Failure> {
    let bytes = contents(path, KEY_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes);
    archive::signing_key(&text).map_err(|why| {
        Failure::new(Exit::Refused, format!("{}: {why}", path.display()))
            .next("make one: openssl genpkey -algorithm ed25519 -out publisher.pem")
    })
}

fn refused(what: &str, wrong: &Wrong) -> Failure {
    Failure::new(Exit::Refused, format!("{what}: {wrong}"))
}

/// All plain files beneath a folder. Links and whatever else is refused: it would be another thing elsewhere.
fn files(folder: &Path) -> Result<Vec<File>, Failure> {
    let failed = |path: &Path, why: String| Failure::new(Exit::Refused, format!("{}: {why}", path.display()));
    let mut files = Vec::new();
    let mut bytes = 0_u64;
    let mut open = vec![(folder.to_path_buf(), String::new(), 0)];
    while let Some((place, within, depth)) = open.pop() {
        if depth > DEPTH_MAX {
            return Err(failed(&place, format!("folders lie deeper than {DEPTH_MAX}")));
        }
        for entry in fs::read_dir(&place).map_err(|error| failed(&place, error.to_string()))? {
            let entry = entry.map_err(|error| failed(&place, error.to_string()))?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| failed(&path, "its name is no UTF-8".to_string()))?;
            let inner = if within.is_empty() { name.to_string() } else { format!("{within}/{name}") };
            let found = fs::symlink_metadata(&path).map_err(|error| failed(&path, error.to_string()))?;
            if found.is_dir() {
                open.push((path, inner, depth + 1));
                continue;
            }
            if !found.is_file() {
                return Err(failed(
                    &path,
                    "a package has plain files alone, and this is a link or a device".to_string(),
                )
                .next("put the file itself there, or take it out"));
            }
            bytes += found.len();
            if bytes > UNPACKED_BYTES_MAX as u64 || files.len() >= FILES_MAX {
                let most = UNPACKED_BYTES_MAX >> 20;
                return Err(failed(folder, format!("a package has at most {FILES_MAX} files and {most} MiB")));
            }
            archive::check_path(&inner).map_err(|wrong| failed(&path, wrong.to_string()))?;
            let executable = found.permissions().mode() & 0o100 != 0;
            let bytes = fs::read(&path).map_err(|error| failed(&path, error.to_string()))?;
            files.push(File { path: inner, executable, bytes });
        }
    }
    Ok(files)
}

/// What is a file here is checked here, and needs no daemon but to say whether its publisher is trusted.
async fn verify(what: &str, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let path = Path::new(what);
    if !path.is_file() {
        let verified = settings.client()?.verify_package(what).await?;
        output.show(&verified, || {
            format!("Verified: form, checksums, signature, publisher\n{}", told(&verified.package, output))
        })?;
        return Ok(Exit::Done);
    }
    let bytes = contents(path, ARCHIVE_BYTES_MAX)?;
    let Opened { contents, .. } = archive::open(&bytes).map_err(|wrong| refused(what, &wrong))?;
    let publisher = contents.publisher.to_string();
    let trusted = match settings.client() {
        Ok(client) => client.publishers().await.ok(),
        Err(_) => None,
    };
    let named = trusted.as_ref().map(|all| all.iter().find(|one| one.key == publisher && !one.forged));
    let value = json!({
        "verified": true, "name": contents.name, "version": contents.version.to_string(),
        "digest": contents.digest.to_string(), "publisher": publisher, "files": contents.files, "bytes": contents.bytes,
        "trusted": named.map(|publisher| publisher.is_some()),
    });
    output.show(&value, || {
        let by = match named {
            None => "no daemon says whether it is trusted".to_string(),
            Some(None) => "the daemon does not trust it".to_string(),
            Some(Some(publisher)) => format!("trusted as {}", publisher.name),
        };
        let (name, version, files) = (&contents.name, &contents.version, contents.files);
        format!("{name}@{version}: form, checksums and signature hold ({files} files)\nsigned by {publisher}: {by}")
    })?;
    Ok(if matches!(named, Some(None)) { Exit::NotAllowed } else { Exit::Done })
}

async fn keys(verb: PackageKeys, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    match verb {
        PackageKeys::Add { name, key } => {
            let publisher = client.trust_publisher(&NewPublisher { name, key: public_key(&key)? }).await?;
            output.show(&publisher, || format!("Packages of {} are taken (key: {})", publisher.name, publisher.key))?;
        }
        PackageKeys::List { listing } => {
            let publishers = client.publishers().await?;
            output.list(
                &listing,
                &publishers,
                "Nobody is trusted; `tenure package keys add NAME KEY` trusts a publisher",
                |publisher| publisher.key.clone(),
                || {
                    let columns = [Column::key("NAME"), Column::key("KEY"), Column::worth("SINCE", 1)];
                    let row = |publisher: &PackagePublisher| {
                        let forged = if publisher.forged { " (forged)" } else { "" };
                        let name = format!("{}{forged}", publisher.name);
                        [Cell::from(name), Cell::from(publisher.key.clone()), Cell::from(when(publisher.at, output))]
                    };
                    Table::new(columns, publishers.iter().map(row))
                },
            )?;
        }
        PackageKeys::Remove { publisher } => {
            confirm(&format!("Trust `{publisher}` no more? What it signed is not loaded again."), settings)?;
            let removed = client.remove_publisher(&publisher).await?;
            output.show(&removed, || format!("Packages of {} are taken no more", removed.name))?;
        }
    }
    Ok(Exit::Done)
}

/// Digits, or a file that has them or a key in PEM.
fn public_key(given: &str) -> Result<String, Failure> {
    if given.parse::<Hash>().is_ok() {
        return Ok(given.to_string());
    }
    let bytes = contents(Path::new(given), KEY_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes);
    let read = archive::public_key(text.trim());
    read.map(|key| key.to_string()).map_err(|why| {
        Failure::new(Exit::Refused, format!("{given}: {why}"))
            .next("openssl pkey -in publisher.pem -pubout writes the public half")
    })
}

fn told(package: &Shown, output: Output) -> String {
    let signed = format!("{} ({})", package.signed_by, package.publisher);
    table::lines(
        output.width(),
        [
            ("id", Some(package.id.to_string())),
            ("name", Some(package.name.clone())),
            ("version", Some(package.version.clone())),
            ("digest", Some(package.digest.clone())),
            ("signed by", Some(signed)),
            ("files", Some(format!("{}, {}", package.files, size(package.bytes)))),
            ("older than", package.older_than.clone()),
            ("pushed", Some(when(package.at, output))),
        ],
    )
}

fn table_of(packages: &[Shown], output: Output) -> Table {
    let columns = [
        Column::key("ID"),
        Column::key("NAME"),
        Column::key("VERSION"),
        Column::worth("SIGNED BY", 1),
        Column::worth("FILES", 2),
        Column::worth("PUSHED", 2),
    ];
    let rows = packages.iter().map(|package| {
        [
            Cell::from(if output.verbose { package.id.to_string() } else { package.id.short() }),
            Cell::from(package.name.clone()),
            Cell::from(package.version.clone()),
            Cell::from(package.signed_by.clone()),
            Cell::from(package.files.to_string()),
            Cell::from(when(package.at, output)),
        ]
    });
    Table::new(columns, rows)
}
