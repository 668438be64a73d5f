//! The table of the peers, in the form of docs/PERFORMANCE.md.

use std::fmt::Write as _;
use std::time::Duration;

use crate::load::Measurement;

pub(super) struct Row {
    pub(super) name: String,
    pub(super) lacks: &'static str,
    /// Or the reason why there is nothing measured.
    pub(super) measured: Result<Measured, String>,
}

pub(super) struct Measured {
    pub(super) whole: Measurement,
    /// Whether the rate is a lower bound and the times are upper bounds.
    pub(super) floor: bool,
    /// Resident memory after the load, in MB.
    pub(super) resident: f64,
    pub(super) loaded_after: Duration,
}

/// The circumstances of the run and the table; the first row is the yardstick.
pub(super) fn page(circumstances: &[(&'static str, String)], world: &str, rows: Vec<Row>) -> String {
    let mut page = String::new();
    // Writing into a string does not fail.
    for (name, value) in circumstances {
        let _ = writeln!(page, "- {name}: {value}");
    }
    let _ = writeln!(page, "- world: {world}\n");
    page += "| | Checks/s | Of the bare handler | p50 | p99 | Memory | Loaded in | Does not |\n";
    page += "|---|---:|---:|---:|---:|---:|---:|---|\n";
    let yardstick = rows.first().and_then(|row| row.measured.as_ref().ok()).map_or(f64::NAN, |one| one.whole.rate);
    for row in rows {
        let Row { name, lacks, measured } = row;
        let cells = match measured {
            Ok(measured) => cells(&measured, yardstick),
            Err(reason) => format!("not run: {reason} | | | | | "),
        };
        let _ = writeln!(page, "| {name} | {cells} | {lacks} |");
    }
    page
}

fn cells(measured: &Measured, yardstick: f64) -> String {
    let Measured { whole, floor, resident, loaded_after } = measured;
    let [least, most] = if *floor { ["at least ", "at most "] } else { [""; 2] };
    // A lower bound says nothing about a ratio.
    let ratio = if *floor { String::new() } else { format!("{:.0} %", whole.rate / yardstick * 100.0) };
    let [half, tail] = [0.5, 0.99].map(|share| format!("{most}{:.2} ms", whole.millis(share)));
    format!(
        "{least}{:.0} | {ratio} | {half} | {tail} | {resident:.0} MB | {:.1} s",
        whole.rate,
        loaded_after.as_secs_f64()
    )
}
