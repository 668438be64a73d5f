//! What the programs that run as functions of AWS Lambda share: their arguments, and the time of an invocation.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use epr_core::domain::Timestamp;

use crate::{Program, stdio};

/// The address that a function asks for events; Lambda sets it.
const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";
/// Part of an invocation's time that is reserved for ending what is in progress.
const END_RESERVE: Duration = Duration::from_secs(1);
/// Part of that time for the answer itself. Lambda kills a process that answers too late.
const ANSWER_RESERVE: Duration = Duration::from_millis(250);
/// The longest time that a process waits, before it is frozen, for connections that are in use.
const REST_TIME: Duration = Duration::from_secs(1);
/// The longest time that a function can have. A deadline further away has another unit.
const MAX_INVOCATION_TIME: Duration = Duration::from_mins(15);
/// Time for the rollback of a transaction that was cut off at the end of an invocation.
pub const ROLLBACK_TIME: Duration = Duration::from_millis(200);

/// Answers the argument of `program`, if there is one, and otherwise runs `start` in Lambda. Lambda gives no argument
/// to the executable of an archive, and the name of a handler to that of an image.
pub fn run(program: &Program, start: impl FnOnce() -> ExitCode) -> ExitCode {
    let in_lambda = std::env::var_os(RUNTIME_API).is_some();
    if let Some(argument) = std::env::args_os().nth(1) {
        let argument = argument.to_string_lossy();
        if !in_lambda || argument.starts_with('-') {
            return program.answer(&argument).unwrap_or_else(|| program.refuse(&argument));
        }
    }
    if !in_lambda {
        let name = program.name;
        return stdio::misconfigured(format_args!(
            "{RUNTIME_API} is not set: {name} runs in AWS Lambda; see {name} --help"
        ));
    }
    start()
}

/// When the parts of an invocation end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The work: what is in progress then is cut off.
    pub work: Instant,
    /// What follows from cutting it off, until only the answer is left.
    pub all: Instant,
}

impl Ends {
    /// The ends of an invocation whose end is `deadline` (milliseconds since 1970); `None` when that is no time. The
    /// emulator for local use sends a duration there.
    #[must_use]
    pub fn of(deadline: u64, now: Timestamp) -> Option<Self> {
        let left = time_left(deadline, now)?;
        let begun = Instant::now();
        let end = |reserve: Duration| begun + left.saturating_sub(reserve.min(left / 4));
        Some(Self { work: end(END_RESERVE), all: end(ANSWER_RESERVE) })
    }
}

/// The time for [`Epr::rest`](epr_core::Epr::rest) in an invocation with these ends.
#[must_use]
pub fn rest_time(ends: Option<Ends>) -> Duration {
    ends.map_or(REST_TIME, |ends| REST_TIME.min(ends.all.saturating_duration_since(Instant::now())))
}

/// The time until `deadline`; `None` when that is no time.
fn time_left(deadline: u64, now: Timestamp) -> Option<Duration> {
    let now = Duration::from_micros(u64::try_from(now.unix_micros()).ok()?);
    let deadline = Duration::from_millis(deadline);
    (deadline.abs_diff(now) <= MAX_INVOCATION_TIME).then(|| deadline.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_milliseconds_since_1970_or_none() {
        let now = Timestamp::from_unix_micros(1_800_000_000_000_000).unwrap();
        assert_eq!(time_left(1_800_000_030_000, now), Some(Duration::from_secs(30)));
        for over in [1_800_000_000_000, 1_799_999_999_999, 1_799_999_400_000] {
            assert_eq!(time_left(over, now), Some(Duration::ZERO));
        }
        for nonsense in [0, 600_000, u64::MAX] {
            assert_eq!(time_left(nonsense, now), None, "{nonsense}");
        }
    }

    #[test]
    fn what_is_cut_off_ends_before_the_answer_and_the_answer_before_the_deadline() {
        let now = Timestamp::from_unix_micros(1_800_000_000_000_000).unwrap();
        for (left, work, all) in [(20_000, 19_000, 19_750), (2_000, 1_500, 1_750), (400, 300, 300), (0, 0, 0)] {
            let begun = Instant::now();
            let ends = Ends::of(1_800_000_000_000 + left, now).unwrap();
            let latest = begun.elapsed();
            for (end, expected) in [(ends.work, work), (ends.all, all)] {
                let earliest = begun + Duration::from_millis(expected);
                assert!(
                    (earliest..=earliest + latest).contains(&end),
                    "{left} ms: {end:?}, and not after {expected} ms"
                );
            }
        }
    }
}
