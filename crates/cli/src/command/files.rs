//! `tenure agent files …`: what an agent made, and what is put there for it. Must never: show a binary file on a terminal, or
//! leave half a file under the name that was asked for.
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use tenure_core::capability::path::{WORKSPACE, judged};
use tenure_wire::api::file::{FileEntry, FileKind, LEFT_OUT, PUT_BYTES_MAX};
use tenure_wire::client::{Client, Download};

use super::contents;
use super::out_file::{OutFile, SHARED};
use crate::args::{Files, Format, Listing};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, when};
use crate::screen;

/// What `cat` shows on a terminal or in JSON.
const SHOWN_BYTES_MAX: usize = 4 * 1024 * 1024;

pub async fn run(verb: Files, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    match verb {
        Files::Ls { agent, path, listing } => list(&client, &agent, path.as_deref(), &listing, output).await,
        Files::Cat { agent, path } => cat(&client, &agent, &path, output).await,
        Files::Get { agent, path, to, force } => get(&client, &agent, &path, to, force, output).await,
        Files::Put { agent, file, path } => put(&client, &agent, &file, path, output).await,
    }
}

async fn list(
    client: &Client,
    agent: &str,
    path: Option<&str>,
    listing: &Listing,
    output: Output,
) -> Result<Exit, Failure> {
    let entries = client.files(agent, path).await?;
    output.list(
        listing,
        &entries,
        "No file there; what the agent writes while it runs appears here",
        |entry| entry.name.clone(),
        || {
            let columns =
                [Column::key("KIND"), Column::worth("SIZE", 1), Column::worth("MODIFIED", 2), Column::key("NAME")];
            let rows = entries.iter().map(|entry| {
                let mark = if entry.kind == FileKind::Directory { "/" } else { "" };
                let size = if entry.kind == FileKind::File { entry.size.to_string() } else { "-".to_string() };
                [
                    Cell::from(entry.kind.as_str()),
                    Cell::from(size),
                    Cell::from(when(entry.modified_at, output)),
                    Cell::from(format!("{}{mark}", entry.name)),
                ]
            });
            Table::new(columns, rows)
        },
    )?;
    Ok(Exit::Done)
}

async fn cat(client: &Client, agent: &str, path: &str, output: Output) -> Result<Exit, Failure> {
    let mut download = client.file(agent, path).await?;
    if output.format == Format::Table && !output.terminal {
        while let Some(bytes) = download.next().await? {
            screen::bytes(&bytes)?;
        }
        return Ok(Exit::Done);
    }
    let bytes = whole(&mut download, path).await?;
    let binary = || Failure::new(Exit::Refused, format!("{path} is no text, and a terminal would act on it"));
    match (output.format, String::from_utf8(bytes)) {
        (Format::Table, Ok(text)) if !text.contains('\0') => screen::print(&text)?,
        (Format::Table, _) => {
            let next = format!("fetch it with `tenure agent files get {agent} {path}`, or pipe this into a program");
            return Err(binary().next(next));
        }
        (Format::Json | Format::Yaml, Ok(text)) => {
            output.show(
                &json!({ "path": path, "size": text.len(), "content": text, "encoding": "utf-8" }),
                String::new,
            )?;
        }
        (Format::Json | Format::Yaml, Err(error)) => {
            let bytes = error.into_bytes();
            let content = data_encoding::BASE64.encode(&bytes);
            output.show(
                &json!({ "path": path, "size": bytes.len(), "content": content, "encoding": "base64" }),
                String::new,
            )?;
        }
    }
    Ok(Exit::Done)
}

async fn whole(download: &mut Download, path: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(more) = download.next().await? {
        if bytes.len() + more.len() > SHOWN_BYTES_MAX {
            return Err(Failure::new(Exit::Refused, format!("{path} has more than {SHOWN_BYTES_MAX} bytes"))
                .next("fetch it with `tenure agent files get`"));
        }
        bytes.extend_from_slice(&more);
    }
    Ok(bytes)
}

