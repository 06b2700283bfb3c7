//! An incident with all that is known around it: its alerts, its entries, the decree that holds for it, and what of the report
//! is known without asking anybody.

use anyhow::Result;
use clickhouse::Row;
use event::Micros;
use serde::{Deserialize, Serialize};

use crate::history::{self, Entry};
use crate::incident::{Incident, SUBJECT, incidents};
use crate::inventory::{Contact, System, Tenure, holder};
use crate::level::{FieldSource, Lang, ReportField};
use crate::people::books::Books;
use crate::people::connect::Reader;
use crate::people::filter::{Bound, Filter};
use crate::people::report::severity_name;
use crate::people::select::as_iso;
use crate::people::when::Clock;

/// Hosts and titles of alerts that a field names; the table of alerts has them all.
const NAMED_MAX: usize = 20;

/// An incident, its alerts and its entries.
pub(in crate::people) struct Case {
    pub(in crate::people) incident: Incident,
    pub(in crate::people) members: Vec<Member>,
    pub(in crate::people) entries: Vec<Entry>,
}

/// An alert of an incident.
#[derive(Clone, Debug, Default, Deserialize, Row, Serialize)]
pub(in crate::people) struct Member {
    pub(in crate::people) id: String,
    #[serde(serialize_with = "as_iso")]
    pub(in crate::people) created_at: Micros,
    pub(in crate::people) rule_title: String,
    pub(in crate::people) severity: String,
    pub(in crate::people) priority: String,
    pub(in crate::people) host: String,
    pub(in crate::people) system_id: String,
    pub(in crate::people) drill_id: String,
    pub(in crate::people) status: String,
    /// The incident that it belongs to.
    pub(in crate::people) incident: String,
}

/// A field of the report.
#[derive(Debug, Serialize)]
pub(in crate::people) struct Field {
    pub(in crate::people) id: String,
    pub(in crate::people) what: String,
    /// Empty: nobody stated it, and it is not known otherwise.
    pub(in crate::people) value: String,
    pub(in crate::people) is_stated: bool,
    pub(in crate::people) article: String,
    pub(in crate::people) unsure: String,
}

const MEMBER_COLUMNS: &str = "a.id AS id, toUnixTimestamp64Micro(a.created_at) AS created_at, a.rule_title AS rule_title, \
    a.severity AS severity, a.priority AS priority, a.host AS host, a.system_id AS system_id, a.drill_id AS drill_id, \
    if(s.status = '', 'new', s.status) AS status, s.incident AS incident";

/// All entries about incidents, in the order of time.
pub(crate) async fn entries(reader: &Reader) -> Result<Vec<Entry>> {
    let columns = history::COLUMNS;
    let sql = format!(
        "SELECT {columns} FROM alert_history AS h WHERE startsWith(h.alert_id, '{SUBJECT}') \
         ORDER BY h.at, h.chain, h.seq"
    );
    reader.rows(&sql, &Filter::default()).await
}

/// Alerts by their ids, in the order of time.
pub(in crate::people) async fn members(reader: &Reader, ids: &[String]) -> Result<Vec<Member>> {
    let mut filter = Filter::default();
    let ids = filter.keep(Bound::Texts(ids.to_vec()));
    read(reader, &ids, &filter).await
}

/// The alerts of an incident: those that were put to it and not taken from it since.
async fn members_of(reader: &Reader, incident: &str) -> Result<Vec<Member>> {
    let mut filter = Filter::default();
    filter.and("s.incident = {}", Bound::Text(incident.to_owned()));
    let id = filter.keep(Bound::Text(incident.to_owned()));
    let ids = format!("(SELECT alert_id FROM alert_history WHERE action = 'incident' AND text = {id})");
    read(reader, &ids, &filter).await
}

/// When alerts were put to an incident, and when they were taken from it: entries of the alerts, told as its own.
async fn moves(reader: &Reader, incident: &str) -> Result<Vec<Entry>> {
    let mut filter = Filter::default();
    let id = filter.keep(Bound::Text(incident.to_owned()));
    let columns = history::COLUMNS;
    let sql = format!(
        "SELECT {columns} FROM alert_history AS h WHERE h.action = 'incident' AND h.alert_id IN \
           (SELECT alert_id FROM alert_history WHERE action = 'incident' AND text = {id}) ORDER BY h.alert_id, h.at, h.chain, h.seq"
    );
    let entries: Vec<Entry> = reader.rows(&sql, &filter).await?;
    let mut told = Vec::new();
    let mut inside = String::new();
    for entry in entries {
        let action = match (entry.text == incident, entry.alert_id == inside) {
            (true, false) => "add",
            (false, true) => "remove",
            _ => continue,
        };
        inside = if action == "add" { entry.alert_id.clone() } else { String::new() };
        told.push(Entry { action: action.to_owned(), text: entry.alert_id.clone(), ..entry });
    }
    Ok(told)
}

/// Alerts out of a set: how others stand is not asked.
async fn read(reader: &Reader, ids: &str, filter: &Filter) -> Result<Vec<Member>> {
    let sql = format!(
        "SELECT {MEMBER_COLUMNS} FROM (SELECT * FROM alerts FINAL WHERE id IN {ids}) AS a \
         LEFT JOIN (SELECT * FROM alert_status WHERE alert_id IN {ids}) AS s ON s.alert_id = a.id WHERE {} ORDER BY created_at, id",
        filter.sql()
    );
    reader.rows(&sql, filter).await
}

