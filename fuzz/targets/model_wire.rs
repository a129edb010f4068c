//! What a model's provider sends over each of the three wires: reading it ends, keeps its bounds, and comes to the same
//! in whatever pieces the bytes come. The first byte says the wire, the second how long the pieces are.
#![no_main]

use bytes::Bytes;
use futures_util::stream;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::LazyLock;
use tenure_daemon::model::wire::{self, Reply, Wire};
use tenure_daemon::model::{ANSWER_BYTES_MAX, CALLS_MAX};
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime starts"));

fuzz_target!(|bytes: &[u8]| {
    let [wire, pieces, body @ ..] = bytes else { return };
    let wire = match wire {
        b'm' => Wire::Messages,
        b'r' => Wire::Responses,
        _ => Wire::Chat,
    };
    let at_once = read(wire, body, usize::MAX);
    let in_pieces = read(wire, body, usize::from(pieces & 63) + 1);
    assert_eq!(at_once, in_pieces, "the pieces change what is read");
});

fn read(wire: Wire, body: &[u8], piece: usize) -> Result<Reply, String> {
    let offered: BTreeSet<String> = ["read", "write"].map(str::to_owned).into();
    let chunks: Vec<Result<Bytes, Infallible>> =
        body.chunks(piece.min(body.len().max(1))).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let mut said = String::new();
    let mut text = |piece: &str| said.push_str(piece);
    let outcome = RUNTIME.block_on(wire::read(wire, offered, stream::iter(chunks), &mut text));
    let reply = outcome.map_err(|error| format!("{error:?}"))?;
    assert_eq!(said, reply.text, "watchers see another text than is kept");
    assert!(reply.text.len() <= ANSWER_BYTES_MAX && reply.calls.len() <= CALLS_MAX);
    assert!(reply.calls.iter().flat_map(|call| &call.arguments).all(serde_json::Value::is_object));
    Ok(reply)
}
