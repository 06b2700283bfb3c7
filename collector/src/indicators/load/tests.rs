//! The readers on small files of ours: what loads, what does not and why, and how a feed's folder is read.

use std::fs;

use super::*;

const NOW: Micros = 1_800_000_000_000_000; // 2027-01-15

fn feed(path: &Path, format: FeedFormat) -> IndicatorFeed {
    IndicatorFeed {
        feed: "f".into(),
        path: path.into(),
        format,
        kind: None,
        columns: Vec::new(),
        severity: Severity::Low,
        allow_local: false,
    }
}

/// What one file gives.
fn loaded(name: &str, text: &str, format: FeedFormat) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    load(&[feed(&path, format)], NOW)
}

/// The values, with their kinds and severities.
fn values(loaded: &Loaded) -> Vec<String> {
    let show = |found: detect::Indicator<'_>| {
        format!("{} {} {}", found.kind().as_str(), found.value(), found.severity().as_str())
    };
    loaded.indicators.iter().map(show).collect()
}

/// Reasons and places of what was not understood.
fn faults(loaded: &Loaded) -> Vec<String> {
    let of = |report: &Report| report.faults.iter().map(ToString::to_string).collect::<Vec<_>>();
    loaded
        .reports
        .iter()
        .flat_map(of)
        .map(|fault| {
            fault.split_once(" (first: ").map_or_else(
                || fault.clone(),
                |(reason, first)| format!("{reason} @{}", first.rsplit('/').next().unwrap_or_default()),
            )
        })
        .collect()
}

fn only(loaded: &Loaded) -> &Report {
    let [report] = loaded.reports.as_slice() else { panic!("{} reports", loaded.reports.len()) };
    report
}

#[test]
fn reads_a_table() {
    let text = "\u{feff}Type, Value, Description, Severity, Valid Until, Tags, Confidence, TLP\n\
        # a comment\n\
        ip-dst|port, 192.0.2.7|443, \"C2, second stage\", high, 2030-01-01, botnet;c2, 80, amber\n\
        domain|ip, evil.example|192.0.2.8, , , 2020-01-01 10:00:00 UTC, , ,\n\
        , hxxp://evil[.]example/x, , , , , ,\n\
        sha256, E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855, , , 1900000000, , ,\n\
        ip, 10.0.0.1, , , , , ,\n\
        domain, EVIL.example., , , , , ,\n\
        mutex, abc, , , , , ,\n\
        domain, com, , , , , ,\n\
        domain, late.example, , , soon, , ,\n\
        short\n";
    let loaded = loaded("a.csv", text, FeedFormat::Csv);
    assert_eq!(
        values(&loaded),
        [
            "address 192.0.2.7 high",
            "domain evil.example low",
            "address 192.0.2.8 low",
            "url evil.example/x low",
            "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 low",
        ]
    );
    assert_eq!(
        faults(&loaded),
        [
            "1 × the type mutex is not looked for @a.csv:9: abc)",
            "1 × expected a domain of two labels or more such as example.org @a.csv:10: com)",
            "1 × ValidUntil cannot be read @a.csv:11: soon)",
            "1 × the type short is not looked for @a.csv:12: )",
        ]
    );
    let report = only(&loaded);
    assert_eq!((report.loaded(), report.expired, report.local, report.repeated), (5, 2, 1, 1));
    let first = loaded.indicators.iter().next().unwrap();
    assert_eq!(
        (first.description(), first.confidence(), first.tlp()),
        ("C2, second stage", Some(80), "amber")
    );
    assert_eq!(first.labels(), ["botnet".into(), "c2".into()]);
    assert_eq!(first.valid_until(), moment("2030-01-01"));
}

