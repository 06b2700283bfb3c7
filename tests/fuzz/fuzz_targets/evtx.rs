#![no_main]
//! Windows event log files: the binary XML of a record whose frame is whole, and the same bytes as a chunk of any kind. Its head
//! says that all of it is written.

use event::{EVTX_CHUNK_BYTES, EvtxBlock};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut chunk = b"ElfChnk\0".to_vec();
    chunk.resize(512, 0);
    chunk[48..52].fill(0xff);
    chunk.extend_from_slice(data);
    read(&chunk);
    let size = ((data.len() + 28) as u32).to_le_bytes();
    chunk.splice(512..512, [b"**\0\0", &size[..], &[7; 16]].concat());
    chunk.extend_from_slice(&size);
    read(&chunk);
});

/// What is read has fields, and a text no longer than a record may expand to.
fn read(chunk: &[u8]) {
    let mut block = EvtxBlock::default();
    block.read(&chunk[..chunk.len().min(EVTX_CHUNK_BYTES)]);
    assert!(block.events(0).all(|(_, event)| !event.fields.is_empty() && event.message.len() < 4 << 20));
}
