#![no_main]
//! NetFlow 5 and 9, and IPFIX: datagrams of one exporter, so that templates meet their data.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::exporter::decode(data));
