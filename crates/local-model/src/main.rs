//! `tenure-local-model`: runs a model from a GGUF file for the daemon, which supervises it over the Unix socket that is
//! its stdin (`tenure_wire::local`). It ends when that socket ends.
//!
//! It must never: open a network connection, read a secret, or act on what the model says.
#![forbid(unsafe_code)]

mod engine;
mod grammar;
mod load;
mod probe;
mod prompt;
mod circle;
mod draft;
mod repair;
mod reply;
mod sample;
mod serve;
mod slots;
mod warm;

use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::{LogOptions, send_logs_to_tracing};
use tenure_wire::local::{Event, Hello, LoadFailure, PROTOCOL};

use crate::engine::Engine;
use crate::load::Unloadable;
use crate::serve::Desk;
use crate::warm::Warm;

/// Runs a local model for the Tenure daemon, which speaks to it through a Unix socket handed over as stdin.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// The GGUF file
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Tokens that all kept conversations share; also the most that one prompt and its answer may have
    #[arg(long, value_name = "TOKENS", default_value_t = NonZeroU32::new(8192).expect("invariant: not zero"))]
    context: NonZeroU32,
    /// Threads; more than one gains only on a machine with nothing else to do
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=256))]
    threads: i32,
    /// Keeps the state of system texts here, so that the first turn after a start is quick too
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Answers the requests of this file (`tenure_wire::local::Generate`, one a line, `-`: stdin), prints and ends
    #[arg(long, value_name = "FILE", hide = true)]
    probe: Option<PathBuf>,
    /// Says more on stderr
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let level = if args.verbose { tracing::Level::INFO } else { tracing::Level::ERROR };
    tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(level).with_ansi(false).init();
    send_logs_to_tracing(LogOptions::default());
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("tenure-local-model: {message}");
            ExitCode::from(3)
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    let desk = match args.probe {
        Some(_) => None,
        None => {
            Some(serve::stdin().and_then(|socket| Desk::open(socket, || std::process::exit(0))).map_err(|e| {
                format!("stdin is not the daemon's socket ({e}); the daemon starts this program itself")
            })?)
        }
    };
    let refuse = |unloadable: Unloadable| {
        if let Some(desk) = &desk {
            let event = Event::Unloadable { kind: unloadable.kind, message: unloadable.message.clone() };
            // The daemon may be gone already; stderr and the exit code say the same.
            let _ = desk.out.send(&event);
        }
        unloadable.message
    };
    let began = Instant::now();
    let backend = LlamaBackend::init().map_err(|e| format!("the engine does not start: {e}"))?;
    let model = load::model(&backend, &args.model).map_err(refuse)?;
    let template = model.chat_template(None).map_err(|e| {
        let message = format!("model file {}: no chat template inside ({e})", args.model.display());
        refuse(Unloadable { kind: LoadFailure::File, message })
    })?;
    let context = load::context(&backend, &model, args.context, args.threads).map_err(refuse)?;
    let mut engine = Engine::new(&model, template, context, warm(args));
    let load_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let hello = Event::Hello(Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").into(),
        model: name(&model, &args.model),
        context_tokens: engine.context_tokens(),
        threads: u32::try_from(args.threads).expect("invariant: at least 1"),
        load_ms,
    });
    match (&desk, &args.probe) {
        (Some(desk), _) => desk.out.send(&hello).and_then(|()| desk.serve(&mut engine)),
        (None, Some(file)) => probe::run(file, &hello, &mut engine),
        (None, None) => unreachable!("one of the two is always there"),
    }
    .map_err(|e| e.to_string())
}

fn warm(args: &Args) -> Option<Warm> {
    let folder = args.state.as_ref()?;
    match Warm::new(folder, &args.model) {
        Ok(warm) => Some(warm),
        Err(error) => {
            eprintln!("tenure-local-model: no state is kept in {}: {error}", folder.display());
            None
        }
    }
}

fn name(model: &LlamaModel, file: &Path) -> String {
    model
        .meta_val_str("general.name")
        .unwrap_or_else(|_| file.file_stem().unwrap_or_default().to_string_lossy().into_owned())
}
