//! The tar of a package: ustar heads of plain files with everything in them fixed but path, size and whether it may be run.
//! Must never read what it would not write.
use super::{FILES_MAX, File, PATH_BYTES_MAX, UNPACKED_BYTES_MAX, Wrong};
use crate::ustar::{BLOCK, Entry, NAME_BYTES, PREFIX_BYTES};

/// The index of the most files.
const INDEX_BYTES_MAX: usize = FILES_MAX * (2 * PATH_BYTES_MAX + 160);

/// What a whole tar may have.
pub(super) const fn bytes_max() -> usize {
    UNPACKED_BYTES_MAX + INDEX_BYTES_MAX + (FILES_MAX + 4) * 2 * BLOCK
}

pub(super) fn written(ours: &[File], files: &[File]) -> Result<Vec<u8>, Wrong> {
    let mut tar = Vec::new();
    for file in ours.iter().chain(files) {
        tar.extend_from_slice(&head(file)?);
        tar.extend_from_slice(&file.bytes);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    Ok(tar)
}

fn head(file: &File) -> Result<[u8; BLOCK], Wrong> {
    let too_long = || Wrong::Path { path: file.path.clone(), why: "cannot be divided for a tar" };
    let (prefix, name) = divided(&file.path).ok_or_else(too_long)?;
    let (mode, size) = (if file.executable { 0o755 } else { 0o644 }, file.bytes.len() as u64);
    Ok(Entry { prefix, name, kind: b'0', mode, size, modified_s: 0 }.head())
}

/// A path in the two fields of a head: the later part as long as it can be.
fn divided(path: &str) -> Option<(&str, &str)> {
    if path.len() <= NAME_BYTES {
        return Some(("", path));
    }
    let slashes = path.match_indices('/').map(|(at, _)| at);
    let at = slashes.into_iter().find(|at| path.len() - at - 1 <= NAME_BYTES && *at <= PREFIX_BYTES)?;
    Some((&path[..at], &path[at + 1..]))
}

pub(super) fn read(tar: &[u8]) -> Result<Vec<File>, Wrong> {
    let bad = |why| Wrong::NotTar { why };
    let mut files = Vec::new();
    let mut rest = tar;
    loop {
        let Some((head, after)) = rest.split_at_checked(BLOCK) else { return Err(bad("it ends too soon")) };
        if head.iter().all(|byte| *byte == 0) {
            // What comes after it is found when it is written again.
            return Ok(files);
        }
        if files.len() > FILES_MAX + 2 {
            return Err(Wrong::TooManyFiles);
        }
        let file = entry(head)?;
        let size = octal(&head[124..135]).ok_or(bad("a size is no number"))?;
        let whole = size.checked_next_multiple_of(BLOCK).ok_or(bad("a size is too large"))?;
        let Some((bytes, next)) = after.split_at_checked(whole) else { return Err(bad("it ends within a file")) };
        files.push(File { bytes: bytes[..size].to_vec(), ..file });
        rest = next;
    }
}

/// The file of a head, still without its bytes.
fn entry(head: &[u8]) -> Result<File, Wrong> {
    let text = |from: usize, length: usize| {
        let field = &head[from..from + length];
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(length);
        std::str::from_utf8(&field[..end]).map_err(|_| Wrong::NotTar { why: "a path is no UTF-8" })
    };
    let (name, prefix) = (text(0, NAME_BYTES)?, text(345, PREFIX_BYTES)?);
    let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    let kind = match head[156] {
        b'0' => None,
        b'1' => Some("a hard link"),
        b'2' => Some("a symbolic link"),
        b'3' | b'4' => Some("a device"),
        b'5' => Some("a folder"),
        b'6' => Some("a pipe"),
        _ => Some("of another kind"),
    };
    if let Some(kind) = kind {
        return Err(Wrong::NotAFile { path, kind });
    }
    let executable = octal(&head[100..107]).is_some_and(|mode| mode & 0o111 != 0);
    Ok(File { path, executable, bytes: Vec::new() })
}

fn octal(digits: &[u8]) -> Option<usize> {
    usize::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}
