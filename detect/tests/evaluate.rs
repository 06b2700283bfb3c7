//! Cases of the evaluator: a rule, an event, and whether it matches. Every modifier has hits and misses.

use std::borrow::Cow;

use detect::{Placeholders, Scratch, compile, compile_with};
use event::{Event, LogSource, ParseStatus, TsQuality, Value};

fn event<'a>(message: &'a str, fields: &[(&'a str, Value<'a>)]) -> Event<'a> {
    Event {
        ts: 0,
        ts_quality: TsQuality::Event,
        record: 0,
        records: 1,
        log_source: LogSource { category: "test", product: "", service: "" },
        status: ParseStatus::Parsed,
        message: Cow::Borrowed(message),
        fields_hold_text: false,
        fields: fields.iter().map(|(name, value)| (Cow::Borrowed(*name), value.clone())).collect(),
    }
}

fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

/// A rule whose `detection:` is given with its indentation.
fn rule(detection: &str) -> String {
    format!("title: case\nlogsource:\n    category: test\ndetection:\n{detection}\n")
}

fn matches(detection: &str, event: &Event<'_>) -> bool {
    let (engine, problems) = compile(&[("case.yml", rule(detection))]);
    assert!(problems.is_empty(), "{detection}: {problems:?}");
    let mut scratch = Scratch::default();
    let found = engine.evaluate(event, &mut scratch).len();
    assert_eq!(found, engine.scan(event, &mut scratch).len(), "the oracle says otherwise: {detection}");
    found > 0
}

fn problem(detection: &str) -> String {
    let (engine, problems) = compile(&[("case.yml", rule(detection))]);
    assert!(engine.rules().is_empty(), "{detection}");
    assert_eq!(problems.len(), 1, "{detection}: {problems:?}");
    problems[0].to_string()
}

/// One item, one field `f`.
fn item(item: &str, value: Value<'_>) -> bool {
    matches(&selection(item), &event("", &[("f", value)]))
}

fn selection(item: &str) -> String {
    format!("    s:\n        {item}\n    condition: s")
}

/// Keywords over a message.
fn keywords(list: &str, message: &str) -> bool {
    matches(&format!("    s:\n        {list}\n    condition: s"), &event(message, &[]))
}

#[test]
fn compares_text_without_case_in_any_script() {
    assert!(item("f: ĐĂNG nhập", text("đăng NHẬP")));
    assert!(item("f: 'Đăng'", text("\u{110}a\u{306}ng")), "NFC on both sides");
    assert!(!item("f: dang", text("đăng")));
    assert!(item("f|contains: ΟΔΟΣ", text("η οδος εδώ")), "the final sigma is a sigma");
    assert!(item("f|cased: Abc", text("Abc")));
    assert!(!item("f|cased: Abc", text("abc")));
    assert!(item("f|cased: 'ă'", text("a\u{306}")));
}

#[test]
fn reads_wildcards_and_their_escapes() {
    assert!(item("f: 'a*c?'", text("abbc!")));
    assert!(!item("f: 'a*c?'", text("abbc")), "? is one mandatory character");
    assert!(item("f: 'a?c'", text("aĐc")), "a character, not a byte");
    assert!(item(r"f: 'a\*b'", text("a*b")));
    assert!(!item(r"f: 'a\*b'", text("axb")));
    assert!(item(r"f: 'c:\\*'", text(r"C:\Windows")), "escaped backslash, then a wildcard");
    assert!(item(r"f: 'c:\Windows\*'", text(r"C:\Windows*")), "escaped wildcard");
    assert!(item(r"f: 'c:\win'", text(r"c:\win")));
    assert!(item("f: 'a*z'", text("a\nz")), "* is unbounded, lines or not");
    assert!(item("f: '*'", text("")), "* needs the field only");
    assert!(item("f|contains: 'a*c'", text("xxabcxx")));
    assert!(item("f|startswith: 'a?c'", text("abcdef")));
    assert!(!item("f|startswith: 'a?c'", text("xabc")));
    assert!(item("f|endswith: 'a?c'", text("xabc")));
    assert!(!item("f|endswith: 'a?c'", text("abcx")));
}

