//! Cases of the evaluator: a rule, an event, and whether it matches. Every modifier has a hit and a miss.

use std::borrow::Cow;

use detect::{Scratch, compile};
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
    !engine.evaluate(event, &mut Scratch::default()).is_empty()
}

/// One item, one field `f`.
fn item(item: &str, value: Value<'_>) -> bool {
    let detection = format!("    s:\n        {item}\n    condition: s");
    matches(&detection, &event("", &[("f", value)]))
}

#[test]
fn compares_text_without_case_in_any_script() {
    assert!(item("f: ĐĂNG nhập", text("đăng NHẬP")));
    assert!(item("f: 'Đăng'", text("\u{110}a\u{306}ng")), "NFC on both sides");
    assert!(!item("f: dang", text("đăng")));
    assert!(item("f|contains: ΟΔΟΣ", text("η οδος εδώ")), "the final sigma is a sigma");
    assert!(item("f|cased: Abc", text("Abc")));
    assert!(!item("f|cased: Abc", text("abc")));
}
