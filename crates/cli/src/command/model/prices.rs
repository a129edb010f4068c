//! `tenure model prices`: what people say that models cost, from which day on. It stands in the file beside tenure.toml that
//! the daemon of this host reads. Must never: change what a call was charged.
use std::path::PathBuf;

use serde::Serialize;
use tenure_core::time::Time;
use tenure_daemon::model::name::ModelName;
use tenure_daemon::model::price;

use super::words::{check, file};
use crate::args::{Listing, Prices};
use crate::config::{Llm, LlmPrice, Settings, Usd, read_models, write_models};
use crate::failure::{Exit, Failure};
use crate::render::Output;
use crate::render::table::{Cell, Column, Table};
use crate::screen::Ink;

/// One price as lists show it.
#[derive(Serialize)]
struct Shown {
    id: String,
    /// provider/model.
    name: String,
    /// `in_force`, `later`, `over`, or `known` for what the program knows itself.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    in_usd: String,
    out_usd: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_usd: Option<String>,
    /// It stands in tenure.toml, which goes before.
    by_hand: bool,
}

#[derive(Serialize)]
struct Changed {
    id: String,
    name: String,
    status: &'static str,
    prices: Vec<LlmPrice>,
    file: PathBuf,
}

pub async fn run(verb: Option<Prices>, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let listing = Listing { quiet: false, no_headers: false };
    match verb.unwrap_or(Prices::List { model: None, listing }) {
        Prices::List { model, listing } => list(model.as_deref(), &listing, settings, output).await,
        Prices::Set { model, input, output: out, cached, from } => {
            let from = from.unwrap_or_else(|| day(now()));
            let price = LlmPrice { model, from, input, output: out, cached };
            set(price, settings, output).await
        }
        Prices::Remove { model, from } => remove(&model, from, settings, output).await,
    }
}

fn now() -> Time {
    Time::from_millis(jiff::Timestamp::now().as_millisecond())
}

fn day(time: Time) -> String {
    tenure_core::budget::Day::of(time).to_string()
}

/// The name of what is asked: a word of `tenure model add` is the model that it stands for.
fn named(word: &str, llm: &Llm, settings: &Settings) -> Result<String, Failure> {
    let added = settings.llm.models.get(word).or_else(|| llm.models.get(word));
    if let Some(model) = added {
        return Ok(format!("{}/{}", model.provider, model.model));
    }
    let name: Result<ModelName, _> = word.parse();
    name.map(|name| name.to_string()).map_err(|error| {
        Failure::new(Exit::Refused, format!("`{word}` is no model that can have a price"))
            .why(error.to_string())
            .next("write provider/model as `tenure cost --by model` shows it, or a word of `tenure model add`")
    })
}

async fn set(price: LlmPrice, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let file = file(settings).await?;
    let mut llm = read_models(&file)?;
    let price = LlmPrice { model: named(&price.model, &llm, settings)?, ..price };
    let wrong = |why: String| {
        Failure::new(Exit::Refused, format!("{} cannot have that price; nothing was changed", price.model))
            .why(why)
            .next("as in: tenure model prices set openai/NAME --in 3 --out 15 --cached 0.3 --from 2026-02-23")
    };
    let begins = price.set().map_err(wrong)?.from;
    let price = LlmPrice { from: day(begins), ..price };
    llm.prices.retain(|known| (&known.model, &known.from) != (&price.model, &price.from));
    llm.prices.push(price.clone());
    llm.prices.sort_by(|one, other| (&one.model, &one.from).cmp(&(&other.model, &other.from)));
    check(&llm, settings)?;
    write_models(&file, &llm)?;
    let status = if begins > now() { "later" } else { "in_force" };
    let changed =
        Changed { id: price.model.clone(), name: price.model.clone(), status, prices: vec![price.clone()], file };
    output.show(&changed, || {
        let cached = price.cached.map(|cached| format!(", {cached} cached")).unwrap_or_default();
        format!(
            "{} costs {} USD in and {} out{cached} for a million tokens, from {} on (in {})\n",
            price.model,
            price.input,
            price.output,
            price.from,
            changed.file.display()
        )
    })?;
    Ok(Exit::Done)
}

