#![no_main]
//! What PAM's modules say.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::read(
    event::Format::Syslog,
    "Nov 23 09:15:07 h sshd[1]: pam_unix(sshd:auth): ",
    data
));
