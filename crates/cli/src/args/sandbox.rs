//! What may be typed of `tenure sandbox`.
use std::path::PathBuf;

use clap::Subcommand;

use super::named;
use tenure_core::manifest::HostMount;

#[derive(Debug, Subcommand)]
pub enum Sandbox {
    /// Open one jail and report what held it.
    Check {
        /// The same as -o json.
        #[arg(long)]
        json: bool,
    },
    /// Run a command or a shell in an agent's confinement, on an empty folder that is gone afterwards.
    Run {
        /// Whose confinement: name, id or short id.
        #[arg(long, value_name = "AGENT", value_parser = named)]
        profile: String,
        /// Seconds until it is ended [default: 120; at a terminal, a day]
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86400))]
        timeout: Option<u64>,
        /// As for `tenure up`: a folder of the host that the agent's manifest names and that is shown; may be given again.
        #[arg(
            long = "allow-mount",
            env = "TENURE_ALLOW_MOUNTS",
            value_name = "PATH[:rw]",
            value_delimiter = ',',
            value_parser = tenure_worker::host_mount
        )]
        allow_mounts: Vec<HostMount>,
        /// The program and its words; ends as it ends, with its exit code.
        #[arg(last = true, required = true, num_args = 1.., value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Remove what a trial left when it ends; started by `run` and by nobody else.
    #[command(hide = true)]
    Clean { folder: PathBuf },
    /// Tell in words what an agent's programs see, may call, reach and use.
    Explain {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
    },
}
