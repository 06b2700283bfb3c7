//! A long list of values of which one must be met, asked at once.
//!
//! Rules exclude hundreds of paths, or name all tools of a kind. Their literals are looked for together
//! ([`literals`](crate::literals)); what is no folded literal is asked one by one, as [`scan`](crate::scan) does with all.

use crate::literals::Literals;
use crate::look::Look;
use crate::predicate::Predicate;

/// Shortest list that is worth the preparation.
const VALUES_MIN: usize = 8;

/// The values of one item.
#[derive(Debug)]
pub(crate) struct AnyOf {
    literals: Literals,
    /// Positions of the predicates that are none of the literals.
    others: Vec<usize>,
}

impl AnyOf {
    /// None: the list is short.
    pub(crate) fn new(predicates: &[Predicate]) -> Option<Box<Self>> {
        let literals = predicates.iter().filter_map(Predicate::folded_literal);
        let literals: Vec<_> = literals.map(|(place, literal)| (place, literal.to_owned())).collect();
        let is_other = |(_, predicate): &(usize, &Predicate)| predicate.folded_literal().is_none();
        let others = predicates.iter().enumerate().filter(is_other).map(|(position, _)| position).collect();
        (literals.len() >= VALUES_MIN).then(|| Box::new(Self { literals: Literals::new(literals), others }))
    }

    /// Whether one of the list is met by one of the field's values.
    pub(crate) fn holds(&self, predicates: &[Predicate], field: usize, look: &mut Look<'_, '_>) -> bool {
        let has_literal = |look: &mut Look<'_, '_>, slot| {
            let mut found = false;
            look.show_folded(slot, |text| self.literals.find(text, |_| found = true));
            found
        };
        let mut others = self.others.iter().filter_map(|position| predicates.get(*position));
        look.find(field, has_literal).is_some() || others.any(|other| look.meets(field, other).is_some())
    }
}
