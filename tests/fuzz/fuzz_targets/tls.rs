#![no_main]
//! The hellos of TLS, and whatever else a stream on its port begins with.

use fuzz::network::{TCP, converse};

libfuzzer_sys::fuzz_target!(|data: &[u8]| converse(TCP, 443, data));
