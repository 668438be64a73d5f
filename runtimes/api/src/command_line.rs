//! The arguments of `epr-api`: help, its version, its interface, a health probe, or another program of the image.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use epr_boot::{Program, probe, stdio};
use epr_core::Settings;

use crate::older_command;

const HELP: &str = "\
epr-api serves the EPR HTTP API. Everything is set by environment variables or a .env file: EPR_DATABASE_URL (default
sqlite:///./data/epr.db), HOST, PORT (8080), EPR_LOG_LEVEL, RUN_MIGRATIONS ... docs/SETTINGS.md lists them all.

  epr-api             serves
  epr-api --health    probes the service that runs here by GET /healthz; exit code 0 if it answers 200, else 1
  epr-api --openapi   prints the OpenAPI document
  epr-api --version
  epr-api epr ...                 runs the program of this name from the folder of epr-api in its place, so that
  epr-api epr-audit-worker ...    the container image has one entry point
  epr-api epr-verify ...
  epr-api python -m app.workers.audit_consumer, python -m scripts.verify_audit_chain, uvicorn app.main:app
                                  commands of the older image: run the worker, the verification, the API

Exit codes: 0 stopped by a signal, 1 it could not start, 2 a setting or an argument is wrong, 70 an internal error.";

const PROGRAM: Program = Program { name: "epr-api", help: HELP };

/// The other programs of the image, and the only ones that can be started.
const PROGRAMS: [&str; 3] = ["epr", "epr-audit-worker", "epr-verify"];

/// Runs the subcommand that the arguments name; `None` without arguments.
pub(crate) fn run_subcommand() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    // In the image, `python` and `uvicorn` are links to this program.
    let called_as = arguments.next().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if older_command::is_older(&called_as) {
        return Some(run_older(&called_as, arguments));
    }
    let first = arguments.next()?;
    let first = first.to_string_lossy();
    Some(match first.as_ref() {
        "--openapi" => stdio::print(PROGRAM.name, &epr_api::document()),
        "--health" => probe_health(),
        program if PROGRAMS.contains(&program) => become_program(Command::new(beside(program)), arguments),
        program if older_command::is_older(program) => run_older(program, arguments),
        other => PROGRAM.answer(other).unwrap_or_else(|| PROGRAM.refuse(other)),
    })
}

/// The path of a program in the folder of this one.
fn beside(program: &str) -> PathBuf {
    std::env::current_exe().map_or_else(|_| PathBuf::from(program), |path| path.with_file_name(program))
}

/// Replaces this process, so that signals reach the program and its exit code is the container's.
fn become_program(mut command: Command, arguments: impl Iterator<Item = impl AsRef<OsStr>>) -> ExitCode {
    let error = command.args(arguments).exec();
    stdio::misconfigured(format_args!("cannot run {}: {error}", command.get_program().to_string_lossy()))
}

/// Runs the program that does the work of a command of the older image.
fn run_older(program: &str, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<String> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    match older_command::replace(program, &arguments) {
        Ok(replacement) => {
            if !replacement.ignored.is_empty() {
                stdio::complain(&format!("options without effect: {}", replacement.ignored.join(", ")));
            }
            let mut command = Command::new(beside(replacement.program));
            command.envs(replacement.variables);
            become_program(command, replacement.arguments.iter())
        }
        Err(error) => stdio::misconfigured(error),
    }
}

fn probe_health() -> ExitCode {
    probe::report(Settings::from_env().map_err(|error| error.to_string()).and_then(|settings| {
        let address = SocketAddr::new(probe::reachable(settings.http.host), settings.http.port);
        probe::probe(address).map_err(|error| error.to_string())
    }))
}
