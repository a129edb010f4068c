//! `tenure man`: the manual, from the same words as the help. Must never need a daemon.
use std::path::Path;

use clap::CommandFactory;

use crate::args::Arguments;
use crate::failure::{Exit, Failure};
use crate::screen;

/// Prints the page of the program, or writes a page for each verb into `folder`.
pub fn run(folder: Option<&Path>) -> Result<Exit, Failure> {
    let command = Arguments::command();
    let failed = |error: std::io::Error| Failure::new(Exit::Failure, format!("the manual cannot be written: {error}"));
    match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(failed)?;
            clap_mangen::generate_to(command, folder).map_err(failed)?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).map_err(failed)?;
            screen::print(&String::from_utf8_lossy(&page))?;
        }
    }
    Ok(Exit::Done)
}
