#![no_main]
//! Frames of any link: the first byte says which, the flags of each how much later it comes.

use event::LinkType;
use fuzz::network::{Watched, pieces};

const LINKS: [LinkType; 6] = [
    LinkType::Ethernet,
    LinkType::RawIp,
    LinkType::Null,
    LinkType::LinuxSll,
    LinkType::LinuxSll2,
    LinkType::Ppp,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((link, rest)) = data.split_first() else { return };
    let mut watched = Watched::new(LINKS[usize::from(*link) % LINKS.len()]);
    for piece in pieces(rest) {
        let seconds = if piece.high { 100 } else { i64::from(piece.low) };
        watched.frame(piece.bytes, seconds * 1_000_000);
    }
    watched.end();
});
