//! Duties of systems: when they fall due, that doing them is recorded where nobody can change it, and that it moves the day.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::site::{self, Site};

fn answer(site: &Site, arguments: &[&str]) -> Result<(i32, String, String)> {
    let output = site.vonggac(arguments)?;
    let code = output.status.code().context("an exit code")?;
    Ok((code, String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

/// The day on which a duty of the portal is due, as on a day.
fn due(site: &Site, duty: &str, date: &str) -> Result<(i32, String)> {
    let (code, text, said) =
        answer(site, &["duties", "--all", "--system", "cong-dvc", "--date", date, "--format", "json"])?;
    let rows: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let row = rows.iter().find(|row| row["duty"] == duty).with_context(|| format!("{duty}: {said}"))?;
    Ok((code, row["due"].as_str().context("a day")?.to_owned()))
}

#[test]
fn duties_fall_due_and_doing_them_moves_the_day() -> Result<()> {
    if !site::engine_present("duties") {
        return Ok(());
    }
    let systems = std::fs::read_to_string(site::root().join("deploy/systems/systems.toml"))?;
    let organisations = ["organisations-2020.toml", "organisations-2025.toml"].map(|name| {
        std::fs::read_to_string(site::root().join("deploy/systems").join(name)).unwrap_or_default()
    });
    let site = Site::start(&[&organisations[..], &[systems]].concat().join("\n"))?;
    // Approved on 30 September 2026, level 3: twice a year.
    assert_eq!(due(&site, "vulnerability-scan", "2026-10-10")?, (0, "2027-03-30".into()));
    assert_eq!(due(&site, "vulnerability-scan", "2027-03-31")?, (1, "2027-03-30".into()), "a day late");
    assert_eq!(due(&site, "level-report-unit", "2026-11-26")?.1, "2026-12-19");
    assert_eq!(due(&site, "monitoring", "2026-11-26")?.1, "", "continuous has no day");
    let done = ["duties", "done", "cong-dvc", "vulnerability-scan", "--text", "12/BC-TTDL"];
    let (code, _, said) = answer(&site, &[&done[..], &["--on", "2026-11-20"]].concat())?;
    assert_eq!(code, 0, "{said}");
    assert_eq!(due(&site, "vulnerability-scan", "2027-03-31")?.1, "2027-05-20");
    // A day that was an error is taken back, and the one before counts again.
    let later = [&done[..], &["--on", "2026-11-21"]].concat();
    assert_eq!(answer(&site, &later)?.0, 0);
    assert_eq!(answer(&site, &[&later[..], &["--withdraw"]].concat())?.0, 0);
    assert_eq!(due(&site, "vulnerability-scan", "2027-03-31")?.1, "2027-05-20");
    for (arguments, code) in [
        (&["duties", "--system", "nobody"][..], 2),
        (&["duties", "done", "cong-dvc", "nothing", "--on", "2026-11-20", "--text", "x"], 1),
        (&["duties", "done", "nobody", "drill", "--on", "2026-11-20", "--text", "x"], 1),
        (&["duties", "done", "cong-dvc", "log-review", "--on", "2226-11-20", "--text", "x"], 2),
        (&["duties", "done", "cong-dvc", "log-review", "--on", "2026-11-20", "--text", " "], 2),
    ] {
        assert_eq!(answer(&site, arguments)?.0, code, "{arguments:?}");
    }
    // The same chain as that of alerts, and no alert's status.
    assert!(answer(&site, &["alerts", "verify"])?.1.ends_with("the history holds: 3 entries\n"));
    assert_eq!(site.number("SELECT count() FROM vonggac.alert_status")?, 0);
    site.query(
        "ALTER TABLE vonggac.alert_history UPDATE text = '2026-12-20 x' WHERE seq = 1 SETTINGS mutations_sync = 2",
    )?;
    assert_eq!(answer(&site, &["alerts", "verify"])?.0, 1);
    Ok(())
}
