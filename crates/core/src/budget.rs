//! What an agent, and all agents of a project together, may use up in a calendar day and month of UTC: tokens and money.
//! A model call holds what it may take before it is made, and gives back what it did not; so executions that run at a time
//! pass no limit together but by what an answer takes beyond its estimate. What was held for a call that was lost or withdrawn is used up. Nothing here may read a clock.
use crate::agent::{self, Agent};
use crate::draft::{Draft, Stop};
use crate::facts::{Counter, Unread};
use crate::id::AgentId;
use crate::project::{self, Project};
use crate::row::Row;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Of a hundred, from where on it is told that a budget, of whatever kind, is nearly used up.
pub const NEAR_PERCENT: u64 = 80;
/// What a limit may be: beyond, sums could not be recorded.
pub const LIMIT_MAX: u64 = 1 << 52;
/// What a project's sums are kept under; a ledger has one.
const PROJECT: &str = "project";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Measure {
    Tokens,
    /// In millionths of a US dollar.
    Money,
}

#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Period {
    Day,
    Month,
}

/// A day of UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(u32);

impl Day {
    pub fn of(time: Time) -> Day {
        Day(u32::try_from(time.millis().max(0) / DAY_MS).unwrap_or(u32::MAX))
    }

    pub const fn number(self) -> u32 {
        self.0
    }

    pub const fn from_number(number: u32) -> Day {
        Day(number)
    }

    pub fn begins(self) -> Time {
        Time::from_millis(i64::from(self.0) * DAY_MS)
    }

    fn date(self) -> jiff::civil::Date {
        let stamp = jiff::Timestamp::from_millisecond(self.begins().millis());
        stamp.map_or(jiff::civil::Date::MAX, |stamp| jiff::tz::Offset::UTC.to_datetime(stamp).date())
    }

    /// Where a counter counts this day, or its month; 0 is for all time.
    pub fn bucket(self, period: Period) -> u64 {
        match period {
            Period::Day => u64::from(self.0) + 1,
            Period::Month => {
                let date = self.date();
                u64::from(date.year().unsigned_abs()) * 12 + u64::from(date.month().unsigned_abs())
            }
        }
    }

    /// When the next day, or month, begins.
    pub fn over(self, period: Period) -> Time {
        let next = match period {
            Period::Day => return Day(self.0.saturating_add(1)).begins(),
            Period::Month => self.date().last_of_month().tomorrow(),
        };
        let stamp = next.ok().and_then(|date| jiff::tz::Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok());
        stamp.map_or(Time::from_millis(i64::MAX), |stamp| Time::from_millis(stamp.as_millisecond()))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.date())
    }
}

/// One limit as a person sets it; none takes it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub measure: Measure,
    pub period: Period,
    pub limit: Option<u64>,
}

/// One limit that holds; `told`: the day or month in which it was told that most of it is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    pub measure: Measure,
    pub period: Period,
    pub limit: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<u64>,
}

/// Most of a limit is used up in this day or month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Near {
    pub measure: Measure,
    pub period: Period,
    /// The day or month, as counters have it.
    pub bucket: u64,
    pub used: u64,
    pub limit: u64,
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (used, limit) = (Amount(self.measure, self.used), Amount(self.measure, self.limit));
        write!(f, "{used} of {limit} for this {} are used up", self.period)
    }
}

/// Whose a budget or a retention is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Agent(AgentId),
    Project,
}

impl Whose {
    pub fn key(self) -> String {
        match self {
            Whose::Agent(id) => id.to_string(),
            Whose::Project => PROJECT.to_string(),
        }
    }

