//! The folder through which one container's jail program finds its worker: a socket that only the agent's uid may connect to,
//! shown read-only inside, gone from the host's side once it has been used.
//! Must never: let in any process but the container's first, or stay after it was used.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::order::DOOR;

const PREFIX: &str = "door-";
const SOCKET: &str = "socket";
const EMPTY: &str = "empty";
/// Most strangers that are turned away before the opening is given up.
const STRANGERS_MAX: usize = 16;

#[derive(Debug)]
pub(crate) struct RendezvousSocket {
    folder: PathBuf,
    listener: UnixListener,
}

impl RendezvousSocket {
    /// Must run within a runtime.
    pub(crate) fn make(run_dir: &Path, id: &str, owner: (u32, u32)) -> io::Result<Self> {
        debug_assert!(DOOR.ends_with(SOCKET), "the inside looks for the name that is given here");
        let folder = run_dir.join(format!("{PREFIX}{id}"));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let empty = OpenOptions::new().write(true).create_new(true).mode(0o400).open(folder.join(EMPTY))?;
        // Whatever the worker's umask: others may pass through it but neither list nor change it; inside it is a mount of its own.
        empty.set_permissions(Permissions::from_mode(0o444))?;
        fs::set_permissions(&folder, Permissions::from_mode(0o711))?;
        // A socket's path may have 107 bytes, and a data directory's more.
        let handle = File::open(&folder)?;
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET}", handle.as_raw_fd()))?;
        let socket = folder.join(SOCKET);
        fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
        lchown(&socket, Some(owner.0), Some(owner.1))?;
        Ok(Self { folder, listener })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file without content, to lay over files of the image.
    pub(crate) fn empty(&self) -> PathBuf {
        self.folder.join(EMPTY)
    }

    /// The connection of process `pid`. Whoever else comes is turned away.
    pub(crate) async fn admit(&self, pid: i32) -> io::Result<UnixStream> {
        for _ in 0..STRANGERS_MAX {
            let (socket, _) = self.listener.accept().await?;
            if socket.peer_cred()?.pid() == Some(pid) {
                return Ok(socket);
            }
        }
        Err(io::Error::other("others than the container's first process came to its door"))
    }
}

impl Drop for RendezvousSocket {
    fn drop(&mut self) {
        // One that stays is removed at the worker's next start.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes what earlier lives left in `run_dir`.
pub(crate) fn clear(run_dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(run_dir)? {
        let path = entry?.path();
        if path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(PREFIX)) {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}
