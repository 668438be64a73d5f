//! How every program of EPR starts and stops: settings, logs, runtime, signals, exit codes.
//!
//! Must not know what a program does, and must never change what its work returns.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod log_queue;
pub mod logging;
pub mod program;
pub mod stdio;
mod stopper;

pub use stopper::StopSignal;