#[test]
fn reads_contains_startswith_and_endswith() {
    assert!(item("f|contains: ell", text("Hello")));
    assert!(!item("f|contains: elo", text("Hello")));
    assert!(item("f|startswith: HE", text("hello")));
    assert!(!item("f|startswith: el", text("hello")));
    assert!(item("f|endswith: LO", text("hello")));
    assert!(!item("f|endswith: ll", text("hello")));
    assert!(item("f|contains: 62", Value::Int(4624)), "a number has a text");
}

#[test]
fn asks_all_values_with_all_and_any_without() {
    let values = "- a\n            - b";
    assert!(item(&format!("f|contains:\n            {values}"), text("xbx")));
    assert!(!item(&format!("f|contains|all:\n            {values}"), text("xbx")));
    assert!(item(&format!("f|contains|all:\n            {values}"), text("bxa")));
}

#[test]
fn asks_any_value_of_a_repeated_field() {
    let event = event("", &[("f", text("one")), ("g", text("x")), ("f", text("two"))]);
    assert!(matches(&selection("f: two"), &event));
    assert!(!matches(&selection("f: three"), &event));
    assert!(matches(&selection("f|all:\n            - one\n            - two"), &event));
    assert!(!matches(&selection("f|neq: two"), &event), "no value may be equal");
}

#[test]
fn compares_numbers() {
    for value in [Value::Int(5), text("5"), Value::Float(5.0), text("5.0")] {
        assert!(item("f: 5", value.clone()), "{value:?}");
        assert!(item("f|gte: 5", value.clone()));
        assert!(item("f|lte: 5", value.clone()));
        assert!(!item("f|lt: 5", value.clone()));
        assert!(!item("f|gt: 5", value));
    }
    assert!(item("f|gt: 5", Value::Int(6)) && item("f|lt: 5.5", text("5")));
    assert!(item("f: '5'", Value::Int(5)));
    assert!(!item("f|gt: 5", text("inf")) && !item("f|lt: 5", text("")) && !item("f|gt: 1", text("six")));
    assert!(item("f: 9007199254740993", Value::Int(9_007_199_254_740_993)));
    assert!(!item("f: 9007199254740993", Value::Int(9_007_199_254_740_992)), "not through a double");
    assert!(item("f|neq: 5", Value::Int(6)) && !item("f|neq: 5", Value::Int(5)));
    assert!(problem(&selection("f|gt: many")).contains("expected a number"));
}

#[test]
fn reads_null_empty_exists_and_bool() {
    assert!(matches(&selection("f: null"), &event("", &[])), "absent");
    assert!(item("f: null", Value::Null));
    assert!(!item("f: null", text("")));
    assert!(item("f: ''", text("")) && !item("f: ''", text("x")) && !item("f: ''", Value::Null));
    assert!(matches(&selection("f:\n            - null\n            - ''"), &event("", &[])));
    assert!(item("f|exists: true", Value::Null), "only the presence counts");
    assert!(!item("f|exists: false", text("")));
    assert!(matches(&selection("f|exists: false"), &event("", &[])));
    assert!(!matches(&selection("f|neq: x"), &event("", &[])), "neq needs the field");
    assert!(
        item("f: true", Value::Bool(true)) && item("f: true", text("TRUE")) && !item("f: true", text("yes"))
    );
}

#[test]
fn reads_regular_expressions() {
    assert!(item("f|re: 'b+c$'", text("abbc")), "found anywhere unless anchored");
    assert!(!item("f|re: 'B'", text("abc")), "with case");
    assert!(item("f|re|i: 'B'", text("abc")));
    assert!(!item("f|re: '^b'", text("a\nb")) && item("f|re|m: '^b'", text("a\nb")));
    assert!(!item("f|re: 'a.b'", text("a\nb")) && item("f|re|s: 'a.b'", text("a\nb")));
    assert!(problem(&selection("f|re: '(?!a)b'")).contains("case.yml:6: case: `f|re`"));
    assert!(problem(&selection("f|i: a")).contains("sub-modifiers of re"));
}

