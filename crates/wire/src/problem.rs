//! Errors on the wire: RFC 9457 problems from one catalogue. A code keeps its name and meaning for ever; whoever
//! answers adds what happened (`detail`), never another status or title.
use std::fmt;

use serde::{Deserialize, Serialize};

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";
const TYPE_PREFIX: &str = "https://tenure.dev/problems/";

/// What a program can do about a problem without understanding its sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// Send another request: this one will be refused again.
    ChangeRequest,
    /// The state is another than was thought: look again, then decide.
    LookAgain,
    /// Send the same request again after `retry_after` seconds.
    Retry,
    /// Get a key, or one with a higher role.
    Authenticate,
    /// Somebody must mend the host or the daemon's configuration first.
    AskOperator,
}

macro_rules! catalogue {
    ($($(#[$doc:meta])* $variant:ident $word:literal $status:literal $title:literal $hint:literal $recovery:ident
       $(after $after:literal)?;)*) => {
        /// Every code that an answer can bear.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            pub fn entry(self) -> Entry {
                match self {
                    $(Code::$variant => Entry {
                        word: $word,
                        status: $status,
                        title: $title,
                        hint: $hint,
                        recovery: Recovery::$recovery,
                        retry_after: catalogue!(@after $($after)?),
                    },)*
                }
            }
        }
    };
    (@after) => { None };
    (@after $after:literal) => { Some($after) };
}

/// A row of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub word: &'static str,
    /// The HTTP status.
    pub status: u16,
    pub title: &'static str,
    /// The way out, where the answer knows no better one.
    pub hint: &'static str,
    pub recovery: Recovery,
    /// Seconds.
    pub retry_after: Option<u32>,
}

impl Entry {
    /// Whether the same request may succeed later with nobody changing anything.
    pub fn retryable(&self) -> bool {
        self.recovery == Recovery::Retry
    }
}

