//! What may be typed of `tenure package`.
use std::path::PathBuf;

use clap::Subcommand;

use super::{Listing, named};

#[derive(Debug, Subcommand)]
pub enum Package {
    /// Pack a folder with its agent's manifest; the same files give the same bytes.
    Build {
        /// It has agent.yaml, agent.json, manifest.json or one *.manifest.json.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Sign it by this Ed25519 key: PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Where to write it; a file that is there is kept.
        #[arg(short = 'O', long = "out", value_name = "FILE")]
        to: PathBuf,
        /// Write over a file that is there.
        #[arg(long)]
        force: bool,
    },
    /// Give a package to the daemon, which checks it and keeps it.
    Push {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// List packages.
    #[command(visible_alias = "ls")]
    List {
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show one package.
    #[command(visible_alias = "get")]
    Show {
        /// Id, short id, name@version, or the name of one that has one version.
        #[arg(value_parser = named)]
        package: String,
    },
    /// Check form, checksums and signature: of a file here, or of a package that the daemon keeps.
    Verify {
        /// A file, or what names a kept package.
        #[arg(value_name = "FILE|PACKAGE", value_parser = named)]
        what: String,
    },
    /// Say whose packages are taken.
    #[command(subcommand)]
    Keys(PackageKeys),
}

#[derive(Debug, Subcommand)]
pub enum PackageKeys {
    /// Trust a publisher.
    Add {
        /// What to call the publisher.
        #[arg(value_parser = named)]
        name: String,
        /// The public key: 64 hexadecimal digits, or a file with it or with a key in PEM.
        #[arg(value_parser = named)]
        key: String,
    },
    /// List who is trusted.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        listing: Listing,
    },
    /// Trust a publisher no more: what it signed is not loaded again.
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or key.
        #[arg(value_parser = named)]
        publisher: String,
    },
}
