//! `tenure completions SHELL`: a script that has the shell ask this program, which knows its verbs and asks the daemon for names.
use clap_complete::Shell;
use serde_json::json;

use crate::complete;
use crate::failure::{Exit, Failure};
use crate::render::Output;

pub fn run(shell: Shell, output: Output) -> Result<Exit, Failure> {
    let script = complete::script(&shell.to_string()).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("there are no completions for {shell}")).next("use bash, zsh or fish")
    })?;
    let script = String::from_utf8_lossy(&script).into_owned();
    output.show(&json!({ "shell": shell.to_string(), "script": script }), || script.clone())?;
    Ok(Exit::Done)
}
