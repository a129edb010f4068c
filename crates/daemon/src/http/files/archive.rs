//! A folder as a tar: walked first, so that what is too large or left out is told before the first byte, then sent file by
//! file. What has gone by then is not in it; what changes while it is sent breaks the answer off.
use std::collections::VecDeque;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use tenure_wire::api::file::{ARCHIVE_ENTRIES_MAX, FileKind, LEFT_OUT};
use tenure_wire::files::FileFound;
use tenure_wire::problem::Code;

use super::super::problem::Failure;
use super::tar::{self, Type};
use super::{Folders, beneath};

/// One file or folder of the walk.
struct Entry {
    path: String,
    /// In the archive.
    name: String,
    found: FileFound,
}

pub(super) async fn answer(folders: Folders, path: String) -> Result<Response, Failure> {
    let top = folders.stat(&path).await?;
    if top.kind != FileKind::Directory {
        return Err(Code::FileRefused.problem(format!("{path} is no directory")).into());
    }
    let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("root").to_string();
    let (entries, left_out) = walk(&folders, Entry { path, name, found: top }).await?;
    let sending = Sending { folders, entries, open: None, over: false };
    let blocks = unfold(sending, async |mut sending| Some((sending.next().await?, sending)));
    let headers = [(CONTENT_TYPE.as_str(), "application/x-tar".to_string()), (LEFT_OUT, left_out.to_string())];
    Ok((headers, Body::from_stream(blocks)).into_response())
}

/// A folder comes before what is in it.
async fn walk(folders: &Folders, top: Entry) -> Result<(VecDeque<Entry>, usize), Failure> {
    let (mut entries, mut left_out, mut pending) = (VecDeque::new(), 0, vec![(top.path.clone(), top.name.clone())]);
    entries.push_back(top);
    while let Some((path, name)) = pending.pop() {
        let mut after = None;
        loop {
            let (found, more) = folders.list(&path, after).await?;
            after = found.last().filter(|_| more).map(|last| last.name.clone());
            for found in found {
                let (path, name) = (beneath(&path, &found.name), beneath(&name, &found.name));
                match found.kind {
                    FileKind::Directory => pending.push((path.clone(), name.clone())),
                    FileKind::File => {}
                    FileKind::Symlink | FileKind::Other => {
                        left_out += 1;
                        continue;
                    }
                }
                if entries.len() == ARCHIVE_ENTRIES_MAX {
                    let detail = format!("it has more than {ARCHIVE_ENTRIES_MAX} files and folders");
                    return Err(Code::FileRefused.problem(detail).into());
                }
                entries.push_back(Entry { path, name, found });
            }
            if after.is_none() {
                break;
            }
        }
    }
    Ok((entries, left_out))
}

struct Sending {
    folders: Folders,
    entries: VecDeque<Entry>,
    open: Option<Open>,
    over: bool,
}

/// The file whose content is being sent.
struct Open {
    path: String,
    file: u64,
    size: u64,
    offset: u64,
}

impl Sending {
    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        if self.over {
            return None;
        }
        let blocks = match self.open.take() {
            Some(open) => self.go_on(open).await,
            None => self.begin().await,
        };
        if let Err(error) = &blocks {
            tracing::warn!(%error, "an archive broke off");
            self.over = true;
        }
        Some(blocks)
    }

    /// The next entry's head, with the first piece of a file; after the last, the end.
    async fn begin(&mut self) -> Result<Bytes, std::io::Error> {
        while let Some(Entry { path, name, found }) = self.entries.pop_front() {
            let modified_s = u64::try_from(found.modified_ms / 1000).unwrap_or(0);
            if found.kind == FileKind::Directory {
                return Ok(tar::head(&format!("{name}/"), Type::Folder, 0, modified_s).into());
            }
            let first = match self.folders.piece(&path, 0, None).await {
                Ok(first) => first,
                // As if the walk had come later.
                Err(failure) if failure.0.code == Code::FileUnknown || failure.0.code == Code::FileRefused => continue,
                Err(failure) => return Err(broken(failure)),
            };
            let mut blocks = tar::head(&name, Type::File, first.size, modified_s);
            blocks.extend_from_slice(&first.content);
            let open = Open { path, file: first.file, size: first.size, offset: first.content.len() as u64 };
            self.keep_open(open, &mut blocks);
            return Ok(blocks.into());
        }
        self.over = true;
        Ok(vec![0; 2 * tar::BLOCK].into())
    }

    async fn go_on(&mut self, mut open: Open) -> Result<Bytes, std::io::Error> {
        let piece = self.folders.piece(&open.path, open.offset, Some(open.file)).await.map_err(broken)?;
        let left = usize::try_from(open.size - open.offset).unwrap_or(usize::MAX);
        let mut blocks = piece.content.to_vec();
        // It may have grown; its head says what it was.
        blocks.truncate(left);
        if blocks.is_empty() {
            return Err(std::io::Error::other(format!("{} was cut while it was read", open.path)));
        }
        open.offset += blocks.len() as u64;
        self.keep_open(open, &mut blocks);
        Ok(blocks.into())
    }

    fn keep_open(&mut self, open: Open, blocks: &mut Vec<u8>) {
        if open.offset < open.size {
            self.open = Some(open);
        } else {
            blocks.resize(blocks.len() + tar::padding(open.size), 0);
        }
    }
}

fn broken(failure: Failure) -> std::io::Error {
    std::io::Error::other(failure.0.detail)
}
