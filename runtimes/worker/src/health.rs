//! Whether the worker is well: each receive loop leaves a mark with every step, and a small listener on the loopback address
//! says how old the oldest mark is. A process that hangs does not answer at all.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::say;

/// How long whoever asks waits for the answer, and the listener for the question.
const PATIENCE: Duration = Duration::from_secs(2);

/// The marks of the receive loops.
pub struct Heartbeat {
    started: Instant,
    stall_after: Duration,
    /// Milliseconds from the start to each loop's last step.
    marks: Vec<AtomicU64>,
}

impl Heartbeat {
    /// For this many loops, each of which counts as stalled when it takes no step for `stall_after`.
    #[must_use]
    pub fn new(loops: usize, stall_after: Duration) -> Self {
        Self { started: Instant::now(), stall_after, marks: (0..loops).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The loop at `place` has taken a step.
    pub(crate) fn beat(&self, place: usize) {
        if let Some(mark) = self.marks.get(place) {
            mark.store(self.elapsed(), Ordering::Relaxed);
        }
    }

    /// All of them have: nothing is received yet, or no more.
    pub fn beat_all(&self) {
        (0..self.marks.len()).for_each(|place| self.beat(place));
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long ago the slowest loop took its last step, if that is too long.
    fn stalled(&self) -> Option<Duration> {
        let oldest = self.marks.iter().map(|mark| mark.load(Ordering::Relaxed)).min()?;
        let age = Duration::from_millis(self.elapsed().saturating_sub(oldest));
        (age > self.stall_after).then_some(age)
    }

    /// Answers on the loopback address for as long as the process lives. A port that is taken costs the answers, not the
    /// work.
    pub async fn listen(&self, port: u16) {
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => listener,
            Err(fault) => {
                say!(warn, port, error = %fault, "audit_worker_health_not_served");
                return std::future::pending().await;
            }
        };
        loop {
            let Ok((mut connection, _)) = listener.accept().await else { continue };
            let (status, body) = match self.stalled() {
                None => ("200 OK", r#"{"status":"ok"}"#.to_owned()),
                Some(age) => (
                    "503 Service Unavailable",
                    format!(r#"{{"status":"stalled","seconds_since_last_step":{}}}"#, age.as_secs()),
                ),
            };
            let exchange = async {
                // Whatever is asked: there is one answer. Read first, so that closing does not cut it off.
                let _ = connection.read(&mut [0; 1024]).await;
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = connection.write_all(answer.as_bytes()).await;
                let _ = connection.shutdown().await;
            };
            let _ = tokio::time::timeout(PATIENCE, exchange).await;
        }
    }
}

/// Asks the worker of this machine (or container, or task) how it is.
///
/// # Errors
/// It does not answer, or it is not well; a sentence.
pub fn ask(port: u16) -> Result<(), String> {
    let away = |fault: std::io::Error| format!("the worker does not answer on 127.0.0.1:{port}: {fault}");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut connection = std::net::TcpStream::connect_timeout(&address, PATIENCE).map_err(away)?;
    connection.set_read_timeout(Some(PATIENCE)).map_err(away)?;
    connection.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").map_err(away)?;
    let mut answer = String::new();
    connection.take(4096).read_to_string(&mut answer).map_err(away)?;
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    Err(format!("the worker is not well: {}", answer.rsplit("\r\n").next().unwrap_or_default()))
}
