//! An agent: its name, its revisions, its administrative state, its home, and what of it is open. Presence (active, idle)
//! is no part of it. Nothing here may hold what grows with its history.
//!
//! ```text
//! deployed <──pause, resume──> paused ──(until is over)──> deployed
//! deployed, paused ──quarantine──> quarantined: what runs is cancelled, its sessions end ──recover──> deployed
//! deployed, paused, quarantined ──revoke──> revoked: what runs is cancelled, for good
//! deployed, paused ──kill──> the same state: what runs is cancelled, and until that is done nothing begins
//! any of them ──delete──> deleting ──last execution ended──> archived ──grace over──> its work folder is removed
//! ```
#[macro_use]
mod kinds;

/// Events of the wakes that it plans itself.
macro_rules! planned_events {
    () => {
        Event::ScheduleCreated { .. }
            | Event::ScheduleDeleted { .. }
            | Event::ScheduleWoken { .. }
            | Event::ScheduleSkipped { .. }
    };
}

/// Events of what it tells its supervisor.
macro_rules! alert_events {
    () => {
        Event::AlertSent { .. } | Event::AlertAcknowledged { .. }
    };
}

/// Events of what people let it do.
macro_rules! grant_events {
    () => {
        Event::GrantGiven { .. } | Event::GrantUsed { .. } | Event::GrantRevoked { .. }
    };
}

/// Events of things of its that are listed one by one.
macro_rules! item_events {
    () => {
        planned_events!() | alert_events!() | grant_events!()
    };
}

pub mod alert;
mod approval;
mod budget;
pub mod dependency;
mod deploy;
mod files;
mod keys;
mod mailbox;
mod owed;
mod planned;
mod quarantine;
mod rows;
mod schedule;
mod state;
mod supervision;
pub use approval::Approve;
pub(crate) use budget::hold_messages;
pub use deploy::{Deployed, Deployment, Expectation, Listed};
pub use files::PutFile;
pub(crate) use keys::session_opened;
pub use keys::{AgentKey, AgentKeyRow, LiveSession, OVERLAP_MS_MAX};
pub use mailbox::{FanOut, Mailbox, Post};
pub use planned::{
    CRON_BYTES_MAX, DELAY_SECONDS, INPUT_BYTES_MAX, NAME_BYTES_MAX, PLANNED_MAX, Planned, WAITING, When, is_name,
};
pub(crate) use planned::{plan, unplan};
pub(crate) use quarantine::put_away_for_crashes;
pub use quarantine::{Cause, Quarantine, Severity};
pub use rows::{AgentRow, RevisionRow, Standing, Status};
pub use schedule::{MISSED_MS, NextWake, QUEUE_MAX, Skipped, Waking};
pub(crate) use supervision::execution_ended;
pub use supervision::{State, Supervised, Supervision};

