//! What the live view is told: the agents each second, the transcript of the one that is chosen as it happens, and how what a
//! person did went. Must never: let news of one agent pass for another's.
use std::time::Duration;

use jiff::Timestamp;
use tenure_core::time::Time;
use tenure_wire::api::agent::{Agent, AgentFile, Pause, Supervise};
use tenure_wire::api::execution::{Execution, ExecutionStatus, Start};
use tenure_wire::api::moment::Moment;
use tenure_wire::client::{Client, Error, StreamItem};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{AGENTS_MAX, Action, Do, Line};
use crate::command::supervise;

/// Between two looks at the agents.
const PAUSE: Duration = Duration::from_secs(1);
/// News that wait to be drawn.
const NEWS_MAX: usize = 64;
/// Tasks of an agent that its log shows.
const TASKS_MAX: usize = 50;

/// The agents and what they are at, in one look.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) at: Moment,
    pub(super) agents: Vec<Agent>,
    /// Those that have not ended.
    pub(super) executions: Vec<Execution>,
}

impl Snapshot {
    /// Each agent with the execution that it is at: one that runs before one that is queued, of several the oldest.
    pub(super) fn into_lines(self) -> Vec<Line> {
        let rank = |execution: &Execution| (execution.status == ExecutionStatus::Queued, execution.id);
        let at = |agent: &Agent| {
            let of_it = self.executions.iter().filter(|execution| execution.agent == agent.id);
            of_it.min_by_key(|execution| rank(execution)).cloned()
        };
        self.agents.iter().map(|agent| Line { execution: at(agent), agent: agent.clone() }).collect()
    }
}

pub(super) async fn snapshot(client: &Client) -> Result<Snapshot, Error> {
    let mut executions = Vec::new();
    for status in [ExecutionStatus::Running, ExecutionStatus::Waiting, ExecutionStatus::Queued] {
        let query = [("status", Some(status.as_str().to_string()))];
        executions.extend(client.executions(&query, AGENTS_MAX).await?);
    }
    let at = Moment(Time::from_millis(Timestamp::now().as_millisecond()));
    Ok(Snapshot { at, agents: client.agents(&[], AGENTS_MAX).await?, executions })
}

/// Who is chosen, and the execution that is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) agent: String,
    pub(super) execution: Option<String>,
    /// Of this choice; news of another are old.
    pub(super) number: u64,
}

#[derive(Debug)]
pub(super) enum News {
    Agents(Snapshot),
    /// No look succeeded.
    Lost(String),
    /// The page and log of the one that is chosen.
    Page {
        number: u64,
        file: Box<AgentFile>,
        tasks: Vec<Execution>,
    },
    Heard {
        number: u64,
        item: Box<StreamItem>,
    },
    /// What a person did, as it went.
    Done(String),
    Failed(String),
}

/// What is watched ends at once where it waits; a request under way may take so long.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Feed {
    client: Client,
    sender: Sender<News>,
    news: Receiver<News>,
    looking: JoinHandle<()>,
    /// Ends the watching of the one that was chosen.
    watching: Option<DropGuard>,
    /// Watchings that have not ended yet; each has its own thread.
    watchers: JoinSet<()>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl Feed {
    pub(super) fn start(client: Client) -> Feed {
        let (sender, news) = channel(NEWS_MAX);
        let looking = tokio::spawn(look(client.clone(), sender.clone()));
        Feed { client, sender, news, looking, watching: None, watchers: JoinSet::new() }
    }

    pub(super) async fn next(&mut self) -> News {
        self.news.recv().await.expect("invariant: the feed holds a sender itself")
    }

    pub(super) fn choose(&mut self, chosen: Option<Chosen>) {
        self.watching = None;
        let Some(chosen) = chosen else { return };
        let (client, sender, runtime) = (self.client.clone(), self.sender.clone(), Handle::current());
        let ended = CancellationToken::new();
        self.watching = Some(ended.clone().drop_guard());
        // A stream of events stays on one thread.
        self.watchers.spawn_blocking(move || {
            runtime.block_on(ended.run_until_cancelled(watch(client, sender, chosen)));
        });
        while self.watchers.try_join_next().is_some() {}
    }

    /// Before the runtime ends: a thread that still waits on it then would panic.
    pub(super) async fn close(mut self) {
        self.watching = None;
        self.news.close();
        let ended = async { while self.watchers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, ended).await;
    }

    pub(super) fn act(&self, action: Action) {
        let (client, sender) = (self.client.clone(), self.sender.clone());
        tokio::spawn(async move {
            let news = match act(&client, &action).await {
                Ok(done) => News::Done(done),
                Err(error) => News::Failed(told(&error)),
            };
            let _ = sender.send(news).await;
        });
    }
}

async fn look(client: Client, sender: Sender<News>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let news = match snapshot(&client).await {
            Ok(snapshot) => News::Agents(snapshot),
            Err(error) => News::Lost(told(&error)),
        };
        if sender.send(news).await.is_err() {
            return;
        }
    }
}

/// The page of the chosen one, then the transcript of what it is at, else of what it did last; and so on with what it does
/// next, also where that begins and ends between two looks.
async fn watch(client: Client, sender: Sender<News>, chosen: Chosen) {
    let followed = follow(&client, &sender, chosen).await;
    if let Err(error) = followed {
        let _ = sender.send(News::Failed(told(&error))).await;
    }
}

/// Ends with the view.
async fn follow(client: &Client, sender: &Sender<News>, chosen: Chosen) -> Result<(), Error> {
    let Chosen { agent, execution: mut wanted, number } = chosen;
    let query = [("agent", Some(agent.clone()))];
    let (mut shown, mut first): (Option<String>, bool) = (None, true);
    loop {
        let newest = client.executions(&query, 1).await?.first().map(|task| task.id.to_string());
        let next = wanted.take().or(newest);
        if next == shown && !first {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        first = false;
        let (file, tasks) = (client.agent(&agent).await?, client.executions(&query, TASKS_MAX).await?);
        if sender.send(News::Page { number, file: Box::new(file), tasks }).await.is_err() {
            return Ok(());
        }
        shown = next;
        let Some(execution) = &shown else { continue };
        let mut events = client.watch(execution, None);
        while let Some(item) = events.next().await? {
            if sender.send(News::Heard { number, item: Box::new(item) }).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn act(client: &Client, Action { agent, name, what }: &Action) -> Result<String, Error> {
    match what {
        Do::Pause => {
            client.pause_agent(agent, &Pause::default()).await?;
            Ok(format!("{name} is paused: nothing of it begins, what runs goes on"))
        }
        Do::Supervise(act) => {
            client.supervise_agent(agent, *act, &Supervise::default()).await?;
            Ok(supervise::told(*act, name))
        }
        Do::Run(instruction) => {
            let input = serde_json::value::to_raw_value(instruction).expect("invariant: a text is JSON");
            let start = Start { agent: agent.clone(), revision: None, input, max_iterations: None };
            let started = client.start(&start, None).await?;
            Ok(format!("{name} is at {}", started.execution.id.short()))
        }
    }
}

fn told(error: &Error) -> String {
    match error {
        Error::Problem(problem) => format!("{}: {}", problem.title, problem.detail),
        other => other.to_string(),
    }
}
