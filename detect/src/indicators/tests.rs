//! The set against the obvious model of it, and cases at both sides of each limit.

use std::borrow::Cow;
use std::net::IpAddr;

use event::{Event, LogSource, Micros, ParseStatus, TsQuality, Value};
use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

const DAY: Micros = 24 * 3600 * MICROS_PER_S;

fn new<'n>(feed: &'n str, kind: IndicatorKind, value: &'n str) -> NewIndicator<'n> {
    NewIndicator {
        kind,
        value,
        feed,
        path: "feed.csv",
        severity: Severity::High,
        confidence: None,
        tlp: "",
        name: "",
        description: "",
        labels: &[],
        valid_from: None,
        valid_until: None,
        local_allowed: false,
    }
}

fn set(values: &[(IndicatorKind, &str)]) -> Indicators {
    let mut builder = IndicatorsBuilder::default();
    for (kind, value) in values {
        builder.add(&new("f", *kind, value)).unwrap();
    }
    builder.build()
}

fn event<'e>(ts: Micros, fields: &[(&'e str, &'e str)]) -> Event<'e> {
    let field =
        |(name, value): &(&'e str, &'e str)| (Cow::Borrowed(*name), Value::Text(Cow::Borrowed(*value)));
    Event {
        ts,
        ts_quality: TsQuality::Event,
        record: 0,
        records: 1,
        log_source: LogSource::default(),
        status: ParseStatus::Parsed,
        message: Cow::Borrowed(""),
        fields_hold_text: false,
        fields: fields.iter().map(field).collect(),
    }
}

/// The values that an event names, as `FIELD INDICATOR`.
fn seen(set: &Indicators, fields: &[(&str, &str)]) -> Vec<String> {
    let mut sightseer = Sightseer::default();
    let found = set.observe(&event(DAY, fields), &mut sightseer);
    found.iter().map(|sighting| format!("{} {}", sighting.field, sighting.indicator.value())).collect()
}

fn key_of(kind: IndicatorKind, value: &str) -> Result<String, IndicatorError> {
    let mut key = Vec::new();
    value::key(kind, &value::refanged(value), &mut key).map(|()| value::shown(kind, &key))
}

#[test]
fn brings_every_spelling_to_one_form() {
    use IndicatorKind::{Address, Domain, Ja4, Md5, Url};
    for (kind, spelled, form) in [
        (Address, "192.0.2.7", "192.0.2.7"),
        (Address, " 192[.]0[.]2[.]7 ", "192.0.2.7"),
        (Address, "192.0.2.7:443", "192.0.2.7"),
        (Address, "192.0.2.7/24", "192.0.2.0/24"),
        (Address, "::ffff:192.0.2.7", "192.0.2.7"),
        (Address, "::ffff:192.0.2.7/120", "192.0.2.0/24"),
        (Address, "[2001:DB8::1]:443", "2001:db8::1"),
        (Address, "2001:db8::/32", "2001:db8::/32"),
        (Domain, "Evil.Example.ORG.", "evil.example.org"),
        (Domain, "*.example.org", "example.org"),
        (Domain, "example(.)org", "example.org"),
        (Domain, "bücher.example", "xn--bcher-kva.example"),
        (Domain, "BU\u{308}CHER.example", "xn--bcher-kva.example"),
        (Domain, "đảngcộngsản.example", "xn--ngcngsn-f7a4429dga40d.example"),
        (Url, "hxxps://Evil.Example:443/A/b?Q=1#top", "evil.example/A/b?Q=1"),
        (Url, "http://user@evil.example:8080", "evil.example:8080/"),
        (Url, "evil.example?x", "evil.example/?x"),
        (Url, "ftp://192.0.2.7/x", "ftp://192.0.2.7/x"),
        (Md5, "D41D8CD98F00B204E9800998ECF8427E", "d41d8cd98f00b204e9800998ecf8427e"),
        (Ja4, "T13D1516H2_8daaf6152771_e5627efa2ab1", "t13d1516h2_8daaf6152771_e5627efa2ab1"),
    ] {
        assert_eq!(key_of(kind, spelled).as_deref(), Ok(form), "{spelled}");
    }
}

#[test]
fn rejects_what_is_no_value_of_its_kind() {
    use IndicatorKind::{Address, Domain, Ja4, Md5, Sha1, Sha256, Url};
    let long = format!("http://example.org/{}", "x".repeat(2048));
    for (kind, value) in [
        (Address, ""),
        (Address, "192.0.2.256"),
        (Address, "192.0.2.0/33"),
        (Domain, "com"),
        (Domain, "a..org"),
        (Domain, "1.2.3.4"),
        (Domain, "two words.org"),
        (Domain, &"x".repeat(64)),
        (Domain, &"ế".repeat(64)),
        (Url, "http:///path"),
        (Url, "http://example.org/a b"),
        (Url, &long),
        (Md5, "d41d8cd98f00b204e9800998ecf8427"),
        (Md5, "d41d8cd98f00b204e9800998ecf8427g"),
        (Sha1, "d41d8cd98f00b204e9800998ecf8427e"),
        (Sha256, ""),
        (Ja4, "t13d1516h2_8daaf6152771_e5627efa2ab"),
    ] {
        assert!(key_of(kind, value).is_err(), "{value}");
    }
}

