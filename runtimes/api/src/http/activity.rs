//! The activity of a connection: its phase, and when that began, recorded by its socket, its requests and their bodies.
//!
//! Must never block. Recording costs a request a few atomic writes; a watcher reads the record from time to time, so
//! that no request needs a timer.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, header};
use epr_core::settings::Limits;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tower::Service as _;

use crate::http::event_stream::StreamEnd;
use crate::http::path;

/// The time that a connection chosen to make room must stay silent before it is closed.
const EVICTION_DELAY: Duration = Duration::from_millis(50);

/// The most bytes of a body that are discarded so that its connection stays open.
const MAX_REST_BYTES: usize = 64 << 10;
/// The time that the rest of such a body may take to arrive. Many clients send it right after the head.
const REST_TIMEOUT: Duration = Duration::from_millis(250);

/// How long the reader of a stream may take for the rest after its end.
const STREAM_GRACE: Duration = Duration::from_secs(10);

/// The event that a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A request, or its caller to read a response.
    Idle = 0,
    /// The rest of a request's head.
    Head = 1,
    /// The response of the service.
    Busy = 2,
    /// The rest of a request's body.
    Body = 3,
    /// The next event of a stream, whose writer decides how long it lasts.
    Stream = 4,
}

/// The record of one connection.
pub(crate) struct Activity {
    origin: Instant,
    /// The phase in the three lowest bits, above them the milliseconds from `origin` to the beginning of the phase.
    state: AtomicU64,
    /// Whether a request was answered before its body had been read to its end.
    unread: AtomicBool,
    rest: Mutex<Rest>,
    /// The end of the stream that is being sent.
    stream: Mutex<Option<StreamEnd>>,
    /// Whether the connection has been chosen to make room for others.
    chosen: AtomicBool,
    evicted: Notify,
}

/// The body of a request that its route has dropped before its end.
#[derive(Default)]
enum Rest {
    /// No request runs: a body that is dropped now is of no use.
    #[default]
    Unwanted,
    /// A request runs.
    Wanted,
    Left(Incoming),
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            state: AtomicU64::new(Phase::Idle as u64),
            unread: AtomicBool::new(false),
            rest: Mutex::default(),
            stream: Mutex::default(),
            chosen: AtomicBool::new(false),
            evicted: Notify::new(),
        }
    }

    fn set(&self, phase: Phase) {
        let since = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX >> 3);
        self.state.store(since << 3 | phase as u64, Ordering::Relaxed);
    }

    fn get(&self) -> (Phase, Duration) {
        let state = self.state.load(Ordering::Relaxed);
        let phase = match state & 7 {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Busy,
            3 => Phase::Body,
            _ => Phase::Stream,
        };
        (phase, Duration::from_millis(state >> 3))
    }

    /// Records that the caller sends something that is not a request.
    pub(crate) fn touch(&self) {
        self.set(Phase::Idle);
    }

    /// Ends the wait for the rest of a body, or begins it; returns what was left.
    fn rest(&self, next: Rest) -> Rest {
        std::mem::replace(&mut *self.rest.lock().unwrap_or_else(PoisonError::into_inner), next)
    }

    /// Whether the caller may still be sending: the last request was refused before it had been read to its end.
    pub(crate) fn unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed) || self.get().0 == Phase::Head
    }

    /// When the connection began to wait for its caller; `None` while a request runs or a stream is sent, and after it
    /// has been chosen to close.
    pub(crate) fn silent_since(&self) -> Option<Instant> {
        let (phase, since) = self.get();
        let waits = !matches!(phase, Phase::Busy | Phase::Stream) && !self.chosen.load(Ordering::Relaxed);
        waits.then(|| self.origin + since)
    }

    /// Asks the connection to close, to make room for others.
    pub(crate) fn evict(&self) {
        self.chosen.store(true, Ordering::Relaxed);
        self.evicted.notify_one();
    }

    /// Waits until the connection must close to make room. A chosen connection stays open if anything is sent or
    /// received during the delay: on a busy machine its request may have been waiting in the socket.
    pub(crate) async fn evicted(&self) {
        loop {
            self.evicted.notified().await;
            let before = self.state.load(Ordering::Relaxed);
            tokio::time::sleep(EVICTION_DELAY).await;
            let is_silent = !matches!(self.get().0, Phase::Busy | Phase::Stream);
            if self.state.load(Ordering::Relaxed) == before && is_silent {
                return;
            }
            self.chosen.store(false, Ordering::Relaxed);
        }
    }

    /// Waits until the caller exceeds the timeout of the current phase; returns that phase.
    pub(crate) async fn overdue(&self, limits: &Limits) -> Phase {
        let shortest = limits.head.min(limits.keep_alive);
        loop {
            let (phase, since) = self.get();
            let limit = match phase {
                Phase::Idle => Some(limits.keep_alive),
                Phase::Head => Some(limits.head),
                // The body reader and the middleware have timeouts of their own.
                Phase::Busy | Phase::Body => None,
                // The writer of the stream has timeouts of its own. When it has ended the stream, its reader has a last
                // time to take what is left.
                Phase::Stream => self.time_after_end(),
            };
            let left = limit.map(|limit| (self.origin + since + limit).saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return phase;
            }
            // A phase that begins meanwhile must be noticed in time.
            tokio::time::sleep(left.map_or(shortest, |left| left.min(shortest))).await;
        }
    }
}

