//! The frames between daemon and worker: whatever the bytes, reading ends, and what was understood is the same when it is
//! written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tenure_wire::frame::{FromWorker, ToWorker, encode, length};

fn read<F>(bytes: &[u8])
where
    F: serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug,
{
    let Some((prefix, rest)) = bytes.split_first_chunk::<4>() else { return };
    let Ok(announced) = length(*prefix) else { return };
    let Ok(frame) = serde_json::from_slice::<F>(&rest[..announced.min(rest.len())]) else { return };
    let again = encode(&frame).expect("a frame that came fits into one");
    let again: F = serde_json::from_slice(&again[4..]).expect("it was just written");
    assert_eq!(again, frame);
}

fuzz_target!(|bytes: &[u8]| {
    read::<FromWorker>(bytes);
    read::<ToWorker>(bytes);
});
