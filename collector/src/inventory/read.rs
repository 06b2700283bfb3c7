//! Reads the files of an inventory. What is wrong is told with file, line and key, and the rest is read on.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use jiff::civil::Date;
use serde::Deserialize;
use toml::{Spanned, Value as Toml};

use crate::ca::host_name;
use crate::coverage::Span;
use crate::inventory::{
    Assessed, At, Contact, DEPTH_MAX, Days, Dossier, DossierStatus, Finding, Grade, Inventory,
    InventoryError, Level, Link, Organisation, Origin, Plan, Side, Source as ListedSource, System,
    SystemIndex, Tenure, address, mapped, shown,
};
use crate::level::LEVEL_MAX;
use crate::place::Lines;

/// Largest file read, in bytes: 50,000 systems of the sample's size.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Reads a file, or all `*.toml` of a folder.
pub(super) fn read(path: &Path) -> Result<(Inventory, Vec<Finding>), InventoryError> {
    let mut draft = Draft::default();
    for path in files(path)? {
        draft.add(&path, &text(&path)?);
    }
    Ok(draft.finish())
}

/// Reads one text.
#[cfg(test)]
pub(super) fn parse(text: &str, path: &Path) -> (Inventory, Vec<Finding>) {
    let mut draft = Draft::default();
    draft.add(path, text);
    draft.finish()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    relay: Vec<RelayDraft>,
    #[serde(default)]
    organisation: Vec<OrganisationDraft>,
    #[serde(default)]
    system: Vec<SystemDraft>,
    #[serde(default)]
    link: Vec<LinkDraft>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RelayDraft {
    host: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkDraft {
    id: Spanned<String>,
    name: String,
    organisation: Spanned<String>,
    mbps: Spanned<u32>,
    #[serde(default)]
    mbps_min: u32,
    networks: Vec<Spanned<String>>,
    observer: Spanned<String>,
    source: Option<String>,
    counters: Option<Spanned<Side>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrganisationDraft {
    id: Spanned<String>,
    name: String,
    parent: Option<String>,
    code: Option<String>,
    valid_from: Option<Spanned<String>>,
    valid_to: Option<Spanned<String>>,
    contact: Option<Contact>,
    #[serde(default)]
    security_unit: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SystemDraft {
    id: Spanned<String>,
    name: String,
    #[serde(default)]
    purpose: String,
    owner: Spanned<Holders>,
    operator: Spanned<Holders>,
    level: Option<LevelDraft>,
    dossier: Option<DossierDraft>,
    facts: Option<BTreeMap<String, Spanned<Toml>>>,
    #[serde(default)]
    components: Vec<Spanned<String>>,
    #[serde(default)]
    databases: Vec<Spanned<String>>,
    #[serde(default)]
    hosts: Vec<Spanned<String>>,
    #[serde(default)]
    domains: Vec<Spanned<String>>,
    #[serde(default)]
    addresses: Vec<Spanned<String>>,
    #[serde(default)]
    networks: Vec<Spanned<String>>,
    #[serde(default)]
    sources: Vec<Spanned<SourceDraft>>,
}

/// A log source: its id alone, or more about it.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected the id of a log source, or { id, silent_after, canary, by, absent } with times such as \"30m\""
)]
enum SourceDraft {
    Id(String),
    More(SourceMore),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceMore {
    id: String,
    silent_after: Option<Span>,
    canary: Option<Span>,
    by: Option<String>,
    absent: Option<String>,
}

impl From<SourceDraft> for ListedSource {
    fn from(draft: SourceDraft) -> Self {
        match draft {
            SourceDraft::Id(id) => Self { id, ..Self::default() },
            SourceDraft::More(SourceMore { id, silent_after, canary, by, absent }) => {
                Self { id, silent_after, canary, by, absent }
            }
        }
    }
}

/// One organisation, or several one after another.
#[derive(Deserialize)]
#[serde(untagged)]
enum Holders {
    One(String),
    Several(Vec<Holder>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Holder {
    id: String,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelDraft {
    approved: Spanned<i64>,
    decision: Spanned<String>,
    date: Spanned<String>,
    authority: Spanned<String>,
    basis: Spanned<String>,
    decree: Option<Spanned<String>>,
    recheck: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DossierDraft {
    status: Option<DossierStatus>,
    #[serde(default)]
    regulation: String,
    approval_expected: Option<Spanned<String>>,
    plan: Option<Plan>,
    plan_expected: Option<Spanned<String>>,
    #[serde(default)]
    assessed: Vec<Assessed>,
}

/// An inventory that is being read, with all that is wrong with it.
#[derive(Default)]
struct Draft {
    inventory: Inventory,
    findings: Vec<Finding>,
}

/// The file that is being read.
struct Source<'t> {
    file: usize,
    lines: Lines<'t>,
}

impl Source<'_> {
    fn origin<T>(&self, value: &Spanned<T>) -> Origin {
        Origin { file: self.file, place: self.lines.place(value.span().start) }
    }

    fn at<T>(&self, value: Spanned<T>) -> At<T> {
        At { origin: self.origin(&value), value: value.into_inner() }
    }

    fn all<T>(&self, values: Vec<Spanned<T>>) -> Vec<At<T>> {
        values.into_iter().map(|value| self.at(value)).collect()
    }
}

impl Draft {
    fn add(&mut self, path: &Path, text: &str) {
        let source = Source { file: self.inventory.files.len(), lines: Lines::of(text) };
        self.inventory.files.push(path.into());
        let file: File = match toml::from_str(text) {
            Ok(file) => file,
            Err(error) => {
                let place = source.lines.place(error.span().map_or(0, |span| span.start));
                let origin = Origin { file: source.file, place };
                let message = error.message().replace('\n', ", ");
                self.findings.push(self.inventory.finding(Grade::Error, origin, String::new(), "", message));
                return;
            }
        };
        file.relay.into_iter().for_each(|draft| self.add_relay(&source, draft));
        file.organisation.into_iter().for_each(|draft| self.add_organisation(&source, draft));
        file.system.into_iter().for_each(|draft| self.add_system(&source, draft));
        file.link.into_iter().for_each(|draft| self.add_link(&source, draft));
    }

    fn add_relay(&mut self, source: &Source<'_>, draft: RelayDraft) {
        let At { value, origin } = source.at(draft.host);
        match host_name(&value) {
            Ok(name) => drop(self.inventory.relays.insert(name)),
            Err(_) => {
                let expected = "the name of a host, as in its certificate";
                self.expected(origin, "relay", "host", expected, &format!("{value:?}"));
            }
        }
    }

    fn add_organisation(&mut self, source: &Source<'_>, draft: OrganisationDraft) {
        let origin = source.origin(&draft.id);
        let subject = format!("organisation {:?}", draft.id.get_ref());
        let from = draft.valid_from.and_then(|date| self.date(source, &subject, "valid_from", date));
        let to = draft.valid_to.and_then(|date| self.date(source, &subject, "valid_to", date));
        let days = Days { from: from.map(|from| from.value), to: to.map(|to| to.value) };
        self.check_days(origin, &subject, "valid_to", days);
        let id = draft.id.into_inner();
        if id.is_empty() || draft.name.trim().is_empty() {
            self.expected(origin, &subject, "id, name", "not empty", "an empty one");
        }
        let index = self.inventory.organisations.len();
        if let Some(first) = self.inventory.organisations_by_id.get(&id) {
            let first = self.inventory.organisations[*first].origin;
            let found = format!("{id}, as at {}", self.place(first));
            self.expected(origin, &subject, "id", "an id that no other organisation has", &found);
        } else {
            self.inventory.organisations_by_id.insert(id.clone(), index);
        }
        let OrganisationDraft { name, parent, code, contact, security_unit, .. } = draft;
        let organisation = Organisation { id, name, parent, code, days, contact, security_unit, origin };
        self.inventory.organisations.push(organisation);
    }

    fn add_system(&mut self, source: &Source<'_>, draft: SystemDraft) {
        let origin = source.origin(&draft.id);
        let subject = format!("system {:?}", draft.id.get_ref());
        let id = draft.id.into_inner();
        if id.is_empty() || draft.name.trim().is_empty() {
            self.expected(origin, &subject, "id, name", "not empty", "an empty one");
        }
        let sources = self.sources(source, &subject, draft.sources);
        let facts = draft
            .facts
            .map(|facts| facts.into_iter().map(|(name, value)| (name, source.at(value))).collect());
        let system = System {
            owner: self.holders(source, &subject, "owner", draft.owner),
            operator: self.holders(source, &subject, "operator", draft.operator),
            level: draft.level.map(|level| self.level(source, &subject, level)),
            dossier: draft.dossier.map(|dossier| self.dossier(source, &subject, dossier)),
            networks: self.networks(source, &subject, draft.addresses, draft.networks),
            components: source.all(draft.components),
            databases: source.all(draft.databases),
            hosts: source.all(draft.hosts),
            domains: source.all(draft.domains),
            name: draft.name,
            purpose: draft.purpose,
            sources,
            id,
            facts,
            origin,
        };
        self.index(&subject, &system);
        self.inventory.systems.push(system);
    }

    fn add_link(&mut self, source: &Source<'_>, draft: LinkDraft) {
        let origin = source.origin(&draft.id);
        let subject = format!("link {:?}", draft.id.get_ref());
        let id = draft.id.get_ref();
        if id.is_empty() || draft.name.trim().is_empty() {
            self.expected(origin, &subject, "id, name", "not empty", "an empty one");
        }
        if self.inventory.links.iter().any(|link| link.id == *id) {
            self.expected(origin, &subject, "id", "an id that no other link has", id);
        }
        if *draft.mbps.get_ref() == 0 {
            self.expected(source.origin(&draft.mbps), &subject, "mbps", "what the line carries", "0");
        }
        if draft.networks.is_empty() {
            self.expected(origin, &subject, "networks", "what is behind the line", "none");
        }
        let observer = source.at(draft.observer);
        if observer.value.trim().is_empty() {
            self.expected(
                observer.origin,
                &subject,
                "observer",
                "a host or an exporter's address",
                "nothing",
            );
        }
        if let Some(counters) = &draft.counters
            && (observer.value.parse::<IpAddr>().is_ok() || draft.source.is_none())
        {
            let origin = source.origin(counters);
            let expected =
                "the host of an agent as the observer, and its interface as the source (capture:eth0)";
            self.expected(origin, &subject, "counters", expected, "an exporter, or no source");
        }
        let networks = self.networks(source, &subject, Vec::new(), draft.networks);
        self.inventory.links.push(Link {
            networks,
            id: draft.id.into_inner(),
            name: draft.name,
            organisation: source.at(draft.organisation),
            mbps: draft.mbps.into_inner(),
            mbps_min: draft.mbps_min,
            observer: observer.value,
            source: draft.source,
            counters: draft.counters.map(Spanned::into_inner),
        });
    }

    fn holders(
        &mut self,
        source: &Source<'_>,
        subject: &str,
        key: &'static str,
        draft: Spanned<Holders>,
    ) -> Vec<Tenure> {
        let origin = source.origin(&draft);
        let holders = match draft.into_inner() {
            Holders::One(organisation) => {
                return vec![Tenure { organisation, days: Days::default(), origin }];
            }
            Holders::Several(holders) => holders,
        };
        if holders.is_empty() {
            self.expected(origin, subject, key, "an organisation", "none");
        }
        let tenures = holders.into_iter().map(|holder| {
            let mut day = |text: Option<String>| text.and_then(|text| self.day(origin, subject, key, &text));
            let days = Days { from: day(holder.from), to: day(holder.to) };
            self.check_days(origin, subject, key, days);
            Tenure { organisation: holder.id, days, origin }
        });
        tenures.collect()
    }

    fn dossier(&mut self, source: &Source<'_>, subject: &str, draft: DossierDraft) -> Dossier {
        let mut day = |key, day: Option<Spanned<String>>| {
            day.and_then(|day| self.date(source, subject, key, day)).map(|day| day.value)
        };
        Dossier {
            approval_expected: day("dossier.approval_expected", draft.approval_expected),
            plan_expected: day("dossier.plan_expected", draft.plan_expected),
            status: draft.status,
            regulation: draft.regulation,
            plan: draft.plan,
            assessed: draft.assessed,
        }
    }

    fn level(&mut self, source: &Source<'_>, subject: &str, draft: LevelDraft) -> Level {
        let origin = source.origin(&draft.approved);
        let approved = *draft.approved.get_ref();
        let level = u8::try_from(approved).ok().filter(|level| (1..=LEVEL_MAX).contains(level));
        if level.is_none() {
            let expected = format!("1 to {LEVEL_MAX}");
            self.expected(origin, subject, "level.approved", &expected, &approved.to_string());
        }
        for (key, expected, text) in [
            ("level.decision", "the number of the decision that approved the level", &draft.decision),
            ("level.authority", "who approved the level", &draft.authority),
            ("level.basis", "the articles that the level rests on", &draft.basis),
        ] {
            if text.get_ref().trim().is_empty() {
                self.expected(source.origin(text), subject, key, expected, "nothing");
            }
        }
        self.day(source.origin(&draft.date), subject, "level.date", draft.date.get_ref());
        Level {
            approved: level.unwrap_or_default(),
            decision: draft.decision.into_inner(),
            date: draft.date.into_inner(),
            authority: draft.authority.into_inner(),
            basis: draft.basis.into_inner(),
            decree: draft.decree.map(|decree| source.at(decree)),
            recheck: draft.recheck.and_then(|date| self.date(source, subject, "level.recheck", date)),
            origin,
        }
    }

    fn networks(
        &mut self,
        source: &Source<'_>,
        subject: &str,
        addresses: Vec<Spanned<String>>,
        networks: Vec<Spanned<String>>,
    ) -> Vec<At<IpNet>> {
        let mut found = Vec::with_capacity(addresses.len() + networks.len());
        for text in source.all(addresses) {
            match address(&text.value) {
                Some(value) => found.push(At { value, origin: text.origin }),
                None => {
                    self.expected(text.origin, subject, "addresses", "an IPv4 or IPv6 address", &text.value);
                }
            }
        }
        for text in source.all(networks) {
            match text.value.parse::<IpNet>() {
                Ok(value) if value.addr() == value.network() => found.push(At { value, origin: text.origin }),
                Ok(value) => {
                    let expected = format!("a network without host bits ({})", value.trunc());
                    self.expected(text.origin, subject, "networks", &expected, &text.value);
                }
                Err(_) => {
                    self.expected(text.origin, subject, "networks", "a network ADDRESS/LENGTH", &text.value);
                }
            }
        }
        found
    }

    fn sources(
        &mut self,
        source: &Source<'_>,
        subject: &str,
        drafts: Vec<Spanned<SourceDraft>>,
    ) -> Vec<At<ListedSource>> {
        let mut sources: Vec<At<ListedSource>> = Vec::with_capacity(drafts.len());
        for At { value, origin } in source.all(drafts) {
            let value = ListedSource::from(value);
            let twice = sources.iter().any(|other| other.value.id == value.id);
            if value.id.trim().is_empty() || twice {
                let expected = "each log source once, by its id";
                self.expected(origin, subject, "sources", expected, &format!("{:?}", value.id));
            }
            if value.absent.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
                self.expected(origin, subject, "sources", "why there is no such source", "nothing");
            }
            sources.push(At { value, origin });
        }
        sources
    }

    fn index(&mut self, subject: &str, system: &System) {
        let index = SystemIndex(self.inventory.systems.len());
        if let Some(first) = self.inventory.by_id(&system.id) {
            let first = self.inventory.system(first).origin;
            let found = format!("{}, as at {}", system.id, self.place(first));
            self.expected(system.origin, subject, "id", "an id that no other system has", &found);
        } else {
            self.inventory.by_id.insert(system.id.clone(), index);
        }
        for host in &system.hosts {
            let earlier = self.inventory.by_host.insert(host.value.to_ascii_lowercase(), index);
            self.check_free(host.origin, subject, "hosts", &host.value, earlier);
        }
        for domain in &system.domains {
            let earlier = self.inventory.by_host.insert(domain.value.to_ascii_lowercase(), index);
            // A host may be named by its domain.
            let earlier = earlier.filter(|earlier| *earlier != index);
            self.check_free(domain.origin, subject, "domains", &domain.value, earlier);
        }
        for network in &system.networks {
            let (length, prefix) = mapped(network.value);
            let earlier = self.inventory.by_network.entry(length).or_default().insert(prefix, index);
            self.check_free(network.origin, subject, "networks", &shown(network.value), earlier);
        }
    }

    fn check_free(
        &mut self,
        origin: Origin,
        subject: &str,
        key: &'static str,
        value: &str,
        earlier: Option<SystemIndex>,
    ) {
        let Some(SystemIndex(earlier)) = earlier else { return };
        let owner = self.inventory.systems.get(earlier).map_or("this system", |system| &system.id).to_owned();
        self.expected(
            origin,
            subject,
            key,
            "what no other system has",
            &format!("{value}, which {owner} has too"),
        );
    }

    fn finish(mut self) -> (Inventory, Vec<Finding>) {
        self.check_tree();
        self.check_holders();
        self.check_components();
        self.check_links();
        (self.inventory, self.findings)
    }

    fn check_tree(&mut self) {
        let organisations = &self.inventory.organisations;
        let above: HashMap<&str, &str> = (organisations.iter())
            .filter_map(|organisation| Some((&*organisation.id, organisation.parent.as_deref()?)))
            .collect();
        let mut wrong = Vec::new();
        for organisation in organisations {
            let Some(parent) = &organisation.parent else { continue };
            let subject = format!("organisation {:?}", organisation.id);
            if !self.inventory.organisations_by_id.contains_key(parent) {
                wrong.push((
                    organisation.origin,
                    subject,
                    "the id of an organisation".to_owned(),
                    parent.clone(),
                ));
            } else if climbs_for_ever(&organisation.id, &above) {
                let expected = format!("a tree of at most {DEPTH_MAX} tiers");
                wrong.push((
                    organisation.origin,
                    subject,
                    expected,
                    format!("{parent}, in a circle or too deep"),
                ));
            }
        }
        for (origin, subject, expected, found) in wrong {
            self.expected(origin, &subject, "parent", &expected, &found);
        }
    }

    fn check_links(&mut self) {
        let unknown = |link: &&Link| self.inventory.organisation(&link.organisation.value).is_none();
        let wrong: Vec<Link> = self.inventory.links.iter().filter(unknown).cloned().collect();
        for Link { id, organisation, .. } in wrong {
            let subject = format!("link {id:?}");
            let expected = "the id of an organisation";
            self.expected(organisation.origin, &subject, "organisation", expected, &organisation.value);
        }
    }

    fn check_holders(&mut self) {
        let mut wrong = Vec::new();
        for system in &self.inventory.systems {
            for (key, tenures) in [("owner", &system.owner), ("operator", &system.operator)] {
                let unknown = |tenure: &&Tenure| self.inventory.organisation(&tenure.organisation).is_none();
                let unknown = tenures.iter().filter(unknown);
                wrong.extend(unknown.map(|tenure| (tenure.clone(), system.id.clone(), key)));
            }
        }
        for (tenure, id, key) in wrong {
            let subject = format!("system {id:?}");
            self.expected(tenure.origin, &subject, key, "the id of an organisation", &tenure.organisation);
        }
    }

    fn check_components(&mut self) {
        let mut wrong = Vec::new();
        for system in &self.inventory.systems {
            for component in &system.components {
                let expected = match self.inventory.by_id(&component.value) {
                    None => "the id of a system".to_owned(),
                    Some(index) if self.contains(index, &system.id, 0) => {
                        format!("no circle, and at most {DEPTH_MAX} systems within each other")
                    }
                    Some(_) => continue,
                };
                wrong.push((component.clone(), system.id.clone(), expected));
            }
        }
        for (component, id, expected) in wrong {
            let subject = format!("system {id:?}");
            self.expected(component.origin, &subject, "components", &expected, &component.value);
        }
    }

    /// Whether a system is, or has as a part of any depth, the one with this id; also when it is too deep to tell.
    fn contains(&self, index: SystemIndex, id: &str, depth: usize) -> bool {
        let system = self.inventory.system(index);
        let mut parts =
            system.components.iter().filter_map(|component| self.inventory.by_id(&component.value));
        system.id == id || depth > DEPTH_MAX || parts.any(|part| self.contains(part, id, depth + 1))
    }

    fn date(
        &mut self,
        source: &Source<'_>,
        subject: &str,
        key: &'static str,
        date: Spanned<String>,
    ) -> Option<At<Date>> {
        let text = source.at(date);
        let value = self.day(text.origin, subject, key, &text.value)?;
        Some(At { value, origin: text.origin })
    }

    fn day(&mut self, origin: Origin, subject: &str, key: &'static str, text: &str) -> Option<Date> {
        let date = text.parse().ok();
        if date.is_none() {
            self.expected(origin, subject, key, "a date YYYY-MM-DD", text);
        }
        date
    }

    fn check_days(&mut self, origin: Origin, subject: &str, key: &'static str, days: Days) {
        if let Some((from, to)) = days.from.zip(days.to)
            && to < from
        {
            self.expected(origin, subject, key, &format!("a last day not before {from}"), &to.to_string());
        }
    }

    fn expected(&mut self, origin: Origin, subject: &str, key: &'static str, expected: &str, found: &str) {
        let message = format!("expected {expected}, found {found}");
        let finding = self.inventory.finding(Grade::Error, origin, subject.to_owned(), key, message);
        self.findings.push(finding);
    }

    fn place(&self, origin: Origin) -> String {
        format!("{}:{}", self.inventory.file(origin).display(), origin.place.line)
    }
}

fn climbs_for_ever(id: &str, above: &HashMap<&str, &str>) -> bool {
    let mut at = id;
    for _ in 0..DEPTH_MAX {
        match above.get(at) {
            Some(parent) => at = parent,
            None => return false,
        }
    }
    true
}

fn files(path: &Path) -> Result<Vec<PathBuf>, InventoryError> {
    let failed = |source| InventoryError::Read { path: path.into(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn text(path: &Path) -> Result<String, InventoryError> {
    let failed = |source| InventoryError::Read { path: path.into(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(failed(std::io::Error::other(format!("{bytes} bytes, at most {FILE_BYTES_MAX}"))));
    }
    std::fs::read_to_string(path).map_err(failed)
}
