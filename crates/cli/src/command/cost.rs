//! `tenure cost`: what model calls cost, with a bar for each sum. Must never: show a cost that is not known as nothing.
use tenure_wire::api::cost::{Cost as Sum, CostBy, Costs};

use super::moment;
use crate::args::{Cost, Format, Listing};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Table};
use crate::render::{self, Output};
use crate::screen;

/// Places of the longest bar.
const BAR: u64 = 24;
/// In which the figures of `tenure cost` and `tenure budget` differ.
const LOST: &str = "they cost what was held for them; nobody counted their tokens, so that none are in this sum, while budgets take those that were held as used";

pub async fn run(wanted: Cost, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let since = wanted.since.as_deref().map(moment::past).transpose()?;
    let costs = settings.client()?.costs(wanted.by.into(), since, wanted.agent, wanted.limit).await?;
    if output.format != Format::Table && !wanted.listing.quiet {
        output.show(&costs, String::new)?;
        return Ok(Exit::Done);
    }
    output.list(
        &wanted.listing,
        &costs.items,
        "No model call; `tenure execute AGENT INPUT` starts what makes some",
        |sum| sum.id.clone(),
        || table(&costs),
    )?;
    tell(&costs, &wanted.listing, output)?;
    Ok(Exit::Done)
}

fn table(costs: &Costs) -> Table {
    // Where nothing costs money the bars are of tokens.
    let of_money = costs.items.iter().any(|sum| sum.cost_micro_usd > 0);
    let worth = |sum: &Sum| if of_money { sum.cost_micro_usd } else { sum.tokens_in.saturating_add(sum.tokens_out) };
    let most = costs.items.iter().map(worth).max().unwrap_or(0);
    let title = match costs.by {
        CostBy::Agent => "AGENT",
        CostBy::Model => "MODEL",
        CostBy::Day => "DAY",
        CostBy::Execution => "EXECUTION",
    };
    let columns = [
        Column::text(title),
        Column::worth(if costs.by == CostBy::Execution { "AGENT" } else { "CALLS" }, 2),
        Column::worth("TOKENS IN", 4),
        Column::worth("TOKENS OUT", 5),
        Column::key("COST"),
        Column::worth("", 1),
        Column::detail("LOST"),
        Column::detail("NO PRICE"),
    ];
    let rows = costs.items.iter().map(|sum| {
        let (name, second) = match costs.by {
            CostBy::Execution => (sum.id.clone(), sum.name.clone()),
            CostBy::Agent | CostBy::Model | CostBy::Day => (sum.name.clone(), number(sum.calls)),
        };
        [
            Cell::from(name),
            Cell::from(second),
            Cell::from(sum.tokens_in.to_string()),
            Cell::from(sum.tokens_out.to_string()),
            Cell::from(cost(sum)),
            Cell::from(bar(worth(sum), most)),
            Cell::from(number(sum.lost)),
            Cell::from(sum.unpriced.to_string()),
        ]
    });
    Table::new(columns, rows)
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_string(), |number| number.to_string())
}

fn cost(sum: &Sum) -> String {
    render::cost(sum.cost_micro_usd, u32::try_from(sum.unpriced).unwrap_or(u32::MAX))
}

/// What is worth anything at all has a place.
fn bar(worth: u64, most: u64) -> String {
    let places = (u128::from(worth) * u128::from(BAR)).div_ceil(u128::from(most.max(1)));
    "█".repeat(usize::try_from(places).unwrap_or(0))
}

fn tell(costs: &Costs, listing: &Listing, output: Output) -> Result<(), Failure> {
    if listing.quiet || listing.no_headers {
        return Ok(());
    }
    let total = &costs.total;
    let mut text = format!("\nsince {} (whole days of UTC): {}", costs.since, cost(total));
    if let Some(calls) = total.calls {
        text.push_str(&format!(" for {calls} model calls, {} tokens in, {} out", total.tokens_in, total.tokens_out));
    }
    text.push('\n');
    if let Some(lost) = total.lost.filter(|lost| *lost > 0) {
        text.push_str(&format!("{lost} of them were lost: {LOST}\n"));
    }
    if total.unpriced > 0 {
        text.push_str(&format!(
            "of {} the price is not known, so that the sum is too low: `tenure model prices set` gives them one\n",
            total.unpriced
        ));
    }
    screen::print(&output.wrapped(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::table::Layout;

    fn costs(items: Vec<Sum>) -> Costs {
        let since = "2026-02-23T00:00:00Z".parse().expect("a time");
        Costs { by: CostBy::Agent, since, items, total: Sum::default() }
    }

    fn sum(name: &str, cost_micro_usd: u64, unpriced: u64) -> Sum {
        let (id, name) = (name.to_string(), name.to_string());
        Sum { id, name, calls: Some(3), tokens_in: 9, tokens_out: 1, cost_micro_usd, unpriced, ..Sum::default() }
    }

    fn laid(costs: &Costs, width: u16) -> String {
        let pieces = table(costs).lay_out(Layout { width: Some(width), headers: true, details: false });
        pieces.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn the_dearest_has_the_longest_bar_and_what_has_no_price_is_said() {
        let costs = costs(vec![sum("dear", 4_000_000, 0), sum("cheap", 1, 1), sum("unknown", 0, 2), sum("free", 0, 0)]);
        let shown = laid(&costs, 120);
        let bars: Vec<usize> = shown.lines().skip(1).map(|line| line.matches('█').count()).collect();
        assert_eq!(bars, [24, 1, 0, 0], "{shown}");
        assert!(shown.contains("$4.0000") && shown.contains("$0.0000+") && shown.contains("unknown"), "{shown}");
    }

    #[test]
    fn a_narrow_terminal_keeps_names_and_costs_and_no_line_is_wider() {
        let costs = costs(vec![sum("dear", 4_000_000, 0), sum("cheap", 1, 1)]);
        for width in 16..=120 {
            let shown = laid(&costs, width);
            assert!(shown.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}:\n{shown}");
            assert!(shown.contains("dear") && shown.contains("$4.0000"), "{width}:\n{shown}");
        }
    }

    #[test]
    fn where_nothing_costs_money_the_bars_are_of_tokens() {
        let shown = laid(&costs(vec![Sum { tokens_in: 99, ..sum("a", 0, 0) }, sum("b", 0, 0)]), 120);
        let bars: Vec<usize> = shown.lines().skip(1).map(|line| line.matches('█').count()).collect();
        assert_eq!(bars, [24, 3], "{shown}");
    }
}
