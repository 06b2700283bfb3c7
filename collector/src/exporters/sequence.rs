//! Sequence numbers of an exporter: what is missing, what came late, and when it began anew.
//!
//! Specifications differ in what they count: NetFlow 5 and IPFIX records, NetFlow 9 and sFlow datagrams; and devices differ from
//! specifications: some count datagrams where they should count records, softflowd numbers a message by the records up to its end
//! and not up to its beginning (RFC 7011, section 3.1). So at the beginning all readings are tried, and the one that held
//! [`CONFIRMED`] times is believed: such a device does not look as if it lost something each time.
//!
//! Numbers are 32 bits and wrap. A step back is a datagram that was overtaken, unless the next one goes on from there: then
//! the exporter began anew.

/// A step forward beyond this is no loss but another sequence: half an hour of 5,000 records a second.
const MISSING_MAX: u32 = 10_000_000;
/// A step back beyond this is no datagram that was overtaken: networks do not hold back a thousand full datagrams.
const REORDER_MAX: u32 = 64_000;
/// So many steps that only one reading explains settle what a device counts.
const CONFIRMED: u8 = 3;

/// The sequence of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    unit: Unit,
    /// How often only this unit explained a step.
    confirmed: u8,
    last: Option<Seen>,
    /// Where the sequence went on if the last datagram, which stepped back, is the first of a new run.
    perhaps: Option<Seen>,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unit {
    /// Records before the datagram.
    Records,
    /// Records up to the datagram's end.
    RecordsBehind,
    Datagrams,
}

/// What a number says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Verdict {
    pub(super) missing: u32,
    pub(super) reordered: bool,
    pub(super) restarted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    number: u32,
    /// `None` when not all sets of the datagram could be counted.
    records: Option<u32>,
}

impl Sequence {
    /// `unit` is what the specification says.
    pub(super) fn new(unit: Unit) -> Self {
        Self { unit, confirmed: 0, last: None, perhaps: None }
    }

    /// Takes note of a datagram's number, and of how many records it holds.
    pub(super) fn came(&mut self, number: u32, records: Option<u32>) -> Verdict {
        let now = Seen { number, records };
        let Some(last) = self.last else {
            self.last = Some(now);
            return Verdict::default();
        };
        self.learn(last, now);
        if last.reaches(now, self.unit) {
            return self.go_on(now, Verdict::default());
        }
        let Some(expected) = last.after(now, self.unit) else { return self.go_on(now, Verdict::default()) };
        let ahead = number.wrapping_sub(expected);
        if ahead <= MISSING_MAX {
            return self.go_on(now, Verdict { missing: ahead, ..Verdict::default() });
        }
        if expected.wrapping_sub(number) > REORDER_MAX {
            return self.go_on(now, Verdict { restarted: true, ..Verdict::default() });
        }
        self.step_back(now)
    }

    /// A number that should have come before: overtaken, or the second one of a new run.
    fn step_back(&mut self, now: Seen) -> Verdict {
        let goes_on = self.perhaps.is_some_and(|first| first.reaches(now, self.unit));
        if goes_on {
            return self.go_on(now, Verdict { restarted: true, ..Verdict::default() });
        }
        self.perhaps = Some(now);
        Verdict { reordered: true, ..Verdict::default() }
    }

    fn go_on(&mut self, now: Seen, verdict: Verdict) -> Verdict {
        self.last = Some(now);
        self.perhaps = None;
        if verdict.restarted {
            self.confirmed = 0;
        }
        verdict
    }

    /// Where only one reading holds, it is this device's, unless another one held before.
    fn learn(&mut self, last: Seen, now: Seen) {
        let units = [Unit::Records, Unit::RecordsBehind, Unit::Datagrams];
        let mut holding = units.into_iter().filter(|unit| last.reaches(now, *unit));
        let (Some(unit), None) = (holding.next(), holding.next()) else { return };
        if unit == self.unit {
            self.confirmed = self.confirmed.saturating_add(1);
        } else if self.confirmed < CONFIRMED {
            (self.unit, self.confirmed) = (unit, 1);
        }
    }
}

