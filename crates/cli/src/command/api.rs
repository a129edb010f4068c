//! `tenure api`: the API for people and for programs. Must never need a daemon: what is printed is of this release.
use serde_json::Value;
use tenure_daemon::http::{api_page, openapi};

use crate::args::{Api, Format};
use crate::failure::{Exit, Failure};
use crate::render::Output;
use crate::screen;

pub fn run(api: &Api, output: Output) -> Result<Exit, Failure> {
    if api.openapi || output.format != Format::Table {
        let description: Value = serde_json::from_str(&openapi()).expect("invariant: the description is JSON");
        let format = if output.format == Format::Yaml { Format::Yaml } else { Format::Json };
        Output { format, ..output }.show(&description, String::new)?;
        return Ok(Exit::Done);
    }
    let page = api_page();
    let Some(word) = &api.word else {
        screen::print(&page)?;
        return Ok(Exit::Done);
    };
    let found: Vec<&str> = sections(&page).filter(|section| names(section, word)).collect();
    if found.is_empty() {
        let failure = Failure::new(Exit::NotFound, format!("no path and no shape of the API has `{word}` in its name"));
        return Err(failure.next("`tenure api` prints all"));
    }
    screen::print(&found.join("\n"))?;
    Ok(Exit::Done)
}

/// Each operation and shape, with its title.
fn sections(page: &str) -> impl Iterator<Item = &str> {
    page.split("\n### ").skip(1).map(|section| section.split("\n## ").next().unwrap_or_default().trim_end())
}

fn names(section: &str, word: &str) -> bool {
    let title = section.lines().next().unwrap_or_default();
    title.to_ascii_lowercase().contains(&word.to_ascii_lowercase())
}
