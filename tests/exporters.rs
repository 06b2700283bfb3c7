//! Flow records of real devices: decoded here, by the truth that comes with them, and by nfdump's collectors; then through a real
//! collector into its store.
//!
//! `tests/data/exporters.tsv` holds what is expected of each group of datagrams, from us and from nfdump, and why the two differ where
//! they do. A test that finds another number shows the line that should stand there.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use collector::{Decoder, Health, Sender};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{LegacyPcapReader, PcapBlockOwned, PcapError};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::corpus::corpus;
use crate::site::{Site, engine_present, free_port, present, root, until};

/// A capture that softflowd turns into flows: 67 SSH connections of a password guesser.
const CAPTURE: &str =
    "pcap/stratosphereips+StratosphereLinuxIPS/dataset/test19-malicious-ssh/malicious-ssh-bruteforce.pcap";
/// How long a receiver waits for a datagram before it looks whether the exporter has ended.
const MOMENT: Duration = Duration::from_millis(400);

/// A payload of UDP, and who sent it.
type Datagram = (SocketAddr, Vec<u8>);

/// What many flows are together, as they were exported: before sampling is accounted for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Totals {
    flows: u64,
    packets: u64,
    bytes: u64,
}

impl std::fmt::Display for Totals {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}\t{}\t{}", self.flows, self.packets, self.bytes)
    }
}

/// What we make of datagrams, as if each came when it was sent.
fn decoded(datagrams: &[Datagram]) -> (Totals, Health) {
    let (mut decoder, mut totals, mut health) = (Decoder::default(), Totals::default(), Health::default());
    for (address, bytes) in datagrams {
        let sender = Sender { address: *address, sampling: 0 };
        health += decoder.decode(sender, bytes, sent_at(bytes), &mut |flow| {
            let rate = u64::from(flow.sampling.max(1));
            totals.flows += 1;
            totals.packets += (flow.src.packets + flow.dst.packets) / rate;
            totals.bytes += (flow.src.bytes + flow.dst.bytes) / rate;
        });
    }
    (totals, health)
}

/// The export time in the header, in microseconds.
fn sent_at(bytes: &[u8]) -> i64 {
    let at = if bytes.starts_with(&[0, 10]) { 4 } else { 8 };
    let seconds = bytes.get(at..at + 4).map_or(0, |word| u32::from_be_bytes(word.try_into().unwrap()));
    i64::from(seconds) * 1_000_000
}

/// The payloads of UDP in a capture.
fn captured(path: &Path) -> Vec<Datagram> {
    let mut reader = LegacyPcapReader::new(1 << 20, fs::File::open(path).unwrap()).unwrap();
    let mut datagrams = Vec::new();
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                if let PcapBlockOwned::Legacy(packet) = block {
                    datagrams.extend(udp(packet.data));
                }
                reader.consume(offset);
            }
            Err(PcapError::Eof) => return datagrams,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
}

/// The payload of UDP in an Ethernet frame without tags, and its sender.
fn udp(frame: &[u8]) -> Option<Datagram> {
    let packet = frame.get(14..)?;
    let (source, datagram): (IpAddr, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 15) * 4;
            let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            (Ipv4Addr::from(<[u8; 4]>::try_from(&packet[12..16]).ok()?).into(), packet.get(header..length)?)
        }
        _ => {
            let length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
            let source = Ipv6Addr::from(<[u8; 16]>::try_from(&packet[8..24]).ok()?);
            (source.into(), packet.get(40..40 + length)?)
        }
    };
    let port = u16::from_be_bytes(datagram.get(..2)?.try_into().ok()?);
    Some(((source, port).into(), datagram.get(8..)?.to_vec()))
}

/// Datagrams of one device each, templates first: files are named DEVICE_tpl... and DEVICE_data...
fn device_groups(folder: &Path) -> BTreeMap<String, Vec<Datagram>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "dat"));
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    files.sort_by_key(|path| (!name(path).contains("tpl"), name(path)));
    let mut groups: BTreeMap<String, Vec<Datagram>> = BTreeMap::new();
    for path in files {
        let name = name(&path);
        let ends = ["_tpl", "_data", "_opttpl"].iter().filter_map(|part| name.find(part));
        let device = name[..ends.min().unwrap_or(name.len())].to_owned();
        let datagram = (SocketAddr::from(([192, 0, 2, 1], 2055)), fs::read(path).unwrap());
        groups.entry(device).or_default().push(datagram);
    }
    groups
}