#[test]
fn takes_the_columns_from_the_configuration_or_says_which_it_expects() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    fs::write(&path, "1,192.0.2.7\n2,evil.example\n").unwrap();
    let columns = vec!["id".to_owned(), "value".to_owned()];
    let named = load(&[IndicatorFeed { columns, ..feed(&path, FeedFormat::Csv) }], NOW);
    assert_eq!(values(&named), ["address 192.0.2.7 low", "domain evil.example low"]);
    let unnamed = load(&[feed(&path, FeedFormat::Csv)], NOW);
    let problems: Vec<String> = unnamed.problems().collect();
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(problem.contains("a.csv: expected a column named value, indicator or ioc"), "{problem}");
    assert!(problem.contains("192.0.2.7"), "{problem}");
}

#[test]
fn reads_a_list() {
    let text = "# ours\n192.0.2.0/24 ; scanner\nevil.example\r\n\nnonsense!\n";
    let loaded = loaded("a.txt", text, FeedFormat::List);
    assert_eq!(values(&loaded), ["address 192.0.2.0/24 low", "domain evil.example low"]);
    assert_eq!(loaded.indicators.iter().next().unwrap().description(), "scanner");
    assert_eq!(faults(&loaded), ["1 × looks like no kind of indicator @a.txt:5: nonsense!)"]);
}

#[test]
fn takes_a_url_whole() {
    let list = "http://evil.example/a,b;c|d the rest\nhxxp://evil[.]example/e\n192.0.2.7,scanner\n";
    let expected = ["url evil.example/a,b;c|d low", "url evil.example/e low", "address 192.0.2.7 low"];
    assert_eq!(values(&loaded("a.txt", list, FeedFormat::List)), expected);
    let table = "type,value\nurl,http://evil.example/?a=1|2\nip-dst|port,192.0.2.7|443\n";
    let expected = ["url evil.example/?a=1|2 low", "address 192.0.2.7 low"];
    assert_eq!(values(&loaded("a.csv", table, FeedFormat::Csv)), expected);
}

/// The rest of a long line was once read as a line of its own.
#[test]
fn a_line_that_is_too_long_is_one_fault() {
    let long = format!("{} innocent.example\n", "x".repeat(16 * 1024));
    let fits = format!("evil.example {}\n", "x".repeat(16 * 1024 - "evil.example \n".len()));
    let loaded = loaded("a.txt", &format!("{long}{fits}last.example\n"), FeedFormat::List);
    assert_eq!(values(&loaded), ["domain evil.example low", "domain last.example low"]);
    let [fault] = &faults(&loaded)[..] else { panic!("{:?}", faults(&loaded)) };
    assert!(fault.starts_with("1 × more than 16384 bytes @a.txt:1: xxx"), "{fault}");
}

/// What a pattern finds and cannot be read is a problem: else its indicators would go without a word.
#[test]
fn a_pattern_that_finds_what_cannot_be_read_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    fs::create_dir(folder.path().join("b/folder.txt")).unwrap();
    fs::write(folder.path().join("a/x.txt"), "192.0.2.7\n").unwrap();
    let pattern = feed(&folder.path().join("*/*.txt"), FeedFormat::List);
    let problems = |loaded: &Loaded| loaded.problems().collect::<Vec<_>>();
    assert_eq!(problems(&load(std::slice::from_ref(&pattern), NOW)), [""; 0]);
    std::os::unix::fs::symlink("nowhere", folder.path().join("b/x.txt")).unwrap();
    let loaded = load(&[pattern], NOW);
    let [problem] = &problems(&loaded)[..] else { panic!("{:?}", problems(&loaded)) };
    assert!(problem.contains("b/x.txt: cannot be read"), "{problem}");
    assert_eq!(values(&loaded), ["address 192.0.2.7 low"]);
}