impl Seen {
    /// The number that is expected of what comes next.
    fn after(self, next: Self, unit: Unit) -> Option<u32> {
        let step = match unit {
            Unit::Records => self.records?,
            Unit::RecordsBehind => next.records?,
            Unit::Datagrams => 1,
        };
        Some(self.number.wrapping_add(step))
    }

    fn reaches(self, next: Self, unit: Unit) -> bool {
        self.after(next, unit) == Some(next.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Verdict = Verdict { missing: 0, reordered: false, restarted: false };

    fn missing(missing: u32) -> Verdict {
        Verdict { missing, ..FINE }
    }

    #[test]
    fn counts_what_is_missing_across_the_wrap() {
        let mut sequence = Sequence::new(Unit::Records);
        assert_eq!(sequence.came(u32::MAX - 29, Some(30)), FINE);
        assert_eq!(sequence.came(0, Some(30)), FINE);
        assert_eq!(sequence.came(60, Some(30)), missing(30));
        let mut sequence = Sequence::new(Unit::Datagrams);
        assert_eq!(sequence.came(u32::MAX, Some(7)), FINE);
        assert_eq!(sequence.came(2, Some(7)), missing(2));
    }

    #[test]
    fn tells_an_overtaken_datagram_from_a_new_beginning() {
        let mut sequence = Sequence::new(Unit::Datagrams);
        for number in [500, 501] {
            assert_eq!(sequence.came(number, Some(9)), FINE);
        }
        assert_eq!(sequence.came(503, Some(9)), missing(1));
        assert_eq!(sequence.came(502, Some(9)), Verdict { reordered: true, ..FINE });
        assert_eq!(sequence.came(504, Some(9)), FINE);
        assert!(sequence.came(0, Some(9)).reordered, "one step back alone could be either");
        assert!(sequence.came(1, Some(9)).restarted);
        assert_eq!(sequence.came(2, Some(9)), FINE);
    }

    #[test]
    fn takes_a_far_step_as_a_new_beginning() {
        let mut sequence = Sequence::new(Unit::Records);
        sequence.came(3_000_000_000, Some(30));
        assert!(sequence.came(30, Some(30)).restarted);
        assert_eq!(sequence.came(60, Some(30)), FINE);
    }

    #[test]
    fn believes_a_device_that_counts_datagrams_where_it_should_count_records() {
        let mut sequence = Sequence::new(Unit::Records);
        for number in 7..20 {
            assert_eq!(sequence.came(number, Some(25)), FINE);
        }
        assert_eq!(sequence.came(22, Some(25)), missing(2));
    }

    #[test]
    fn believes_a_device_that_counts_up_to_the_end_of_a_message() {
        let mut sequence = Sequence::new(Unit::Records);
        for (number, records) in [(24, 24), (56, 32), (88, 32), (102, 14), (120, 18)] {
            assert_eq!(sequence.came(number, Some(records)), FINE, "{number}");
        }
        assert_eq!(sequence.came(155, Some(30)), missing(5));
    }

    #[test]
    fn does_not_take_a_loss_for_another_way_of_counting() {
        let mut sequence = Sequence::new(Unit::Datagrams);
        for number in 1..=4 {
            assert_eq!(sequence.came(number, Some(25)), FINE);
        }
        assert_eq!(sequence.came(29, Some(25)), missing(24));
    }

    #[test]
    fn expects_nothing_after_a_datagram_that_could_not_be_counted() {
        let mut sequence = Sequence::new(Unit::Records);
        sequence.came(100, None);
        assert_eq!(sequence.came(140, Some(10)), FINE);
        assert_eq!(sequence.came(155, Some(10)), missing(5));
    }
}
