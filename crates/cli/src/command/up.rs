//! `tenure up`: the daemon, in the foreground or detached from it. It says what it found and where it listens, and ends on
//! Ctrl-C or TERM; executions go on at the next start.
mod detached;

use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tenure_daemon::fleet::BuiltIn;
use tenure_daemon::http::CertificateSource;
use tenure_daemon::model::environment::Environment;
use tenure_daemon::{Daemon, Options};
use tenure_wire::scrub::Scrubber;
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;

use super::interrupted;
use crate::args::{Tls, Up};
use crate::config::{LISTEN_DEFAULT, SLOTS_DEFAULT, Settings, listen};
use crate::failure::{Exit, Failure};
use crate::render::{Output, table};
use crate::screen;

/// How long the files of a deleted agent are kept where nobody says.
const HOME_GRACE_DEFAULT: Duration = Duration::from_secs(7 * 86_400);
/// The worker has greeted within this, or the greeting goes without it.
const GREETING_MAX: Duration = Duration::from_secs(10);

pub async fn run(up: Up, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    if up.detach && !up.own_session {
        settings.own_daemon("up")?;
        return detached::run(settings, output).await;
    }
    if up.own_session {
        // Fails where it leads a group already, as it does under a service supervisor; then no terminal is there to lose.
        let _ = rustix::process::setsid();
    }
    let begun = Instant::now();
    let scrubber = Scrubber::default();
    log_scrubbed(LOG_DEFAULT, &scrubber);
    // Whoever reads the greeting may end it at once.
    let mut interrupted = pin!(interrupted()?);
    any_file_size()?;
    let made = make_data_dir(&settings.data_dir)?;
    let starting =
        async { Daemon::start(options(&up, settings, &scrubber)?).await.map_err(|error| not_started(&error)) };
    let daemon = starting.await.inspect_err(|_| {
        if made {
            // A start that is refused leaves nothing; what is not empty tells of how far it came.
            let _ = std::fs::remove_dir(&settings.data_dir);
        }
    })?;
    let ready = begun.elapsed();
    let early = tokio::select! {
        () = greeted(&daemon, settings, ready) => false,
        () = &mut interrupted => true,
    };
    let stop = async move {
        if !early {
            interrupted.await;
        }
        say("stopping");
    };
    daemon.run(stop).await.map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    Ok(Exit::Done)
}

/// The database grows past any limit on the size of files, and the kernel would then end the daemon without a word.
fn any_file_size() -> Result<(), Failure> {
    let limit = getrlimit(Resource::Fsize);
    let Some(current) = limit.current else { return Ok(()) };
    if limit.maximum.is_none() && setrlimit(Resource::Fsize, Rlimit { current: None, maximum: None }).is_ok() {
        return Ok(());
    }
    Err(Failure::new(Exit::Failure, format!("files may have {current} bytes here, and the ledger grows past that"))
        .why("a limit on the size of files is set (`ulimit -f`)")
        .next("start the daemon with `ulimit -f unlimited`, or LimitFSIZE=infinity in its unit"))
}

fn options(up: &Up, settings: &Settings, scrubber: &Scrubber) -> Result<Options, Failure> {
    let unknown = |error: std::io::Error| Failure::new(Exit::Failure, format!("its own program is not known: {error}"));
    let program = std::env::current_exe().map_err(unknown)?;
    let beside = program.parent().unwrap_or(Path::new("/")).to_path_buf();
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let address = up.listen.as_deref().or(settings.listen.as_deref()).unwrap_or(LISTEN_DEFAULT);
    let slots = up.slots.or(settings.slots).unwrap_or(SLOTS_DEFAULT);
    let arguments = ["worker".into(), "--stdio".into(), "--slots".into(), slots.to_string().into()];
    let mounts = if up.allow_mounts.is_empty() { &settings.allow_mounts } else { &up.allow_mounts };
    let place = ["--data-dir".into(), settings.data_dir.clone().into_os_string()];
    // The worker looks again at its own start and at each opening.
    tenure_worker::check_mounts(mounts, &settings.data_dir).map_err(|error| {
        Failure::new(Exit::Usage, "a folder cannot be shown to agents")
            .why(error.to_string())
            .next("check --allow-mount")
    })?;
    let shown = mounts.iter().flat_map(|mount| {
        let access = if mount.read_only { "ro" } else { "rw" };
        ["--allow-mount".into(), format!("{}:{access}", mount.path).into()]
    });
    Ok(Options {
        data_dir: settings.data_dir.clone(),
        socket: settings.socket(),
        listen: listen(address)?,
        tls: match (&up.tls, &up.tls_cert, &up.tls_key) {
            (Some(Tls::None), ..) => None,
            (Some(Tls::SelfSigned), ..) => Some(CertificateSource::SelfSigned),
            (None, Some(cert), Some(key)) => Some(CertificateSource::Files { cert: cert.clone(), key: key.clone() }),
            (None, ..) => settings.tls.clone(),
        },
        environment: Environment {
            settings: Some(settings.llm_source.clone()),
            ..Environment::read(variable, &beside, settings.models_dir.clone())
        },
        built_in: BuiltIn {
            program,
            arguments: arguments.into_iter().chain(place).chain(shown).collect(),
            alive: settings.data_dir.join("alive"),
        },
        version: env!("CARGO_PKG_VERSION").to_string(),
        home_grace: up.home_grace.unwrap_or(HOME_GRACE_DEFAULT),
        accept_restore: up.accept_restore.clone(),
        sinks: settings.sinks.clone(),
        vault_key: settings.vault_key.clone(),
        scrubber: scrubber.clone(),
    })
}

