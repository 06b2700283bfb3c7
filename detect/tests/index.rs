//! The index finds what the scan finds, over generated rules and events.
//!
//! Few letters, so that values of rules stand in values of events, at their ends and over each other.

use std::borrow::Cow;
use std::collections::BTreeMap;

use detect::{Engine, Match, Scratch, compile};
use event::{Event, LogSource, ParseStatus, TsQuality, Value};
use proptest::prelude::*;

const FIELDS: [&str; 4] = ["a", "b", "c", "d"];

/// Log sources of rules and of events.
const SOURCES: [(&str, &str); 4] = [("p", ""), ("p", "s"), ("p", "t"), ("q", "s")];

const CONDITIONS: [&str; 9] = [
    "s",
    "t",
    "s and t",
    "s or t",
    "s and not t",
    "not s",
    "1 of them",
    "not (s and t) or (t and not s)",
    "(s and not t) or (t and not s)",
];

/// Long enough to be taken for rare, so that not all that a rule asks is asked of every event.
const RARE: [&str; 5] = ["abbaabbaabba", "aabbaabbaabb", "bababababab/", "abab-babab-ab", "đababababab"];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[aAbB]{0,9}",
        2 => "[abAB./ -]{1,12}",
        2 => "[ađĐǆſsSk\u{212a}]{1,5}",
        1 => r"[a\\*?b]{1,6}",
        1 => "(aabb|abba){1,4}",
        1 => Just("nan".to_owned()),
        1 => Just("e\u{302}\u{303}".to_owned()),
        1 => "[HhJT\u{331}\u{30c}\u{308}\u{301}ΪϊΐſsS\u{327}İ]{1,5}",
    ]
}

fn rare(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(RARE.to_vec(), count)
}

fn regex() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[ab]{1,4}",
        1 => Just("[aA]".to_owned()),
        1 => Just(r"\w+".to_owned()),
        1 => Just(".*".to_owned()),
        1 => Just("(ab|b+a)".to_owned()),
        1 => Just("b?".to_owned()),
        1 => Just(r"\b".to_owned()),
        1 => Just("đ|s".to_owned()),
        1 => Just("(?i)k".to_owned()),
        1 => Just("^".to_owned()),
        1 => Just("$".to_owned()),
        1 => Just(r"\.".to_owned()),
    ];
    prop::collection::vec(piece, 1..5).prop_map(|pieces| pieces.concat())
}

/// Found in nearly every text, and asked in full by the index alone.
fn pairs(modifiers: &'static str) -> impl Strategy<Value = (String, String)> {
    let pairs = prop::sample::subsequence(vec!["aa", "ab", "ba", "bb"], 1..3);
    pairs.prop_map(move |pairs| (modifiers.to_owned(), format!("[{}]", pairs.join(", "))))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Modifiers and value of one item.
fn asked() -> impl Strategy<Value = (String, String)> {
    let words = |modifiers: &'static [&'static str], count| {
        let values = prop::collection::vec(word().prop_map(|word| quoted(&word)), count);
        (prop::sample::select(modifiers), values)
            .prop_map(|(modifiers, values)| (modifiers.to_owned(), format!("[{}]", values.join(", "))))
    };
    let one = |modifier: &'static str, value: BoxedStrategy<String>| {
        value.prop_map(move |value| (modifier.to_owned(), value))
    };
    let plain = &[
        "",
        "|contains",
        "|startswith",
        "|endswith",
        "|cased",
        "|contains|cased",
        "|windash",
        "|contains|windash",
    ];
    let numbers =
        prop_oneof![Just("1"), Just("-1"), Just("1.5"), Just("9007199254740993")].prop_map(str::to_owned);
    prop_oneof![
        6 => words(plain, 1..4),
        2 => words(plain, 8..14),
        2 => words(&["|contains|all", "|all", "|startswith|all|cased", "|endswith|all|windash"], 2..4),
        1 => words(&["|contains|all", "|contains|all|cased"], 4..8),
        3 => pairs("|contains"),
        3 => pairs("|contains|all"),
        2 => rare(1..6).prop_map(|words| ("|contains|all".to_owned(), format!("['{}']", words.join("', '")))),
        1 => rare(1..3).prop_map(|words| ("|contains".to_owned(), format!("['{}']", words.join("', '")))),
        1 => words(&["|base64offset|contains", "|utf16|base64offset|contains"], 1..2),
        2 => one("|re", regex().prop_map(|regex| quoted(&regex)).boxed()),
        1 => one("|re|i", regex().prop_map(|regex| quoted(&regex)).boxed()),
        1 => one("|exists", prop_oneof![Just("true"), Just("false")].prop_map(str::to_owned).boxed()),
        1 => one("|fieldref", prop::sample::select(&FIELDS[..]).prop_map(str::to_owned).boxed()),
        1 => one("|fieldref|endswith", prop::sample::select(&FIELDS[..]).prop_map(str::to_owned).boxed()),
        1 => one("|cidr", Just("10.0.0.0/8".to_owned()).boxed()),
        1 => one("|gt", numbers.clone().boxed()),
        1 => one("|neq", word().prop_map(|word| quoted(&word)).boxed()),
        2 => one("", numbers.boxed()),
        1 => one("", Just("null".to_owned()).boxed()),
        1 => one("|all", word().prop_map(|word| format!("[null, {}]", quoted(&word))).boxed()),
        1 => one("|neq|all|base64offset|contains", Just("[aab, abb]".to_owned()).boxed()),
        1 => one("", Just("true".to_owned()).boxed()),
    ]
}

