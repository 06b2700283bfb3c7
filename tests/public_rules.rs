//! Public rules and events in the shapes that our engine and another one take: what tests and benchmarks of detection share.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use event::{Format, Header};
use serde_json::Value as Json;

/// The folders of SigmaHQ's rules that are in use, of which both engines are made.
pub(crate) const IN_USE: [&str; 3] = ["rules", "rules-emerging-threats", "rules-threat-hunting"];

/// The lanes of the corpus.
pub(crate) const LANES: [&str; 4] =
    ["cisco_syslog", "raw_windows", "structured_windows", "sysmon_file_event"];

/// Path, relative to the folder, and text of all rule files.
pub(crate) fn rule_files(root: &Path, folders: &[&str]) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for folder in folders.iter().map(|folder| root.join(folder)).filter(|folder| folder.is_dir()) {
        for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "yml") {
                let path = entry.path().strip_prefix(root)?.display().to_string();
                files.push((path, fs::read_to_string(entry.path())?));
            }
        }
    }
    Ok(files)
}

/// The other engine, with those of the rules that ours loads.
pub(crate) fn other_engine(files: &[(String, String)]) -> Result<rsigma_eval::Engine> {
    let mut rules = Vec::new();
    for (path, text) in files {
        let parsed = rsigma_parser::parse_sigma_yaml(text).with_context(|| path.clone())?;
        // Placeholders are fields of the event to the other one: such rules are ours to refuse.
        if !text.contains("|expand") {
            rules.extend(parsed.rules);
        }
    }
    let mut engine = rsigma_eval::Engine::new();
    let refused = engine.add_rules(&rules);
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
