//! `worker-for-tests DATA_DIR SLOTS`: a worker over stdin, as the shipped program is one; under the name `tenure-jail` its jail.
use std::path::{Path, PathBuf};
use tenure_worker::{Options, run, stdin_socket};

fn main() {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == tenure_sandbox::JAIL_NAME) {
        tenure_sandbox::jail_main();
    }
    let data_dir = PathBuf::from(arguments.next().expect("a data directory"));
    let slots = arguments.next().and_then(|slots| slots.to_str()?.parse().ok()).expect("slots");
    let exe = std::env::current_exe().expect("this program's own path");
    let options = Options { data_dir, exe, name: "tests".to_owned(), slots, mounts: Vec::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let socket = stdin_socket().expect("a socket on stdin");
    if let Err(error) = runtime.block_on(run(options, socket)) {
        eprintln!("worker: {error}");
        std::process::exit(1);
    }
}
