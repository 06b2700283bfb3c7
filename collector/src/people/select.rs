//! Options that choose rows, shared by `alerts` and `events`, and how columns come out of the store.

use anyhow::{Result, ensure};
use event::Micros;
use serde::{Serialize, Serializer};
use unicode_normalization::UnicodeNormalization;

use crate::people::connect::Reader;
use crate::people::escape::shown;
use crate::people::filter::{Bound, Filter, shown_address};
use crate::people::when::{Clock, When, iso};

/// From when, until when.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UntilArg {
    /// Until when; the same forms as --since
    #[arg(long, value_name = "TIME", help_heading = "Filters")]
    pub(crate) until: Option<When>,
}

/// Events or flows of a rule. They bear the rules that matched them; a correlation matches none, but its alerts cite, by their name,
/// some that the rules it counts matched.
pub(crate) const OF_RULE: &str = "arrayExists(rule -> startsWith(rule, {}), a.rules) OR notEmpty(a.rules) AND \
    concat(a.agent, ':', leftPad(lower(hex(a.epoch)), 16, '0'), ':', toString(a.seq), ':', toString(a.record)) IN \
    (SELECT arrayJoin(c.sample_events) FROM alerts AS c WHERE startsWith(c.rule_id, {}))";

/// Events of a system by its id or a part of its name, which the inventory has.
pub(crate) const OF_SYSTEM: &str = "a.system_id = {} OR \
    a.system_id IN (SELECT id FROM systems WHERE positionCaseInsensitiveUTF8(name, {}) > 0)";

/// Flows of which either end is one of such a system.
pub(crate) const END_OF_SYSTEM: &str = "a.src_system_id = {} OR a.dst_system_id = {} OR \
    hasAny([a.src_system_id, a.dst_system_id], \
        (SELECT groupArray(toString(id)) FROM systems WHERE positionCaseInsensitiveUTF8(name, {}) > 0))";

/// Which drill's rows.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DrillArg {
    /// `none`: what really happened; `all`: that and every drill; else the id of one drill
    #[arg(long, value_name = "ID|none|all", default_value = "none", help_heading = "Filters")]
    pub(crate) drill: String,
}

impl DrillArg {
    /// `all` adds no condition.
    pub(crate) fn apply(&self, filter: &mut Filter) {
        match self.drill.as_str() {
            "all" => {}
            "none" => {
                filter.and_always("a.drill_id = ''");
            }
            id => {
                filter.and("a.drill_id = {}", Bound::Text(id.to_owned()));
            }
        }
    }
}

