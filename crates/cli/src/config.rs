//! What flags, environment and tenure.toml come to, resolved once: a flag goes before its `TENURE_…` variable, that
//! before the file, the file before the default. A key that the file must not have is refused by name.
//!
//! Authority (where the daemon is, whose data it has, what of the host agents see) comes from the user's own file alone.
//! Must never: take it from a file that merely lies in the current folder, which a repository or an agent may have put there.
mod approvals;
mod audit;
mod contexts;
mod llm;
mod meant;
mod secrets;

pub use contexts::{Context, Contexts, ContextsFile, LOCAL, check_key, check_name, endpoint};
pub use llm::{Llm, LlmModel, LlmPrice, Names, Usd, read_models, write_models};
pub use meant::{By, Meant, Stated};

use std::fs::{DirBuilder, File as Opened};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};
use tenure_core::manifest::{HostMount, nearest};
use tenure_daemon::http::CertificateSource;
use tenure_daemon::model::settings::SettingsSource;
use tenure_daemon::sink::Target;
use tenure_daemon::vault::KeySource;
use tenure_wire::client::{Client, Endpoint};

use crate::args::{Format, Global, Tls};
use crate::failure::{Exit, Failure};
use crate::screen::{self, Ink};

pub const LISTEN_DEFAULT: &str = "127.0.0.1:7800";
pub const SLOTS_DEFAULT: u32 = 8;
const SOCKET: &str = "tenure.sock";
const FILE: &str = "tenure.toml";
const FILE_BYTES_MAX: u64 = 256 * 1024;
const KEYS: [&str; 13] = [
    "data_dir",
    "models_dir",
    "listen",
    "slots",
    "base_url",
    "fingerprint",
    "output",
    "sandbox",
    "api",
    "approvals",
    "audit",
    "secrets",
    "llm",
];
/// What a file of the current folder may say.
const HARMLESS: [&str; 1] = ["output"];

/// tenure.toml as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data_dir: Option<PathBuf>,
    models_dir: Option<PathBuf>,
    listen: Option<String>,
    slots: Option<u32>,
    base_url: Option<String>,
    fingerprint: Option<String>,
    output: Option<Format>,
    #[serde(default)]
    sandbox: Sandbox,
    #[serde(default)]
    api: Api,
    #[serde(default)]
    approvals: approvals::Approvals,
    #[serde(default)]
    audit: audit::Audit,
    #[serde(default)]
    secrets: secrets::Secrets,
    #[serde(default)]
    llm: Llm,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Api {
    tls: Option<ApiTls>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "`tls` is \"self-signed\", \"none\", or a table with `cert` and `key`")]
