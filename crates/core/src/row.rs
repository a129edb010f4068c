//! The rows that decisions imply, written in the same transaction. Those of events come from the event and the fold before
//! it, those of states from the fold alone, so that all can be rebuilt. Lists read only rows.
use crate::agent::{AgentKeyRow, Listed, RevisionRow, Standing};
use crate::bound::Hash;
use crate::call::CallRow;
use crate::capability::Shown;
use crate::comms::{MessageChange, MessageRow};
use crate::execution::{ConversationRow, ExecutionRow, IterationRow, TurnRow, ValidationRow};
use crate::facts::{Counter, Namespace};
use crate::fleet::WorkerRow;
use crate::id::{AgentId, CallId, ExecutionId, KeyId, MessageId, SecretId};
use crate::instance::InstanceRow;
use crate::item::{Item, ItemChange, ItemKind};
use crate::model_call::CostRow;
use crate::package::PackageRow;
use crate::project::policy::PolicyRow;
use crate::project::{KeyRow, PublisherRow};
use crate::secret::{Binding, BindingRow, SecretRow};
use crate::session::SessionRow;
use crate::state::{AclRow, Entry};
use crate::time::Time;

#[expect(clippy::large_enum_variant, reason = "a row lives for one commit")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// Who holds what is unique; none holds it any more.
    Held {
        namespace: Namespace,
        key: String,
        holder: Option<String>,
    },
    Counted {
        counter: Counter,
        key: String,
        bucket: u64,
        by: i64,
    },
    /// A new version of a key; the one before it is history from now on.
    Entry {
        namespace: String,
        key: String,
        entry: Entry,
    },
    /// A version is kept no longer, and the bytes of its value are erased.
    EntryDropped {
        namespace: String,
        key: String,
        version: u64,
        value: Option<Hash>,
    },
    /// The bytes that an event bound are gone.
    Erased {
        hash: Hash,
    },
    /// All values of a namespace expire.
    EntriesExpire {
        namespace: String,
        at: Time,
    },
    Acl(AclRow),
    AclRemoved {
        prefix: String,
    },
    Key(KeyRow),
    KeyRevoked {
        id: KeyId,
        at: Time,
    },
    AgentKey(AgentKeyRow),
    AgentKeyRetired {
        id: KeyId,
        dies_at: Time,
    },
    AgentKeyRevoked {
        id: KeyId,
        at: Time,
    },
    Deployed {
        agent: AgentId,
        name: String,
        listed: Listed,
        at: Time,
    },
    Revision(RevisionRow),
    Standing {
        agent: AgentId,
        standing: Standing,
    },
    Conversation(ConversationRow),
    Execution(Box<ExecutionRow>),
    Iteration(IterationRow),
    Turn(TurnRow),
    /// A model call has ended: its day's, agent's and model's sums grow by it.
    Cost(CostRow),
    /// Something that the model is told before its next turn.
    Note {
        execution: ExecutionId,
        iteration: u32,
        turn: u32,
        note: Note,
    },
    /// A call as asked for.
    Call(CallRow),
    CallChanged {
        id: CallId,
        change: CallChange,
        at: Time,
    },
    Validation(ValidationRow),
    Worker(WorkerRow),
    Policy(PolicyRow),
    Session(SessionRow),
    Secret(SecretRow),
    SecretBound(BindingRow),
    SecretUnbound {
        secret: SecretId,
        binding: Binding,
    },
    Package(Box<PackageRow>),
    Instance(Box<InstanceRow>),
    Publisher(PublisherRow),
    PublisherRemoved {
        key: Hash,
    },
    Item(Box<Item>),
    ItemChanged {
        kind: ItemKind,
        agent: AgentId,
        key: String,
        change: ItemChange,
        at: Time,
    },
    ItemGone {
        kind: ItemKind,
        agent: AgentId,
        key: String,
    },
    Message(Box<MessageRow>),
    MessageChanged {
        recipient: AgentId,
        message: MessageId,
        change: MessageChange,
        at: Time,
    },
}

impl Row {
    /// Takes its place among the rows before it: a call that is asked for and called at once is written once.
    pub fn join(self, rows: &mut Vec<Row>) {
        if let Row::CallChanged { id, change: CallChange::Called { rules }, at } = &self {
            let asked = rows.iter_mut().rev().find_map(|row| {
                let Row::Call(call) = row else { return None };
                (call.id == *id).then_some(call)
            });
            if let Some(call) = asked {
                (call.state, call.rules, call.called_at) = ("called".to_string(), Some(rules.clone()), Some(*at));
                return;
            }
        }
        rows.push(self);
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallChange {
    Called {
        rules: String,
    },
    /// It waits for a person.
    Held {
        rules: String,
        sentence: String,
    },
    /// A person gave it other arguments.
    Edited {
        arguments: Hash,
        attributes: Hash,
        shown: Shown,
    },
    /// It is in flight, and other rules forbid it.
    Recalled {
        rules: String,
        sentence: String,
    },
    /// Asked for anew: it was lost, or met a link and is judged by what it is now.
    Again {
        attributes: Option<Hash>,
    },
    Ended(CallEnd),
    Blocked {
        why: &'static str,
        sentence: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallEnd {
    pub outcome: String,
    pub exit_code: Option<i32>,
    pub result: Option<Hash>,
    /// What the result is said with: the version of a value that was read.
    pub detail: Option<String>,
    pub level: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Note {
    /// The sandbox died; only the work folder survived.
    SandboxLost,
    /// Most of a budget is used up.
    TokensNear,
    MoneyNear,
    ToolCallsNear,
    TimeNear,
}

impl Note {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
