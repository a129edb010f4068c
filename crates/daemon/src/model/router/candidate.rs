//! One of the models that an alias stands for. What cannot be used now is set aside for a while, and the next is asked: by
//! another model call, so that both are on the record.

use crate::model::Model;
use crate::model::answer::Answer;
use crate::model::failure::{Failure, Kind};
use crate::model::name::ModelName;
use crate::model::piece::PieceSink;
use crate::model::request::Request;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// For what a person must mend, and for what goes by itself.
const ASIDE_LONG: Duration = Duration::from_secs(300);
const ASIDE_SHORT: Duration = Duration::from_secs(30);

/// Until when each is set aside, by the route's own words.
#[derive(Debug, Default)]
pub(super) struct Aside(Mutex<HashMap<String, Instant>>);

impl Aside {
    pub(super) fn until(&self, route: &str) -> Option<Instant> {
        self.table().get(route).copied().filter(|until| *until > Instant::now())
    }

    fn set(&self, route: &str, time: Duration) {
        self.table().insert(route.to_owned(), Instant::now() + time);
    }

    fn clear(&self, route: &str) {
        self.table().remove(route);
    }

    /// Held for microseconds, never across an await.
    fn table(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Candidate {
    pub(super) model: Arc<dyn Model>,
    pub(super) route: String,
    /// Those of its alias that could be asked instead.
    pub(super) others: Vec<String>,
    pub(super) aside: Arc<Aside>,
}

impl Candidate {
    fn failed(&self, failure: Failure) -> Failure {
        let Some(time) = aside_for(&failure) else { return failure };
        self.aside.set(&self.route, time);
        let is_other = self.others.iter().any(|other| self.aside.until(other).is_none());
        Failure { elsewhere: is_other, ..failure }
    }
}

/// How long a model that failed so is not asked, where another can be.
fn aside_for(failure: &Failure) -> Option<Duration> {
    match failure.kind {
        Kind::Auth | Kind::Quota | Kind::UnknownModel | Kind::NotReady => Some(ASIDE_LONG),
        Kind::RateLimited { .. } | Kind::Overloaded { .. } | Kind::ServerError | Kind::Transport | Kind::Deadline => {
            Some(failure.retry_after_ms().map_or(ASIDE_SHORT, Duration::from_millis))
        }
        // It is the request or the answer that is at fault, and not whoever was asked.
        Kind::Truncated
        | Kind::Empty
        | Kind::Malformed
        | Kind::ContextTooLong
        | Kind::Rejected
        | Kind::Refused
        | Kind::Runaway
        | Kind::Cancelled
        | Kind::CassetteEnded => None,
    }
}

impl Model for Candidate {
    fn name(&self) -> &ModelName {
        self.model.name()
    }

    fn result_bytes_max(&self) -> usize {
        self.model.result_bytes_max()
    }

    fn reserve_micro_usd(&self, request: &Request) -> Option<u64> {
        self.model.reserve_micro_usd(request)
    }

    fn generate<'a>(
        &'a self,
        request: &'a Request,
        pieces: &'a PieceSink,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Answer, Failure>> {
        Box::pin(async move {
            let result = self.model.generate(request, pieces, deadline).await;
            if result.is_ok() {
                self.aside.clear(&self.route);
            }
            result.map_err(|failure| self.failed(failure))
        })
    }
}
