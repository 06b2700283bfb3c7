//! The systems of an inventory, judged by decrees: parts before the whole.

use std::collections::BTreeMap;

use crate::inventory::{DEPTH_MAX, Inventory, SystemIndex};
use crate::level::{Decree, Decrees, Judgement, Part};

impl Inventory {
    /// What a decree says of a system.
    pub(crate) fn judge<'d>(&self, index: SystemIndex, decree: &'d Decree) -> Judgement<'d> {
        self.judge_within(index, decree, 0)
    }

    /// What every decree says of a system, from the oldest decree.
    pub(crate) fn judge_all<'d>(&self, index: SystemIndex, decrees: &'d Decrees) -> Vec<Judgement<'d>> {
        decrees.iter().map(|decree| self.judge(index, decree)).collect()
    }

    fn judge_within<'d>(&self, index: SystemIndex, decree: &'d Decree, depth: usize) -> Judgement<'d> {
        let system = self.system(index);
        let part = |component: SystemIndex| {
            let judgement = self.judge_within(component, decree, depth + 1);
            let name = self.system(component).name.clone();
            Part { name, level: judgement.level, needs_review: judgement.needs_review() }
        };
        // A circle is refused when the inventory is read; whoever looks at a refused one must come to an end.
        let components = system.components.iter().filter(|_| depth < DEPTH_MAX);
        let parts: Vec<Part> =
            components.filter_map(|component| self.by_id(&component.value)).map(part).collect();
        let stated: BTreeMap<String, toml::Value> =
            (system.facts.iter().flatten()).map(|(name, fact)| (name.clone(), fact.value.clone())).collect();
        let facts = decree.facts(&stated);
        let own = system.facts.is_some() || parts.is_empty();
        decree.judge(own.then_some(&facts), parts)
    }
}
