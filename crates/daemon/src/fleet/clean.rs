//! The values of secrets are taken out of what a worker sends, before anything else looks at it: the one border over which hostile
//! bytes come in. Must never: let a kind of frame through that has text and is not named here.
use crate::app::App;
use std::collections::BTreeMap;
use tenure_core::call::{Holder, Outcome};
use tenure_core::id::{CallId, LeaseId};
use tenure_wire::frame::FromWorker;
use tenure_wire::scrub::{ScrubbedText, Scrubber};

/// Outputs of which a part may be held back at a time; beyond, the oldest lease's is let go of, unshown.
const OPEN_MAX: usize = 1024;

/// One connection's. What programs print comes in chunks, so that each stream is looked at as one.
pub(super) struct CleanFrames {
    scrubber: Scrubber,
    /// By lease and whether it is stderr.
    open: BTreeMap<(LeaseId, bool), (Holder, CallId, ScrubbedText)>,
}

impl CleanFrames {
    pub(super) fn new(scrubber: &Scrubber) -> CleanFrames {
        CleanFrames { scrubber: scrubber.clone(), open: BTreeMap::new() }
    }

    pub(super) fn frame(&mut self, app: &App, mut frame: FromWorker) -> FromWorker {
        let scrubber = self.scrubber.clone();
        match &mut frame {
            FromWorker::Output { lease, call, holder, stderr, text } => {
                *text = self.output((*lease, *stderr), (*holder, *call), text);
            }
            FromWorker::Outcome(outcome) => {
                self.end(app, outcome.lease);
                scrubber.value(&mut outcome.result);
                if let Outcome::Redirected { path } = &mut outcome.outcome {
                    scrubber.string(path);
                }
            }
            FromWorker::JailLost { why, leases, .. } => {
                leases.iter().for_each(|lease| self.end(app, *lease));
                scrubber.string(why);
            }
            FromWorker::NetworkRefused { refusals, .. } => {
                refusals.iter_mut().for_each(|refusal| scrubber.string(&mut refusal.host));
            }
            FromWorker::HomeRemoved { why: Some(why), .. } => scrubber.string(why),
            // People ask for an agent's files as they are.
            // What a program asks is looked at as a whole, once it has all come.
            FromWorker::Stream { .. }
            | FromWorker::Files { .. }
            | FromWorker::ToolsChanged { .. }
            | FromWorker::HomeRemoved { why: None, .. }
            | FromWorker::Released { .. }
            | FromWorker::Surveyed { .. }
            | FromWorker::Beat { .. }
            | FromWorker::Hello(_) => {}
        }
        frame
    }

    fn output(&mut self, key: (LeaseId, bool), (holder, call): (Holder, CallId), text: &mut String) -> String {
        if self.scrubber.is_empty() && !self.open.contains_key(&key) {
            return std::mem::take(text);
        }
        if self.open.len() >= OPEN_MAX && !self.open.contains_key(&key) {
            self.open.pop_first();
        }
        let scrubber = &self.scrubber;
        let (_, _, stream) = self.open.entry(key).or_insert_with(|| (holder, call, ScrubbedText::new(scrubber)));
        let told = stream.push(text);
        if stream.holds_nothing() {
            self.open.remove(&key);
        }
        told
    }

    /// What was held back of its output is shown.
    fn end(&mut self, app: &App, lease: LeaseId) {
        for stderr in [false, true] {
            let Some((holder, call, stream)) = self.open.remove(&(lease, stderr)) else { continue };
            let rest = stream.end();
            match holder {
                _ if rest.is_empty() => {}
                Holder::Execution(id) => app.watch.output(id, stderr, rest),
                Holder::Session(_) => app.watch.session_output(call, stderr, rest),
            }
        }
    }
}
