//! The index finds what the scan finds, over generated rules, filters and events.
//!
//! Few letters, so that values of rules stand in values of events, at their ends and over each other; some values of events
//! are those of the rules, and some are pieces of the message.

use std::borrow::Cow;
use std::collections::BTreeMap;

use detect::{Engine, Match, Scratch, compile};
use event::{Event, LogSource, ParseStatus, TsQuality, Value};
use proptest::prelude::*;
use proptest::sample::Index;
use unicode_normalization::UnicodeNormalization;

const FIELDS: [&str; 4] = ["a", "b", "c", "d"];

/// Log sources of rules and of events.
const SOURCES: [(&str, &str); 4] = [("p", ""), ("p", "s"), ("p", "t"), ("q", "s")];

const CONDITIONS: [&str; 15] = [
    "s",
    "t",
    "s1",
    "1 of s*",
    "all of s*",
    "2 of them",
    "3 of them",
    "2 of s* and not t",
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
        1 => r"[abABđĐßẞſKİςΣᎠꭰǅ\u{301}\u{338}–/\\12=\u{958}-]{1,9}",
        1 => r"[abcAB@`1\[-]{1,9}",
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
        1 => Just("(?:a{2,3}b)?".to_owned()),
        1 => Just("(?:ab){2}".to_owned()),
        1 => Just("(a|ab)(c|bcd)?".to_owned()),
        1 => Just("(?i:k|ß|σ)".to_owned()),
        1 => Just("[^a]".to_owned()),
        1 => Just("[аbſ]".to_owned()),
        1 => Just(".{40}".to_owned()),
        1 => Just(r"\x{212a}".to_owned()),
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
        1 => words(&["|contains|all|windash", "|neq", "|neq|contains|all"], 1..4),
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
        1 => one("|neq", Just("null".to_owned()).boxed()),
        1 => one("|fieldref|contains", prop::sample::select(&FIELDS[..]).prop_map(str::to_owned).boxed()),
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
        1 => words().prop_map(|words| format!("        '|startswith': [{}]\n", words.join(", "))),
        1 => regex().prop_map(|regex| format!("        '|re': {}\n", quoted(&regex))),
        1 => items().prop_map(move |items| lines("- ", items) + "        - z|exists: false\n"),
    ]
}

/// Some have more parts that must all hold than are told apart.
fn condition() -> impl Strategy<Value = String> {
    let simple = prop::sample::select(&CONDITIONS[..]).prop_map(str::to_owned).boxed();
    let parts =
        prop::sample::select(vec!["s", "t", "not t", "not s1", "1 of s*", "not 2 of them", "1 of them"]);
    let long = prop::collection::vec(parts, 66..76).prop_map(|parts| parts.join(" and ")).boxed();
    let joined = (simple.clone(), prop::sample::select(vec!["and", "or", "and not"]), simple.clone())
        .prop_map(|(one, link, other)| format!("({one}) {link} ({other})"));
    prop_oneof![12 => simple, 4 => joined, 1 => long]
}

fn log_source((product, service): (&str, &str)) -> String {
    let service = if service.is_empty() { String::new() } else { format!(", service: {service}") };
    format!("logsource: {{product: {product}{service}}}\n")
}

/// Selections and a condition over them, below `detection:` or `filter:`.
fn body() -> impl Strategy<Value = String> {
    (selection(), selection(), selection(), condition()).prop_map(|(s, t, s1, condition)| {
        format!("    s:\n{s}    t:\n{t}    s1:\n{s1}    condition: {condition}\n")
    })
}

fn rule() -> impl Strategy<Value = String> {
    (prop::sample::select(&SOURCES[..]), body())
        .prop_map(|(source, body)| format!("{}detection:\n{body}", log_source(source)))
}

fn filter() -> impl Strategy<Value = String> {
    (prop::sample::select(&SOURCES[..]), body())
        .prop_map(|(source, body)| format!("{}filter:\n    rules: any\n{body}", log_source(source)))
}

fn value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        6 => word().prop_map(|word| Value::Text(Cow::Owned(word))),
        3 => rare(0..6).prop_map(|words| Value::Text(Cow::Owned(words.concat()))),
        1 => "[ab]{40,150}".prop_map(|text| Value::Text(Cow::Owned(text))),
        1 => Just(Value::Null),
        1 => prop_oneof![Just(1), Just(-1), Just(9_007_199_254_740_993), any::<i64>()].prop_map(Value::Int),
        1 => prop_oneof![Just(1.0), Just(1.5), Just(9_007_199_254_740_992.0), Just(f64::INFINITY), Just(f64::NAN)].prop_map(Value::Float),
        1 => prop_oneof![Just("1"), Just("1.0"), Just("10.1.2.3"), Just("TRUE"), Just("1e0"), Just("+1")].prop_map(|text| Value::Text(text.into())),
        1 => any::<bool>().prop_map(Value::Bool),
    ]
}

