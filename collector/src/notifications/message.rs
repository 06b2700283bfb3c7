//! What a message says: in words for people, as JSON for programs. Both name at most [`LISTED_MAX`] alerts, the most urgent
//! ones, and count the others.
//!
//! Texts of alerts are hostile: names of users and what rules group by come out of logs. In words each stands on one line, with
//! what could move or hide text written out, and is cut; escaping for HTML or JSON comes after that, by who sends.

use std::fmt::Write as _;

use event::Micros;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::level::Lang;
use crate::notifications::ledger::Unsettled;
use crate::people::{Clock, as_address, as_iso, iso, json_line, shortened, shown_address};

/// Alerts that a message names: a page.
const LISTED_MAX: usize = 20;
/// A value out of a log.
const VALUE_CHARS_MAX: usize = 120;
/// A rule's title, a name of the inventory.
const NAME_CHARS_MAX: usize = 200;
/// Characters of an id that `vonggac alert` needs.
const ID_CHARS: usize = 16;
/// The form of the JSON.
const VERSION: u8 = 1;

/// An alert as a message shows it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, clickhouse::Row)]
pub(crate) struct Alert {
    pub(crate) id: String,
    pub(crate) priority: String,
    pub(crate) severity: String,
    pub(crate) rule_id: String,
    pub(crate) rule_title: String,
    pub(crate) techniques: Vec<String>,
    pub(crate) system_id: String,
    pub(crate) system_name: String,
    pub(crate) sys_level: u8,
    pub(crate) organisation: String,
    pub(crate) host: String,
    pub(crate) entity: String,
    #[serde(serialize_with = "as_address")]
    pub(crate) src_ip: String,
    pub(crate) user: String,
    pub(crate) hits: u64,
    #[serde(serialize_with = "as_iso")]
    pub(crate) first_seen: Micros,
    #[serde(serialize_with = "as_iso")]
    pub(crate) last_seen: Micros,
    pub(crate) drill_id: String,
}

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) made_at: Micros,
    /// The most urgent first.
    pub(super) alerts: Vec<Alert>,
    /// All that it tells of; more than there are in `alerts` when the store has them no more.
    pub(crate) count: usize,
    is_test: bool,
}

#[derive(Serialize)]
struct Payload<'m> {
    version: u8,
    message: &'m str,
    target: &'m str,
    test: bool,
    made_at: String,
    count: usize,
    by_priority: Vec<PriorityCount<'m>>,
    not_listed: usize,
    alerts: &'m [Alert],
}

#[derive(Serialize)]
struct PriorityCount<'m> {
    priority: &'m str,
    count: usize,
}

impl Message {
    pub(super) fn new(target: &str, alerts: Vec<Alert>, made_at: Micros) -> Self {
        let ids = alerts.iter().map(|alert| alert.id.as_str()).collect::<Vec<_>>().join(" ");
        let id = format!("{:032x}", xxh3_128(format!("{target} {made_at} {ids}").as_bytes()));
        Self { id, made_at, count: alerts.len(), alerts, is_test: false }
    }

    /// One that was tried before: all that it told of, as it stands now.
    pub(super) fn again(unsettled: &Unsettled, alerts: Vec<Alert>) -> Self {
        let (id, made_at, count) = (unsettled.message.clone(), unsettled.first_at, unsettled.told.len());
        Self { id, made_at, alerts, count, is_test: false }
    }

    /// One about nothing, by which a person sees whether the way is right.
    pub(crate) fn test(target: &str, made_at: Micros) -> Self {
        let alert = Alert {
            id: "0".repeat(32),
            priority: "P5".to_owned(),
            severity: "informational".to_owned(),
            rule_id: "vonggac-test".to_owned(),
            rule_title: "Thử kênh thông báo / Test of notifications".to_owned(),
            host: "vonggac".to_owned(),
            entity: "<b>\"&'".to_owned(),
            hits: 1,
            first_seen: made_at,
            last_seen: made_at,
            ..Alert::default()
        };
        Self { is_test: true, ..Self::new(target, vec![alert], made_at) }
    }

    /// The most urgent priority.
    pub(super) fn priority(&self) -> &str {
        self.alerts.first().map_or("", |alert| &alert.priority)
    }

