//! Times and periods in arguments: fixed times, and times relative to now.
//!
//! Must never read a clock: a command resolves a relative time with the clock of its backend.

use epr_core::domain::Timestamp;

use crate::output::count;

/// What every option for a time accepts, for the end of a command's help.
macro_rules! times_help {
    () => {
        "TIME is a time such as 2027-01-01T09:30:00Z, a date such as 2027-01-01 (midnight UTC), now, or a period \
         before or after now: a number with m, h, d or w (minutes, hours, days, weeks). +30d is in 30 days, -30d was \
         30 days ago; without a sign, the option says which one it is."
    };
}
pub(crate) use times_help;

/// What is accepted, for errors.
const ACCEPTED: &str = "give a time such as 2027-01-01T09:30:00Z, a date such as 2027-01-01 (midnight UTC), now, or \
                        a period such as +30d or -12h (m, h, d or w)";

/// A hundred years.
const MAX_SECONDS: i64 = 36_525 * 86_400;

/// A time in an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivenTime {
    /// A fixed time.
    At(Timestamp),
    /// This many seconds after now; before now if it is negative.
    FromNow(i64),
}

impl GivenTime {
    /// The time that it is at `now`.
    pub(crate) fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::FromNow(seconds) => now.plus_seconds(seconds),
        }
    }
}

/// Reads a time of an option about the future: `30d` is in 30 days.
pub(crate) fn later(text: &str) -> Result<GivenTime, String> {
    read(text, Some(1))
}

/// Reads a time of an option about the past: `30d` was 30 days ago.
pub(crate) fn earlier(text: &str) -> Result<GivenTime, String> {
    read(text, Some(-1))
}

/// Reads a time of an option that makes sense in both directions: a period needs a sign.
pub(crate) fn either(text: &str) -> Result<GivenTime, String> {
    read(text, None)
}

/// `direction` is the sign of a period without one.
fn read(text: &str, direction: Option<i64>) -> Result<GivenTime, String> {
    if text == "now" {
        return Ok(GivenTime::FromNow(0));
    }
    let date = if text.len() == "2027-01-01".len() { format!("{text}T00:00:00Z") } else { text.to_owned() };
    if let Ok(at) = Timestamp::parse(&date) {
        return Ok(GivenTime::At(at));
    }
    let (sign, period) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(period), _) => (Some(1), period),
        (_, Some(period)) => (Some(-1), period),
        (None, None) => (direction, text),
    };
    let period = read_period(period).ok_or(ACCEPTED)?;
    let sign = sign.ok_or_else(|| format!("`{text}` needs a sign: +{text} is after now, -{text} before now"))?;
    Ok(GivenTime::FromNow(sign * period.seconds))
}

/// A period, and its text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) seconds: i64,
    pub(crate) text: String,
}

/// Reads a period, such as `30d`.
pub(crate) fn period(text: &str) -> Result<Period, String> {
    read_period(text).ok_or_else(|| "give a number with m, h, d or w, such as 30d".to_owned())
}

fn read_period(text: &str) -> Option<Period> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let number: u64 = digits.parse().ok()?;
    let (unit, one, many) = match unit {
        'm' => (60, "minute", "minutes"),
        'h' => (3_600, "hour", "hours"),
        'd' => (86_400, "day", "days"),
        'w' => (7 * 86_400, "week", "weeks"),
        _ => return None,
    };
    let seconds = i64::try_from(number).ok()?.checked_mul(unit)?;
    (1..=MAX_SECONDS).contains(&seconds).then(|| Period { seconds, text: count(number, one, many) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> GivenTime {
        GivenTime::At(Timestamp::parse(text).unwrap())
    }

    #[test]
    fn a_period_without_a_sign_has_the_direction_of_its_option() {
        for (text, seconds) in [("30d", 2_592_000), ("12h", 43_200), ("90m", 5_400), ("2w", 1_209_600)] {
            assert_eq!(later(text), Ok(GivenTime::FromNow(seconds)), "{text}");
            assert_eq!(earlier(text), Ok(GivenTime::FromNow(-seconds)), "{text}");
            let refused = either(text).unwrap_err();
            assert!(refused.contains(&format!("+{text} is after now, -{text} before now")), "{refused}");
            for read in [later, earlier, either] {
                assert_eq!(read(&format!("+{text}")), Ok(GivenTime::FromNow(seconds)), "{text}");
                assert_eq!(read(&format!("-{text}")), Ok(GivenTime::FromNow(-seconds)), "{text}");
            }
        }
    }

    #[test]
    fn fixed_times_are_the_same_for_every_option() {
        for read in [later, earlier, either] {
            assert_eq!(read("now"), Ok(GivenTime::FromNow(0)));
            assert_eq!(read("2027-01-01"), Ok(at("2027-01-01T00:00:00Z")), "midnight UTC");
            assert_eq!(read("2027-01-01T09:30:00Z"), Ok(at("2027-01-01T09:30:00Z")));
            assert_eq!(read("2027-01-01T09:30:00+01:00"), Ok(at("2027-01-01T08:30:00Z")));
        }
    }

    #[test]
    fn other_texts_are_refused_with_what_is_accepted() {
        for text in [
            "",
            "d",
            "30",
            "0d",
            "+-1d",
            "--1d",
            "3y",
            "1d2h",
            "30 d",
            " 30d",
            "99999999999w",
            "1é",
            "é",
            "tomorrow",
            "2027-13-01",
            "2027-02-30",
            "2027-1-1",
            "1700000000",
            "99999999999999999999d",
            "Now",
        ] {
            for read in [later, earlier, either] {
                assert_eq!(read(text), Err(ACCEPTED.to_owned()), "{text}");
            }
        }
    }

    #[test]
    fn relative_times_are_resolved_with_the_given_clock() {
        let now = Timestamp::parse("2026-12-31T23:00:00Z").unwrap();
        let resolved = |text| later(text).unwrap().resolve(now).to_string();
        assert_eq!(resolved("1h"), "2027-01-01T00:00:00.000000Z");
        assert_eq!(resolved("-1d"), "2026-12-30T23:00:00.000000Z");
        assert_eq!(resolved("now"), "2026-12-31T23:00:00.000000Z");
        assert_eq!(resolved("2027-06-01"), "2027-06-01T00:00:00.000000Z");
    }

    #[test]
    fn periods_have_no_sign() {
        let read = |text: &str| period(text).map(|period| (period.seconds, period.text));
        assert_eq!(read("30d"), Ok((2_592_000, "30 days".into())));
        assert_eq!(read("1h"), Ok((3_600, "1 hour".into())));
        for nonsense in ["", "d", "30", "0d", "-1d", "+1d", "3y", "99999999999w", "1é"] {
            assert!(read(nonsense).is_err(), "{nonsense}");
        }
    }
}
