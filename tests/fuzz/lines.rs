//! What the targets of parsers share: bytes as the lines of a batch, and what must hold of its events whatever the bytes are.

use event::{Batch, Events, Format, Header, Record, cuts_before};

/// Reads the lines of `data`, each behind `prefix`, and checks that every record belongs to exactly one event and that a
/// batch may not end within one.
pub fn read(format: Format, prefix: &str, data: &[u8]) {
    let lines: Vec<Vec<u8>> =
        data.split(|byte| *byte == b'\n').take(1000).map(|line| [prefix.as_bytes(), line].concat()).collect();
    let records = lines.iter().map(|bytes| Record { time: 1_795_400_107_000_000, offset: 0, bytes });
    let Ok(batch) = Batch::new(Header { format, ..Header::default() }, records) else { return };
    let mut events = Events::of(&batch);
    let mut next = 0;
    while let Some((event, records)) = events.next_with_records() {
        assert_eq!(event.record, next);
        next += event.records;
        let mut inside = records.windows(2);
        assert!(inside.all(|pair| !cuts_before(format, pair[0].bytes, Some(pair[1].bytes))));
    }
    assert_eq!(next as usize, lines.len());
}