use crate::actor::Actor;
use crate::aggregate::{Aggregate, events, refusals, verbs};
use crate::approval::Grant;
use crate::bound::{Bound, Hash, Payload};
use crate::budget::{Allowance, Line, Near, Whose};
use crate::call::Holder;
use crate::comms::{self, Audience, Envelope};
use crate::draft::{Draft, Stop, refuse};
use crate::execution;
use crate::id::{
    AgentId, AlertId, ApprovalId, CallId, ExecutionId, GrantId, InstanceId, KeyId, MessageId, SessionId, WorkerId,
};
use crate::manifest::Trigger;
use crate::owed::Owed;
use crate::retention::{self, Keeping};
use crate::row::Row;
use crate::session::{Ending, Opener};
use crate::state as values;
use crate::time::{Stamp, Time};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    pub name: String,
    pub revision: u32,
    /// SHA-256 of the newest revision's canonical manifest: the same file deployed again changes nothing.
    pub digest: Hash,
    pub state: State,
    /// What runs is being cancelled, and nothing begins before the last has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub killed: bool,
    /// The worker where its work folder lies: its first binding made it so, and only there may it run.
    pub home: Option<WorkerId>,
    /// Executions that have not ended.
    pub open: u32,
    pub last_started_at: Option<Time>,
    pub last_ended_at: Option<Time>,
    /// What starts it, by its newest revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<Trigger>,
    /// When its schedule wakes it next; none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextWake>,
    /// The latest time of its schedule that is over with: none up to it comes again, wherever the clock goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Time>,
    /// Executions that its schedule started and that have not ended, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scheduled: Vec<ExecutionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_woken_at: Option<Time>,
    /// Its keys that may still open something; a second one while an overlap lasts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<AgentKey>,
    /// Its sessions that have not ended; at most [`crate::session::LIVE_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<LiveSession>,
    /// When one of its sessions was opened last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_session_at: Option<Time>,
    /// When its stored values are to be swept next: not later than the first of them expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_due: Option<Time>,
    #[serde(default, skip_serializing_if = "Mailbox::is_new")]
    pub mailbox: Mailbox,
    /// What it may use up in a day and a month.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budget: Vec<Allowance>,
    /// Until when its messages wait, since a budget is used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Time>,
    /// Of what its ended executions bound, by its newest revision.
    #[serde(default, skip_serializing_if = "Keeping::is_off")]
    pub keeping: Keeping,
    /// Wakes that it planned itself; at most [`PLANNED_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<Planned>,
    /// How many it ever planned.
    #[serde(default, skip_serializing_if = "none_planned")]
    pub plans: u32,
    /// What people let it do unasked; at most [`GRANTS_MAX`](crate::approval::GRANTS_MAX), some of them over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// Where it is a code agent: what keeps its program running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// Its program was stopped, and only a person starts it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub program_held: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn none_planned(count: &u32) -> bool {
    *count == 0
}

