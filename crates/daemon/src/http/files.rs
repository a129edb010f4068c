//! `/v1/agents/{agent}/files`: what lies in an agent's folders, read for people and put by them. The worker that holds the
//! folders does it; a put is in the ledger before that, and how it ended after. Reads are logged.
//! Must never: hold a whole file that is read, or say that a put was done which the worker did not confirm.
mod archive;
mod tar;

use std::sync::Arc;

use axum::Json as Out;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use futures_util::stream::unfold;
use serde::Deserialize;
use tenure_core::agent::{self, AgentRow, PutFile};
use tenure_core::aggregate::Command;
use tenure_core::bound::Hash;
use tenure_core::capability::path::{WORKSPACE, judged};
use tenure_core::plan::Volume;
use tenure_core::time::Time;
use tenure_wire::api::List;
use tenure_wire::api::file::{FileEntry, FileKind, FilePut, PUT_BYTES_MAX};
use tenure_wire::api::moment::Moment;
use tenure_wire::files::{FileFound, FilesAnswer, FilesAsked, FilesRefusal, FilesRequest};
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Caller, Operator, Viewer};
use super::body::{Content, Params, Segment};
use super::lookup::quoted;
use super::problem::{Answer, Failure};
use crate::fleet::{Broken, Connection};

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(content, put)).routes(routes!(archive))
}

/// The folders of one agent, where they are.
#[derive(Clone)]
struct Folders {
    agent: AgentRow,
    connection: Connection,
    volumes: Vec<Volume>,
    disk_bytes: u64,
    files: u32,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PathParams {
    /// As the agent names it; a relative one is of /workspace.
    path: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// As the agent names it; /workspace without it.
    path: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What lies in a folder of the agent's, by name; of a file, itself.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/files", tag = "files",
    params(("agent" = String, Path, description = "Name, id or short id"), ListParams),
    responses((status = 200, body = List<FileEntry>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn list(
    State(api): State<Arc<ApiState>>,
    Viewer(caller): Viewer,
    Segment(wanted): Segment,
    Params(params): Params<ListParams>,
) -> Answer<List<FileEntry>> {
    let path = judge(params.path.as_deref().unwrap_or(WORKSPACE))?;
    let folders = api.looked_at(&caller, &wanted, "lists", &path).await?;
    let found = folders.stat(&path).await?;
    if found.kind != FileKind::Directory {
        let items = vec![entry(path, found)];
        return Ok(Out(List { items, next_cursor: None }));
    }
    let (entries, more) = folders.list(&path, params.cursor).await?;
    let next_cursor = entries.last().filter(|_| more).map(|last| last.name.clone());
    let items = entries.into_iter().map(|found| entry(beneath(&path, &found.name), found)).collect();
    Ok(Out(List { items, next_cursor }))
}

/// The content of a file of the agent's.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/files/content", tag = "files",
    params(("agent" = String, Path, description = "Name, id or short id"), PathParams),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", body = Problem), (status = "5XX", body = Problem)
    )
)]
async fn content(
    State(api): State<Arc<ApiState>>,
    Viewer(caller): Viewer,
    Segment(wanted): Segment,
    Params(params): Params<PathParams>,
) -> Result<Response, Failure> {
    let path = judge(&params.path)?;
    let folders = api.looked_at(&caller, &wanted, "reads", &path).await?;
    let first = folders.piece(&path, 0, None).await?;
    let (size, reading) = (first.size, Reading::of(folders, path, first));
    let pieces = unfold(reading, async |mut reading| Some((reading.next().await?, reading)));
    let headers = [(CONTENT_TYPE, "application/octet-stream".to_string()), (CONTENT_LENGTH, size.to_string())];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// A folder of the agent's with all that is in it, as a tar. Links and special files are left out; `Tenure-Left-Out` has
/// their number.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/files/archive", tag = "files",
    params(("agent" = String, Path, description = "Name, id or short id"), PathParams),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/x-tar"),
        (status = "4XX", body = Problem), (status = "5XX", body = Problem)
    )
)]
async fn archive(
    State(api): State<Arc<ApiState>>,
    Viewer(caller): Viewer,
    Segment(wanted): Segment,
    Params(params): Params<PathParams>,
) -> Result<Response, Failure> {
    let path = judge(&params.path)?;
    let folders = api.looked_at(&caller, &wanted, "archives", &path).await?;
    archive::answer(folders, path).await
}

