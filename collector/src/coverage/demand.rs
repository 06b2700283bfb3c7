//! Which log sources each system needs: what the decree in force asks of its approved level, and what the inventory asks.

use std::sync::Arc;

use event::Micros;
use jiff::civil::Date;

use crate::evaluate::Places;
use crate::grouping::Place;
use crate::inventory::{Source, System};
use crate::level::{Lang, Provision, SourceDuty};
use crate::priority::Levels;

/// A source that a system needs.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    pub(crate) place: Arc<Place>,
    /// The id of its kind.
    pub(crate) source: String,
    /// What the decree in force says, when its level asks for it.
    pub(crate) law: Option<Provision>,
    /// Whether the inventory asks for it.
    pub(crate) stated: bool,
    pub(crate) silent_after: Micros,
    /// How often its canary must come out as an alert.
    pub(crate) canary: Option<Micros>,
    /// The system that has it for this one: that one is watched, and its silence told.
    pub(crate) by: Option<String>,
    /// Why the inventory says that there is none. Then nobody waits for it.
    pub(crate) absent: Option<String>,
}

/// Everything that systems need on a day, system by system. An unclassified system needs what the inventory asks, and no more;
/// one that has a source for others needs it, too.
pub(crate) fn demands(places: &Places, levels: &Levels, date: Date) -> Vec<Demand> {
    let duties = levels.decrees().in_force(date).map_or(&[][..], |decree| &decree.sources);
    let of_system = |system| of_system(places, levels, duties, system);
    let mut all: Vec<Demand> = places.inventory.systems().iter().flat_map(of_system).collect();
    for number in 0..all.len() {
        let Some(by) = &all[number].by else { continue };
        let place = Arc::clone(places.of(places.inventory.by_id(by)));
        let is_same = |demand: &Demand| {
            demand.place.system_id == place.system_id && demand.source == all[number].source
        };
        if !all.iter().any(is_same) {
            all.push(Demand { place, by: None, ..all[number].clone() });
        }
    }
    all
}

fn of_system(places: &Places, levels: &Levels, duties: &[SourceDuty], system: &System) -> Vec<Demand> {
    let place = places.of(places.inventory.by_id(&system.id));
    let owed = |duty: &&SourceDuty| duty.levels.contains(&system.level());
    let law = duties.iter().filter(owed).map(|duty| &duty.provision);
    let mut wanted: Vec<(&str, Option<&Provision>, Option<&Source>)> =
        law.map(|provision| (&*provision.id, Some(provision), None)).collect();
    for stated in system.sources.iter().map(|source| &source.value) {
        match wanted.iter_mut().find(|(id, _, _)| *id == stated.id) {
            Some((_, _, source)) => *source = Some(stated),
            None => wanted.push((&stated.id, None, Some(stated))),
        }
    }
    let demand = |(id, law, stated): (&str, Option<&Provision>, Option<&Source>)| {
        let kind = levels.sources().kind(levels.sources().by_id(id)?);
        let span = stated.and_then(|source| source.silent_after).unwrap_or(kind.silent_after);
        Some(Demand {
            place: Arc::clone(place),
            source: id.to_owned(),
            law: law.cloned(),
            stated: stated.is_some(),
            silent_after: span.0,
            canary: stated.and_then(|source| source.canary).map(|span| span.0),
            by: stated.and_then(|source| source.by.clone()),
            absent: stated.and_then(|source| source.absent.clone()),
        })
    };
    wanted.into_iter().filter_map(demand).collect()
}

impl Demand {
    /// By whom it is asked for: the article, or the inventory.
    pub(crate) fn asked_by(&self, lang: Lang) -> String {
        let article = self.law.as_ref().and_then(|law| law.citation.as_ref());
        let stated = self.stated.then(|| lang.pick("danh mục hệ thống", "the inventory").to_owned());
        let all: Vec<String> = article.map(|article| article.shown(lang)).into_iter().chain(stated).collect();
        all.join("; ")
    }

