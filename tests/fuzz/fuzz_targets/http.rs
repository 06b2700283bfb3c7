#![no_main]
//! HTTP, and the other protocols that lines of text begin.

use fuzz::network::{TCP, converse};

libfuzzer_sys::fuzz_target!(|data: &[u8]| converse(TCP, 80, data));
