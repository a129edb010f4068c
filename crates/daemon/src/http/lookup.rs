//! What the faces read of the store: by names and ids as people write them, with the near word where nothing fits.
use tenure_core::agent::{AgentRow, RevisionRow};
use tenure_core::bound::Hash;
use tenure_core::execution::ExecutionRow;
use tenure_core::id::{self, AgentId, ExecutionId};
use tenure_core::manifest::nearest;
use tenure_store::rows::agents;
use tenure_store::rows::executions::{self, Filter};
use tenure_store::rows::{Match, Page};
use tenure_wire::problem::Code;

use super::ApiState;
use super::problem::Failure;

/// Names that are looked through for a near word.
const NAMES_MAX: u32 = 500;

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
                let known = || format!("no agent is called {}", quoted(wanted));
                let problem = Code::AgentUnknown.problem(of_another_kind(wanted, "agent").unwrap_or_else(known));
                let names = self.reader().read(|sql| agents::list(sql, None, None, NAMES_MAX)).await?;
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
            Match::None => {
                let known = || format!("no execution has the id {}", quoted(wanted));
                Err(Code::ExecutionUnknown.problem(of_another_kind(wanted, "execution").unwrap_or_else(known)).into())
            }
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

    pub(super) async fn agents(
        &self,
        state: Option<&'static str>,
        after: Option<String>,
        limit: u32,
    ) -> Result<Page<AgentRow, String>, Failure> {
        Ok(self.reader().read(move |sql| agents::list(sql, state, after.as_deref(), limit)).await?)
    }

    pub(super) async fn revisions(&self, agent: AgentId, limit: u32) -> Result<Vec<RevisionRow>, Failure> {
        Ok(self.reader().read(move |sql| agents::revisions(sql, agent, limit)).await?)
    }

    /// The text that an event bound; absent once erased. Bytes that are no UTF-8 are shown with the mark for it.
    pub(super) async fn text(&self, hash: Option<Hash>) -> Result<Option<String>, Failure> {
        let Some(hash) = hash else { return Ok(None) };
        let bytes = self.reader().payload(hash).await?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// What a text is the id of, where that is not what is wanted.
pub(super) fn of_another_kind(text: &str, wanted: &str) -> Option<String> {
    let article = |kind: &str| if kind.starts_with(['a', 'e']) { format!("an {kind}") } else { format!("a {kind}") };
    let kind = id::kind_of(text).filter(|kind| *kind != wanted)?;
    Some(format!("{} is the id of {}, and {} is wanted", quoted(text), article(kind), article(wanted)))
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
        let told = |text: &str, wanted| of_another_kind(text, wanted);
        let agent = "agt_0123456789abcdefghjkmnpqrs";
        assert_eq!(
            told(agent, "execution"),
            Some(format!("`{agent}` is the id of an agent, and an execution is wanted"))
        );
        assert_eq!(
            told("key_7k2m9p4q", "agent"),
            Some("`key_7k2m9p4q` is the id of a key, and an agent is wanted".into())
        );
        assert_eq!((told(agent, "agent"), told("tidy", "agent"), told("exe_", "agent")), (None, None, None));
    }
}