/// Samples of RFC 3492, section 7.1, whose letters have no case.
#[test]
fn writes_punycode_as_the_rfc_does() {
    for (label, expected) in [
        ("ليهمابتكلموشعربي؟", "xn--egbpdaj6bu4bxfgehfvwxn"),
        ("他们为什么不说中文", "xn--ihqwcrb4cv8a8dqg056pqjye"),
        ("なぜみんな日本語を話してくれないのか", "xn--n8jok5ay5dzabd5bym9f0cm5685rrjetr6pdxa"),
    ] {
        assert_eq!(
            key_of(IndicatorKind::Domain, &format!("{label}.example")),
            Ok(format!("{expected}.example"))
        );
    }
}

#[test]
fn rejects_addresses_of_everyone_unless_told_to_take_them() {
    for (value, expected) in [
        ("127.0.0.1", Some(IndicatorError::Local)),
        ("0.0.0.0", Some(IndicatorError::Local)),
        ("10.0.0.0/8", Some(IndicatorError::Local)),
        ("172.31.255.255", Some(IndicatorError::Local)),
        ("172.32.0.0", None),
        ("11.0.0.0/8", None),
        ("10.0.0.0/7", Some(IndicatorError::TooWide { prefix: 7, prefix_min: 8 })),
        ("::/0", Some(IndicatorError::TooWide { prefix: 0, prefix_min: 19 })),
        ("::1", Some(IndicatorError::Local)),
        ("fe80::1", Some(IndicatorError::Local)),
        ("2001:db8::1", None),
    ] {
        let indicator = new("f", IndicatorKind::Address, value);
        assert_eq!(IndicatorsBuilder::default().add(&indicator).err(), expected, "{value}");
        let allowed = NewIndicator { local_allowed: true, ..indicator };
        let expected = expected.filter(|error| *error != IndicatorError::Local);
        assert_eq!(IndicatorsBuilder::default().add(&allowed).err(), expected, "{value}, allowed");
    }
}

#[test]
fn guesses_the_kind_of_a_value() {
    for (value, kind) in [
        ("192.0.2.0/24", Some(IndicatorKind::Address)),
        ("evil[.]example", Some(IndicatorKind::Domain)),
        ("hxxp://evil.example/x", Some(IndicatorKind::Url)),
        ("evil.example/x", Some(IndicatorKind::Url)),
        ("d41d8cd98f00b204e9800998ecf8427e", Some(IndicatorKind::Md5)),
        ("t13d1516h2_8daaf6152771_e5627efa2ab1", Some(IndicatorKind::Ja4)),
        ("not an indicator", None),
        ("", None),
    ] {
        assert_eq!(IndicatorKind::guess(value), kind, "{value}");
    }
}