enum ApiTls {
    Word(Tls),
    Files(ApiFiles),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiFiles {
    cert: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sandbox {
    /// Each as `--allow-mount` takes it.
    #[serde(default)]
    allow_mounts: Vec<String>,
}

#[derive(Debug)]
pub struct Settings {
    pub output: Format,
    pub data_dir: PathBuf,
    /// Where weights are; several data directories may share one.
    pub models_dir: PathBuf,
    pub listen: Option<String>,
    pub slots: Option<u32>,
    /// What the API shows where it listens; none is in clear.
    pub tls: Option<CertificateSource>,
    /// Folders of the host that manifests may name.
    pub allow_mounts: Vec<HostMount>,
    /// Where the daemon sends committed records, and what people are asked to allow.
    pub sinks: Vec<Target>,
    /// Where the key is by which the daemon seals secrets.
    pub vault_key: KeySource,
    pub yes: bool,
    /// What the user's own tenure.toml says of models.
    pub llm: Llm,
    /// Where that stands, and what verbs write beside it.
    pub llm_source: SettingsSource,
    wanted: meant::Wanted,
}

impl Settings {
    pub fn resolve(global: &Global, stated: &Stated) -> Result<Settings, Failure> {
        let folders = etcetera::choose_base_strategy().map_err(|error| {
            Failure::new(Exit::Failure, format!("the home folder is not known: {error}")).next("set HOME")
        })?;
        let own = folders.config_dir().join("tenure").join(FILE);
        let file = match &global.config {
            Some(named) => read(named)?,
            None => {
                let file = if own.symlink_metadata().is_ok() { read(&own)? } else { File::default() };
                with_found(file, Path::new(FILE), &own)
            }
        };
        let data_dir = global.data_dir.clone().or(file.data_dir);
        let data_dir = absolute(&data_dir.unwrap_or_else(|| folders.data_dir().join("tenure")))?;
        let config_file = global.config.clone().unwrap_or_else(|| own.clone());
        let llm_source =
            llm::source(Some(absolute(&config_file)?), folders.config_dir().join("tenure").join(llm::MODELS_FILE));
        let wanted = meant::Wanted {
            global: global.clone(),
            stated: *stated,
            file_url: file.base_url,
            file_fingerprint: file.fingerprint,
            file_named: global.config.is_some(),
            contexts: ContextsFile::in_folder(&folders.config_dir().join("tenure")),
            socket: data_dir.join(SOCKET),
        };
        Ok(Settings {
            output: global.output.or(file.output).unwrap_or_default(),
            models_dir: match file.models_dir {
                Some(folder) => absolute(&folder)?,
                // Of gigabytes, and the same for every data directory of a user.
                None => folders.cache_dir().join("tenure").join("models"),
            },
            data_dir,
            listen: file.listen,
            slots: file.slots,
            tls: match file.api.tls {
                None | Some(ApiTls::Word(Tls::None)) => None,
                Some(ApiTls::Word(Tls::SelfSigned)) => Some(CertificateSource::SelfSigned),
                Some(ApiTls::Files(ApiFiles { cert, key })) => {
                    Some(CertificateSource::Files { cert: absolute(&cert)?, key: absolute(&key)? })
                }
            },
            allow_mounts: mounts(&file.sandbox.allow_mounts)?,
            sinks: file.audit.targets()?.into_iter().chain(file.approvals.target()?).collect(),
            vault_key: file.secrets.source(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?,
            yes: global.yes,
            llm: file.llm,
            llm_source,
            wanted,
        })
    }

    pub fn socket(&self) -> PathBuf {
        self.data_dir.join(SOCKET)
    }

    /// What a detached daemon prints.
    pub fn log(&self) -> PathBuf {
        self.data_dir.join("daemon.log")
    }

    /// The client of the daemon of this data directory, whatever else is meant.
    pub fn own_client(&self) -> Client {
        Client::new(Endpoint::Unix(self.socket()), None)
    }

    /// # Errors
    /// A daemon elsewhere is meant, which this verb cannot reach.
    pub fn own_daemon(&self, verb: &str) -> Result<(), Failure> {
        let meant = self.meant()?;
        if meant.is_own {
            return Ok(());
        }
        Err(Failure::new(Exit::Usage, format!("`tenure {verb}` is for the daemon of a data directory on this host"))
            .why(format!("{} is meant, by {}", meant.endpoint, meant.said))
            .next(format!("say --context {LOCAL}, or name the directory with --data-dir")))
    }

    /// The daemon that is meant: by a flag, a variable, the context in use, or the data directory's own.
    ///
    /// # Errors
    /// What cannot be meant.
    pub fn meant(&self) -> Result<Meant, Failure> {
        self.wanted.meant()
    }

    /// What the global flags said, where nothing else counts.
    pub fn flags(&self) -> (&Global, &Stated) {
        (&self.wanted.global, &self.wanted.stated)
    }

    pub fn contexts(&self) -> &ContextsFile {
        &self.wanted.contexts
    }

    /// The client of the daemon that is meant.
    ///
    /// # Errors
    /// What cannot be meant.
    pub fn client(&self) -> Result<Client, Failure> {
        self.meant().map(Meant::client)
    }
}

/// Where `up` serves holders of keys; none for the word `none`.
pub fn listen(text: &str) -> Result<Option<SocketAddr>, Failure> {
    if text == "none" {
        return Ok(None);
    }
    let wrong = || Failure::new(Exit::Usage, format!("`{text}` is no address: write 127.0.0.1:7800, or none"));
    let text = text.replacen("localhost", "127.0.0.1", 1);
    text.parse().map(Some).map_err(|_| wrong())
}

fn mounts(stated: &[String]) -> Result<Vec<HostMount>, Failure> {
    let mount = |text: &String| tenure_worker::host_mount(text);
    stated
        .iter()
        .map(mount)
        .collect::<Result<_, _>>()
        .map_err(|why| Failure::new(Exit::Usage, format!("{FILE} cannot be used: sandbox.allow_mounts: {why}")))
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::new(Exit::Usage, format!("{} is no path: {error}", path.display())))
}

/// A file that the user named, or their own: refused where another user could have written it.
fn read(path: &Path) -> Result<File, Failure> {
    let refuse = |why: String| Failure::new(Exit::Usage, format!("{} cannot be used: {why}", path.display()));
    let text = text_of(path, 0o022).map_err(|unread| match unread {
        Unread::Others(why) => Failure::new(Exit::NotAllowed, format!("{} is not used: {why}", path.display()))
            .why("it says where keys are sent and what agents see, so that only you may be able to write it")
            .next(format!("look at it, then: chmod go-w {0}, and chown it to yourself", path.display())),
        Unread::Not(why) => refuse(why),
    })?;
    parse(&text).map_err(|(why, next)| {
        let failure = refuse(why);
        if next.is_empty() { failure } else { failure.next(next) }
    })
}

/// Why a file is not read.
enum Unread {
    /// Somebody else could have written it.
    Others(String),
    Not(String),
}

/// `closed`: the bits of its mode that must not be set.
fn text_of(path: &Path, closed: u32) -> Result<String, Unread> {
    let not = |error: std::io::Error| Unread::Not(error.to_string());
    // Else a pipe that nobody writes to would be waited for.
    if !std::fs::metadata(path).map_err(not)?.is_file() {
        return Err(Unread::Not("it is no file".to_string()));
    }
    let file = Opened::open(path).map_err(not)?;
    let found = file.metadata().map_err(not)?;
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user && found.uid() != 0 {
        return Err(Unread::Others(format!("it belongs to another user (uid {})", found.uid())));
    }
    if found.mode() & closed != 0 {
        let may = if found.mode() & 0o022 != 0 { "write" } else { "read" };
        return Err(Unread::Others(format!("others may {may} it (mode {:04o})", found.mode() & 0o7777)));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(not)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Unread::Not(format!("it has more than the {FILE_BYTES_MAX} bytes that are read")));
    }
    Ok(text)
}

/// Writes a file of the user's own whole, for that user alone; `says` is its first line.
fn write_own(path: &Path, says: &str, value: &impl Serialize) -> std::io::Result<()> {
    let (folder, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let text = toml::to_string(value).map_err(std::io::Error::other)?;
    let partial = folder.join(format!(".{}.{}", name.display(), std::process::id()));
    // What a killed one left is ours, and in the way.
    let _ = std::fs::remove_file(&partial);
    let mut file = Opened::options().write(true).create_new(true).mode(0o600).open(&partial)?;
    let written = file
        .write_all(format!("# {says}\n{text}").as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&partial, path));
    written.inspect_err(|_| {
        let _ = std::fs::remove_file(&partial);
    })
}

/// Adds what a file of the current folder may say, and names on standard error what is left out of it.
fn with_found(own: File, here: &Path, own_path: &Path) -> File {
    let (file, left_out) = found(own, here, own_path);
    if let Some(left_out) = left_out {
        screen::tell(&[(Ink::Plain, &format!("note: {left_out}\n"))]);
    }
    file
}

/// The same, with what is to be said.
fn found(own: File, here: &Path, own_path: &Path) -> (File, Option<String>) {
    let same = |other: &Path| match (std::fs::metadata(here), std::fs::metadata(other)) {
        (Ok(here), Ok(other)) => (here.dev(), here.ino()) == (other.dev(), other.ino()),
        (Ok(_) | Err(_), _) => false,
    };
    if here.symlink_metadata().is_err() || same(own_path) {
        return (own, None);
    }
    let ignored = |why: &str| format!("./{} is ignored: {why}", here.display());
    let text = match text_of(here, 0o022) {
        Ok(text) => text,
        Err(Unread::Others(why) | Unread::Not(why)) => return (own, Some(ignored(&why))),
    };
    let Ok(table) = text.parse::<toml::Table>() else { return (own, Some(ignored("it is no TOML"))) };
    let output = match table.get("output").cloned().map(Format::deserialize).transpose() {
        Ok(output) => output,
        Err(_) => return (own, Some(ignored("its `output` is none of table, json and yaml"))),
    };
    let beyond: Vec<String> =
        table.keys().filter(|key| !HARMLESS.contains(&key.as_str())).map(|key| shown(key)).collect();
    let said = (!beyond.is_empty()).then(|| {
        format!(
            "./{} was found in the current folder, and what has authority is taken from your own file alone: {} in it \
             ignored. If it is yours, say --config {0}, or put that into {}",
            here.display(),
            if beyond.len() == 1 { format!("{} is", beyond[0]) } else { format!("{} are", beyond.join(", ")) },
            own_path.display()
        )
    });
    (File { output: output.or(own.output), ..own }, said)
}

/// A key as whoever wrote the file wrote it, fit for a terminal.
fn shown(key: &str) -> String {
    key.chars().take(40).map(|letter| if letter.is_ascii_graphic() { letter } else { '?' }).collect()
}

/// The reason and the way out where it cannot be used.
fn parse(text: &str) -> Result<File, (String, String)> {
    let error = match toml::from_str::<File>(text) {
        Ok(file) => return Ok(file),
        Err(error) => error,
    };
    if text.parse::<toml::Table>().is_err()
        && let Some(toml) = as_toml(text)
    {
        return Err(("it is YAML, and the configuration is TOML".to_string(), format!("the same in TOML:\n\n{toml}")));
    }
    let unknown = unknown_key(text);
    let near = unknown.as_deref().and_then(|key| nearest(key, KEYS));
    let known = format!("{FILE} may have {}", KEYS.join(", "));
    match (unknown, near) {
        (Some(key), Some(near)) => Err((format!("`{key}` is no key of it"), format!("did you mean `{near}`? {known}"))),
        (Some(key), None) => Err((format!("`{key}` is no key of it"), known)),
        (None, _) => Err((error.to_string().trim().to_string(), String::new())),
    }
}

fn unknown_key(text: &str) -> Option<String> {
    let table: toml::Table = text.parse().ok()?;
    table.keys().find(|key| !KEYS.contains(&key.as_str())).cloned()
}

/// The TOML that a YAML mapping would be; none where it is no mapping or TOML has no word for a part of it.
fn as_toml(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_saphyr::from_str(text).ok()?;
    let value = without_nulls(value);
    if value.is_object() { toml::to_string_pretty(&value).ok() } else { None }
}

/// TOML cannot say that there is nothing.
fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(items) => {
            Value::Array(items.into_iter().filter(|item| !item.is_null()).map(without_nulls).collect())
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_yaml_config_is_refused_with_the_toml_that_it_would_be() {
        let (why, next) = parse("listen: 127.0.0.1:9000\nslots: 4\nllm:\n  aliases:\n    fast: x\n").unwrap_err();
        assert!(why.contains("YAML"), "{why}");
        assert!(next.contains("listen = \"127.0.0.1:9000\"\nslots = 4"), "{next}");
        assert!(next.contains("[llm.aliases]\nfast = \"x\""), "{next}");
    }

    #[test]
    fn an_unknown_key_gets_the_near_word() {
        let (why, next) = parse("lisen = \"127.0.0.1:9000\"\n").unwrap_err();
        assert!(why.contains("`lisen`") && next.contains("did you mean `listen`?"), "{why}; {next}");
        assert_eq!(parse("slots = 3\n").unwrap().slots, Some(3));
        let file = parse("[sandbox]\nallow_mounts = [\"/srv/a\", \"/srv/b:rw\"]\n").unwrap();
        let (read, write) = ("/srv/a".to_owned(), "/srv/b".to_owned());
        let expected = [HostMount { path: read, read_only: true }, HostMount { path: write, read_only: false }];
        assert_eq!(mounts(&file.sandbox.allow_mounts).unwrap(), expected);
        assert_eq!(mounts(&["/etc".to_owned()]).unwrap_err().exit, Exit::Usage);
    }

    /// A folder with a file of the user's own and one that lies in the current folder.
    fn folder(own: &str, here: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (own_path, here_path) = (folder.path().join("own.toml"), folder.path().join("here.toml"));
        for (path, text) in [(&own_path, own), (&here_path, here)] {
            std::fs::write(path, text).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        (folder, own_path, here_path)
    }

    #[test]
    fn a_file_of_the_current_folder_is_named_and_gives_no_authority() {
        let planted = "output = \"json\"\nbase_url = \"http://127.0.0.1:1\"\ndata_dir = \"/srv/x\"\n[sandbox]\nallow_mounts = [\"/srv\"]\n";
        let (_folder, own, here) = folder("listen = \"127.0.0.1:1\"\n", planted);
        let (file, said) = found(read(&own).unwrap(), &here, &own);
        assert_eq!((file.base_url, file.data_dir, file.sandbox.allow_mounts.len()), (None, None, 0));
        assert_eq!((file.output, file.listen.as_deref()), (Some(Format::Json), Some("127.0.0.1:1")));
        let said = said.unwrap();
        assert!(["base_url", "data_dir", "sandbox", "--config"].iter().all(|word| said.contains(word)), "{said}");
        let (control, said) = found(File::default(), &here, &here);
        assert!(said.is_none() && control.output.is_none(), "the control: the user's own file is read once, as theirs");
        assert_eq!(
            read(&here).unwrap().base_url.as_deref(),
            Some("http://127.0.0.1:1"),
            "the control: named, it counts"
        );
    }

    #[test]
    fn a_planted_file_that_cannot_be_read_stops_nothing() {
        let (folder, own, here) = folder("", "not = [toml");
        let (_, said) = found(File::default(), &here, &own);
        assert!(said.unwrap().contains("no TOML"));
        std::fs::remove_file(&here).unwrap();
        assert!(found(File::default(), &here, &own).1.is_none());
        std::os::unix::fs::symlink(folder.path(), &here).unwrap();
        assert!(found(File::default(), &here, &own).1.unwrap().contains("no file"));
    }

    #[test]
    fn a_file_that_another_user_could_write_is_refused() {
        let (_folder, own, here) = folder("slots = 3\n", "slots = 3\n");
        assert_eq!(read(&own).unwrap().slots, Some(3));
        for mode in [0o620, 0o602] {
            std::fs::set_permissions(&own, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&own).unwrap_err().exit, Exit::NotAllowed, "{mode:o}");
        }
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&here, Some(65534), None).unwrap();
            assert_eq!(read(&here).unwrap_err().exit, Exit::NotAllowed);
        }
    }

    #[test]
    fn none_and_localhost_are_addresses_too() {
        assert_eq!(listen("none").unwrap(), None);
        assert_eq!(listen("localhost:1").unwrap(), listen("127.0.0.1:1").unwrap());
        assert_eq!(listen("7800").unwrap_err().exit, Exit::Usage);
    }
}
