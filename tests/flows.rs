//! Our flows against the truth of others: arkime's documents of sessions, packet for packet and byte for byte by Community ID.
//!
//! `tests/data/flows.tsv` names each capture in which the two differ, and why. A capture that differs and is not named fails, and
//! so does one that is named and does not differ.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use event::{Meter, MeterConfig, Packets};
use serde_json::Value as Json;

use crate::corpus::corpus;
use crate::site::root;

/// Packets and bytes of frames, by Community ID.
type Totals = BTreeMap<String, (u64, u64)>;

/// What our meter says of a capture.
fn metered(path: &Path) -> Result<Totals> {
    let mut packets = Packets::new(File::open(path)?)?;
    let mut meter = Meter::new(MeterConfig::default());
    let mut text = Vec::new();
    while let Some(packet) = packets.next().with_context(|| path.display().to_string())? {
        meter.packet(&packet, &mut text);
    }
    while meter.flush(&mut text) {}
    let mut totals = Totals::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let flow: Json = serde_json::from_slice(line)?;
        if flow["kind"] != "flow" {
            continue;
        }
        let sum = |what: &str| {
            let side = |side: &str| flow[format!("{side}_{what}")].as_u64().unwrap_or(0);
            side("src") + side("dst")
        };
        add(&mut totals, &flow["community_id"], sum("packets"), sum("frame_bytes"));
    }
    Ok(totals)
}

/// The sessions of arkime's document.
fn sessions(path: &Path) -> Result<Vec<Json>> {
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

/// Why captures differ, by their names.
fn reasons() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("tests/data/flows.tsv")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, why)| (name.to_owned(), why.to_owned()))
        .collect()
}

/// arkime's captures that have a document of sessions, without the document's ending.
fn captures(folder: &Path) -> Vec<(String, std::path::PathBuf)> {
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
    let Some(folder) = corpus("pcap/arkime/tests/pcap") else { return Ok(()) };
    let mut reasons = reasons();
    let (mut seen, mut wrong) = (0, Vec::new());
    for (name, capture) in captures(&folder) {
        let ours = metered(&capture)?;
        let mut theirs = Totals::new();
        for session in sessions(&folder.join(&name).with_extension("test"))? {
            let number = |what: &str| session["network"][what].as_u64().unwrap_or(0);
            add(&mut theirs, &session["network"]["community_id"], number("packets"), number("bytes"));
        }
        seen += 1;
        match (ours == theirs, reasons.remove(&name)) {
            (true, None) => {}
            (false, Some(why)) if !why.is_empty() => {}
            (true, Some(_)) => wrong.push(format!("{name}: named in flows.tsv and equal")),
            (false, _) => wrong.push(format!("{name}\t{ours:?}\t{theirs:?}")),
        }
    }
    wrong.extend(reasons.into_keys().map(|name| format!("{name}: named in flows.tsv and no capture")));
    assert!(wrong.is_empty(), "{} of {seen}:\n{}", wrong.len(), wrong.join("\n"));
    ensure!(seen > 150, "only {seen} captures");
    Ok(())
}
