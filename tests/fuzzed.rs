//! What the fuzz targets share, over a few inputs: their workspace needs a nightly compiler and is seldom built, and changes of `event`
//! and of the collector broke it unseen.

#![expect(unreachable_pub, reason = "the targets are other crates")]

use std::path::Path;

use event::Format;

#[path = "fuzz/exporter.rs"]
mod exporter;
#[path = "fuzz/lines.rs"]
mod lines;
#[path = "fuzz/network.rs"]
mod network;

use network::{TCP, UDP, converse};

const FORMATS: [Format; 7] =
    [Format::Auto, Format::Syslog, Format::Auditd, Format::Web, Format::Json, Format::Flow, Format::Otlp];

#[test]
fn lines_of_every_kind_hold_as_every_format() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/parse");
    let inputs = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for input in inputs.filter(|path| path.extension().is_some_and(|extension| extension == "in")) {
        let data = std::fs::read(input).unwrap();
        FORMATS.iter().for_each(|format| lines::read(*format, "", &data));
    }
}

#[test]
fn conversations_and_datagrams_hold() {
    let piece = |flags: u8, bytes: &[u8]| [&[flags, bytes.len().try_into().unwrap()], bytes].concat();
    let query = [b"\0\x07\x01\0\0\x01\0\0\0\0\0\0", &b"\x07example\x02vn\0\0\x01\0\x01"[..]].concat();
    converse(UDP, 53, &piece(0, &query));
    let answer = piece(0x80, b"HTTP/1.1 200 OK\r\n\r\n");
    converse(TCP, 80, &[piece(0, b"GET /a HTTP/1.1\r\n\r\n"), piece(0x40, b"lost"), answer].concat());
    let header = [&[0, 5, 0, 1][..], &[0; 20]].concat();
    exporter::decode(&piece(0, &[header, vec![9; 48]].concat()));
}
