//! The offset of this process's clock from the database's, measured once a minute in the background.
//!
//! Windows of assignments are compared with the clock of the process that answers. Two processes whose clocks differ
//! answer differently around the start and the end of a window. Must never measure in the path of a call.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{info, warn};

use super::core::Core;
use crate::clock::Clock;
use crate::domain::Timestamp;
use crate::error::Result;
use crate::store::Store;

/// The time between two measurements.
const INTERVAL: Duration = Duration::from_mins(1);
/// The log warns about a larger offset.
const TOLERATED_MICROS: i64 = 1_000_000;

/// One measurement, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// The time by which this process's clock is ahead of the database's; negative when it is behind.
    pub offset: i64,
    /// The largest error of `offset`: half of the round trip.
    pub uncertainty: i64,
}

impl ClockReading {
    /// Computes it from the database's time, and this process's before the request and after the response.
    fn new(before: Timestamp, database: Timestamp, after: Timestamp) -> Self {
        let (before, after) = (before.unix_micros(), after.unix_micros());
        let uncertainty = after.saturating_sub(before).max(0) / 2;
        Self { offset: (before + uncertainty).saturating_sub(database.unix_micros()), uncertainty }
    }

    /// Whether the clocks certainly differ by more than a second.
    #[must_use]
    pub fn exceeds_tolerance(self) -> bool {
        self.offset.saturating_abs().saturating_sub(self.uncertainty) > TOLERATED_MICROS
    }

    /// `offset` in seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        micros_as_seconds(self.offset)
    }
}

fn micros_as_seconds(micros: i64) -> f64 {
    Duration::from_micros(micros.unsigned_abs()).as_secs_f64().copysign(if micros < 0 { -1.0 } else { 1.0 })
}

/// Measures the offset once; `None` when the database has no clock of its own.
pub(crate) async fn measure(store: &dyn Store, clock: &dyn Clock) -> Result<Option<ClockReading>> {
    let times = store.server_time(&|| clock.now()).await?;
    Ok(times.map(|(before, database, after)| ClockReading::new(before, database, after)))
}

/// The last measurement of this process.
#[derive(Debug)]
pub(crate) struct ClockOffset {
    /// In microseconds; [`UNKNOWN`] before the first measurement.
    offset: AtomicI64,
    stop: Notify,
}

const UNKNOWN: i64 = i64::MIN;

impl Default for ClockOffset {
    fn default() -> Self {
        Self { offset: AtomicI64::new(UNKNOWN), stop: Notify::new() }
    }
}

impl ClockOffset {
    /// The seconds by which this process's clock is ahead of the database's; `None` before the first measurement.
    pub(crate) fn seconds(&self) -> Option<f64> {
        let offset = self.offset.load(Ordering::Relaxed);
        (offset != UNKNOWN).then(|| micros_as_seconds(offset))
    }

    /// Stops measuring.
    pub(crate) fn stop(&self) {
        self.stop.notify_one();
    }

    /// Measures in the background until [`ClockOffset::stop`], or until nothing else uses `core`.
    pub(crate) fn start(self: &Arc<Self>, core: &Arc<Core>) {
        tokio::spawn(Self::run(Arc::clone(self), Arc::downgrade(core)));
    }

    async fn run(self: Arc<Self>, core: Weak<Core>) {
        let mut warned = false;
        while let Some(core) = core.upgrade() {
            match measure(&*core.store, &*core.clock).await {
                Ok(None) => return,
                // The calls that need the database report that it does not answer.
                Err(_) => {}
                Ok(Some(reading)) => {
                    self.offset.store(reading.offset, Ordering::Relaxed);
                    let differs = reading.exceeds_tolerance();
                    let seconds = reading.seconds();
                    if differs && !warned {
                        let hint = "assignments start and end at another time here than on other processes; \
                                    synchronize the clocks";
                        warn!(seconds, hint, "clock_offset");
                    } else if warned && !differs {
                        info!(seconds, "clock_offset_ended");
                    }
                    warned = differs;
                }
            }
            drop(core);
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = self.stop.notified() => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(1_800_000_000_000_000 + micros).unwrap()
    }

    #[test]
    fn an_offset_is_taken_from_the_middle_of_the_round_trip() {
        let reading = ClockReading::new(at(5_000_000), at(0), at(5_400_000));
        assert_eq!((reading.offset, reading.uncertainty), (5_200_000, 200_000));
        assert!(reading.exceeds_tolerance() && (reading.seconds() - 5.2).abs() < 1e-9);
        let behind = ClockReading::new(at(-2_000_000), at(0), at(-2_000_000));
        assert!(behind.exceeds_tolerance() && behind.seconds() < -1.9);
    }

    #[test]
    fn a_slow_answer_is_no_difference_of_clocks() {
        assert!(!ClockReading::new(at(0), at(0), at(3_000_000)).exceeds_tolerance());
        assert!(!ClockReading::new(at(900_000), at(0), at(900_000)).exceeds_tolerance());
    }
}
