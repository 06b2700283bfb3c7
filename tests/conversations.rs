//! Our flows against tshark's dissection of the same packets, over every capture of the corpus: packets and bytes of each pair of
//! endpoints, exactly.
//!
//! `tests/data/conversations.tsv` names each conversation in which the two differ, and why. All captures go through one tshark, one
//! after the other, because its start takes longer than most of them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::corpus::corpus;
use crate::differences::Differences;
use crate::flows::{both, metered};
use crate::site::present;

/// A transport and its two endpoints, the lower one first.
type Pair = (String, (IpAddr, u16), (IpAddr, u16));
/// Packets and bytes of frames.
type Totals = BTreeMap<Pair, (u64, u64)>;

/// What tshark is asked of each packet.
const FIELDS: [&str; 16] = [
    "frame.number",
    "frame.len",
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "ip.id",
    "ip.frag_offset",
    "ipv6.src",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "sctp.srcport",
    "sctp.dstport",
];

/// Fragments stay fragments, as they are on the wire; nothing is put together or analysed.
const PREFERENCES: [&str; 4] = [
    "ip.defragment:FALSE",
    "ipv6.defragment:FALSE",
    "tcp.desegment_tcp_streams:FALSE",
    "tcp.analyze_sequence_numbers:FALSE",
];
/// Packets that an ICMP error quotes are no conversation.
const FILTER: &str = "(tcp or udp or sctp or ip.frag_offset > 0) and not icmp and not icmpv6";

fn pair(proto: &str, one: (IpAddr, u16), other: (IpAddr, u16)) -> Pair {
    (proto.to_owned(), one.min(other), one.max(other))
}

fn add(totals: &mut Totals, pair: Pair, packets: u64, bytes: u64) {
    let total = totals.entry(pair).or_default();
    *total = (total.0 + packets, total.1 + bytes);
}

/// What our meter says.
fn ours(capture: &Path) -> Result<Totals> {
    let mut totals = Totals::new();
    for flow in metered(capture)?.iter().filter(|line| line["kind"] == "flow") {
        let proto = flow["proto"].as_str().unwrap_or_default();
        if matches!(proto, "tcp" | "udp" | "sctp") {
            let end = |side: &str| end(flow, side).with_context(|| flow.to_string());
            let pair = pair(proto, end("src")?, end("dst")?);
            add(&mut totals, pair, both(flow, "packets"), both(flow, "frame_bytes"));
        }
    }
    Ok(totals)
}

fn end(flow: &Json, side: &str) -> Option<(IpAddr, u16)> {
    let address = flow[format!("{side}_ip")].as_str()?.parse().ok()?;
    Some((address, flow[format!("{side}_port")].as_u64()?.try_into().ok()?))
}

/// A packet as tshark shows it: of fields that stand in it several times, the last, which is the innermost.
struct Dissected<'l>(HashMap<&'static str, &'l str>);

impl<'l> Dissected<'l> {
    fn read(line: &'l str) -> Self {
        Self(FIELDS.into_iter().zip(line.split('|')).collect())
    }

    fn number(&self, field: &str) -> Option<u64> {
        let value = self.0[field];
        value.strip_prefix("0x").map_or(value.parse().ok(), |digits| u64::from_str_radix(digits, 16).ok())
    }

