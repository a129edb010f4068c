//! What agents, and all of them together, may use up in a day and a month, reckoned anew from the records: no model call is made
//! that could pass a limit, with what is held for those that are open.
use super::{Checked, Rule, broken};
use std::collections::BTreeMap;
use tenure_core::agent;
use tenure_core::aggregate::{Event, Stream};
use tenure_core::budget::{Day, Line, Measure, Period, Whose};
use tenure_core::execution::{self, Usage};
use tenure_core::id::{AgentId, ExecutionId};
use tenure_core::project;

/// Whose, in tokens or money, and the day or month.
type Place = (String, &'static str, &'static str, u64);

#[derive(Clone, Copy)]
struct Held {
    agent: AgentId,
    day: Day,
    tokens: u64,
    micro_usd: Option<u64>,
}

#[derive(Default)]
pub(super) struct Budgets {
    limits: BTreeMap<(String, &'static str, &'static str), u64>,
    /// Used up or held.
    used: BTreeMap<Place, u64>,
    agents: BTreeMap<ExecutionId, AgentId>,
    held: BTreeMap<ExecutionId, Held>,
}

impl Budgets {
    pub(super) fn record(&mut self, stream: Stream, event: &Event) -> Checked {
        match (stream, event) {
            (Stream::Agent(id), Event::Agent(agent::Event::BudgetSet { lines })) => self.set(Whose::Agent(id), lines),
            (_, Event::Project(project::Event::BudgetSet { lines })) => self.set(Whose::Project, lines),
            (Stream::Execution(id), Event::Execution(event)) => return self.of_execution(id, event),
            _ => {}
        }
        Ok(())
    }

    fn set(&mut self, whose: Whose, lines: &[Line]) {
        for line in lines {
            let key = (whose.key(), line.measure.into(), line.period.into());
            self.limits.remove(&key);
            self.limits.extend(line.limit.map(|limit| (key, limit)));
        }
    }

    fn of_execution(&mut self, id: ExecutionId, event: &execution::Event) -> Checked {
        use execution::Event as E;
        match event {
            E::Started { agent, .. } => {
                self.agents.insert(id, *agent);
            }
            E::ModelCalled { reserved_tokens, reserved_micro_usd, day: Some(day), .. } => {
                let Some(agent) = self.agents.get(&id).copied() else { return Ok(()) };
                let held = Held { agent, day: *day, tokens: *reserved_tokens, micro_usd: *reserved_micro_usd };
                self.fits(id, held)?;
                self.add(held, held.tokens, held.micro_usd.unwrap_or(0));
                self.held.insert(id, held);
            }
            E::ModelAnswered { usage, .. } => self.settle(id, Some(usage), None, usage.micro_usd),
            E::ModelFailed { usage, charged_tokens, charged_micro_usd, .. } => {
                self.settle(id, usage.as_ref(), *charged_tokens, *charged_micro_usd);
            }
            E::ModelLost { charged_tokens, charged_micro_usd, .. } => {
                self.settle(id, None, *charged_tokens, *charged_micro_usd);
            }
            _ => {}
        }
        Ok(())
    }

    fn fits(&self, id: ExecutionId, held: Held) -> Checked {
        for (whose, measure, period, bucket) in places(held) {
            let Some(limit) = self.limits.get(&(whose.clone(), measure, period)) else { continue };
            let wanted = if measure == <&str>::from(Measure::Money) { held.micro_usd } else { Some(held.tokens) };
            let used = self.used.get(&(whose, measure, period, bucket)).copied().unwrap_or(0);
            if used >= *limit || wanted.is_none_or(|wanted| used.saturating_add(wanted) > *limit) {
                let what = format!("{id} asks for {wanted:?} {measure} beyond {used} of {limit} a {period}");
                return broken(Rule::Budget, what);
            }
        }
        Ok(())
    }

    fn add(&mut self, held: Held, tokens: u64, micro_usd: u64) {
        for (whose, measure, period, bucket) in places(held) {
            let amount = if measure == <&str>::from(Measure::Money) { micro_usd } else { tokens };
            let used = self.used.entry((whose, measure, period, bucket)).or_default();
            *used = used.saturating_add(amount);
        }
    }

    fn settle(&mut self, id: ExecutionId, usage: Option<&Usage>, tokens: Option<u64>, micro_usd: Option<u64>) {
        let Some(held) = self.held.remove(&id) else { return };
        for (whose, measure, period, bucket) in places(held) {
            let amount =
                if measure == <&str>::from(Measure::Money) { held.micro_usd.unwrap_or(0) } else { held.tokens };
            let used = self.used.entry((whose, measure, period, bucket)).or_default();
            *used = used.saturating_sub(amount);
        }
        let tokens = usage.map(|usage| usage.input.saturating_add(usage.output)).or(tokens).unwrap_or(0);
        let micro_usd = micro_usd.or_else(|| usage.and(held.micro_usd)).unwrap_or(0);
        self.add(held, tokens, micro_usd);
    }
}

fn places(held: Held) -> Vec<Place> {
    let mut places = Vec::with_capacity(8);
    for whose in [Whose::Agent(held.agent), Whose::Project] {
        for measure in [Measure::Tokens, Measure::Money] {
            for period in [Period::Day, Period::Month] {
                places.push((whose.key(), measure.into(), period.into(), held.day.bucket(period)));
            }
        }
    }
    places
}
