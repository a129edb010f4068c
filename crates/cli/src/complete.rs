//! What may stand where the cursor is: verbs and flags by the parser's own knowledge, names and ids from the daemon that the
//! words mean. Must never: say anything but candidates, start or change anything, or keep a shell waiting.
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::{Arg, Command, CommandFactory, FromArgMatches};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate, ValueCompleter};
use clap_complete::env::{CompleteEnv, Shells};
use tenure_wire::client::{Client, Error};

use crate::args::{Arguments, Global};
use crate::config::{Settings, Stated};

/// Set by the scripts that `tenure completions` prints.
pub const VARIABLE: &str = "TENURE_COMPLETE";
/// What a person waits for without noticing.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);
const CANDIDATES_MAX: usize = 200;

/// Answers a shell, if one asks; then the program is done.
pub fn answered() -> bool {
    if std::env::var_os(VARIABLE).is_none_or(|shell| shell.is_empty()) {
        return false;
    }
    // A shell shows the line that is being typed, and nothing of ours may come between.
    if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stderr(null);
    }
    let here = std::env::current_dir().ok();
    let environment = CompleteEnv::with_factory(command).var(VARIABLE).bin("tenure").completer("tenure");
    environment.try_complete(std::env::args_os(), here.as_deref()).unwrap_or(true)
}

/// The script that has a shell ask this program.
pub fn script(shell: &str) -> Option<Vec<u8>> {
    let mut script = Vec::new();
    let completer = Shells::builtins();
    completer.completer(shell)?.write_registration(VARIABLE, "tenure", "tenure", "tenure", &mut script).ok()?;
    Some(script)
}

fn command() -> Command {
    with_candidates(Arguments::command())
}

fn with_candidates(command: Command) -> Command {
    let command = command.mut_args(|argument| match argument.get_id().as_str() {
        "agent" | "agents" | "profile" => from(argument, agents),
        "execution" | "executions" => from(argument, executions),
        "keys" => from(argument, keys),
        "sessions" => from(argument, sessions),
        "model" => from(argument, models),
        "words" => argument.add(ArgValueCompleter::new(AgentFirst)),
        _ => argument,
    });
    command.mut_subcommands(with_candidates)
}

fn from(argument: Arg, list: fn() -> Vec<CompletionCandidate>) -> Arg {
    argument.add(ArgValueCandidates::new(list))
}

/// Of `execute AGENT INPUT` the first is an agent.
struct AgentFirst;

impl ValueCompleter for AgentFirst {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let begins = |candidate: &CompletionCandidate| {
            candidate.get_value().as_encoded_bytes().starts_with(current.as_encoded_bytes())
        };
        agents().into_iter().filter(begins).collect()
    }

    fn complete_at(&self, index: usize, current: &OsStr) -> Vec<CompletionCandidate> {
        if index == 0 { self.complete(current) } else { Vec::new() }
    }
}

fn agents() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let agents = client.agents(&[], CANDIDATES_MAX).await?;
        Ok(agents.into_iter().map(|agent| candidate(agent.name, agent.status.as_str().to_string())).collect())
    })
}

fn executions() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let executions = client.executions(&[], CANDIDATES_MAX).await?;
        let help = |status: &str, agent: &str| format!("{status}, {agent}");
        let each = executions
            .into_iter()
            .map(|execution| candidate(execution.id.short(), help(execution.status.as_str(), &execution.agent_name)));
        Ok(each.collect())
    })
}

fn keys() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let live = client.keys().await?.into_iter().filter(|key| key.status.as_str() == "live");
        Ok(live.take(CANDIDATES_MAX).map(|key| candidate(key.name, key.role.to_string())).collect())
    })
}

fn sessions() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let sessions = client.sessions(&[], CANDIDATES_MAX).await?.into_iter();
        let live = sessions.filter(|session| session.status.as_str() == "live");
        Ok(live.map(|session| candidate(session.id.short(), session.agent_name)).collect())
    })
}

fn models() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let models = client.models().await?.items.into_iter();
        let names = models.flat_map(|model| std::iter::once(model.name).chain(model.aliases));
        Ok(names.take(CANDIDATES_MAX).map(|name| candidate(name, String::new())).collect())
    })
}

fn candidate(name: String, help: String) -> CompletionCandidate {
    // Names reach a terminal: what acts there is no name of ours.
    let plain = |text: String| text.chars().filter(|letter| !crate::screen::acts(*letter)).collect::<String>();
    let help = plain(help);
    CompletionCandidate::new(plain(name)).help((!help.is_empty()).then(|| help.into()))
}

/// Silent where no daemon answers in time.
fn ask(list: impl AsyncFn(&Client) -> Result<Vec<CompletionCandidate>, Error>) -> Vec<CompletionCandidate> {
    let Some(client) = client() else { return Vec::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let listed = runtime.block_on(async { tokio::time::timeout(ANSWER_TIMEOUT, list(&client)).await });
    runtime.shutdown_background();
    listed.ok().and_then(Result::ok).unwrap_or_default()
}

/// The daemon that the words so far mean.
fn client() -> Option<Client> {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    let words: Vec<OsString> = words.collect();
    let matches = Arguments::command().ignore_errors(true).try_get_matches_from(words).ok()?;
    let global = Global::from_arg_matches(&matches).unwrap_or_default();
    Settings::resolve(&global, &Stated::of(&matches)).ok()?.client().ok()
}
