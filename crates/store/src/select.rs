//! Which records are wanted, as a condition on the ledger's rows.
use crate::sealed::IS_STUB;
use crate::sql::Cell;
use tenure_core::actor::Actor;
use tenure_core::id::{AgentId, ExecutionId};
use tenure_core::time::Time;

/// Kinds that tell of something that was not done as it was asked for.
const REFUSALS: [&str; 3] = ["command.refused", "call.blocked", "network.refused"];

pub(crate) fn is_refusal(kind: &str) -> bool {
    REFUSALS.contains(&kind)
}

/// All conditions hold at once; none of them is all records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Its stream, and those of its executions, sessions and instances.
    pub agent: Option<AgentId>,
    pub execution: Option<ExecutionId>,
    /// Of the stream of this id, an agent's executions, sessions and instances too, or naming it.
    pub about: Option<String>,
    /// `call.called`, or all that begin so, as in `call.` and `call.*`; any of them.
    pub kinds: Vec<String>,
    /// Whole kinds, any of them.
    pub lifecycle: Vec<String>,
    pub actor: Option<Actor>,
    /// From then on.
    pub since: Option<Time>,
    /// Before then.
    pub until: Option<Time>,
    /// Refused commands, blocked calls, and places that the network's rules kept from.
    pub refused: bool,
}

/// A condition and its parameters, from `$first` on.
#[derive(Debug)]
pub(crate) struct Clause {
    pub text: String,
    values: Vec<Value>,
    next: usize,
}

#[derive(Debug)]
enum Value {
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Clause {
    fn bind(&mut self, value: Value) -> String {
        self.values.push(value);
        self.next += 1;
        format!("${}", self.next - 1)
    }

    fn and(&mut self, condition: &str) {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        self.values.iter().map(|value| match value {
            Value::Int(number) => Cell::Int(*number),
            Value::Text(text) => Cell::Text(text),
            Value::Bytes(bytes) => Cell::Bytes(bytes),
        })
    }
}

impl Selection {
    /// Whether a sealed record is of the stream of the id `id`, or of an agent's: what its stub does not tell.
    pub(crate) fn sealed_is_about(id: &str) -> String {
        format!("CASE WHEN {id} = '' OR NOT {IS_STUB} THEN 0 ELSE {} END", of_agent(id))
    }

    /// Those conditions on a body that the clause lets each sealed record pass.
    pub(crate) fn fits_body(&self, body: &[u8], is_about: bool) -> bool {
        let contains = |text: &String| body.windows(text.len().max(1)).any(|part| part == text.as_bytes());
        self.actor.is_none_or(|actor| body.starts_with(&begins_with(actor)))
            && (is_about || self.about.as_ref().is_none_or(contains))
    }

    /// `first`: the number of its first parameter. It begins with `1`.
    pub(crate) fn clause(&self, first: usize) -> Clause {
        let mut clause = Clause { text: "1".to_string(), values: Vec::new(), next: first };
        if let Some(agent) = self.agent {
            let id = clause.bind(Value::Text(agent.to_string()));
            clause.and(&format!("({})", of_agent(&id)));
        }
        if let Some(execution) = self.execution {
            let id = clause.bind(Value::Text(execution.to_string()));
            clause.and(&format!("stream = {id}"));
        }
        if let Some(about) = &self.about {
            let named = clause.bind(Value::Bytes(about.clone().into_bytes()));
            let stream = clause.bind(Value::Text(about.clone()));
            clause.and(&format!("({IS_STUB} OR instr(body, {named}) > 0 OR {})", of_agent(&stream)));
        }
        for kinds in [&self.kinds, &self.lifecycle] {
            if !kinds.is_empty() {
                let any: Vec<String> = kinds.iter().map(|kind| kind_condition(&mut clause, kind)).collect();
                clause.and(&format!("({})", any.join(" OR ")));
            }
        }
        if let Some(actor) = self.actor {
            let begin = begins_with(actor);
            let length = begin.len();
            let begin = clause.bind(Value::Bytes(begin));
            clause.and(&format!("({IS_STUB} OR substr(body, 1, {length}) = {begin})"));
        }
        for (time, compare) in [(self.since, ">="), (self.until, "<")] {
            if let Some(time) = time {
                let at = clause.bind(Value::Int(time.millis()));
                clause.and(&format!("at {compare} {at}"));
            }
        }
        if self.refused {
            clause.and(&format!("kind IN ('{}')", REFUSALS.join("', '")));
        }
        clause
    }
}

/// The first field of a record, for canonical JSON sorts them.
fn begins_with(actor: Actor) -> Vec<u8> {
    format!(r#"{{"actor":"{actor}","#).into_bytes()
}

/// Of the stream of this id; where it is an agent's, of its executions, sessions and instances too.
fn of_agent(id: &str) -> String {
    format!(
        "stream = {id} OR EXISTS (SELECT 1 FROM executions WHERE id = ledger.stream AND agent = {id}) \
         OR EXISTS (SELECT 1 FROM sessions WHERE id = ledger.stream AND agent = {id}) \
         OR EXISTS (SELECT 1 FROM instances WHERE id = ledger.stream AND agent = {id})"
    )
}

fn kind_condition(clause: &mut Clause, kind: &str) -> String {
    match kind.strip_suffix('*').unwrap_or(kind) {
        prefix if prefix.ends_with('.') => {
            let length = prefix.chars().count();
            format!("substr(kind, 1, {length}) = {}", clause.bind(Value::Text(prefix.to_string())))
        }
        whole => format!("kind = {}", clause.bind(Value::Text(whole.to_string()))),
    }
}
