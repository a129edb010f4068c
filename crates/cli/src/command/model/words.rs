//! `tenure model alias`, `add` and `remove`: the words for models that the daemon of this host knows. They change the file
//! beside its tenure.toml, and it takes them up by itself. Must never: leave a file behind that the daemon cannot use.
use std::path::{Path, PathBuf};

use serde::Serialize;
use tenure_daemon::model::catalogue::{self, Weights};
use tenure_daemon::model::pull;
use tenure_daemon::model::router::Router;
use tenure_wire::api::model::Model as Shown;

use crate::command::{confirm, each};
use crate::config::{Llm, LlmModel, Names, Settings, read_models, write_models};
use crate::failure::{Exit, Failure};
use crate::render::Output;
use crate::screen::one_line;

/// What a word means, and where that is kept.
#[derive(Serialize)]
struct AliasState {
    id: String,
    name: String,
    status: &'static str,
    candidates: Vec<String>,
    file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

pub async fn alias(word: &str, models: Vec<String>, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    keep(word, settings, output, |llm| {
        llm.models.remove(word);
        llm.aliases.insert(word.to_string(), Names::Several(models));
    })
    .await
}

pub async fn add(word: &str, model: LlmModel, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    keep(word, settings, output, |llm| {
        llm.aliases.remove(word);
        llm.models.insert(word.to_string(), model);
    })
    .await
}

async fn keep(word: &str, settings: &Settings, output: Output, change: impl FnOnce(&mut Llm)) -> Result<Exit, Failure> {
    by_hand(word, settings)?;
    let file = file(settings).await?;
    let mut llm = read_models(&file)?;
    change(&mut llm);
    check(&llm, settings)?;
    write_models(&file, &llm)?;
    let shown = taken_up(word, settings).await;
    let state = AliasState {
        id: word.to_string(),
        name: word.to_string(),
        status: match &shown {
            Some(model) if model.ready => "ready",
            Some(_) => "not_ready",
            None => "kept",
        },
        candidates: shown.as_ref().map(|model| model.candidates.clone()).unwrap_or_default(),
        file,
        note: shown.and_then(|model| model.note),
    };
    output.show(&state, || {
        let means = if state.candidates.is_empty() {
            "is kept".to_string()
        } else {
            format!("is {}", state.candidates.join(", then "))
        };
        let note = state.note.as_ref().map(|note| format!("not usable yet: {}\n", one_line(note))).unwrap_or_default();
        format!("\"{word}\" {means} (in {})\n{note}", state.file.display())
    })?;
    Ok(Exit::Done)
}

/// What stands in tenure.toml is changed by whoever wrote it.
fn by_hand(word: &str, settings: &Settings) -> Result<(), Failure> {
    if settings.llm.aliases.contains_key(word) || settings.llm.models.contains_key(word) {
        return Err(Failure::new(Exit::Conflict, format!("`{word}` stands in your tenure.toml, which goes before"))
            .next("change it there, under [llm]"));
    }
    Ok(())
}

/// The file of the daemon that runs; without one, the one that it will read.
pub(super) async fn file(settings: &Settings) -> Result<PathBuf, Failure> {
    let meant = settings.meant()?;
    if !meant.is_own {
        return Err(Failure::new(Exit::Usage, "words for models stand in the configuration of the daemon's own host")
            .why(format!("{} is meant, by {}", meant.endpoint, meant.said))
            .next("say it there, or with --context local here"));
    }
    let own = settings.llm_source.written().map(Path::to_path_buf);
    let told = meant.client().models().await.ok().and_then(|models| models.settings_file).map(PathBuf::from);
    told.or(own).ok_or_else(|| Failure::new(Exit::Failure, "the configuration has no place"))
}

pub(super) fn check(written: &Llm, settings: &Settings) -> Result<(), Failure> {
    let mut both = written.clone();
    both.aliases.extend(settings.llm.aliases.clone());
    both.models.extend(settings.llm.models.clone());
    both.prices.extend(settings.llm.prices.clone());
    let refuse = |why: String| Failure::new(Exit::Refused, "that cannot be meant; nothing was changed").why(why);
    let meaning = both.settings().map_err(refuse)?;
    Router::check(&meaning).map_err(|failure| refuse(failure.sentence))
}

/// As the daemon has it now, if one runs and knows the word.
async fn taken_up(word: &str, settings: &Settings) -> Option<Shown> {
    let models = settings.own_client().models().await.ok()?;
    models.items.into_iter().find(|model| model.aliases.iter().any(|alias| alias == word))
}

pub async fn remove(words: &[String], settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let one = async |word: &str| remove_one(word, settings).await;
    each(words, output, one, |gone: &Gone| format!("Removed \"{}\" ({})", gone.name, gone.what)).await
}

#[derive(Serialize)]
struct Gone {
    id: String,
    name: String,
    status: &'static str,
    what: String,
}

async fn remove_one(word: &str, settings: &Settings) -> Result<Gone, Failure> {
    by_hand(word, settings)?;
    let gone = |what: String| Gone { id: word.to_string(), name: word.to_string(), status: "removed", what };
    let weights = catalogue::find(word.strip_prefix("local/").unwrap_or(word));
    let file = file(settings).await?;
    let mut llm = read_models(&file)?;
    if llm.aliases.remove(word).is_some() || llm.models.remove(word).is_some() {
        check(&llm, settings)?;
        write_models(&file, &llm)?;
        return Ok(gone(format!("from {}", file.display())));
    }
    match weights {
        Some(weights) => remove_weights(weights, settings).map(gone),
        None => Err(unknown(word, &llm)),
    }
}

fn remove_weights(weights: &Weights, settings: &Settings) -> Result<String, Failure> {
    let path = pull::path(weights, &settings.models_dir);
    if !path.is_file() {
        return Err(Failure::new(Exit::NotFound, format!("the weights of {} are not on this host", weights.name))
            .why(format!("there is no {}", path.display()))
            .next("`tenure model list` shows what is there"));
    }
    confirm(&format!("Remove {} ({} MB) from the disk?", path.display(), weights.bytes / 1_000_000), settings)?;
    std::fs::remove_file(&path)
        .map_err(|error| Failure::new(Exit::Failure, format!("{} was not removed: {error}", path.display())))?;
    Ok(format!("{} MB at {}", weights.bytes / 1_000_000, path.display()))
}

fn unknown(word: &str, llm: &Llm) -> Failure {
    let weights = catalogue::WEIGHTS.iter().map(|weights| weights.name);
    let known: Vec<&str> = llm.aliases.keys().chain(llm.models.keys()).map(String::as_str).chain(weights).collect();
    let list = format!("there are {}", known.join(", "));
    let failure = Failure::new(Exit::NotFound, format!("`{word}` is no word that can be removed"));
    match tenure_core::manifest::nearest(word, known.iter().copied()) {
        Some(near) => failure.next(format!("did you mean `{near}`? {list}")),
        None => failure.next(list),
    }
}
