//! `vonggac systems`, as a person types it: the levels of the province's sample by both decrees, and a file of planted faults.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::site;

/// After both decrees have come into force.
const DATE: &str = "2026-11-01";

fn systems(arguments: &[&str], systems: &Path) -> Result<(i32, String)> {
    let output = Command::new(site::program("vonggac"))
        .arg("systems")
        .args(arguments)
        .args(["--levels", "rules/levels", "--date", DATE, "--systems"])
        .arg(systems)
        .current_dir(site::root())
        .output()?;
    let code = output.status.code().context("an exit code")?;
    ensure!(code != 2, "{}", String::from_utf8_lossy(&output.stderr));
    Ok((code, String::from_utf8(output.stdout)?))
}

fn json_lines(text: &str) -> Result<Vec<Value>> {
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn texts(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn gives_each_system_of_the_province_the_level_of_the_regulation_notes() -> Result<()> {
    let (code, text) = systems(&["level", "--format", "json"], Path::new("deploy/systems"))?;
    assert_eq!(code, 0);
    let rows = json_lines(&text)?;
    let golden = std::fs::read_to_string(site::root().join("tests/data/levels.tsv"))?;
    let lines: Vec<&str> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!((lines.len(), rows.len()), (28, 56));
    for line in lines {
        let cells: Vec<&str> = line.split('\t').collect();
        let [_, system, ref golden @ ..] = cells[..] else { panic!("{line}") };
        let (old, new) = golden.split_at(3);
        for (decree, golden) in [("vn-nd85-2016", old), ("vn-nd331-2026", new)] {
            let [level, articles, review] = golden[..] else { panic!("{line}") };
            let row = rows.iter().find(|row| row["system"] == system && row["decree"] == decree);
            let row = row.with_context(|| format!("{system} by {decree}"))?;
            assert_eq!(row["level"].to_string(), level, "{system} by {decree}");
            assert_eq!(texts(&row["articles"]), articles.split("; ").collect(), "{system} by {decree}");
            assert_eq!(row["needs_review"], review == "yes", "{system} by {decree}");
            assert_eq!(row["in_force"], decree == "vn-nd331-2026");
        }
    }
    Ok(())
}

#[test]
fn explains_a_level_in_both_languages_and_shows_a_difference() -> Result<()> {
    for (lang, expected) in [
        (
            "vi",
            [
                "Nghị định 85/2016/NĐ-CP (không có hiệu lực, 2026-11-01): cấp độ 3",
                "Cấp 3: Nghị định 85/2016/NĐ-CP, Điều 9 khoản 2 điểm c:",
                "Nghị định 331/2026/NĐ-CP (đang có hiệu lực, 2026-11-01): cấp độ 2",
                "Cấp 2: Nghị định 331/2026/NĐ-CP, Điều 12 khoản 2 điểm b:",
                "KHÁC với cấp độ được phê duyệt (3)",
                "[chưa chắc chắn] Văn bản không quy định cách đếm",
                "TCVN 14423:2026, mục 5.8.2.1: Lưu nhật ký tập trung ít nhất 3 tháng",
            ],
        ),
        (
            "en",
            [
                "Decree 85/2016/NĐ-CP (not in force, 2026-11-01): level 3",
                "Level 3: Decree 85/2016/NĐ-CP, Article 9 clause 2 point c:",
                "Decree 331/2026/NĐ-CP (in force, 2026-11-01): level 2",
                "Level 2: Decree 331/2026/NĐ-CP, Article 12 clause 2 point b:",
                "DIFFERS from the approved level (3)",
                "[unsure] How they are counted",
                "TCVN 14423:2026, clause 5.8.2.1: Logs are kept centrally for at least 3 months",
            ],
        ),
    ] {
        let (code, text) = systems(&["show", "so-lien-lac", "--lang", lang], Path::new("deploy/systems"))?;
        assert_eq!(code, 0);
        for line in expected {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
    Ok(())
}

#[test]
fn names_each_of_the_planted_faults_with_file_and_line() -> Result<()> {
    let path = Path::new("tests/data/systems-with-faults.toml");
    let planted = std::fs::read_to_string(site::root().join(path))?;
    let (code, text) = systems(&["check", "--format", "json"], path)?;
    assert_eq!(code, 1);
    let findings = json_lines(&text)?;
    let mut faults = 0;
    for (line, text) in (1_u64..).zip(planted.lines()) {
        let Some((_, fault)) = text.split_once("# FAULT ") else { continue };
        let (grade, says) = fault.split_once(": ").context("a grade")?;
        let named = findings.iter().any(|finding| {
            finding["line"] == line
                && finding["grade"] == grade
                && finding["file"].as_str().is_some_and(|file| path == Path::new(file))
                && finding["message"].as_str().is_some_and(|message| message.contains(says))
        });
        assert!(named, "line {line}, {fault}, is not among\n{findings:#?}");
        faults += 1;
    }
    assert!(faults >= 10, "{faults} planted faults");
    let noted = findings.iter().filter(|finding| finding["grade"] != "note").count();
    let planted = planted.matches("# FAULT error").count() + planted.matches("# FAULT warning").count();
    assert_eq!(noted, planted, "nothing but what was planted: {findings:#?}");
    Ok(())
}

/// The sample of the quickstart has approved levels and no facts: what is unknown is told once, and is no other level.
#[test]
fn an_inventory_without_facts_is_told_so_once_for_each_system() -> Result<()> {
    let path = Path::new("deploy/systems.toml");
    let (code, text) = systems(&["check", "--format", "json"], path)?;
    assert_eq!(code, 1);
    let findings = json_lines(&text)?;
    let warnings = findings.iter().filter(|finding| finding["grade"] == "warning");
    let told: Vec<_> =
        warnings.map(|finding| (finding["key"].as_str(), finding["message"].as_str())).collect();
    let expected = (Some("facts"), Some("no facts are stated, and they could raise the level to 5"));
    assert_eq!(told, [expected; 7]);
    let text = systems(&["show", "cong-dich-vu", "--lang", "en"], path)?.1;
    assert!(text.contains("at least undecided") && !text.contains("DIFFERS"), "{text}");
    Ok(())
}

#[test]
fn finds_nothing_in_an_inventory_where_all_is_well() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sample = std::fs::read_to_string(site::root().join("tests/data/systems-with-faults.toml"))?;
    let sound = sample.split("# From here on").next().context("the sound part")?;
    let path = folder.path().join("systems.toml");
    std::fs::write(&path, sound)?;
    assert_eq!(
        systems(&["check"], &path)?,
        (0, "1 system of 2026-11-01: 0 errors, 0 warnings, 0 notes\n".into())
    );
    Ok(())
}