    /// One line.
    pub(super) fn title(&self, lang: Lang) -> String {
        let drill = match self.alerts.iter().any(|alert| !alert.drill_id.is_empty()) {
            true => lang.pick("[diễn tập] ", "[drill] "),
            false => "",
        };
        let rest = match (self.alerts.as_slice(), self.count) {
            ([alert], 1) => {
                let at = if alert.system_name.is_empty() { &alert.host } else { &alert.system_name };
                format!("{}: {}", shortened(&alert.rule_title, NAME_CHARS_MAX), shortened(at, NAME_CHARS_MAX))
            }
            _ => {
                format!("{} {}: {}", self.count, lang.pick("cảnh báo", "alerts"), self.by_priority_in_words())
            }
        };
        format!("[{}] {drill}{rest}", self.priority())
    }

    /// A page, of whole alerts, no longer than `units_max` in UTF-16: so chat services count, for whom a character beyond the first
    /// 65,536 (a user named by emoji) is two.
    pub(super) fn text(&self, lang: Lang, clock: &Clock, units_max: usize) -> String {
        let mut text = self.title(lang);
        text.push('\n');
        let mut listed = 0;
        // The line that counts the others fits in any case.
        let room = units_max.saturating_sub(NAME_CHARS_MAX);
        let units = |text: &str| text.encode_utf16().count();
        for alert in self.alerts.iter().take(LISTED_MAX) {
            let paragraph = alert.paragraph(lang, clock);
            if units(&text) + units(&paragraph) > room {
                break;
            }
            text.push_str(&paragraph);
            listed += 1;
        }
        let rest = self.count.saturating_sub(listed);
        if rest > 0 {
            let (and, more) = lang.pick(("và", "cảnh báo nữa"), ("and", "more"));
            let _infallible = write!(text, "\n{and} {rest} {more}: vonggac alerts --status new\n");
        }
        text
    }

    /// One JSON object.
    pub(super) fn json(&self, target: &str) -> String {
        let listed = self.alerts.get(..LISTED_MAX).unwrap_or(&self.alerts);
        let by_priority = self.by_priority();
        let payload = Payload {
            version: VERSION,
            message: &self.id,
            target,
            test: self.is_test,
            made_at: iso(self.made_at),
            count: self.count,
            by_priority: by_priority
                .iter()
                .map(|(priority, count)| PriorityCount { priority, count: *count })
                .collect(),
            not_listed: self.count.saturating_sub(listed.len()),
            alerts: listed,
        };
        // Texts and numbers only: nothing of it cannot be written.
        json_line(&payload).unwrap_or_default()
    }

    fn by_priority(&self) -> Vec<(String, usize)> {
        let mut counts: Vec<(String, usize)> = Vec::new();
        for alert in &self.alerts {
            match counts.iter_mut().find(|(priority, _)| *priority == alert.priority) {
                Some((_, count)) => *count += 1,
                None => counts.push((alert.priority.clone(), 1)),
            }
        }
        counts
    }

    fn by_priority_in_words(&self) -> String {
        let parts = self.by_priority().into_iter().map(|(priority, count)| format!("{count} {priority}"));
        parts.collect::<Vec<_>>().join(", ")
    }
}

impl Alert {
    fn paragraph(&self, lang: Lang, clock: &Clock) -> String {
        let name = |text: &str| shortened(text, NAME_CHARS_MAX);
        let value = |text: &str| shortened(text, VALUE_CHARS_MAX);
        let mut text = format!("\n[{}] {}\n", self.priority, name(&self.rule_title));
        let mut line = |label: &str, value: &str| {
            if !value.is_empty() {
                let _infallible = writeln!(text, "  {label}: {value}");
            }
        };
        let level = match self.sys_level {
            0 => String::new(),
            level => format!(" ({} {level})", lang.pick("cấp độ", "level")),
        };
        line(lang.pick("hệ thống", "system"), &(name(&self.system_name) + &level));
        line(lang.pick("đơn vị", "organisation"), &name(&self.organisation));
        line(lang.pick("máy", "host"), &name(&self.host));
        line(lang.pick("địa chỉ", "address"), &shown_address(&self.src_ip));
        line(lang.pick("tài khoản", "user"), &value(&self.user));
        line(lang.pick("nhóm theo", "grouped by"), &value(&self.entity));
        line("ATT&CK", &self.techniques.join(", "));
        line(lang.pick("số lần", "hits"), &self.hits.to_string());
        let zone = clock.zone_name();
        line(lang.pick("lần cuối", "last seen"), &format!("{} ({zone})", clock.shown(self.last_seen)));
        line(lang.pick("diễn tập", "drill"), &value(&self.drill_id));
        let id: String = self.id.chars().take(ID_CHARS).collect();
        line(lang.pick("xem", "see"), &format!("vonggac alert {id}"));
        text
    }
}
