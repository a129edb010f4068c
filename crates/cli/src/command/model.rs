//! `tenure model …`. Weights are pulled here and not by the daemon, so that it can be done before one runs.
mod prices;
mod words;

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tenure_core::manifest::nearest;
use tenure_daemon::model::catalogue::{self, Weights};
use tenure_daemon::model::pull::{self, Progress, PullOutcome, Source};
use tenure_wire::api::model::TestModel;

use crate::args::{Format, Listing, Model};
use crate::config::{LlmModel, Settings};
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Layout, Table};
use crate::render::{Output, duration, status_ink, tokens};
use crate::screen::{self, one_line};

pub async fn run(verb: Model, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    match verb {
        Model::Pull { name, from } => pull_weights(&name, from.as_deref(), settings, output).await,
        Model::Alias { word, models } => words::alias(&word, models, settings, output).await,
        Model::Add { word, model, url, key_env, key_file } => {
            let added = added(&model, url, key_env, key_file)?;
            words::add(&word, added, settings, output).await
        }
        Model::Remove { words } => words::remove(&words, settings, output).await,
        Model::Prices { verb } => prices::run(verb, settings, output).await,
        Model::List(listing) => list(&listing, settings, output).await,
        Model::Test { model } => test(model, settings, output).await,
    }
}

async fn list(listing: &Listing, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let models = settings.client()?.models().await?;
    output.list(
        listing,
        &models.items,
        "No model; `tenure model pull` gets one that runs here, `tenure model add` names a server",
        |model| model.name.clone(),
        || {
            let columns = [
                Column::key("MODEL"),
                Column::worth("PROVIDER", 2),
                Column::key("STATUS"),
                Column { wraps: true, ..Column::worth("ALIASES", 1) },
                Column::text("NOTE"),
            ];
            let rows = models.items.iter().map(|model| {
                let status = if model.ready { "ready" } else { "not ready" };
                let means = (!model.candidates.is_empty()).then(|| model.candidates.join(", then "));
                let note: Vec<String> = means.into_iter().chain(model.note.clone()).collect();
                [
                    Cell::from(model.name.clone()),
                    Cell::from(model.provider.clone()),
                    Cell::inked(status, status_ink(status)),
                    Cell::from(model.aliases.join(", ")),
                    Cell::from(note.join("; ")),
                ]
            });
            Table::new(columns, rows)
        },
    )?;
    if output.format == Format::Table && !listing.quiet && !listing.no_headers {
        let weights = models.items.iter().filter_map(|model| model.weights.as_ref().map(|weights| (model, weights)));
        let weights = weights.map(|(model, weights)| {
            [model.name.clone(), weights.licence.clone(), megabytes(weights.bytes), weights.sha256.clone()]
                .map(Cell::from)
        });
        let columns =
            [Column::key("WEIGHTS"), Column::worth("LICENCE", 1), Column::worth("SIZE", 2), Column::worth("SHA256", 3)];
        let layout = Layout { width: output.width(), headers: true, details: false };
        let laid = Table::new(columns, weights).lay_out(layout);
        let mut text = format!("\n{}", laid.into_iter().map(|(_, text)| text).collect::<String>());
        text.push_str(&format!("\ndefault is {}: {}\n", models.default.model, models.default.because));
        if let Some(why) = &models.settings_failure {
            text.push_str(&format!("the newest configuration of models is not used: {}\n", one_line(why)));
        }
        models.default.cassette.iter().for_each(|cassette| text.push_str(&format!("{cassette}\n")));
        screen::print(&text)?;
    }
    Ok(Exit::Done)
}

async fn test(model: String, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let tested = settings.client()?.test_model(&TestModel { model }).await?;
    output.show(&tested, || {
        let text = one_line(tested.text.trim());
        let took = duration(tested.took_ms);
        let count = |count| tokens(count, tested.tokens_estimated);
        let failed = tested.failed.iter().map(|failed| format!("{}\n", one_line(failed))).collect::<String>();
        format!(
            "{failed}{} answered \"{text}\" in {took} ({} tokens in, {} out)",
            tested.model,
            count(tested.tokens_in),
            count(tested.tokens_out)
        )
    })?;
    Ok(Exit::Done)
}

fn added(
    model: &str,
    base_url: Option<String>,
    key_env: Option<String>,
    key_file: Option<PathBuf>,
) -> Result<LlmModel, Failure> {
    let (provider, name) = model.split_once('/').ok_or_else(|| {
        Failure::new(Exit::Usage, format!("`{model}` names no provider"))
            .next("write anthropic/MODEL, openai/MODEL (or whatever speaks as OpenAI does) or ollama/MODEL")
    })?;
    let key_file = key_file.map(|file| std::path::absolute(&file).unwrap_or(file));
    Ok(LlmModel { provider: provider.to_string(), model: name.to_string(), base_url, key_env, key_file })
}

async fn pull_weights(name: &str, from: Option<&Path>, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let word = name.strip_prefix("local/").unwrap_or(name);
    let weights = catalogue::find(word).ok_or_else(|| unknown(name))?;
    let source = from.map_or(Source::Hub, Source::File);
    let bar = bar(weights, output);
    let mut show = |progress: Progress| match progress {
        Progress::Fetching { done, total } => step(&bar, "fetching", done, total),
        Progress::Checking { done, total } => step(&bar, "checking", done, total),
    };
    let pulled = pull::pull(weights, &settings.models_dir, source, &mut show).await;
    bar.finish_and_clear();
    let pulled = pulled.map_err(|error| {
        Failure::new(Exit::Failure, format!("{name} was not pulled")).why(error.to_string()).next(error.hint())
    })?;
    let (path, fetched): (PathBuf, bool) = match pulled {
        PullOutcome::Fetched(path) => (path, true),
        PullOutcome::AlreadyThere(path) => (path, false),
    };
    let value = json!({
        "id": weights.name, "name": weights.name, "status": if fetched { "fetched" } else { "present" },
        "path": path, "fetched": fetched, "bytes": weights.bytes, "sha256": weights.sha256,
        "licence": weights.licence,
    });
    output.show(&value, || {
        let how = if fetched { "Pulled" } else { "Already there:" };
        format!("{how} {} ({}, {}) at {}", weights.name, megabytes(weights.bytes), weights.licence, path.display())
    })?;
    Ok(Exit::Done)
}

fn unknown(name: &str) -> Failure {
    let names: Vec<&str> =
        catalogue::WEIGHTS.iter().flat_map(|weights| [Some(weights.name), weights.alias]).flatten().collect();
    let list = format!("the catalogue has {}", names.join(", "));
    let failure = Failure::new(Exit::NotFound, format!("`{name}` is not in the catalogue of weights"));
    match nearest(name, names.iter().copied()) {
        Some(near) => failure.next(format!("did you mean `{near}`? {list}")),
        None => failure.next(list),
    }
}

fn bar(weights: &Weights, output: Output) -> ProgressBar {
    let bar = ProgressBar::new(weights.bytes);
    if output.format != Format::Table {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bar.set_style(style.expect("invariant: the template is valid").progress_chars("=> "));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn step(bar: &ProgressBar, word: &'static str, done: u64, total: u64) {
    bar.set_message(word);
    bar.set_length(total);
    bar.set_position(done);
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}