impl Activity {
    /// The longest that the phase may last, once the stream has ended.
    fn time_after_end(&self) -> Option<Duration> {
        let ended = self.stream.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.ended()?;
        let (_, since) = self.get();
        Some((ended + STREAM_GRACE).saturating_duration_since(self.origin + since))
    }

    fn begin_stream(&self, end: StreamEnd) {
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        self.set(Phase::Stream);
    }

    fn end_stream(&self) {
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.set(Phase::Idle);
    }
}

/// The body of a response that is a stream; records its end.
struct StreamBody {
    body: Body,
    activity: Arc<Activity>,
}

impl hyper::body::Body for StreamBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.activity.end_stream();
    }
}

/// The socket; records when bytes are received or sent.
pub(crate) struct TrackedStream {
    pub(crate) stream: TcpStream,
    pub(crate) activity: Arc<Activity>,
}

impl AsyncRead for TrackedStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        if into.filled().len() > before && self.activity.get().0 == Phase::Idle {
            self.activity.set(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl TrackedStream {
    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(1..))) && self.activity.get().0 == Phase::Idle {
            self.activity.set(Phase::Idle);
        }
    }
}

impl AsyncWrite for TrackedStream {
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

/// The service; records when a request has arrived and when it is answered.
pub(crate) struct TrackedService {
    pub(crate) api: path::Service,
    pub(crate) activity: Arc<Activity>,
}

impl hyper::service::Service<Request<Incoming>> for TrackedService {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.activity.set(Phase::Busy);
        self.activity.unread.store(false, Ordering::Relaxed);
        let activity = Arc::clone(&self.activity);
        self.activity.rest(Rest::Wanted);
        let waits = request.headers().contains_key(header::EXPECT);
        let request = request.map(|incoming| {
            if incoming.is_end_stream() {
                return Body::empty();
            }
            Body::new(TrackedBody { incoming: Some(incoming), activity: Arc::clone(&self.activity), ended: false })
        });
        // A router is always ready.
        let answer = self.api.clone().call(request);
        Box::pin(async move {
            let mut answer = answer.await;
            if let (Rest::Left(rest), Ok(response)) = (activity.rest(Rest::Unwanted), &mut answer) {
                // A caller that waits to be asked for its body does not send it.
                if waits || response.headers().contains_key(header::CONNECTION) || !discard(rest).await {
                    activity.unread.store(true, Ordering::Relaxed);
                    // The connection ends with the response: no other request may follow on it.
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
            }
            let Ok(answer) = answer;
            let Some(end) = answer.extensions().get::<StreamEnd>().cloned() else {
                activity.set(Phase::Idle);
                return Ok(answer);
            };
            activity.begin_stream(end);
            Ok(answer.map(|body| Body::new(StreamBody { body, activity })))
        })
    }
}

/// Reads and discards the rest of a body; returns `false` if it is large or does not arrive soon.
async fn discard(mut rest: Incoming) -> bool {
    let mut left = MAX_REST_BYTES;
    if rest.size_hint().lower() > MAX_REST_BYTES as u64 {
        return false;
    }
    let read = async {
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut rest).poll_frame(context)).await {
            let bytes = frame.map(|frame| frame.data_ref().map_or(0, Bytes::len));
            match bytes.ok().and_then(|bytes| left.checked_sub(bytes)) {
                Some(less) => left = less,
                None => return false,
            }
        }
        true
    };
    timeout(REST_TIMEOUT, read).await.unwrap_or(false)
}

/// The body of a request; keeps what is left of it when it is dropped before its end.
struct TrackedBody {
    /// `None` only while it is dropped.
    incoming: Option<Incoming>,
    activity: Arc<Activity>,
    ended: bool,
}

impl hyper::body::Body for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = Pin::new(incoming).poll_frame(context);
        match (frame.is_pending(), self.activity.get().0) {
            (true, Phase::Busy) => self.activity.set(Phase::Body),
            (false, Phase::Body) => self.activity.set(Phase::Busy),
            _ => {}
        }
        let frame = ready!(frame);
        self.ended = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        let Some(left) = self.incoming.take().filter(|left| !self.ended && !left.is_end_stream()) else { return };
        let mut rest = self.activity.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*rest, Rest::Wanted) {
            *rest = Rest::Left(left);
        } else {
            self.activity.unread.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_may_be_silent_for_any_time_and_its_connection_closes_some_seconds_after_its_end() {
        let (activity, end) = (Arc::new(Activity::new()), StreamEnd::default());
        activity.begin_stream(end.clone());
        let body = StreamBody { body: Body::from("unread"), activity: Arc::clone(&activity) };
        assert_eq!(activity.get().0, Phase::Stream);
        assert_eq!(activity.silent_since(), None, "it is never closed to make room");
        assert_eq!(activity.time_after_end(), None, "a stream that goes on has no timeout here");
        end.set();
        let left = activity.time_after_end().expect("a last time for what is left");
        assert!((STREAM_GRACE..STREAM_GRACE * 2).contains(&left), "{left:?}");
        // When the rest has been taken, or the connection is closed.
        drop(body);
        assert!(activity.silent_since().is_some(), "the connection waits for the next request");
        assert_eq!(activity.time_after_end(), None);
    }
}
