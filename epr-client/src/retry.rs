//! When a call is repeated, and after how long.
//!
//! INVARIANT: a call that may have been carried out is repeated only when repeating it changes nothing (see
//! [`Repeat`]).

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::error::{Error, TransportKind};

/// Whether a call can be repeated when it may have been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Carrying it out twice has the result of once, and the same answer: reads, checks, assignments, archiving.
    Safe,
    /// The service carries it out once for its key and then repeats the answer: it is repeated also when its answer was
    /// lost.
    Keyed,
    /// A second time would change more, or answer differently: it is repeated only if it was certainly not carried out.
    Unsafe,
}

/// How often a call is repeated, and after how long. The wait doubles from `base` with every attempt, to `cap` at
/// most; a random part of up to one half is taken off, so that callers do not return at the same moment. When the
/// service names a time (`Retry-After`), the call waits that long in addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    attempts: u32,
    base: Duration,
    cap: Duration,
    longest_wait: Duration,
}

impl Default for RetryPolicy {
    /// Three attempts, waits of 100 ms to 2 s, and at most 10 s when the service names a time.
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_millis(100),
            cap: Duration::from_secs(2),
            longest_wait: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy {
    /// One attempt: every error is returned at once.
    #[must_use]
    pub fn never() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// At most this many attempts, the first included; at least one.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts: attempts.max(1), ..self }
    }

    /// Waits from `base`, doubling to `cap`.
    #[must_use]
    pub fn backoff(self, base: Duration, cap: Duration) -> Self {
        Self { base, cap, ..self }
    }

    /// The longest wait. When `Retry-After` asks for more, the error is returned at once.
    #[must_use]
    pub fn longest_wait(self, longest_wait: Duration) -> Self {
        Self { longest_wait, ..self }
    }

    /// How long to wait after attempt number `attempt` (from 1) ended with `error`; `None` when the error is final.
    pub(crate) fn wait(&self, attempt: u32, repeat: Repeat, error: &Error) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let named = match error {
            Error::Transport { kind: TransportKind::Connect, .. } => None,
            Error::Transport { kind: TransportKind::Timeout | TransportKind::Interrupted, .. }
                if repeat == Repeat::Keyed =>
            {
                None
            }
            // A rate limit refuses a call before it is carried out; a 503 can follow a change that was committed.
            Error::Unavailable { status, retry_after, .. } if repeat != Repeat::Unsafe || *status == 429 => {
                *retry_after
            }
            _ => return None,
        };
        let wait = named.unwrap_or_default() + self.backoff_after(attempt).mul_f64(rand::random_range(0.5..=1.0));
        (wait <= self.longest_wait).then_some(wait)
    }

    fn backoff_after(&self, attempt: u32) -> Duration {
        let doubled = 2_u32.checked_pow(attempt.saturating_sub(1)).and_then(|factor| self.base.checked_mul(factor));
        doubled.map_or(self.cap, |wait| wait.min(self.cap))
    }
}

/// The time in `Retry-After`, in seconds. The form with a date is ignored: the service does not send it, and it would
/// depend on two clocks.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    // `u64` also takes a plus sign, which the header does not have.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok().map(Duration::from_secs)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable(status: u16, retry_after: Option<u64>) -> Error {
        Error::Unavailable { status, message: "busy".into(), retry_after: retry_after.map(Duration::from_secs) }
    }

    fn transport(kind: TransportKind) -> Error {
        Error::Transport { kind, source: "gone".into() }
    }

    #[test]
    fn a_call_that_may_have_been_carried_out_is_repeated_only_under_a_key() {
        let policy = RetryPolicy::default();
        let repeated = |repeat, error| policy.wait(1, repeat, &error).is_some();
        for repeat in [Repeat::Safe, Repeat::Keyed, Repeat::Unsafe] {
            assert!(repeated(repeat, transport(TransportKind::Connect)));
            assert!(repeated(repeat, unavailable(429, None)));
            assert_eq!(repeated(repeat, unavailable(503, None)), repeat != Repeat::Unsafe);
            for kind in [TransportKind::Timeout, TransportKind::Interrupted] {
                assert_eq!(repeated(repeat, transport(kind)), repeat == Repeat::Keyed);
            }
            assert!(!repeated(repeat, Error::Conflict { message: "taken".into() }));
        }
    }

    #[test]
    fn waits_double_to_a_cap_and_never_begin_before_the_named_time() {
        let policy = RetryPolicy::default().attempts(u32::MAX);
        for (attempt, most) in [(1, 100), (2, 200), (3, 400), (5, 1600), (6, 2000), (7, 2000), (4_000_000, 2000)] {
            for _ in 0..100 {
                let wait = policy.wait(attempt, Repeat::Safe, &unavailable(503, None)).unwrap();
                assert!(wait.as_millis() >= most / 2 && wait.as_millis() <= most, "{attempt}: {wait:?}");
            }
        }
        let named = policy.wait(1, Repeat::Safe, &unavailable(503, Some(3))).unwrap();
        assert!(named >= Duration::from_secs(3) && named < Duration::from_secs(4), "{named:?}");
    }

    #[test]
    fn attempts_and_waits_are_bounded() {
        let policy = RetryPolicy::default();
        assert!(policy.wait(2, Repeat::Safe, &unavailable(503, None)).is_some());
        assert!(policy.wait(3, Repeat::Safe, &unavailable(503, None)).is_none());
        assert!(policy.wait(1, Repeat::Safe, &unavailable(503, Some(3600))).is_none());
        assert!(RetryPolicy::never().wait(1, Repeat::Safe, &unavailable(503, None)).is_none());
        assert_eq!(RetryPolicy::default().attempts(0), RetryPolicy::never());
    }

    #[test]
    fn retry_after_is_a_number_of_seconds() {
        let read = |text| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text)]));
        let value = reqwest::header::HeaderValue::from_static;
        assert_eq!(read(value("0")), Some(Duration::ZERO));
        assert_eq!(read(value(" 120 ")), Some(Duration::from_mins(2)));
        for other in ["", "soon", "-1", "+1", "1.5", "Fri, 31 Dec 1999 23:59:59 GMT"] {
            assert_eq!(read(value(other)), None, "{other}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
