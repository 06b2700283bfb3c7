//! What a person must know about an inventory that can be read: levels that are due or differ, facts that are missing, systems
//! that nothing belongs to, organisations that are no more, systems that look split.
//!
//! A look only: nothing is changed or resolved here.

use std::collections::{BTreeMap, HashMap};

use jiff::civil::Date;
use toml::Value as Toml;

use crate::coverage::SourceTable;
use crate::inventory::{
    At, Finding, Grade, Inventory, Level, Origin, Source, System, SystemIndex, Tenure, holder, shown,
};
use crate::level::{Decrees, Judgement, Lang};
use crate::priority::Levels;

/// Everything, in the order of the files.
pub(super) fn survey(inventory: &Inventory, levels: &Levels, date: Date) -> Vec<Finding> {
    let (decrees, findings) = (levels.decrees(), refused(inventory, levels));
    let mut survey = Survey { inventory, date, decrees, findings };
    for index in inventory.indices() {
        let system = inventory.system(index);
        survey.belongings(system);
        survey.networks(index, system);
        survey.holders(system);
        survey.approval(index, system);
    }
    survey.organisations();
    survey.splits();
    survey.findings
}

/// What a collector with these levels does not take.
pub(super) fn refused(inventory: &Inventory, levels: &Levels) -> Vec<Finding> {
    let mut findings = facts(inventory, levels.decrees());
    findings.extend(sources(inventory, levels.sources()));
    findings
}

/// Log sources of which nobody knows what they are, or that have no canary: errors.
fn sources(inventory: &Inventory, table: &SourceTable) -> Vec<Finding> {
    let fault = |source: &At<Source>| {
        let expected = match table.by_id(&source.value.id) {
            None => format!("one of {}", table.ids()),
            Some(_) if !is_held(inventory, source) => {
                let by = source.value.by.as_deref().unwrap_or_default();
                return Some(format!(
                    "expected by: the id of a system that has the source itself, found {by}"
                ));
            }
            Some(kind) if source.value.canary.is_some() && table.kind(kind).canary_rule.is_none() => {
                format!("a canary of one of {}", table.ids_with_canary())
            }
            Some(_) => return None,
        };
        Some(format!("expected {expected}, found {}", source.value.id))
    };
    let mut findings = Vec::new();
    for system in inventory.systems() {
        for source in &system.sources {
            let finding =
                |message| inventory.finding(Grade::Error, source.origin, subject(system), "sources", message);
            findings.extend(fault(source).map(finding));
        }
    }
    findings
}

/// Whether the system that is said to have a source for another one does not pass it on in its turn.
fn is_held(inventory: &Inventory, source: &At<Source>) -> bool {
    let Some(by) = &source.value.by else { return true };
    let Some(index) = inventory.by_id(by) else { return false };
    let its = inventory.system(index).sources.iter().find(|its| its.value.id == source.value.id);
    its.is_none_or(|its| its.value.by.is_none() && its.value.absent.is_none())
}

/// Facts that no decree asks for, or of another type than it asks for: errors.
fn facts(inventory: &Inventory, decrees: &Decrees) -> Vec<Finding> {
    let mut findings = Vec::new();
    for system in inventory.systems() {
        for (name, fact) in system.facts.iter().flatten() {
            let message = if decrees.iter().any(|decree| decree.asks(name)) {
                let expected = decrees.iter().find_map(|decree| decree.fact_fault(name, &fact.value));
                expected.map(|expected| format!("{name}: expected {expected}, found {}", stated(&fact.value)))
            } else {
                Some(format!("expected a fact that a decree asks for, found {name}"))
            };
            let finding =
                |message| inventory.finding(Grade::Error, fact.origin, subject(system), "facts", message);
            findings.extend(message.map(finding));
        }
    }
    findings
}

struct Survey<'i> {
    inventory: &'i Inventory,
    decrees: &'i Decrees,
    date: Date,
    findings: Vec<Finding>,
}

