#![no_main]
//! The envelope of syslog.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::read(event::Format::Syslog, "", data));