#[test]
fn reads_encodings() {
    assert!(item("f|base64: foo", text("Zm9v")) && !item("f|base64: foo", text("xZm9v")));
    assert!(item("f|base64|contains: foo", text("xZm9vx")));
    // "foobar" in base64 behind 0, 1 and 2 bytes, and before more of them.
    for found in ["Zm9vYmFyeHk=", "eGZvb2Jhcnh5", "eHhmb29iYXJ4eQ=="] {
        assert!(item("f|base64offset|contains: foobar", text(found)), "{found}");
        assert!(item("f|base64offset: foobar", text(found)), "{found}");
    }
    assert!(!item("f|base64offset|contains: foobar", text("Zm9vYmF6")));
    assert!(item("f|wide|base64: cmd", text("YwBtAGQA")));
    assert!(item("f|utf16le|base64: cmd", text("YwBtAGQA")));
    assert!(item("f|utf16be|base64: cmd", text("AGMAbQBk")));
    assert!(item("f|utf16|base64: cmd", text("//5jAG0AZAA=")));
    assert!(item("f|wide: cmd", text("c\0m\0d\0")));
    assert!(item("f|wide|base64offset|contains: cmd", text("AGMAbQBkAA==")), "behind one byte");
    assert!(problem(&selection("f|utf16: cmd")).contains("expected a base64 after it"));
    assert!(problem(&selection("f|base64: 'a*'")).contains("wildcards cannot be encoded"));
    assert!(problem(&selection("f|contains|base64: a")).contains("modifiers apply in order"));
}

#[test]
fn takes_dashes_for_each_other_with_windash() {
    for dash in ["-", "/", "\u{2013}", "\u{2014}", "\u{2015}"] {
        let line = format!("x {dash}F y");
        assert!(item("f|windash|contains: ' -f '", text(&line)), "{dash}");
        assert!(item("f|contains|windash: ' /f '", text(&line)), "{dash}");
    }
    assert!(!item("f|windash|contains: ' -f '", text("x +f y")));
    assert!(!item("f|contains: ' -f '", text("x /f y")));
    assert!(item("f|windash|base64: '-a'", text("L2E=")), "/a in base64");
}

#[test]
fn reads_networks() {
    assert!(item("f|cidr: 10.0.0.0/8", text("10.255.0.1")) && !item("f|cidr: 10.0.0.0/8", text("11.0.0.1")));
    assert!(item("f|cidr: 10.0.0.0/8", text("::ffff:10.1.1.1")));
    for mapped in ["::ffff:10.0.0.0/104", "'::ffff:10.1.1.1'"] {
        assert!(item(&format!("f|cidr: {mapped}"), text("10.1.1.1")), "{mapped}");
        assert!(!item(&format!("f|cidr: {mapped}"), text("11.1.1.1")), "{mapped}");
    }
    assert!(item("f|cidr: fe80::/10", text("fe80::1%eth0")) && !item("f|cidr: fe80::/10", text("::1")));
    assert!(item("f|cidr: 2001:db8::/32", text("[2001:DB8::1]")));
    assert!(item("f|cidr: 192.0.2.1", text("192.0.2.1")) && !item("f|cidr: 192.0.2.1", text("host")));
    assert!(problem(&selection("f|cidr: 10.0.0.0/33")).contains("expected a network"));
}

#[test]
fn compares_fields_with_each_other() {
    let with = |own, other| event("", &[("f", text(own)), ("g", text(other))]);
    assert!(matches(&selection("f|fieldref: g"), &with("Root", "root")));
    assert!(!matches(&selection("f|fieldref: g"), &with("root", "toor")));
    assert!(!matches(&selection("f|fieldref|cased: g"), &with("Root", "root")));
    assert!(matches(&selection("f|fieldref|neq: g"), &with("root", "toor")));
    assert!(matches(&selection("f|fieldref|endswith: g"), &with("/bin/sh", "sh")));
    assert!(!matches(&selection("f|fieldref: g"), &event("", &[("f", text("root"))])), "both must be there");
    assert!(problem(&selection("f|contains|fieldref: g")).contains("contradict"));
}

/// Once, each byte of one value was the start of a comparison with the other: a tenth of a second for one event.
#[test]
fn compares_long_fields_with_each_other() {
    let run = "a".repeat(40_000);
    let (tail, other) = (format!("{}B", &run[..20_000]), format!("{run}b"));
    for (reference, long, short, held) in [
        ("f|fieldref|contains: g", &run, &tail, false),
        ("f|fieldref|contains: g", &other, &tail, true),
        ("f|fieldref|contains|cased: g", &other, &tail, false),
        ("f|fieldref|endswith: g", &other, &tail, true),
        ("f|fieldref|startswith: g", &other, &tail, false),
        ("f|fieldref|contains: g", &other, &String::new(), true),
    ] {
        let fields = [("f", text(long)), ("g", text(short))];
        assert_eq!(matches(&selection(reference), &event("", &fields)), held, "{reference}");
    }
}

