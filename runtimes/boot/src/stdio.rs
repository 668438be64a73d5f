//! Standard output and standard error of every program.
//!
//! Owns what happens when one of them cannot be written: the macros of the standard library panic then, and the exit
//! code of a panic would be one that no page knows. Must never panic.

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

/// The exit code of every program that could not do its work, an output that cannot be written included.
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

/// Writes a line to standard error. Where that cannot be written either, no other way is left to say so.
pub fn complain(line: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(format!("{line}\n").as_bytes()).and_then(|()| err.flush());
}

/// Exit code 2, with a line on standard error. A reader that closed its end of a pipe (`epr … | head`) has what it wanted
/// and gets no line; the exit code is 2 all the same, because no answer that was not written may count as given.
#[must_use]
pub fn output_failed(program: &str, failure: &io::Error) -> ExitCode {
    if failure.kind() != ErrorKind::BrokenPipe {
        complain(&format!("{program}: the output cannot be written: {failure}"));
    }
    ExitCode::from(COULD_NOT)
}
