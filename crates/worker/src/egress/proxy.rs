//! The worker's end of one jail's egress: accepts on the listener that the jail handed out, from outside of it. Must never:
//! hold more connections than its bound, or outlive the jail.
use super::gate::Gate;
use super::network::Stream;
use super::{http, socks};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections of programs beyond those that may lead out at once: what is refused needs a place to be told so.
const SPARE: usize = 64;
/// Whatever a manifest allows, one jail may not use up the worker's descriptors.
const CONVERSATIONS_MAX: usize = 1024;
/// How long a program may take to say its first byte.
const FIRST: Duration = Duration::from_secs(10);
/// After a failed accept: the worker is short of descriptors, or the connection has gone.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until it is dropped, which ends every connection. `conversations_max`: what this worker has descriptors for.
pub(super) async fn serve(listener: TcpListener, gate: Gate, connections_max: u32, conversations_max: usize) {
    let places = (connections_max as usize).saturating_add(SPARE).min(CONVERSATIONS_MAX).min(conversations_max);
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            // While all places are taken, programs wait at the listener.
            accepted = listener.accept(), if talks.len() < places => match accepted {
                Ok((program, _)) => {
                    let _ = program.set_nodelay(true);
                    let gate = gate.clone();
                    talks.spawn(async move { converse(program, &gate).await });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection of a jail was not accepted");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = talks.join_next() => {}
        }
    }
}

/// One connection of a program: SOCKS5 if it begins like it, else HTTP.
pub async fn converse<S: Stream + 'static>(mut program: S, gate: &Gate) {
    match timeout(FIRST, program.read_u8()).await {
        Ok(Ok(socks::VERSION)) => socks::converse(program, gate).await,
        Ok(Ok(first)) => http::converse(program, &[first], gate).await,
        Ok(Err(_)) | Err(_) => {}
    }
}
