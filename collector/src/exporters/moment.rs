//! When a flow began and ended, in microseconds since 1970, out of the many ways in which exporters say it.
//!
//! - Uptime in milliseconds of 32 bits (NetFlow 5 and 9), relative to the header's uptime and time: the difference is what
//!   counts, so that the wrap after 49.7 days does no harm. IPFIX has no uptime in its header: there a record or an option
//!   says when the system started, else only the duration is believed and the export is the end.
//! - Absolute seconds, milliseconds, and NTP's format (RFC 7011 section 6.1.7 to 6.1.10); some devices put plain microseconds
//!   since 1970 where NTP's format belongs.
//! - Microseconds before the export; a duration.
//!
//! What cannot be (an end more than 7 days before or 10 minutes after the receipt, a start after the end or 7 days before it)
//! is set to the receipt and counted; a duration that can be is kept.

use event::{Micros, TS_FUTURE_MAX, TS_PAST_MAX};
use netflow_parser::variable_versions::field_value::DurationValue;

const SECOND: Micros = 1_000_000;
/// Seconds from 1900, where NTP begins, to 1970.
const NTP_TO_UNIX_S: u32 = 2_208_988_800;

/// What the header of a message says of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Receipt.
    pub(super) now: Micros,
    /// The exporter's clock when it sent the message.
    pub(super) export: Micros,
    /// Its uptime then, in milliseconds.
    pub(super) uptime_ms: Option<u32>,
    /// When it started, if it says.
    pub(super) started: Option<Micros>,
}

/// What a record says of time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    pub(super) start: Option<Micros>,
    pub(super) end: Option<Micros>,
    pub(super) start_uptime_ms: Option<u32>,
    pub(super) end_uptime_ms: Option<u32>,
    pub(super) start_before_export: Option<Micros>,
    pub(super) end_before_export: Option<Micros>,
    pub(super) duration: Option<Micros>,
    /// When the exporter started.
    pub(super) started: Option<Micros>,
}

/// The times of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Span {
    pub(super) start: Micros,
    pub(super) end: Micros,
    /// What the exporter said cannot be.
    pub(super) clamped: bool,
}

impl Moments {
    /// When the flow was, as far as it is told.
    pub(super) fn span(&self, clock: &Clock) -> Span {
        let (start, end) = (self.start_of(clock), self.end_of(clock));
        let (start, end) = match (start, end) {
            (Some(start), Some(end)) => (start, end),
            (Some(start), None) => (start, start.saturating_add(self.length().unwrap_or(0))),
            (None, Some(end)) => (end.saturating_sub(self.length().unwrap_or(0)), end),
            (None, None) => (clock.export.saturating_sub(self.length().unwrap_or(0)), clock.export),
        };
        sane(start, end, clock.now)
    }

    fn start_of(&self, clock: &Clock) -> Option<Micros> {
        let ago = || self.start_before_export.map(|ago| clock.export.saturating_sub(ago));
        self.start.or_else(ago).or_else(|| clock.at(self.start_uptime_ms?, self.started))
    }

    fn end_of(&self, clock: &Clock) -> Option<Micros> {
        let ago = || self.end_before_export.map(|ago| clock.export.saturating_sub(ago));
        self.end.or_else(ago).or_else(|| clock.at(self.end_uptime_ms?, self.started))
    }

    /// A duration that is told as such, or by two uptimes that cannot be placed.
    fn length(&self) -> Option<Micros> {
        let uptimes = || Some(millis(self.end_uptime_ms?.wrapping_sub(self.start_uptime_ms?).into()));
        self.duration.or_else(uptimes).filter(|length| (0..=TS_PAST_MAX).contains(length))
    }
}

impl Clock {
    /// When the exporter's uptime was `uptime_ms`.
    fn at(&self, uptime_ms: u32, started: Option<Micros>) -> Option<Micros> {
        if let Some(now_ms) = self.uptime_ms {
            // Wraps with the counter; a moment shortly after the header's is as good as one before it.
            let ago_ms = now_ms.wrapping_sub(uptime_ms).cast_signed();
            return Some(self.export.saturating_sub(Micros::from(ago_ms) * 1_000));
        }
        Some(started.or(self.started)?.saturating_add(millis(uptime_ms.into())))
    }
}

fn sane(start: Micros, end: Micros, now: Micros) -> Span {
    let believed = now.saturating_sub(TS_PAST_MAX)..=now.saturating_add(TS_FUTURE_MAX);
    let length = end.saturating_sub(start);
    let long = (0..=TS_PAST_MAX).contains(&length);
    match (believed.contains(&end), long) {
        (true, true) => Span { start, end, clamped: false },
        (true, false) => Span { start: end, end, clamped: true },
        (false, true) => Span { start: now.saturating_sub(length), end: now, clamped: true },
        (false, false) => Span { start: now, end: now, clamped: true },
    }
}

/// Milliseconds as microseconds.
pub(super) fn millis(number: u64) -> Micros {
    Micros::try_from(number).unwrap_or(Micros::MAX).saturating_mul(1_000)
}

