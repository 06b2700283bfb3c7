#![no_main]
//! Messages on the wire: a batch that decodes has the records that it states.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _reply = event::Reply::decode(data);
    if let Ok(batch) = event::Batch::decode(data) {
        assert_eq!(batch.records().count(), batch.header.records as usize);
    }
});