async fn get(
    client: &Client,
    agent: &str,
    path: &str,
    to: Option<PathBuf>,
    force: bool,
    output: Output,
) -> Result<Exit, Failure> {
    let is_folder = is_folder(&client.files(agent, Some(path)).await?, path);
    let mut download = if is_folder { client.archive(agent, path).await? } else { client.file(agent, path).await? };
    let left_out: u64 = download.headers.get(LEFT_OUT).and_then(|text| text.to_str().ok()?.parse().ok()).unwrap_or(0);
    let to = to.unwrap_or_else(|| default_name(path, is_folder));
    let size = match to.as_os_str() == "-" {
        true => to_stdout(&mut download, output).await?,
        false => to_file(&mut download, &to, force).await?,
    };
    if left_out > 0 {
        screen::tell(&[(screen::Ink::Plain, &format!("note: {left_out} links and special files were left out\n"))]);
    }
    if to.as_os_str() != "-" {
        let value = json!({ "path": path, "to": to, "size": size, "archive": is_folder, "left_out": left_out });
        output.show(&value, || format!("{} ({size} bytes)", to.display()))?;
    }
    Ok(Exit::Done)
}

/// The list of a file is itself; what a folder holds lies beneath it.
fn is_folder(entries: &[FileEntry], path: &str) -> bool {
    let path = judged(path, WORKSPACE);
    !entries.iter().any(|entry| Some(&entry.path) == path.as_ref() && entry.kind != FileKind::Directory)
}

fn default_name(path: &str, is_folder: bool) -> PathBuf {
    let name = Path::new(path).file_name().map_or_else(|| "workspace".into(), |name| name.to_os_string());
    let mut name = PathBuf::from(name);
    if is_folder {
        name.as_mut_os_string().push(".tar");
    }
    name
}

async fn to_stdout(download: &mut Download, output: Output) -> Result<u64, Failure> {
    if output.terminal {
        return Err(Failure::new(Exit::Usage, "this is bytes, and standard output is a terminal")
            .next("name a file, or pipe it: `… - | tar -tv`"));
    }
    let mut size = 0;
    while let Some(bytes) = download.next().await? {
        screen::bytes(&bytes)?;
        size += bytes.len() as u64;
    }
    Ok(size)
}

async fn to_file(download: &mut Download, to: &Path, force: bool) -> Result<u64, Failure> {
    let mut out = OutFile::begin(to, force, SHARED)?;
    let size = receive(download, &mut out.file).await?;
    out.place().map(|()| size)
}

async fn receive(download: &mut Download, file: &mut File) -> Result<u64, Failure> {
    let unwritten = |error: std::io::Error| Failure::new(Exit::Failure, format!("it cannot be written: {error}"));
    let mut size = 0;
    while let Some(bytes) = download.next().await? {
        file.write_all(&bytes).map_err(unwritten)?;
        size += bytes.len() as u64;
    }
    Ok(size)
}

async fn put(client: &Client, agent: &str, file: &Path, path: Option<String>, output: Output) -> Result<Exit, Failure> {
    if let Some(size) = file.metadata().ok().map(|found| found.len()).filter(|size| *size > PUT_BYTES_MAX as u64) {
        let what = format!("{} has {size} bytes, and at most {PUT_BYTES_MAX} are put at once", file.display());
        return Err(Failure::new(Exit::Refused, what)
            .next("put it in parts (`split -b 4M`), or let agents see its folder (`tenure up --allow-mount`)"));
    }
    let bytes = contents(file, PUT_BYTES_MAX)?;
    let name = || file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let path = path.map_or_else(name, |path| if path.ends_with('/') { format!("{path}{}", name()) } else { path });
    let put = client.put_file(agent, &path, bytes).await?;
    output.show(&put, || {
        let how = if put.replaced { "Replaced" } else { "Put" };
        format!("{how} {} ({} bytes)", put.path, put.size)
    })?;
    Ok(Exit::Done)
}
