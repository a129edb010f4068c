//! `tenure man`: the manual, from the same words as the help. Must never need a daemon.
use std::path::Path;

use clap::CommandFactory;
use serde_json::json;

use crate::args::Arguments;
use crate::failure::{Exit, Failure};
use crate::render::Output;

/// Prints the page of the program, or writes a page for each verb into `folder`.
pub fn run(folder: Option<&Path>, output: Output) -> Result<Exit, Failure> {
    let command = Arguments::command();
    let failed = |error: std::io::Error| Failure::new(Exit::Failure, format!("the manual cannot be written: {error}"));
    match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(failed)?;
            clap_mangen::generate_to(command, folder).map_err(failed)?;
            output.show(&json!({ "folder": folder }), String::new)?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).map_err(failed)?;
            let page = String::from_utf8_lossy(&page).into_owned();
            output.show(&json!({ "page": page }), || page.clone())?;
        }
    }
    Ok(Exit::Done)
}
