//! Options that choose rows, shared by `alerts` and `events`, and how columns come out of the store.

use anyhow::{Result, ensure};
use event::Micros;
use serde::Serializer;
use unicode_normalization::UnicodeNormalization;

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

/// Serialises pairs as an object.
pub(crate) fn as_map<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
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