#[test]
fn takes_numbers_out_of_dates() {
    let date = "2026-01-15T10:58:38.756+07:00";
    for (part, number) in
        [("minute", 58), ("hour", 10), ("day", 15), ("week", 3), ("month", 1), ("year", 2026)]
    {
        assert!(item(&format!("f|{part}: {number}"), text(date)), "{part}");
        assert!(!item(&format!("f|{part}: {}", number + 1), text(date)), "{part}");
    }
    assert!(
        item("f|hour|gte: 22", text("2026-01-15 23:00:00"))
            && !item("f|hour|gte: 22", text("2026-01-15 07:00:00"))
    );
    assert!(item("f|day: 15", text("2026-01-15")));
    assert!(
        item("f|year: 2026", Value::Int(1_768_474_718))
            && item("f|year: 2026", Value::Int(1_768_474_718_000))
    );
    assert!(!item("f|hour: 10", text("ten")));
}

#[test]
fn fills_placeholders_or_refuses() {
    let files = [("case.yml", rule(&selection(r"f|expand: 'a\%b%name%'")))];
    let values = Placeholders::from([("name".to_owned(), vec!["x*".to_owned(), "y".to_owned()])]);
    let (engine, problems) = compile_with(&files, &values);
    assert!(problems.is_empty(), "{problems:?}");
    let hit = |value| !engine.evaluate(&event("", &[("f", text(value))]), &mut Scratch::default()).is_empty();
    assert!(hit("a%bxyz") && hit("a%by") && !hit("a%bz"));
    assert!(problem(&selection("f|expand: '%name%'")).contains("%name% has no value"));
    assert!(item("f: '%name%'", text("%NAME%")), "without expand it is what it says");
}

