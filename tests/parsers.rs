//! The parsers: golden pairs.
//!
//! `data/parse/NAME.in` is a header line `#! format=... offset=SECONDS receipt=TIME [category= product= service=]` and the records,
//! one a line; `NAME.out` is what the parser makes of them. A new case is a new file. `UPDATE=1` rewrites the `.out` files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use event::{Batch, Events, Format, Header, Record, Value};

#[test]
fn golden_pairs_agree() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/parse");
    let mut inputs: Vec<PathBuf> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.retain(|path| path.extension().is_some_and(|extension| extension == "in"));
    assert!(inputs.len() >= 10, "{} holds {} cases", folder.display(), inputs.len());
    let mut stale = Vec::new();
    for input in inputs {
        let found = render(&batch(&fs::read(&input).unwrap()));
        let output = input.with_extension("out");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&output, &found).unwrap();
        } else if fs::read_to_string(&output).ok().as_deref() != Some(&found) {
            let expected = fs::read_to_string(&output).unwrap_or_default();
            stale.push(format!("{}:\n{}", input.display(), first_difference(&expected, &found)));
        }
    }
    assert!(stale.is_empty(), "not as recorded (UPDATE=1 rewrites):\n{}", stale.join("\n"));
}

/// The batch that a `.in` file describes.
fn batch(input: &[u8]) -> Batch {
    let mut lines = input.split(|byte| *byte == b'\n');
    let head =
        std::str::from_utf8(lines.next().unwrap()).unwrap().strip_prefix("#! ").expect("a header line");
    let options: BTreeMap<&str, &str> = head.split(' ').filter_map(|option| option.split_once('=')).collect();
    let option = |name: &str| options.get(name).copied().unwrap_or_default();
    let receipt = option("receipt").parse::<jiff::Timestamp>().unwrap().as_microsecond();
    let header = Header {
        agent: "web01".into(),
        source: "golden".into(),
        format: Format::from_name(option("format")).unwrap(),
        category: option("category").into(),
        product: option("product").into(),
        service: option("service").into(),
        utc_offset_s: option("offset").parse().unwrap(),
        time_base: receipt,
        ..Header::default()
    };
    let mut records: Vec<&[u8]> = lines.collect();
    records.pop_if(|last| last.is_empty());
    Batch::new(header, records.into_iter().map(|bytes| Record { time: receipt, offset: 0, bytes })).unwrap()
}

fn render(batch: &Batch) -> String {
    let mut events = Events::of(batch);
    let mut text = String::new();
    while let Some((event, records)) = events.next_with_records() {
        let source = event.log_source;
        let time = jiff::Timestamp::from_microsecond(event.ts).unwrap();
        writeln!(
            text,
            "{}+{} {} {time} {} [{} {} {}]",
            event.record,
            event.records,
            event.status.as_str(),
            event.ts_quality.as_str(),
            source.category,
            source.product,
            source.service
        )
        .unwrap();
        let raw = records[0].bytes;
        writeln!(text, "  | {}", String::from_utf8_lossy(raw).escape_debug()).unwrap();
        if event.records == 1 && event.message.as_bytes() != raw {
            writeln!(text, "  message: {}", event.message.escape_debug()).unwrap();
        }
        for (name, value) in &event.fields {
            match value {
                Value::Text(value) => writeln!(text, "  {name} = \"{}\"", value.escape_debug()).unwrap(),
                other => writeln!(text, "  {name} = {other:?}").unwrap(),
            }
        }
    }
    text
}

fn first_difference(expected: &str, found: &str) -> String {
    let (number, (expected, found)) = (1..)
        .zip(expected.lines().chain(["(end)"]).zip(found.lines().chain(["(end)"])))
        .find(|(_, (expected, found))| expected != found)
        .unwrap_or((0, ("", "")));
    format!("  line {number}\n  recorded: {expected}\n  found:    {found}")
}