/// Put a file into a folder of the agent's, in the place of what has that name; folders on the way are made.
#[utoipa::path(
    put, path = "/v1/agents/{agent}/files/content", tag = "files",
    params(("agent" = String, Path, description = "Name, id or short id"), PathParams),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "At most 4 MiB"),
    responses((status = 200, body = FilePut), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn put(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Params(params): Params<PathParams>,
    Content(bytes): Content<PUT_BYTES_MAX>,
) -> Answer<FilePut> {
    let path = judge(&params.path)?;
    let folders = api.folders(&wanted, Purpose::Put).await?;
    let (id, size, content) = (folders.agent.id, bytes.len() as u64, Hash::of(&bytes));
    let file = PutFile { path: path.clone(), size, content, worker: folders.connection.worker };
    api.app.committer.commit(caller.actor, Command::Agent(id, agent::Command::PutFile(file))).await?;
    let (disk_bytes, files) = (folders.disk_bytes, folders.files);
    let write = FilesRequest::Write { path: path.clone(), content: BASE64.encode(&bytes), disk_bytes, files };
    let written = match folders.ask(write).await {
        Ok(FilesAnswer::Written { replaced }) => Ok(replaced),
        Ok(_) => Err(unexpected()),
        Err(failure) => Err(failure),
    };
    let failed = written.as_ref().err().map(|failure| failure.0.detail.clone());
    let ended = agent::Command::RecordPut { path: path.clone(), content, failed };
    api.app.committer.commit(caller.actor, Command::Agent(id, ended)).await?;
    let replaced = written?;
    Ok(Out(FilePut { path, size, sha256: content.to_string(), replaced }))
}

/// What folders are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Read,
    Put,
}

impl ApiState {
    /// For whoever looks at `path`, which stands in the log.
    async fn looked_at(&self, caller: &Caller, wanted: &str, does: &str, path: &str) -> Result<Folders, Failure> {
        let folders = self.folders(wanted, Purpose::Read).await?;
        tracing::info!(actor = %caller.actor, agent = %folders.agent.id, path, "a person {does} an agent's files");
        Ok(folders)
    }

    async fn folders(&self, wanted: &str, purpose: Purpose) -> Result<Folders, Failure> {
        let agent = self.agent(wanted).await?;
        let (id, number) = (agent.id, agent.standing.revision);
        let connection = match (agent.standing.home, purpose) {
            (Some(home), _) => self.app.fleet.connection(home),
            (None, Purpose::Put) => self.app.fleet.connections().into_iter().next(),
            (None, Purpose::Read) => return Err(no_home(&agent)),
        };
        let away = || Failure::from(Code::NotReady.problem("the worker that holds the agent's files is not connected"));
        let connection = connection.ok_or_else(away)?;
        let plan = self.records.read(move |txn| txn.plan(id, number)).await?;
        let sandbox = &plan.sandbox;
        let (disk_bytes, files, volumes) = (sandbox.disk_bytes, sandbox.files, sandbox.volumes.clone());
        Ok(Folders { agent, connection, volumes, disk_bytes, files })
    }
}

fn no_home(agent: &AgentRow) -> Failure {
    let why = match agent.standing.state.as_str() {
        "archived" => format!("`{}` was deleted, and its files are gone", agent.name),
        _ => format!("`{}` has never run, so that it has no files yet", agent.name),
    };
    Code::HomeGone.problem(why).into()
}

/// One answer to a read.
struct FilePiece {
    content: Bytes,
    size: u64,
    file: u64,
}

