//! What a program may send the egress proxy after it has begun like SOCKS5: it ends, and nothing is reached but what the rules name.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tenure_fuzz::socks(bytes));
