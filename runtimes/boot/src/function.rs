//! What the programs that run as functions of AWS Lambda share: their arguments, and the time of an invocation.

use std::process::ExitCode;
use std::time::Duration;

use epr_core::domain::Timestamp;

use crate::{Program, stdio};

/// The address that a function asks for events; Lambda sets it.
const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";
/// Part of an invocation's time that is reserved for the answer.
const ANSWER_RESERVE: Duration = Duration::from_secs(1);
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

/// The time for the work of an invocation that ends at `deadline` (milliseconds since 1970); `None` when `deadline` is
/// no time. The emulator for local use sends a duration there.
#[must_use]
pub fn time_left(deadline: u64, now: Timestamp) -> Option<Duration> {
    let now = Duration::from_micros(u64::try_from(now.unix_micros()).ok()?);
    let deadline = Duration::from_millis(deadline);
    let left = deadline.saturating_sub(now);
    (deadline.abs_diff(now) <= MAX_INVOCATION_TIME).then(|| left.saturating_sub(ANSWER_RESERVE.min(left / 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_milliseconds_since_1970_or_none() {
        let now = Timestamp::from_unix_micros(1_800_000_000_000_000).unwrap();
        assert_eq!(time_left(1_800_000_030_000, now), Some(Duration::from_secs(29)));
        assert_eq!(time_left(1_800_000_002_000, now), Some(Duration::from_millis(1500)));
        for over in [1_800_000_000_000, 1_799_999_999_999, 1_799_999_400_000] {
            assert_eq!(time_left(over, now), Some(Duration::ZERO));
        }
        for nonsense in [0, 600_000, u64::MAX] {
            assert_eq!(time_left(nonsense, now), None, "{nonsense}");
        }
    }
}