/// The fields of an event, and which of them name what.
type Case = (&'static [(&'static str, &'static str)], &'static [&'static str]);

#[test]
fn looks_at_the_fields_of_each_kind() {
    let set = set(&[
        (IndicatorKind::Address, "192.0.2.0/24"),
        (IndicatorKind::Address, "2001:db8::7"),
        (IndicatorKind::Domain, "evil.example"),
        (IndicatorKind::Url, "http://portal.example/login.php?id=1"),
        (IndicatorKind::Md5, "d41d8cd98f00b204e9800998ecf8427e"),
        (IndicatorKind::Sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (IndicatorKind::Ja3, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (IndicatorKind::Ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1"),
    ]);
    let cases: [Case; 14] = [
        (&[("dst_ip", "192.0.2.99")], &["dst_ip 192.0.2.0/24"]),
        (&[("dst_ip", "192.0.3.1"), ("note", "192.0.2.1")], &[]),
        (&[("DestinationIp", "2001:db8:0:0::7")], &["DestinationIp 2001:db8::7"]),
        (&[("query", "a.b.EVIL.example.")], &["query evil.example"]),
        (&[("query", "notevil.example")], &[]),
        (
            &[("QueryResults", "type:  5 x.evil.example;::ffff:192.0.2.3;")],
            &["QueryResults evil.example", "QueryResults 192.0.2.0/24"],
        ),
        (&[("cs-host", "evil.example:8080")], &["cs-host evil.example"]),
        (&[("cs-referer", "https://www.evil.example/x")], &["cs-referer evil.example"]),
        (
            &[("cs-host", "portal.example"), ("cs-uri", "/login.php?id=1")],
            &["cs-uri portal.example/login.php?id=1"],
        ),
        (
            &[("cs-host", "portal.example"), ("cs-uri-stem", "/login.php"), ("cs-uri-query", "id=1")],
            &["cs-uri portal.example/login.php?id=1"],
        ),
        (&[("cs-host", "portal.example"), ("cs-uri-stem", "/login.php")], &[]),
        (
            &[("Hashes", "MD5=D41D8CD98F00B204E9800998ECF8427E,IMPHASH=d41d8cd98f00b204e9800998ecf8427e")],
            &["Hashes d41d8cd98f00b204e9800998ecf8427e"],
        ),
        (&[("Hashes", "IMPHASH=d41d8cd98f00b204e9800998ecf8427e")], &[]),
        (
            &[("ja3", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), ("ja4", "t13d1516h2_8daaf6152771_e5627efa2ab1")],
            &["ja3 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "ja4 t13d1516h2_8daaf6152771_e5627efa2ab1"],
        ),
    ];
    for (fields, expected) in cases {
        assert_eq!(seen(&set, fields), expected, "{fields:?}");
    }
}

#[test]
fn tells_each_feed_and_believes_all_times_of_one_feed() {
    let mut builder = IndicatorsBuilder::default();
    let value = "evil.example";
    let between = |from, until| NewIndicator {
        valid_from: Some(from),
        valid_until: Some(until),
        ..new("d", IndicatorKind::Domain, value)
    };
    let until =
        |feed, until| NewIndicator { valid_until: Some(until), ..new(feed, IndicatorKind::Domain, value) };
    assert_eq!(builder.add(&until("a", DAY)), Ok(Added::New));
    assert_eq!(builder.add(&until("a", 3 * DAY)), Ok(Added::Known));
    assert_eq!(builder.add(&until("a", 2 * DAY)), Ok(Added::Known));
    assert_eq!(builder.add(&until("b", DAY)), Ok(Added::New));
    assert_eq!(builder.add(&until("c", 3 * DAY)), Ok(Added::New));
    assert_eq!(builder.add(&between(5 * DAY, 7 * DAY)), Ok(Added::New));
    assert_eq!(builder.add(&between(4 * DAY, 7 * DAY)), Ok(Added::Known), "the same end, an earlier begin");
    let set = builder.build();
    let feeds = |ts| {
        let mut sightseer = Sightseer::default();
        let found = set.observe(&event(ts, &[("query", value), ("server_name", value)]), &mut sightseer);
        let mut feeds: Vec<_> = found.iter().map(|sighting| sighting.indicator.feed()).collect();
        feeds.sort_unstable();
        feeds
    };
    assert_eq!(feeds(DAY - MICROS_PER_S), ["a", "b", "c"], "each once, for two fields");
    assert_eq!(feeds(DAY), ["a", "c"], "before the end, not at it");
    assert_eq!(feeds(3 * DAY), [""; 0]);
    assert_eq!((feeds(4 * DAY), feeds(7 * DAY)), (vec!["d"], vec![]));
    assert_eq!(set.lookup("www.evil.example").len(), 4, "a person sees what has expired, too");
}

#[test]
fn an_expired_network_does_not_hide_the_one_around_it() {
    let mut builder = IndicatorsBuilder::default();
    let narrow = new("f", IndicatorKind::Address, "192.0.2.7");
    builder.add(&NewIndicator { valid_until: Some(DAY), ..narrow }).unwrap();
    builder.add(&new("f", IndicatorKind::Address, "192.0.2.0/24")).unwrap();
    let set = builder.build();
    assert_eq!(seen(&set, &[("src_ip", "192.0.2.7")]), ["src_ip 192.0.2.0/24"]);
}

#[test]
fn keeps_what_a_feed_says_once_and_cuts_what_is_long() {
    let mut builder = IndicatorsBuilder::default();
    let long = "ế".repeat(INDICATOR_WORD_BYTES_MAX);
    for value in ["a.example", "b.example"] {
        let words = NewIndicator {
            description: &long,
            name: "C2",
            labels: &["botnet"],
            tlp: "amber",
            confidence: Some(80),
            ..new("f", IndicatorKind::Domain, value)
        };
        builder.add(&words).unwrap();
    }
    let set = builder.build();
    assert_eq!(set.words.len(), 1);
    let found = set.lookup("b.example");
    let [indicator] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(indicator.description().len(), INDICATOR_WORD_BYTES_MAX / 3 * 3);
    assert_eq!((indicator.name(), indicator.tlp(), indicator.confidence()), ("C2", "amber", Some(80)));
    assert_eq!(indicator.labels(), ["botnet".into()]);
}

#[test]
fn an_id_depends_on_feed_and_value_alone() {
    let id = |feed, value, others: &[&str]| {
        let mut builder = IndicatorsBuilder::default();
        for other in others {
            builder.add(&new("other", IndicatorKind::Domain, other)).unwrap();
        }
        builder.add(&new(feed, IndicatorKind::Domain, value)).unwrap();
        builder.build().lookup(value).iter().find(|found| found.feed() == feed).unwrap().id()
    };
    let first = id("a", "evil.example", &[]);
    assert_eq!(first, id("a", "EVIL.example.", &["x.example", "evil.example"]));
    assert_ne!(first, id("b", "evil.example", &[]));
    assert_ne!(first, id("a", "evil2.example", &[]));
    assert_eq!(first.len(), 36);
    assert_eq!(
        (first.get(14..15), first.get(19..20).map(|digit| "89ab".contains(digit))),
        (Some("8"), Some(true))
    );
}

/// What the documentation says, word for word, over a list.
fn model(list: &[(IndicatorKind, String)], field: &str, text: &str) -> Vec<String> {
    let of = |kind| list.iter().filter(move |(other, _)| *other == kind).map(|(_, value)| value);
    let form = |kind, text: &str| key_of(kind, text).ok();
    let found = if field == "dst_ip" {
        let Ok(ip) = text.parse::<IpAddr>() else { return Vec::new() };
        let net = |value: &String| {
            value.parse::<IpNet>().or_else(|_| value.parse::<IpAddr>().map(IpNet::from)).unwrap()
        };
        let inside = of(IndicatorKind::Address).filter(|value| net(value).contains(&ip));
        inside
            .max_by_key(|value| net(value).prefix_len())
            .and_then(|value| form(IndicatorKind::Address, value))
    } else {
        let name = text.to_lowercase();
        let above = of(IndicatorKind::Domain)
            .map(|value| value.to_lowercase())
            .filter(|value| name == *value || name.ends_with(&format!(".{value}")));
        above.max_by_key(String::len)
    };
    found.map(|value| format!("{field} {value}")).into_iter().collect()
}

/// Few labels and octets, so that values meet.
fn indicators() -> impl Strategy<Value = Vec<(IndicatorKind, String)>> {
    let address = (0_u8..4, 0_u8..4, prop::option::of(8_u8..=32)).prop_map(|(third, last, prefix)| {
        let prefix = prefix.map_or(String::new(), |prefix| format!("/{prefix}"));
        (IndicatorKind::Address, format!("203.0.{third}.{last}{prefix}"))
    });
    let domain = "([ab]{1,2}\\.){1,3}[Xy]".prop_map(|name| (IndicatorKind::Domain, name));
    prop::collection::vec(prop_oneof![address, domain], 0..40)
}

proptest! {
    #[test]
    fn agrees_with_the_model(
        list in indicators(),
        addresses in prop::collection::vec((0_u8..4, 0_u8..5), 8),
        names in prop::collection::vec("([ab]{1,2}\\.){1,5}[Xy]", 8),
    ) {
        let pairs: Vec<_> = list.iter().map(|(kind, value)| (*kind, value.as_str())).collect();
        let set = set(&pairs);
        for (third, last) in addresses {
            let text = format!("203.0.{third}.{last}");
            prop_assert_eq!(seen(&set, &[("dst_ip", &text)]), model(&list, "dst_ip", &text), "{}", text);
        }
        for name in names {
            prop_assert_eq!(seen(&set, &[("query", &name)]), model(&list, "query", &name), "{}", name);
        }
    }

    #[test]
    fn takes_any_text_without_panic_and_finds_what_it_took(text in "\\PC{0,80}|[a-z.:/\\[\\]0-9xđế%?#@=,; -]{0,60}") {
        for kind in IndicatorKind::ALL {
            let mut builder = IndicatorsBuilder::default();
            let indicator = NewIndicator { local_allowed: true, ..new("f", kind, &text) };
            if builder.add(&indicator).is_ok() {
                let set = builder.build();
                let form = set.iter().next().map(|found| found.value()).unwrap();
                prop_assert_eq!(key_of(kind, &form), Ok(form.clone()), "a form is its own form");
                prop_assert_eq!(set.lookup(&form).len(), 1, "{} {}", kind.as_str(), form);
            }
        }
        let all = set(&[
            (IndicatorKind::Address, "192.0.2.7"), (IndicatorKind::Domain, "a.example"), (IndicatorKind::Url, "a.example/"),
            (IndicatorKind::Md5, "d41d8cd98f00b204e9800998ecf8427e"),
        ]);
        for field in ["dst_ip", "query", "QueryResults", "Hashes", "cs-uri", "cs-host", "ja4"] {
            seen(&all, &[(field, &text), ("cs-host", &text)]);
        }
    }
}
