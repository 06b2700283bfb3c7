#![no_main]
//! DNS over UDP and over TCP, mDNS, LLMNR.

use fuzz::network::{TCP, UDP, converse};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for (protocol, port) in [(UDP, 53), (TCP, 53), (UDP, 5353), (UDP, 5355)] {
        converse(protocol, port, data);
    }
});
