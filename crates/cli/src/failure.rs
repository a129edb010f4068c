//! What went wrong, as a person reads it: what, why, and what to do next. The only translator of problems and errors
//! into words on a terminal and exit codes.
use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};
use tenure_wire::client;
use tenure_wire::problem::{Code, Fault, Problem};

use crate::args::Format;
use crate::screen::{self, Ink, indented, one_line};

/// How the program ends. The numbers are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failure,
    Usage,
    Refused,
    NotFound,
    Conflict,
    Unreachable,
    NotAllowed,
    /// What was watched failed or was cancelled.
    NotCompleted,
    Later,
    /// As a program ended that ran in its place, or as a shell says of one that a signal ended.
    Program(u8),
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::NotFound => 4,
            Exit::Conflict => 5,
            Exit::Unreachable => 6,
            Exit::NotAllowed => 7,
            Exit::NotCompleted => 8,
            Exit::Later => 9,
            Exit::Program(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Before what is not the first line.
const MARGIN: &str = "  ";

#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    what: String,
    why: Option<String>,
    next: Option<String>,
    problem: Option<Box<Problem>>,
}

impl Failure {
    pub fn new(exit: Exit, what: impl Into<String>) -> Failure {
        Failure { exit, what: what.into(), why: None, next: None, problem: None }
    }

    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Failure {
        self.why = Some(why.into());
        self
    }

    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Failure {
        self.next = Some(next.into());
        self
    }

    /// Whoever read the answer has gone (`| head`): nothing is said, and the exit code is that of a program ended by SIGPIPE.
    pub fn unheard() -> Failure {
        Failure::new(Exit::Program(141), "")
    }

    /// What, why and what next, on one line.
    pub fn sentence(&self) -> String {
        let parts = [Some(&self.what), self.why.as_ref(), self.next.as_ref()];
        parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("; ")
    }

    /// Stderr gets it, as lines or as one JSON object.
    pub fn print(&self, format: Format) {
        if self.what.is_empty() {
            return;
        }
        match format {
            Format::Json => screen::tell(&[(Ink::Plain, &screen::json_line(&self.json())), (Ink::Plain, "\n")]),
            Format::Table | Format::Yaml => {
                let next = self.next.as_ref().map(|next| format!(" {}\n", indented(next, MARGIN)));
                screen::tell(&[
                    (Ink::Error, "error:"),
                    (Ink::Plain, &self.text()),
                    (Ink::Next, if next.is_some() { "next:" } else { "" }),
                    (Ink::Plain, next.as_deref().unwrap_or_default()),
                ]);
            }
        }
    }

    /// Says it and gives the exit code.
    pub fn end(&self, format: Format) -> ExitCode {
        self.print(format);
        self.exit.into()
    }

    fn json(&self) -> Value {
        match &self.problem {
            Some(problem) => json!({ "error": problem }),
            None => json!({ "error": { "title": self.what, "detail": self.why, "hint": self.next } }),
        }
    }

    /// What and why. No line that another wrote begins where ours do.
    fn text(&self) -> String {
        let mut text = format!(" {}\n", indented(&self.what, MARGIN));
        if let Some(why) = &self.why {
            let _ = writeln!(text, "{MARGIN}{}", indented(why, MARGIN));
        }
        for fault in self.problem.iter().flat_map(|problem| &problem.errors) {
            let _ = writeln!(text, "{MARGIN}{}", fault_line(fault));
        }
        text
    }
}