/// True if there was none.
fn make_data_dir(path: &Path) -> Result<bool, Failure> {
    if path.is_dir() {
        return Ok(false);
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map(|()| true).map_err(|error| {
        Failure::new(Exit::Failure, format!("{} cannot be made: {error}", path.display()))
            .next("choose another with --data-dir or TENURE_DATA_DIR")
    })
}

fn not_started(error: &tenure_daemon::Error) -> Failure {
    let failure = Failure::new(Exit::Failure, "the daemon cannot start").why(error.to_string());
    match error {
        tenure_daemon::Error::Listen(_) => {
            failure.next("choose another address with --listen 127.0.0.1:PORT, or --listen none")
        }
        tenure_daemon::Error::Restored { .. } => failure.next("`tenure audit verify` tells what is there"),
        tenure_daemon::Error::Store(_)
        | tenure_daemon::Error::Commit(_)
        | tenure_daemon::Error::Model(_)
        | tenure_daemon::Error::Records(_)
        | tenure_daemon::Error::WriterStopped(_) => failure,
    }
}

/// A service supervisor is told that the daemon serves when its worker has come up or has had its time.
async fn greeted(daemon: &Daemon, settings: &Settings, ready: Duration) {
    greet(daemon, settings, ready).await;
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        say(&format!("the service supervisor cannot be told that the daemon is ready: {error}"));
    }
}

async fn greet(daemon: &Daemon, settings: &Settings, ready: Duration) {
    let mut greeting = daemon.greeting.clone();
    let known = timeout(GREETING_MAX, greeting.wait_for(Option::is_some)).await;
    let hello = known.ok().and_then(Result::ok).and_then(|greeting| greeting.as_ref().map(|known| known.hello.clone()));
    let (sandbox, languages) = match &hello {
        Some(hello) => {
            let found = hello.host.toolchains.iter().map(|found| format!("{} {}", found.language, found.version));
            let found: Vec<String> = found.collect();
            let languages = if found.is_empty() { "none under /usr".to_string() } else { found.join(", ") };
            (format!("{} ({} at a time)", hello.level, hello.slots), languages)
        }
        None => ("the worker has not come up yet; the log says why".to_string(), "not known yet".to_string()),
    };
    let tcp = daemon.listening.map(|listening| format!("{listening} (with an API key: `tenure key create`)"));
    let fingerprint = daemon.listening.and_then(|listening| listening.fingerprint);
    say(&format!("Tenure {}", env!("CARGO_PKG_VERSION")));
    say(&table::lines(
        None,
        [
            ("  data", Some(settings.data_dir.display().to_string())),
            ("  sandbox", Some(sandbox)),
            ("  languages", Some(languages)),
            ("  model", Some(model(daemon))),
            ("  socket", Some(format!("{} (this user)", settings.socket().display()))),
            ("  api", tcp),
            ("  certificate", fingerprint.map(|fingerprint| fingerprint.to_string())),
            (
                "  ready",
                Some(format!(
                    "after {} ms; Ctrl-C stops it, and executions go on at the next start",
                    ready.as_millis()
                )),
            ),
        ],
    ));
}

/// A daemon goes on when nobody reads what it says.
fn say(text: &str) {
    let _ = screen::print(text);
}

fn model(daemon: &Daemon) -> String {
    let models = &daemon.models;
    let (route, because) = models.default_route_and_reason();
    let missing = models.aliases().into_iter().find(|alias| alias.word == "default").and_then(|alias| alias.missing);
    let mut line = format!("default is {route}: {because}");
    if let Some(cassette) = models.cassette() {
        line.push_str(&format!("; {cassette}"));
    }
    if let Some(failure) = missing {
        line.push_str(&format!("; not usable yet: {}; {}", failure.sentence, failure.hint));
    }
    line
}

/// A file of a log has no use for them.
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// What the MCP library says of each request is left out: it holds what clients say of themselves.
const LOG_DEFAULT: &str = "info,rmcp=warn";

/// Logs go to stderr; `TENURE_LOG` is a filter such as `debug` or `tenure_daemon=debug,warn`.
pub fn log(default: &str) {
    log_scrubbed(default, &Scrubber::default());
}

/// The same without the value of any secret.
fn log_scrubbed(default: &str, scrubber: &Scrubber) {
    let scrubber = scrubber.clone();
    let filter = std::env::var("TENURE_LOG").ok().filter(|stated| !stated.is_empty());
    let filter = filter.and_then(|stated| EnvFilter::try_new(stated).ok()).unwrap_or_else(|| EnvFilter::new(default));
    // A second call in one process changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || screen::Log::new(&scrubber))
        .with_ansi(colours())
        .with_target(false)
        .try_init();
}
