//! The filesystem group. Paths go to the jail as they were judged; it follows no link.
use super::{Abort, CallResult, FileOps, PerformResult, limit_reached, unavailable};
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tenure_sandbox::Replacement;
use tenure_sandbox::protocol::{Answer, BODY_BYTES_MAX, Entry, Kind, LIST_MAX, Operation, WriteMode};
use tokio::time::timeout_at;

/// Read when the caller names no bound, and most that one may name.
const READ_BYTES: u64 = 64 << 10;
const READ_BYTES_MAX: u64 = 1 << 20;
/// Largest file of which an edit shows a diff, and most bytes of it that are shown.
const DIFF_FILE_BYTES: u64 = 256 << 10;
const DIFF_BYTES: usize = 8 << 10;
const DIFF_TIMEOUT: Duration = Duration::from_millis(200);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    path: String,
    #[serde(default)]
    offset: u64,
    max_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    path: String,
    content: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    path: String,
    find: String,
    replace: String,
    expected_count: Option<u32>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AtPath {
    path: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Delete {
    path: String,
    #[serde(default)]
    recursive: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Restore {
    trashed_as: String,
    path: Option<String>,
}

fn unexpected() -> Abort {
    Abort::Broken("it answered a file request with something else")
}

impl FileOps<'_> {
    pub(super) async fn read(&self, wanted: Read) -> PerformResult {
        let max = wanted.max_bytes.unwrap_or(READ_BYTES).min(READ_BYTES_MAX);
        let (content, size) = self.bytes(&wanted.path, wanted.offset, max).await?;
        Ok(CallResult::done(shown(content, size, wanted.offset)))
    }

    /// Up to `max` bytes from `offset`, and the size of the whole file.
    async fn bytes(&self, path: &str, offset: u64, max: u64) -> Result<(Vec<u8>, u64), Abort> {
        let mut content = Vec::new();
        loop {
            let left = max - content.len() as u64;
            let piece = u32::try_from(left.min(BODY_BYTES_MAX as u64)).expect("invariant: a body's bound fits 32 bits");
            let from = offset + content.len() as u64;
            let read = Operation::Read { path: path.to_owned(), offset: from, max: piece };
            let (answer, body) = self.ask(read, Vec::new()).await?;
            let Answer::Read { size, eof } = answer else { return Err(unexpected()) };
            if body.len() as u64 > left {
                return Err(unexpected());
            }
            content.extend_from_slice(&body);
            if eof || body.is_empty() || content.len() as u64 >= max {
                return Ok((content, size));
            }
        }
    }

    pub(super) async fn write(&self, wanted: Content) -> PerformResult {
        let size = wanted.content.len() as u64;
        self.ensure_room(&wanted.path, size).await?;
        let write = Operation::Write { path: wanted.path, size, mode: WriteMode::Overwrite };
        match self.ask(write, wanted.content.into_bytes()).await? {
            (Answer::Written { bytes, .. }, _) => Ok(CallResult::done(json!({ "size": bytes }))),
            _ => Err(unexpected()),
        }
    }

    pub(super) async fn append(&self, wanted: Content) -> PerformResult {
        self.ensure_room(&wanted.path, wanted.content.len() as u64).await?;
        let append = Operation::Append { path: wanted.path.clone(), size: wanted.content.len() as u64 };
        let (Answer::Written { bytes, .. }, _) = self.ask(append, wanted.content.into_bytes()).await? else {
            return Err(unexpected());
        };
        // It is appended whatever comes of the question how long the file is now.
        let size = match self.ask(Operation::Stat { path: wanted.path }, Vec::new()).await {
            Ok((Answer::Stat(entry), _)) if entry.kind == Kind::File => entry.size,
            Err(Abort::Gone) => return Err(Abort::Gone),
            Ok(_) | Err(_) => bytes,
        };
        Ok(CallResult::done(json!({ "size": size })))
    }

    pub(super) async fn edit(&self, wanted: Edit) -> PerformResult {
        let (before, size) = self.bytes(&wanted.path, 0, DIFF_FILE_BYTES + 1).await?;
        let (find, replace) = (wanted.find.clone(), wanted.replace.clone());
        if !wanted.dry_run {
            // The new content lies beside the old until it is whole.
            let growth = self.growth(&wanted).await?;
            self.ensure_room(&wanted.path, size.saturating_add(growth)).await?;
        }
        let edit = Operation::Edit {
            path: wanted.path,
            find: wanted.find,
            replace: wanted.replace,
            expected_count: wanted.expected_count,
            dry_run: wanted.dry_run,
        };
        let (Answer::Edited { replaced }, _) = self.ask(edit, Vec::new()).await? else { return Err(unexpected()) };
        let whole = size <= DIFF_FILE_BYTES;
        let before = String::from_utf8(before)
            .ok()
            .filter(|text| whole && Replacement::of(text, &find, &replace).count == replaced as usize);
        let diff = match before {
            Some(before) => {
                tokio::task::spawn_blocking(move || diff(&before, &find, &replace)).await.unwrap_or_default()
            }
            None => "(no diff: the file is too large, or not text)".to_owned(),
        };
        Ok(CallResult::done(json!({ "replaced": replaced, "diff": diff })))
    }

    pub(super) async fn list(&self, wanted: List) -> PerformResult {
        let path = wanted.path.unwrap_or_else(|| ".".to_owned());
        match self.ask(Operation::List { path, max: LIST_MAX, cursor: None }, Vec::new()).await? {
            (Answer::Listed { entries, next }, _) => {
                let row = |entry: Entry| json!({ "name": entry.name, "kind": kind(entry.kind), "size": entry.size });
                let entries: Vec<Value> = entries.into_iter().map(row).collect();
                Ok(CallResult::done(json!({ "entries": entries, "truncated": next.is_some() })))
            }
            _ => Err(unexpected()),
        }
    }

    pub(super) async fn stat(&self, wanted: AtPath) -> PerformResult {
        match self.ask(Operation::Stat { path: wanted.path }, Vec::new()).await? {
            (Answer::Stat(entry), _) => Ok(CallResult::done(json!({
                "kind": kind(entry.kind),
                "size": entry.size,
                "modified_ms": entry.modified_ms,
                "mode": format!("{:04o}", entry.mode),
            }))),
            _ => Err(unexpected()),
        }
    }

    pub(super) async fn delete(&self, wanted: Delete) -> PerformResult {
        let delete = Operation::Delete { path: wanted.path, recursive: wanted.recursive };
        match self.ask(delete, Vec::new()).await? {
            (Answer::Deleted { trash: Some(trash) }, _) => Ok(CallResult::done(json!({ "trashed_as": trash }))),
            (Answer::Deleted { trash: None }, _) => Ok(CallResult::done(json!({ "removed": true }))),
            _ => Err(unexpected()),
        }
    }

    pub(super) async fn restore(&self, wanted: Restore) -> PerformResult {
        let restore = Operation::Restore { trashed_as: wanted.trashed_as, path: wanted.path };
        match self.ask(restore, Vec::new()).await? {
            (Answer::Restored { path }, _) => Ok(CallResult::done(json!({ "restored_to": path }))),
            _ => Err(unexpected()),
        }
    }

    /// Ends the call where a link is on the path.
    pub(super) async fn check(&self, path: &str) -> Result<(), Abort> {
        match self.ask(Operation::Check { path: path.to_owned() }, Vec::new()).await? {
            (Answer::Done, _) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Ends the call where the agent has no room for so much more at `path`.
    pub(super) async fn ensure_room(&self, path: &str, bytes: u64) -> Result<(), Abort> {
        let looking = self.quota.room(path, bytes, 1);
        match timeout_at(self.deadline, looking).await {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(reached))) => Err(Abort::Ended(limit_reached(reached))),
            Ok(Err(unseen)) => Err(unavailable(unseen)),
            Err(_) => Err(Abort::Ended(CallResult::timed_out(
                "looking how much of the disk is used took too long; try again",
            ))),
        }
    }

    /// By how much an edit makes its file longer: found by a dry run, where it can.
    async fn growth(&self, wanted: &Edit) -> Result<u64, Abort> {
        // Line ends may become CRLF.
        let most = wanted.replace.len() + wanted.replace.matches('\n').count();
        let each = most.saturating_sub(wanted.find.len()) as u64;
        if each == 0 {
            return Ok(0);
        }
        let dry = Operation::Edit {
            path: wanted.path.clone(),
            find: wanted.find.clone(),
            replace: wanted.replace.clone(),
            expected_count: wanted.expected_count,
            dry_run: true,
        };
        match self.ask(dry, Vec::new()).await? {
            (Answer::Edited { replaced }, _) => Ok(each.saturating_mul(u64::from(replaced))),
            _ => Err(unexpected()),
        }
    }
}

/// A letter that the bound cut in two is left to the next read.
fn shown(mut content: Vec<u8>, size: u64, offset: u64) -> Value {
    let truncated = offset + (content.len() as u64) < size;
    let cut = if truncated { crate::output::unfinished(&content) } else { 0 };
    if cut < content.len() {
        content.truncate(content.len() - cut);
    }
    let (content, encoding) = match String::from_utf8(content) {
        Ok(text) => (text, "utf-8"),
        Err(error) => (BASE64.encode(error.as_bytes()), "base64"),
    };
    json!({ "content": content, "size": size, "truncated": truncated, "encoding": encoding })
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Other => "other",
    }
}

/// A unified diff with three lines of context, clipped.
fn diff(before: &str, find: &str, replace: &str) -> String {
    let after = Replacement::of(before, find, replace).apply(before);
    let changes = similar::TextDiff::configure().timeout(DIFF_TIMEOUT).diff_lines(before, &after);
    let mut text = changes.unified_diff().context_radius(3).to_string();
    if text.len() > DIFF_BYTES {
        let end = text.char_indices().map(|(place, _)| place).take_while(|place| *place <= DIFF_BYTES).last();
        text.truncate(end.unwrap_or(0));
        text.push_str("\n[… the rest of the diff is left out …]\n");
    }
    text
}
