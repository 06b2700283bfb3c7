//! Our flows against the truth of others: arkime's documents of sessions, packet for packet and byte for byte by Community ID.
//!
//! `tests/data/flows.tsv` names each capture in which the two differ, and why.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use event::{Meter, MeterConfig, Packets};
use serde_json::Value as Json;

use crate::corpus::corpus;
use crate::differences::Differences;

/// arkime's captures and their documents.
pub(crate) const ARKIME: &str = "pcap/arkime/tests/pcap";

/// Packets and bytes of frames, by Community ID.
type Totals = BTreeMap<String, (u64, u64)>;

/// The lines that our meter writes of a capture.
pub(crate) fn metered(path: &Path) -> Result<Vec<Json>> {
    let mut packets = Packets::new(File::open(path)?)?;
    let mut meter = Meter::new(MeterConfig::default());
    let mut text = Vec::new();
    while let Some(packet) = packets.next().with_context(|| path.display().to_string())? {
        meter.packet(&packet, &mut text);
    }
    while meter.flush(&mut text) {}
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
}

/// A counter of a flow's record, both sides together: `packets`, `frame_bytes`.
pub(crate) fn both(flow: &Json, what: &str) -> u64 {
    let side = |side: &str| flow[format!("{side}_{what}")].as_u64().unwrap_or(0);
    side("src") + side("dst")
}

/// The sessions of arkime's document.
pub(crate) fn sessions(path: &Path) -> Result<Vec<Json>> {
    let document: Json = serde_json::from_slice(&fs::read(path)?)?;
    let sessions = document["sessions3"].as_array().context("sessions3")?;
    Ok(sessions.iter().map(|session| session["body"].clone()).collect())
}

fn add(totals: &mut Totals, id: &Json, packets: u64, bytes: u64) {
    if let Some(id) = id.as_str() {
        let total = totals.entry(id.to_owned()).or_default();
        *total = (total.0 + packets, total.1 + bytes);
    }
}

/// arkime's captures that have a document of sessions, without the document's ending.
pub(crate) fn captures(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let capture = ["pcap", "pcapng"].map(|ending| path.with_extension(ending));
        if path.extension().is_some_and(|ending| ending == "test")
            && let Some(capture) = capture.into_iter().find(|path| path.is_file())
        {
            found.push((path.file_stem().unwrap().to_string_lossy().into_owned(), capture));
        }
    }
    found.sort();
    found
}

#[test]
fn flows_are_those_of_arkime_packet_for_packet_or_say_why_not() -> Result<()> {
    let Some(folder) = corpus(ARKIME) else { return Ok(()) };
    let mut differences = Differences::of("flows.tsv");
    let captures = captures(&folder);
    ensure!(captures.len() > 150, "only {} captures", captures.len());
    for (name, capture) in captures {
        let (mut ours, mut theirs) = (Totals::new(), Totals::new());
        for flow in metered(&capture)?.iter().filter(|line| line["kind"] == "flow") {
            add(&mut ours, &flow["community_id"], both(flow, "packets"), both(flow, "frame_bytes"));
        }
        for session in sessions(&folder.join(&name).with_extension("test"))? {
            let number = |what: &str| session["network"][what].as_u64().unwrap_or(0);
            add(&mut theirs, &session["network"]["community_id"], number("packets"), number("bytes"));
        }
        if ours != theirs {
            differences.found(name);
        }
    }
    differences.end();
    Ok(())
}
