//! Every call and model call by the events alone, and what fakes did of them: each begins once, ends once, and is done
//! while it is open.
use super::{Checked, Rule, broken};
use std::collections::BTreeMap;
use tenure_core::approval::{Allowed, Held, Released};
use tenure_core::bound::Hash;
use tenure_core::call::{Called, Ended, Holder, LOSSES_MAX, Outcome, REDIRECTS_MAX};
use tenure_core::execution::{Event, Turn};
use tenure_core::id::{ApprovalId, CallId, ExecutionId, LeaseId, SessionId};
use tenure_core::judge::Verdict;
use tenure_core::session;
use tenure_core::time::Run;

/// One model call: iteration, turn, attempt.
type Question = (ExecutionId, u32, u32, u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Proposed,
    Called(Option<LeaseId>),
    Over,
}

#[derive(Debug)]
struct Call {
    holder: Holder,
    idempotent: bool,
    state: State,
    again: u32,
    /// How often it was really done.
    done: u32,
    arguments: Hash,
    /// What people were asked, of how many, and how many of them have not answered.
    asked: Option<(ApprovalId, u32)>,
    people: u32,
}

#[derive(Debug, Default)]
struct Lease {
    call: Option<CallId>,
    done: u32,
}

#[derive(Debug, Default)]
struct Model {
    over: Option<Run>,
    asked: u32,
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: BTreeMap<CallId, Call>,
    leases: BTreeMap<LeaseId, Lease>,
    models: BTreeMap<Question, Model>,
}

fn question(id: ExecutionId, turn: Turn) -> Question {
    (id, turn.iteration, turn.turn, turn.attempt)
}

impl Calls {
    pub(super) fn open_of(&self, holder: Holder) -> usize {
        self.calls.values().filter(|call| call.holder == holder && call.state != State::Over).count()
    }

    pub(super) fn count(&self) -> u64 {
        self.calls.len() as u64
    }

    pub(super) fn record(&mut self, id: ExecutionId, event: &Event, now: Run) -> Checked {
        match event {
            Event::ModelCalled { turn, .. } => match self.models.insert(question(id, *turn), Model::default()) {
                Some(_) => broken(Rule::OneEnd, format!("{id} calls its model twice at {turn:?}")),
                None => Ok(()),
            },
            Event::ModelAnswered { turn, calls, .. } => {
                for call in calls {
                    self.propose(id.into(), call.call, call.idempotent, call.arguments.hash)?;
                }
                self.model_over(id, *turn, now)
            }
            Event::ProgramAsked { call, .. } => {
                self.propose(id.into(), call.call, call.idempotent, call.arguments.hash)
            }
            Event::ModelFailed { turn, .. } | Event::ModelLost { turn, .. } => self.model_over(id, *turn, now),
            Event::CallCalled(called) => self.called(id.into(), called),
            Event::CallHeld(held) => self.held(held),
            Event::CallAllowed(allowed) => self.allowed(allowed),
            Event::CallReleased(released) => self.released(released),
            Event::CallBlocked { call, .. } => self.blocked(*call),
            Event::CallEnded(ended) => self.ended(ended),
            Event::Ended { .. } if self.open_of(id.into()) > 0 => {
                broken(Rule::OneEnd, format!("{id} has ended and {} of its calls have not", self.open_of(id.into())))
            }
            _ => Ok(()),
        }
    }

    /// Of a session, whose calls may end after it.
    pub(super) fn record_session(&mut self, id: SessionId, event: &session::Event) -> Checked {
        match event {
            session::Event::Invoked { call, .. } => {
                self.propose(id.into(), call.call, call.idempotent, call.arguments.hash)
            }
            session::Event::CallCalled(called) => self.called(id.into(), called),
            session::Event::CallHeld(held) => self.held(held),
            session::Event::CallAllowed(allowed) => self.allowed(allowed),
            session::Event::CallReleased(released) => self.released(released),
            session::Event::CallBlocked { call, .. } => self.blocked(*call),
            session::Event::CallEnded(ended) => self.ended(ended),
            _ => Ok(()),
        }
    }

    fn held(&mut self, held: &Held) -> Checked {
        match self.calls.get_mut(&held.call) {
            Some(call) if call.state == State::Proposed => {
                (call.asked, call.people) = (Some((held.approval, held.people)), held.people);
                Ok(())
            }
            Some(_) | None => broken(Rule::OneEnd, format!("{} is held and was not proposed", held.call)),
        }
    }

    fn allowed(&mut self, allowed: &Allowed) -> Checked {
        let asked = self.calls.get_mut(&allowed.call).filter(|call| call.state == State::Proposed && call.people > 0);
        match asked.and_then(|call| call.asked.map(|asked| (call, asked))) {
            Some((call, (approval, people))) if approval == allowed.approval => {
                call.people -= 1;
                if let Some(edited) = &allowed.edited {
                    (call.arguments, call.people) = (edited.arguments.hash, people - 1);
                }
                if (call.people == 0) == allowed.complete {
                    return Ok(());
                }
                broken(Rule::AtMostOnce, format!("{} is allowed by too few, or too many are asked", allowed.call))
            }
            Some(_) | None => broken(Rule::OneEnd, format!("{} is allowed and nobody was asked", allowed.call)),
        }
    }

    fn released(&mut self, released: &Released) -> Checked {
        match self.calls.get_mut(&released.call) {
            Some(call) if call.state == State::Proposed && call.people > 0 => {
                (call.asked, call.people) = (None, 0);
                Ok(())
            }
            Some(_) | None => broken(Rule::OneEnd, format!("{} is released and did not wait", released.call)),
        }
    }