#[test]
fn a_declared_kind_is_believed_rather_than_the_shape() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ja3.txt");
    fs::write(&path, "d41d8cd98f00b204e9800998ecf8427e\n10.0.0.1\n").unwrap();
    let ja3 = IndicatorFeed { kind: Some(IndicatorKind::Ja3), ..feed(&path, FeedFormat::List) };
    assert_eq!(values(&load(&[ja3], NOW)), ["ja3 d41d8cd98f00b204e9800998ecf8427e low"]);
    let allowed = IndicatorFeed { allow_local: true, ..feed(&path, FeedFormat::List) };
    assert_eq!(
        values(&load(&[allowed], NOW)),
        ["md5 d41d8cd98f00b204e9800998ecf8427e low", "address 10.0.0.1 low"]
    );
}

#[test]
fn reads_a_bundle() {
    let text = r#"{"type": "bundle", "id": "bundle--1", "objects": [
        {"type": "malware", "name": "not an indicator"},
        {"type": "indicator", "pattern": "[ipv4-addr:value = '192.0.2.7' OR domain-name:value = 'evil.example']",
         "pattern_type": "stix", "name": "C2", "labels": ["malicious-activity"], "confidence": 90,
         "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2026-12-31T00:00:00.000Z",
         "object_marking_refs": ["marking-definition--f88d31f6-486f-44da-b317-01333bde0b82"]},
        {"type": "indicator", "pattern": "[file:name = 'a' AND file:size = 3]", "pattern_type": "stix"},
        {"type": "indicator", "pattern": "rule a {}", "pattern_type": "yara", "name": "a rule"},
        {"type": "indicator", "pattern": "[url:value = 'http://x.example/']", "pattern_type": "stix", "revoked": true},
        {"type": "indicator", "pattern": 5},
        {"type": "indicator", "pattern": "[file:hashes.MD5 = 'd41d8cd98f00b204e9800998ecf8427e']"}
    ]}"#;
    let loaded = loaded("a.json", text, FeedFormat::Stix);
    assert_eq!(
        values(&loaded),
        ["address 192.0.2.7 low", "domain evil.example low", "md5 d41d8cd98f00b204e9800998ecf8427e low",]
    );
    let reasons = faults(&loaded);
    assert!(reasons[0].contains("more than values joined by OR: AND @a.json: objects[2]"), "{reasons:?}");
    assert!(reasons[1].starts_with("1 × a pattern in yara @a.json: objects[3]: a rule"), "{reasons:?}");
    assert!(reasons[2].starts_with("1 × expected an object of STIX @a.json: objects[5]"), "{reasons:?}");
    let report = only(&loaded);
    assert_eq!((report.passed_over, report.expired, reasons.len()), (1, 2, 3));
    let first = loaded.indicators.iter().next().unwrap();
    assert_eq!((first.name(), first.tlp(), first.confidence()), ("C2", "amber", Some(90)));
    assert_eq!(first.valid_from(), moment("2026-01-01"));
}

const EVENT: &str = r#"{"Event": {"uuid": "6f0d", "info": "Campaign", "threat_level_id": "1",
    "Tag": [{"name": "tlp:green"}, {"name": "botnet"}],
    "Attribute": [
        {"type": "ip-dst", "value": "192.0.2.7", "to_ids": true, "comment": "C2"},
        {"type": "ip-dst", "value": "127.0.0.1", "to_ids": true},
        {"type": "domain", "value": "victim.example", "to_ids": false},
        {"type": "domain", "value": "old.example", "to_ids": true, "deleted": "1"},
        {"type": "filename", "value": "a.exe", "to_ids": true},
        {"type": "domain"}
    ],
    "Object": [{"name": "file", "Attribute": [
        {"type": "filename|sha1", "value": "a.exe|da39a3ee5e6b4b0d3255bfef95601890afd80709", "to_ids": "1"}
    ]}]}}"#;

