//! A recorded drill as it lies in its folder: `drill.toml` (what was recorded), `truth.toml` (what really happened), logs.
//!
//! A log of the format `evtx` is a Windows event log file. It is replayed as JSON lines, since an agent ships lines; their
//! fields are those that the parser of EVTX gives. A log of the format `pcap` is a capture: it is metered, and its lines are those
//! that an agent's capture gives, each at the moment at which the meter wrote it. Any of them may be compressed (gzip, zstd).
//!
//! Limits: a recording is read into memory, at most [`RECORDING_BYTES_MAX`]. What it never does: take a path out of its folder.

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use event::{
    EVTX_BLOCK_CHUNKS_MAX, EVTX_CHUNK_BYTES, EVTX_HEADER_BYTES, Event, EvtxBlock, Format, Micros,
    RECORD_BYTES_MAX, Value,
};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use crate::capture_lines::CaptureLines;
use crate::drill::shift::Stamps;
use crate::expand::expanded;
use crate::people::offset_s;

/// Bytes of all logs of a recording together: an hour of some busy hosts.
const RECORDING_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Bytes of a description.
const DESCRIPTION_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The formats that are files of their own kind.
const EVTX: &str = "evtx";
const PCAP: &str = "pcap";

/// A recording, read and checked.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) logs: Vec<Log>,
    pub(crate) steps: Vec<Step>,
    /// The inventory that it was recorded with.
    pub(crate) systems: Option<PathBuf>,
}

/// One log of one host.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) host: String,
    /// Where it stood on the host; absolute.
    pub(crate) path: PathBuf,
    pub(crate) stamps: Stamps,
    pub(crate) category: String,
    pub(crate) product: String,
    pub(crate) service: String,
    pub(crate) lines: Vec<Line>,
}

/// A recorded line, without its line end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Line {
    pub(crate) bytes: Vec<u8>,
    /// Its own time, or that of the line before; never before the line before.
    pub(crate) at: Micros,
}

/// A step of the truth.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) technique: String,
    pub(crate) start: Micros,
    pub(crate) end: Micros,
    pub(crate) host: String,
    /// Any of these detects it.
    pub(crate) rules: Vec<String>,
    /// Ordinary use that resembles an attack: nothing high may come of it.
    pub(crate) benign: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) description: String,
    #[serde(deserialize_with = "timestamp")]
    pub(crate) recorded: Timestamp,
    systems: Option<PathBuf>,
    log: Vec<LogDescription>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogDescription {
    host: String,
    path: PathBuf,
    file: PathBuf,
    format: String,
    #[serde(default = "utc")]
    utc_offset: String,
    #[serde(default)]
    category: String,
    #[serde(default)]
    product: String,
    #[serde(default)]
    service: String,
}

fn timestamp<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "a time with its offset, \"2026-11-23T09:30:00+07:00\", expected, found {text:?}"
        ))
    })
}

