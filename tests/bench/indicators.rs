//! A million indicators: how long they take to load, from CSV and from STIX, what memory they hold, and what they add to an event.
//!
//! `cargo bench -p tests --bench indicators`. The indicators are made here: 350,000 addresses and 10,000 networks of twelve
//! lengths, 250,000 domains, 140,000 URLs, 240,000 hashes of the three kinds, 10,000 JA4, with a hundred different descriptions.
//! Each event is another one, so that what is looked up lies in no cache; none names an indicator.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use collector::{FeedFormat, IndicatorFeed, load_indicators};
use detect::{Indicators, Severity, Sightseer};
use event::{Batch, Event, Format, Header, Record, parse_batch};
use rustix::time::{ClockId, clock_gettime};

const INDICATORS: u64 = 1_000_000;
const EVENTS: u64 = 200_000;
/// Rounds, of which the median counts.
const ROUNDS: usize = 7;
/// Records of one batch, as agents send them.
const BATCH_RECORDS: usize = 1_000;
const NOW: i64 = 1_800_000_000_000_000;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let csv = write(folder.path(), "feed.csv", csv())?;
    let stix = write(folder.path(), "feed.json", stix())?;
    drop(measure_load(&stix)?);
    let indicators = measure_load(&csv)?;
    println!(
        "\nNanoseconds of CPU an event: parsing alone, and what the indicators add to it when there are none, and a million\n"
    );
    println!("{:<22} {:>8} {:>8} {:>10}", "event", "parse", "none", "a million");
    for (name, format, line) in [
        ("DNS query and answer", Format::Flow, dns as fn(u64) -> String),
        ("flow", Format::Flow, flow),
        ("Sysmon process", Format::Json, sysmon),
        ("web request", Format::Web, web),
        ("sshd line", Format::Syslog, sshd),
    ] {
        measure_events(name, format, line, &indicators)?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, text: String) -> Result<IndicatorFeed> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    let format = if name.ends_with("csv") { FeedFormat::Csv } else { FeedFormat::Stix };
    Ok(IndicatorFeed {
        feed: name.into(),
        path,
        format,
        kind: None,
        columns: Vec::new(),
        severity: Severity::High,
        allow_local: false,
    })
}

fn measure_load(feed: &IndicatorFeed) -> Result<Indicators> {
    let before = resident_bytes()?;
    let start = Instant::now();
    let loaded = load_indicators(std::slice::from_ref(feed), NOW).indicators;
    let took = start.elapsed();
    let held = resident_bytes()?.saturating_sub(before);
    let count = u64::try_from(loaded.len())?;
    ensure!(count > INDICATORS * 99 / 100, "only {count} indicators of {} load", feed.feed);
    println!(
        "{}: {count} indicators of {} MiB in {:.2} s; {} MiB resident, {} bytes each ({} by its own account)",
        feed.feed,
        fs::metadata(&feed.path)?.len() >> 20,
        took.as_secs_f64(),
        held >> 20,
        held / count,
        u64::try_from(loaded.bytes())? / count,
    );
    Ok(loaded)
}

fn measure_events(name: &str, format: Format, line: fn(u64) -> String, million: &Indicators) -> Result<()> {
    let lines: Vec<String> = (0..EVENTS).map(line).collect();
    let record = |line: &'static str| Record { time: NOW, offset: 0, bytes: line.as_bytes() };
    let header = Header { format, product: "linux".to_owned(), ..Header::default() };
    let leaked: Vec<&'static str> = lines.into_iter().map(|line| &*line.leak()).collect();
    let batches = leaked.chunks(BATCH_RECORDS);
    let batches: Vec<Batch> = batches
        .map(|lines| Batch::new(header.clone(), lines.iter().map(|line| record(line))))
        .collect::<Result<_, _>>()?;
    let events: Vec<Event<'_>> = batches.iter().flat_map(parse_batch).collect();
    let none = Indicators::default();
    let parse = median(|| batches.iter().for_each(|batch| drop(black_box(parse_batch(batch)))));
    let without = median(|| observe(&none, &events));
    let with = median(|| observe(million, &events));
    println!("{name:<22} {parse:>8} {without:>8} {with:>10}");
    Ok(())
}

