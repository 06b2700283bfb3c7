//! Kinds of log sources (`coverage.toml`): what of the events counts as coming from one, and how long it may be silent.

use event::{LogSource, Micros};
use serde::Deserialize;

use crate::level::Text;

/// Kinds of sources: one bit each in a [`SourceSet`].
const SOURCES_MAX: usize = 32;
/// A silence shorter than a second is no silence; one longer than a month is noticed by nobody.
const SPAN_S: std::ops::RangeInclusive<Micros> = 1..=31 * 86_400;
const MICROS_PER_S: Micros = 1_000_000;

/// The kinds of sources, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceTable(Vec<SourceKind>);

/// Index of a kind in its [`SourceTable`].
pub(crate) type SourceIndex = usize;

/// The file's text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceFile {
    #[serde(rename = "id")]
    _id: String,
    source: Vec<SourceKind>,
}

/// One kind of source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceKind {
    pub(crate) id: String,
    pub(crate) text: Text,
    heard: Vec<Pattern>,
    /// Whether an event whose host nobody knows counts for the system of an address in it.
    #[serde(default)]
    by_address: bool,
    pub(crate) silent_after: Span,
    /// The rule that makes an alert of its canary.
    pub(crate) canary_rule: Option<String>,
}

/// Parts of a Sigma log source that must be equal; one that is not given fits all.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    category: Option<String>,
    product: Option<String>,
    service: Option<String>,
}

/// Kinds of one table.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct SourceSet(u32);

/// A time as a file says it: `30s`, `15m`, `12h`, `7d`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub(crate) struct Span(pub(crate) Micros);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let read = || {
            let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let unit = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3_600,
                "d" => 86_400,
                _ => return None,
            };
            let number = Some(number).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))?;
            number.parse::<Micros>().ok()?.checked_mul(unit).filter(|seconds| SPAN_S.contains(seconds))
        };
        let span = read().map(|seconds| Self(seconds * MICROS_PER_S));
        span.ok_or_else(|| format!("expected a time of 1s to 31d such as 30s, 15m, 12h, found {text:?}"))
    }
}

impl SourceTable {
    /// Checks a file; the error names the key, what was expected and what was found.
    pub(crate) fn new(file: SourceFile) -> Result<Self, (&'static str, String, String)> {
        let kinds = file.source;
        if kinds.len() > SOURCES_MAX {
            return Err(("source", format!("at most {SOURCES_MAX}"), kinds.len().to_string()));
        }
        for (index, kind) in kinds.iter().enumerate() {
            let twice = kinds.iter().take(index).any(|other| other.id == kind.id);
            if kind.id.trim().is_empty() || twice {
                return Err(("source.id", "an id that no other source has".into(), format!("{:?}", kind.id)));
            }
            if kind.heard.is_empty() || kind.heard.iter().any(Pattern::fits_all) {
                let expected = "a category, product or service in each entry".into();
                return Err(("source.heard", expected, format!("none in {}", kind.id)));
            }
        }
        Ok(Self(kinds))
    }

    /// The kinds that an event of a log source counts for. `by_host`: its system is that of the host that wrote it, and not of
    /// an address in it.
    pub(crate) fn heard(&self, source: &LogSource<'_>, by_host: bool) -> SourceSet {
        let fits = |kind: &SourceKind| {
            (by_host || kind.by_address) && kind.heard.iter().any(|pattern| pattern.fits(source))
        };
        let kinds = self.0.iter().enumerate().filter(|(_, kind)| fits(kind));
        SourceSet(kinds.fold(0, |set, (index, _)| set | 1 << index))
    }

