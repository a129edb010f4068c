//! What the jail program needs to run in a root that is not the host's: its loader and the libraries that it has mapped.
//! Must never: take a library from the image, or one that this process does not itself run with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::order::{CONTAINED, LIBRARIES, PROGRAM};

/// Most files that such a set may have; the shipped program needs five.
const FILES_MAX: usize = 32;
/// The auxiliary vector's key of the address at which the loader lies.
const AT_BASE: usize = 7;

/// The host's files and the names that they get beneath `LIBRARIES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuntimeFiles {
    /// The loader's name; None for a program that needs none.
    loader: Option<String>,
    files: Vec<(PathBuf, String)>,
}

impl RuntimeFiles {
    /// The worker and its jails are one program, so what is mapped here is what is needed there.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let maps = fs::read_to_string("/proc/self/maps")?;
        let base = loader_base(&fs::read("/proc/self/auxv")?);
        Self::read(&maps, base, names_of)
    }

    fn read(maps: &str, base: usize, names: impl Fn(&Path) -> io::Result<Vec<String>>) -> io::Result<Self> {
        let mut found = Self { loader: None, files: Vec::new() };
        for line in maps.lines() {
            let Some((start, executable, path)) = mapping(line) else { continue };
            let name = file_name(path);
            if base != 0 && start == base {
                found.files.retain(|(known, _)| known != path);
                found.files.push((path.to_owned(), name.clone()));
                found.loader = Some(name);
            } else if executable && is_library(&name) && !found.files.iter().any(|(known, _)| known == path) {
                found.files.extend(names(path)?.into_iter().map(|name| (path.to_owned(), name)));
            }
        }
        if let Some((gone, _)) = found.files.iter().find(|(path, _)| path.to_string_lossy().ends_with(" (deleted)")) {
            let why = format!("{} was replaced since this program started; restart the worker", gone.display());
            return Err(io::Error::other(why));
        }
        if found.files.len() > FILES_MAX {
            return Err(io::Error::other("this program runs with more libraries than a jail needs"));
        }
        if found.loader.is_none() {
            found.files.clear();
        }
        Ok(found)
    }

    /// Host files and where each appears.
    pub(crate) fn mounts(&self) -> impl Iterator<Item = (&Path, String)> {
        self.files.iter().map(|(host, name)| (host.as_path(), format!("{LIBRARIES}/{name}")))
    }

    /// What the container starts. The image's loader, its cache and its libraries have no part in it.
    pub(crate) fn command(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(loader) = &self.loader {
            words.push(format!("{LIBRARIES}/{loader}"));
            words.extend(["--inhibit-cache", "--library-path", LIBRARIES].map(str::to_owned));
        }
        words.extend([PROGRAM, CONTAINED].map(str::to_owned));
        words
    }
}

/// Where a mapping starts, whether it holds code, and of what file it is.
fn mapping(line: &str) -> Option<(usize, bool, &Path)> {
    let (range, rest) = line.split_once(' ')?;
    let start = usize::from_str_radix(range.split_once('-')?.0, 16).ok()?;
    let path = &line[line.find('/')?..];
    Some((start, rest.as_bytes().get(2) == Some(&b'x'), Path::new(path)))
}

/// 0 if the program has no loader.
fn loader_base(auxv: &[u8]) -> usize {
    const WORD: usize = size_of::<usize>();
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, usize::from_ne_bytes);
    let mut pairs = auxv.chunks_exact(2 * WORD).map(|pair| (word(&pair[..WORD]), word(&pair[WORD..])));
    pairs.find(|(key, _)| *key == AT_BASE).map_or(0, |(_, value)| value)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_library(name: &str) -> bool {
    let name = name.trim_end_matches(" (deleted)");
    name.ends_with(".so") || name.contains(".so.")
}

/// The file's own name, and those of the links beside it: older systems map `libc-2.31.so` where programs ask for `libc.so.6`.
fn names_of(library: &Path) -> io::Result<Vec<String>> {
    let own = file_name(library);
    let mut names = vec![own.clone()];
    let Some(folder) = library.parent().filter(|_| library.exists()) else { return Ok(names) };
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let linked = is_library(&name) && fs::read_link(entry.path()).is_ok_and(|target| target == Path::new(&own));
        if linked {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
5500-5600 r-xp 00001000 08:01 1    /usr/bin/tenure
7f10-7f20 r--p 00000000 08:01 2    /usr/lib/libc-2.31.so
7f20-7f30 r-xp 00010000 08:01 2    /usr/lib/libc-2.31.so
7f40-7f50 r--p 00000000 08:01 3    /usr/lib/locale/C.utf8/LC_CTYPE
7f60-7f70 r--p 00000000 08:01 4    /usr/lib/ld-2.31.so
7f70-7f80 r-xp 00010000 08:01 4    /usr/lib/ld-2.31.so
7ffc-7ffd r-xp 00000000 00:00 0    [vdso]
";

    #[test]
    fn the_kit_is_the_loader_and_each_mapped_library_under_every_name_it_is_asked_for() {
        let names = |path: &Path| Ok(vec![file_name(path), "libc.so.6".to_owned()]);
        let found = RuntimeFiles::read(MAPS, 0x7f60, names).unwrap();
        let inside: Vec<String> = found.mounts().map(|(_, inside)| inside).collect();
        let lib = |name: &str| format!("{LIBRARIES}/{name}");
        assert_eq!(inside, [lib("libc-2.31.so"), lib("libc.so.6"), lib("ld-2.31.so")]);
        assert_eq!(found.command().first(), Some(&lib("ld-2.31.so")));
        assert_eq!(found.command().last().map(String::as_str), Some(CONTAINED));
        let alone = RuntimeFiles::read(MAPS, 0, names).unwrap();
        assert_eq!((alone.mounts().count(), alone.command()), (0, vec![PROGRAM.to_owned(), CONTAINED.to_owned()]));
        let replaced = MAPS.replace("libc-2.31.so", "libc-2.31.so (deleted)");
        assert!(
            RuntimeFiles::read(&replaced, 0x7f60, |path| Ok(vec![file_name(path)]))
                .unwrap_err()
                .to_string()
                .contains("restart")
        );
    }

    #[test]
    fn this_process_has_a_kit_that_is_there() {
        let found = RuntimeFiles::of_this_process().unwrap();
        assert!(found.mounts().all(|(host, _)| host.is_file()), "{found:?}");
    }
}
