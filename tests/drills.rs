//! The recorded drills of the project, replayed by real agents into a real collector and store.

use anyhow::{Context, Result};
use serde_json::Value as Json;

use crate::site::{self, Site, root};

/// Some minutes of recording in some seconds; the distances between events stay.
const SPEED: &str = "60";

#[test]
fn every_step_of_every_drill_is_detected_and_ordinary_use_raises_nothing_grave() -> Result<()> {
    if !site::engine_present("drills") {
        return Ok(());
    }
    let drills = root().join("tests/drills");
    let site = Site::start(&std::fs::read_to_string(drills.join("systems.toml"))?)?;
    let drills = drills.display().to_string();
    let run = ["drill", "run", "--all", "--drills", &drills, "--speed", SPEED, "--format", "json"];
    let output = site.vonggac(&run)?;
    let text = String::from_utf8(output.stdout)?;
    let said = String::from_utf8_lossy(&output.stderr);
    for line in text.lines() {
        let score: Json = serde_json::from_str(line)?;
        println!("{}: {} detected, {} missed", score["drill"], score["detected"], score["missed"]);
        assert_eq!(score["passed"], true, "{score:#}");
        assert_eq!(score["unclassified_alerts"], 0, "{score:#}");
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    let recorded = std::fs::read_dir(&drills)?
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().join("drill.toml").is_file()));
    assert_eq!(text.lines().count(), recorded.count(), "{text}");
    text.lines().next().context("no drill").map(|_| ())
}
