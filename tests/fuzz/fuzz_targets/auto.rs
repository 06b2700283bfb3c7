#![no_main]
//! Any line.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::read(event::Format::Auto, "", data));
