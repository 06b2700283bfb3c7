//! Records made to take more than they are worth: each is a few tens of kilobytes, as large as a chunk allows.

use super::*;

/// Tokens of a template behind its value: what is filled in where `0x0d` stands.
const END: u8 = 0x04;
const FILL_XML: [u8; 4] = [0x0d, 0, 0, 0x21];
const FILL_TEXT: [u8; 4] = [0x0d, 0, 0, 0x01];

fn u16_of(out: &mut Vec<u8>, number: usize) {
    out.extend(u16::try_from(number).unwrap().to_le_bytes());
}

fn u32_of(out: &mut Vec<u8>, number: usize) {
    out.extend(u32::try_from(number).unwrap().to_le_bytes());
}

/// A name that stands in the midst.
fn spell(out: &mut Vec<u8>, name: &str) {
    u32_of(out, out.len() + 4);
    out.extend([0; 6]);
    u16_of(out, name.len());
    out.extend(name.bytes().flat_map(|byte| [byte, 0]));
    out.extend([0; 2]);
}

/// The start of an element of a template.
fn open(out: &mut Vec<u8>, name: &str) {
    out.push(0x01);
    out.extend(INDEPENDENT.to_le_bytes());
    out.extend([0; 4]);
    spell(out, name);
    out.push(0x02);
}

/// A template of one value, defined where it is used; gives its place.
fn template(out: &mut Vec<u8>, definition: impl FnOnce(&mut Vec<u8>), kind: u8, value: &[u8]) -> usize {
    let place = out.len() + 14;
    out.extend([0x0f, 1, 1, 0, 0x0c, 1, 0, 0, 0, 0]);
    u32_of(out, place);
    out.extend([0; 24]);
    let start = out.len();
    out.extend([0x0f, 1, 1, 0]);
    definition(out);
    out.push(0);
    let bytes = u32::try_from(out.len() - start).unwrap();
    out[start - 4..start].copy_from_slice(&bytes.to_le_bytes());
    one_value(out, kind, value);
    place
}

fn one_value(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    u32_of(out, 1);
    u16_of(out, value.len());
    out.extend([kind, 0]);
    out.extend(value);
}

/// `outers` elements, each with the same elements in it.
fn nested(outers: usize, outer: &str, inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let definition = |out: &mut Vec<u8>| {
        open(out, "Event");
        for number in 0..outers {
            open(out, &format!("{outer}{number}"));
            out.extend(FILL_XML);
            out.push(END);
        }
        out.push(END);
    };
    template(&mut out, definition, 0x21, inner);
    out
}

/// Empty elements whose names stand at these places.
fn elements(places: impl Iterator<Item = usize>) -> Vec<u8> {
    let mut out = Vec::new();
    for place in places {
        out.extend([0x01, 0, 0, 0, 0]);
        u32_of(&mut out, place);
        out.push(0x03);
    }
    out
}

/// What is broken in a record that ends there.
fn read(chunk: &[u8], record: usize, out: &mut Cells) -> Option<&'static str> {
    Reader::new(chunk, out).record(0..record).err().map(|broken| broken.what)
}

#[test]
fn reads_a_name_as_long_as_the_limit_and_rejects_one_byte_more() {
    let names = |inner: usize| {
        let place = 2000;
        let mut chunk = nested(1, &"o".repeat(99), &elements([place].into_iter()));
        chunk.resize(place + 6, 0);
        u16_of(&mut chunk, inner);
        chunk.extend([b'i', 0].repeat(inner));
        let mut out = Cells::default();
        let broken = read(&chunk, chunk.len(), &mut out);
        let name = out.cells.first().map(|(name, _)| out.names.text(*name).len());
        (broken, name)
    };
    // A hundred bytes of the outer name, and the dot.
    assert_eq!(names(NAME_BYTES_MAX - 101), (None, Some(NAME_BYTES_MAX)));
    assert_eq!(names(NAME_BYTES_MAX - 100), (Some(NAME_BEYOND), None));
    assert_eq!(names(11_056), (Some(NAME_BEYOND), None));
}

#[test]
fn reads_a_name_within_the_record_and_rejects_one_behind_it() {
    let place = 2000;
    let mut chunk = nested(1, "o", &elements([place].into_iter()));
    chunk.resize(place + 6, 0);
    u16_of(&mut chunk, 1);
    chunk.extend([b'i', 0]);
    for (end, broken) in [(place + 1, None), (place, Some("a name or template behind the record"))] {
        assert_eq!(read(&chunk, end, &mut Cells::default()), broken);
    }
}

