#![no_main]
//! JSON lines.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::read(event::Format::Json, "", data));
