#![no_main]
//! DNS over UDP and over TCP, mDNS, LLMNR: the first byte says which.

use fuzz::network::{TCP, UDP, converse};

const WAYS: [(u8, u16); 4] = [(UDP, 53), (TCP, 53), (UDP, 5353), (UDP, 5355)];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((way, rest)) = data.split_first() else { return };
    let (protocol, port) = WAYS[usize::from(*way) % WAYS.len()];
    converse(protocol, port, rest);
});