/// Names that lie over each other in the chunk, joined with each outer one: they once took 2.7 GB.
#[test]
fn names_of_a_block_are_bounded() {
    let region = 30_000;
    let mut chunk = nested(16, "o", &elements((0..2500).map(|number| region + 2 * number)));
    assert!(chunk.len() < region);
    chunk.resize(region, 0);
    // Each unit is a letter, and the length of a name.
    let mut random = 1_u32;
    while chunk.len() < 64 * 1024 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        chunk.extend([b'd' + (random >> 24) as u8 % 16, 0]);
    }
    let mut out = Cells::default();
    assert_eq!(read(&chunk, chunk.len(), &mut out), Some(NAME_BEYOND));
    assert!((NAMES_BYTES_KEPT_MAX..=NAMES_BYTES_MAX).contains(&out.names.bytes));
    out.clear();
    let names: Vec<&str> = out.names.list.iter().map(|name| &*name.text).collect();
    assert_eq!(names, KNOWN, "they are not kept for the next block");
}

/// Attributes outside of the event, filled again and again: their text was cut off before anybody counted it, 22 s of work
/// for one record.
#[test]
fn text_that_is_cut_off_is_counted() {
    let attributes = |compiles: bool, kind: u8, value: &[u8]| {
        let mut chunk = Vec::new();
        let definition = |out: &mut Vec<u8>| {
            out.push(0x41);
            out.extend(INDEPENDENT.to_le_bytes());
            out.extend([0; 4]);
            spell(out, "S");
            let name = out.len() - 12;
            out.extend([0; 4]);
            for _ in 0..1500 {
                out.push(0x06);
                u32_of(out, name);
                out.extend(FILL_TEXT);
            }
            out.push(0x03);
        };
        template(&mut chunk, definition, kind, value);
        let mut out = Cells::default();
        let mut reader = Reader { compiles, ..Reader::new(&chunk, &mut out) };
        let broken = reader.record(0..chunk.len()).err().map(|broken| broken.what);
        let text_end = reader.record.text_end;
        (broken.is_some(), text_end, out.cells.len(), out.text.len())
    };
    for compiles in [true, false] {
        let (is_broken, text_end, cells, text) = attributes(compiles, 0x01, &[1, 3].repeat(15_000));
        assert!(is_broken && text_end < 30_001, "{text_end}");
        assert!(cells == 0 && text <= 30_000, "{cells} {text}");
        // Texts of a list that are all empty.
        let (is_broken, text_end, ..) = attributes(compiles, 0x81, &[0; 30_000]);
        assert!(is_broken && text_end == 0, "{text_end}");
        // No more than the limit.
        let (is_broken, text_end, ..) = attributes(compiles, 0x01, &[b'a', 0].repeat(500));
        assert_eq!((is_broken, TEXT_BYTES_MAX + 1 - text_end), (false, 1500 * 501));
    }
}

/// Records that each make nearly as much of a shared template as one may: once 106 MB of one chunk, kept for ever.
#[test]
fn text_of_a_block_is_bounded() {
    let value = [b'x', 0].repeat(145);
    let (mut chunk, mut records) = (Vec::new(), Vec::new());
    let definition = |out: &mut Vec<u8>| {
        open(out, "Event");
        open(out, "A");
        (0..7000).for_each(|_| out.extend(FILL_TEXT));
        out.extend([END, END]);
    };
    let place = template(&mut chunk, definition, 0x01, &value);
    records.push(0..chunk.len());
    for _ in 0..108 {
        let start = chunk.len();
        chunk.extend([0x0f, 1, 1, 0, 0x0c, 1, 0, 0, 0, 0]);
        u32_of(&mut chunk, place);
        one_value(&mut chunk, 0x01, &value);
        records.push(start..chunk.len());
    }
    let mut out = Cells::default();
    let mut reader = Reader::new(&chunk, &mut out);
    let broken: Vec<_> = records.iter().filter_map(|range| reader.record(range.clone()).err()).collect();
    assert!(!broken.is_empty() && broken.iter().all(|broken| broken.what == BLOCK_FULL));
    assert_eq!(out.cells.len() + broken.len(), records.len(), "each record is an event, or is counted");
    assert!(out.text.len() < BLOCK_TEXT_BYTES_MAX + TEXT_BYTES_MAX);
    let spare = out.take_text(String::new());
    drop(out.take_text(spare));
    assert!(out.text.capacity() <= TEXT_BYTES_KEPT_MAX, "room for a large block is given back");
}

#[test]
fn fields_of_a_block_are_bounded() {
    let mut chunk = nested(FIELDS_MAX, "f", &[]);
    let place = 14;
    let mut records = Vec::from([std::ops::Range { start: 0, end: chunk.len() }]);
    for _ in 0..600 {
        let start = chunk.len();
        chunk.extend([0x0f, 1, 1, 0, 0x0c, 1, 0, 0, 0, 0]);
        u32_of(&mut chunk, place);
        one_value(&mut chunk, 0, &[]);
        records.push(start..chunk.len());
    }
    let mut out = Cells::default();
    let mut reader = Reader::new(&chunk, &mut out);
    let broken = records.iter().filter(|range| reader.record((*range).clone()).is_err()).count();
    assert_eq!(broken, records.len() - BLOCK_CELLS_MAX / FIELDS_MAX);
    assert_eq!(out.cells.len(), BLOCK_CELLS_MAX);
    out.clear();
    assert!(out.cells.capacity() <= CELLS_KEPT_MAX);
}