fn utc() -> String {
    "+00:00".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Truth {
    step: Vec<StepDescription>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepDescription {
    id: String,
    title: String,
    #[serde(default)]
    technique: String,
    #[serde(deserialize_with = "timestamp")]
    start: Timestamp,
    #[serde(deserialize_with = "timestamp")]
    end: Timestamp,
    host: String,
    rules: Vec<String>,
    #[serde(default)]
    benign: bool,
}

impl Recording {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let description = Description::read(folder)?;
        let truth: Truth = parse(&folder.join("truth.toml"))?;
        let mut bytes_left = RECORDING_BYTES_MAX;
        let logs: Vec<Log> = description
            .log
            .iter()
            .map(|log| Log::read(folder, log, description.recorded, &mut bytes_left))
            .collect::<Result<_>>()?;
        ensure!(logs.iter().any(|log| !log.lines.is_empty()), "{}: its logs hold no line", folder.display());
        let steps = truth.step.into_iter().map(|step| Step::checked(step, &logs)).collect::<Result<Vec<_>>>();
        let steps = steps.with_context(|| folder.join("truth.toml").display().to_string())?;
        let systems = description.systems.map(|path| folder.join(path));
        Ok(Self { name: description.name, description: description.description, logs, steps, systems })
    }

    /// The hosts, each once.
    pub(crate) fn hosts(&self) -> Vec<&str> {
        let mut hosts: Vec<&str> = self.logs.iter().map(|log| log.host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// The times of the first line and of the last.
    pub(crate) fn span(&self) -> (Micros, Micros) {
        let times = || self.logs.iter().flat_map(|log| &log.lines).map(|line| line.at);
        (times().min().unwrap_or_default(), times().max().unwrap_or_default())
    }
}

impl Description {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("drill.toml");
        let description: Self = parse(&path)?;
        let plain = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
        ensure!(
            !description.name.is_empty() && description.name.chars().all(plain),
            "{}: name: letters, digits, - and _ expected, found {:?}",
            path.display(),
            description.name
        );
        Ok(description)
    }
}

impl Log {
    fn read(folder: &Path, log: &LogDescription, recorded: Timestamp, bytes_left: &mut u64) -> Result<Self> {
        let inside = |path: &Path| {
            path.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir))
        };
        ensure!(
            log.path.is_absolute() && inside(&log.path),
            "path: absolute expected, found {}",
            log.path.display()
        );
        ensure!(
            log.file.is_relative() && inside(&log.file),
            "file: below the drill expected, found {}",
            log.file.display()
        );
        let format = match &*log.format {
            EVTX => Some(Format::Json),
            PCAP => Some(Format::Flow),
            name => Format::from_name(name),
        };
        let Some(format) = format else {
            bail!("format: auto, syslog, auditd, web, json, evtx or pcap expected, found {:?}", log.format);
        };
        let stamps =
            Stamps { format, utc_offset_s: offset_s(&log.utc_offset).context("utc_offset")?, recorded };
        let path = folder.join(&log.file);
        let lines = read_lines(&path, &log.format, &stamps, bytes_left)
            .with_context(|| path.display().to_string())?;
        Ok(Self {
            host: crate::ca::host_name(&log.host)?,
            path: log.path.clone(),
            stamps,
            category: log.category.clone(),
            product: log.product.clone(),
            service: log.service.clone(),
            lines,
        })
    }
}

impl Step {
    fn checked(step: StepDescription, logs: &[Log]) -> Result<Self> {
        let StepDescription { id, title, technique, start, end, host, rules, benign } = step;
        ensure!(start <= end, "step {id}: start {start} is after end {end}");
        ensure!(benign || !rules.is_empty(), "step {id}: rules: at least one expected");
        let host = host.to_lowercase();
        ensure!(logs.iter().any(|log| log.host == host), "step {id}: host {host} has no log in drill.toml");
        let (start, end) = (start.as_microsecond(), end.as_microsecond());
        Ok(Self { id, title, technique, start, end, host, rules, benign })
    }
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let shown = || path.display().to_string();
    let bytes = std::fs::metadata(path).with_context(shown)?.len();
    ensure!(
        bytes <= DESCRIPTION_BYTES_MAX,
        "{}: {bytes} bytes, at most {DESCRIPTION_BYTES_MAX}",
        path.display()
    );
    toml::from_str(&std::fs::read_to_string(path).with_context(shown)?).with_context(shown)
}

fn read_lines(path: &Path, format: &str, stamps: &Stamps, bytes_left: &mut u64) -> Result<Vec<Line>> {
    let mut bytes = Vec::new();
    expanded(path)?.take(bytes_left.saturating_add(1)).read_to_end(&mut bytes)?;
    *bytes_left = u64::try_from(bytes.len())
        .ok()
        .and_then(|read| bytes_left.checked_sub(read))
        .with_context(|| format!("the recording has more than {RECORDING_BYTES_MAX} bytes"))?;
    match format {
        EVTX => lines(&json_lines(&bytes)?, stamps),
        PCAP => metered(&bytes),
        _ => lines(&bytes, stamps),
    }
}

/// What the meter says of a capture.
fn metered(capture: &[u8]) -> Result<Vec<Line>> {
    let mut packets = CaptureLines::new(capture)?;
    let mut metered = Vec::new();
    let mut text = Vec::new();
    while let Some(at) = packets.next(&mut text)? {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        metered.extend(lines.map(|line| Line { bytes: line.to_vec(), at }));
        text.clear();
    }
    Ok(metered)
}

/// The events of an EVTX file, each a line.
fn json_lines(file: &[u8]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut block = EvtxBlock::default();
    let chunks = file.get(EVTX_HEADER_BYTES..).unwrap_or_default();
    for chunks in chunks.chunks(EVTX_BLOCK_CHUNKS_MAX * EVTX_CHUNK_BYTES) {
        block.read(chunks);
        if let Some(damage) = &block.damage().first {
            bail!("not a whole EVTX file: {damage}");
        }
        for (_, event) in block.events(0) {
            serde_json::to_writer(&mut text, &object(&event))?;
            text.push(b'\n');
        }
    }
    Ok(text)
}

