#![no_main]
//! Audit records, whole.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::read(event::Format::Auditd, "", data));
