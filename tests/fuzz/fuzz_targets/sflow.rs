#![no_main]
//! sFlow: the version is put before every datagram, so that none is taken for NetFlow.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let datagrams = fuzz::network::pieces(data).map(|piece| [&[0, 0, 0, 5], piece.bytes].concat());
    fuzz::exporter::decode_each(datagrams);
});
