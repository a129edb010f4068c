//! The model proxy: programs in jails ask models by it, over the three wires that their libraries speak. It holds the keys; a program
//! has none. Each call is a command before a model is asked and another when it ended, by the one `Model` trait, so that aliases,
//! fallback, prices, budgets and cassettes are those of the built-in loop.
//!
//! ```text
//! worker ─parts─▶ streams (one connection's) ─▶ exchange (one task a request) ─▶ wire ─▶ ask: commit, generate, commit ─▶ wire ─▶ parts
//! ```
//! Must never: answer before the answer's event is committed, take an identity from what a program sends, or leave a field out of a
//! request without saying so.
mod agent_api;
mod ask;
mod exchange;
mod problem;
mod serve;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tenure_core::call::Holder;
use tenure_core::id::CallId;
use tenure_wire::stream::{FromProgram, OpenStream, PARTS_MAX, STREAMS_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::app::App;
use crate::fleet::Connection;
use exchange::Exchange;

/// Requests of one holder that are read or answered at a time; the ledger's own bound is the same.
const REQUESTS_MAX: usize = tenure_core::model_call::OPEN_MAX;

/// Model calls of programs that a task of this daemon has in hand: whatever else is open was lost with an earlier one.
#[derive(Debug, Clone)]
pub struct InHand {
    calls: Arc<watch::Sender<BTreeSet<CallId>>>,
}

impl Default for InHand {
    fn default() -> InHand {
        InHand { calls: Arc::new(watch::Sender::new(BTreeSet::new())) }
    }
}

impl InHand {
    /// Taken before its event is committed, so that it is never taken for a lost one.
    fn take(&self, call: CallId) -> Taken {
        self.calls.send_modify(|calls| {
            calls.insert(call);
        });
        Taken { in_hand: self.clone(), call }
    }

    /// Resolves once nobody has it in hand.
    pub async fn let_go(&self, call: CallId) {
        let mut calls = self.calls.subscribe();
        // The sender lives as long as this handle.
        let _ = calls.wait_for(|calls| !calls.contains(&call)).await;
    }
}

/// One call in hand, until it is dropped.
struct Taken {
    in_hand: InHand,
    call: CallId,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.in_hand.calls.send_modify(|calls| {
            calls.remove(&self.call);
        });
    }
}

/// The streams of one worker's connection, by the worker's numbers. What is dropped with it tells each exchange that its program has gone.
pub(crate) struct Streams {
    open: BTreeMap<u64, mpsc::Sender<FromProgram>>,
    /// One holder's requests at a time.
    places: BTreeMap<Holder, Arc<Semaphore>>,
    most: usize,
}

impl Streams {
    pub(crate) fn new(slots: u32) -> Streams {
        let most = (slots as usize).saturating_mul(STREAMS_MAX).max(STREAMS_MAX);
        Streams { open: BTreeMap::new(), places: BTreeMap::new(), most }
    }

    /// Takes one part; it waits for nothing.
    pub(crate) fn take(&mut self, app: &Arc<App>, connection: &Connection, stream: u64, part: FromProgram) {
        match part {
            FromProgram::Open(open) => self.begin(app, connection, stream, *open),
            FromProgram::Close => drop(self.open.remove(&stream)),
            part @ (FromProgram::Data { .. } | FromProgram::End | FromProgram::Credit { .. }) => {
                let Some(sender) = self.open.get(&stream) else { return };
                if sender.try_send(part).is_err() {
                    // It has ended, or the worker sent more than its window: either way nothing more is taken.
                    self.open.remove(&stream);
                }
            }
        }
    }

    fn begin(&mut self, app: &Arc<App>, connection: &Connection, stream: u64, open: OpenStream) {
        if self.open.len() >= self.most {
            self.open.retain(|_, sender| !sender.is_closed());
            self.places.retain(|_, places| Arc::strong_count(places) > 1);
        }
        let place = self.place(open.holder);
        let (sender, parts) = mpsc::channel(2 * PARTS_MAX + 2);
        let exchange = Exchange::new(connection.clone(), stream, parts);
        if self.open.len() >= self.most || self.open.contains_key(&stream) {
            tokio::spawn(exchange.break_off());
            return;
        }
        self.open.insert(stream, sender);
        tokio::spawn(serve::serve(Arc::clone(app), exchange, open, place));
    }

    fn place(&mut self, holder: Holder) -> Option<OwnedSemaphorePermit> {
        let places = self.places.entry(holder).or_insert_with(|| Arc::new(Semaphore::new(REQUESTS_MAX)));
        Arc::clone(places).try_acquire_owned().ok()
    }
}