    /// Of the key that [`limit_row`] writes.
    pub fn of_key(key: &str) -> Option<(Whose, Measure, Period)> {
        let mut parts = key.split('/');
        let whose = match parts.next()? {
            PROJECT => Whose::Project,
            agent => Whose::Agent(agent.parse().ok()?),
        };
        Some((whose, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

/// Why no model may be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shut {
    pub whose: Whose,
    pub measure: Measure,
    pub period: Period,
    /// Used up or held for calls that are open.
    pub used: u64,
    pub limit: u64,
    /// What the next call might take; none where its price is not known.
    pub wanted: Option<u64>,
    pub opens: Time,
}

impl fmt::Display for Shut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.whose {
            Whose::Agent(_) => "the agent's",
            Whose::Project => "the project's",
        };
        let (used, limit) = (Amount(self.measure, self.used), Amount(self.measure, self.limit));
        write!(f, "of {whose} {} for this {}, {used} of {limit} are used up or held", self.measure, self.period)?;
        match self.wanted {
            None => f.write_str(", and the price of the next call is not known")?,
            Some(0) => {}
            Some(wanted) => write!(f, ", and the next call may take {}", Amount(self.measure, wanted))?,
        }
        if self.wanted.is_some_and(|wanted| wanted > self.limit) {
            return f.write_str("; no such call fits it: raise it with `tenure budget set`");
        }
        write!(f, "; it opens again at {}", self.opens)
    }
}

/// An amount with its unit, as people read it.
#[derive(Debug, Clone, Copy)]
pub struct Amount(pub Measure, pub u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Measure::Tokens => write!(f, "{} tokens", self.1),
            Measure::Money => write!(f, "{}.{:06} USD", self.1 / 1_000_000, self.1 % 1_000_000),
        }
    }
}

pub(crate) fn dollars(micro_usd: u64) -> Amount {
    Amount(Measure::Money, micro_usd)
}

pub fn counter(measure: Measure, period: Period) -> Counter {
    match (measure, period) {
        (Measure::Tokens, Period::Day) => Counter::DayTokens,
        (Measure::Tokens, Period::Month) => Counter::MonthTokens,
        (Measure::Money, Period::Day) => Counter::DayMoney,
        (Measure::Money, Period::Month) => Counter::MonthMoney,
    }
}

/// A change of what is used up, by an agent and so by its project, on the day of the model call.
pub(crate) fn used_rows(agent: AgentId, day: Day, tokens: i64, micro_usd: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (measure, by) in [(Measure::Tokens, tokens), (Measure::Money, micro_usd)] {
        if by == 0 {
            continue;
        }
        for period in [Period::Day, Period::Month] {
            let (counter, bucket) = (counter(measure, period), day.bucket(period));
            for whose in [Whose::Agent(agent), Whose::Project] {
                rows.push(Row::Counted { counter, key: whose.key(), bucket, by });
            }
        }
    }
    rows
}

/// Applies what a person sets.
pub(crate) fn set(allowances: &mut Vec<Allowance>, lines: &[Line]) {
    for Line { measure, period, limit } in lines {
        allowances.retain(|known| (known.measure, known.period) != (*measure, *period));
        allowances.extend(limit.map(|limit| Allowance { measure: *measure, period: *period, limit, told: None }));
    }
}

pub(crate) fn told(allowances: &mut [Allowance], near: &Near) {
    let found = allowances.iter_mut().find(|known| (known.measure, known.period) == (near.measure, near.period));
    if let Some(known) = found {
        known.told = Some(near.bucket);
    }
}

/// The rows by which lists find what is limited.
pub(crate) fn limit_rows(whose: Whose, before: &[Allowance], lines: &[Line]) -> Vec<Row> {
    let mut after = before.to_vec();
    set(&mut after, lines);
    let row = |allowance: &Allowance, sign: i64| Row::Counted {
        counter: Counter::BudgetLimit,
        key: format!("{}/{}/{}", whose.key(), allowance.measure, allowance.period),
        bucket: 0,
        by: sign * i64::try_from(allowance.limit).unwrap_or(i64::MAX),
    };
    before.iter().map(|gone| row(gone, -1)).chain(after.iter().map(|come| row(come, 1))).collect()
}

/// All lines without a limit: what a budget is removed by.
pub fn no_lines() -> Vec<Line> {
    let line = |(measure, period)| Line { measure, period, limit: None };
    let tokens = [(Measure::Tokens, Period::Day), (Measure::Tokens, Period::Month)];
    tokens.into_iter().chain([(Measure::Money, Period::Day), (Measure::Money, Period::Month)]).map(line).collect()
}

