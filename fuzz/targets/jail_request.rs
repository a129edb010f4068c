//! The frames that a jail takes from its worker, and a worker from its jail: whatever the bytes, decoding ends, takes no more
//! than it was given, and a frame that was understood is the same when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tenure_sandbox::protocol::{Hello, Reply, Request, decode, encode};

/// As a reader does it: frame after frame from the front of what came.
fn read<H>(mut bytes: &[u8])
where
    H: serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug,
{
    while let Ok(Some(frame)) = decode::<H>(bytes) {
        assert!(frame.consumed > 4 && frame.consumed <= bytes.len(), "took {} of {}", frame.consumed, bytes.len());
        assert!(frame.body.len() < frame.consumed);
        // JSON may be written shorter than it came, never so that it is another thing.
        let again = encode(&frame.header, &frame.body).expect("what came in a frame fits into one");
        let again = decode::<H>(&again).expect("it was just written").expect("it is whole");
        assert_eq!((again.header, again.body), (frame.header, frame.body));
        bytes = &bytes[frame.consumed..];
    }
}

fuzz_target!(|bytes: &[u8]| {
    read::<Request>(bytes);
    read::<Reply>(bytes);
    read::<Hello>(bytes);
});
