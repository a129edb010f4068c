//! `tenure config …`: the daemons that have names. It changes the user's own file and asks no daemon.
use std::io::Read;
use std::path::Path;

use serde::Serialize;
use tenure_wire::fingerprint::Fingerprint;

use super::{confirm, contents, each};
use crate::args::Config;
use crate::config::{By, Context, Contexts, LOCAL, Settings, check_key, check_name, endpoint};
use crate::failure::{Exit, Failure};
use crate::render::{Output, table};

/// A key and the end of its line.
const KEY_FILE_BYTES_MAX: usize = 1024;

/// A context as it is shown: without its key.
#[derive(Serialize)]
struct Shown {
    id: String,
    name: String,
    status: &'static str,
    base_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<Fingerprint>,
    has_key: bool,
}

pub async fn run(verb: Config, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    match verb {
        Config::Add { name, key_file, replace, in_use } => {
            let context = typed(&name, key_file.as_deref(), settings)?;
            add(&name, context, Adding { replace, in_use }, settings, output)
        }
        Config::Use { name } => choose(&name, settings, output),
        Config::List => list(settings, output),
        Config::Show { name: None } => meant(settings, output),
        Config::Show { name: Some(name) } => {
            let contexts = settings.contexts().read()?;
            let shown = shown(&contexts, &name, settings)?;
            output.show(&shown, || lines(&shown))?;
            Ok(Exit::Done)
        }
        Config::Remove { names } => {
            let remove = async |name: &str| remove(name, settings);
            each(&names, output, remove, |gone: &Shown| format!("Forgot \"{}\" ({})", gone.name, gone.base_url)).await
        }
    }
}

/// What the flags say; a variable may be there for another daemon.
fn typed(name: &str, key_file: Option<&Path>, settings: &Settings) -> Result<Context, Failure> {
    check_name(name)?;
    if name == LOCAL {
        return Err(Failure::new(Exit::Usage, format!("`{LOCAL}` is the data directory's own daemon"))
            .next("choose another name"));
    }
    let (global, stated) = settings.flags();
    let flag = |value: &Option<String>, by: Option<By>| value.clone().filter(|_| by == Some(By::Flag));
    let Some(base_url) = flag(&global.base_url, stated.base_url) else {
        return Err(Failure::new(Exit::Usage, "a context wants the daemon's address").next(format!(
            "tenure config add {name} --base-url https://HOST:7800 --fingerprint sha256:… --key-file FILE"
        )));
    };
    let fingerprint = flag(&global.fingerprint, stated.fingerprint);
    let fingerprint = fingerprint.map(|text| text.parse::<Fingerprint>()).transpose();
    let fingerprint = fingerprint.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let api_key = match key_file {
        Some(file) => Some(key_of(file)?),
        None => flag(&global.api_key, stated.api_key),
    };
    if let Some(key) = &api_key {
        check_key(key, if key_file.is_some() { "--key-file" } else { "--api-key" })?;
    }
    let endpoint = endpoint(&base_url, fingerprint)?;
    if !endpoint.keeps_keys() {
        return Err(Failure::new(Exit::NotAllowed, format!("{endpoint} is another host's address without TLS"))
            .why("a daemon there wants a key, and a key is sent in clear to this host alone")
            .next("give that daemon TLS (`tenure up --tls self-signed`) and write https://, or name the end of a tunnel on this host"));
    }
    Ok(Context { base_url, api_key, fingerprint })
}

fn key_of(file: &Path) -> Result<String, Failure> {
    if file == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().lock().take(KEY_FILE_BYTES_MAX as u64).read_to_string(&mut text);
        read.map_err(|error| Failure::new(Exit::Usage, format!("no key can be read from stdin: {error}")))?;
        return Ok(text.trim().to_string());
    }
    let bytes = contents(file, KEY_FILE_BYTES_MAX)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_string())
}

struct Adding {
    replace: bool,
    in_use: bool,
}

fn add(name: &str, context: Context, adding: Adding, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let contexts = settings.contexts().change(|contexts| {
        if contexts.contexts.contains_key(name) && !adding.replace {
            return Err(Failure::new(Exit::Conflict, format!("there is a context `{name}`"))
                .next("say --replace if this one shall take its place"));
        }
        contexts.contexts.insert(name.to_string(), context);
        if adding.in_use {
            contexts.current = Some(name.to_string());
        }
        Ok(contexts.clone())
    })?;
    let added = shown(&contexts, name, settings)?;
    output.show(&added, || {
        let next = if adding.in_use {
            "It is meant from now on; `tenure config use local` goes back.".to_string()
        } else {
            format!("`tenure config use {name}` means it from now on, `--context {name}` once.")
        };
        format!("Kept \"{name}\" ({}) in {}\n{next}\n", added.base_url, settings.contexts().path().display())
    })?;
    Ok(Exit::Done)
}

