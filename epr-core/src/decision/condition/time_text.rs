//! The text forms of timestamps and durations.
//!
//! Owns the two readers, and the ranges of both types in nanoseconds.

use time::{Date, Month};

/// The first timestamp: 0001-01-01T00:00:00Z, in nanoseconds since 1970.
pub(super) const MIN_TIMESTAMP: i128 = -62_135_596_800 * SECOND;

/// The last timestamp: 9999-12-31T23:59:59.999999999Z.
pub(super) const MAX_TIMESTAMP: i128 = 253_402_300_800 * SECOND - 1;

const SECOND: i128 = 1_000_000_000;

/// The longest text of a duration, in bytes.
const MAX_DURATION_BYTES: usize = 64;

/// Reads RFC 3339 with an offset: `2026-01-31T09:30:00Z`, `2026-01-31T10:30:00.5+01:00`. At most nine digits of a
/// second; no leap seconds. The result is in nanoseconds since 1970, UTC, within the years 1 to 9999.
pub(super) fn timestamp(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    let part = |at: usize, length: usize| digits(bytes.get(at..at + length)?);
    let is = |at: usize, byte: u8| bytes.get(at) == Some(&byte);
    if !(is(4, b'-') && is(7, b'-') && is(10, b'T') && is(13, b':') && is(16, b':')) {
        return None;
    }
    let month = Month::try_from(u8::try_from(part(5, 2)?).ok()?).ok()?;
    let day = u8::try_from(part(8, 2)?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(part(0, 4)?).ok()?, month, day).ok()?;
    let (hour, minute, second) = (part(11, 2)?, part(14, 2)?, part(17, 2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = fraction(bytes.get(19..)?)?;
    let days = i64::from(date.to_julian_day()) - 2_440_588;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset(zone)?;
    let nanos = i128::from(seconds) * SECOND + i128::from(fraction);
    (MIN_TIMESTAMP..=MAX_TIMESTAMP).contains(&nanos).then_some(nanos)
}

/// The value of a few digits; `None` if there are other bytes.
fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
}

/// The nanoseconds of `.5` at the head of `rest`, and what follows.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(after) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let length = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&length) {
        return None;
    }
    let (fraction, zone) = after.split_at_checked(length)?;
    let scale = 10_i64.pow(9 - u32::try_from(length).ok()?);
    Some((digits(fraction)? * scale, zone))
}

/// The offset from UTC in seconds.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, rest) = match zone {
        [b'Z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let [h1, h2, b':', m1, m2] = rest else {
        return None;
    };
    let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Reads a duration: an optional sign, then numbers with the units `h`, `m`, `s`, `ms`, `us`, `ns`, for example
/// `1h30m` or `-1.5s`; also `0`. What is finer than nanoseconds is cut. The result is in nanoseconds.
pub(super) fn duration(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned == "0" {
        return Some(0);
    }
    if unsigned.is_empty() || text.len() > MAX_DURATION_BYTES {
        return None;
    }
    let mut rest = unsigned;
    let mut total = 0_i128;
    while !rest.is_empty() {
        let (part, after) = duration_part(rest)?;
        total = total.checked_add(part)?;
        rest = after;
    }
    i64::try_from(if text.starts_with('-') { -total } else { total }).ok()
}

/// The nanoseconds of one number with its unit, and what follows.
fn duration_part(text: &str) -> Option<(i128, &str)> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at_checked(unit_at).filter(|(number, _)| !number.is_empty())?;
    let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(end)?;
    let scale: i128 = match unit {
        "h" => 3_600 * SECOND,
        "m" => 60 * SECOND,
        "s" => SECOND,
        "ms" => 1_000_000,
        "us" => 1_000,
        "ns" => 1,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole_value: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // More digits cannot change the nanoseconds of an hour.
    let fraction_digits = fraction.get(..fraction.len().min(16))?;
    let fraction_value: i128 = if fraction_digits.is_empty() { 0 } else { fraction_digits.parse().ok()? };
    let is_number = number != "." && !fraction.contains('.');
    let divisor = 10_i128.pow(u32::try_from(fraction_digits.len()).ok()?);
    let value = whole_value.checked_mul(scale)?.checked_add(fraction_value * scale / divisor)?;
    is_number.then_some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339_with_an_offset() {
        assert_eq!(timestamp("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(timestamp("1970-01-01T01:00:00.5+01:00"), Some(500_000_000));
        assert_eq!(timestamp("0001-01-01T00:00:00Z"), Some(MIN_TIMESTAMP));
        assert_eq!(timestamp("9999-12-31T23:59:59.999999999Z"), Some(MAX_TIMESTAMP));
        assert_eq!(timestamp("2024-02-29T12:00:00-00:30"), Some(1_709_209_800 * SECOND));
        for text in [
            "",
            "2026-01-31",
            "2026-01-31T09:30:00",
            "2026-01-31 09:30:00Z",
            "2026-01-31T09:30Z",
            "2026-02-29T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T23:59:60Z",
            "2026-01-31t09:30:00z",
            "2026-01-31T09:30:00.Z",
            "2026-01-31T09:30:00.1234567890Z",
            "2026-01-31T09:30:00+0100",
            "2026-01-31T09:30:00+24:00",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "2026-01-31T09:30:00ZZ",
            "2026-1-31T09:30:00Z",
            "+026-01-31T09:30:00Z",
            "1769851800",
            "ä026-01-31T09:30:00Z",
        ] {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("-0", 0),
            ("1s", 1_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("-1.5s", -1_500_000_000),
            ("+2ms", 2_000_000),
            (".5us", 500),
            ("1.s", 1_000_000_000),
            ("1.0000000019s", 1_000_000_001),
            ("9ns", 9),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("0.000000000000000001h", 0),
        ] {
            assert_eq!(duration(text), Some(nanos), "{text}");
        }
        for text in [
            "",
            "-",
            "1",
            "s",
            "1d",
            "1s ",
            " 1s",
            ".s",
            "1..5s",
            "1.5.5s",
            "--1s",
            "1S",
            "9223372036854775808ns",
            "1µs",
            "1e3s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(duration(&format!("{}1s", "0".repeat(70))), None);
    }
}
