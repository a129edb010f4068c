//! The heads of a tar's entries: ustar, with a pax record before what ustar cannot say.

use tenure_core::ustar::{Entry, NAME_BYTES, NUMBER_MAX};

pub(super) use tenure_core::ustar::BLOCK;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    File,
    Folder,
}

/// The blocks before an entry's content. `name` is relative; a folder's ends with `/`.
pub(super) fn head(name: &str, kind: Type, size: u64, modified_s: u64) -> Vec<u8> {
    let mut blocks = Vec::with_capacity(BLOCK);
    let mut records = String::new();
    if name.len() > NAME_BYTES || !name.is_ascii() {
        records.push_str(&record("path", name));
    }
    if size > NUMBER_MAX {
        records.push_str(&record("size", &size.to_string()));
    }
    if !records.is_empty() {
        blocks.extend(block("pax", b'x', 0o644, records.len() as u64, modified_s));
        blocks.extend_from_slice(records.as_bytes());
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    }
    let (flag, mode) = match kind {
        Type::File => (b'0', 0o644),
        Type::Folder => (b'5', 0o755),
    };
    blocks.extend(block(name, flag, mode, size.min(NUMBER_MAX), modified_s));
    blocks
}

/// What comes after content of this size.
pub(super) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

/// `LENGTH key=value\n`, where the length counts itself.
fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}

fn block(name: &str, kind: u8, mode: u32, size: u64, modified_s: u64) -> [u8; BLOCK] {
    Entry { prefix: "", name, kind, mode, size, modified_s }.head()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn tar_reads_what_is_written_also_long_names_and_other_letters() {
        let long = format!("out/{}/f.txt", "ü".repeat(90));
        let mut archive = head("out/", Type::Folder, 0, 1);
        for (name, content) in [("out/a.txt", "one"), (long.as_str(), "two"), ("out/empty", "")] {
            archive.extend(head(name, Type::File, content.len() as u64, 1_700_000_000));
            archive.extend_from_slice(content.as_bytes());
            archive.resize(archive.len() + padding(content.len() as u64), 0);
        }
        archive.resize(archive.len() + 2 * BLOCK, 0);
        let mut tar = Command::new("tar");
        let tar = tar.args(["--list", "--quoting-style=literal"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut tar = tar.spawn().unwrap();
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        let listed = tar.wait_with_output().unwrap();
        assert!(listed.status.success());
        assert_eq!(String::from_utf8(listed.stdout).unwrap(), format!("out/\nout/a.txt\n{long}\nout/empty\n"));
    }
}
