//! Messages with a descriptor, between worker and zygote and with a jail's hello. Must never: accept a message over the bound or lose a descriptor.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};

/// Most bytes of one message.
pub(crate) const MESSAGE_BYTES_MAX: usize = 128 << 10;

pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

pub(crate) fn send(socket: impl AsFd, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// One message and at most one descriptor; None at the end of the socket.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Option<Received>> {
    // Asked first: room for the longest message would be zeroed, page by page, for each of a few hundred bytes.
    let (_, length) = recv(&socket, &mut [0; 0], RecvFlags::PEEK | RecvFlags::TRUNC)?;
    let received = receive_part(socket, length.clamp(1, MESSAGE_BYTES_MAX))?;
    Ok(received.map(|(bytes, mut fds)| (bytes, fds.pop())))
}

/// What a message is received as: its bytes, and the last descriptor that came with them.
pub(crate) type Received = (Vec<u8>, Option<OwnedFd>);
/// The same of a part of a stream, with all that came.
pub(crate) type ReceivedPart = (Vec<u8>, Vec<OwnedFd>);

/// At most `room` bytes of what has come, and at most two descriptors. Of a message, more than that is an error.
pub(crate) fn receive_part(socket: impl AsFd, room: usize) -> io::Result<Option<ReceivedPart>> {
    let mut bytes = vec![0; room];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut all = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            all.extend(fds);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    bytes.truncate(received.bytes);
    Ok(Some((bytes, all)))
}

/// Whether `fd` becomes readable (or ends) before `patience` is over.
pub(crate) fn readable(fd: impl AsFd, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}
