//! A program that panics, within what every program of EPR runs in: for the test of exit codes.

use std::process::ExitCode;

fn main() -> ExitCode {
    epr_boot::program::run(|| panic!("on purpose\nin two lines"))
}