/// Bytes that wait at the socket of a port of UDP; none when nobody has it (proc(5), /proc/net/udp).
fn waiting(port: u16) -> Result<Option<u64>> {
    let table = fs::read_to_string("/proc/net/udp")?;
    let row = table.lines().find(|line| {
        line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&format!(":{port:04X}")))
    });
    let queue = row.and_then(|row| row.split_whitespace().nth(4)?.split_once(':'));
    Ok(queue.map(|(_, received)| u64::from_str_radix(received, 16)).transpose()?)
}

/// nfcapd or sfcapd, receiving.
struct Peer {
    process: Child,
    folder: TempDir,
    port: u16,
}

impl Peer {
    fn start(program: &str) -> Result<Self> {
        let (folder, port) = (TempDir::new()?, free_port());
        let process = Command::new(program)
            .args(["-b", "127.0.0.1", "-t", "3600", "-B", "4000000", "-w"])
            .arg(folder.path())
            .args(["-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| program.to_owned())?;
        until("the peer listens", || waiting(port))?;
        Ok(Self { process, folder, port })
    }

    fn send(&self, datagrams: &[Datagram]) -> Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        for (_, bytes) in datagrams {
            socket.send_to(bytes, ("127.0.0.1", self.port))?;
        }
        Ok(())
    }

    /// Ends it; what it wrote.
    fn totals(mut self) -> Result<Totals> {
        until("the peer has read all", || Ok(waiting(self.port)?.filter(|bytes| *bytes == 0)))?;
        Command::new("kill").arg(self.process.id().to_string()).status()?;
        self.process.wait()?;
        let output = Command::new("nfdump").arg("-R").arg(self.folder.path()).args(["-o", "csv"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines().take_while(|line| !line.starts_with("Summary"));
        let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let column = |name| names.iter().position(|found| *found == name);
        let columns = ["ipkt", "opkt", "ibyt", "obyt"].map(column);
        let mut totals = Totals::default();
        for line in lines.filter(|line| line.contains(',')) {
            let values: Vec<&str> = line.split(',').collect();
            let number = |at: Option<usize>| at.and_then(|at| values.get(at)?.trim().parse::<u64>().ok());
            let [ipkt, opkt, ibyt, obyt] = columns.map(|at| number(at).unwrap_or(0));
            totals.flows += 1;
            totals.packets += ipkt + opkt;
            totals.bytes += ibyt + obyt;
        }
        Ok(totals)
    }
}

/// The lines of the data file: group, what we decode, what nfdump decodes, why they differ.
fn expectations() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(root().join("tests/data/exporters.tsv")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut columns = line.split('\t').map(str::to_owned);
            (columns.next().unwrap_or_default(), columns.collect())
        })
        .collect()
}

/// Compares one group with the data file. `peer` is nfdump's, if it is there.
fn compare(group: &str, ours: Totals, peer: Option<Totals>, wrong: &mut Vec<String>) {
    let expected = expectations().remove(group).unwrap_or_default();
    let [flows, packets, bytes, rest @ ..] = expected.as_slice() else {
        wrong.push(format!("{group}\t{ours}\t{}\t", peer.unwrap_or_default()));
        return;
    };
    let same = [flows, packets, bytes].map(String::as_str).join("\t") == ours.to_string();
    let same_peer = peer.is_none_or(|peer| rest.iter().take(3).eq(peer.to_string().split('\t')));
    let explained = peer.is_none_or(|peer| peer == ours) || rest.get(3).is_some_and(|why| !why.is_empty());
    if !(same && same_peer && explained) {
        let why = rest.get(3).cloned().unwrap_or_default();
        wrong.push(format!("{group}\t{ours}\t{}\t{why}", peer.unwrap_or_default()));
    }
}

fn assert_as_expected(wrong: &[String]) {
    assert!(wrong.is_empty(), "tests/data/exporters.tsv should say:\n{}", wrong.join("\n"));
}

/// Datagrams of some forty makes of devices.
#[test]
fn decodes_the_datagrams_of_many_vendors_as_nfdump_does_or_says_why_not() -> Result<()> {
    let test = "decodes_the_datagrams_of_many_vendors";
    let Some(folder) = corpus("flow-export/logstash/spec/codecs") else { return Ok(()) };
    let nfdump = present("nfcapd", "nfdump", test);
    let mut wrong = Vec::new();
    for (device, datagrams) in device_groups(&folder) {
        let (ours, health) = decoded(&datagrams);
        assert_eq!(ours.flows, health.records, "{device}");
        let peer = nfdump.then(|| Peer::start("nfcapd")).transpose()?;
        let peer = peer.map(|peer| peer.send(&datagrams).and_then(|()| peer.totals())).transpose()?;
        let told = health.malformed + health.sets_unread + health.sets_waiting + health.other_records;
        let fewer = peer.is_some_and(|peer| peer.flows > ours.flows);
        assert!(!fewer || told > 0, "{device}: fewer than nfdump, in silence: {health:?}");
        compare(&device, ours, peer, &mut wrong);
    }
    assert_as_expected(&wrong);
    Ok(())
}

/// Captures of routers, each with every record written out by another decoder.
#[test]
fn decodes_captures_of_routers_as_their_truth_says() -> Result<()> {
    let Some(folder) = corpus("flow-export/netgauze/assets/pcaps") else { return Ok(()) };
    let captures = walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.unwrap().into_path());
    let (mut seen, mut wrong) = (0, Vec::new());
    for capture in captures.filter(|path| path.extension().is_some_and(|extension| extension == "pcap")) {
        let stem = capture.file_stem().unwrap().to_string_lossy();
        let truth = fs::read_to_string(capture.with_file_name(format!("{stem}-flow.json")))?;
        let mut expected = Totals::default();
        for line in truth.lines() {
            add_truth(&serde_json::from_str(line)?, &mut expected);
        }
        let (ours, health) = decoded(&captured(&capture));
        let folder = capture.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        if ours != expected {
            assert!(health.sets_unread > 0, "{folder}: in silence: {health:?}");
            compare(&folder, ours, Some(expected), &mut wrong);
        }
        assert_eq!((health.malformed, health.sets_dropped), (0, 0), "{}", capture.display());
        seen += 1;
    }
    assert_as_expected(&wrong);
    ensure!(seen >= 10, "only {seen} captures");
    Ok(())
}