/// `path (line 3): reason; hint`.
pub fn fault_line(fault: &Fault) -> String {
    let mut line = if fault.path.is_empty() { "the file".to_string() } else { fault.path.clone() };
    if let Some(number) = fault.line {
        let _ = write!(line, " (line {number})");
    }
    let _ = write!(line, ": {}", fault.reason);
    if let Some(hint) = &fault.hint {
        let _ = write!(line, "; {hint}");
    }
    one_line(&line)
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Failure {
        match error {
            client::Error::Problem(problem) => of_problem(problem),
            client::Error::Unreachable { endpoint, why } => {
                Failure::new(Exit::Unreachable, format!("no daemon answers at {endpoint}"))
                    .why(why)
                    .next("start one with `tenure up`, or name another with --base-url or --data-dir")
            }
            error @ client::Error::InClear(_) => Failure::new(Exit::NotAllowed, error.to_string())
                .next("give that daemon TLS (`tenure up --tls self-signed`) and write https://, or reach it through a tunnel to its own host, such as ssh -L, and name the tunnel's end"),
            error @ client::Error::OtherCertificate { .. } => other_certificate(&error),
            client::Error::Untrusted { endpoint, shown, why } => {
                Failure::new(Exit::NotAllowed, format!("the certificate of {endpoint} is not trusted; nothing was sent"))
                    .why(format!("{why}; its fingerprint is {shown}"))
                    .next("compare that with what `tenure status` says on the daemon's own host; if they are the same, pin it with --fingerprint")
            }
            error @ client::Error::NoTls(_) => Failure::new(Exit::Unreachable, error.to_string())
                .next("the daemon there was started without TLS, or something else has its port: `tenure status` on its host says how it listens"),
            error @ client::Error::TimedOut(_) => {
                Failure::new(Exit::Unreachable, error.to_string()).next("`tenure status` says whether it lives")
            }
            error @ client::Error::Broken(_) => Failure::new(Exit::Unreachable, error.to_string())
                .next("try again; `tenure status` says whether it lives"),
            error @ client::Error::Foreign(..) => Failure::new(Exit::Failure, error.to_string())
                .next("check --base-url, and that program and daemon are of the same release"),
        }
    }
}

fn other_certificate(error: &client::Error) -> Failure {
    let failure = Failure::new(Exit::NotAllowed, format!("{error}; nothing was sent"));
    let client::Error::OtherCertificate { pinned, shown, .. } = error else { return failure };
    failure.why(format!("pinned is {pinned}, and it shows {shown}")).next(
        "ask `tenure status` on the daemon's own host for its fingerprint: if it is the new one, keep that with `tenure config add NAME --replace`; if not, somebody stands in between",
    )
}

fn of_problem(problem: Box<Problem>) -> Failure {
    let listed = !problem.errors.is_empty();
    let failure = Failure::new(exit_of(problem.code), problem.title.clone()).next(problem.hint.clone());
    let mut failure = if listed { failure } else { failure.why(problem.detail.clone()) };
    failure.problem = Some(problem);
    failure
}

