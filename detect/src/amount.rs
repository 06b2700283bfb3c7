//! What the condition of a correlation is asked of: a count, or a measure of numbers, exact to the sixth decimal.
//!
//! Sums are kept as whole millionths, not as doubles: so a window that numbers come into and leave is worth the same as one
//! that is added up anew, in whatever order they came.
//!
//! Limits: a number beyond [`NUMBER_MAX`] is none; what stands after the sixth decimal is rounded.

use std::fmt;

use crate::limits::NUMBER_MAX;

const MILLIONTHS: i128 = 1_000_000;

/// A number of millionths.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Amount(i128);

/// A number as 64 bits that compare as the numbers do: a double's own bits, turned so that negative ones come first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ordered(pub(crate) u64);

const SIGN: u64 = 1 << 63;

impl Amount {
    pub(crate) fn whole(number: i128) -> Self {
        Self(number.saturating_mul(MILLIONTHS))
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    pub(crate) fn times(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times.into()))
    }

    /// Rounded down; none of nothing.
    pub(crate) fn over(self, count: u64) -> Option<Self> {
        self.0.checked_div_euclid(count.into()).map(Self)
    }
}

impl From<u64> for Amount {
    fn from(count: u64) -> Self {
        Self::whole(count.into())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / MILLIONTHS, (self.0 % MILLIONTHS).unsigned_abs());
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(out, "{sign}{}", whole.unsigned_abs())?;
        if rest == 0 {
            return Ok(());
        }
        let decimals = format!("{rest:06}");
        write!(out, ".{}", decimals.trim_end_matches('0'))
    }
}

impl Ordered {
    /// The number that a text is; none when it is no number, or a larger one than any that is measured.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let number: f64 = text.parse().ok()?;
        if !(-NUMBER_MAX..=NUMBER_MAX).contains(&number) {
            return None;
        }
        // There is one zero.
        let bits = if number == 0.0 { 0 } else { number.to_bits() };
        Some(Self(if bits & SIGN == 0 { bits | SIGN } else { !bits }))
    }

    pub(crate) fn amount(self) -> Amount {
        let number = f64::from_bits(if self.0 & SIGN == 0 { !self.0 } else { self.0 & !SIGN });
        // Whole numbers and decimals apart: a product of both would round whole numbers above 2^33.
        let decimals = whole((number.fract() * 1e6).round());
        Amount::whole(whole(number)).plus(Amount(decimals))
    }
}

/// A number without its decimals.
#[allow(clippy::as_conversions, reason = "it saturates, far beyond the largest number")]
fn whole(number: f64) -> i128 {
    number as i128
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        Ordered::read(text).map(|number| number.amount().to_string())
    }

    #[test]
    fn reads_numbers_and_writes_them_as_people_do() {
        for (text, written) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("7", "7"),
            ("-7", "-7"),
            ("0.1", "0.1"),
            ("-0.25", "-0.25"),
            ("999999.9999994", "999999.999999"),
            ("999999.9999996", "1000000"),
            ("1.5e3", "1500"),
            ("9007199254740993", "9007199254740992"),
            ("1000000000000000000", "1000000000000000000"),
        ] {
            assert_eq!(read(text).as_deref(), Some(written), "{text}");
        }
        for text in ["", "x", "nan", "inf", "-inf", "0x10", "1e19", "1,5", " 1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn orders_as_numbers_are() {
        let ordered: Vec<u64> = ["-1e18", "-2", "-1.5", "0", "1e-7", "3", "1e18"]
            .map(|text| Ordered::read(text).unwrap().0)
            .into();
        assert!(ordered.is_sorted());
    }
}