catalogue! {
    // The request's form.
    BodyNotJson "body_not_json" 400 "The body is not JSON" "send one JSON value as the body" ChangeRequest;
    BodyNotUtf8 "body_not_utf8" 400 "The body is not UTF-8" "send the text encoded as UTF-8" ChangeRequest;
    BodyTooLarge "body_too_large" 413 "The body is too large" "send less; keep large data in files of the agent's work folder" ChangeRequest;
    BodyTooDeep "body_too_deep" 400 "The JSON nests too deep" "flatten it: at most 64 levels are read" ChangeRequest;
    BodyTooSlow "body_too_slow" 408 "The body did not arrive in time" "send the request again" Retry after 1;
    BodyWrong "body_wrong" 422 "The body does not fit" "see /v1/openapi.json for its shape" ChangeRequest;
    ParameterWrong "parameter_wrong" 422 "A parameter is wrong" "see /v1/openapi.json for the parameters" ChangeRequest;
    ParameterOutOfRange "parameter_out_of_range" 422 "A parameter is out of its range" "see /v1/openapi.json for the ranges" ChangeRequest;
    MediaTypeWrong "media_type_wrong" 415 "The body's type is not taken" "send the type that /v1/openapi.json names, or no Content-Type" ChangeRequest;
    RouteUnknown "route_unknown" 404 "There is no such path" "see /v1/openapi.json for the paths" ChangeRequest;
    MethodWrong "method_wrong" 405 "The path does not take this method" "see /v1/openapi.json for the methods" ChangeRequest;
    // Who asks.
    Unauthenticated "unauthenticated" 401 "No valid API key" "use the Unix socket, or send `Authorization: Bearer tnr_…`; `tenure key create` makes a key" Authenticate;
    AuthenticationLimited "authentication_limited" 429 "Too many API keys were refused" "wait; a program that sends a key which was revoked must stop; the Unix socket is never kept waiting" Retry after 60;
    Forbidden "forbidden" 403 "The role does not allow this" "use a key with a higher role: viewer reads, approver answers, operator changes, owner manages keys and rules" Authenticate;
    HostRefused "host_refused" 403 "The Host header names another host" "address the daemon as 127.0.0.1 or localhost" ChangeRequest;
    TlsWanted "tls_wanted" 400 "This address speaks TLS" "write https:// and the fingerprint that `tenure status` tells on the daemon's host" ChangeRequest;
    OriginRefused "origin_refused" 403 "Requests of other web sites are refused" "call the API from a program, not from a page of another site" ChangeRequest;
    // Manifests and agents.
    ManifestInvalid "manifest_invalid" 422 "The manifest is not valid" "mend the listed fields; `tenure manifest validate FILE` checks without deploying" ChangeRequest;
    ManifestUnenforced "manifest_unenforced" 422 "The manifest states what this host does not enforce" "leave the listed fields out or change them as each hint says" ChangeRequest;
    DependencyUnmet "dependency_unmet" 409 "What the agent depends on is not registered" "deploy what is missing first, or write `required: false` where it can do without" LookAgain;
    ModelUnknown "model_unknown" 422 "There is no such model" "`tenure model list` shows what there is" ChangeRequest;
    AgentUnknown "agent_unknown" 404 "There is no such agent" "`tenure agent list` shows what there is" LookAgain;
    AgentAmbiguous "agent_ambiguous" 409 "The short id fits several agents" "write more of the id, or the name" ChangeRequest;
    AgentArchived "agent_archived" 409 "The agent is archived" "its history stays; once its last execution has ended, another may have its name" LookAgain;
    AgentPaused "agent_paused" 409 "The agent is paused" "`tenure resume NAME` lets it begin again" LookAgain;
    AgentQuarantined "agent_quarantined" 409 "The agent is in quarantine" "`tenure agent show NAME` says why; `tenure agent recover NAME` lets it begin again" LookAgain;
    AgentNoProgram "agent_no_program" 409 "The agent has no program that is kept running" "`tenure execute NAME` runs it; only agents of kind `hooks` and `acp` are started and stopped" ChangeRequest;
    InstanceNone "instance_none" 409 "The agent's program is not running" "`tenure agent start NAME` starts it" LookAgain;
    AgentNotQuarantined "agent_not_quarantined" 409 "The agent is not in quarantine" "nothing is to be recovered; `tenure resume NAME` ends a pause" LookAgain;
    MaxRetriesExceeded "max_retries_exceeded" 409 "Recovery was tried as often as it may be" "its history, state and files stay: deploy it under a new name, or delete it" LookAgain;
    AgentRevoked "agent_revoked" 409 "The agent is revoked" "its history stays; deploy another under a new name" LookAgain;
    AgentEnding "agent_ending" 409 "The agent is being stopped" "try again in a moment" Retry after 1;
    AgentNameTaken "agent_name_taken" 409 "The name is another agent's" "choose another, or delete that agent first" ChangeRequest;
    AgentRevised "agent_revised" 409 "The agent has a newer revision" "look at it with `tenure agent get NAME`, then make your change to that one" LookAgain;
    RevisionUnknown "revision_unknown" 404 "The agent has no such revision" "`tenure agent revisions NAME` lists them" LookAgain;
    AgentBusy "agent_busy" 409 "The agent's executions have not ended" "wait until they have been cancelled" LookAgain;
    // Their files.
    HomeGone "home_gone" 409 "The agent has no files" "an agent has files once it has run; those of a deleted one are kept for a grace time, see `tenure up --home-grace`" LookAgain;
    FileUnknown "file_unknown" 404 "There is no such file" "`tenure agent files ls AGENT` shows what there is" LookAgain;
    FileRefused "file_refused" 422 "The file cannot be had so" "name a plain file or folder in /workspace or in a volume; links are not followed" ChangeRequest;
    FileChanged "file_changed" 409 "The file changed while it was read" "ask again; while the agent runs it may write" Retry after 1;
    HomeFull "home_full" 409 "The agent's folder is full" "delete something there, or raise the manifest's spec.security.resources.disk or files" LookAgain;
    // Their messages.
    MessageUnknown "message_unknown" 404 "There is no such message" "`tenure comms list AGENT` and `tenure comms dead list` show what there is" LookAgain;
    MessageAmbiguous "message_ambiguous" 409 "Several agents have this message" "say whose is meant: `--agent NAME`, in the API `?agent=NAME`" ChangeRequest;
    MessageNotDead "message_not_dead" 409 "The message is no dead letter" "only what could not be delivered is sent again or dropped: `tenure comms dead list`" LookAgain;
    MessageTooLarge "message_too_large" 422 "The message is too large" "put it into a file or into shared state, and say where it is" ChangeRequest;
    MailboxFull "mailbox_full" 409 "The agent's mailbox is full" "wait until it has taken some: `tenure comms list AGENT`" LookAgain;
    // What they tell and plan.
    AlertUnknown "alert_unknown" 404 "There is no such alert" "`tenure alerts --all` shows what there is" LookAgain;
    AlertAmbiguous "alert_ambiguous" 409 "The short id fits several alerts" "write more of the id" ChangeRequest;
    // The rules by which calls are judged.
    PolicyInvalid "policy_invalid" 422 "The policy is not valid" "mend what `errors` lists; `tenure policy schema` prints what rules may name" ChangeRequest;
    PolicyUnknown "policy_unknown" 404 "There is no such policy" "`tenure policy history` shows what there is" LookAgain;
    PolicyMoved "policy_moved" 409 "Another policy was applied meanwhile" "look at it with `tenure policy show`, then decide again" LookAgain;
    // Secrets.
    SecretUnknown "secret_unknown" 404 "There is no such secret" "`tenure secret list --all` shows what there is" LookAgain;
    SecretNameWrong "secret_name_wrong" 422 "The secret's name is wrong" "use 1 to 63 letters, digits, `.`, `_` and `-`, a letter or digit first" ChangeRequest;
    SecretNameTaken "secret_name_taken" 409 "A live secret has this name" "`tenure secret rotate NAME` gives it a new value" ChangeRequest;
    SecretValueWrong "secret_value_wrong" 422 "The value cannot be kept" "a value has 8 to 65536 bytes of text: a shorter one could not be told from what is no secret" ChangeRequest;
    SecretRevoked "secret_revoked" 409 "The secret is revoked" "set another; the name is free" LookAgain;
    SecretMoved "secret_moved" 409 "The secret was rotated meanwhile" "look at it with `tenure secret show NAME`, then rotate again" LookAgain;
    SecretBindingWrong "secret_binding_wrong" 422 "That cannot be bound" "name a live agent, network.credentialed_request and one host, e.g. api.example.com" ChangeRequest;
    SecretNotBound "secret_not_bound" 409 "There is no such binding" "`tenure secret show NAME` lists them" LookAgain;
    // Packages.
    PackageUnknown "package_unknown" 404 "There is no such package" "`tenure package list` shows what there is" LookAgain;
    PackageInvalid "package_invalid" 422 "The archive is no package" "build it with `tenure package build DIR`" ChangeRequest;
    PackageUnsound "package_unsound" 422 "The package's checksums or signature do not hold" "build and sign it anew with `tenure package build DIR --key FILE`; an archive that came from elsewhere was changed on its way" ChangeRequest;
    PackageVersionTaken "package_version_taken" 409 "The name has this version with other contents" "give what changed a new version" ChangeRequest;
    PackagesFull "packages_full" 409 "No more packages or publishers are kept" "ask the owner which are needed" AskOperator;
    PublisherUnknown "publisher_unknown" 404 "There is no such publisher" "`tenure package keys list` shows who is trusted" LookAgain;
    PublisherUntrusted "publisher_untrusted" 403 "Nobody who is trusted signed the package" "an owner trusts a publisher with `tenure package keys add NAME KEY`" AskOperator;
    PublisherWrong "publisher_wrong" 422 "The publisher's name or key is wrong" "name it in 1 to 64 characters and give an Ed25519 public key" ChangeRequest;
    SecretsFull "secrets_full" 409 "No more secrets or bindings are kept" "revoke or unbind what is not needed" AskOperator;
    VaultLocked "vault_locked" 503 "The vault is locked" "`tenure status` says why" AskOperator;
    // What people are asked to allow.
    ApprovalUnknown "approval_unknown" 404 "There is no such approval" "`tenure approval list --all` shows what there is" LookAgain;
    ApprovalAmbiguous "approval_ambiguous" 409 "The short id fits several approvals" "write more of the id" ChangeRequest;
    ApprovalOver "approval_over" 409 "The approval is decided, or no longer asked for" "`tenure approval show ID` says how it stands" LookAgain;
    ApprovalSamePerson "approval_same_person" 409 "Another person must allow it too" "ask a second person, with a key of their own" AskOperator;
    GrantUnknown "grant_unknown" 404 "There is no such grant" "`tenure approval grants` shows what there is" LookAgain;
    GrantWrong "grant_wrong" 422 "That is no grant" "give minutes (1 to 43200), calls (1 to 10000) or the execution that asked" ChangeRequest;
    GrantsFull "grants_full" 409 "The agent has 32 grants" "revoke one: `tenure approval revoke ID`, or make a rule of them" AskOperator;
    ScheduleUnknown "schedule_unknown" 404 "The agent planned no such wake" "`tenure agent schedules NAME` lists them" LookAgain;
    // Executions.
    ExecutionUnknown "execution_unknown" 404 "There is no such execution" "`tenure execution list` shows what there is" LookAgain;
    ExecutionAmbiguous "execution_ambiguous" 409 "The short id fits several executions" "write more of the id" ChangeRequest;
    ExecutionEnded "execution_ended" 409 "The execution has ended" "start another; `tenure execution get ID` shows how this one ended" LookAgain;
    CancelRequested "cancel_requested" 409 "The execution is being cancelled already" "watch it: its status follows when its sandbox is gone" LookAgain;
    MaxIterationsWrong "max_iterations_wrong" 422 "max_iterations is out of range" "give 1 to 1000" ChangeRequest;
    IterationUnknown "iteration_unknown" 404 "The execution has no such iteration" "`tenure execution get ID` lists its iterations" LookAgain;
    NotEnded "not_ended" 409 "The execution has not ended" "watch it, or ask again when it has" LookAgain;
    BudgetSpent "budget_spent" 409 "The budget is used up" "wait until it opens again, or raise it: `tenure budget set`; `tenure budget list` shows what is used" LookAgain;
    BudgetWrong "budget_wrong" 422 "That is no budget" "name each limit once: from 1 to 2^52, in tokens or in millionths of a US dollar; none takes it away" ChangeRequest;
    RetentionWrong "retention_wrong" 422 "That is no rule of what is kept" "an age is from a minute to ten years, a size at most 16 TiB; none keeps all" ChangeRequest;
    PayloadUnknown "payload_unknown" 404 "No ended execution or session brought this payload" "records name payloads by their hashes: `tenure audit query --execution ID -o json`; a stored value goes by `tenure state delete`, and what lives is made of others" LookAgain;
    Erased "erased" 409 "What it was told and said is erased" "its records stay: `tenure audit tail --execution ID`" LookAgain;
    ReasonWrong "reason_wrong" 422 "The reason is empty or too long" "say in 1 to 512 characters why" ChangeRequest;
    NoOutput "no_output" 409 "The execution has no output" "only one that completed has; `tenure execution logs ID` shows what was said and done" LookAgain;
    IdempotencyKeyReused "idempotency_key_reused" 409 "The idempotency key started something else" "use another key for another start; the same start may be repeated" ChangeRequest;
    IdempotencyKeyWrong "idempotency_key_wrong" 400 "The idempotency key is not valid" "use 1 to 255 printable ASCII characters" ChangeRequest;
    ConversationUnknown "conversation_unknown" 404 "There is no such conversation" "`tenure chat NAME --list` shows what there is" LookAgain;
    ConversationBusy "conversation_busy" 409 "The conversation waits for an answer" "wait for it, or cancel the execution that is named" LookAgain;
    // Sessions: agents that are connected from outside.
    SessionNone "session_none" 409 "The agent has no open session" "open one: `POST /v1/agent/session`" LookAgain;
    SessionUnknown "session_unknown" 404 "There is no such session" "`tenure session list` shows what there is; an agent opens one with `POST /v1/agent/session`" LookAgain;
    SessionAmbiguous "session_ambiguous" 409 "The short id fits several sessions" "write more of the id" ChangeRequest;
    SessionEnded "session_ended" 409 "The session has ended" "open another: `POST /v1/agent/session`" LookAgain;
    SessionPaused "session_paused" 409 "The agent is paused" "stay, and try again later: a person resumes it, and until then each call is refused" Retry after 30;
    CallsInFlight "calls_in_flight" 429 "Too many calls are in flight" "wait until one of the session's calls has ended: `GET /v1/agent/calls/ID` says so" Retry after 5;
    CallUnknown "call_unknown" 404 "There is no such call" "`GET /v1/agent/events` shows the ids of what was called" LookAgain;
    CallEnded "call_ended" 409 "The call has ended" "`GET /v1/agent/calls/ID` says how" LookAgain;
    RateLimited "rate_limited" 429 "Too many calls" "wait for the next minute, and ask for less" Retry after 60;
    CallBlocked "call_blocked" 403 "The call is blocked" "`GET /v1/agent/capabilities` lists what you may call; only a person can allow more" ChangeRequest;
    CallArgumentsWrong "call_arguments_wrong" 422 "The arguments do not fit" "`GET /v1/agent/capabilities?name=NAME` gives their schema" ChangeRequest;
    CallFailed "call_failed" 409 "The call failed" "the entry in `errors` says why and what to do next" LookAgain;
    OverlapTooLong "overlap_too_long" 422 "The overlap is too long" "an old key lives on for 7 days at most" ChangeRequest;
    // What agents keep.
    StateUnknown "state_unknown" 404 "There is no such value" "`tenure state list AGENT` and `tenure state shared list` show what there is" LookAgain;
    StateVersionConflict "state_version_conflict" 409 "The value has another version" "read it, and decide again with the version that it has" LookAgain;
    StateQuotaExceeded "state_quota_exceeded" 409 "More would be kept than may be" "delete what is not needed, or raise the quota: `tenure state quota AGENT --set SIZE`" LookAgain;
    StateWrong "state_wrong" 422 "That cannot be kept" "see /v1/openapi.json for keys, values and their limits" ChangeRequest;
    // Keys.
    KeyUnknown "key_unknown" 404 "There is no such key" "`tenure key list` shows what there is" LookAgain;
    KeyNameTaken "key_name_taken" 409 "A live key has this name" "choose another name, or revoke that key" ChangeRequest;
    KeyNameWrong "key_name_wrong" 422 "The key's name is not valid" "use 1 to 63 printable characters" ChangeRequest;
    KeysFull "keys_full" 409 "There are 64 live keys" "revoke one that is not used" ChangeRequest;
    // Models.
    ModelReplayed "model_replayed" 409 "Answers are replayed, so there is no model to try" "start the daemon without TENURE_CASSETTE" LookAgain;
    ModelFailed "model_failed" 502 "The model did not answer" "`tenure model test` tells more" AskOperator;
    // The state of things.
    Conflict "conflict" 409 "The state has moved on" "look again, then decide" LookAgain;
    Overloaded "overloaded" 503 "The daemon has too much to do" "send the request again a little later" Retry after 1;
    Stopping "stopping" 503 "The daemon is stopping" "send the request again when it is up" Retry after 5;
    NotReady "not_ready" 503 "The daemon is not ready" "`tenure status` says what is missing" Retry after 2;
    TookTooLong "took_too_long" 504 "The answer took too long" "send the request again" Retry after 1;
    LedgerFull "ledger_full" 507 "The disk under the ledger is full" "make room on the disk; until then nothing new is done, and cancelling works" AskOperator;
    RecordsSealed "records_sealed" 409 "What is asked for was sealed into a file that is not here" "put the file that the detail names back into the folder `sealed` of the data directory" AskOperator;
    LedgerBroken "ledger_broken" 500 "The ledger cannot be written or read" "run `tenure audit verify`, and look at the daemon's log" AskOperator;
    Internal "internal" 500 "The daemon failed" "look at the daemon's log; this should be reported" AskOperator;
}

