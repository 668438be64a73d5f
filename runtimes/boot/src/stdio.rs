//! Standard output and standard error of every program.
//!
//! Owns what happens when one of them cannot be written, where the macros of the standard library panic. Must never
//! panic: the exit code of a panic means an internal error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

/// The exit code of a program that could not do its work: wrong settings or arguments, or an output that cannot be
/// written.
const COULD_NOT: u8 = 2;

/// Writes `text` to standard output: exit code 0, or that of [`output_failed`].
#[must_use]
pub fn print(program: &str, text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output_failed(program, &failure),
    }
}

/// Writes a line to standard error. Failures are ignored, because no other output is left to report them.
pub fn complain(line: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(format!("{line}\n").as_bytes()).and_then(|()| err.flush());
}

/// Exit code 2, with `error` on standard error: a setting or an argument is wrong.
#[must_use]
pub fn misconfigured(error: impl Display) -> ExitCode {
    complain(&error.to_string());
    ExitCode::from(COULD_NOT)
}

/// Exit code 2, with a line on standard error. A reader that closed its end of a pipe (`epr … | head`) has all it needs
/// and gets no line. The exit code is 2 nevertheless, because an answer that was not written is not an answer.
#[must_use]
pub fn output_failed(program: &str, failure: &io::Error) -> ExitCode {
    if failure.kind() != ErrorKind::BrokenPipe {
        complain(&format!("{program}: the output cannot be written: {failure}"));
    }
    ExitCode::from(COULD_NOT)
}
