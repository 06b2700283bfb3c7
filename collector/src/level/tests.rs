//! Decrees against cases: what the shipped ones say, what a decree must not be, and what more facts and more parts may change.
//!
//! The cases stand in tests/data/level-cases.toml; together they reach every rule and every review of the shipped decrees, which
//! a test holds, and prints. The properties hold for facts that nobody thought of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde::Deserialize;
use toml::Value as Toml;

use super::*;
use crate::level::input::{Input, Kind};

type Stated = BTreeMap<String, Toml>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn decree(name: &str) -> Decree {
    let path = format!("rules/levels/{name}.toml");
    Decree::parse(&read(&path)).unwrap_or_else(|error| panic!("{path}:{error}"))
}

/// The two decrees and the profile of no country.
fn shipped() -> [Decree; 3] {
    ["vn-nd85-2016", "vn-nd331-2026", "neutral/high-water-mark"].map(decree)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    facts: Stated,
    #[serde(default)]
    parts: Vec<u8>,
    /// What each decree must say; one that is not named is not asked.
    expected: BTreeMap<String, Expected>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Expected {
    level: u8,
    /// The articles that the level rests on.
    #[serde(default)]
    articles: BTreeSet<String>,
    /// Cases that a person must decide.
    #[serde(default)]
    reviews: BTreeSet<String>,
    /// Facts that are missing.
    #[serde(default)]
    missing: BTreeSet<String>,
}

fn parts(levels: &[u8]) -> Vec<Part> {
    levels
        .iter()
        .map(|level| Part { name: format!("part {level}"), level: *level, needs_review: false })
        .collect()
}

fn found(judgement: &Judgement<'_>) -> Expected {
    Expected {
        level: judgement.level,
        articles: judgement.basis().iter().flat_map(|citation| citation.codes()).collect(),
        reviews: judgement.reviews.iter().map(|review| review.provision.id.clone()).collect(),
        missing: judgement.missing.iter().map(|missing| missing.input.name.clone()).collect(),
    }
}

#[test]
fn says_of_each_case_what_the_law_says_and_reaches_every_rule() {
    let Cases { case: cases } = toml::from_str(&read("tests/data/level-cases.toml")).unwrap();
    for decree in shipped() {
        let mut reached: BTreeSet<String> = BTreeSet::new();
        for case in &cases {
            let Some(expected) = case.expected.get(&decree.id) else { continue };
            for (name, value) in &case.facts {
                assert_eq!(decree.fact_fault(name, value), None, "{}: {name}", case.name);
            }
            let judgement = decree.judge(Some(&decree.facts(&case.facts)), parts(&case.parts));
            assert_eq!(found(&judgement), *expected, "{} by {}", case.name, decree.id);
            reached.extend(judgement.held.iter().map(|held| held.rule.provision.id.clone()));
            reached.extend(judgement.reviews.iter().map(|review| review.provision.id.clone()));
        }
        let rules = decree.rules.iter().map(|rule| &rule.provision.id);
        let all: BTreeSet<&String> =
            rules.chain(decree.reviews.iter().map(|review| &review.provision.id)).collect();
        let never: Vec<_> = all.iter().filter(|id| !reached.contains(**id)).collect();
        println!("{}: {} of {} rules and reviews reached", decree.id, reached.len(), all.len());
        assert!(never.is_empty(), "{}: no case reaches {never:?}", decree.id);
    }
}

#[test]
fn decrees_are_valid_from_their_first_to_their_last_day() {
    let day = |text: &str| text.parse::<jiff::civil::Date>().unwrap();
    let [old, new, _] = shipped();
    let decrees = Decrees::new(vec![new, old]).unwrap();
    for (date, expected) in [
        ("2016-06-30", None),
        ("2016-07-01", Some("vn-nd85-2016")),
        ("2026-06-30", Some("vn-nd85-2016")),
        ("2026-07-01", None),
        ("2026-08-18", None),
        ("2026-08-19", Some("vn-nd331-2026")),
        ("2100-01-01", Some("vn-nd331-2026")),
    ] {
        assert_eq!(decrees.in_force(day(date)).map(|decree| &*decree.id), expected, "{date}");
    }
}

#[test]
fn tells_articles_as_the_country_does() {
    let [old, new, _] = shipped();
    let facts = BTreeMap::from([("sector_floor".to_owned(), Toml::Array(vec!["smart_loudspeaker".into()]))]);
    let judgement = old.judge(Some(&old.facts(&facts)), Vec::new());
    let basis = judgement.basis();
    assert_eq!(basis[0].shown(Lang::Vi), "Thông tư 39/2020/TT-BTTTT, Điều 9 khoản 2");
    assert_eq!(basis[0].shown(Lang::En), "Circular 39/2020/TT-BTTTT, Article 9 clause 2");
    let drill = new.duties.iter().find(|duty| duty.provision.id == "drill").unwrap();
    let citation = drill.provision.citation.as_ref().unwrap().shown(Lang::En);
    assert_eq!(citation, "TCVN 14423:2026, clause 5.16.1, clause 6.17.2.6, clause 7.17.2.6");
    let minimum = old.retention.iter().find(|minimum| minimum.level == 3).unwrap();
    assert_eq!(minimum.provision.citation.as_ref().unwrap().shown(Lang::Vi), "TCVN 11930:2017, mục 7.2.1.4");
}

#[test]
fn a_whole_that_is_no_more_than_its_parts_misses_no_facts() {
    for decree in shipped() {
        let judgement = decree.judge(None, parts(&[1, 3, 2]));
        assert_eq!((judgement.level, judgement.needs_review()), (3, false));
        let mut parts = parts(&[1, 3]);
        parts[0].needs_review = true;
        assert!(decree.judge(None, parts).needs_review());
        assert!(decree.judge(None, Vec::new()).needs_review());
    }
}

#[test]
fn the_least_that_a_level_can_be_denies_no_higher_one() {
    let decree = decree("vn-nd331-2026");
    let denied = |parts| {
        let judgement = decree.judge(None, parts);
        [0, 1, 2, 3].map(|approved| judgement.denies(approved))
    };
    assert_eq!(denied(parts(&[2])), [false, true, false, true]);
    let unsure = Part { needs_review: true, ..parts(&[2]).remove(0) };
    assert_eq!(denied(vec![unsure]), [false, true, false, false]);
    let nothing = decree.facts(&Stated::new());
    assert!(!decree.judge(Some(&nothing), Vec::new()).denies(3), "nothing is known");
}

/// Texts of a decree with one thing wrong: what is replaced, by what, and what the error says.
type Wrong<'a> = &'a [(&'a str, &'a str, &'a str)];

fn rejects(cases: Wrong<'_>) {
    let text = read("rules/levels/neutral/high-water-mark.toml");
    for (from, to, expected) in cases {
        assert!(text.contains(from), "{from}");
        let error = Decree::parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
        let line = 1 + text[..text.find(from).unwrap()].matches('\n').count();
        let told: usize = error.split(':').next().unwrap().parse().unwrap();
        // A field that is missing is told at its table, a second line at itself.
        assert!(told.abs_diff(line) <= 4, "{to}: {error}, not near {line}");
    }
}

#[test]
fn rejects_a_condition_with_line_column_and_what_was_expected() {
    let low = "when = 'confidentiality == low or";
    rejects(&[
        (low, "when = 'secrecy == low or", "9: when: expected the name of an input, found \"secrecy\""),
        (low, "when = 'confidentiality == lowest or", "28: when: expected a value of the input"),
        (
            low,
            "when = 'confidentiality >= low or",
            "25: when: expected == or !=, because names have no order",
        ),
        (low, "when = 'confidentiality or", "25: when: expected a comparison, because this input is no bool"),
        (low, "when = 'low in confidentiality or", "16: when: expected an input that is a set"),
        (
            low,
            "when = 'life_safety == low or",
            "21: when: expected no comparison, because this input is a bool",
        ),
        (low, "when = 'known(integrity) or", "8: when: known() is for reviews"),
        (low, "when = '(integrity == low or", ": when: expected ')', found the end"),
        (
            low,
            "when = 'integrity == low integrity == low or",
            "26: when: expected \"and\", \"or\" or the end",
        ),
        (
            low,
            "when = 'integrity # low or",
            "19: when: expected a name, a number, a comparison or a bracket, found '#'",
        ),
    ]);
}

#[test]
fn rejects_an_entry_with_line_column_and_what_was_expected() {
    rejects(&[
        ("article = \"profile 3.1\"\n", "", ": missing field `article`"),
        (
            "article = \"profile 3.1\"",
            "article = \"law 3.1\"",
            "11: article: expected the id of an [[act]], found \"law\"",
        ),
        ("article = \"profile 3.1\"", "article = \"\"", "11: article: expected the id of an [[act]]"),
        ("level = 1\n", "level = 4\n", "9: level: expected 1 to 3, or an input that is such a number"),
        (
            "level = 1\n",
            "level = \"integrity\"\n",
            "9: level: expected 1 to 3, or an input that is such a number",
        ),
        ("id = \"moderate\"", "id = \"low\"", "6: id: expected one that no other has, found \"low\""),
        (
            "type = \"bool\"\n",
            "type = \"integer\"\n",
            "8: input \"life_safety\": expected min and max for an integer",
        ),
        ("absent = false", "absent = 0", "10: absent: expected true or false"),
        ("keep = \"90d\"", "keep = \"72h\"", "8: keep: expected days, months or years"),
        ("keep = \"90d\"", "keep = \"90\"", "8: expected continuous, at_once, periodic, or a number"),
        ("valid_from = \"2020-01-01\"", "valid_from = \"2020-13-01\"", "14: expected a date YYYY-MM-DD"),
        (
            "valid_from = \"2020-01-01\"",
            "valid_from = \"2020-01-02\"\nvalid_to = \"2020-01-01\"",
            "12: valid_to: expected a day",
        ),
        (
            "{ vi = \"Cao\", en = \"High\" }",
            "{ vi = \" \", en = \"High\" }",
            "vi: expected a text, found an empty one",
        ),
        ("vi = \"Cao\"", "vi = \"Tha\u{302}p\"", "vi: expected text in Unicode's form NFC"),
        ("minimum = 2", "minimun = 2", "1: unknown field `minimun`"),
    ]);
}

#[test]
fn rejects_two_decrees_that_disagree_on_an_input_or_share_an_id() {
    let text = read("rules/levels/neutral/high-water-mark.toml");
    let one = || Decree::parse(&text).unwrap();
    assert!(Decrees::new(vec![one(), one()]).unwrap_err().contains("two decrees have the id"));
    let other = text.replace("id = \"high-water-mark\"", "id = \"other\"");
    assert!(Decrees::new(vec![one(), Decree::parse(&other).unwrap()]).is_ok());
    let other =
        Decree::parse(&other.replace("\"moderate\", \"high\"]", "\"moderate\", \"high\", \"top\"]")).unwrap();
    assert!(Decrees::new(vec![one(), other]).unwrap_err().contains("is of two types"));
}

#[test]
fn expressions_bind_as_they_are_read_aloud_and_end() {
    let [old, ..] = shipped();
    let holds = |when: &str, stated: &[(&str, Toml)]| {
        let stated = stated.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        expression::read(when, &old.inputs).map(|condition| condition.truth(&old.facts(&stated)))
    };
    let (yes, no) = (Toml::Boolean(true), Toml::Boolean(false));
    let facts = [("handles_tthc", yes), ("conditional_business", no), ("users", Toml::Integer(5))];
    for (when, expected) in [
        ("handles_tthc or conditional_business and conditional_business", Some(true)),
        ("(handles_tthc or conditional_business) and conditional_business", Some(false)),
        ("not conditional_business and handles_tthc", Some(true)),
        ("not not handles_tthc", Some(true)),
        ("users < 5 or users <= 5 and users == 5 and users >= 5 and not users > 5", Some(true)),
        ("users != 5", Some(false)),
        ("users < 10_000", Some(true)),
        ("h24_no_unplanned_stop", None),
        ("h24_no_unplanned_stop and conditional_business", Some(false)),
        ("h24_no_unplanned_stop or handles_tthc", Some(true)),
        ("h24_no_unplanned_stop or conditional_business", None),
        ("not h24_no_unplanned_stop", None),
        ("known(h24_no_unplanned_stop)", Some(false)),
        ("known(users) and known(defence_security)", Some(true)),
    ] {
        assert_eq!(holds(when, &facts), Ok(expected), "{when}");
    }
    let deep = |depth: usize| format!("{}handles_tthc", "not ".repeat(depth));
    assert!(holds(&deep(31), &facts).is_ok());
    assert!(holds(&deep(32), &facts).unwrap_err().message.contains("within each other"));
}

/// Any value of an input.
fn value(kind: &Kind) -> BoxedStrategy<Toml> {
    match kind {
        Kind::Bool => any::<bool>().prop_map(Toml::Boolean).boxed(),
        // Near the thresholds of the decrees as often as far from them.
        Kind::Integer { min, max } => {
            let near: Vec<i64> = [0, 1, 2, 3, 4, 5, 9_999, 10_000, 99_999, 100_000]
                .into_iter()
                .filter(|n| (min..=max).contains(&n))
                .collect();
            prop_oneof![prop::sample::select(near), *min..=*max].prop_map(Toml::Integer).boxed()
        }
        Kind::Choice { values } => prop::sample::select(values.clone()).prop_map(Toml::String).boxed(),
        Kind::Set { values } => prop::sample::subsequence(values.clone(), 0..=values.len())
            .prop_map(|names| Toml::Array(names.into_iter().map(Toml::String).collect()))
            .boxed(),
    }
}

/// Facts of a decree, each of which may be missing.
fn facts(inputs: &[Input]) -> BoxedStrategy<Stated> {
    let one = |input: &Input| {
        let name = input.name.clone();
        prop::option::of(value(&input.kind)).prop_map(move |value| Some((name.clone(), value?)))
    };
    let all: Vec<_> = inputs.iter().map(one).collect();
    all.prop_map(|facts| facts.into_iter().flatten().collect()).boxed()
}

/// A decree, facts, and one of them that is added last.
fn growing() -> impl Strategy<Value = (usize, Stated, prop::sample::Index)> {
    let of = |at: usize| (Just(at), facts(&shipped()[at].inputs), any::<prop::sample::Index>());
    prop_oneof![of(0), of(1), of(2)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_fact_more_never_lowers_the_level((at, all, added) in growing()) {
        prop_assume!(!all.is_empty());
        let decree = &DECREES[at];
        let mut fewer = all.clone();
        let names: Vec<&String> = all.keys().collect();
        let name = added.get(&names);
        fewer.remove(*name);
        let before = decree.judge(Some(&decree.facts(&fewer)), Vec::new());
        let after = decree.judge(Some(&decree.facts(&all)), Vec::new());
        prop_assert!(after.level >= before.level, "{name}: {} fell to {}", before.level, after.level);
        // What rose was said to be able to, unless it was taken for something when nobody stated it.
        let assumed = before.assumed.iter().any(|input| input.name == **name);
        prop_assert!(after.level == before.level || before.needs_review() || assumed, "{name}");
    }

    #[test]
    fn parts_never_lower_the_level((at, stated, _) in growing(), levels in prop::collection::vec(0_u8..=3, 0..4), more in 0_u8..=3) {
        let decree = &DECREES[at];
        let facts = decree.facts(&stated);
        let alone = decree.judge(Some(&facts), Vec::new()).level;
        let before = decree.judge(Some(&facts), parts(&levels)).level;
        let after = decree.judge(Some(&facts), parts(&[&levels[..], &[more]].concat())).level;
        prop_assert!(before >= alone && after >= before && after >= more);
    }

    #[test]
    fn reads_any_text_as_a_decree_or_an_expression_without_panic(text in "\\PC{0,200}") {
        let _ = Decree::parse(&text);
        let _ = expression::read(&text, &DECREES[0].inputs);
    }
}

static DECREES: std::sync::LazyLock<[Decree; 3]> = std::sync::LazyLock::new(shipped);