/// Whether lines may be set: each once, and each limit one that can be kept to.
pub(crate) fn fits(lines: &[Line]) -> bool {
    let once = |line: &Line| {
        let same = |other: &&Line| (other.measure, other.period) == (line.measure, line.period);
        lines.iter().filter(same).count() == 1
    };
    let in_range = |line: &Line| line.limit.is_none_or(|limit| (1..=LIMIT_MAX).contains(&limit));
    !lines.is_empty() && lines.iter().all(|line| once(line) && in_range(line))
}

/// What a model call may take at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub tokens: u64,
    /// None where its price is not known.
    pub micro_usd: Option<u64>,
}

impl Wanted {
    const NOTHING: Wanted = Wanted { tokens: 0, micro_usd: Some(0) };

    fn of(self, measure: Measure) -> Option<u64> {
        match measure {
            Measure::Tokens => Some(self.tokens),
            Measure::Money => self.micro_usd,
        }
    }
}

fn allowances(draft: &mut Draft<'_>, agent: AgentId) -> Result<Vec<(Whose, Allowance)>, Unread> {
    let own = draft.get::<Agent>(agent)?.map(|agent| agent.budget.clone()).unwrap_or_default();
    let shared = match draft.project {
        Some(project) => draft.get::<Project>(project)?.map(|project| project.budget.clone()).unwrap_or_default(),
        None => Vec::new(),
    };
    let own = own.into_iter().map(|allowance| (Whose::Agent(agent), allowance));
    Ok(own.chain(shared.into_iter().map(|allowance| (Whose::Project, allowance))).collect())
}

fn used(draft: &mut Draft<'_>, whose: Whose, allowance: Allowance, day: Day) -> Result<u64, Unread> {
    let Allowance { measure, period, .. } = allowance;
    let used = draft.count_in(counter(measure, period), &whose.key(), day.bucket(period))?;
    Ok(u64::try_from(used).unwrap_or(0))
}

/// What keeps an agent from a call that may take so much, if anything does: of several, what opens last.
pub(crate) fn shut_for(draft: &mut Draft<'_>, agent: AgentId, wanted: Wanted) -> Result<Option<Shut>, Unread> {
    let day = Day::of(draft.wall);
    let mut shut: Option<Shut> = None;
    for (whose, allowance) in allowances(draft, agent)? {
        let (used, limit) = (used(draft, whose, allowance, day)?, allowance.limit);
        let wanted = wanted.of(allowance.measure);
        if used < limit && wanted.is_some_and(|wanted| used.saturating_add(wanted) <= limit) {
            continue;
        }
        let Allowance { measure, period, .. } = allowance;
        let found = Shut { whose, measure, period, used, limit, wanted, opens: day.over(period) };
        shut = Some(shut.filter(|known| known.opens >= found.opens).unwrap_or(found));
    }
    Ok(shut)
}

/// What keeps an agent from beginning anything, if anything does.
pub(crate) fn shut(draft: &mut Draft<'_>, agent: AgentId) -> Result<Option<Shut>, Unread> {
    shut_for(draft, agent, Wanted::NOTHING)
}

/// Tells, once in its day or month, what is nearly used up.
pub(crate) fn tell(draft: &mut Draft<'_>, agent: AgentId) -> Result<(), Stop> {
    let day = Day::of(draft.wall);
    for (whose, allowance) in allowances(draft, agent)? {
        let (used, bucket) = (used(draft, whose, allowance, day)?, day.bucket(allowance.period));
        let Allowance { measure, period, limit, told } = allowance;
        let is_near = u128::from(used) * 100 >= u128::from(limit) * u128::from(NEAR_PERCENT);
        if !is_near || told == Some(bucket) {
            continue;
        }
        let near = Near { measure, period, bucket, used, limit };
        match (whose, draft.project) {
            (Whose::Agent(id), _) => draft.emit::<Agent>(id, agent::Event::BudgetNear(near))?,
            (Whose::Project, Some(id)) => draft.emit::<Project>(id, project::Event::BudgetNear(near))?,
            (Whose::Project, None) => {}
        }
    }
    Ok(())
}
