//! One connection: how long it may wait for its caller.
//!
//! hyper's own time limit makes a timer for every request and cannot tell an idle connection from a slow one. Here a
//! request only leaves marks, which a watch looks at now and then.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use epr_core::settings::Limits;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::Service as _;

use crate::figures::Figures;
use crate::path;

/// Most headers in a request.
const HEADERS: usize = 100;

/// Serves `stream` until its caller goes, is too slow, or `stop` is told and what is in flight is answered.
pub(crate) async fn serve(
    stream: TcpStream,
    api: path::Service,
    limits: &Limits,
    figures: &Figures,
    mut stop: watch::Receiver<()>,
) {
    let marks = Arc::new(Marks { origin: Instant::now(), state: AtomicU64::new(Phase::Idle as u64) });
    let watched = Watched { stream, marks: Arc::clone(&marks) };
    let service = Marking { api, marks: Arc::clone(&marks) };
    let mut builder = http1::Builder::new();
    builder.max_headers(HEADERS).max_header_size(limits.header_bytes).max_buf_size(limits.header_bytes.max(64 << 10));
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(watched), service));
    let mut overdue = std::pin::pin!(marks.overdue(limits));
    let mut stopping = false;
    loop {
        tokio::select! {
            // What goes wrong on a connection is its caller's affair.
            _ = connection.as_mut() => return,
            _ = stop.changed(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            phase = overdue.as_mut() => {
                if phase == Phase::Head {
                    figures.timed_out();
                }
                return;
            }
        }
    }
}

/// What a connection is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A request, or its caller to take an answer.
    Idle = 0,
    /// The rest of a request's head.
    Head = 1,
    /// An answer from this side.
    Busy = 2,
}

/// Since when a connection is in which phase: milliseconds since it began, times four, and the phase.
struct Marks {
    origin: Instant,
    state: AtomicU64,
}

impl Marks {
    fn set(&self, phase: Phase) {
        let since = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX >> 2);
        self.state.store(since << 2 | phase as u64, Ordering::Relaxed);
    }

    fn get(&self) -> (Phase, Duration) {
        let state = self.state.load(Ordering::Relaxed);
        let phase = match state & 3 {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Busy,
        };
        (phase, Duration::from_millis(state >> 2))
    }

    /// Waits until the connection has waited for its caller too long; says in which phase.
    async fn overdue(&self, limits: &Limits) -> Phase {
        let shortest = limits.head.min(limits.keep_alive);
        loop {
            let (phase, since) = self.get();
            let limit = match phase {
                Phase::Idle => Some(limits.keep_alive),
                Phase::Head => Some(limits.head),
                // The layers above have limits of their own.
                Phase::Busy => None,
            };
            let left = limit.map(|limit| (self.origin + since + limit).saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return phase;
            }
            // A phase that begins meanwhile must not be found too late.
            tokio::time::sleep(left.map_or(shortest, |left| left.min(shortest))).await;
        }
    }
}

/// The socket, which marks when something comes in or goes out.
struct Watched {
    stream: TcpStream,
    marks: Arc<Marks>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        if into.filled().len() > before && self.marks.get().0 == Phase::Idle {
            self.marks.set(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl Watched {
    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(1..))) && self.marks.get().0 == Phase::Idle {
            self.marks.set(Phase::Idle);
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The interface, which marks when a request has arrived and when it is answered.
struct Marking {
    api: path::Service,
    marks: Arc<Marks>,
}

impl hyper::service::Service<Request<Incoming>> for Marking {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.marks.set(Phase::Busy);
        let marks = Arc::clone(&self.marks);
        // A router is always ready.
        let answer = self.api.clone().call(request.map(Body::new));
        Box::pin(async move {
            let answer = answer.await;
            marks.set(Phase::Idle);
            answer
        })
    }
}
