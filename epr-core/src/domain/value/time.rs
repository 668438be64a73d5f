//! Points in time: UTC, whole microseconds, years 1 to 9999.
//!
//! Both databases store microseconds. A clock's nanoseconds are cut here, before a time is compared, stored or hashed,
//! so that a stored time equals the one that was written. Must never read a clock.

use std::fmt;
use std::num::NonZeroI64;
use std::ops::Range;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::digits::write_digits;

/// Microseconds from 1970 back to the microsecond before the year 1.
const BEFORE_YEAR_1: i64 = -62_135_596_800_000_001;
/// Microseconds from 1970 to the last one of the year 9999.
const MAX_MICROS: i64 = 253_402_300_799_999_999;

/// A point in time in UTC, cut to microseconds: those since the microsecond before the year 1. Never zero, so that an
/// optional time takes eight bytes, too: the registry in memory has two times for each assignment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(NonZeroI64);

/// Epoch time above this, either way from 1970, is in milliseconds: as seconds it would be after the year 2603.
pub const MAX_EPOCH_SECONDS: u64 = 20_000_000_000;

/// `text` as RFC 3339, if it is a date, a time without seconds, or has an offset without colon or minutes.
fn completed(text: &str) -> Option<String> {
    let (date, clock) = text.split_at_checked(10)?;
    if clock.is_empty() {
        return Some(format!("{date}T00:00:00Z"));
    }
    let clock = clock.strip_prefix(['T', 't', ' ', '_'])?;
    // In a query string, `+` is a space.
    let zone_at = clock.find(['Z', 'z', '+', '-', ' ']).unwrap_or(clock.len());
    let (time, zone) = clock.split_at_checked(zone_at)?;
    let seconds = if time.len() == "HH:MM".len() { ":00" } else { "" };
    let zone = match zone.replace(' ', "+") {
        zone if zone.is_empty() || zone.eq_ignore_ascii_case("z") => "Z".to_owned(),
        zone => {
            let digits = zone.get(1..)?.replace(':', "");
            let (hours, minutes) = match digits.len() {
                2 => (digits.as_str(), "00"),
                4 => digits.split_at_checked(2)?,
                _ => return None,
            };
            format!("{}{hours}:{minutes}", zone.get(..1)?)
        }
    };
    Some(format!("{date}T{time}{seconds}{zone}"))
}

/// The text is not an RFC 3339 timestamp between the years 1 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Input should be a valid RFC 3339 timestamp between the years 1 and 9999")]
pub struct TimeError;

impl Timestamp {
    /// Converts to UTC and cuts to microseconds.
    ///
    /// # Errors
    /// The year is outside 1 to 9999 in UTC.
    pub fn new(moment: OffsetDateTime) -> Result<Self, TimeError> {
        let seconds = moment.unix_timestamp().saturating_mul(1_000_000);
        Self::from_unix_micros(seconds.saturating_add(moment.microsecond().into()))
    }

    /// From microseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// The year is outside 1 to 9999.
    pub fn from_unix_micros(micros: i64) -> Result<Self, TimeError> {
        if micros > MAX_MICROS {
            return Err(TimeError);
        }
        let since = micros.checked_sub(BEFORE_YEAR_1).filter(|since| *since > 0);
        since.and_then(NonZeroI64::new).map(Self).ok_or(TimeError)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn unix_micros(self) -> i64 {
        self.0.get() + BEFORE_YEAR_1
    }

    /// Reads RFC 3339. An offset is converted, a missing one means UTC, a space may stand for the `T`, digits
    /// beyond microseconds are cut.
    ///
    /// # Errors
    /// Anything else, and years outside 1 to 9999.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let text = text.trim();
        let mut normal = text.to_owned();
        if text.as_bytes().get(10) == Some(&b' ') {
            normal.replace_range(10..11, "T");
        }
        let with_zone = normal.get(11..).is_some_and(|clock| clock.contains(['Z', 'z', '+', '-']));
        if !with_zone {
            normal.push('Z');
        }
        OffsetDateTime::parse(&normal, &Rfc3339).map_err(|_| TimeError).and_then(Self::new)
    }

