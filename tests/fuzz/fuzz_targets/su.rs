#![no_main]
//! What su says.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::read(
    event::Format::Syslog,
    "Nov 23 09:15:07 h su[1]: ",
    data
));
