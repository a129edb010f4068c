//! Asking an engine, with a deadline on each question. Must never: take silence for an answer.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as Reply;
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use tokio::time::{Instant, sleep, timeout};

use crate::error::Error;

/// Between two looks at a container that is being removed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Most of an engine's words that are passed on, in bytes.
const WORDS_MAX: usize = 600;

/// What an engine said.
#[derive(Debug)]
pub(super) enum Answered<T> {
    Yes(T),
    /// It does not have what was asked for.
    Absent,
    /// In words that its API does not have, such as a state of Podman's between two others.
    Unclear(String),
    No(String),
}

pub(super) async fn ask<T>(patience: Duration, question: impl Future<Output = Result<T, Reply>>) -> Answered<T> {
    match timeout(patience, question).await {
        Ok(Ok(answer)) => Answered::Yes(answer),
        Ok(Err(Reply::DockerResponseServerError { status_code: 404, .. })) => Answered::Absent,
        Ok(Err(reply @ Reply::JsonDataError { .. })) => Answered::Unclear(words(&reply)),
        Ok(Err(reply)) => Answered::No(words(&reply)),
        Err(_) => Answered::No(format!("it did not answer within {:.0} s", patience.as_secs_f32())),
    }
}

pub(super) async fn must<T>(
    engine: &str,
    what: &'static str,
    patience: Duration,
    question: impl Future<Output = Result<T, Reply>>,
) -> Result<T, Error> {
    let why = match ask(patience, question).await {
        Answered::Yes(answer) => return Ok(answer),
        Answered::Absent => "it does not know it".to_owned(),
        Answered::Unclear(why) | Answered::No(why) => why,
    };
    Err(Error::Engine { engine: engine.to_owned(), what, why })
}

/// Has the container removed by force, with its volumes; Ok once the engine knows it no more.
pub(super) async fn remove(docker: &Docker, container: &str, patience: Duration) -> Result<(), String> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let deadline = Instant::now() + patience;
    let mut removed = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let why = match ask(left, docker.remove_container(container, Some(options.clone()))).await {
            Answered::Absent => return Ok(()),
            // Some say so again of one that is gone.
            Answered::Yes(()) if removed => return Ok(()),
            Answered::Yes(()) => {
                removed = true;
                continue;
            }
            Answered::Unclear(why) | Answered::No(why) => why,
        };
        if deadline <= Instant::now() || !docker_answers(docker, deadline).await {
            return Err(why);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// An engine that is gone does not come back for a removal.
async fn docker_answers(docker: &Docker, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    matches!(ask(left, docker.ping()).await, Answered::Yes(_))
}

/// What an engine said, on one line of bounded length.
pub(super) fn words(reply: &Reply) -> String {
    let mut all = match reply {
        Reply::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        other => chain(other),
    };
    all = all.split_whitespace().collect::<Vec<_>>().join(" ");
    while all.len() > WORDS_MAX {
        all.pop();
    }
    all
}

/// The error with its causes: alone, most say only that a request failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
        cause = next.source();
    }
    words
}
