//! `tenure budget …`: what agents may use up in a day and a month. Every change is recorded as the supervisor's.
use tenure_core::budget::{Amount, Measure, Period, no_lines};
use tenure_wire::api::budget::{Budget as Shown, BudgetLine, BudgetStatus, SetBudget};
use tenure_wire::client::Client;

use crate::args::{Budget, Format, Limits, Listing, Whose};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::Output;
use crate::render::table::{Cell, Column, Table};
use crate::screen::{self, Ink};

pub async fn run(verb: Budget, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = &settings.client()?;
    match verb {
        Budget::List { agent, limit, listing } => {
            let budgets = client.budgets(agent, limit as usize).await?;
            list(&listing, &budgets, output)
        }
        Budget::Set { whose, limits } => set(client, whose, lines(&limits), output).await,
        Budget::Remove { whose } => {
            let lines = no_lines().into_iter();
            let lines = lines.map(|line| BudgetLine { measure: line.measure, period: line.period, limit: None });
            set(client, whose, lines.collect(), output).await
        }
    }
}

fn lines(limits: &Limits) -> Vec<BudgetLine> {
    let typed = [
        (Measure::Money, Period::Day, limits.day),
        (Measure::Money, Period::Month, limits.month),
        (Measure::Tokens, Period::Day, limits.tokens_day),
        (Measure::Tokens, Period::Month, limits.tokens_month),
    ];
    let line = |(measure, period, limit)| {
        Option::map(limit, |limit: crate::args::Limit| BudgetLine { measure, period, limit: limit.0 })
    };
    typed.into_iter().filter_map(line).collect()
}

async fn set(client: &Client, whose: Whose, lines: Vec<BudgetLine>, output: Output) -> Result<Exit, Failure> {
    let now = client.set_budget(whose.agent.as_deref(), &SetBudget { lines }).await?;
    let listing = Listing { quiet: false, no_headers: false };
    if now.items.is_empty() && output.format == Format::Table {
        let whose = whose.agent.unwrap_or_else(|| "the project".to_string());
        output.show(&now.items, || format!("Nothing limits {whose} any more"))?;
        return Ok(Exit::Done);
    }
    list(&listing, &now.items, output)
}

fn list(listing: &Listing, budgets: &[Shown], output: Output) -> Result<Exit, Failure> {
    let whose = |budget: &Shown| budget.agent.clone().unwrap_or_else(|| "the project".to_string());
    output.list(
        listing,
        budgets,
        "No limit; `tenure budget set AGENT --day 5USD` sets one, --project one for all",
        whose,
        || {
            let columns = [
                Column::text("WHOSE"),
                Column::key("LIMIT"),
                Column::key("EACH"),
                Column::worth("USED", 1),
                Column::key("STATUS"),
                Column::worth("OPENS AGAIN", 2),
            ];
            let rows = budgets.iter().map(|budget| {
                let percent = u128::from(budget.used) * 100 / u128::from(budget.limit.max(1));
                [
                    Cell::from(whose(budget)),
                    Cell::from(amount(budget.measure, budget.limit)),
                    Cell::from(budget.period.to_string()),
                    Cell::from(format!("{} ({percent}%)", amount(budget.measure, budget.used))),
                    Cell::inked(budget.status.as_str(), ink(budget.status)),
                    Cell::from(budget.opens_at.to_string()),
                ]
            });
            Table::new(columns, rows)
        },
    )?;
    if output.format == Format::Table && !listing.quiet {
        budgets.iter().filter_map(warning).for_each(|(what, next)| {
            let (what, next) = (output.wrapped(&format!("warning: {what}")), output.wrapped(&format!("next: {next}")));
            screen::tell(&[(Ink::Wait, &what), (Ink::Next, &next)]);
        });
    }
    Ok(Exit::Done)
}

/// What to know, and to do, of a limit under which nothing can ever run.
fn warning(budget: &Shown) -> Option<(String, String)> {
    let holds = budget.call_holds.filter(|_| budget.status == BudgetStatus::TooSmall)?;
    let (limit, holds) = (amount(budget.measure, budget.limit), amount(budget.measure, holds));
    let (name, period) = (budget.agent.as_deref()?, budget.period);
    let flag = match (budget.measure, period) {
        (Measure::Money, Period::Day) => "--day",
        (Measure::Money, Period::Month) => "--month",
        (Measure::Tokens, Period::Day) => "--tokens-day",
        (Measure::Tokens, Period::Month) => "--tokens-month",
    };
    let what =
        format!("nothing of {name} can run: {limit} a {period} is less than the {holds} that each model call holds");
    Some((what, format!("`tenure budget set {name} {flag} AMOUNT` with several times as much, or `none`")))
}

fn ink(status: BudgetStatus) -> Ink {
    match status {
        BudgetStatus::Open => Ink::Good,
        BudgetStatus::Near => Ink::Wait,
        BudgetStatus::Spent | BudgetStatus::TooSmall => Ink::Bad,
    }
}

/// Dollars to the cent where that is exact.
fn amount(measure: Measure, amount: u64) -> String {
    match measure {
        Measure::Money if amount.is_multiple_of(10_000) => {
            format!("{}.{:02} USD", amount / 1_000_000, amount % 1_000_000 / 10_000)
        }
        Measure::Money | Measure::Tokens => Amount(measure, amount).to_string(),
    }
}
