//! What `epr-api` does when it is given an argument: help, its version, its interface, a health check, or another program of the image.
//!
//! Must not touch the database: a health check runs every few seconds.

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use epr_boot::stdio;
use epr_core::Settings;
use epr_core::settings::HttpSettings;

use crate::older_command;

const HELP: &str = "\
epr-api serves the EPR HTTP API. Everything is set by environment variables or a .env file: EPR_DATABASE_URL (default
sqlite:///./data/epr.db), HOST, PORT (8080), EPR_LOG_LEVEL, RUN_MIGRATIONS ... The README lists them all.

  epr-api             serves
  epr-api --health    asks the service that runs here for GET /healthz; exit code 0 if it answers 200, else 1
  epr-api --openapi   prints the OpenAPI document
  epr-api --version
  epr-api epr ...                 runs the program of this name from the folder of epr-api in its place, so that
  epr-api epr-audit-worker ...    the container image has one entry point
  epr-api python -m app.workers.audit_consumer, python -m scripts.verify_audit_chain, uvicorn app.main:app
                                  commands of the older implementation's image: run the worker, the verification, the API

Exit codes: 0 stopped by a signal, 1 it could not start, 2 a setting or an argument is wrong, 70 an internal error.";

const NAME: &str = "epr-api";

/// The other programs of the image. No others can be started.
const PROGRAMS: [&str; 2] = ["epr", "epr-audit-worker"];

/// How long a health check may take for each step; less than the 5 s that the container's health check gives it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Does what the arguments ask for, or nothing if there are none.
pub(crate) fn obey() -> Option<ExitCode> {
    let mut all = std::env::args_os();
    // In the image, `python` and `uvicorn` are links to this program.
    let called = all.next().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if older_command::is_older(&called) {
        return Some(run_older(&called, all));
    }
    let mut arguments = all;
    let first = arguments.next()?;
    let first = first.to_string_lossy();
    Some(match first.as_ref() {
        "--help" | "-h" => stdio::print(NAME, &format!("{HELP}\n")),
        "--version" | "-V" => stdio::print(NAME, concat!("epr-api ", env!("CARGO_PKG_VERSION"), "\n")),
        "--openapi" => stdio::print(NAME, &epr_api::document()),
        "--health" => health(),
        program if PROGRAMS.contains(&program) => become_program(Command::new(beside(program)), arguments),
        program if older_command::is_older(program) => run_older(program, arguments),
        other => {
            stdio::complain(&format!("epr-api takes no argument `{other}`; see epr-api --help"));
            ExitCode::from(2)
        }
    })
}

/// The path of a program in the folder of this one.
fn beside(program: &str) -> PathBuf {
    std::env::current_exe().map_or_else(|_| PathBuf::from(program), |path| path.with_file_name(program))
}

/// Replaces this process, so that signals reach the program and its exit code is the container's.
fn become_program(mut command: Command, arguments: impl Iterator<Item = impl AsRef<OsStr>>) -> ExitCode {
    let error = command.args(arguments).exec();
    stdio::complain(&format!("cannot run {}: {error}", command.get_program().to_string_lossy()));
    ExitCode::from(2)
}

/// Runs what does the work of a command of the older image.
fn run_older(program: &str, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<String> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    match older_command::replace(program, &arguments) {
        Ok(replacement) => {
            if !replacement.ignored.is_empty() {
                stdio::complain(&format!("without effect here: {}", replacement.ignored.join(", ")));
            }
            let mut command = Command::new(beside(replacement.program));
            command.envs(replacement.variables);
            become_program(command, replacement.arguments.iter())
        }
        Err(why) => {
            stdio::complain(&why);
            ExitCode::from(2)
        }
    }
}

fn health() -> ExitCode {
    let outcome = Settings::from_env().map_err(|fault| fault.to_string()).and_then(|settings| ask(&settings.http));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            stdio::complain(&format!("not healthy: {why}"));
            ExitCode::FAILURE
        }
    }
}

/// One request by hand: an HTTP client would be the largest part of this program's dependencies.
fn ask(settings: &HttpSettings) -> Result<(), String> {
    let address = SocketAddr::new(reachable(settings.host), settings.port);
    let exchange = || -> std::io::Result<[u8; 12]> {
        let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes())?;
        let mut status = [0; 12];
        connection.read_exact(&mut status)?;
        Ok(status)
    };
    match exchange() {
        Ok(status) if status == *b"HTTP/1.1 200" => Ok(()),
        Ok(status) => Err(format!("{address} answered `{}`", String::from_utf8_lossy(&status).escape_debug())),
        Err(fault) => Err(format!("{address}: {fault}")),
    }
}

/// Where a service that listens on `host` is reached from the same machine.
fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answer_of(answer: &'static [u8]) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            // All of it: a connection that is closed with something unread is reset.
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                asked.extend(byte);
            }
            connection.write_all(answer).unwrap();
            String::from_utf8(asked).unwrap()
        });
        let source_port = port.to_string();
        let source = epr_core::settings::Source::of([("PORT", source_port.as_str())]);
        let outcome = ask(&Settings::from_source(&source).unwrap().http);
        assert!(server.join().unwrap().starts_with("GET /healthz HTTP/1.1\r\n"));
        outcome
    }

    #[test]
    fn only_a_200_is_healthy() {
        assert_eq!(answer_of(b"HTTP/1.1 200 OK\r\n\r\n{}"), Ok(()));
        assert!(answer_of(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err().contains("HTTP/1.1 503"));
        assert!(answer_of(b"").is_err());
    }

    #[test]
    fn a_wildcard_address_is_reached_over_loopback() {
        for (listens, reached) in [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.1.2.3", "10.1.2.3")] {
            assert_eq!(reachable(listens.parse().unwrap()), reached.parse::<IpAddr>().unwrap());
        }
    }
}
