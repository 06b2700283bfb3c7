//! The decrees and the inventory of a site, as on a day: what duties, incidents and reports are held against.

use anyhow::{Context, Result, ensure};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::config::Config;
use crate::incident::{Incident, Term};
use crate::inventory::{Inventory, System};
use crate::level::Decree;
use crate::priority::Levels;

/// Both, and the zone whose days count.
pub(crate) struct Books {
    pub(crate) levels: Levels,
    pub(crate) inventory: Inventory,
    pub(crate) zone: TimeZone,
}

impl Books {
    /// Reads them from the files that the configuration names. The retention must be right on the day.
    pub(crate) fn open(config: &Config, date: Date, zone: TimeZone) -> Result<Self> {
        let levels = Levels::load(&config.levels, date).context("the decrees cannot be used")?;
        let inventory = Inventory::load(&config.systems, Some(&levels))?;
        Ok(Self { levels, inventory, zone })
    }

    pub(crate) fn system(&self, id: &str) -> Option<&System> {
        self.inventory.by_id(id).map(|index| self.inventory.system(index))
    }

    /// A name that is mistyped must not read as if all were well.
    pub(crate) fn ensure_known(&self, system: &str) -> Result<()> {
        ensure!(
            self.system(system).is_some(),
            "the inventory has no system {system:?}; `vonggac systems list` shows which there are"
        );
        Ok(())
    }

    /// The decree that was in force when an incident was detected.
    pub(crate) fn decree(&self, incident: &Incident) -> Option<&Decree> {
        incident.decree(self.levels.decrees(), &self.zone)
    }

    /// The deadlines of an incident by that decree; none where no decree was in force.
    pub(crate) fn terms<'b>(&'b self, incident: &'b Incident) -> Vec<Term<'b>> {
        self.decree(incident).map_or(Vec::new(), |decree| incident.terms(decree, &self.zone))
    }
}