    /// The kinds of a set.
    pub(crate) fn of(&self, set: SourceSet) -> impl Iterator<Item = &SourceKind> {
        self.0.iter().enumerate().filter(move |(index, _)| set.0 & (1 << index) != 0).map(|(_, kind)| kind)
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<SourceIndex> {
        self.0.iter().position(|kind| kind.id == id)
    }

    pub(crate) fn by_canary(&self, rule: &str) -> Option<&SourceKind> {
        self.0.iter().find(|kind| kind.canary_rule.as_deref() == Some(rule))
    }

    pub(crate) fn kind(&self, index: SourceIndex) -> &SourceKind {
        &self.0[index]
    }

    /// All ids, for errors.
    pub(crate) fn ids(&self) -> String {
        self.0.iter().map(|kind| &*kind.id).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn ids_with_canary(&self) -> String {
        let with = self.0.iter().filter(|kind| kind.canary_rule.is_some());
        with.map(|kind| &*kind.id).collect::<Vec<_>>().join(", ")
    }
}

impl Pattern {
    fn fits(&self, source: &LogSource<'_>) -> bool {
        let equal = |asked: &Option<String>, found: &str| asked.as_ref().is_none_or(|asked| asked == found);
        equal(&self.category, source.category)
            && equal(&self.product, source.product)
            && equal(&self.service, source.service)
    }

    /// Only parts that must be empty, or none at all.
    fn fits_all(&self) -> bool {
        [&self.category, &self.product, &self.service].into_iter().flatten().all(String::is_empty)
    }
}

impl SourceSet {
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<SourceTable, String> {
        let file = toml::from_str(text).map_err(|error| error.to_string())?;
        SourceTable::new(file).map_err(|(key, expected, found)| format!("{key}: {expected}, {found}"))
    }

    const KIND: &str = "[[source]]\nid = 'web'\ntext = { vi = 'a', en = 'a' }\nsilent_after = '15m'\n";

    #[test]
    fn an_event_counts_for_every_kind_that_it_fits() {
        let text = include_str!("../../../rules/levels/coverage.toml");
        let table = table(text).unwrap();
        let heard = |category, product, service| {
            let set = table.heard(&LogSource { category, product, service }, true);
            table.of(set).map(|kind| &*kind.id).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(heard("webserver", "", ""), "web-server");
        assert_eq!(heard("webserver", "network", "http"), "sensor");
        assert_eq!(heard("process_creation", "linux", "auditd"), "server");
        assert_eq!(heard("flow", "network", "flow"), "flow");
        assert_eq!(heard("", "network", "hunt"), "");
        assert!(table.heard(&LogSource::default(), true).is_empty());
        let by_address = |product| {
            let set = table.heard(&LogSource { product, category: "firewall", service: "" }, false);
            table.of(set).map(|kind| &*kind.id).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(by_address(""), "firewall");
        assert_eq!(
            by_address("linux"),
            "firewall",
            "a login from an address says nothing of the logs of who has it"
        );
    }

    #[test]
    fn rejects_kinds_that_fit_everything_or_stand_twice() {
        let kind = |heard: &str| format!("id = 'x'\n{KIND}heard = {heard}\n");
        assert!(table(&kind("[{ category = 'webserver' }]")).is_ok());
        for heard in
            ["[]", "[{}]", "[{ product = '' }]", "[{ category = 'webserver' }, {}]", "[{ kind = 'a' }]"]
        {
            assert!(table(&kind(heard)).is_err(), "{heard}");
        }
        let one = format!("{KIND}heard = [{{ product = 'a' }}]\n");
        assert!(table(&format!("id = 'x'\n{one}{one}")).is_err());
        let many = |count: usize| {
            let kinds = (0..count).map(|number| one.replace("'web'", &format!("'{number}'")));
            table(&format!("id = 'x'\n{}", kinds.collect::<String>()))
        };
        assert!(many(SOURCES_MAX).is_ok());
        assert!(many(SOURCES_MAX + 1).is_err());
    }

    #[test]
    fn reads_times_at_both_sides_of_their_limits() {
        for (text, seconds) in [
            ("1s", Some(1)),
            ("0s", None),
            ("15m", Some(900)),
            ("1h", Some(3_600)),
            ("31d", Some(31 * 86_400)),
            ("32d", None),
            ("744h", Some(31 * 86_400)),
            ("745h", None),
            ("15", None),
            ("m", None),
            ("", None),
            ("+5m", None),
            ("5 m", None),
            ("5w", None),
            ("5é", None),
        ] {
            let read = Span::try_from(text.to_owned()).ok();
            assert_eq!(read, seconds.map(|seconds| Span(seconds * MICROS_PER_S)), "{text}");
        }
    }
}
