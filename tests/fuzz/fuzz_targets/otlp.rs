#![no_main]
//! OTLP records.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::read(event::Format::Otlp, "", data));
