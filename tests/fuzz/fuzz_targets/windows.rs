#![no_main]
//! Windows events as JSON: what follows an event's channel and number.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz::read(event::Format::Json, r#"{"Channel":"Security","EventID":4688,"#, data);
});