impl Case {
    /// Reads the one incident with this id, or whose id begins or ends so; why there is not exactly one.
    pub(in crate::people) async fn read(reader: &Reader, id: &str) -> Result<Result<Self, String>> {
        let mut entries = entries(reader).await?;
        let mut found: Vec<Incident> = incidents(&entries);
        found.retain(|incident| incident.id.starts_with(id) || incident.id.ends_with(id));
        let incident = match (found.pop(), found.pop()) {
            (Some(only), None) => only,
            (None, _) => {
                return Ok(Err(format!("no incident has the id {id:?}; `vonggac incident list --all`")));
            }
            (Some(_), Some(_)) => return Ok(Err(format!("more than one incident has an id like {id:?}"))),
        };
        let subject = incident.subject();
        entries.retain(|entry| entry.alert_id == subject);
        let members = members_of(reader, &incident.id).await?;
        entries.extend(moves(reader, &incident.id).await?);
        entries.sort_by_key(|entry| entry.at);
        Ok(Ok(Self { incident, members, entries }))
    }

    /// The fields of the report, in the decree's order.
    pub(in crate::people) fn fields(&self, books: &Books, clock: &Clock, lang: Lang) -> Vec<Field> {
        let Some(decree) = books.decree(&self.incident) else { return Vec::new() };
        decree.report_fields.iter().map(|field| self.field(field, books, clock, lang)).collect()
    }

    fn field(&self, field: &ReportField, books: &Books, clock: &Clock, lang: Lang) -> Field {
        let provision = &field.provision;
        let stated = self.incident.fields.get(&provision.id).cloned();
        let known = || field.source.map(|source| self.known(source, books, clock, lang)).unwrap_or_default();
        Field {
            id: provision.id.clone(),
            what: provision.text.of(lang).to_owned(),
            is_stated: stated.is_some(),
            value: stated.unwrap_or_else(known),
            article: provision.citation.as_ref().map(|citation| citation.shown(lang)).unwrap_or_default(),
            unsure: provision.unsure.as_ref().map(|unsure| unsure.of(lang).to_owned()).unwrap_or_default(),
        }
    }

    /// What is known without asking anybody; empty when it is not.
    fn known(&self, source: FieldSource, books: &Books, clock: &Clock, lang: Lang) -> String {
        let system = books.system(&self.incident.system);
        match source {
            FieldSource::Owner => system.map_or(String::new(), |system| self.name(&system.owner, books)),
            FieldSource::Operator => {
                system.map_or(String::new(), |system| self.name(&system.operator, books))
            }
            FieldSource::Contact => system.map_or(String::new(), |system| self.contact(system, books)),
            FieldSource::System => system.map_or(String::new(), |system| named(system, lang)),
            FieldSource::DetectedAt => {
                format!("{} ({})", clock.minute(self.incident.detected_at), clock.zone_name())
            }
            FieldSource::Severity => self.severity(lang),
            FieldSource::Hosts => few(self.members.iter().map(|member| &*member.host)),
            FieldSource::Alerts => few(self.members.iter().map(|member| &*member.rule_title)),
        }
    }

    /// Who held a system when the incident was detected.
    fn holder<'t>(&self, tenures: &'t [Tenure], books: &Books) -> &'t str {
        let day = jiff::Timestamp::from_microsecond(self.incident.detected_at).unwrap_or_default();
        let day = day.to_zoned(books.zone.clone()).date();
        holder(tenures, day).map_or("", |tenure| &tenure.organisation)
    }

    fn name(&self, tenures: &[Tenure], books: &Books) -> String {
        books.inventory.organisation_name(self.holder(tenures, books)).to_owned()
    }

    /// Whom to call: of who runs the system, or else of who owns it.
    fn contact(&self, system: &System, books: &Books) -> String {
        let of = |tenures| books.inventory.organisation(self.holder(tenures, books))?.contact.as_ref();
        of(&system.operator).or_else(|| of(&system.owner)).map(called).unwrap_or_default()
    }

    /// The severity of the most urgent alert, as that: the word for "critical" is the law's word for a serious incident, and of which
    /// class this one is a person says.
    fn severity(&self, lang: Lang) -> String {
        let most = self.members.iter().min_by(|one, other| one.priority.cmp(&other.priority));
        let by = lang.pick("theo cảnh báo", "by its alerts");
        most.map(|member| format!("{by}: {} ({})", severity_name(&member.severity, lang), member.priority))
            .unwrap_or_default()
    }
}

fn called(contact: &Contact) -> String {
    let Contact { representative, title, phone, email, .. } = contact;
    let parts = [representative, title, phone, email].into_iter().filter(|part| !part.is_empty());
    parts.map(|part| &**part).collect::<Vec<_>>().join(", ")
}

fn named(system: &System, lang: Lang) -> String {
    let System { name, id, .. } = system;
    match system.level() {
        0 => format!("{name} ({id})"),
        level => format!("{name} ({id}), {} {level}", lang.pick("cấp độ", "level")),
    }
}

/// Each name once, in the order of time.
fn few<'m>(names: impl Iterator<Item = &'m str>) -> String {
    let mut few: Vec<&str> = Vec::new();
    for name in names.filter(|name| !name.is_empty()) {
        if !few.contains(&name) {
            few.push(name);
        }
    }
    let more = few.len() > NAMED_MAX;
    few.truncate(NAMED_MAX);
    if more {
        few.push("…");
    }
    few.join("; ")
}