/// Adds up the data records below a value: those without a scope that have addresses.
fn add_truth(value: &Json, totals: &mut Totals) {
    match value {
        Json::Array(values) => values.iter().for_each(|value| add_truth(value, totals)),
        Json::Object(object) => {
            let scope = object.get("scope_fields").and_then(Json::as_array);
            let fields = object.get("fields").and_then(Json::as_array);
            let (Some(scope), Some(fields)) = (scope, fields) else {
                return object.values().for_each(|value| add_truth(value, totals));
            };
            let has = |name: &str| fields.iter().any(|field| field.get(name).is_some());
            let sum = |name: &str| fields.iter().filter_map(|field| field.get(name)?.as_u64()).sum::<u64>();
            if scope.is_empty() && (has("sourceIPv4Address") || has("sourceIPv6Address")) {
                totals.flows += 1;
                totals.packets += sum("packetDeltaCount");
                totals.bytes += sum("octetDeltaCount");
            }
        }
        _ => {}
    }
}

/// The routers' sampling rates stand in options records only.
#[test]
fn applies_the_sampling_rates_that_routers_tell_in_options() {
    let Some(folder) = corpus("flow-export/netgauze/assets/pcaps/pmacct-tests") else { return };
    let capture = folder.join("104-IPFIXv10-IPv6-CISCO-sampling_option/traffic-00.pcap");
    let mut decoder = Decoder::default();
    let mut rates = Vec::new();
    for (address, bytes) in captured(&capture) {
        let sender = Sender { address, sampling: 0 };
        decoder.decode(sender, &bytes, sent_at(&bytes), &mut |flow| rates.push(flow.sampling));
    }
    assert!(!rates.is_empty() && rates.iter().all(|rate| *rate > 1), "{rates:?}");
}

/// Samples and counters, against tcpdump's reading of the same captures and against sfcapd.
#[test]
fn decodes_sflow_as_tcpdump_and_sfcapd_do() -> Result<()> {
    let test = "decodes_sflow_as_tcpdump_and_sfcapd_do";
    let Some(folder) = corpus("flow-export/sflow") else { return Ok(()) };
    let sfcapd = present("sfcapd", "nfdump-sflow", test);
    let mut wrong = Vec::new();
    for (name, malformed) in [
        ("sflow-print-v6", 0),
        ("sflow_expanded", 0),
        ("sflow_multiple_counter_30_pdus", 0),
        ("sflow_print-segv", 1),
    ] {
        // One capture holds NetFlow 5 to the same port, which tcpdump leaves out.
        let mut datagrams = captured(&folder.join(name).with_extension("pcap"));
        datagrams.retain(|(_, bytes)| bytes.starts_with(&[0, 0, 0, 5]));
        let (ours, health) = decoded(&datagrams);
        let text = fs::read_to_string(folder.join(name).with_extension("out"))?;
        let lines =
            |what: &str| text.lines().filter(|line| line.trim_start().starts_with(what)).count() as u64;
        let flow_samples = lines("flow sample") + lines("expanded flow sample");
        let counters = lines("counter sample") + lines("expanded counter sample");
        assert_eq!(health.records + health.other_records, flow_samples, "{name}: {health:?}");
        assert_eq!((health.counter_samples, health.malformed), (counters, malformed), "{name}");
        let peer = sfcapd.then(|| Peer::start("sfcapd")).transpose()?;
        let peer = peer.map(|peer| peer.send(&datagrams).and_then(|()| peer.totals())).transpose()?;
        compare(name, ours, peer, &mut wrong);
    }
    assert_as_expected(&wrong);
    Ok(())
}