async fn remove(word: &str, from: Option<String>, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let file = file(settings).await?;
    let mut llm = read_models(&file)?;
    let model = named(word, &llm, settings)?;
    let is_meant = |price: &LlmPrice| price.model == model && from.as_ref().is_none_or(|from| price.from == *from);
    let (gone, kept): (Vec<LlmPrice>, Vec<LlmPrice>) = llm.prices.into_iter().partition(is_meant);
    if gone.is_empty() {
        let when = from.map(|from| format!(" from {from} on")).unwrap_or_default();
        return Err(Failure::new(Exit::NotFound, format!("no price of {model}{when} was set by this command"))
            .next("`tenure model prices list` shows those that were, and which stand in tenure.toml"));
    }
    llm.prices = kept;
    check(&llm, settings)?;
    write_models(&file, &llm)?;
    let changed = Changed { id: model.clone(), name: model.clone(), status: "removed", prices: gone, file };
    output.show(&changed, || {
        let days: Vec<&str> = changed.prices.iter().map(|price| price.from.as_str()).collect();
        format!("Removed the price of {model} from {} on (in {})\n", days.join(", "), changed.file.display())
    })?;
    Ok(Exit::Done)
}

async fn list(word: Option<&str>, listing: &Listing, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let llm = read_models(&file(settings).await?)?;
    let model = word.map(|word| named(word, &llm, settings)).transpose()?;
    let mut shown = Vec::new();
    for (price, by_hand) in
        llm.prices.iter().map(|price| (price, false)).chain(settings.llm.prices.iter().map(|price| (price, true)))
    {
        if model.as_ref().is_none_or(|model| *model == price.model) {
            shown.push((price.clone(), by_hand));
        }
    }
    // By hand goes before, and so stands behind what it has the place of.
    shown.sort_by(|(one, _), (other, _)| (&one.model, &one.from).cmp(&(&other.model, &other.from)));
    let set: Vec<price::SetPrice> = shown.iter().filter_map(|(price, _)| price.set().ok()).collect();
    let mut rows = Vec::with_capacity(shown.len() + 1);
    for (place, (price, by_hand)) in shown.iter().enumerate() {
        rows.push(row(price, *by_hand, status(place, &shown, &set)));
    }
    if let Some(model) = model.as_ref().filter(|_| !rows.iter().any(|row| row.status == "in_force")) {
        let name: Option<ModelName> = model.parse().ok();
        rows.extend(name.and_then(|name| price::known(&name)).map(|known| built_in(model, known)));
    }
    show(&rows, listing, output)
}

/// Whether it holds now: the last of those of its model that have begun.
fn status(place: usize, shown: &[(LlmPrice, bool)], set: &[price::SetPrice]) -> &'static str {
    let Some(own) = set.get(place).filter(|_| set.len() == shown.len()) else { return "unreadable" };
    if own.from > now() {
        return "later";
    }
    let is_newer = |other: &price::SetPrice| other.model == own.model && other.from <= now();
    if set.iter().skip(place + 1).any(is_newer) { "over" } else { "in_force" }
}

fn row(price: &LlmPrice, by_hand: bool, status: &'static str) -> Shown {
    Shown {
        id: format!("{}@{}", price.model, price.from),
        name: price.model.clone(),
        status,
        from: Some(price.from.clone()),
        in_usd: price.input.to_string(),
        out_usd: price.output.to_string(),
        cached_usd: price.cached.map(|cached| cached.to_string()),
        by_hand,
    }
}

fn built_in(model: &str, (input, output, cached): (u64, u64, u64)) -> Shown {
    Shown {
        id: model.to_string(),
        name: model.to_string(),
        status: "known",
        from: None,
        in_usd: Usd(input).to_string(),
        out_usd: Usd(output).to_string(),
        cached_usd: Some(Usd(cached).to_string()),
        by_hand: false,
    }
}

fn show(rows: &[Shown], listing: &Listing, output: Output) -> Result<Exit, Failure> {
    output.list(
        listing,
        rows,
        "No model has a price here; `tenure model prices set MODEL --in USD --out USD` gives it one",
        |row| row.id.clone(),
        || {
            let columns = [
                Column::text("MODEL"),
                Column::worth("FROM", 1),
                Column::key("IN"),
                Column::key("OUT"),
                Column::worth("CACHED", 2),
                Column::key("STATUS"),
            ];
            let cells = rows.iter().map(|row| {
                let status = if row.by_hand { format!("{}, by hand", row.status) } else { row.status.to_string() };
                let ink = if matches!(row.status, "in_force" | "known") { Ink::Good } else { Ink::Dim };
                [
                    Cell::from(row.name.clone()),
                    Cell::from(row.from.clone().unwrap_or_else(|| "-".to_string())),
                    Cell::from(row.in_usd.clone()),
                    Cell::from(row.out_usd.clone()),
                    Cell::from(row.cached_usd.clone().unwrap_or_else(|| "-".to_string())),
                    Cell::inked(status.replace('_', " "), ink),
                ]
            });
            Table::new(columns, cells)
        },
    )?;
    Ok(Exit::Done)
}
