//! The program that runs under the name `tenure-jail`: the zygote, and in its forks the jails.
//! Must never: start a thread, return to the caller's main, or print what a confined program says.

mod zygote;
mod mounts;
mod pool_sizing;
mod jail_pool;
mod skeleton;
pub(crate) mod view;
mod filter;
mod lockdown;
mod child;
mod contained;
mod serve;
mod files;
mod place;
mod trash;
mod upload;
mod input;
mod ipc;
mod program;
mod orphans;

use std::path::Path;

use crate::container::order::CONTAINED;
use crate::sys;

/// The file name in argv[0] under which the shipped binary is this program.
pub const JAIL_NAME: &str = "tenure-jail";

/// The main of the zygote, and of a container. Call it first thing in `main`, before any thread, when argv[0]'s file name is
/// [`JAIL_NAME`]. The zygote's stdin must be the socket that `Zygote::start` made.
pub fn jail_main() -> ! {
    let mut arguments = std::env::args_os().skip(1);
    let run: fn() -> std::io::Result<()> = match (arguments.next(), arguments.next()) {
        (Some(role), None) if role == "zygote" => zygote::run,
        (Some(role), None) if role == CONTAINED => contained::run,
        (Some(_) | None, _) => {
            eprintln!("{JAIL_NAME}: this program is started by the tenure worker; run `tenure up` instead");
            sys::leave(64)
        }
    };
    if threads() != Some(1) {
        eprintln!("{JAIL_NAME}: must be entered before any thread is started, or forks would inherit locks");
        sys::leave(70);
    }
    match std::panic::catch_unwind(run) {
        Ok(Ok(())) => sys::leave(0),
        Ok(Err(error)) => {
            eprintln!("{JAIL_NAME}: {error}");
            sys::leave(70)
        }
        Err(_) => sys::leave(101),
    }
}

fn threads() -> Option<usize> {
    Path::new("/proc/self/task").read_dir().ok().map(Iterator::count)
}