fn observe(indicators: &Indicators, events: &[Event<'_>]) {
    let mut sightseer = Sightseer::default();
    let found: usize =
        events.iter().map(|event| indicators.observe(black_box(event), &mut sightseer).len()).sum();
    assert_eq!(found, 0, "an event names an indicator");
}

/// Nanoseconds of this thread on a processor for each event.
fn median(mut round: impl FnMut()) -> u128 {
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let start = cpu();
            round();
            (cpu() - start).as_nanos() / u128::from(EVENTS)
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

fn resident_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

/// A number that looks like no other: a permutation of 64 bits (splitmix64's finalizer).
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The type and value of an indicator.
fn indicator(number: u64) -> (&'static str, String) {
    let bits = mixed(number);
    let hash = |parts: u64| (0..parts).map(|part| format!("{:016x}", mixed(bits ^ part))).collect::<String>();
    match number % 100 {
        0..35 => ("ip", address(bits).to_string()),
        35 => ("ip", format!("{}/{}", address(bits), 17 + bits % 12)),
        36..61 => ("domain", format!("{}.example", name(bits))),
        61..75 => {
            ("url", format!("http://{}.example/gate/{:x}.php?id={}", name(bits), bits >> 40, number % 7))
        }
        75..83 => ("md5", hash(2)),
        83..91 => ("sha1", hash(3)[..40].to_owned()),
        91..99 => ("sha256", hash(4)),
        _ => ("ja4", format!("t13d1516h2_{}_{}", &hash(1)[..12], &hash(2)[16..28])),
    }
}

/// Public, and not among those of events.
fn address(bits: u64) -> Ipv4Addr {
    Ipv4Addr::from(0x1400_0000 | (u32::try_from(bits >> 32).unwrap_or_default() & 0x0fff_ffff))
}

fn name(bits: u64) -> String {
    let letters = "abcdefghijklmnopqrstuvwxyz234567".as_bytes();
    (0..6 + bits % 8)
        .map(|at| char::from(letters[usize::try_from((bits >> (at * 5 % 60)) & 31).unwrap_or_default()]))
        .collect()
}

fn csv() -> String {
    let mut text = "type,value,description,severity,valid_until\n".to_owned();
    for number in 0..INDICATORS {
        let (kind, value) = indicator(number);
        let _taken = writeln!(text, "{kind},{value},family {},high,2030-01-01", number % 100);
    }
    text
}

fn stix() -> String {
    let objects = (0..INDICATORS).map(|number| {
        let (kind, value) = indicator(number);
        let path = match kind {
            "ip" => "ipv4-addr:value",
            "domain" => "domain-name:value",
            "url" => "url:value",
            "md5" => "file:hashes.MD5",
            "sha1" => "file:hashes.'SHA-1'",
            "sha256" => "file:hashes.'SHA-256'",
            // STIX has no JA4: another address in its place.
            _ => return object("ipv4-addr:value", &address(mixed(number + INDICATORS)).to_string(), number),
        };
        object(path, &value, number)
    });
    format!("{{\"type\":\"bundle\",\"objects\":[{}]}}", objects.collect::<Vec<_>>().join(","))
}

fn object(path: &str, value: &str, number: u64) -> String {
    format!(
        "{{\"type\":\"indicator\",\"spec_version\":\"2.1\",\"id\":\"indicator--00000000-0000-4000-8000-{number:012}\",\
         \"created\":\"2026-01-01T00:00:00.000Z\",\"modified\":\"2026-01-01T00:00:00.000Z\",\"name\":\"family {}\",\
         \"indicator_types\":[\"malicious-activity\"],\"pattern\":\"[{path} = '{value}']\",\"pattern_type\":\"stix\",\
         \"valid_from\":\"2026-01-{:02}T00:00:00Z\",\"confidence\":80}}",
        number % 100,
        1 + number % 28
    )
}

/// An address of events: 96.0.0.0/4, where no indicator is.
fn other(number: u64) -> Ipv4Addr {
    Ipv4Addr::from(0x6000_0000 | (u32::try_from(mixed(number) >> 32).unwrap_or_default() & 0x0fff_ffff))
}

fn dns(number: u64) -> String {
    format!(
        "{{\"kind\":\"dns\",\"ts\":{NOW},\"src_ip\":\"10.1.2.3\",\"dst_ip\":\"{}\",\"src_port\":5353,\"dst_port\":53,\"proto\":\"udp\",\
         \"community_id\":\"1:x\",\"id\":7,\"query\":\"www.{}.test\",\"record_type\":\"A\",\"rcode\":\"NOERROR\",\"answer\":[\"{}\"]}}",
        other(number),
        name(mixed(number)),
        other(number + EVENTS)
    )
}

fn flow(number: u64) -> String {
    format!(
        "{{\"kind\":\"flow\",\"ts\":{NOW},\"ts_end\":{NOW},\"src_ip\":\"10.1.2.3\",\"dst_ip\":\"{}\",\"src_port\":40000,\"dst_port\":443,\
         \"proto\":\"tcp\",\"protocol\":6,\"src_packets\":12,\"src_bytes\":1800,\"dst_packets\":10,\"dst_bytes\":9000,\"app\":\"tls\",\
         \"server_name\":\"{}.test\",\"ja4\":\"t13d1516h2_{:012x}_e5627efa2ab1\"}}",
        other(number),
        name(mixed(number)),
        mixed(number) >> 16
    )
}

fn sysmon(number: u64) -> String {
    let hash = |salt: u64| format!("{:016X}{:016X}", mixed(number ^ salt), mixed(number ^ salt << 8));
    format!(
        "{{\"Channel\":\"Microsoft-Windows-Sysmon/Operational\",\"EventID\":1,\"Computer\":\"pc01\",\"Image\":\"C:\\\\Windows\\\\a.exe\",\
         \"CommandLine\":\"a.exe -x {number}\",\"User\":\"PC01\\\\a\",\"ParentImage\":\"C:\\\\Windows\\\\explorer.exe\",\
         \"Hashes\":\"MD5={},SHA256={}{},IMPHASH={}\"}}",
        hash(1),
        hash(2),
        hash(3),
        hash(4)
    )
}

fn web(number: u64) -> String {
    format!(
        "portal.{}.test {} - - [10/Jan/2027:10:00:00 +0700] \"GET /p/{number}?q=1 HTTP/1.1\" 200 512 \"https://{}.test/\" \"Mozilla/5.0\"",
        name(mixed(number)),
        other(number),
        name(mixed(number + EVENTS))
    )
}

fn sshd(number: u64) -> String {
    format!(
        "<38>Jan 10 10:00:00 web01 sshd[{}]: Failed password for root from {} port 4242 ssh2",
        number % 30_000,
        other(number)
    )
}
