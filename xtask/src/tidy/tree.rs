//! The tracked text files, read once. Must never follow what git ignores.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::code;

pub(super) struct Tree {
    pub(super) files: Vec<File>,
}

pub(super) struct File {
    /// From the project's folder, with forward slashes.
    pub(super) path: String,
    pub(super) text: String,
    /// The text without comments and without what stands in strings, line for line; empty unless this is Rust.
    pub(super) code: String,
}

impl Tree {
    /// What git tracks or would track: a new file counts before it is added.
    pub(super) fn tracked(root: &Path) -> Result<Self> {
        let listed = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
            .current_dir(root)
            .output()
            .context("git lists the files to check; install it with `apt-get install git`")?;
        ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr).trim());
        let mut paths: Vec<&str> =
            std::str::from_utf8(&listed.stdout)?.split('\0').filter(|path| !path.is_empty()).collect();
        paths.sort_unstable();
        paths.dedup();
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            // Deleted but still in the index, or not text: nothing to read.
            if let Ok(text) = std::fs::read_to_string(root.join(path)) {
                files.push(File::new(path, text));
            }
        }
        Ok(Self { files })
    }

    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    pub(super) fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl File {
    pub(super) fn new(path: &str, text: String) -> Self {
        let code = if path.ends_with(".rs") { code::only(&text) } else { String::new() };
        Self { path: path.to_owned(), text, code }
    }

    /// Code, with line numbers from 1.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    pub(super) fn text_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// A test of any kind: an integration test, a suite, or a `tests` module in a file of its own.
    pub(super) fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.contains("/benches/")
            || self.path.ends_with("/tests.rs")
    }

    pub(super) fn is_generated(&self) -> bool {
        let mark = concat!("@", "generated");
        self.text.lines().take(5).any(|line| line.contains(mark))
    }

    /// The first line, from 1, of the unit tests at the file's end, else one past the last.
    pub(super) fn tests_from(&self) -> usize {
        let lines: Vec<&str> = self.code.lines().collect();
        lines
            .windows(2)
            .position(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].trim_start().starts_with("mod tests"))
            .map_or(lines.len() + 1, |index| index + 1)
    }
}
