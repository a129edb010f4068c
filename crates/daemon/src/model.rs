//! Models: one trait, and the few things that can answer it (a remote provider, the local program, a cassette).
//!
//! A model is asked once and answers once: nothing here retries (a parameter that the endpoint refuses is left out at
//! once, since nothing was answered), keeps a budget or writes the ledger. The reconciler
//! `think` does that through commits, so that every attempt is on the record. What a provider sends is hostile until
//! it is parsed here, and a key that is held here never leaves in an error, a log line or an answer.

pub mod answer;
pub mod cassette;
pub mod catalogue;
pub mod environment;
mod estimate;
pub mod failure;
pub mod local;
mod lookup;
pub mod name;
pub mod piece;
pub mod price;
pub mod pull;
pub mod remote;
pub mod request;
pub mod router;
pub mod settings;
mod spelling;
pub mod wire;

use answer::Answer;
use failure::Failure;
use futures_util::future::BoxFuture;
use name::ModelName;
use piece::PieceSink;
use request::Request;
use std::sync::Arc;
use tokio::time::Instant;

/// Bytes of text and arguments that one answer may hold, whoever gives it. More is a failure, never a cut answer.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Calls that one answer may ask for.
pub const CALLS_MAX: usize = 64;

/// Where the model behind a manifest's word is found.
pub trait Models: Send + Sync {
    /// The model that `word` means, ready to be asked. [`router::Router::resolve`] is the daemon's own.
    fn resolve<'a>(&'a self, word: &'a str) -> BoxFuture<'a, Result<Arc<dyn Model>, Failure>>;

    /// The words that mean a model which can be asked now.
    fn words(&self) -> Vec<String>;
}

/// Whatever turns a request into an answer.
///
/// Dropping the future cancels the call: the connection is closed, the local program told to stop.
pub trait Model: Send + Sync {
    /// The resolved name, as the ledger records it.
    fn name(&self) -> &ModelName;

    /// Bytes of one call's result that this model is shown; the rest is clipped by the caller.
    fn result_bytes_max(&self) -> usize {
        self.name().provider.result_bytes_max()
    }

    /// Micro-dollars to set aside before asking: the estimated input and the longest answer. `None` is an unknown
    /// price.
    fn reserve_micro_usd(&self, request: &Request) -> Option<u64>;

    /// Asks once. Text goes to `pieces` as it comes; the answer carries all of it again. Ends by `deadline` with
    /// [`failure::Kind::Deadline`] at the latest.
    fn generate<'a>(
        &'a self,
        request: &'a Request,
        pieces: &'a PieceSink,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Answer, Failure>>;
}