impl Survey<'_> {
    fn belongings(&mut self, system: &System) {
        let bare = system.hosts.is_empty() && system.networks.is_empty() && system.domains.is_empty();
        if bare && system.components.is_empty() {
            let message = "no host, address, network or domain belongs to it: no event can concern it".into();
            self.tell(Grade::Warning, system.origin, subject(system), "hosts", message);
        }
    }

    /// Networks within a network of another system.
    fn networks(&mut self, index: SystemIndex, system: &System) {
        for network in &system.networks {
            let Some(outer) = self.inventory.around(network.value).filter(|outer| *outer != index) else {
                continue;
            };
            let outer = &self.inventory.system(outer).id;
            let message = format!(
                "{} lies within a network of {outer}; the longest prefix counts",
                shown(network.value)
            );
            self.tell(Grade::Note, network.origin, subject(system), "networks", message);
        }
    }

    fn holders(&mut self, system: &System) {
        for (key, tenures) in [("owner", &system.owner), ("operator", &system.operator)] {
            let message = match holder(tenures, self.date) {
                None => Some(format!("nobody on {}", self.date)),
                Some(tenure) => self.not_valid(tenure),
            };
            if let Some(message) = message {
                let origin = tenures.last().map_or(system.origin, |tenure| tenure.origin);
                self.tell(Grade::Warning, origin, subject(system), key, message);
            }
        }
    }

    fn not_valid(&self, tenure: &Tenure) -> Option<String> {
        let organisation = self.inventory.organisation(&tenure.organisation)?;
        let valid = organisation.days.hold(self.date);
        (!valid).then(|| format!("{} is no organisation on {}", organisation.id, self.date))
    }

    /// An organisation that lives under one that does not.
    fn organisations(&mut self) {
        let inventory = self.inventory;
        for organisation in &inventory.organisations {
            if !organisation.days.hold(self.date) {
                continue;
            }
            let parent = organisation.parent.as_ref().and_then(|parent| inventory.organisation(parent));
            let Some(parent) = parent.filter(|parent| !parent.days.hold(self.date)) else { continue };
            let subject = format!("organisation {:?}", organisation.id);
            let message = format!("{} is no organisation on {}", parent.id, self.date);
            self.tell(Grade::Warning, organisation.origin, subject, "parent", message);
        }
    }

    fn approval(&mut self, index: SystemIndex, system: &System) {
        let judgement = self.decrees.in_force(self.date).map(|decree| self.inventory.judge(index, decree));
        if let Some(judgement) = &judgement {
            self.doubts(system, judgement);
        }
        let Some(level) = &system.level else {
            let message = "no level was approved; it counts as not classified".into();
            self.tell(Grade::Warning, system.origin, subject(system), "level", message);
            return;
        };
        self.due(system, level);
        let Some(judgement) = judgement.filter(|judgement| judgement.denies(level.approved)) else { return };
        let message = format!(
            "approved {}, and {} comes to {}{}",
            level.approved,
            judgement.decree.title.of(Lang::En),
            if judgement.needs_review() { "at least " } else { "" },
            computed(&judgement)
        );
        self.tell(Grade::Warning, level.origin, subject(system), "level.approved", message);
    }

    fn due(&mut self, system: &System, level: &Level) {
        if let Some(decree) =
            level.decree.as_ref().filter(|decree| self.decrees.by_id(&decree.value).is_none())
        {
            let message = format!("expected the id of a decree, found {}", decree.value);
            self.tell(Grade::Warning, decree.origin, subject(system), "level.decree", message);
        }
        if let Some(recheck) = level.recheck.as_ref().filter(|recheck| recheck.value < self.date) {
            let message = format!("the level was to be looked at again by {}", recheck.value);
            self.tell(Grade::Warning, recheck.origin, subject(system), "level.recheck", message);
        }
    }

    /// What keeps the decree in force from telling a level.
    fn doubts(&mut self, system: &System, judgement: &Judgement<'_>) {
        // Who has stated nothing yet is told once, not fact by fact.
        let stated = system.facts.is_some();
        if !stated && let Some(up_to) = judgement.missing.iter().map(|missing| missing.up_to).max() {
            let message = format!("no facts are stated, and they could raise the level to {up_to}");
            self.tell(Grade::Warning, system.origin, subject(system), "facts", message);
        }
        for missing in judgement.missing.iter().filter(|_| stated) {
            let name = &missing.input.name;
            if system.facts.as_ref().is_some_and(|facts| facts.contains_key(name)) {
                continue; // stated, and of a wrong type: that was told
            }
            let message = format!("{name} is unknown and could raise the level to {}", missing.up_to);
            self.tell(Grade::Warning, system.origin, subject(system), "facts", message);
        }
        for review in &judgement.reviews {
            let message = format!("needs review: {}", review.provision.text.of(Lang::En));
            self.tell(Grade::Warning, system.origin, subject(system), "facts", message);
        }
        if judgement.level == 0 && judgement.missing.is_empty() {
            let message = "no rule says a level".into();
            self.tell(Grade::Warning, system.origin, subject(system), "facts", message);
        }
    }

    /// Systems that work on one database and are no parts of one whole.
    fn splits(&mut self) {
        let inventory = self.inventory;
        let mut first: BTreeMap<&str, SystemIndex> = BTreeMap::new();
        let wholes = wholes(inventory);
        for index in inventory.indices() {
            for database in &inventory.system(index).databases {
                let earlier = *first.entry(&database.value).or_insert(index);
                if earlier != index && !together(&wholes, earlier, index) {
                    self.split(earlier, index, database);
                }
            }
        }
    }

    fn split(&mut self, earlier: SystemIndex, index: SystemIndex, database: &At<String>) {
        let (other, system) = (self.inventory.system(earlier), self.inventory.system(index));
        let decree = self.decrees.iter().filter_map(|decree| decree.split.as_ref()).last();
        let says = decree.and_then(|split| {
            let citation = split.citation.as_ref()?.shown(Lang::En);
            Some(format!(" ({citation}: {})", split.text.of(Lang::En)))
        });
        let message = format!(
            "{} is a database of {} ({}:{}), too: one system that was split?{}",
            database.value,
            other.id,
            self.inventory.file(other.origin).display(),
            other.origin.place.line,
            says.unwrap_or_default()
        );
        self.tell(Grade::Warning, database.origin, subject(system), "databases", message);
    }

    fn tell(&mut self, grade: Grade, origin: Origin, subject: String, key: &'static str, message: String) {
        self.findings.push(self.inventory.finding(grade, origin, subject, key, message));
    }
}

