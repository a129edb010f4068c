//! The values of secrets are taken out of what a worker sends, before anything else looks at it: the one border over which hostile
//! bytes come in. Must never: let a kind of frame through that has text and is not named here.
use crate::app::App;
use std::collections::BTreeMap;
use tenure_core::call::{Holder, Outcome};
use tenure_core::id::LeaseId;
use tenure_wire::frame::FromWorker;
use tenure_wire::scrub::{ScrubbedText, Scrubber};

/// Outputs of which a part may be held back at a time; beyond, the oldest lease's is let go of, unshown.
const OPEN_MAX: usize = 1024;

/// One connection's. What programs print comes in chunks, so that each stream is looked at as one.
pub(super) struct CleanFrames {
    scrubber: Scrubber,
    /// By lease and whether it is stderr.
    open: BTreeMap<(LeaseId, bool), (Holder, ScrubbedText)>,
}

impl CleanFrames {
    pub(super) fn new(scrubber: &Scrubber) -> CleanFrames {
        CleanFrames { scrubber: scrubber.clone(), open: BTreeMap::new() }
    }

    pub(super) fn frame(&mut self, app: &App, mut frame: FromWorker) -> FromWorker {
        let scrubber = self.scrubber.clone();
        match &mut frame {
            FromWorker::Output { lease, holder, stderr, text } => *text = self.output(*lease, *holder, *stderr, text),
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
            FromWorker::Files { .. }
            | FromWorker::HomeRemoved { why: None, .. }
            | FromWorker::Released { .. }
            | FromWorker::Surveyed { .. }
            | FromWorker::Beat { .. }
            | FromWorker::Hello(_) => {}
        }
        frame
    }

    fn output(&mut self, lease: LeaseId, holder: Holder, stderr: bool, text: &mut String) -> String {
        if self.scrubber.is_empty() && !self.open.contains_key(&(lease, stderr)) {
            return std::mem::take(text);
        }
        if self.open.len() >= OPEN_MAX && !self.open.contains_key(&(lease, stderr)) {
            self.open.pop_first();
        }
        let scrubber = &self.scrubber;
        let (_, stream) = self.open.entry((lease, stderr)).or_insert_with(|| (holder, ScrubbedText::new(scrubber)));
        stream.push(text)
    }

    /// What was held back of its output is shown.
    fn end(&mut self, app: &App, lease: LeaseId) {
        for stderr in [false, true] {
            let Some((holder, stream)) = self.open.remove(&(lease, stderr)) else { continue };
            let rest = stream.end();
            if let (Holder::Execution(id), false) = (holder, rest.is_empty()) {
                app.watch.output(id, stderr, rest);
            }
        }
    }
}