    /// Whichever of the protocols was dissected last.
    fn innermost(&self, protocols: &[&'static str]) -> Option<&'static str> {
        let dissected = self.0["frame.protocols"].rsplit(':');
        dissected.into_iter().find_map(|name| protocols.iter().find(|known| **known == name)).copied()
    }

    fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        // ARP within a tunnel is the innermost, and has none of these.
        let ip = self.innermost(&["ip", "ipv6", "arp"]).filter(|name| *name != "arp")?;
        let address = |field| self.0[format!("{ip}.{field}").as_str()].parse().ok();
        Some((address("src")?, address("dst")?))
    }

    /// The conversation. A later fragment has no ports: it belongs to the conversation of its first, remembered in `fragmented`.
    fn pair(&self, fragmented: &mut HashMap<(IpAddr, IpAddr, u64), Pair>) -> Option<Pair> {
        let (src, dst) = self.addresses()?;
        let datagram = (src, dst, self.number("ip.id").unwrap_or_default());
        if self.number("ip.frag_offset").is_some_and(|offset| offset > 0) {
            let proto = match self.number("ip.proto")? {
                6 => "tcp",
                17 => "udp",
                132 => "sctp",
                _ => return None,
            };
            let first = fragmented.get(&datagram).filter(|first| first.0 == proto);
            return Some(first.cloned().unwrap_or_else(|| pair(proto, (src, 0), (dst, 0))));
        }
        let proto = self.innermost(&["tcp", "udp", "sctp"])?;
        let port = |side| u16::try_from(self.number(&format!("{proto}.{side}port"))?).ok();
        let pair = pair(proto, (src, port("src")?), (dst, port("dst")?));
        fragmented.insert(datagram, pair.clone());
        Some(pair)
    }
}

fn run(program: &str, arguments: &mut Command) -> Result<String> {
    let output = arguments.output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// What tshark says of each of the captures.
fn theirs(captures: &[PathBuf]) -> Result<Vec<Totals>> {
    let folder = TempDir::new()?;
    let all = folder.path().join("all.pcapng");
    run("mergecap", Command::new("mergecap").args(["-a", "-I", "none", "-w"]).arg(&all).args(captures))?;
    let counts = run("capinfos", Command::new("capinfos").args(["-Tmcr"]).args(captures))?;
    let counts = counts.lines().map(|line| Ok(line.rsplit(',').next().context("count")?.parse::<u64>()?));
    let counts = counts.collect::<Result<Vec<_>>>()?;
    ensure!(counts.len() == captures.len(), "capinfos: {} of {}", counts.len(), captures.len());

    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-r"]).arg(&all).args([
        "-Y",
        FILTER,
        "-T",
        "fields",
        "-E",
        "occurrence=l",
        "-E",
        "separator=|",
    ]);
    tshark.args(PREFERENCES.iter().flat_map(|preference| ["-o", preference]));
    tshark.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    let mut totals = vec![Totals::new(); captures.len()];
    let (mut place, mut before, mut fragmented) = (0, 0, HashMap::new());
    for line in run("tshark", &mut tshark)?.lines() {
        let packet = Dissected::read(line);
        let number = packet.number("frame.number").context("frame.number")?;
        while number > before + counts[place] {
            before += counts[place];
            place += 1;
            fragmented.clear();
        }
        if let Some(pair) = packet.pair(&mut fragmented) {
            add(&mut totals[place], pair, 1, packet.number("frame.len").context("frame.len")?);
        }
    }
    Ok(totals)
}

/// Every capture below a folder.
fn captures(folder: &Path) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter();
    let files = files.map(|entry| entry.unwrap().into_path());
    let is_capture = |path: &PathBuf| {
        path.extension()
            .is_some_and(|ending| ["pcap", "pcapng", "trace"].iter().any(|known| ending == *known))
    };
    files.filter(is_capture).collect()
}

#[test]
fn flows_are_those_of_tshark_packet_for_packet_or_say_why_not() -> Result<()> {
    let test = "flows_are_those_of_tshark_packet_for_packet_or_say_why_not";
    let Some(folder) = corpus("pcap") else { return Ok(()) };
    if !present("tshark", "tshark", test) {
        return Ok(());
    }
    let captures = captures(&folder);
    ensure!(captures.len() > 200, "only {} captures", captures.len());
    let mut differences = Differences::of("conversations.tsv");
    for (capture, theirs) in captures.iter().zip(theirs(&captures)?) {
        let ours = ours(capture)?;
        let pairs: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
        for pair in pairs {
            let [(packets, bytes), (their_packets, their_bytes)] =
                [&ours, &theirs].map(|totals| totals.get(pair).copied().unwrap_or_default());
            if (packets, bytes) != (their_packets, their_bytes) {
                let (proto, (one, one_port), (other, other_port)) = pair;
                let name = capture.file_name().unwrap_or_default().to_string_lossy();
                differences.found(format!(
                    "{name}\t{proto} {one} {one_port} {other} {other_port}\t{packets} {bytes}\t{their_packets} {their_bytes}"
                ));
            }
        }
    }
    differences.end();
    Ok(())
}
