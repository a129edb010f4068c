//! Which daemon is meant, with which key: by a flag, a variable, the context in use, a file, or none of them.
//!
//! | first that says something | |
//! |---|---|
//! | flags | `--base-url` or `--context`, one of them; then `--data-dir` |
//! | variables | `TENURE_BASE_URL` or `TENURE_CONTEXT`, one of them; the `base_url` of a file that is named; `TENURE_DATA_DIR` |
//! | the user's own files | the context in use; `base_url` in tenure.toml |
//! | else | the data directory's own daemon |
//!
//! Must never: send the key of one context to the address of another, or of a flag.
use std::fmt;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;
use tenure_wire::client::{Client, Endpoint};
use tenure_wire::fingerprint::Fingerprint;

use super::contexts::{Context, ContextsFile, LOCAL, check_key, endpoint};
use crate::args::Global;
use crate::failure::{Exit, Failure};

/// How far a word goes before others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Flag,
    Variable,
}

/// Where the global words came from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stated {
    pub base_url: Option<By>,
    pub context: Option<By>,
    pub api_key: Option<By>,
    pub fingerprint: Option<By>,
    pub data_dir: Option<By>,
}

impl Stated {
    pub fn of(matches: &ArgMatches) -> Stated {
        let by = |name: &str| match matches.value_source(name) {
            Some(ValueSource::CommandLine) => Some(By::Flag),
            Some(ValueSource::EnvVariable) => Some(By::Variable),
            Some(_) | None => None,
        };
        Stated {
            base_url: by("base_url"),
            context: by("context"),
            api_key: by("api_key"),
            fingerprint: by("fingerprint"),
            data_dir: by("data_dir"),
        }
    }
}

/// What was said of the daemon, before it is known what it comes to.
#[derive(Debug)]
pub struct Wanted {
    pub global: Global,
    pub stated: Stated,
    /// Of tenure.toml.
    pub file_url: Option<String>,
    pub file_fingerprint: Option<String>,
    /// The file was named by `--config` or `TENURE_CONFIG`.
    pub file_named: bool,
    pub contexts: ContextsFile,
    pub socket: PathBuf,
}

/// Who said which daemon is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    BaseUrl(By),
    Context(By),
    DataDir(By),
    InUse,
    File,
    Nobody,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Said::BaseUrl(By::Flag) => "--base-url",
            Said::BaseUrl(By::Variable) => "TENURE_BASE_URL",
            Said::Context(By::Flag) => "--context",
            Said::Context(By::Variable) => "TENURE_CONTEXT",
            Said::DataDir(By::Flag) => "--data-dir",
            Said::DataDir(By::Variable) => "TENURE_DATA_DIR",
            Said::InUse => "`tenure config use`",
            Said::File => "tenure.toml",
            Said::Nobody => "nothing: it is the default",
        })
    }
}

/// The daemon that is meant.
#[derive(Debug)]
pub struct Meant {
    pub endpoint: Endpoint,
    pub said: Said,
    /// The context's name, where one is meant.
    pub context: Option<String>,
    pub key: Option<String>,
    pub key_said: Option<&'static str>,
    /// It is the data directory's own, on this host.
    pub is_own: bool,
}

impl Meant {
    pub fn client(self) -> Client {
        Client::new(self.endpoint, self.key)
    }
}

impl Wanted {
    /// # Errors
    /// What cannot be meant.
    pub fn meant(&self) -> Result<Meant, Failure> {
        let Wanted { global, stated, .. } = self;
        for by in [By::Flag, By::Variable] {
            let (url, context) = (of(&global.base_url, stated.base_url, by), of(&global.context, stated.context, by));
            match (url, context) {
                (Some(_), Some(_)) => return Err(both(by)),
                (Some(url), None) => return self.at(url, Said::BaseUrl(by)),
                (None, Some(name)) => return self.named(name, Said::Context(by)),
                (None, None) => {}
            }
            if let (By::Variable, true, Some(url)) = (by, self.file_named, &self.file_url) {
                return self.at(url, Said::File);
            }
            if stated.data_dir == Some(by) {
                return self.own(Said::DataDir(by));
            }
        }
        if let Some(name) = self.contexts.read()?.current {
            return self.named(&name, Said::InUse);
        }
        match &self.file_url {
            Some(url) => self.at(url, Said::File),
            None => self.own(Said::Nobody),
        }
    }

    fn at(&self, url: &str, said: Said) -> Result<Meant, Failure> {
        let of_file = self.file_fingerprint.as_ref().filter(|_| said == Said::File);
        let pin = self.fingerprint()?.or(of_file.map(|text| parsed(text)).transpose()?);
        let (key, key_said) = self.key(None, said)?;
        Ok(Meant { endpoint: endpoint(url, pin)?, said, context: None, key, key_said, is_own: false })
    }

    fn named(&self, name: &str, said: Said) -> Result<Meant, Failure> {
        let contexts = self.contexts.read()?;
        let failed = |failure: Failure| match said {
            Said::InUse => failure.why("`tenure config use` named it"),
            _ => failure,
        };
        let Some(context) = contexts.named(name).map_err(failed)? else {
            return self.own(said).map(|own| Meant { context: Some(LOCAL.to_string()), ..own });
        };
        let pin = self.fingerprint()?.or(context.fingerprint);
        let (key, key_said) = self.key(Some(context), said)?;
        let endpoint = endpoint(&context.base_url, pin)?;
        Ok(Meant { endpoint, said, context: Some(name.to_string()), key, key_said, is_own: false })
    }

    fn own(&self, said: Said) -> Result<Meant, Failure> {
        let (key, key_said) = self.key(None, said)?;
        Ok(Meant { endpoint: Endpoint::Unix(self.socket.clone()), said, context: None, key, key_said, is_own: true })
    }

    /// A context that a flag names brings its own key, also where a variable has another; and the other way round a
    /// context's key goes to its own address alone.
    fn key(&self, context: Option<&Context>, said: Said) -> Result<(Option<String>, Option<&'static str>), Failure> {
        let stated = self.global.api_key.clone();
        let kept = context.and_then(|context| context.api_key.clone());
        let (key, said) = match (self.stated.api_key, stated, kept) {
            (Some(By::Flag), Some(key), _) => (key, "--api-key"),
            (Some(By::Variable), Some(_), Some(key)) if said == Said::Context(By::Flag) => (key, "the context"),
            (Some(By::Variable), Some(key), _) => (key, "TENURE_API_KEY"),
            (_, _, Some(key)) => (key, "the context"),
            (_, _, None) => return Ok((None, None)),
        };
        check_key(
            &key,
            if said == "the context" { "the context's key: `tenure config add NAME --replace` sets it" } else { said },
        )?;
        Ok((Some(key), Some(said)))
    }

    fn fingerprint(&self) -> Result<Option<Fingerprint>, Failure> {
        self.global.fingerprint.as_deref().map(parsed).transpose()
    }
}

fn parsed(text: &str) -> Result<Fingerprint, Failure> {
    text.parse()
        .map_err(|error: tenure_wire::fingerprint::FingerprintError| Failure::new(Exit::Usage, error.to_string()))
}

fn of(value: &Option<String>, stated: Option<By>, by: By) -> Option<&str> {
    value.as_deref().filter(|_| stated == Some(by))
}

fn both(by: By) -> Failure {
    let (url, context) = match by {
        By::Flag => ("--base-url", "--context"),
        By::Variable => ("TENURE_BASE_URL", "TENURE_CONTEXT"),
    };
    Failure::new(Exit::Usage, format!("{url} and {context} each name a daemon")).next("leave one of them out")
}
