//! How a program may spell a host: it ends, and nothing is reached but what the rules name.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tenure_fuzz::host(bytes));
