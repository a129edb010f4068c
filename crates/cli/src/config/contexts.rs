//! The daemons that have names: `contexts.toml` beside the user's own tenure.toml. It holds keys, so it is read only where
//! nobody else could read or write it, and written anew as a whole. Must never: be looked for in the current folder.
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tenure_core::manifest::nearest;
use tenure_wire::api::key::KeyText;
use tenure_wire::client::Endpoint;
use tenure_wire::fingerprint::Fingerprint;

use super::{Unread, text_of, write_own};
use crate::failure::{Exit, Failure};

const FILE: &str = "contexts.toml";
/// The name of this data directory's own daemon, which stands in no file.
pub const LOCAL: &str = "local";
const NAME_BYTES_MAX: usize = 63;
const CONTEXTS_MAX: usize = 256;
/// Another of our own that writes takes milliseconds.
const LOCK_MAX: Duration = Duration::from_secs(5);
const LOCK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one in use; none is the data directory's own daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    pub base_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
}

/// Without the key.
impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("base_url", &self.base_url).field("fingerprint", &self.fingerprint).finish()
    }
}

/// An address with the certificate that is taken there.
pub fn endpoint(url: &str, pin: Option<Fingerprint>) -> Result<Endpoint, Failure> {
    let endpoint = url.parse::<Endpoint>();
    let endpoint = match pin {
        Some(pin) => endpoint.and_then(|endpoint| endpoint.pinned(pin)),
        None => endpoint,
    };
    endpoint.map_err(|error| Failure::new(Exit::Usage, error.to_string()))
}

/// # Errors
/// It has not the form of a key.
pub fn check_key(key: &str, given: &str) -> Result<(), Failure> {
    let checked = key.parse::<KeyText>().map(|_| ());
    checked.map_err(|error| Failure::new(Exit::NotAllowed, error.to_string()).next(format!("check {given}")))
}

pub fn check_name(name: &str) -> Result<(), Failure> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if first && rest && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, format!("`{name}` is no name of a context"))
        .next(format!("use 1 to {NAME_BYTES_MAX} letters, digits, `.`, `_` and `-`, the first a letter or digit")))
}

/// The file, wherever it is.
#[derive(Debug, Clone)]
pub struct ContextsFile(PathBuf);

impl ContextsFile {
    /// In the folder of the user's own configuration.
    pub fn in_folder(folder: &Path) -> ContextsFile {
        ContextsFile(folder.join(FILE))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// # Errors
    /// It is there and cannot be trusted or read.
    pub fn read(&self) -> Result<Contexts, Failure> {
        let path = self.0.display();
        if self.0.symlink_metadata().is_err() {
            return Ok(Contexts::default());
        }
        let text = text_of(&self.0, 0o077).map_err(|unread| match unread {
            Unread::Others(why) => Failure::new(Exit::NotAllowed, format!("{path} is not used: {why}"))
                .why("it holds keys and says where they are sent, so that only you may be able to read and write it")
                .next(format!("look at it, then: chmod 600 {path}, and chown it to yourself; make a key anew that others may have read")),
            Unread::Not(why) => Failure::new(Exit::Usage, format!("{path} cannot be used: {why}")),
        })?;
        let contexts: Contexts = toml::from_str(&text).map_err(|error| {
            // The parser shows the line, which may hold a key.
            Failure::new(Exit::Usage, format!("{path} cannot be used: {}", error.message()))
                .next("mend it, or remove it and add the contexts again")
        })?;
        for name in contexts.contexts.keys() {
            check_name(name).map_err(|failure| failure.why(format!("it stands in {path}")))?;
        }
        Ok(contexts)
    }

    /// Reads, changes, and writes it whole; another writer waits.
    ///
    /// # Errors
    /// What `change` refuses; then nothing is written. What cannot be read or written.
    pub fn change<T>(&self, change: impl FnOnce(&mut Contexts) -> Result<T, Failure>) -> Result<T, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Failure, format!("{} cannot be written: {error}", self.0.display()))
        };
        let folder = self.0.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let held = File::open(folder).map_err(failed)?;
        lock(&held).map_err(failed)?;
        let mut contexts = self.read()?;
        let result = change(&mut contexts)?;
        if contexts.contexts.len() > CONTEXTS_MAX {
            return Err(Failure::new(Exit::Refused, format!("there are {CONTEXTS_MAX} contexts"))
                .next("`tenure config remove` one that is not used"));
        }
        let says = "Written by `tenure config`. It holds keys: for you alone.";
        write_own(&self.0, says, &contexts).map_err(failed)?;
        Ok(result)
    }
}

fn lock(folder: &File) -> std::io::Result<()> {
    let begun = Instant::now();
    loop {
        match flock(folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if begun.elapsed() < LOCK_MAX => std::thread::sleep(LOCK_EVERY),
            Err(Errno::WOULDBLOCK) => return Err(std::io::Error::other("another program holds its folder")),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Contexts {
    /// The one of this name; none for [`LOCAL`].
    ///
    /// # Errors
    /// There is none.
    pub fn named(&self, name: &str) -> Result<Option<&Context>, Failure> {
        if name == LOCAL {
            return Ok(None);
        }
        self.contexts.get(name).map(Some).ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> Failure {
        let known = || std::iter::once(LOCAL).chain(self.contexts.keys().map(String::as_str));
        let list = format!("there are {}; `tenure config add` makes one", known().collect::<Vec<_>>().join(", "));
        let failure = Failure::new(Exit::NotFound, format!("there is no context `{name}`"));
        match nearest(name, known()) {
            Some(near) => failure.next(format!("did you mean `{near}`? {list}")),
            None => failure.next(list),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn context(url: &str) -> Context {
        Context { base_url: url.to_owned(), api_key: Some("tnr_secret".to_owned()), fingerprint: None }
    }

    fn put(file: &ContextsFile, name: &str) -> Result<(), Failure> {
        file.change(|contexts| {
            contexts.contexts.insert(name.to_owned(), context("http://127.0.0.1:1"));
            Ok(())
        })
    }

    #[test]
    fn what_is_written_is_for_its_user_alone_and_what_others_may_read_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = ContextsFile::in_folder(&folder.path().join("tenure"));
        assert_eq!(file.read().unwrap(), Contexts::default());
        put(&file, "one").unwrap();
        assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(file.read().unwrap().contexts.contains_key("one"));
        for mode in [0o640, 0o604, 0o620, 0o602] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(file.read().unwrap_err().exit, Exit::NotAllowed, "{mode:o}");
            assert!(put(&file, "two").is_err(), "{mode:o}");
        }
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(file.read().unwrap().contexts.len(), 1, "nothing was written in between");
    }

    #[test]
    fn two_that_write_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = ContextsFile::in_folder(folder.path());
        std::thread::scope(|scope| {
            for number in 0..8 {
                let file = &file;
                scope.spawn(move || put(file, &format!("c{number}")).unwrap());
            }
        });
        assert_eq!(file.read().unwrap().contexts.len(), 8);
    }

    #[test]
    fn a_file_that_is_broken_is_named_and_no_key_of_it_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = ContextsFile::in_folder(folder.path());
        for text in
            ["[contexts.a]\napi_key = \"tnr_secret\"\n", "[contexts.a]\nbase_url = \"x\"\napi_key = tnr_secret\n"]
        {
            std::fs::write(file.path(), text).unwrap();
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
            let failure = format!("{:?}", file.read().unwrap_err());
            assert!(failure.contains("cannot be used") && !failure.contains("tnr_secret"), "{failure}");
        }
        assert!(!format!("{:?}", context("x")).contains("tnr_secret"));
    }
}
