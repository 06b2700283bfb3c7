//! Which rules match an event.
//!
//! [`Engine::evaluate`] is what the daemon calls; [`Engine::scan`] says the same in the obvious way, and is there to be compared
//! with. Neither says why: what made a rule match is asked for by itself, where somebody is to be told
//! ([`Engine::evidence`]).

use std::sync::Arc;

use event::Event;

use crate::look::Scratch;
use crate::scan::Program;
use crate::{Engine, Rule, log_source};

/// A rule that matched an event.
#[derive(Clone, Debug)]
pub struct Match {
    pub rule: Arc<Rule>,
    /// Position of its program.
    program: usize,
}

impl Engine {
    /// All rules that match the event, in the order in which they were loaded.
    pub fn evaluate(&self, event: &Event<'_>, scratch: &mut Scratch) -> Vec<Match> {
        let (mut look, routes, marks) = scratch.look(self, event);
        let index = routes.index(self, &event.log_source);
        index.mark(&mut look, marks);
        let matched =
            |(position, left)| self.matched(position, |program| program.holds_left(left, &mut look));
        index.open(marks).filter_map(matched).collect()
    }

    /// How many rules [`evaluate`](Self::evaluate) would look at, found as it finds them and not looked at: for benchmarks, which
    /// tell by it what the index costs.
    pub fn candidates(&self, event: &Event<'_>, scratch: &mut Scratch) -> usize {
        let (mut look, routes, marks) = scratch.look(self, event);
        let index = routes.index(self, &event.log_source);
        index.mark(&mut look, marks);
        index.open(marks).count()
    }

    /// The oracle of [`evaluate`](Self::evaluate): looks at every rule whose log source fits.
    pub fn scan(&self, event: &Event<'_>, scratch: &mut Scratch) -> Vec<Match> {
        let (mut look, ..) = scratch.look(self, event);
        look.is_obvious = true;
        let fits = |rule: &Arc<Rule>| log_source::fits(&rule.log_source, &event.log_source);
        let programs = self.programs.iter().enumerate();
        let fitting = programs.filter(|(_, program)| self.rules.get(program.rule).is_some_and(fits));
        fitting
            .filter_map(|(position, _)| self.matched(position, |program| program.holds(&mut look)))
            .collect()
    }

    fn matched(&self, position: usize, holds: impl FnOnce(&Program) -> bool) -> Option<Match> {
        let program = self.programs.get(position)?;
        let rule = self.rules.get(program.rule)?;
        holds(program).then(|| Match { rule: Arc::clone(rule), program: position })
    }

    /// What made a rule match the event: native fields and their values, at most
    /// [`MATCHED_VALUE_BYTES_MAX`](crate::limits::MATCHED_VALUE_BYTES_MAX) bytes of each. A keyword is reported as `message` with the
    /// keyword. What a rule excludes (`not filter`) is not reported, nor a field that had to be absent.
    pub fn evidence(&self, found: &Match, event: &Event<'_>, scratch: &mut Scratch) -> Vec<(String, String)> {
        let (mut look, ..) = scratch.look(self, event);
        let program = self.programs.get(found.program);
        program.map(|program| program.evidence(&mut look, &self.fields)).unwrap_or_default()
    }
}
