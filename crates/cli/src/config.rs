//! What flags, environment and tenure.toml come to, resolved once: a flag goes before its `TENURE_…` variable, that
//! before the file, the file before the default. A key that the file must not have is refused by name.
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use serde::Deserialize;
use tenure_core::manifest::{HostMount, nearest};
use tenure_wire::client::{Client, Endpoint};

use crate::args::{Format, Global};
use crate::failure::{Exit, Failure};

pub const LISTEN_DEFAULT: &str = "127.0.0.1:7800";
pub const SLOTS_DEFAULT: u32 = 8;
const FILE: &str = "tenure.toml";
const FILE_BYTES_MAX: u64 = 256 * 1024;
const KEYS: [&str; 7] = ["data_dir", "models_dir", "listen", "slots", "base_url", "output", "sandbox"];

/// tenure.toml as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data_dir: Option<PathBuf>,
    models_dir: Option<PathBuf>,
    listen: Option<String>,
    slots: Option<u32>,
    base_url: Option<String>,
    output: Option<Format>,
    #[serde(default)]
    sandbox: Sandbox,
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
    /// Folders of the host that manifests may name.
    pub allow_mounts: Vec<HostMount>,
    pub yes: bool,
    base_url: Option<String>,
    api_key: Option<String>,
}

impl Settings {
    pub fn resolve(global: &Global) -> Result<Settings, Failure> {
        let folders = etcetera::choose_base_strategy().map_err(|error| {
            Failure::new(Exit::Failure, format!("the home folder is not known: {error}")).next("set HOME")
        })?;
        let file = read(global.config.as_deref(), &folders.config_dir())?;
        let data_dir = global.data_dir.clone().or(file.data_dir);
        let data_dir = absolute(&data_dir.unwrap_or_else(|| folders.data_dir().join("tenure")))?;
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
            allow_mounts: mounts(&file.sandbox.allow_mounts)?,
            yes: global.yes,
            base_url: global.base_url.clone().or(file.base_url),
            api_key: global.api_key.clone(),
        })
    }

    pub fn socket(&self) -> PathBuf {
        self.data_dir.join("tenure.sock")
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
        let Some(url) = &self.base_url else { return Ok(()) };
        Err(Failure::new(Exit::Usage, format!("`tenure {verb}` is for the daemon of a data directory on this host"))
            .why(format!("{url} is meant, by --base-url, TENURE_BASE_URL or {FILE}"))
            .next("leave that out, or name the directory with --data-dir"))
    }

    /// Whether the daemon that is meant is the data directory's own, on this host.
    pub fn is_own_daemon(&self) -> bool {
        self.base_url.is_none()
    }

    /// The client of the daemon that is meant: the one at the base URL, or the data directory's own.
    pub fn client(&self) -> Result<Client, Failure> {
        let endpoint = match &self.base_url {
            Some(url) => url.parse::<Endpoint>().map_err(|error| Failure::new(Exit::Usage, error.to_string()))?,
            None => Endpoint::Unix(self.socket()),
        };
        if let Some(key) = &self.api_key {
            key.parse::<tenure_wire::api::key::KeyText>().map_err(|error| {
                Failure::new(Exit::NotAllowed, error.to_string()).next("check --api-key or TENURE_API_KEY")
            })?;
        }
        Ok(Client::new(endpoint, self.api_key.clone()))
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

fn read(named: Option<&Path>, config_dir: &Path) -> Result<File, Failure> {
    let here = PathBuf::from(FILE);
    let path = match named {
        Some(path) => path.to_path_buf(),
        None if here.is_file() => here,
        None => config_dir.join("tenure").join(FILE),
    };
    if named.is_none() && !path.is_file() {
        return Ok(File::default());
    }
    let refuse = |why: String| Failure::new(Exit::Usage, format!("{} cannot be used: {why}", path.display()));
    let size = std::fs::metadata(&path).map_err(|error| refuse(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(refuse(format!("it has {size} bytes, and at most {FILE_BYTES_MAX} are read")));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| refuse(error.to_string()))?;
    parse(&text).map_err(|(why, next)| {
        let failure = refuse(why);
        if next.is_empty() { failure } else { failure.next(next) }
    })
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

    #[test]
    fn none_and_localhost_are_addresses_too() {
        assert_eq!(listen("none").unwrap(), None);
        assert_eq!(listen("localhost:1").unwrap(), listen("127.0.0.1:1").unwrap());
        assert_eq!(listen("7800").unwrap_err().exit, Exit::Usage);
    }
}