impl Code {
    pub fn as_str(self) -> &'static str {
        self.entry().word
    }

    /// The code's problem with what happened, the rest as the catalogue says.
    pub fn problem(self, detail: impl Into<String>) -> Problem {
        let entry = self.entry();
        Problem {
            kind: format!("{TYPE_PREFIX}{}", entry.word),
            code: self,
            title: entry.title.to_string(),
            status: entry.status,
            detail: detail.into(),
            hint: entry.hint.to_string(),
            retryable: entry.retryable(),
            retry_after: entry.retry_after,
            recovery: entry.recovery,
            errors: Vec::new(),
        }
    }
}

/// By hand: the derive does not see words that a macro brings.
#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Code {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, Type};
        let words = Code::ALL.iter().map(|code| code.as_str());
        let words = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
        words.description(Some("Every code that an answer can bear.")).into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Code {}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that is wrong inside a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Fault {
    /// What kind of fault, such as `unknown_field`.
    pub code: String,
    /// Where, as in `spec.execution.validation[0].pattern`; empty for the whole.
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<tenure_core::manifest::Problem> for Fault {
    fn from(problem: tenure_core::manifest::Problem) -> Fault {
        Fault {
            code: problem.code.as_str().to_string(),
            path: problem.path,
            line: problem.line,
            column: problem.column,
            reason: problem.reason,
            hint: problem.hint,
        }
    }
}

/// The body of every answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[error("{title}: {detail}")]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub code: Code,
    /// The same for every problem of this code.
    pub title: String,
    pub status: u16,
    /// What happened this time. It holds no secret.
    pub detail: String,
    /// The way out.
    pub hint: String,
    /// Whether the same request may succeed later with nobody changing anything.
    pub retryable: bool,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    pub recovery: Recovery,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

impl Problem {
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = hint.into();
        self
    }

    #[must_use]
    pub fn errors(mut self, errors: Vec<Fault>) -> Problem {
        self.errors = errors;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_has_a_word_of_its_own_a_sentence_and_a_way_out() {
        let mut words = BTreeSet::new();
        for code in Code::ALL {
            let entry = code.entry();
            assert!(words.insert(entry.word), "{} stands twice", entry.word);
            assert!((400..600).contains(&entry.status), "{}", entry.word);
            assert!(!entry.title.is_empty() && !entry.hint.is_empty(), "{}", entry.word);
            assert_eq!(entry.retryable(), entry.retry_after.is_some(), "{}: say when to try again", entry.word);
            assert_eq!(serde_json::to_value(code).unwrap(), entry.word);
        }
    }

    #[test]
    fn a_problem_keeps_its_shape_on_the_wire() {
        let problem = Code::AgentUnknown.problem("no agent is called `codr`").hint("did you mean `coder`?");
        let text = serde_json::to_string(&problem).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"type":"https://tenure.dev/problems/agent_unknown","code":"agent_unknown","#,
                r#""title":"There is no such agent","status":404,"detail":"no agent is called `codr`","#,
                r#""hint":"did you mean `coder`?","retryable":false,"recovery":"look_again"}"#
            )
        );
        assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), problem);
    }
}
