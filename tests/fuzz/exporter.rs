//! Datagrams of one exporter through the collector's decoder, and what must hold of it.

use std::net::SocketAddr;

use collector::{Decoder, Sender};

use super::network::pieces;

/// Decodes the pieces of an input.
pub fn decode(data: &[u8]) {
    decode_each(pieces(data).map(|piece| piece.bytes.to_vec()));
}

/// Every datagram is counted once, and every flow can be written.
pub fn decode_each(datagrams: impl Iterator<Item = Vec<u8>>) {
    let (mut decoder, mut line) = (Decoder::default(), Vec::new());
    let address = SocketAddr::from(([192, 0, 2, 1], 2055));
    for datagram in datagrams {
        let now = 1_795_400_107_000_000;
        let health = decoder.decode(Sender { address, sampling: 0 }, &datagram, now, &mut |flow| {
            line.clear();
            flow.write("", &mut line);
            assert!(line.ends_with(b"}\n") && line.len() < event::RECORD_BYTES_MAX);
        });
        assert_eq!(health.datagrams, 1);
    }
}