    /// What of the law's demand the operator must check.
    pub(crate) fn unsure(&self, lang: Lang) -> Option<&str> {
        Some(self.law.as_ref()?.unsure.as_ref()?.of(lang))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::civil::date;

    use super::*;
    use crate::inventory::Inventory;

    fn asked(text: &str, date: Date) -> Vec<String> {
        let levels =
            Levels::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/levels"), date).unwrap();
        let inventory = Inventory::parse(text, Path::new("systems.toml")).unwrap();
        let shown = |demand: Demand| {
            let seconds = demand.silent_after / 1_000_000;
            let unsure = if demand.unsure(Lang::En).is_some() { ", unsure" } else { "" };
            let absent = if demand.absent.is_some() { ", absent" } else { "" };
            format!("{} {seconds}: {}{unsure}{absent}", demand.source, demand.asked_by(Lang::En))
        };
        demands(&Places::new(inventory), &levels, date).into_iter().map(shown).collect()
    }

    fn system(level: &str, sources: &str) -> String {
        let level = match level {
            "" => String::new(),
            level => format!(
                "[system.level]\napproved = {level}\ndecision = '1'\ndate = '2026-09-30'\nauthority = 'a'\nbasis = 'b'\n"
            ),
        };
        format!(
            "[[organisation]]\nid = 'so'\nname = 'Sở'\n[[system]]\nid = 'web'\nname = 'web'\nowner = 'so'\noperator = 'so'\n\
             sources = {sources}\n{level}"
        )
    }

    #[test]
    fn level_3_needs_what_the_decree_in_force_asks_and_level_2_nothing() {
        let new = date(2026, 10, 1);
        let tcvn = "TCVN 14423:2026, clause 5.13, clause 6.13.2.1, clause 7.13, unsure";
        let tt31 = "Circular 31/2017/TT-BTTTT, Article 5";
        assert_eq!(
            asked(&system("3", "[]"), new),
            [
                format!("server 1800: {tcvn}"),
                format!("flow 900: {tcvn}"),
                format!("web-server 1800: {tt31}, unsure"),
                format!("sensor 900: {tt31}, unsure"),
                format!("firewall 900: {tt31}, unsure"),
            ]
        );
        let old = asked(&system("3", "[]"), date(2020, 1, 1));
        assert_eq!(
            old,
            ["web-server 1800", "sensor 900", "firewall 900"].map(|source| format!("{source}: {tt31}"))
        );
        for level in ["", "1", "2"] {
            assert!(asked(&system(level, "[]"), new).is_empty(), "level {level}");
        }
    }

    #[test]
    fn a_system_that_has_a_source_for_others_needs_it_itself() {
        let other = "[[system]]\nid = 'dc'\nname = 'dc'\nowner = 'so'\noperator = 'so'\n";
        let text = system("3", "[{ id = 'firewall', by = 'dc' }]") + other;
        let levels =
            Levels::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/levels"), date(2026, 10, 1));
        let inventory = Inventory::parse(&text, Path::new("systems.toml")).unwrap();
        let all = demands(&Places::new(inventory), &levels.unwrap(), date(2026, 10, 1));
        let of = |system: &str| {
            let found =
                all.iter().find(|demand| demand.place.system_id == system && demand.source == "firewall");
            found.unwrap().by.clone()
        };
        assert_eq!((of("web").as_deref(), of("dc")), (Some("dc"), None));
        assert_eq!(all.iter().filter(|demand| demand.place.system_id == "dc").count(), 1);
    }

    #[test]
    fn the_inventory_asks_for_more_and_says_how() {
        let sources = "['firewall', { id = 'web-server', silent_after = '5s', canary = '1h' }, { id = 'flow', absent = 'no link' }]";
        let asked_2 = asked(&system("2", sources), date(2026, 10, 1));
        assert_eq!(
            asked_2,
            ["firewall 900: the inventory", "web-server 5: the inventory", "flow 900: the inventory, absent"]
        );
        let asked_3 = asked(&system("3", sources), date(2026, 10, 1));
        assert_eq!(asked_3.len(), 5);
        assert!(asked_3.contains(
            &"web-server 5: Circular 31/2017/TT-BTTTT, Article 5; the inventory, unsure".to_owned()
        ));
    }
}
