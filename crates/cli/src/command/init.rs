//! `tenure init`: a first manifest, from three questions or from flags. Needs no daemon, and must never write over a file.
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::Path;

use serde::Serialize;
use tenure_core::manifest::Manifest;
use tenure_wire::client;
use tenure_wire::problem::{Code, Fault};

use crate::args::{Init, Reach};
use crate::failure::{Exit, Failure};
use crate::render::Output;
use crate::screen::{self, Ink};

const NAME_DEFAULT: &str = "first-agent";

#[derive(Serialize)]
struct Written {
    file: String,
    name: String,
}

pub fn run(init: Init, output: Output) -> Result<Exit, Failure> {
    let asked = init.name.is_none() || init.purpose.is_none() || init.may.is_none();
    if asked && !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(Failure::new(Exit::Usage, "there is no terminal to ask on")
            .next("tenure init NAME --purpose 'What it does' --may read|write|run"));
    }
    let name = match init.name {
        Some(name) => name,
        None => ask("What is the agent called?", NAME_DEFAULT)?,
    };
    let purpose = match init.purpose {
        Some(purpose) => purpose,
        None => ask("What does it do? It is told this at each start.", "Do what the input asks.")?,
    };
    let may = match init.may {
        Some(may) => may,
        None => {
            reach(&ask("What may it do with its work folder: read, write, or write and run programs (run)?", "run")?)?
        }
    };
    let text = manifest(&name, &purpose, may);
    Manifest::parse_bytes(text.as_bytes()).map_err(|problems| {
        let faults: Vec<Fault> = problems.into_iter().map(Into::into).collect();
        let problem = Code::ManifestInvalid.problem("with these words it would be no manifest");
        Failure::from(client::Error::Problem(Box::new(problem.errors(faults))))
    })?;
    write(&init.file, &text)?;
    let written = Written { file: init.file.display().to_string(), name };
    output.show(&written, || {
        let Written { file, name } = &written;
        format!(
            "wrote {file}\nnext: tenure agent deploy {file}\n      tenure execute {name} \"What it shall do\" --watch"
        )
    })?;
    Ok(Exit::Done)
}

fn ask(question: &str, default: &str) -> Result<String, Failure> {
    screen::tell(&[(Ink::Plain, &format!("{question} [{default}] "))]);
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    let read = read.map_err(|error| Failure::new(Exit::Failure, format!("the answer cannot be read: {error}")))?;
    if read == 0 {
        return Err(Failure::new(Exit::Failure, "nothing was written: the question was not answered"));
    }
    let answer = answer.trim();
    Ok(if answer.is_empty() { default } else { answer }.to_string())
}

fn reach(word: &str) -> Result<Reach, Failure> {
    <Reach as clap::ValueEnum>::from_str(word, true)
        .map_err(|_| Failure::new(Exit::Usage, format!("`{word}` is none of read, write and run; nothing was written")))
}

fn manifest(name: &str, purpose: &str, may: Reach) -> String {
    // A JSON string is a YAML string too, whatever stands in it.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let tools: &[&str] = match may {
        Reach::Read => &["filesystem.read", "filesystem.list"],
        Reach::Write => &["filesystem.read", "filesystem.list", "filesystem.write", "filesystem.edit"],
        Reach::Run => &["filesystem.read", "filesystem.list", "filesystem.write", "filesystem.edit", "process.run"],
    };
    let tools: String = tools.iter().map(|tool| format!("    - {tool}\n")).collect();
    format!(
        "# `tenure manifest schema` has every field; `tenure sandbox explain {name}` says what it comes to.\n\
         apiVersion: tenure.dev/v1\n\
         kind: Agent\n\
         metadata:\n  name: {name}\n  version: 1.0.0\n\
         spec:\n  \
           runtime:\n    model: default\n  \
           task:\n    instruction: {purpose}\n  \
           execution:\n    mode: iterative\n    max_iterations: 5\n  \
           tools:\n{tools}  \
           security:\n    network:\n      mode: none\n    resources:\n      memory: 256Mi\n      timeout: 600s\n",
        name = quoted(name),
        purpose = quoted(purpose),
    )
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Conflict, format!("{} is there already", path.display()))
                .next("choose another with --file")
        }
        _ => Failure::new(Exit::Failure, format!("{} cannot be written: {error}", path.display())),
    })
}