/// Seconds as microseconds.
pub(super) fn seconds(number: u64) -> Micros {
    Micros::try_from(number).unwrap_or(Micros::MAX).saturating_mul(SECOND)
}

/// An absolute time of a record.
pub(super) fn absolute(value: &DurationValue) -> Micros {
    match value {
        DurationValue::Seconds { value, .. } => seconds(*value),
        DurationValue::Millis { value, .. } => millis(*value),
        DurationValue::MicrosNtp { seconds, fraction } | DurationValue::NanosNtp { seconds, fraction } => {
            ntp(*seconds, *fraction)
        }
    }
}

/// NTP's era 0 ends in 2036; before it, seconds below 1970 are no NTP but plain microseconds.
fn ntp(whole: u32, fraction: u32) -> Micros {
    match whole.checked_sub(NTP_TO_UNIX_S) {
        Some(since_1970) => {
            let micros = (u64::from(fraction) * 1_000_000) >> 32;
            seconds(since_1970.into()).saturating_add(Micros::try_from(micros).unwrap_or(0))
        }
        None => Micros::try_from(u64::from(whole) << 32 | u64::from(fraction)).unwrap_or(Micros::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_700_000_000 * SECOND;

    fn clock(uptime_ms: Option<u32>) -> Clock {
        Clock { now: NOW, export: NOW - SECOND, uptime_ms, started: None }
    }

    fn uptimes(start: u32, end: u32) -> Moments {
        Moments { start_uptime_ms: Some(start), end_uptime_ms: Some(end), ..Moments::default() }
    }

    #[test]
    fn places_uptimes_by_the_header_across_the_wrap() {
        let span = uptimes(5_000, 9_000).span(&clock(Some(10_000)));
        assert_eq!(span, Span { start: NOW - 6 * SECOND, end: NOW - 2 * SECOND, clamped: false });
        let span = uptimes(u32::MAX - 4_999, 1_000).span(&clock(Some(2_000)));
        assert_eq!(span, Span { start: NOW - 8 * SECOND, end: NOW - 2 * SECOND, clamped: false });
        let span = uptimes(10_500, 10_500).span(&clock(Some(10_000)));
        assert_eq!(span.end, NOW - SECOND / 2, "a moment after the header's");
    }

    #[test]
    fn places_uptimes_by_the_start_of_the_system_else_keeps_the_duration() {
        let started = Clock { started: Some(NOW - 100 * SECOND), ..clock(None) };
        let span = uptimes(50_000, 60_000).span(&started);
        assert_eq!((span.start, span.end), (NOW - 50 * SECOND, NOW - 40 * SECOND));
        let span = uptimes(50_000, 60_000).span(&clock(None));
        assert_eq!((span.start, span.end), (NOW - 11 * SECOND, NOW - SECOND));
    }

    #[test]
    fn completes_what_a_record_leaves_out() {
        let told = |moments: Moments| {
            let span = moments.span(&clock(None));
            (span.start, span.end, span.clamped)
        };
        let none = Moments::default();
        assert_eq!(told(none), (NOW - SECOND, NOW - SECOND, false));
        let start = Moments { start: Some(NOW - 9 * SECOND), duration: Some(SECOND), ..none };
        assert_eq!(told(start), (NOW - 9 * SECOND, NOW - 8 * SECOND, false));
        let delta =
            Moments { start_before_export: Some(3 * SECOND), end_before_export: Some(SECOND), ..none };
        assert_eq!(told(delta), (NOW - 4 * SECOND, NOW - 2 * SECOND, false));
    }

    #[test]
    fn sets_what_cannot_be_to_the_receipt() {
        let told = |start, end| {
            Moments { start: Some(start), end: Some(end), ..Moments::default() }.span(&clock(None))
        };
        let week = TS_PAST_MAX;
        assert!(!told(NOW - week, NOW - week).clamped);
        assert_eq!(told(0, 0), Span { start: NOW, end: NOW, clamped: true });
        assert_eq!(told(0, 5 * SECOND), Span { start: NOW - 5 * SECOND, end: NOW, clamped: true });
        assert_eq!(told(NOW, NOW - 1), Span { start: NOW - 1, end: NOW - 1, clamped: true });
        assert_eq!(told(0, NOW), Span { start: NOW, end: NOW, clamped: true });
        assert!(told(NOW, NOW + TS_FUTURE_MAX + 1).clamped);
        assert!(!told(NOW, NOW + TS_FUTURE_MAX).clamped);
        assert!(told(Micros::MIN, Micros::MAX).clamped);
    }

    #[test]
    fn reads_the_format_of_ntp_and_what_is_put_in_its_place() {
        assert_eq!(ntp(NTP_TO_UNIX_S + 10, 1 << 31), 10 * SECOND + SECOND / 2);
        let plain = u64::try_from(NOW).unwrap();
        let (high, low) = (u32::try_from(plain >> 32).unwrap(), u32::try_from(plain & 0xFFFF_FFFF).unwrap());
        assert_eq!(ntp(high, low), NOW);
    }
}
