//! `tenure completions SHELL`.
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::failure::{Exit, Failure};
use crate::screen;

pub fn run(shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "tenure", &mut script);
    screen::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