#[test]
fn looks_for_keywords_in_the_whole_event() {
    assert!(keywords("- Evil\n        - other", "an EVIL thing"));
    assert!(!keywords("- Evil\n        - other", "a good thing"));
    assert!(keywords("- 'e*l'", "xx evil xx"));
    assert!(keywords("'|all':\n            - one\n            - two", "two and one"));
    assert!(!keywords("'|all':\n            - one\n            - two", "one"));
    assert!(keywords("'|re': 'ev.l$'", "evil") && !keywords("'|re': 'ev.l$'", "evil!"));
    assert!(keywords("- 4624", "id=4624 ok"));
    let decoded = event(r#"{"f":"c:\\evil"}"#, &[("f", text(r"c:\evil"))]);
    assert!(matches("    s:\n        - 'c:\\evil'\n    condition: s", &decoded), "a field counts as well");
    assert!(
        problem("    s:\n        '|cidr': 10.0.0.0/8\n    condition: s").contains("keywords have no field")
    );
}

/// So many keywords and fields that they have tables apart.
#[test]
fn looks_for_many_keywords_in_many_fields() {
    let rule = |name: &str, selection: &str| {
        (name.to_owned(), rule(&format!("    s:\n{selection}    condition: s")).replace("case", name))
    };
    let words: String = (0..500).map(|number| format!("        - 'bad{number}.example'\n")).collect();
    let mut files = vec![rule("keywords", &words)];
    files.extend(
        (0..100)
            .map(|number| rule(&format!("r{number}"), &format!("        f{number}: v{number}.example\n"))),
    );
    let (engine, problems) = compile(&files);
    assert!(problems.is_empty(), "{problems:?}");
    let mut scratch = Scratch::default();
    let message = "the message says bad7.example, and no more";
    for (said, fields, found) in [
        ("", &[("f7", text("at BAD499.example"))][..], vec!["keywords"]),
        ("", &[("f7", text("v7.example")), ("other", text("bad1.example"))][..], vec!["keywords", "r7"]),
        (message, &[("f8", text(&message[17..29]))][..], vec!["keywords"]),
        ("bad.example", &[("f7", text("v8.example")), ("f8", Value::Int(7))][..], vec![]),
    ] {
        let event = event(said, fields);
        for _ in 0..3 {
            let paths = |matches: Vec<detect::Match>| -> Vec<String> {
                matches.iter().map(|found| found.rule.path.clone()).collect()
            };
            assert_eq!(paths(engine.evaluate(&event, &mut scratch)), found, "{event:?}");
            assert_eq!(paths(engine.scan(&event, &mut scratch)), found, "{event:?}");
        }
    }
}

#[test]
fn links_lists_of_maps_with_or() {
    let list = "    s:\n        - f: a\n          g: b\n        - h: c\n    condition: s";
    assert!(matches(list, &event("", &[("f", text("a")), ("g", text("b"))])));
    assert!(matches(list, &event("", &[("h", text("c"))])));
    assert!(!matches(list, &event("", &[("f", text("a"))])));
}

#[test]
fn follows_the_precedence_of_conditions() {
    let truth = |condition: &str, a: bool, b: bool, c: bool| {
        let set = [("a", a), ("b", b), ("c", c)];
        let fields: Vec<_> = set.iter().filter(|(_, is)| *is).map(|(name, _)| (*name, text("1"))).collect();
        let detection = format!(
            "    s_a:\n        a: 1\n    s_b:\n        b: 1\n    _c:\n        c: 1\n    condition: {condition}"
        );
        matches(&detection, &event("", &fields))
    };
    assert!(truth("s_a or s_b and _c", true, false, false), "and binds more than or");
    assert!(!truth("(s_a or s_b) and _c", true, false, false));
    assert!(truth("not s_a and s_b", false, true, false), "not binds more than and");
    assert!(
        truth("1 of them", true, false, false) && !truth("1 of them", false, false, true),
        "_c is not among them"
    );
    assert!(truth("all of s_*", true, true, false) && !truth("all of s_*", true, false, false));
    assert!(truth("any of *_*", false, false, true));
    assert!(truth("2 of s*_*", true, true, false) && !truth("2 of s*_*", true, false, false));
    assert!(truth("[s_a, s_b]", false, true, false), "a list of conditions is an or");
}

#[test]
fn refuses_what_a_condition_cannot_mean() {
    assert!(
        problem("    s:\n        f: a\n    condition: s and t")
            .contains("case.yml:7: case: the condition names `t`")
    );
    assert!(problem("    s:\n        f: a\n    condition: 1 of t*").contains("`t*` fits no selection"));
    assert!(problem("    s:\n        f: a\n    condition: 2 of s*").contains("asks for 2"));
    assert!(
        problem("    s:\n        f: a\n    condition: s | count() by g > 5")
            .contains("aggregates after a `|`")
    );
    assert!(problem("    s:\n        f: a\n    timeframe: 5m\n    condition: s").contains("`timeframe`"));
    assert!(problem("    s: {}\n    condition: s").contains("selection `s` is empty"));
    assert!(problem("    s:\n        f: []\n    condition: s").contains("has no value"));
    assert!(
        problem("    s:\n        f|foo: a\n    condition: s")
            .contains("case.yml:6: case: Unknown modifier 'foo'")
    );
}

#[test]
fn tells_what_matched() {
    let detection = "    s:\n        f|contains: ell\n    k:\n        - WORLD\n    x:\n        g: no\n    condition: s and k and not x";
    let (engine, _) = compile(&[("case.yml", rule(detection))]);
    let (event, mut scratch) =
        (event("hello world", &[("f", text("Hello")), ("g", text("yes"))]), Scratch::default());
    let found = engine.evaluate(&event, &mut scratch);
    let expected = [("f".to_owned(), "Hello".to_owned()), ("message".to_owned(), "world".to_owned())];
    assert_eq!(engine.evidence(&found[0], &event, &mut scratch), expected);
    assert_eq!(found[0].rule.title, "case");
}

#[test]
fn a_scratch_outlives_its_event_and_its_engine() {
    let mut scratch = Scratch::default();
    let (first, _) = compile(&[("a.yml", rule(&selection("f: a")))]);
    let (second, _) = compile(&[("b.yml", rule(&selection("g: b")))]);
    for _ in 0..2 {
        assert_eq!(first.evaluate(&event("", &[("f", text("A"))]), &mut scratch).len(), 1);
        assert_eq!(first.evaluate(&event("", &[("g", text("a"))]), &mut scratch).len(), 0);
        assert_eq!(second.evaluate(&event("", &[("x", text("")), ("g", text("B"))]), &mut scratch).len(), 1);
    }
}
