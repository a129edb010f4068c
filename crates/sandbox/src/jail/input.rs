//! What a running program reads: a pipe or a terminal that the worker feeds while it runs. Must never: hold more than one request's
//! bytes, or wait for a program that does not read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::protocol::TerminalSize;

/// What a terminal takes for the end of what is typed: once to hand on a line that has begun, once more for the end itself.
const END_TYPED: [u8; 2] = [4, 4];

/// The worker's end of it.
pub(super) struct Feed {
    fd: OwnedFd,
    terminal: bool,
    pending: Vec<u8>,
    /// The request that these bytes came with, if one waits to hear that they are taken.
    request: Option<u32>,
    ends: bool,
}

/// What became of the bytes that wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FeedState {
    /// Some still wait.
    Waits,
    /// All are taken; with the end, nothing more can come.
    Taken { request: Option<u32>, ended: bool },
    /// The program reads no more.
    Closed { request: Option<u32> },
}

impl Feed {
    /// A pipe: this end, and the program's.
    pub(super) fn pipe() -> io::Result<(Self, OwnedFd)> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfl(&ours, OFlags::NONBLOCK)?;
        Ok((Self::of(ours, false), theirs))
    }

    /// A terminal: this end, a copy of it to read from, and the program's. `attended`: somebody types, and sees what is typed.
    pub(super) fn terminal(size: TerminalSize, attended: bool) -> io::Result<(Self, OwnedFd, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        if !attended {
            let mut modes = tcgetattr(&slave)?;
            modes.local_modes.remove(LocalModes::ECHO);
            tcsetattr(&slave, OptionalActions::Now, &modes)?;
        }
        let feed = Self::of(master, true);
        feed.resize(size)?;
        fcntl_setfl(&feed.fd, OFlags::NONBLOCK)?;
        let reading = feed.fd.try_clone()?;
        Ok((feed, reading, slave))
    }

    fn of(fd: OwnedFd, terminal: bool) -> Self {
        Self { fd, terminal, pending: Vec::new(), request: None, ends: false }
    }

    pub(super) fn resize(&self, TerminalSize { rows, columns }: TerminalSize) -> io::Result<()> {
        if !self.terminal {
            return Err(Errno::NOTTY.into());
        }
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&self.fd, size)?)
    }

    /// Whether the bytes before are taken, so that more may be given.
    pub(super) fn is_free(&self) -> bool {
        self.pending.is_empty() && self.request.is_none() && !self.ends
    }

    /// Only while it is free.
    pub(super) fn give(&mut self, request: Option<u32>, bytes: &[u8], end: bool) {
        (self.pending, self.request, self.ends) = (bytes.to_vec(), request, end);
        if end && self.terminal {
            let began = bytes.last().is_some_and(|last| *last != b'\n');
            self.pending.extend_from_slice(if began { &END_TYPED } else { &END_TYPED[..1] });
        }
    }

    /// To be waited for while some bytes wait to be handed on.
    pub(super) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        (!self.pending.is_empty()).then(|| self.fd.as_fd())
    }

    /// Hands on what the program's side has room for.
    pub(super) fn push(&mut self) -> FeedState {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.fd, &self.pending) {
                Ok(0) => return FeedState::Closed { request: self.request.take() },
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return FeedState::Waits,
                Err(_) => return FeedState::Closed { request: self.request.take() },
            }
        }
        FeedState::Taken { request: self.request.take(), ended: self.ends && !self.terminal }
    }

    /// The request that waits, when the program has ended.
    pub(super) fn abandoned(self) -> Option<u32> {
        self.request
    }
}