impl Folders {
    async fn ask(&self, request: FilesRequest) -> Result<FilesAnswer, Failure> {
        let asked = FilesAsked { volumes: self.volumes.clone(), request };
        match self.connection.files(self.agent.id, asked).await {
            Ok(FilesAnswer::Refused(refusal)) => Err(self.refused(&refusal)),
            Ok(answer) => Ok(answer),
            Err(Broken) => {
                let why = "the worker did not answer; a put may have been done all the same";
                Err(Code::NotReady.problem(why).into())
            }
        }
    }

    fn refused(&self, refusal: &FilesRefusal) -> Failure {
        let code = match refusal {
            FilesRefusal::NoHome => return no_home(&self.agent),
            FilesRefusal::NotFound { .. } => Code::FileUnknown,
            FilesRefusal::Outside { .. }
            | FilesRefusal::Link { .. }
            | FilesRefusal::Directory { .. }
            | FilesRefusal::NotDirectory { .. }
            | FilesRefusal::Special { .. }
            | FilesRefusal::Failed { .. } => Code::FileRefused,
            FilesRefusal::Ephemeral { .. } => Code::HomeGone,
            FilesRefusal::Changed { .. } => Code::FileChanged,
            FilesRefusal::Full { .. } => Code::HomeFull,
            FilesRefusal::Busy {} => Code::Overloaded,
        };
        code.problem(refusal.to_string()).into()
    }

    async fn stat(&self, path: &str) -> Result<FileFound, Failure> {
        match self.ask(FilesRequest::Stat { path: path.to_string() }).await? {
            FilesAnswer::Stat(found) => Ok(found),
            _ => Err(unexpected()),
        }
    }

    async fn list(&self, path: &str, after: Option<String>) -> Result<(Vec<FileFound>, bool), Failure> {
        match self.ask(FilesRequest::List { path: path.to_string(), after }).await? {
            FilesAnswer::List { entries, more } if entries.iter().all(|found| is_name(&found.name)) => {
                Ok((entries, more))
            }
            _ => Err(unexpected()),
        }
    }

    async fn piece(&self, path: &str, offset: u64, file: Option<u64>) -> Result<FilePiece, Failure> {
        let FilesAnswer::Read { content, size, file } =
            self.ask(FilesRequest::Read { path: path.to_string(), offset, file }).await?
        else {
            return Err(unexpected());
        };
        let content = BASE64.decode(content.as_bytes()).map_err(|_| unexpected())?;
        Ok(FilePiece { content: content.into(), size, file })
    }
}

/// Of one entry; a worker that says another is not believed.
fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains('/')
}

fn unexpected() -> Failure {
    Code::Internal.problem("the worker answered something else than it was asked").into()
}

/// A file that is being sent, piece by piece, up to the size that it had at first.
struct Reading {
    folders: Folders,
    path: String,
    first: Option<FilePiece>,
    file: u64,
    size: u64,
    offset: u64,
    over: bool,
}

impl Reading {
    fn of(folders: Folders, path: String, first: FilePiece) -> Reading {
        let (file, size) = (first.file, first.size);
        Reading { folders, path, first: Some(first), file, size, offset: 0, over: false }
    }

    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        if self.over {
            return None;
        }
        let piece = match self.first.take() {
            Some(first) => Ok(first),
            None => self.folders.piece(&self.path, self.offset, Some(self.file)).await,
        };
        let mut content = match piece {
            Ok(piece) => piece.content,
            Err(failure) => {
                self.over = true;
                return Some(Err(std::io::Error::other(failure.0.detail)));
            }
        };
        // It may have grown; its length was told.
        content.truncate(usize::try_from(self.size - self.offset).unwrap_or(usize::MAX));
        self.offset += content.len() as u64;
        self.over = self.offset >= self.size || content.is_empty();
        Some(Ok(content))
    }
}

fn judge(path: &str) -> Result<String, Failure> {
    let judged = judged(path, WORKSPACE);
    judged.ok_or_else(|| Code::FileRefused.problem(format!("{} names no file", quoted(path))).into())
}

fn beneath(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

fn entry(path: String, found: FileFound) -> FileEntry {
    let modified_at = Moment(Time::from_millis(found.modified_ms));
    FileEntry { name: found.name, path, kind: found.kind, size: found.size, modified_at }
}
