//! Which hits are covered, when, and what is said of files in which something is wrong.

use std::sync::Arc;

use super::read::parse;
use super::*;
use crate::admit::Origin;
use crate::batch::Identity;
use crate::grouping::{Cause, Place as Where, Sample};

const SECOND: Micros = 1_000_000;

/// Noon of 2026-11-26 in Viet Nam.
fn noon() -> Micros {
    "2026-11-26T05:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

fn hit() -> Hit {
    let identity = Identity { agent: "web01".into(), epoch: 1, seq: 7 };
    let origin = Origin { identity, source: String::new(), drill_id: String::new(), received: noon() };
    Hit {
        cause: Arc::new(Cause {
            id: "brute".into(),
            title: "Brute force".into(),
            path: String::new(),
            severity: detect::Severity::High,
            tactics: Vec::new(),
            techniques: Vec::new(),
        }),
        place: Arc::new(Where { system_id: "portal".into(), ..Where::default() }),
        origin: Arc::new(origin),
        ts: noon(),
        host: "web01".into(),
        src_ip: "::ffff:10.20.0.5".parse().unwrap(),
        user: "scanner".into(),
        entity: None,
        matched: vec![("CommandLine".into(), r"C:\Tools\scan.exe --all [x]".into())],
        samples: vec![Sample { event: "web01:1:7:0".into(), line: "a line".into() }],
    }
}

/// An exception with this scope, until the end of the day.
fn exception(scope: &str) -> Exceptions {
    let (exceptions, faults) = parse(
        &format!(
            "[[exception]]\nid = \"e\"\nowner = \"Lan\"\nreason = \"x\"\nexpires = \"2026-11-26\"\n{scope}"
        ),
        noon(),
    );
    assert!(faults.is_empty(), "{faults:?}");
    exceptions
}

#[test]
fn covers_a_hit_when_each_part_has_a_value_that_holds() {
    for (scope, expected) in [
        ("rules = [\"other\", \"brute\"]", true),
        ("rules = [\"Brute\"]", false),
        ("systems = [\"portal\"]", true),
        ("hosts = [\"WEB*\"]", true),
        ("hosts = [\"web\"]", false),
        ("addresses = [\"10.20.0.0/16\"]", true),
        ("addresses = [\"10.20.0.5\", \"2001:db8::/32\"]", true),
        ("addresses = [\"10.21.0.0/16\"]", false),
        ("users = [\"scan*er\"]", true),
        ("fields.CommandLine = ['c:\\tools\\*[x]']", true),
        ("fields.CommandLine = ['[x]']", false),
        ("fields.Image = ['*x']", false),
        ("rules = [\"brute\"]\nhosts = [\"web01\"]\nusers = [\"root\"]", false),
        ("rules = [\"brute\"]\nhosts = [\"web01\"]\nusers = [\"root\", \"scanner\"]", true),
    ] {
        assert_eq!(exception(scope).exception(&hit(), noon()).is_some(), expected, "{scope}");
    }
}

#[test]
fn has_an_effect_until_its_last_day_is_over_and_not_after() {
    let midnight = noon() + 12 * 3600 * SECOND;
    let exceptions = exception("rules = [\"brute\"]");
    assert!(exceptions.exception(&hit(), midnight - 1).is_some());
    assert!(exceptions.exception(&hit(), midnight).is_none());
    let later = exception("rules = [\"brute\"]\nfrom = \"2026-11-26T12:30\"");
    assert!(later.exception(&hit(), noon() + 1799 * SECOND).is_none());
    assert!(later.exception(&hit(), noon() + 1800 * SECOND).is_some());
    let zoned = exception("rules = [\"brute\"]\nfrom = \"2026-11-26T05:30:00Z\"");
    assert!(zoned.exception(&hit(), noon() + 1800 * SECOND).is_some());
}

#[test]
fn a_silence_is_no_exception() {
    let text = "[[silence]]\nid = \"s\"\nowner = \"Lan\"\nreason = \"x\"\nexpires = \"2026-11-27\"\nhosts = [\"web01\"]";
    let (silences, faults) = parse(text, noon());
    assert!(faults.is_empty(), "{faults:?}");
    assert!(silences.exception(&hit(), noon()).is_none());
    assert_eq!(silences.silence(&hit(), noon()), Some("s"));
}

#[test]
fn rejects_with_file_line_and_what_was_expected() {
    let whole = "[[exception]]\nid = \"e\"\nowner = \"Lan\"\nreason = \"x\"\nexpires = \"2026-12-01\"\nrules = [\"r\"]\n";
    for (from, to, said) in [
        ("id = \"e\"", "id = \"e e\"", "x.toml:2:6: exception \"e e\": id: expected 1 to 253 letters"),
        ("\"Lan\"", "\" \"", "x.toml:3:9: exception \"e\": owner: expected a text, found \" \""),
        ("expires = \"2026-12-01\"\n", "", "missing field `expires`"),
        ("2026-12-01", "2026-13-01", "x.toml:5:11: exception \"e\": expires: expected a day YYYY-MM-DD"),
        ("2026-12-01", "2027-12-01", "expires: expected at most 366 days from now, found \"2027-12-01\""),
        ("rules = [\"r\"]", "", "expected at least one of rules, systems"),
        ("rules = [\"r\"]", "rules = [\"\"]", "rules: expected ids"),
        ("rules = [\"r\"]", "hosts = [\"*\"]", "hosts: expected a text"),
        ("rules = [\"r\"]", "addresses = [\"10.0.0.0/33\"]", "addresses: expected an address or a network"),
        ("rules = [\"r\"]", "rule = [\"r\"]", "unknown field `rule`"),
        ("rules", "from = \"2026-12-03\"\nrules", "expires: expected a time after `from`"),
    ] {
        let (exceptions, faults) = parse(&whole.replace(from, to), noon());
        assert!(exceptions.waivers.is_empty(), "{to}");
        assert!(faults.len() == 1 && faults[0].contains(said), "{to}: {faults:?}");
    }
    // The others are loaded, and an id stands once.
    let (exceptions, faults) = parse(&(whole.to_owned() + whole), noon());
    assert_eq!(exceptions.waivers.len(), 1);
    assert!(faults[0].contains("x.toml:8:6: exception \"e\": id: expected an id of its own"), "{faults:?}");
}

#[test]
fn names_unknown_rules_and_systems_with_their_line() {
    let exceptions = exception("rules = [\"brute\",\n  \"gone\"]\nsystems = [\"closed\"]");
    let unknown = exceptions.unknown(|rule| rule == "brute", |_| false);
    let said: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "x.toml:7:3: exception \"e\": rules: expected the id of a rule that is loaded, found \"gone\"",
            "x.toml:8:12: exception \"e\": systems: expected the id of a system of the inventory, found \"closed\""
        ]
    );
}

#[test]
fn counts_hits_by_exception_rule_and_batch() {
    let exceptions = exception("rules = [\"brute\"]");
    let waiver = exceptions.exception(&hit(), noon()).unwrap();
    let mut excepted = Excepted::default();
    let later = Hit { ts: noon() + SECOND, samples: vec![], ..hit() };
    for hit in [hit(), hit(), later] {
        excepted.count(waiver, &hit);
    }
    let rows = excepted.take();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].hits, rows[0].seq, &*rows[0].last_line), (3, 7, "a line"));
    assert_eq!((rows[0].first_seen, rows[0].last_seen), (noon(), noon() + SECOND));
    assert!(excepted.take().is_empty());
}