/// The fields of an event; one that stands several times is a list.
fn object(event: &Event<'_>) -> serde_json::Map<String, Json> {
    let mut object = serde_json::Map::new();
    for (name, value) in &event.fields {
        let value = match value {
            Value::Null => Json::Null,
            Value::Bool(flag) => (*flag).into(),
            Value::Int(int) => (*int).into(),
            Value::Float(float) => (*float).into(),
            Value::Text(text) => text.as_ref().into(),
        };
        match object.get_mut(name.as_ref()) {
            None => drop(object.insert(name.to_string(), value)),
            Some(Json::Array(values)) => values.push(value),
            Some(first) => *first = Json::Array(vec![first.take(), value]),
        }
    }
    object
}

/// Lines with their times. Lines before the first time have that time.
fn lines(text: &[u8], stamps: &Stamps) -> Result<Vec<Line>> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let first = lines.iter().find_map(|line| stamps.time(line));
    let mut at = first.unwrap_or_else(|| stamps.recorded.as_microsecond());
    let timed = |line: &&[u8]| {
        at = stamps.time(line).unwrap_or(at).max(at);
        ensure!(line.len() <= RECORD_BYTES_MAX, "a line of {} bytes, at most {RECORD_BYTES_MAX}", line.len());
        Ok(Line { bytes: line.to_vec(), at })
    };
    lines.iter().map(timed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRILL: &str = r#"
name = "two-hosts"
description = "x"
recorded = "2026-11-23T09:30:00+07:00"
[[log]]
host = "Web01"
path = "/var/log/auth.log"
file = "logs/auth.log"
format = "syslog"
utc_offset = "+07:00"
"#;
    const TRUTH: &str = r#"
[[step]]
id = "1"
title = "t"
technique = "T1110"
start = "2026-11-23T09:31:00.000+07:00"
end = "2026-11-23T09:31:10.000+07:00"
host = "web01"
rules = ["r"]
"#;
    const LOG: &str = "continued\nNov 23 09:31:02 web01 p: a\nNov 23 09:31:01 web01 p: late\nno time\nNov 23 09:31:05 web01 p: b\n";

    fn read(drill: &str, truth: &str) -> Result<Recording> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("logs"))?;
        std::fs::write(folder.path().join("drill.toml"), drill)?;
        std::fs::write(folder.path().join("truth.toml"), truth)?;
        std::fs::write(folder.path().join("logs/auth.log"), LOG)?;
        Recording::read(folder.path())
    }

    #[test]
    fn reads_a_recording_with_times_that_never_go_back() {
        let recording = read(DRILL, TRUTH).unwrap();
        assert_eq!(recording.hosts(), ["web01"]);
        let start = recording.steps[0].start;
        let times: Vec<Micros> =
            recording.logs[0].lines.iter().map(|line| (line.at - start) / 1_000_000).collect();
        assert_eq!(times, [2, 2, 2, 2, 5]);
        assert_eq!(recording.span(), (start + 2_000_000, start + 5_000_000));
        assert!(!recording.steps[0].benign);
    }

    #[test]
    fn rejects_what_cannot_be_replayed() {
        for (drill, truth, expected) in [
            (DRILL.replace("two-hosts", "../x"), TRUTH.to_owned(), "name"),
            (DRILL.replace("\"logs/auth.log\"", "\"../auth.log\""), TRUTH.to_owned(), "below the drill"),
            (DRILL.replace("/var/log/auth.log", "auth.log"), TRUTH.to_owned(), "absolute"),
            (DRILL.replace("\"syslog\"", "\"csv\""), TRUTH.to_owned(), "format"),
            (DRILL.replace("+07:00\"\n", "7\"\n"), TRUTH.to_owned(), "7"),
            (DRILL.to_owned(), TRUTH.replace("web01", "db01"), "host db01"),
            (DRILL.to_owned(), TRUTH.replace("[\"r\"]", "[]"), "rules"),
            (DRILL.to_owned(), TRUTH.replace("09:31:10", "09:30:10"), "after end"),
            (DRILL.to_owned(), TRUTH.replace("title", "tilte"), "tilte"),
        ] {
            let error = format!("{:#}", read(&drill, &truth).unwrap_err());
            assert!(error.contains(expected), "{expected:?} in {error}");
        }
    }
}
