//! What a program may send the egress proxy, when it begins like HTTP: it ends, and nothing is reached but what the rules name.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tenure_fuzz::http(bytes));