/// softflowd exports a capture to us and to nfcapd at once.
#[test]
fn a_live_exporter_gives_us_what_it_gives_nfcapd() -> Result<()> {
    let test = "a_live_exporter_gives_us_what_it_gives_nfcapd";
    let Some(capture) = corpus(CAPTURE) else { return Ok(()) };
    if !present("softflowd", "softflowd", test) || !present("nfcapd", "nfdump", test) {
        return Ok(());
    }
    for version in ["5", "9", "10"] {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(MOMENT))?;
        let peer = Peer::start("nfcapd")?;
        let targets = format!("127.0.0.1:{},127.0.0.1:{}", socket.local_addr()?.port(), peer.port);
        let mut exporter = softflowd(&capture, version, &targets, &[])?;
        let mut datagrams = Vec::new();
        let (start, mut buffer) = (Instant::now(), vec![0; 65_535]);
        while start.elapsed() < Duration::from_secs(30) {
            match socket.recv_from(&mut buffer) {
                Ok((length, address)) => datagrams.push((address, buffer[..length].to_vec())),
                Err(_) if exporter.try_wait()?.is_some() => break,
                Err(_) => {}
            }
        }
        let (ours, health) = decoded(&datagrams);
        let theirs = peer.totals()?;
        assert_eq!(ours, theirs, "version {version}: {health:?}");
        ensure!(ours.flows > 100 && ours.packets > 1_000, "version {version}: {ours:?}");
        let troubles =
            [health.malformed, health.missing, health.restarts, health.clamped, health.sets_unread];
        assert_eq!(troubles, [0; 5], "version {version}: {health:?}");
    }
    Ok(())
}

fn softflowd(capture: &Path, version: &str, targets: &str, more: &[&str]) -> Result<Child> {
    Command::new("softflowd")
        .arg("-r")
        .arg(capture)
        .args(["-v", version, "-n", targets, "-a", "-d", "-c", "none"])
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("softflowd")
}

/// From an exporter into the store: over UDP and TCP, and what was sent just before the collector ends.
#[test]
fn flows_reach_the_store_and_none_is_lost_at_the_end() -> Result<()> {
    let test = "flows_reach_the_store_and_none_is_lost_at_the_end";
    let Some(capture) = corpus(CAPTURE) else { return Ok(()) };
    if !engine_present(test) || !present("softflowd", "softflowd", test) {
        return Ok(());
    }
    let mut site = Site::start("")?;
    let target = format!("127.0.0.1:{}", site.flows_port);
    softflowd(&capture, "9", &target, &[])?.wait()?;
    let metric = |site: &Site, name: &str| -> Result<u64> {
        let text = site.metrics()?;
        let value =
            text.lines().find_map(|line| line.strip_prefix(&format!("{name}{{exporter=\"127.0.0.1\"}} ")));
        Ok(value.and_then(|value| value.parse().ok()).unwrap_or(0))
    };
    let stored = "vonggac_exporter_stored_records_total";
    let records = until("all flows are stored", || {
        let records = metric(&site, "vonggac_exporter_records_total")?;
        Ok((records > 100 && metric(&site, stored)? == records).then_some(records))
    })?;
    let flows = "FROM flows WHERE agent = '127.0.0.1' AND exporter = toIPv6('127.0.0.1')";
    assert_eq!(site.number(&format!("SELECT count() {flows} AND source = 'netflow'"))?, records);
    assert_eq!(site.number(&format!("SELECT countIf(dst_port = 902 OR src_port = 902) > 100 {flows}"))?, 1);

    softflowd(&capture, "10", &target, &["-P", "tcp"])?.wait()?;
    until("the session's flows are stored", || {
        let now = metric(&site, "vonggac_exporter_records_total")?;
        Ok((now > records && metric(&site, stored)? == now).then_some(()))
    })?;
    ensure!(site.number(&format!("SELECT count() {flows} AND source = 'ipfix'"))? > 100);

    softflowd(&capture, "5", &target, &[])?.wait()?;
    let status = site.end_collector()?;
    ensure!(status.success(), "{status}");
    site.start_collector()?;
    let last = site.number(&format!("SELECT count() {flows} AND origin = 'netflow5'"))?;
    ensure!(last > 100, "only {last} of the flows that came before the end are stored");
    Ok(())
}
