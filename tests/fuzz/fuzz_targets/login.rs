#![no_main]
//! What login says.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::read(
    event::Format::Syslog,
    "Nov 23 09:15:07 h login[1]: ",
    data
));
