#![no_main]
//! Requests in an access log.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::read(
    event::Format::Web,
    "203.0.113.9 - - [23/Nov/2026:09:15:07 +0700] \"GET ",
    data
));
