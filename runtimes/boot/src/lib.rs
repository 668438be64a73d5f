//! The start and stop of every program of EPR: settings, logs, traces, runtime, signals, exit codes, and its health
//! probe.
//!
//! A program's `main` is [`program::run`] around three steps: [`Program::answer`] its arguments, read its settings with
//! [`settings`], and hand them with its work to a [`Daemon`]. Must not know what a program does, and must never change
//! what its work returns: exit codes are documented where the program is.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod daemon;
mod descriptors;
pub mod function;
mod log_queue;
pub mod logging;
pub mod probe;
pub mod program;
pub mod stdio;
mod stopper;

pub use daemon::{Daemon, Threads, Traces, settings};
pub use program::Program;
pub use stopper::Stopper;