#[test]
fn reads_events_of_misp() {
    for text in [EVENT.to_owned(), format!("{{\"response\": [{EVENT}]}}"), format!("[{EVENT}]")] {
        let loaded = loaded("6f0d.json", &text, FeedFormat::Misp);
        assert_eq!(
            values(&loaded),
            ["address 192.0.2.7 high", "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709 high",]
        );
        assert_eq!(
            faults(&loaded),
            [
                "1 × the type filename is not looked for @6f0d.json: attribute 4: a.exe)",
                "1 × expected an attribute of MISP @6f0d.json: attribute 5: {\"type\": \"domain\"})",
            ]
        );
        let report = only(&loaded);
        assert_eq!((report.passed_over, report.local), (2, 1));
        let found = loaded.indicators.lookup("192.0.2.7");
        let indicator = found.first().unwrap();
        assert_eq!((indicator.name(), indicator.description(), indicator.tlp()), ("Campaign", "C2", "green"));
    }
}

#[test]
fn reads_the_events_that_a_manifest_names_and_no_other_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("manifest.json"), r#"{"6f0d": {"info": "Campaign"}, "../secret": {}}"#)
        .unwrap();
    fs::write(folder.path().join("hashes.csv"), "x,y").unwrap();
    fs::write(folder.path().join("6f0d.json"), EVENT).unwrap();
    fs::write(folder.path().join("other.json"), "no event").unwrap();
    let loaded = load(&[feed(folder.path(), FeedFormat::Misp)], NOW);
    assert_eq!(loaded.problems().count(), 0, "{:?}", only(&loaded).problems);
    assert_eq!((only(&loaded).files, loaded.indicators.len()), (1, 2));
}

#[test]
fn says_of_a_file_that_cannot_be_read_what_was_expected() {
    for (format, text, expected) in [
        (FeedFormat::Stix, "{\"objects\": [", "expected a STIX 2.1 bundle, an object with `objects`: EOF"),
        (FeedFormat::Stix, "{\"type\": \"bundle\"}", "missing field `objects`"),
        (FeedFormat::Misp, "{\"Event\": 3}", "expected events of MISP"),
        (FeedFormat::Misp, "{}", "neither is there"),
        (FeedFormat::Csv, "", "expected a column named value"),
    ] {
        let problems: Vec<String> = loaded("a.json", text, format).problems().collect();
        let [problem] = problems.as_slice() else { panic!("{text}: {problems:?}") };
        assert!(problem.starts_with("f: ") && problem.contains("a.json: "), "{problem}");
        assert!(problem.contains(expected), "{problem}");
    }
    let missing = load(&[feed(Path::new("/nowhere/*.csv"), FeedFormat::Csv)], NOW);
    let problems: Vec<String> = missing.problems().collect();
    assert_eq!(
        problems,
        ["f: /nowhere/*.csv: expected a file, a folder or a pattern that finds some; there is none"]
    );
}

#[test]
fn what_stands_before_a_broken_end_is_loaded_and_the_end_is_a_problem() {
    let text = r#"{"objects": [{"type": "indicator", "pattern": "[url:value = 'http://x.example/']"},"#;
    let loaded = loaded("a.json", text, FeedFormat::Stix);
    assert_eq!((loaded.indicators.len(), loaded.problems().count()), (1, 1));
}

#[test]
fn reads_folders_and_patterns_in_the_order_of_names_without_hidden_files() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("b.txt", "b.example"), ("a.txt", "a.example"), (".c.txt", "c.example")] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let expected = ["domain a.example low", "domain b.example low"];
    assert_eq!(values(&load(&[feed(folder.path(), FeedFormat::List)], NOW)), expected);
    assert_eq!(values(&load(&[feed(&folder.path().join("*.txt"), FeedFormat::List)], NOW))[..2], expected);
}

#[test]
fn reads_moments_as_feeds_write_them() {
    let day = moment("2026-03-04").unwrap();
    for text in [
        "2026-03-04T00:00:00Z",
        "2026-03-04 00:00:00",
        "2026-03-04 00:00:00 UTC",
        "2026-03-04T07:00:00+07:00",
    ] {
        assert_eq!(moment(text), Some(day), "{text}");
    }
    assert_eq!(moment("1772582400"), Some(day));
    assert_eq!((moment(""), moment("soon"), moment("2026-13-01")), (None, None, None));
}
