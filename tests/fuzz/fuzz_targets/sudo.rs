#![no_main]
//! What sudo says.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::read(
    event::Format::Syslog,
    "Nov 23 09:15:07 h sudo[1]: ",
    data
));
