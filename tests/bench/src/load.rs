//! Concurrent callers: their rate of answers, and the latency of each answer.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Concurrent callers.
pub(crate) const CONNECTIONS: usize = 32;
/// The exponent of the distribution of questions: higher means that popular questions are more frequent.
const SKEW: i32 = 3;

/// A caller that sends one question after the other.
pub(crate) trait Caller: Send + 'static {
    /// Sends one question; returns whether the answer was right.
    fn ask(&mut self, rng: &mut StdRng) -> impl Future<Output = bool> + Send;
}

/// Runs all callers for `span`.
pub(crate) async fn at_once<C: Caller>(callers: Vec<C>, span: Duration) -> Measurement {
    let begun = Instant::now();
    let tasks: Vec<_> = callers
        .into_iter()
        .zip(0..)
        .map(|(mut caller, n)| {
            tokio::spawn(async move {
                let mut rng = StdRng::seed_from_u64(n);
                let mut measured = Measurement::empty();
                while begun.elapsed() < span {
                    let asked = Instant::now();
                    measured.errors += u64::from(!caller.ask(&mut rng).await);
                    measured.times.saturating_record(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
                }
                measured
            })
        })
        .collect();
    let mut whole = Measurement::empty();
    for task in tasks {
        whole.add(&task.await.expect("a caller"));
    }
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    let count = whole.times.len() as f64;
    whole.rate = count / begun.elapsed().as_secs_f64();
    whole
}

/// A random element, the first ones more often.
pub(crate) fn popular<'a, T>(all: &'a [T], rng: &mut StdRng) -> &'a T {
    &all[skewed(all.len(), SKEW, rng)]
}

/// A random element, all with equal frequency.
pub(crate) fn any<'a, T>(all: &'a [T], rng: &mut StdRng) -> &'a T {
    &all[skewed(all.len(), 1, rng)]
}

/// A random index below `count`; a higher `power` makes low ones more frequent.
pub(crate) fn skewed(count: usize, power: i32, rng: &mut StdRng) -> usize {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place")]
    let place = (rng.random::<f64>().powi(power) * count as f64) as usize;
    place.min(count - 1)
}

/// The result of one measurement.
#[derive(Clone)]
pub(crate) struct Measurement {
    /// Answers per second.
    pub(crate) rate: f64,
    /// Latencies in microseconds.
    pub(crate) times: Histogram<u64>,
    /// Wrong or missing answers.
    pub(crate) errors: u64,
}

impl Measurement {
    /// The latency in milliseconds at the quantile `share`.
    pub(crate) fn millis(&self, share: f64) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "microseconds")]
        let micros = self.times.value_at_quantile(share) as f64;
        micros / 1000.0
    }

    fn empty() -> Self {
        Self { rate: 0.0, times: Histogram::new_with_bounds(1, 60_000_000, 3).expect("a minute at most"), errors: 0 }
    }

    fn add(&mut self, other: &Self) {
        self.times.add(&other.times).expect("the same digits");
        self.errors += other.errors;
    }
}

/// Combines repeated measurements: the median of the rates, and all latencies.
pub(crate) fn middle(all: &[Measurement]) -> Measurement {
    let mut whole = Measurement::empty();
    for one in all {
        whole.add(one);
    }
    let mut rates: Vec<f64> = all.iter().map(|one| one.rate).collect();
    rates.sort_by(f64::total_cmp);
    whole.rate = rates[rates.len() / 2];
    whole
}
