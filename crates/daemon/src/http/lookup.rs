//! What the faces read of the store: by names and ids as people write them, with the near word where nothing fits.
use std::collections::BTreeMap;

use tenure_core::agent::{AgentRow, RevisionRow};
use tenure_core::bound::Hash;
use tenure_core::execution::ExecutionRow;
use tenure_core::id::{AgentId, ExecutionId, kind_of};
use tenure_core::item::{Item, ItemKind};
use tenure_core::manifest::nearest;
use tenure_store::rows::executions::{self, Filter};
use tenure_store::rows::{Match, Page, agents, items};
use tenure_store::sql::Sql;
use tenure_wire::problem::{Code, Problem};

use super::ApiState;
use super::problem::Failure;

/// Names that are looked through for a near word.
const NAMES_MAX: u32 = 500;

/// A kind of item as people ask for one of it, and what they are told when there is none, or more than one.
pub(super) struct Sought {
    pub(super) kind: ItemKind,
    pub(super) prefix: &'static str,
    pub(super) noun: &'static str,
    pub(super) unknown: Code,
    pub(super) ambiguous: Code,
}

/// Names that agents have now, each read once.
#[derive(Default)]
pub(super) struct Names(BTreeMap<AgentId, Option<String>>);

impl Names {
    pub(super) fn of(&mut self, sql: &mut dyn Sql, agent: AgentId) -> Result<Option<String>, tenure_store::Error> {
        if let Some(name) = self.0.get(&agent) {
            return Ok(name.clone());
        }
        let name = agents::get(sql, agent)?.map(|entry| entry.name);
        Ok(self.0.entry(agent).or_insert(name).clone())
    }
}

impl ApiState {
    /// The agent of this name, id or short id.
    pub(super) async fn agent(&self, wanted: &str) -> Result<AgentRow, Failure> {
        let text = wanted.to_string();
        match self.reader().read(move |sql| agents::find(sql, &text)).await? {
            Match::One(entry) => Ok(entry),
            Match::Many(entries) => {
                let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
                let detail = format!("{} could be {}", quoted(wanted), names.join(", "));
                Err(Code::AgentAmbiguous.problem(detail).into())
            }
            Match::None => {
                if let Some(problem) = misnamed(Code::AgentUnknown, wanted, "agent") {
                    return Err(problem.into());
                }
                let problem = Code::AgentUnknown.problem(format!("no agent is called {}", quoted(wanted)));
                let names = self.reader().read(|sql| agents::list(sql, &agents::Filter::default(), NAMES_MAX)).await?;
                let near = nearest(wanted, names.rows.iter().map(|entry| entry.name.as_str()));
                Err(match near {
                    Some(name) => problem.hint(format!("did you mean `{name}`? `tenure agent list` shows all")).into(),
                    None => problem.into(),
                })
            }
        }
    }

    /// The execution of this id or short id.
    pub(super) async fn execution(&self, wanted: &str) -> Result<ExecutionRow, Failure> {
        let text = wanted.to_string();
        match self.reader().read(move |sql| executions::find(sql, &text)).await? {
            Match::One(entry) => Ok(entry),
            Match::Many(entries) => {
                let ids: Vec<String> = entries.iter().map(|entry| entry.id.to_string()).collect();
                let detail = format!("{} could be {}", quoted(wanted), ids.join(", "));
                Err(Code::ExecutionAmbiguous.problem(detail).into())
            }
            Match::None => Err(misnamed(Code::ExecutionUnknown, wanted, "execution")
                .unwrap_or_else(|| {
                    Code::ExecutionUnknown.problem(format!("no execution has the id {}", quoted(wanted)))
                })
                .into()),
        }
    }

    pub(super) async fn execution_row(&self, id: ExecutionId) -> Result<ExecutionRow, Failure> {
        let entry = self.reader().read(move |sql| executions::get(sql, id)).await?;
        entry.ok_or_else(|| Code::ExecutionUnknown.problem(format!("no execution has the id {id}")).into())
    }

    pub(super) async fn executions(
        &self,
        filter: Filter,
        limit: u32,
    ) -> Result<Page<ExecutionRow, ExecutionId>, Failure> {
        Ok(self.reader().read(move |sql| executions::list(sql, &filter, limit)).await?)
    }

    pub(super) async fn agents(&self, filter: agents::Filter, limit: u32) -> Result<Page<AgentRow, String>, Failure> {
        Ok(self.reader().read(move |sql| agents::list(sql, &filter, limit)).await?)
    }

    /// Newest first, of those before one.
    pub(super) async fn revisions(
        &self,
        agent: AgentId,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Page<RevisionRow, u32>, Failure> {
        Ok(self.reader().read(move |sql| agents::revisions(sql, agent, before, limit)).await?)
    }

    /// The item of this id or short id, of a kind that people call by this word.
    pub(super) async fn item(&self, sought: &Sought, wanted: &str) -> Result<Item, Failure> {
        let (kind, prefix, text) = (sought.kind, sought.prefix, wanted.to_string());
        match self.reader().read(move |sql| items::find(sql, kind, prefix, &text)).await? {
            Match::One(item) => Ok(item),
            Match::Many(_) => {
                let detail = format!("{} is short for several {}s: write more of it", quoted(wanted), sought.noun);
                Err(sought.ambiguous.problem(detail).into())
            }
            Match::None => {
                let unknown = || sought.unknown.problem(format!("no {} has the id {}", sought.noun, quoted(wanted)));
                Err(misnamed(sought.unknown, wanted, sought.noun).unwrap_or_else(unknown).into())
            }
        }
    }

    /// The text that an event bound; absent once erased. Bytes that are no UTF-8 are shown with the mark for it.
    pub(super) async fn text(&self, hash: Option<Hash>) -> Result<Option<String>, Failure> {
        let Some(hash) = hash else { return Ok(None) };
        let bytes = self.reader().payload(hash).await?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// What is wrong with a name under which nothing was found, where that can be told from the name alone.
pub(super) fn misnamed(code: Code, wanted: &str, kind: &str) -> Option<Problem> {
    if wanted.trim().is_empty() {
        return Some(code.problem(format!("the name or id of the {kind} is empty")));
    }
    let other = kind_of(wanted).filter(|other| *other != kind)?;
    let of = |kind: &str| if kind.starts_with(['a', 'e']) { format!("an {kind}") } else { format!("a {kind}") };
    let problem = code.problem(format!("{} is the id of {}, not of {}", quoted(wanted), of(other), of(kind)));
    Some(match other {
        "agent" | "execution" => problem.hint(format!("`tenure {other} get {wanted}` shows it")),
        "key" => problem.hint("`tenure key list` shows it"),
        _ => problem,
    })
}

/// At most 80 characters of what was asked for.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(80).map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if shown.len() < text.len() { format!("`{shown}…`") } else { format!("`{shown}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_another_kind_is_told_for_what_it_is() {
        let told = |text: &str, kind| misnamed(Code::AgentUnknown, text, kind).map(|problem| problem.detail);
        let agent = "agt_0123456789abcdefghjkmnpqrs";
        assert_eq!(told(agent, "execution"), Some(format!("`{agent}` is the id of an agent, not of an execution")));
        assert_eq!(
            told("key_7k2m9p4q", "agent"),
            Some("`key_7k2m9p4q` is the id of a key, not of an agent".to_string())
        );
        assert_eq!((told(agent, "agent"), told("tidy", "agent"), told("exe_", "agent")), (None, None, None));
    }
}