fn choose(name: &str, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let contexts = settings.contexts().change(|contexts| {
        contexts.current = contexts.named(name)?.map(|_| name.to_string());
        Ok(contexts.clone())
    })?;
    let chosen = shown(&contexts, name, settings)?;
    output.show(&chosen, || format!("From now on \"{name}\" is meant ({})\n", chosen.base_url))?;
    // What goes before it would make this no use at all, silently.
    let meant = settings.meant()?;
    if meant.context.as_deref() != Some(name) && !(name == LOCAL && meant.is_own) {
        eprintln!("note: {} goes before it: {} is meant", meant.said, meant.endpoint);
    }
    Ok(Exit::Done)
}

fn list(settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let contexts = settings.contexts().read()?;
    let names = std::iter::once(LOCAL).chain(contexts.contexts.keys().map(String::as_str));
    let all = names.map(|name| shown(&contexts, name, settings)).collect::<Result<Vec<_>, _>>()?;
    output.show(&all, || {
        let rows = all.iter().map(|context| {
            let key = if context.has_key { "kept" } else { "-" };
            let pinned = context.fingerprint.map_or_else(|| "-".to_string(), |pin| pin.to_string()[..19].to_string());
            [context.name.clone(), context.status.to_string(), context.base_url.clone(), key.to_string(), pinned]
        });
        table::table(["NAME", "STATUS", "BASE_URL", "KEY", "FINGERPRINT"], rows)
    })?;
    Ok(Exit::Done)
}

/// Which daemon is meant as things are, and what says so.
fn meant(settings: &Settings, output: Output) -> Result<Exit, Failure> {
    #[derive(Serialize)]
    struct Now {
        id: String,
        name: String,
        status: &'static str,
        base_url: String,
        said_by: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_from: Option<&'static str>,
    }
    let meant = settings.meant()?;
    let name = meant.context.clone().or_else(|| meant.is_own.then(|| LOCAL.to_string())).unwrap_or_default();
    let now = Now {
        id: name.clone(),
        name,
        status: "in_use",
        base_url: meant.endpoint.to_string(),
        said_by: meant.said.to_string(),
        key_from: meant.key_said,
    };
    output.show(&now, || {
        table::lines(
            None,
            [
                ("context", Some(now.name.clone()).filter(|name| !name.is_empty())),
                ("daemon", Some(now.base_url.clone())),
                ("said by", Some(now.said_by.clone())),
                ("key", Some(now.key_from.map_or("none".to_string(), |from| format!("from {from}")))),
                ("contexts", Some(settings.contexts().path().display().to_string())),
            ],
        )
    })?;
    Ok(Exit::Done)
}

fn remove(name: &str, settings: &Settings) -> Result<Shown, Failure> {
    if name == LOCAL {
        return Err(Failure::new(Exit::Usage, format!("`{LOCAL}` is the data directory's own daemon"))
            .next("it stands in no file, so that there is nothing to forget"));
    }
    // Before it is asked whether it is meant.
    shown(&settings.contexts().read()?, name, settings)?;
    confirm(&format!("Forget the context `{name}` with its key?"), settings)?;
    settings.contexts().change(|contexts| {
        let gone = shown(contexts, name, settings)?;
        contexts.contexts.remove(name);
        if contexts.current.as_deref() == Some(name) {
            contexts.current = None;
        }
        Ok(gone)
    })
}

fn shown(contexts: &Contexts, name: &str, settings: &Settings) -> Result<Shown, Failure> {
    let in_use = contexts.current.as_deref().unwrap_or(LOCAL) == name;
    let context = contexts.named(name)?;
    Ok(Shown {
        id: name.to_string(),
        name: name.to_string(),
        status: if in_use { "in_use" } else { "kept" },
        base_url: match context {
            Some(context) => context.base_url.clone(),
            None => format!("unix:{}", settings.socket().display()),
        },
        fingerprint: context.and_then(|context| context.fingerprint),
        has_key: context.is_some_and(|context| context.api_key.is_some()),
    })
}

fn lines(context: &Shown) -> String {
    table::lines(
        None,
        [
            ("name", Some(context.name.clone())),
            ("status", Some(context.status.to_string())),
            ("daemon", Some(context.base_url.clone())),
            ("fingerprint", context.fingerprint.map(|pin| pin.to_string())),
            ("key", Some(if context.has_key { "kept".to_string() } else { "none".to_string() })),
        ],
    )
}
