//! The clock of this machine, compared with the database server's.

use super::cause::cause;
use super::{Finding, State};
use crate::{ClockReading, Epr};

/// The offset; `None` when the database has no clock of its own.
pub(super) async fn clock(epr: &Epr) -> Option<Finding> {
    match epr.measure_clock().await {
        Ok(reading) => reading.map(of_reading),
        Err(error) => Some(Finding::new("clock", State::Wrong, cause(&error))),
    }
}

fn of_reading(reading: ClockReading) -> Finding {
    let direction = if reading.offset < 0 { "behind" } else { "ahead of" };
    let seen = format!("{:.3} s {direction} the database's", reading.seconds().abs());
    if reading.exceeds_tolerance() {
        Finding::new("clock", State::Doubtful, seen)
            .advise("synchronize the clocks (NTP): assignments start and end by the clock of the process that answers")
    } else {
        Finding::new("clock", State::Fine, seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_of_more_than_a_second_is_doubtful() {
        let finding = |offset| of_reading(ClockReading { offset, uncertainty: 1000 });
        assert_eq!(
            (finding(900_000).state, finding(900_000).seen),
            (State::Fine, "0.900 s ahead of the database's".into())
        );
        let behind = finding(-2_500_000);
        assert_eq!((behind.state, behind.seen), (State::Doubtful, "2.500 s behind the database's".into()));
    }
}
