//! Sampling rates: how many packets stand behind the one that an exporter looked at.
//!
//! A record says it itself, or names a sampler that an options record described, or the options record holds for an interface or
//! for the whole observation domain. What no record ever said is what the operator says (`exporters.known`), else not known: 0.
//! RFC 7011 section 5, RFC 5477 (selectors), and NetFlow 9's fields 34, 48 and 50.
//!
//! Limits: [`RATES_MAX`] samplers and as many interfaces of a stream; the rest counts as not known. A rate above [`RATE_MAX`] is
//! not believed.

use std::collections::HashMap;

/// Samplers, or interfaces, of a stream. Large chassis have some hundreds of interfaces.
const RATES_MAX: usize = 1_024;
/// Devices sample one of 65,536 packets at most; beyond 16 million the field is something else.
const RATE_MAX: u64 = 1 << 24;

/// What a record says of sampling.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// One of so many (NetFlow 9's fields 34 and 50).
    pub(super) interval: Option<u64>,
    /// So many in a row are taken (RFC 5477 section 8.2) ...
    pub(super) taken: Option<u64>,
    /// ... and so many in a row are not; or so many of a population.
    pub(super) skipped: Option<u64>,
    pub(super) population: Option<u64>,
    /// Which sampler, or selector.
    pub(super) sampler: Option<u64>,
}

/// What an options record holds for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    Domain,
    Interface(u32),
}

/// The rates that a stream's options told.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    domain: Option<u32>,
    samplers: HashMap<u64, u32>,
    interfaces: HashMap<u32, u32>,
}

impl Told {
    /// One of how many, if it is said. Zero is said by devices that leave the field empty.
    pub(super) fn rate(&self) -> Option<u32> {
        let taken = self.taken.filter(|taken| *taken > 0);
        let rate = self
            .interval
            .filter(|interval| *interval > 0)
            .or_else(|| Some(self.population? / taken?))
            .or_else(|| Some(taken?.saturating_add(self.skipped?) / taken?))
            // NetFlow 9's `samplingPacketInterval` alone is one of so many.
            .or(taken)?;
        u32::try_from(rate).ok().filter(|rate| (1..=RATE_MAX).contains(&u64::from(*rate)))
    }
}

impl Sampling {
    /// An options record.
    pub(super) fn learn(&mut self, scope: Scope, told: &Told) {
        let Some(rate) = told.rate() else { return };
        match (told.sampler, scope) {
            (Some(sampler), _) => remember(&mut self.samplers, sampler, rate),
            (None, Scope::Interface(interface)) => remember(&mut self.interfaces, interface, rate),
            (None, Scope::Domain) => self.domain = Some(rate),
        }
    }

    /// The rate of a record that came in by `interface`.
    pub(super) fn rate(&self, told: &Told, interface: u32) -> Option<u32> {
        told.rate()
            .or_else(|| self.samplers.get(&told.sampler?).copied())
            .or_else(|| self.interfaces.get(&interface).copied())
            .or(self.domain)
            .or_else(|| self.only_sampler(told))
    }

    /// Devices with a single sampler do not always name it.
    fn only_sampler(&self, told: &Told) -> Option<u32> {
        let one = told.sampler.is_none_or(|sampler| sampler == 0) && self.samplers.len() == 1;
        one.then(|| self.samplers.values().next().copied()).flatten()
    }
}

fn remember<K: Eq + std::hash::Hash>(rates: &mut HashMap<K, u32>, key: K, rate: u32) {
    if rates.len() < RATES_MAX || rates.contains_key(&key) {
        rates.insert(key, rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(interval: u64) -> Told {
        Told { interval: Some(interval), ..Told::default() }
    }

    #[test]
    fn reads_each_way_of_saying_a_rate() {
        assert_eq!(interval(1_000).rate(), Some(1_000));
        assert_eq!(interval(0).rate(), None);
        assert_eq!(interval(RATE_MAX).rate(), Some(1 << 24));
        assert_eq!(interval(RATE_MAX + 1).rate(), None);
        let count = Told { taken: Some(1), skipped: Some(999), ..Told::default() };
        assert_eq!(count.rate(), Some(1_000));
        let of = Told { taken: Some(2), population: Some(4_096), ..Told::default() };
        assert_eq!(of.rate(), Some(2_048));
        assert_eq!(Told { taken: Some(0), population: Some(9), ..Told::default() }.rate(), None);
        assert_eq!(Told { taken: Some(512), ..Told::default() }.rate(), Some(512));
        let edge = Told { taken: Some(u64::MAX), skipped: Some(u64::MAX), ..Told::default() };
        assert_eq!(edge.rate(), Some(1));
    }

    #[test]
    fn believes_the_record_then_its_sampler_then_the_interface_then_the_domain() {
        let mut sampling = Sampling::default();
        assert_eq!(sampling.rate(&Told::default(), 3), None);
        sampling.learn(Scope::Domain, &interval(10));
        sampling.learn(Scope::Interface(3), &interval(20));
        sampling.learn(Scope::Domain, &Told { sampler: Some(7), ..interval(30) });
        let named = Told { sampler: Some(7), ..Told::default() };
        assert_eq!(sampling.rate(&Told::default(), 1), Some(10));
        assert_eq!(sampling.rate(&Told::default(), 3), Some(20));
        assert_eq!(sampling.rate(&named, 3), Some(30));
        assert_eq!(sampling.rate(&Told { interval: Some(40), ..named }, 3), Some(40));
    }

    #[test]
    fn takes_the_only_sampler_for_records_that_name_none() {
        let mut sampling = Sampling::default();
        sampling.learn(Scope::Domain, &Told { sampler: Some(1), ..interval(100) });
        assert_eq!(sampling.rate(&Told::default(), 0), Some(100));
        sampling.learn(Scope::Domain, &Told { sampler: Some(2), ..interval(200) });
        assert_eq!(sampling.rate(&Told::default(), 0), None);
    }

    #[test]
    fn keeps_a_bounded_number_of_rates() {
        let mut sampling = Sampling::default();
        for interface in 0..5_000 {
            sampling.learn(Scope::Interface(interface), &interval(7));
        }
        assert_eq!(sampling.interfaces.len(), RATES_MAX);
        sampling.learn(Scope::Interface(0), &interval(8));
        assert_eq!(sampling.rate(&Told::default(), 0), Some(8), "what is known may change");
    }
}
