//! Callers at once, how many answers they get, and how long each takes.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Callers at a time.
pub(crate) const CONNECTIONS: usize = 32;
/// How much more often a popular question is asked than a rare one.
const SKEW: i32 = 3;

/// Asks one question after the other.
pub(crate) trait Caller: Send + 'static {
    /// Asks one; whether the answer was right.
    fn ask(&mut self, rng: &mut StdRng) -> impl Future<Output = bool> + Send;
}

/// Lets all of them ask for `span`.
pub(crate) async fn at_once<C: Caller>(callers: Vec<C>, span: Duration) -> Figures {
    let begun = Instant::now();
    let tasks: Vec<_> = callers
        .into_iter()
        .zip(0..)
        .map(|(mut caller, n)| {
            tokio::spawn(async move {
                let mut rng = StdRng::seed_from_u64(n);
                let mut figures = Figures::empty();
                while begun.elapsed() < span {
                    let asked = Instant::now();
                    figures.errors += u64::from(!caller.ask(&mut rng).await);
                    figures.times.saturating_record(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
                }
                figures
            })
        })
        .collect();
    let mut whole = Figures::empty();
    for task in tasks {
        whole.add(&task.await.expect("a caller"));
    }
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    let count = whole.times.len() as f64;
    whole.rate = count / begun.elapsed().as_secs_f64();
    whole
}

/// One of them, the first ones more often.
pub(crate) fn popular<'a, T>(all: &'a [T], rng: &mut StdRng) -> &'a T {
    &all[skewed(all.len(), SKEW, rng)]
}

/// One of them, each as often as any other.
pub(crate) fn any<'a, T>(all: &'a [T], rng: &mut StdRng) -> &'a T {
    &all[skewed(all.len(), 1, rng)]
}

/// One of `count`, low ones more often: the more so the higher `power`.
pub(crate) fn skewed(count: usize, power: i32, rng: &mut StdRng) -> usize {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place")]
    let place = (rng.random::<f64>().powi(power) * count as f64) as usize;
    place.min(count - 1)
}

/// What one measurement gave.
#[derive(Clone)]
pub(crate) struct Figures {
    /// Answers in a second.
    pub(crate) rate: f64,
    /// Times from question to answer, in microseconds.
    pub(crate) times: Histogram<u64>,
    /// Answers that were wrong or none.
    pub(crate) errors: u64,
}

impl Figures {
    /// The time that this share of all answers took at most, in milliseconds.
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

/// Several measurements of the same: the rate in the middle, all times together.
pub(crate) fn middle(all: &[Figures]) -> Figures {
    let mut whole = Figures::empty();
    for one in all {
        whole.add(one);
    }
    let mut rates: Vec<f64> = all.iter().map(|one| one.rate).collect();
    rates.sort_by(f64::total_cmp);
    whole.rate = rates[rates.len() / 2];
    whole
}