    /// Reads what callers of the older implementation send beside RFC 3339: a date alone (midnight), a time without
    /// seconds, an offset without colon or minutes, epoch time.
    ///
    /// # Errors
    /// Anything else, and years outside 1 to 9999.
    pub fn parse_any(text: &str) -> Result<Self, TimeError> {
        let text = text.trim();
        Self::parse(text).or_else(|error| {
            if let Ok(number) = text.parse::<i64>() {
                return Self::from_epoch_integer(number);
            }
            // Digits and a point only: `parse` also reads `inf` and `1e3`.
            if text.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit() || b == b'.') {
                return text.parse().map_err(|_| error).and_then(Self::from_epoch);
            }
            Self::parse(&completed(text).ok_or(error)?)
        })
    }

    /// From epoch time: seconds, or milliseconds above [`MAX_EPOCH_SECONDS`].
    ///
    /// # Errors
    /// The year is outside 1 to 9999.
    pub fn from_epoch_integer(number: i64) -> Result<Self, TimeError> {
        let scale = if number.unsigned_abs() > MAX_EPOCH_SECONDS { 1_000 } else { 1_000_000 };
        number.checked_mul(scale).ok_or(TimeError).and_then(Self::from_unix_micros)
    }

    /// From epoch time with a fraction, rounded to microseconds: seconds, or milliseconds above [`MAX_EPOCH_SECONDS`].
    ///
    /// # Errors
    /// The year is outside 1 to 9999.
    pub fn from_epoch(number: f64) -> Result<Self, TimeError> {
        #[expect(clippy::cast_precision_loss, reason = "exact")]
        let scale = if number.abs() > MAX_EPOCH_SECONDS as f64 { 1e3 } else { 1e6 };
        let micros = (number * scale).round();
        // Far more than the year 9999, and exact as an integer.
        if micros.is_nan() || micros.abs() > 1e18 {
            return Err(TimeError);
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
        Self::from_unix_micros(micros as i64)
    }

    /// The time as a value of the `time` crate.
    #[must_use]
    pub fn into_inner(self) -> OffsetDateTime {
        let micros = self.unix_micros();
        let seconds = OffsetDateTime::from_unix_timestamp(micros.div_euclid(1_000_000));
        // The crate has every second of the years 1 to 9999.
        let seconds = seconds.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        seconds + time::Duration::microseconds(micros.rem_euclid(1_000_000))
    }

    /// The time without its zone, which is UTC.
    #[must_use]
    pub fn utc(self) -> PrimitiveDateTime {
        let at = self.into_inner();
        PrimitiveDateTime::new(at.date(), at.time())
    }

    /// The time `seconds` later; the same time when that is after the year 9999.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        let later = seconds.checked_mul(1_000_000).and_then(|micros| self.unix_micros().checked_add(micros));
        later.and_then(|later| Self::from_unix_micros(later).ok()).unwrap_or(self)
    }
}

/// Reads RFC 3339: see [`Timestamp::parse`].
///
/// ```
/// use epr_core::domain::Timestamp;
///
/// let at: Timestamp = "2026-01-31T10:30:00+01:00".parse()?;
/// assert_eq!(at.to_string(), "2026-01-31T09:30:00.000000Z");
/// # Ok::<_, epr_core::domain::time::TimeError>(())
/// ```
impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        Self::parse(text)
    }
}