/// Where a value of an event comes from.
#[derive(Clone, Debug)]
enum Given {
    Value(Value<'static>),
    /// Between two characters of the message.
    Piece(Index, Index),
    /// What a rule asks for.
    Literal(Index),
}

/// An event, but for what it takes from rules and from its own message.
#[derive(Clone, Debug)]
struct Outline {
    log_source: LogSource<'static>,
    literal: Option<Index>,
    message: String,
    fields_hold_text: bool,
    fields: Vec<(&'static str, Given)>,
}

fn outline() -> impl Strategy<Value = Outline> {
    let given = prop_oneof![
        6 => value().prop_map(Given::Value),
        2 => any::<(Index, Index)>().prop_map(|(from, to)| Given::Piece(from, to)),
        2 => any::<Index>().prop_map(Given::Literal),
    ];
    let fields = prop::collection::vec((prop::sample::select(&FIELDS[..]), given), 0..7);
    let message = (prop::option::of(any::<Index>()), word(), word());
    (prop::sample::select(&SOURCES[..]), message, any::<bool>(), fields).prop_map(
        |((product, service), (literal, one, other), fields_hold_text, fields)| Outline {
            log_source: LogSource { category: "", product, service },
            literal,
            message: one + &other,
            fields_hold_text,
            fields,
        },
    )
}

impl Outline {
    /// As parsers give it: in NFC.
    fn message(&self, literals: &[String]) -> String {
        let literal = self.literal.filter(|_| !literals.is_empty()).map(|literal| literal.get(literals));
        [literal.map_or("", String::as_str), &self.message].concat().nfc().collect()
    }

    fn event<'e>(&self, message: &'e str, literals: &'e [String]) -> Event<'e> {
        let value = |given: &Given| match given {
            Given::Value(value) => value.clone(),
            Given::Piece(from, to) => Value::Text(Cow::Borrowed(piece(message, from, to))),
            Given::Literal(_) if literals.is_empty() => Value::Null,
            Given::Literal(literal) => Value::Text(literal.get(literals).as_str().into()),
        };
        Event {
            ts: 0,
            ts_quality: TsQuality::Event,
            record: 0,
            records: 1,
            log_source: self.log_source,
            status: ParseStatus::Parsed,
            message: Cow::Borrowed(message),
            fields_hold_text: self.fields_hold_text,
            fields: self.fields.iter().map(|(name, given)| (Cow::Borrowed(*name), value(given))).collect(),
        }
    }
}

fn piece<'e>(message: &'e str, from: &Index, to: &Index) -> &'e str {
    let ends: Vec<usize> = message.char_indices().map(|(at, _)| at).chain([message.len()]).collect();
    let (one, other) = (*from.get(&ends), *to.get(&ends));
    &message[one.min(other)..one.max(other)]
}

/// The values that rules ask for, without their wildcards.
fn literals(rules: &[String]) -> Vec<String> {
    let quoted = rules.iter().flat_map(|rule| rule.split('\'').skip(1).step_by(2));
    quoted.map(|text| text.replace(['*', '?'], "")).collect()
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
        rules in prop_oneof![6 => prop::collection::vec(rule(), 1..30), 1 => prop::collection::vec(rule(), 65..90)],
        filters in prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(filter(), 1..4)],
        others in prop::collection::vec(rule(), 1..4),
        outlines in prop::collection::vec(outline(), 1..20),
    ) {
        let literals = literals(&rules);
        let rules: Vec<String> = rules.into_iter().chain(filters).collect();
        let (engine, other) = (engine(&rules), engine(&others));
        let messages: Vec<String> = outlines.iter().map(|outline| outline.message(&literals)).collect();
        let events: Vec<Event<'_>> =
            outlines.iter().zip(&messages).map(|(outline, message)| outline.event(message, &literals)).collect();
        let mut scratch = Scratch::default();
        // Again and again: what was found in a value is remembered, and forgotten for another engine.
        let again = events.iter().chain(&events).chain(&events).map(|event| (event, &engine));
        let in_turn = events.iter().flat_map(|event| [(event, &other), (event, &engine)]);
        for (event, engine) in again.chain(in_turn) {
            let index = engine.evaluate(event, &mut scratch);
            let scan = engine.scan(event, &mut scratch);
            let differing = || -> Vec<&String> {
                let differs = |path: &String| paths(&index).contains(&path.as_str()) != paths(&scan).contains(&path.as_str());
                (0..rules.len()).filter(|number| differs(&format!("{number}.yml"))).map(|number| &rules[number]).collect()
            };
            prop_assert_eq!(paths(&index), paths(&scan), "{:#?} {:#?}", event, differing());
        }
        for event in &events {
            let scan = engine.scan(event, &mut scratch);
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
