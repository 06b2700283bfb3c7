#![no_main]
//! What cron says.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::read(
    event::Format::Syslog,
    "Nov 23 09:15:07 h cron[1]: ",
    data
));