/// What a person named in a filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Named<'a> {
    System(&'a str),
    Host(&'a str),
    Drill(&'a str),
    /// The beginning of a rule's id, or a part of its title.
    Rule(&'a str),
    /// Of events.
    Kind(&'a str),
}

impl<'a> Named<'a> {
    /// Those of the usual filters; `none` and `all` are no drills.
    pub(crate) fn of(system: Option<&'a String>, host: Option<&'a String>, drill: &'a DrillArg) -> Vec<Self> {
        let drill = Some(&*drill.drill).filter(|drill| !["none", "all"].contains(drill));
        let system = system.map(|system| Self::System(system));
        system.into_iter().chain(host.map(|host| Self::Host(host))).chain(drill.map(Self::Drill)).collect()
    }

    /// A condition that a row meets when it is known, the table, and its name bound.
    fn question(self) -> (&'static str, &'static str, Bound) {
        match self {
            Self::System(system) => ("systems", IS_SYSTEM, text(system)),
            Self::Host(name) => ("agents", "a.agent = {}", host(name)),
            Self::Drill(drill) => ("alerts", "a.drill_id = {}", text(drill)),
            Self::Rule(rule) => ("alerts", IS_RULE, text(rule)),
            Self::Kind(kind) => ("events", "a.kind = lower({})", text(kind)),
        }
    }

    fn unknown(self) -> String {
        match self {
            Self::System(system) => {
                format!("no system has the id, or in its name, {system:?}: `vonggac systems list`")
            }
            Self::Host(host) => {
                format!("no host {host:?} has sent anything within 30 days: `vonggac status`")
            }
            Self::Drill(drill) => {
                format!("no drill {drill:?} has raised an alert: `vonggac alerts --drill all`")
            }
            Self::Rule(rule) => {
                format!(
                    "no alert of any time is of a rule whose id begins with, or whose title has in it, {rule:?}"
                )
            }
            Self::Kind(kind) => format!("no event of any time is of the kind {kind:?}"),
        }
    }
}

/// Whether a row of the inventory is meant.
const IS_SYSTEM: &str = "a.id = {} OR positionCaseInsensitiveUTF8(a.name, {}) > 0";

/// Whether a rule is meant.
pub(crate) const IS_RULE: &str =
    "startsWith(a.rule_id, {}) OR positionCaseInsensitiveUTF8(a.rule_title, {}) > 0";

/// Says of what was named, and led to an empty answer, when nobody knows it: a typing error looks like a quiet day.
pub(crate) async fn say_unknown(reader: &Reader, named: &[Named<'_>]) -> Result<()> {
    for named in named {
        let (table, condition, bound) = named.question();
        let mut filter = Filter::default();
        filter.and(condition, bound);
        let sql = format!("SELECT toUInt64(1) AS number FROM {table} AS a WHERE {} LIMIT 1", filter.sql());
        if reader.rows::<u64>(&sql, &filter).await?.is_empty() {
            eprintln!("vonggac: {}", shown(&named.unknown()));
        }
    }
    Ok(())
}

/// The two ends as instants; the later one may be open.
pub(crate) fn window(clock: &Clock, since: &When, until: Option<&When>) -> Result<(Micros, Option<Micros>)> {
    let since = clock.resolve(since)?;
    let until = until.map(|until| clock.resolve(until)).transpose()?;
    ensure!(
        until.is_none_or(|until| since < until),
        "--since {} is not before --until {}",
        clock.shown(since),
        clock.shown(until.unwrap_or_default())
    );
    Ok((since, until))
}

/// `since 2026-08-19 14:30:05 until 2026-08-19 15:00:00 (+07)`, of a window.
pub(crate) fn span(clock: &Clock, (since, until): (Micros, Option<Micros>)) -> String {
    let until = until.map(|until| format!(" until {}", clock.shown(until))).unwrap_or_default();
    format!("since {}{until} ({})", clock.shown(since), clock.zone_name())
}

/// Text as it is stored: NFC.
pub(crate) fn text(text: &str) -> Bound {
    Bound::Text(text.nfc().collect())
}

/// A host name as it is stored: lower case.
pub(crate) fn host(name: &str) -> Bound {
    Bound::Text(name.to_lowercase())
}

/// Serialises microseconds as ISO 8601.
pub(crate) fn as_iso<S: Serializer>(micros: &Micros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&iso(*micros))
}

/// The same of what need not have been or have to be; empty when it does not.
pub(crate) fn as_moment<S: Serializer>(micros: &Micros, serializer: S) -> Result<S::Ok, S::Error> {
    if *micros == 0 { serializer.serialize_str("") } else { as_iso(micros, serializer) }
}

/// Serialises an address as people write it.
pub(crate) fn as_address<S: Serializer>(address: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown_address(address))
}

/// Bytes that came as hexadecimal, because they need not be UTF-8.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    base16ct::mixed::decode_vec(text).unwrap_or_default()
}

/// Serialises such bytes as text.
pub(crate) fn as_text<S: Serializer>(hex: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(&unhex(hex)))
}

/// Serialises a list of them.
pub(crate) fn as_texts<S: Serializer>(lines: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(lines.iter().map(|hex| String::from_utf8_lossy(&unhex(hex)).into_owned()))
}

/// Serialises pairs as an object. A name that stands several times has a list of its values: most readers of JSON keep only the
/// last of two that are called the same.
pub(crate) fn as_map<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Values<'p> {
        One(&'p str),
        Several(Vec<&'p str>),
    }
    let is_first =
        |(at, (name, _)): &(usize, &(String, String))| pairs.iter().take(*at).all(|(known, _)| known != name);
    let values = |name: &String| {
        let all: Vec<&str> =
            pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value).collect();
        if let [one] = all.as_slice() { Values::One(one) } else { Values::Several(all) }
    };
    let names = pairs.iter().enumerate().filter(is_first).map(|(_, (name, _))| name);
    serializer.collect_map(names.map(|name| (name, values(name))))
}

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 alert`, `2 alerts`, `2 queries`, `2 addresses`.
pub(crate) fn counted(number: u64, one: &str) -> String {
    let noun = match one.strip_suffix('y') {
        _ if number == 1 => one.to_owned(),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if ["s", "x", "ch", "sh"].iter().any(|end| one.ends_with(end)) => format!("{one}es"),
        _ => format!("{one}s"),
    };
    format!("{} {noun}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_for_people() {
        assert_eq!(counted(1, "alert"), "1 alert");
        assert_eq!(counted(0, "alert"), "0 alerts");
        for (one, several) in [
            ("entry", "2 entries"),
            ("day", "2 days"),
            ("address", "2 addresses"),
            ("match", "2 matches"),
            ("end", "2 ends"),
        ] {
            assert_eq!(counted(2, one), several);
            assert_eq!(counted(1, one), format!("1 {one}"));
        }
        assert_eq!(counted(1_234_567, "event"), "1,234,567 events");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
    }

    #[test]
    fn a_name_that_stands_twice_has_a_list_in_json() {
        #[derive(Serialize)]
        struct Row(#[serde(serialize_with = "as_map")] Vec<(String, String)>);
        let pairs =
            [("a", "1"), ("b", "2"), ("a", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(serde_json::to_string(&Row(pairs.into())).unwrap(), r#"{"a":["1","3"],"b":"2"}"#);
    }

    #[test]
    fn rejects_a_window_that_ends_before_it_starts() {
        let clock = Clock::new(true);
        let when = |text: &str| text.parse::<When>().unwrap();
        assert!(window(&clock, &when("1h"), Some(&when("30m"))).is_ok());
        assert!(window(&clock, &when("1h"), Some(&when("2h"))).is_err());
        assert!(window(&clock, &when("1h"), None).is_ok());
    }

    #[test]
    fn a_drill_is_asked_for_by_name() {
        let sql = |drill: &str| {
            let mut filter = Filter::default();
            DrillArg { drill: drill.into() }.apply(&mut filter);
            filter.sql().to_owned()
        };
        assert_eq!(sql("none"), "(a.drill_id = '')");
        assert_eq!(sql("all"), "true");
        assert_eq!(sql("x"), "(a.drill_id = {p0:String})");
    }
}
