#![no_main]
//! The pairs of audit records of one event.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::read(
    event::Format::Auditd,
    "type=EXECVE msg=audit(1795400107.120:501): ",
    data
));
