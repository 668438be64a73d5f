//! The health probe of a program that serves HTTP on this machine: one `GET /healthz`.
//!
//! Hand-written: an HTTP client would be the largest dependency of the programs. Must not touch the database, because a
//! container engine probes every few seconds.

use std::fmt::Display;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use crate::stdio;

/// Timeout of each step of a probe, below the 5 s that the container's health check allows.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 4096;
/// The status line of a healthy answer, up to the code.
const HEALTHY: &str = "HTTP/1.1 200 ";

/// Why a program is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It gives no answer.
    #[error("{0} does not answer: {1}")]
    NoAnswer(SocketAddr, #[source] io::Error),
    /// It gives another answer than 200.
    #[error("{0} answers `{1}`")]
    Unhealthy(SocketAddr, String),
}

/// Probes the program at `address`.
///
/// # Errors
/// It does not answer, or not with a 200.
pub fn probe(address: SocketAddr) -> Result<(), ProbeError> {
    let answer = exchange(address).map_err(|error| ProbeError::NoAnswer(address, error))?;
    if answer.starts_with(HEALTHY) {
        return Ok(());
    }
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    Err(ProbeError::Unhealthy(address, format!("{status} {body}").trim_end().escape_debug().to_string()))
}

/// The answer as far as it is needed: its first bytes when they are those of a healthy one, else all of it.
fn exchange(address: SocketAddr) -> io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&address, STEP_TIMEOUT)?;
    connection.set_read_timeout(Some(STEP_TIMEOUT))?;
    connection.set_write_timeout(Some(STEP_TIMEOUT))?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut answer = vec![0; HEALTHY.len()];
    connection.read_exact(&mut answer)?;
    if answer != HEALTHY.as_bytes() {
        connection.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The exit code of a probe: 0, or 1 with a line on standard error.
#[must_use]
pub fn report(outcome: Result<(), impl Display>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            stdio::complain(&format!("not healthy: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The address at which a program that listens on `host` is reached from the same machine.
#[must_use]
pub fn reachable(host: IpAddr) -> IpAddr {
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
        let address = listener.local_addr().unwrap();
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
        let outcome = probe(address).map_err(|error| error.to_string());
        assert!(server.join().unwrap().starts_with("GET /healthz HTTP/1.1\r\n"));
        outcome
    }

    #[test]
    fn only_a_200_is_healthy() {
        assert_eq!(answer_of(b"HTTP/1.1 200 OK\r\n\r\n{}"), Ok(()));
        let unhealthy = answer_of(b"HTTP/1.1 503 Service Unavailable\r\nx: y\r\n\r\n{\"status\":1}").unwrap_err();
        assert!(unhealthy.contains("HTTP/1.1 503 Service Unavailable") && unhealthy.contains("status"), "{unhealthy}");
        assert!(answer_of(b"").unwrap_err().contains("does not answer"));
    }

    #[test]
    fn a_wildcard_address_is_reached_over_loopback() {
        for (listens, reached) in [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.1.2.3", "10.1.2.3")] {
            assert_eq!(reachable(listens.parse().unwrap()), reached.parse::<IpAddr>().unwrap());
        }
    }
}