/// The systems that each system is a direct part of.
fn wholes(inventory: &Inventory) -> HashMap<SystemIndex, Vec<SystemIndex>> {
    let mut wholes: HashMap<SystemIndex, Vec<SystemIndex>> = HashMap::new();
    for whole in inventory.indices() {
        let components = &inventory.system(whole).components;
        for part in components.iter().filter_map(|component| inventory.by_id(&component.value)) {
            wholes.entry(part).or_default().push(whole);
        }
    }
    wholes
}

/// Whether one is a part of the other, or both are parts of a third.
fn together(wholes: &HashMap<SystemIndex, Vec<SystemIndex>>, one: SystemIndex, other: SystemIndex) -> bool {
    let of = |index| wholes.get(&index).map(Vec::as_slice).unwrap_or_default();
    of(one).contains(&other)
        || of(other).contains(&one)
        || of(one).iter().any(|whole| of(other).contains(whole))
}

fn subject(system: &System) -> String {
    format!("system {:?}", system.id)
}

/// The level that a decree computes, with its articles.
fn computed(judgement: &Judgement<'_>) -> String {
    let basis: Vec<String> = judgement.basis().iter().map(|citation| citation.shown(Lang::En)).collect();
    if basis.is_empty() {
        judgement.level.to_string()
    } else {
        format!("{} ({})", judgement.level, basis.join("; "))
    }
}

/// A fact as it was stated.
pub(crate) fn stated(fact: &Toml) -> String {
    match fact {
        Toml::String(text) => text.clone(),
        Toml::Integer(number) => number.to_string(),
        Toml::Boolean(bool) => bool.to_string(),
        Toml::Array(items) => format!("[{}]", items.iter().map(stated).collect::<Vec<_>>().join(", ")),
        other => format!("a {}", other.type_str()),
    }
}