/// Items of a map, each key once.
fn items() -> impl Strategy<Value = Vec<String>> {
    let item = (prop::sample::select(&FIELDS[..]), asked())
        .prop_map(|(field, (modifiers, value))| (format!("{field}{modifiers}"), value));
    prop::collection::vec(item, 1..3).prop_map(|items| {
        let items: BTreeMap<String, String> = items.into_iter().collect();
        items.iter().map(|(key, value)| format!("{key}: {value}")).collect()
    })
}

fn selection() -> impl Strategy<Value = String> {
    let lines = |before: &'static str, items: Vec<String>| -> String {
        items.iter().map(|item| format!("        {before}{item}\n")).collect()
    };
    let words = || prop::collection::vec(word().prop_map(|word| quoted(&word)), 1..4);
    prop_oneof![
        4 => items().prop_map(move |items| lines("", items)),
        1 => items().prop_map(move |items| lines("- ", items)),
        1 => words().prop_map(move |words| lines("- ", words)),
        1 => words().prop_map(|words| format!("        '|all': [{}]\n", words.join(", "))),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    (prop::sample::select(&SOURCES[..]), selection(), selection(), prop::sample::select(&CONDITIONS[..])).prop_map(
        |((product, service), s, t, condition)| {
            let service = if service.is_empty() { String::new() } else { format!(", service: {service}") };
            format!(
                "logsource: {{product: {product}{service}}}\ndetection:\n    s:\n{s}    t:\n{t}    condition: {condition}\n"
            )
        },
    )
}

fn value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        6 => word().prop_map(|word| Value::Text(Cow::Owned(word))),
        3 => rare(0..6).prop_map(|words| Value::Text(Cow::Owned(words.concat()))),
        1 => Just(Value::Null),
        1 => prop_oneof![Just(1), Just(-1), Just(9_007_199_254_740_993), any::<i64>()].prop_map(Value::Int),
        1 => prop_oneof![Just(1.0), Just(1.5), Just(9_007_199_254_740_992.0), Just(f64::INFINITY), Just(f64::NAN)].prop_map(Value::Float),
        1 => prop_oneof![Just("1"), Just("1.0"), Just("10.1.2.3"), Just("TRUE")].prop_map(|text| Value::Text(text.into())),
        1 => any::<bool>().prop_map(Value::Bool),
    ]
}

fn event() -> impl Strategy<Value = Event<'static>> {
    let fields = prop::collection::vec((prop::sample::select(&FIELDS[..]), value()), 0..7);
    (prop::sample::select(&SOURCES[..]), word(), any::<bool>(), fields).prop_map(
        |((product, service), message, fields_hold_text, fields)| Event {
            ts: 0,
            ts_quality: TsQuality::Event,
            record: 0,
            records: 1,
            log_source: LogSource { category: "", product, service },
            status: ParseStatus::Parsed,
            message: Cow::Owned(message),
            fields_hold_text,
            fields: fields.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect(),
        },
    )
}

fn engine(rules: &[String]) -> Engine {
    let file =
        |(number, rule): (usize, &String)| (format!("{number}.yml"), format!("title: r{number}\n{rule}"));
    let files: Vec<(String, String)> = rules.iter().enumerate().map(file).collect();
    let (engine, problems) = compile(&files);
    let unexpected: Vec<_> =
        problems.iter().filter(|problem| !problem.to_string().contains("base64")).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}\n{rules:#?}");
    engine
}

fn paths(matches: &[Match]) -> Vec<&str> {
    matches.iter().map(|found| found.rule.path.as_str()).collect()
}

proptest! {
    #[test]
    fn the_index_finds_what_the_scan_finds(
        rules in prop::collection::vec(rule(), 1..30),
        events in prop::collection::vec(event(), 1..20),
    ) {
        let engine = engine(&rules);
        let mut scratch = Scratch::default();
        // Again and again: what was found in a value is remembered.
        for event in events.iter().chain(&events).chain(&events) {
            let index = engine.evaluate(event, &mut scratch);
            let scan = engine.scan(event, &mut scratch);
            let differing = || -> Vec<&String> {
                let differs = |path: &String| paths(&index).contains(&path.as_str()) != paths(&scan).contains(&path.as_str());
                (0..rules.len()).filter(|number| differs(&format!("{number}.yml"))).map(|number| &rules[number]).collect()
            };
            prop_assert_eq!(paths(&index), paths(&scan), "{:#?} {:#?}", event, differing());
            for rule in engine.rules() {
                let explained = engine.explain(rule, event, &mut scratch).map(|explanation| explanation.holds);
                let matched = paths(&scan).contains(&rule.path.as_str());
                prop_assert_eq!(explained, Some(matched), "{:#?} {:#?}", event, rule);
            }
        }
    }
}

/// A text may be shorter than the form of it that is compared: these letters have no composed form.
#[test]
fn a_text_is_as_long_as_it_is_compared() {
    let rules = ["logsource: {product: p}\ndetection:\n    s:\n        a|re: '(?:\u{915}\u{93c}){10}'\n    condition: s\n".to_owned()];
    let engine = engine(&rules);
    let event = Event {
        ts: 0,
        ts_quality: TsQuality::Event,
        record: 0,
        records: 1,
        log_source: LogSource { category: "", product: "p", service: "" },
        status: ParseStatus::Parsed,
        message: Cow::Borrowed(""),
        fields_hold_text: false,
        fields: vec![(Cow::Borrowed("a"), Value::Text("\u{958}".repeat(10).into()))],
    };
    let mut scratch = Scratch::default();
    assert_eq!(paths(&engine.scan(&event, &mut scratch)), ["0.yml"]);
    assert_eq!(paths(&engine.evaluate(&event, &mut scratch)), ["0.yml"]);
}