verbs! {
    #[expect(clippy::large_enum_variant, reason = "a deploy is rare, and a command is moved few times")]
    pub enum Command {
        /// Addressed to a fresh id: where the name is an agent's, that one gets a new revision.
        "agent.deploy" => Deploy(Deployment),
        /// `home_grace_ms`: how long its work folder is kept after its last execution.
        "agent.delete" ends => Delete { home_grace_ms: u64 },
        /// Nothing of it begins any more, until it is resumed or the time is over; what runs goes on.
        "agent.pause" => Pause { note: Option<String>, until: Option<Time> },
        "agent.resume" => Resume { note: Option<String> },
        /// By the reconciler, once a pause's time is over; a pause that was made longer meanwhile holds.
        "agent.end_pause" => EndPause {},
        /// By the reconciler, once it is due; `input`: what the execution starts with, if one does.
        "agent.wake" => Wake { waking: Waking, input: Payload },
        /// What runs is cancelled; then it may begin anew.
        "agent.kill" ends => Kill { note: Option<String> },
        /// It is put away: what runs is cancelled, its sessions end, and nothing begins until it is recovered.
        "agent.quarantine" ends => Quarantine { cause: Cause, severity: Severity, description: String },
        "agent.recover" => Recover { note: Option<String> },
        /// For good: what runs is cancelled, and nothing begins ever again.
        "agent.revoke" ends => Revoke { note: Option<String> },
        /// A new key by which it connects from outside; the present one lives beside it for so long.
        "agent.rotate_key" => RotateKey { hash: Hash, overlap_ms: u64 },
        /// By the reconciler, once an overlap is over.
        "agent.end_key" ends => EndKey {},
        /// A person puts a file into its work folder; the worker does it afterwards.
        "agent.put_file" => PutFile(PutFile),
        /// A person limits what it may use up in a day and a month; limits that are not named stay.
        "agent.set_budget" => SetBudget { lines: Vec<Line> },
        "agent.record_put" ends => RecordPut { path: String, content: Hash, failed: Option<String> },
        /// A person sets a stored value of the agent's.
        "state.set" => SetState(values::Write),
        "state.delete" => DeleteState { key: String, expected: Option<u64> },
        /// A person sets how much it may store.
        "state.set_quota" => SetStateQuota { quota: u64 },
        /// Values of a backup: all of them, or none.
        "state.restore" => RestoreState { values: Vec<values::Write> },
        /// By the reconciler, once stored values expire.
        "state.sweep" ends => SweepState {},
        /// By the reconciler, once something may be kept too long or be too much.
        "retention.sweep" ends => Retain {},
        /// By the reconciler, once its home has removed its work folder.
        "agent.remove_home" ends => RecordHomeRemoved { worker: WorkerId },
        /// A person writes to it.
        "message.send" => Post(Post),
        /// By the reconciler: a page of what this agent sends to many. `scanned`: the last agent that was looked at; none
        /// after the last one.
        "message.fan_out" => FanOut {
            message: MessageId,
            after: Option<AgentId>,
            recipients: Vec<AgentId>,
            scanned: Option<AgentId>,
        },
        /// By the reconciler, once deadlines of answers are over.
        "message.expire" => ExpireMessages {},
        /// By the reconciler: what waits for an agent that is gone is dead.
        "message.dead_letter" ends => DeadLetterMessages {},
        /// A dead letter waits anew.
        "message.resend" => ResendMessage { message: MessageId },
        "message.drop" ends => DropMessage { message: MessageId },
        /// A person ends a wake that the agent planned itself.
        "schedule.delete" ends => DeleteSchedule { name: String },
        /// A person has seen to an alert.
        "alert.acknowledge" ends => AcknowledgeAlert { alert: AlertId, note: Option<String> },
        /// A person allows a call of it.
        "approval.approve" => Approve(Approve),
        "approval.reject" ends => Reject { approval: ApprovalId, reason: Option<String> },
        "grant.revoke" ends => RevokeGrant { grant: GrantId },
    }

    fn payloads(&self) -> Vec<&Payload> {
        match self {
            Command::Deploy(deployment) => vec![&deployment.manifest, &deployment.plan],
            Command::Wake { input, .. } => vec![input],
            Command::SetState(write) => vec![&write.value],
            Command::RestoreState { values } => values.iter().map(|write| &write.value).collect(),
            Command::Post(post) => vec![&post.body],
            Command::Approve(approve) => {
                approve.edited.iter().flat_map(|edited| [&edited.arguments, &edited.attributes]).collect()
            }
            Command::Delete { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::EndPause {}
            | Command::Kill { .. }
            | Command::Quarantine { .. }
            | Command::Recover { .. }
            | Command::Revoke { .. }
            | Command::RotateKey { .. }
            | Command::EndKey {}
            | Command::PutFile(_)
            | Command::RecordPut { .. }
            | Command::SetBudget { .. }
            | Command::DeleteState { .. }
            | Command::SetStateQuota { .. }
            | Command::SweepState {}
            | Command::Retain {}
            | Command::RecordHomeRemoved { .. }
            | Command::FanOut { .. }
            | Command::ExpireMessages {}
            | Command::DeadLetterMessages {}
            | Command::ResendMessage { .. }
            | Command::DropMessage { .. }
            | Command::DeleteSchedule { .. }
            | Command::AcknowledgeAlert { .. }
            | Command::Reject { .. }
            | Command::RevokeGrant { .. } => Vec::new(),
        }
    }
}

events! {
    pub enum Event {
        "agent.created" => Created(Deployed),
        "agent.revised" => Revised(Deployed),
        "agent.paused" => Paused { supervision: Supervision, until: Option<Time> },
        /// `next`: where its schedule's next time passed meanwhile, the one that it goes on from.
        "agent.resumed" => Resumed {
            #[serde(flatten)]
            supervision: Supervision,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            next: Option<NextWake>,
        },
        /// `scheduled`: the time of its schedule that is over with, and `missed_since` the first of those before it that
        /// it stands for; `replaced`: what was cancelled for it.
        "agent.woken" => Woken {
            trigger: execution::Trigger,
            execution: ExecutionId,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            scheduled: Option<Time>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            missed_since: Option<Time>,
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            replaced: Vec<ExecutionId>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            next: Option<NextWake>,
        },
        "agent.wake_skipped" => WakeSkipped {
            why: Skipped,
            scheduled: Time,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            missed_since: Option<Time>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            next: Option<NextWake>,
        },
        /// A budget is used up, and what waits wakes it then; none: at once.
        "agent.wake_held" => WakeHeld { until: Option<Time> },
        "agent.budget_set" => BudgetSet { lines: Vec<Line> },
        "agent.budget_near" => BudgetNear(Near),
        "agent.killed" => Killed(Supervision),
        /// `evidence`: its state and plan at that moment.
        "agent.quarantined" => Quarantined {
            #[serde(flatten)]
            quarantine: Quarantine,
            evidence: Bound,
        },
        "agent.recovered" => Recovered {
            by: Actor,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            note: Option<String>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            next: Option<NextWake>,
        },
        "agent.revoked" => Revoked(Supervision),
        "agent.deleted" => Deleted { home_grace_ms: u64 },
        "agent.archived" => Archived { home_due: Option<Time> },
        "agent.key_created" => KeyCreated { key: KeyId, hash: Hash },
        /// Another has taken its place, and it lives on until then.
        "agent.key_retired" => KeyRetired { key: KeyId, dies_at: Time },
        "agent.key_revoked" => KeyRevoked { key: KeyId },
        "agent.session_opened" => SessionOpened {
            session: SessionId,
            #[serde(rename = "key")]
            opener: Opener,
        },
        "agent.session_ended" => SessionEnded { session: SessionId },
        "agent.instance_started" => InstanceStarted { instance: InstanceId },
        /// `held`: only a person starts another.
        "agent.instance_ended" => InstanceEnded {
            instance: InstanceId,
            #[serde(default, skip_serializing_if = "std::ops::Not::not")]
            held: bool,
        },
        "agent.homed" => Homed { worker: WorkerId },
        "agent.home_removed" => HomeRemoved { worker: WorkerId },
        "agent.file_put" => FilePut(PutFile),
        "agent.file_put_ended" => FilePutEnded { path: String, content: Hash, failed: Option<String> },
        "agent.execution_started" => ExecutionStarted { execution: ExecutionId },
        "agent.execution_ended" => ExecutionEnded { execution: ExecutionId },
        /// When what is kept of its executions is looked at next.
        "retention.due" => RetentionDue { due: Option<Time> },
        "state.set" => StateSet(values::Set),
        "state.deleted" => StateDeleted(values::Ended),
        "state.expired" => StateExpired(values::Ended),
        "state.dropped" => StateDropped(values::Dropped),
        "state.restored" => StateRestored(values::Restored),
        "state.session_over" => StateSessionOver(values::SessionOver),
        /// `by` more than before.
        "state.quota_set" => StateQuotaSet { namespace: String, quota: u64, by: i64 },
        "state.sweep_due" => StateSweepDue { due: Option<Time> },
        "message.sent" => MessageSent {
            to: Audience,
            /// The execution or session that sent it.
            holder: Holder,
            #[serde(flatten)]
            envelope: Envelope,
        },
        "message.queued" => MessageQueued {
            seq: u64,
            /// Of the key under which a person sent it, so that it comes once.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            idempotency: Option<Hash>,
            #[serde(flatten)]
            envelope: Envelope,
        },
        /// A page of a message to many; without `after` it was the last.
        "message.fanned_out" => MessageFannedOut {
            message: MessageId,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            after: Option<AgentId>,
            reached: u32,
        },
        "message.received" => MessagesReceived { messages: Vec<MessageId>, holder: Holder, deeper_by: u32 },
        "message.dead" => MessagesDead { messages: Vec<MessageId>, cause: comms::Cause },
        /// `next`: when the next deadline of an answer may be over.
        "message.expired" => MessagesExpired {
            dead: Vec<MessageId>,
            unanswered: Vec<MessageId>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            next: Option<Time>,
        },
        /// Said to who asked: no answer comes any more.
        "message.unanswered" => MessageUnanswered { message: MessageId, by: AgentId, cause: comms::Cause },
        "message.resent" => MessageResent { message: MessageId, seq: u64 },
        "message.dropped" => MessageDropped { message: MessageId },
        /// Said to whom it was for: a limit of its sender's kept a message back.
        "message.refused" => MessageRefused { from: AgentId, code: String },
        "channel.subscribed" => Subscribed { channel: String },
        "channel.unsubscribed" => Unsubscribed { channel: String },
        /// It plans a wake itself, in the place of one with the same name. `input`: what the execution is given.
        "schedule.created" => ScheduleCreated { name: String, when: When, input: Bound, next: Time, holder: Holder },
        "schedule.deleted" => ScheduleDeleted { name: String, by: Actor },
        /// Without `next` it is over.
        "schedule.woken" => ScheduleWoken {
            name: String,
            execution: ExecutionId,
            scheduled: Time,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            missed_since: Option<Time>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            next: Option<Time>,
        },
        "schedule.skipped" => ScheduleSkipped {
            name: String,
            why: Skipped,
            scheduled: Time,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            next: Option<Time>,
        },
        "alert.sent" => AlertSent { alert: AlertId, severity: alert::Severity, message: Bound, holder: Holder },
        "alert.acknowledged" => AlertAcknowledged {
            alert: AlertId,
            severity: alert::Severity,
            by: Actor,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            note: Option<String>,
        },
        "grant.given" => GrantGiven { grant: Grant, approval: ApprovalId },
        /// In the place of a person's word for this call.
        "grant.used" => GrantUsed { grant: GrantId, call: CallId },
        "grant.revoked" => GrantRevoked { grant: GrantId, by: Actor },
    }
}

refusals! {
    pub enum Refusal {
        "agent.unknown" => Unknown {},
        /// The same manifest is already the newest revision.
        "agent.unchanged" quiet => Unchanged { agent: AgentId },
        "agent.already_archived" => Archived {},
        /// It is paused: nothing of it begins.
        "agent.is_paused" => IsPaused { until: Option<Time> },
        /// Paused in the same words.
        "agent.already_paused" quiet => AlreadyPaused {},
        "agent.not_paused" quiet => NotPaused {},
        /// It is in quarantine: nothing of it begins.
        "agent.is_quarantined" => IsQuarantined { cause: Cause, severity: Severity },
        "agent.already_quarantined" quiet => AlreadyQuarantined {},
        "agent.not_quarantined" => NotQuarantined {},
        /// Its recovery was tried as often as its severity lets.
        "agent.max_retries_exceeded" => MaxRetriesExceeded { severity: Severity },
        "agent.already_revoked" => AlreadyRevoked {},
        /// It was killed, and the last of what ran has not ended yet.
        "agent.still_ending" => StillEnding {},
        "agent.until_past" => UntilPast {},
        /// It was to be a new agent.
        "agent.name_taken" => NameTaken {},
        /// Another revision came before the change that was made to an older one.
        "agent.revised_meanwhile" => RevisedMeanwhile { revision: u32 },
        "agent.revision_unknown" => RevisionUnknown { newest: u32 },
        /// A deploy under another name than the agent's own.
        "agent.name_differs" => NameDiffers {},
        /// What it cannot do without is not registered, or depends on it.
        "agent.dependencies_unmet" => DependenciesUnmet { unmet: Vec<dependency::Unmet> },
        "agent.home_unknown" => HomeUnknown {},
        /// Its schedule's next time is another one, or none.
        "agent.wake_stale" => WakeStale {},
        "agent.wake_not_due" => WakeNotDue {},
        /// A limit that none may be, or the same one twice.
        "agent.budget_wrong" => BudgetWrong {},
        /// The key that an agent showed is none of its own, or dead.
        "agent.key_dead" => KeyDead {},
        "agent.no_key_due" quiet => NoKeyDue {},
        "agent.overlap_too_long" => OverlapTooLong {},
        "state.version_conflict" => StateVersion { key: String, current: u64 },
        "state.quota_exceeded" => StateQuota { key: String, conflict: values::Conflict },
        /// A key, a value, a time to live or a quota that none may be.
        "state.wrong" => StateWrong { key: String, conflict: values::Conflict },
        "state.key_unknown" => StateMissing { key: String },
        "state.nothing_due" quiet => NothingDue {},
        /// Sent before under the same idempotency key.
        "message.repeated" quiet => MessageRepeated { message: MessageId },
        "message.unknown" => MessageUnknown {},
        "message.not_dead" => MessageNotDead {},
        "message.too_large" => MessageTooLarge {},
        "message.deadline_past" => DeadlinePast {},
        "message.deadline_ahead" => DeadlineAhead {},
        "message.mailbox_full" => MailboxFull {},
        "retention.nothing_due" quiet => NothingToErase {},
        "schedule.unknown" => ScheduleUnknown {},
        "approval.unknown" => ApprovalUnknown {},
        /// It was answered before, or is asked no more; `state`: how it stands.
        "approval.over" quiet => ApprovalOver { state: String },
        /// It needs several people, and this one has allowed it already.
        "approval.same_person" quiet => ApprovalSamePerson {},
        "approval.not_a_person" => ApprovalNotAPerson {},
        /// The other arguments do not fit the capability.
        "approval.misfit" => ApprovalMisfit { sentence: String },
        "grant.unknown" => GrantUnknown {},
        /// A time in the past, no calls, or an execution where there is none.
        "grant.wrong" => GrantWrong {},
        "grant.too_many" => GrantsFull {},
        "alert.unknown" => AlertUnknown {},
        "alert.already_acknowledged" quiet => AlertAcknowledged {},
    }
}

impl Aggregate for Agent {
    type Id = AgentId;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(id: AgentId, draft: &mut Draft<'_>, command: Command) -> Result<(), Stop> {
        match command {
            Command::Deploy(deployment) => deploy::deploy(id, draft, deployment),
            Command::Delete { home_grace_ms } => {
                known(id, draft)?.not_deleted()?;
                draft.emit::<Agent>(id, Event::Deleted { home_grace_ms })?;
                keys::shut_out(id, draft, &Ending::AgentDeleted)?;
                Ok(supervision::archive_if_over(id, draft)?)
            }
            Command::Pause { note, until } => supervision::pause(id, draft, note, until),
            Command::Resume { note } => supervision::resume(id, draft, note),
            Command::EndPause {} => supervision::end_pause(id, draft),
            Command::Wake { waking, input } => schedule::wake(id, draft, waking, input),
            Command::Kill { note } => supervision::kill(id, draft, note),
            Command::Quarantine { cause, severity, description } => {
                quarantine::enter(id, draft, (cause, severity), &description)
            }
            Command::Recover { note } => quarantine::recover(id, draft, note),
            Command::Revoke { note } => supervision::revoke(id, draft, note),
            Command::RotateKey { hash, overlap_ms } => keys::rotate(id, draft, hash, overlap_ms),
            Command::EndKey {} => keys::end_due(id, draft),
            Command::PutFile(file) => files::put(id, draft, file),
            Command::SetBudget { lines } => budget::set(id, draft, lines),
            Command::RecordPut { path, content, failed } => files::record_put(id, draft, path, content, failed),
            Command::SetState(write) => state::set(id, draft, write),
            Command::DeleteState { key, expected } => state::delete(id, draft, &key, expected),
            Command::SetStateQuota { quota } => state::set_quota(id, draft, quota),
            Command::RestoreState { values } => state::restore(id, draft, values),
            Command::SweepState {} => state::sweep(id, draft),
            Command::Retain {} => {
                retention::sweep(draft, Whose::Agent(id), refuse::<Agent>(Refusal::NothingToErase {}))
            }
            Command::RecordHomeRemoved { worker } => {
                let agent = known(id, draft)?;
                match agent.state {
                    State::Archived { home_due: Some(_) } if agent.home == Some(worker) => {}
                    State::Archived { .. }
                    | State::Deployed
                    | State::Paused { .. }
                    | State::Quarantined(_)
                    | State::Revoked(_)
                    | State::Deleting { .. } => {
                        return Err(refuse::<Agent>(Refusal::HomeUnknown {}));
                    }
                }
                Ok(draft.emit::<Agent>(id, Event::HomeRemoved { worker })?)
            }
            Command::Post(post) => mailbox::post(id, draft, post),
            Command::FanOut { message, after, recipients, scanned } => {
                comms::fan_out(id, draft, message, &recipients, (after, scanned))
            }
            Command::ExpireMessages {} => mailbox::expire(id, draft),
            Command::DeadLetterMessages {} => mailbox::dead_letter(id, draft),
            Command::ResendMessage { message } => mailbox::resend(id, draft, message),
            Command::DropMessage { message } => mailbox::drop(id, draft, message),
            Command::DeleteSchedule { name } => planned::delete(id, draft, &name),
            Command::AcknowledgeAlert { alert, note } => alert::acknowledge_command(id, draft, alert, note),
            Command::Approve(approve) => approval::approve(id, draft, approve),
            Command::Reject { approval, reason } => approval::reject(id, draft, approval, reason),
            Command::RevokeGrant { grant } => approval::revoke(id, draft, grant),
        }
    }

    fn apply(fold: &mut Option<Agent>, event: &Event, stamp: Stamp) {
        if let Event::Created(deployed) = event {
            *fold = Some(Agent::created(deployed));
            return;
        }
        let Some(agent) = fold else { return };
        if let Some(change) = event.state() {
            change.apply(&mut agent.state_due, stamp);
            return;
        }
        agent.mailbox.apply(event);
        match event {
            Event::Revised(deployed) => {
                agent.revision = deployed.revision;
                agent.digest = deployed.digest;
                agent.triggers = deployed.triggers.clone();
                agent.next = deployed.next;
                agent.keeping.set(deployed.retention);
            }
            Event::Paused { supervision, until } => {
                agent.state = State::Paused { supervision: supervision.clone(), until: *until };
            }
            Event::Quarantined { quarantine, .. } => {
                agent.killed = agent.open > 0;
                supervision::is_over(agent, State::Quarantined(quarantine.clone()));
            }
            Event::Resumed { next, .. } | Event::Recovered { next, .. } => {
                agent.state = State::Deployed;
                agent.next = next.or(agent.next);
            }
            Event::Woken { execution, scheduled, next, .. } => {
                agent.held_until = None;
                schedule::woken(agent, *execution, *scheduled, *next, stamp);
            }
            Event::WakeSkipped { scheduled, next, .. } => schedule::over(agent, *scheduled, *next),
            Event::WakeHeld { until } => agent.held_until = *until,
            Event::BudgetSet { lines } => budget::apply(agent, lines),
            Event::BudgetNear(near) => crate::budget::told(&mut agent.budget, near),
            Event::Killed(_) => agent.killed = agent.open > 0,
            Event::Revoked(supervision) => supervision::is_over(agent, State::Revoked(supervision.clone())),
            Event::Deleted { home_grace_ms } => agent.state = State::Deleting { home_grace_ms: *home_grace_ms },
            Event::Archived { home_due } => {
                supervision::is_over(agent, State::Archived { home_due: *home_due });
                agent.planned.clear();
            }
            Event::KeyCreated { key, .. } => agent.keys.push(AgentKey { id: *key, dies_at: None }),
            Event::KeyRetired { key, dies_at } => keys::retired(agent, *key, *dies_at),
            Event::KeyRevoked { key } => agent.keys.retain(|held| held.id != *key),
            Event::SessionOpened { session, opener } => keys::opened(agent, *session, *opener, stamp),
            Event::SessionEnded { session } => agent.sessions.retain(|live| live.id != *session),
            Event::InstanceStarted { instance } => keys::program(agent, Some(*instance), false),
            Event::InstanceEnded { held, .. } => keys::program(agent, None, *held),
            Event::Homed { worker } => agent.home = Some(*worker),
            Event::HomeRemoved { .. } => supervision::home_removed(agent),
            Event::ExecutionStarted { .. } => {
                agent.open = agent.open.saturating_add(1);
                agent.last_started_at = Some(stamp.at);
            }
            Event::ExecutionEnded { execution } => supervision::apply_ended(agent, *execution, stamp),
            Event::RetentionDue { due } => agent.keeping.due = *due,
            planned_events!() => planned::apply(agent, event, stamp),
            grant_events!() => approval::apply(agent, event, stamp),
            Event::Created(_)
            | Event::FilePut(_)
            | Event::FilePutEnded { .. }
            | alert_events!()
            | state_events!()
            | message_events!()
            | Event::Refused(_) => {}
        }
    }

    fn binds(event: &Event, each: &mut dyn FnMut(&Hash)) {
        rows::binds(event, each);
    }

    fn owed(&self) -> Vec<Owed> {
        owed::owed(self)
    }

    fn rows(id: AgentId, before: Option<&Agent>, event: &Event, stamp: Stamp) -> Vec<Row> {
        rows::of_event(id, before, event, stamp)
    }

    fn state_rows(id: AgentId, before: Option<&Agent>, after: &Agent) -> Vec<Row> {
        let standing = after.standing();
        if before.is_some_and(|before| before.standing() == standing) {
            return Vec::new();
        }
        vec![Row::Standing { agent: id, standing }]
    }
}

fn known<'d>(id: AgentId, draft: &'d mut Draft<'_>) -> Result<&'d Agent, Stop> {
    draft.get::<Agent>(id)?.ok_or_else(|| refuse::<Agent>(Refusal::Unknown {}))
}