#[expect(clippy::too_many_lines, reason = "a line a code")]
fn exit_of(code: Code) -> Exit {
    match code {
        Code::AgentUnknown
        | Code::RevisionUnknown
        | Code::FileUnknown
        | Code::ExecutionUnknown
        | Code::ConversationUnknown
        | Code::SessionUnknown
        | Code::CallUnknown
        | Code::IterationUnknown
        | Code::StateUnknown
        | Code::KeyUnknown
        | Code::MessageUnknown
        | Code::AlertUnknown
        | Code::ApprovalUnknown
        | Code::PolicyUnknown
        | Code::GrantUnknown
        | Code::ScheduleUnknown
        | Code::ModelUnknown
        | Code::SecretUnknown
        | Code::PayloadUnknown
        | Code::PackageUnknown
        | Code::PublisherUnknown
        | Code::RouteUnknown => Exit::NotFound,
        Code::AgentAmbiguous
        | Code::AgentArchived
        | Code::AgentPaused
        | Code::AgentQuarantined
        | Code::AgentNotQuarantined
        | Code::AgentNoProgram
        | Code::InstanceNone
        | Code::MaxRetriesExceeded
        | Code::AgentRevoked
        | Code::AgentEnding
        | Code::AgentNameTaken
        | Code::AgentRevised
        | Code::AgentBusy
        | Code::DependencyUnmet
        | Code::MessageAmbiguous
        | Code::AlertAmbiguous
        | Code::ApprovalAmbiguous
        | Code::ApprovalOver
        | Code::PolicyMoved
        | Code::ApprovalSamePerson
        | Code::GrantsFull
        | Code::MessageNotDead
        | Code::MailboxFull
        | Code::HomeGone
        | Code::HomeFull
        | Code::FileChanged
        | Code::ExecutionAmbiguous
        | Code::ExecutionEnded
        | Code::CancelRequested
        | Code::ConversationBusy
        | Code::SessionNone
        | Code::SessionAmbiguous
        | Code::SessionEnded
        | Code::SessionPaused
        | Code::CallFailed
        | Code::CallEnded
        | Code::NotEnded
        | Code::NoOutput
        | Code::Erased
        | Code::IdempotencyKeyReused
        | Code::StateVersionConflict
        | Code::StateQuotaExceeded
        | Code::BudgetSpent
        | Code::KeyNameTaken
        | Code::KeysFull
        | Code::SecretNameTaken
        | Code::SecretRevoked
        | Code::SecretMoved
        | Code::SecretNotBound
        | Code::SecretsFull
        | Code::PackageVersionTaken
        | Code::PackagesFull
        | Code::ModelReplayed
        | Code::RecordsSealed
        | Code::Conflict => Exit::Conflict,
        Code::Unauthenticated
        | Code::Forbidden
        | Code::HostRefused
        | Code::OriginRefused
        | Code::CallBlocked
        | Code::PublisherUntrusted => Exit::NotAllowed,
        Code::Overloaded
        | Code::RateLimited
        | Code::AuthenticationLimited
        | Code::CallsInFlight
        | Code::Stopping
        | Code::NotReady
        | Code::TookTooLong => Exit::Unreachable,
        Code::ModelFailed | Code::LedgerFull | Code::LedgerBroken | Code::VaultLocked | Code::Internal => Exit::Failure,
        Code::BodyNotJson
        | Code::BodyNotUtf8
        | Code::BodyTooLarge
        | Code::BodyTooDeep
        | Code::BodyTooSlow
        | Code::BodyWrong
        | Code::StateWrong
        | Code::BudgetWrong
        | Code::RetentionWrong
        | Code::ReasonWrong
        | Code::ParameterWrong
        | Code::ParameterOutOfRange
        | Code::MediaTypeWrong
        | Code::TlsWanted
        | Code::MethodWrong
        | Code::ManifestInvalid
        | Code::ManifestUnenforced
        | Code::MessageTooLarge
        | Code::MaxIterationsWrong
        | Code::FileRefused
        | Code::IdempotencyKeyWrong
        | Code::KeyNameWrong
        | Code::SecretNameWrong
        | Code::SecretValueWrong
        | Code::SecretBindingWrong
        | Code::PackageInvalid
        | Code::PackageUnsound
        | Code::PublisherWrong
        | Code::CallArgumentsWrong
        | Code::GrantWrong
        | Code::PolicyInvalid
        | Code::OverlapTooLong => Exit::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use tenure_wire::problem::Recovery;

    const HEAD: &str = "# Troubleshooting\n\
        Made from the catalogue of problems by `cargo xtask codegen`. Each refusal has a code that never changes: `-o json` prints it on\n\
        standard error as `error.code`, the API answers it as `code`, and the last part of `type` is the same word.\n\n\
        ## Before any code\n\
        | what is seen | what to do |\n\
        |---|---|\n\
        | `no daemon answers at …` (exit 6) | `tenure up -d` starts one; `--base-url`, `--data-dir` and `TENURE_DATA_DIR` say which is meant |\n\
        | the daemon ends at once | its last line says why; `daemon.log` in the data directory has it where it was started with `-d` |\n\
        | something is not usable | `tenure status` says what and why; `tenure sandbox check` what this host enforces |\n\
        | an execution waits or fails | `tenure execution get ID` has the reason, `tenure logs ID` what was said and done, `-v` each request |\n\
        | whether the records are whole | `tenure audit verify` |\n\n\
        ## By code\n\
        *Exit* is the exit code of the command line.\n\n\
        | code | means | what to do | HTTP | exit | again? |\n\
        |---|---|---|---|---|---|\n";

    fn page() -> String {
        let mut codes = Code::ALL.to_vec();
        codes.sort_by_key(|code| code.as_str());
        let rows = codes.into_iter().map(|code| {
            let entry = code.entry();
            let again = match entry.recovery {
                Recovery::ChangeRequest => "change the request".to_string(),
                Recovery::LookAgain => "look first".to_string(),
                Recovery::Retry => format!("after {} s", entry.retry_after.unwrap_or(1)),
                Recovery::Authenticate => "with another key".to_string(),
                Recovery::AskOperator => "once the operator has mended it".to_string(),
            };
            let hint = entry.hint.replace('|', "\\|");
            let exit = exit_of(code).code();
            format!("| `{}` | {} | {hint} | {} | {exit} | {again} |\n", entry.word, entry.title, entry.status)
        });
        HEAD.to_string() + &rows.collect::<String>()
    }

    /// Run with `TENURE_CODEGEN=1` to write it anew.
    #[test]
    fn the_troubleshooting_page_has_every_code_as_the_catalogue_has_it() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/troubleshooting.md");
        if std::env::var_os("TENURE_CODEGEN").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == page(),
            "docs/troubleshooting.md is old: run TENURE_CODEGEN=1 cargo test -p tenure troubleshooting"
        );
    }
}
