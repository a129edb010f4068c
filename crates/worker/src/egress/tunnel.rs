//! Bytes both ways between a program and a place outside. Must never: outlive the silence of both.
use super::metered::Watch;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

/// A tunnel in which nothing moves for so long ends; so does an exchange over HTTP.
pub(super) const IDLE: Duration = Duration::from_secs(300);

pub(super) async fn join<A, B>(mut inside: A, mut outside: B, watch: Watch)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        // How it ends is the two sides' affair.
        _ = copy_bidirectional(&mut inside, &mut outside) => {}
        () = watch.idle(IDLE) => {}
    }
}
