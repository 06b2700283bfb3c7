//! Public rules and events in the shapes that our engine and another one take: what tests and benchmarks of detection share.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use event::{
    EVTX_BLOCK_CHUNKS_MAX, EVTX_CHUNK_BYTES, EVTX_HEADER_BYTES, Event, EvtxBlock, Format, Header, Value,
};
use serde_json::{Map, Value as Json};

/// The folders of SigmaHQ's rules that are in use, of which both engines are made.
pub(crate) const IN_USE: [&str; 3] = ["rules", "rules-emerging-threats", "rules-threat-hunting"];

/// The lanes of the corpus.
pub(crate) const LANES: [&str; 4] =
    ["cisco_syslog", "raw_windows", "structured_windows", "sysmon_file_event"];

/// Path, relative to the folder, and text of all rule files.
pub(crate) fn rule_files(root: &Path, folders: &[&str]) -> Result<Vec<(String, String)>> {
    let mut rules = Vec::new();
    for folder in folders.iter().map(|folder| root.join(folder)).filter(|folder| folder.is_dir()) {
        for path in files(&folder, "yml")? {
            rules.push((path.strip_prefix(root)?.display().to_string(), fs::read_to_string(&path)?));
        }
    }
    Ok(rules)
}

/// All files of an extension, in order.
pub(crate) fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let path = entry?.into_path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    Ok(files)
}

/// All EVTX files of the corpus, read.
pub(crate) fn evtx_blocks(corpus: &Path) -> Result<Vec<EvtxBlock>> {
    let mut blocks = Vec::new();
    for folder in ["sigmahq", "evtx-attack-samples"] {
        for path in files(&corpus.join(folder), "evtx")? {
            let bytes = fs::read(path)?;
            let chunks = bytes.get(EVTX_HEADER_BYTES..).unwrap_or_default();
            for chunks in chunks.chunks(EVTX_BLOCK_CHUNKS_MAX * EVTX_CHUNK_BYTES) {
                let mut block = EvtxBlock::default();
                block.read(chunks);
                blocks.push(block);
            }
        }
    }
    Ok(blocks)
}

/// Those of the rules that both engines load.
pub(crate) fn other_rules(files: &[(String, String)]) -> Result<Vec<rsigma_parser::SigmaRule>> {
    let mut rules = Vec::new();
    for (path, text) in files {
        let parsed = rsigma_parser::parse_sigma_yaml(text).with_context(|| path.clone())?;
        // Placeholders are fields of the event to the other one: such rules are ours to refuse.
        if !text.contains("|expand") {
            rules.extend(parsed.rules);
        }
    }
    Ok(rules)
}

/// The other engine.
pub(crate) fn other_engine(files: &[(String, String)]) -> Result<rsigma_eval::Engine> {
    let mut engine = rsigma_eval::Engine::new();
    let refused = engine.add_rules(&other_rules(files)?);
    ensure!(refused.is_empty(), "{refused:?}");
    Ok(engine)
}

/// The lines of a lane: flat JSON objects that name their log source.
pub(crate) fn lane(lanes: &Path, name: &str) -> Result<String> {
    let file = File::open(lanes.join(name).with_extension("ndjson.zst"))?;
    Ok(std::io::read_to_string(zstd::stream::read::Decoder::new(file)?)?)
}

/// The log source that the events of a lane name.
pub(crate) fn lane_header(lane: &str) -> Result<Header> {
    let first: Json = serde_json::from_str(lane.lines().next().context("an empty lane")?)?;
    let part = |name: &str| first[name].as_str().unwrap_or_default().to_owned();
    let (category, product, service) = (part("category"), part("product"), part("service"));
    Ok(Header { format: Format::Json, category, product, service, ..Header::default() })
}

/// A log source for the other engine.
pub(crate) fn other_source(category: &str, product: &str, service: &str) -> rsigma_parser::LogSource {
    let part = |part: &str| (!part.is_empty()).then(|| part.to_owned());
    rsigma_parser::LogSource {
        category: part(category),
        product: part(product),
        service: part(service),
        ..rsigma_parser::LogSource::default()
    }
}

/// An event for the other engine: names that repeat become lists.
pub(crate) fn other_event(event: &Event<'_>) -> Json {
    let mut object = Map::new();
    for (name, value) in &event.fields {
        match object.get_mut(&**name) {
            None => drop(object.insert(name.to_string(), json_of(value))),
            Some(Json::Array(values)) => values.push(json_of(value)),
            Some(first) => *first = Json::from(vec![first.take(), json_of(value)]),
        }
    }
    Json::Object(object)
}

fn json_of(value: &Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::from(*flag),
        Value::Int(int) => Json::from(*int),
        Value::Float(float) => Json::from(*float),
        Value::Text(text) => Json::from(&**text),
    }
}
