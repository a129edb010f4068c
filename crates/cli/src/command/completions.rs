//! `tenure completions SHELL`.
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::failure::Exit;
use crate::render::print;

pub fn run(shell: Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "tenure", &mut script);
    print(&String::from_utf8_lossy(&script));
    Exit::Done
}
