//! The parts that every `main` of EPR shares: its arguments, one TLS provider for the process, and an exit code for a
//! panic.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use crate::{logging, stdio};

/// The exit code of a program that panicked (`EX_SOFTWARE`). No program uses it for anything else, so that a script
/// which reads 0, 1 or 2 as an answer never mistakes an internal error for one.
pub const INTERNAL_ERROR: u8 = 70;

/// A program as its command line presents it.
pub struct Program {
    /// The name of the executable.
    pub name: &'static str,
    /// The answer to `--help`.
    pub help: &'static str,
}

impl Program {
    /// Answers `--help`, `--version` and their short forms; `None` for any other argument.
    #[must_use]
    pub fn answer(&self, argument: &str) -> Option<ExitCode> {
        let Self { name, help } = self;
        match argument {
            "--help" | "-h" => Some(stdio::print(name, &format!("{help}\n"))),
            "--version" | "-V" => Some(stdio::print(name, &format!("{name} {}\n", env!("CARGO_PKG_VERSION")))),
            _ => None,
        }
    }

    /// Exit code 2, with a line on standard error that names the argument.
    #[must_use]
    pub fn refuse(&self, argument: &str) -> ExitCode {
        let name = self.name;
        stdio::misconfigured(format_args!("{name} takes no argument `{argument}`; see {name} --help"))
    }
}

/// Runs `main` and returns its exit code, or [`INTERNAL_ERROR`] when it panics. The panic is one line: on standard
/// error, or in the log once that is installed, whose last lines are written before the program ends.
pub fn run(main: impl FnOnce() -> ExitCode) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message").replace(['\n', '\r'], " ");
        // Not `eprintln!`, which panics when standard error is closed.
        let _ = writeln!(std::io::stderr(), "internal error at {location}: {message}");
    }));
    epr_core::tls::install_provider();
    survive_file_size_limit();
    // Unwind safety is not a concern: nothing of `main` is used after a panic.
    let code = catch_unwind(AssertUnwindSafe(main)).unwrap_or_else(|panic| {
        // A payload that panics when it is dropped would end the process with another code.
        std::mem::forget(panic);
        ExitCode::from(INTERNAL_ERROR)
    });
    logging::flush();
    code
}

/// Makes a write beyond `ulimit -f` fail with an error, which is answered 503, instead of ending the process by
/// SIGXFSZ.
fn survive_file_size_limit() {
    // Any handler will do: the write returns an error once the signal does not end the process.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_passes_and_a_panic_has_its_own() {
        assert_eq!(run(|| ExitCode::from(1)), ExitCode::from(1));
        assert_eq!(run(|| panic!("on purpose")), ExitCode::from(INTERNAL_ERROR));
        let of_no_text = || std::panic::panic_any(7);
        assert_eq!(run(of_no_text), ExitCode::from(INTERNAL_ERROR));
    }
}
