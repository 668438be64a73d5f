//! Waiting for what others bring about: without end as long as something happens, and with a sentence when nothing does.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// How long a thing may stand still before it counts as stuck. Longer than any outage that a test makes on purpose.
const STANDSTILL: Duration = Duration::from_mins(3);

/// Asks again and again until it is so.
///
/// # Panics
/// When it is not after three minutes.
pub async fn until_so(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(STANDSTILL, asking).await.unwrap_or_else(|_| panic!("{what}: not after {STANDSTILL:?}"));
}

/// Looks every `every` until what is seen is `enough`.
///
/// # Panics
/// When it was the same for three minutes: a run that waits for ever says nothing about what it waits for.
pub async fn until<T, Seen>(what: &str, every: Duration, mut look: impl FnMut() -> Seen, enough: impl Fn(&T) -> bool)
where
    T: PartialEq + Debug,
    Seen: Future<Output = T>,
{
    let mut look =
        async || tokio::time::timeout(STANDSTILL, look()).await.unwrap_or_else(|_| panic!("{what}: no answer"));
    let (mut last, mut since) = (look().await, Instant::now());
    while !enough(&last) {
        tokio::time::sleep(every).await;
        let seen = look().await;
        if seen != last {
            (last, since) = (seen, Instant::now());
        }
        assert!(since.elapsed() < STANDSTILL, "{what}: it has been {last:?} for {STANDSTILL:?}");
    }
}