    fn blocked(&mut self, id: CallId) -> Checked {
        match self.calls.get_mut(&id) {
            Some(call) if call.state == State::Proposed => {
                call.state = State::Over;
                Ok(())
            }
            Some(_) | None => broken(Rule::OneEnd, format!("{id} is blocked and was not proposed")),
        }
    }

    fn propose(&mut self, holder: Holder, id: CallId, idempotent: bool, arguments: Hash) -> Checked {
        let (asked, people) = (None, 0);
        let call = Call { holder, idempotent, state: State::Proposed, again: 0, done: 0, arguments, asked, people };
        match self.calls.insert(id, call) {
            Some(_) => broken(Rule::OneEnd, format!("{id} is proposed twice")),
            None => Ok(()),
        }
    }

    fn model_over(&mut self, id: ExecutionId, turn: Turn, now: Run) -> Checked {
        match self.models.get_mut(&question(id, turn)) {
            Some(model) if model.over.is_none() => {
                model.over = Some(now);
                Ok(())
            }
            Some(_) | None => broken(Rule::OneEnd, format!("{id} ends a model call that is not open: {turn:?}")),
        }
    }

    fn called(&mut self, holder: Holder, called: &Called) -> Checked {
        if let Some(check) = &called.check {
            self.propose(holder, check.call, check.idempotent, check.arguments.hash)?;
        }
        let lease = called.lease.map(|held| held.lease);
        let by_grant = called.judgement.rules.iter().any(|rule| rule.starts_with("grant:"));
        match self.calls.get(&called.call) {
            Some(call) if called.judgement.verdict == Verdict::ApprovalRequired && !by_grant => {
                if call.asked.is_none() || call.people > 0 || call.again > 0 {
                    return broken(Rule::AtMostOnce, format!("{} is called and nobody allowed it", called.call));
                }
            }
            Some(_) | None => {}
        }
        match self.calls.get_mut(&called.call) {
            Some(call) if call.state == State::Proposed && call.arguments == called.arguments => {
                call.state = State::Called(lease);
            }
            Some(_) | None => return broken(Rule::OneEnd, format!("{} is called and was not proposed", called.call)),
        }
        let Some(lease) = lease else { return Ok(()) };
        match self.leases.insert(lease, Lease { call: Some(called.call), done: 0 }) {
            Some(_) => broken(Rule::OneEnd, format!("{lease} is given twice")),
            None => Ok(()),
        }
    }

    fn ended(&mut self, ended: &Ended) -> Checked {
        let Some(call) = self.calls.get_mut(&ended.call) else {
            return broken(Rule::OneEnd, format!("{} ends and never was", ended.call));
        };
        if call.state != State::Called(ended.lease) {
            return broken(Rule::OneEnd, format!("{} ends and is not open under {:?}", ended.call, ended.lease));
        }
        if let Some(lease) = ended.lease.and_then(|lease| self.leases.get_mut(&lease)) {
            lease.call = None;
        }
        if !ended.outcome.is_again() {
            call.state = State::Over;
            return Ok(());
        }
        call.state = State::Proposed;
        call.again += 1;
        if matches!(ended.outcome, Outcome::Lost { .. }) && !call.idempotent {
            return broken(Rule::AtMostOnce, format!("{} may not be repeated, and is", ended.call));
        }
        if call.again > LOSSES_MAX + REDIRECTS_MAX {
            return broken(Rule::Bounded, format!("{} is tried {} times", ended.call, call.again));
        }
        Ok(())
    }

    /// What was ended this very moment may still be asked: who asks has not heard of it yet, and is dropped once it has.
    pub(super) fn ask(&mut self, id: ExecutionId, turn: Turn, now: Run) -> Checked {
        match self.models.get_mut(&question(id, turn)) {
            Some(model) if model.over.is_none_or(|over| over == now) => {
                model.asked += 1;
                if model.asked > 1 {
                    return broken(Rule::AtMostOnce, format!("{id} asks its model twice at {turn:?}"));
                }
                Ok(())
            }
            Some(_) | None => {
                broken(Rule::NoEventNoAction, format!("{id} asks a model at {turn:?}, and no event says so"))
            }
        }
    }

    pub(super) fn perform(&mut self, id: LeaseId) -> Checked {
        let unsaid =
            || broken(Rule::NoEventNoAction, format!("something is done under {id}, and no event says so now"));
        let Some(lease) = self.leases.get_mut(&id) else { return unsaid() };
        let Some(call) = lease.call.and_then(|call| self.calls.get_mut(&call)) else { return unsaid() };
        lease.done += 1;
        call.done += 1;
        if lease.done > 1 || (call.done > 1 && !call.idempotent) {
            return broken(
                Rule::AtMostOnce,
                format!("{id} is done {} times, its call {} times", lease.done, call.done),
            );
        }
        Ok(())
    }

    pub(super) fn finish(&self) -> Checked {
        if let Some((id, _)) = self.calls.iter().find(|(_, call)| call.state != State::Over) {
            return broken(Rule::OneEnd, format!("{id} has no end"));
        }
        match self.models.iter().find(|(_, model)| model.over.is_none()) {
            Some((question, _)) => broken(Rule::OneEnd, format!("the model call {question:?} has no end")),
            None => Ok(()),
        }
    }
}
