//! Time that moves on: values that depend on `now`, and the moments at which a comparison of them changes.
//!
//! A timestamp or duration that is computed from `now` is a line: its value at `now`, and how much it grows while `now`
//! grows by one unit (`slope`: 1 for `now`, -1 for `context.end - now`, 0 for everything that does not depend on it).
//! Every operation that looks at such a value records when its result changes next.
//!
//! INVARIANT: until the earliest recorded moment, every comparison and every range check has the result that it has
//! now. A new operation on times must go through [`Clock`], or decisions are cached for too long.

use std::cell::Cell;
use std::cmp::Ordering;

use super::outcome::ErrorKind;
use super::syntax::Operator;
use super::time_text::{MAX_TIMESTAMP, MIN_TIMESTAMP};
use crate::domain::Timestamp;

/// Clocks of the service count microseconds; values have nanoseconds.
const NANOS_PER_TICK: i128 = 1_000;

/// A timestamp (nanoseconds since 1970) or a duration (nanoseconds) that may depend on `now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// The value at `now`.
    pub(super) nanos: i128,
    /// Nanoseconds by which the value grows while `now` grows by one nanosecond.
    pub(super) slope: i32,
}

impl Line {
    /// A value that does not depend on `now`.
    pub(super) fn fixed(nanos: i128) -> Self {
        Self { nanos, slope: 0 }
    }
}

/// The present time, and the number of microseconds until the first recorded change.
pub(super) struct Clock {
    now: Timestamp,
    until: Cell<Option<i64>>,
}

impl Clock {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { now, until: Cell::new(None) }
    }

    /// The present time as a value.
    pub(super) fn now(&self) -> Line {
        Line { nanos: i128::from(self.now.unix_micros()) * NANOS_PER_TICK, slope: 1 }
    }

    /// The first recorded moment of a change.
    pub(super) fn until(&self) -> Option<Timestamp> {
        let micros = self.now.unix_micros().checked_add(self.until.get()?)?;
        Timestamp::from_unix_micros(micros).ok()
    }

    /// Takes the record out, so that the changes of one operand stay apart from those of another.
    pub(super) fn take(&self) -> Option<i64> {
        self.until.take()
    }

    /// Adds a change in `ticks` microseconds.
    pub(super) fn record(&self, ticks: Option<i64>) {
        self.until.set(earliest(self.until.get(), ticks));
    }

    /// `left operator right`, for an operator that compares.
    pub(super) fn compare(&self, operator: Operator, left: Line, right: Line) -> bool {
        let difference = left.nanos - right.nanos;
        if left.slope != right.slope {
            let slope = i128::from(left.slope) - i128::from(right.slope);
            self.record(match operator {
                Operator::Less | Operator::GreaterOrEqual => crossing(difference, slope),
                Operator::LessOrEqual | Operator::Greater => crossing(difference - 1, slope),
                _ => meeting(difference, slope),
            });
        }
        holds(operator, difference.cmp(&0))
    }

    /// The timestamp, if it is in the range of its type.
    pub(super) fn timestamp(&self, value: Line) -> Result<Line, ErrorKind> {
        self.within(value, MIN_TIMESTAMP, MAX_TIMESTAMP)
    }

    /// The duration, if it is in the range of its type: 64 bits of nanoseconds, about 292 years.
    pub(super) fn duration(&self, value: Line) -> Result<Line, ErrorKind> {
        self.within(value, i64::MIN.into(), i64::MAX.into())
    }

    fn within(&self, value: Line, min: i128, max: i128) -> Result<Line, ErrorKind> {
        if value.slope != 0 {
            self.record(crossing(value.nanos - min, value.slope.into()));
            self.record(crossing(max - value.nanos, -i128::from(value.slope)));
        }
        if (min..=max).contains(&value.nanos) { Ok(value) } else { Err(ErrorKind::Overflow) }
    }
}

/// Whether `left operator right` holds when `left` has this order relative to `right`.
pub(super) fn holds(operator: Operator, order: Ordering) -> bool {
    match operator {
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
        Operator::NotEqual => order.is_ne(),
        _ => order.is_eq(),
    }
}

pub(super) fn earliest(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The first tick at which `value + tick * slope < 0` is no longer what it is at tick 0.
fn crossing(value: i128, slope: i128) -> Option<i64> {
    let step = slope.checked_mul(NANOS_PER_TICK)?;
    let ticks = match (value < 0, step.signum()) {
        (true, 1) => (-value + step - 1) / step,
        (false, -1) => value / -step + 1,
        _ => return None,
    };
    i64::try_from(ticks).ok()
}

/// The first tick at which `value + tick * slope == 0` is no longer what it is at tick 0.
fn meeting(value: i128, slope: i128) -> Option<i64> {
    let step = slope.checked_mul(NANOS_PER_TICK)?;
    let ticks = match value {
        0 => 1,
        _ if value % step == 0 => -value / step,
        _ => return None,
    };
    i64::try_from(ticks).ok().filter(|ticks| *ticks > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares each answer with a walk over the ticks.
    #[test]
    fn the_first_change_is_the_one_that_a_walk_finds() {
        let walk = |holds: &dyn Fn(i128) -> bool| (1..=40).find(|tick| holds(*tick) != holds(0));
        let small = |tick: Option<i64>| tick.map(i128::from).filter(|tick| *tick <= 40);
        for value in -9_003..=9_003 {
            for slope in [-3, -2, -1, 1, 2, 3] {
                let at = |tick: i128| value + tick * slope * NANOS_PER_TICK;
                assert_eq!(small(crossing(value, slope)), walk(&|tick| at(tick) < 0), "{value} {slope}");
                assert_eq!(small(meeting(value, slope)), walk(&|tick| at(tick) == 0), "{value} {slope}");
            }
        }
    }
}