impl fmt::Display for Timestamp {
    /// `YYYY-MM-DDTHH:MM:SS.ffffffZ`: always 27 characters, so that text order is time order. By hand, because every
    /// line of the log and every ledger entry has a time: formatting each number by itself takes ten times as long.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.into_inner();
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |place: Range<usize>, number: u32| {
            write_digits(text.get_mut(place).unwrap_or_default(), number.into());
        };
        put(0..4, at.year().unsigned_abs());
        put(5..7, u8::from(at.month()).into());
        put(8..10, at.day().into());
        put(11..13, at.hour().into());
        put(14..16, at.minute().into());
        put(17..19, at.second().into());
        put(20..26, at.microsecond());
        // Digits are ASCII.
        out.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        Timestamp::parse(text).map_or_else(|_| "refused".into(), |at| at.to_string())
    }

    #[test]
    fn reads_the_contracts_forms() {
        assert_eq!(read("2025-10-22T05:38:53Z"), "2025-10-22T05:38:53.000000Z");
        assert_eq!(read("2025-10-22T07:38:53.000001+02:00"), "2025-10-22T05:38:53.000001Z");
        assert_eq!(read("1999-12-31T23:59:59.999999-11:30"), "2000-01-01T11:29:59.999999Z");
        assert_eq!(read("2025-10-22T05:38:53"), "2025-10-22T05:38:53.000000Z");
        assert_eq!(read("2025-10-22 05:38:53.5"), "2025-10-22T05:38:53.500000Z");
        assert_eq!(read("2025-10-22t05:38:53.1234569z"), "2025-10-22T05:38:53.123456Z");
    }

    #[test]
    fn invalid_times_and_times_outside_the_calendar_are_refused() {
        for text in [
            "",
            "yesterday",
            "2025-13-01T00:00:00Z",
            "2025-02-30T00:00:00Z",
            "0000-06-01T00:00:00Z",
            "2025-10-22",
            "9999-12-31T23:59:59-01:00",
            "0001-01-01T00:00:00+01:00",
            "1700000000",
            "2025-10-22T05:38:53+25:00",
            "ä025-10-22é",
        ] {
            assert_eq!(read(text), "refused", "{text}");
        }
    }

    #[test]
    fn reads_the_forms_of_older_callers() {
        for (text, expected) in [
            ("2025-10-22", "2025-10-22T00:00:00.000000Z"),
            ("2025-10-22T05:38", "2025-10-22T05:38:00.000000Z"),
            ("2025-10-22 05:38Z", "2025-10-22T05:38:00.000000Z"),
            ("2025-10-22T05:38+0200", "2025-10-22T03:38:00.000000Z"),
            ("2025-10-22T05:38:53+0000", "2025-10-22T05:38:53.000000Z"),
            ("2025-10-22T05:38:53.5-0130", "2025-10-22T07:08:53.500000Z"),
            ("2025-10-22T05:38:53+00", "2025-10-22T05:38:53.000000Z"),
            ("2025-10-22T05:38:53 00:00", "2025-10-22T05:38:53.000000Z"),
            ("1761111533", "2025-10-22T05:38:53.000000Z"),
            ("1761111533123", "2025-10-22T05:38:53.123000Z"),
            ("1761111533.25", "2025-10-22T05:38:53.250000Z"),
            ("-1", "1969-12-31T23:59:59.000000Z"),
            ("0", "1970-01-01T00:00:00.000000Z"),
            ("20000000000", "2603-10-11T11:33:20.000000Z"),
            ("20000000001", "1970-08-20T11:33:20.001000Z"),
            (" 2025-10-22T05:38:53Z ", "2025-10-22T05:38:53.000000Z"),
        ] {
            assert_eq!(Timestamp::parse_any(text).map(|at| at.to_string()), Ok(expected.to_owned()), "{text}");
        }
        assert_eq!(Timestamp::from_epoch(1_761_111_533_123.5).unwrap().to_string(), "2025-10-22T05:38:53.123500Z");
        for text in [
            "",
            "yesterday",
            "inf",
            "NaN",
            "1e9",
            "--1",
            ".",
            "2025-10",
            "2025-13-01",
            "2025-10-22T",
            "2025-10-22T05",
            "2025-10-22T05:38+2",
            "2025-10-22T05:38+25:00",
            "2025-10-22X05:38",
            "99999999999999999999",
            "ä025-10-22é",
            "2025-10-22T05:38:53+00:00:00",
        ] {
            assert!(Timestamp::parse_any(text).is_err(), "{text}");
        }
        assert!(Timestamp::from_epoch(f64::NAN).is_err() && Timestamp::from_epoch(f64::INFINITY).is_err());
        assert!(Timestamp::from_epoch_integer(i64::MIN).is_err());
    }

    #[test]
    fn microseconds_round_trip() {
        for (text, micros) in [
            ("0001-01-01T00:00:00.000000Z", BEFORE_YEAR_1 + 1),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("1970-01-01T00:00:00.000000Z", 0),
            ("2025-10-22T05:38:53.123456Z", 1_761_111_533_123_456),
            ("9999-12-31T23:59:59.999999Z", MAX_MICROS),
        ] {
            let at = Timestamp::parse(text).unwrap();
            assert_eq!((at.unix_micros(), at.to_string().as_str()), (micros, text));
            assert_eq!(Timestamp::from_unix_micros(micros), Ok(at));
            assert_eq!(Timestamp::new(at.into_inner()), Ok(at));
        }
        for micros in [i64::MIN, BEFORE_YEAR_1, MAX_MICROS + 1, i64::MAX] {
            assert_eq!(Timestamp::from_unix_micros(micros), Err(TimeError));
        }
        let last = Timestamp::from_unix_micros(MAX_MICROS).unwrap();
        assert_eq!(last.plus_seconds(1), last);
        assert_eq!(last.plus_seconds(-1).unix_micros(), MAX_MICROS - 1_000_000);
        assert_eq!(size_of::<Option<Timestamp>>(), 8);
    }
}
