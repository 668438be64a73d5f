//! The worker's health: each receive loop records its progress, and a small listener on the loopback address reports
//! the age of the oldest record. A process that hangs does not answer at all.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use epr_boot::probe::STEP_TIMEOUT;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::log;

/// The progress of the receive loops.
pub struct Heartbeat {
    started: Instant,
    stall_after: Duration,
    /// Milliseconds from the start to each loop's last progress.
    progress: Vec<AtomicU64>,
}

impl Heartbeat {
    /// For this many loops, each of which is stalled when it makes no progress for `stall_after`.
    #[must_use]
    pub fn new(loops: usize, stall_after: Duration) -> Self {
        Self { started: Instant::now(), stall_after, progress: (0..loops).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Records that the loop with this index makes progress.
    pub(crate) fn beat(&self, index: usize) {
        if let Some(progress) = self.progress.get(index) {
            progress.store(self.elapsed(), Ordering::Relaxed);
        }
    }

    /// Records progress of all loops, before the first receive.
    pub fn beat_all(&self) {
        (0..self.progress.len()).for_each(|index| self.beat(index));
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The time since the last progress of the slowest loop, if that is too long.
    fn stalled(&self) -> Option<Duration> {
        let oldest = self.progress.iter().map(|progress| progress.load(Ordering::Relaxed)).min()?;
        let age = Duration::from_millis(self.elapsed().saturating_sub(oldest));
        (age > self.stall_after).then_some(age)
    }

    /// Answers probes on the loopback address, for ever. If the port is in use, the worker runs without answers.
    pub async fn listen(&self, port: u16) {
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => listener,
            Err(error) => {
                log!(warn, port, error = %error, "audit_worker_health_not_served");
                return std::future::pending().await;
            }
        };
        loop {
            let Ok((connection, _)) = listener.accept().await else { continue };
            let _ = tokio::time::timeout(STEP_TIMEOUT, self.answer(connection)).await;
        }
    }

    /// Answers any request with the health of the loops.
    async fn answer(&self, mut connection: TcpStream) {
        // The request is read first: closing a connection with unread bytes would destroy the answer.
        let _ = connection.read(&mut [0; 1024]).await;
        let (status, body) = match self.stalled() {
            None => ("200 OK", r#"{"status":"ok"}"#.to_owned()),
            Some(age) => (
                "503 Service Unavailable",
                format!(r#"{{"status":"stalled","seconds_since_last_step":{}}}"#, age.as_secs()),
            ),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n");
        let _ = connection.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).await;
        let _ = connection.shutdown().await;
    }
}
