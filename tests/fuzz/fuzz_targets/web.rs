#![no_main]
//! Access and error logs.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::read(event::Format::Web, "", data));
