//! One connection: its timeouts, and how it ends.
//!
//! hyper's own timeout creates a timer for every request and cannot distinguish an idle connection from a slow one.
//! Here a request only records its activity, which one watcher for each connection reads from time to time. Must never
//! close a socket that has unread bytes while its caller may be about to read a response: the system would send a
//! reset, which destroys that response.

use std::sync::Arc;
use std::time::Duration;

use epr_core::settings::Limits;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::http::activity::{Activity, Phase, TrackedService, TrackedStream};
use crate::http::http_metrics::HttpMetrics;
use crate::http::path;

/// The most headers in a request.
const MAX_HEADERS: usize = 100;
/// The most bytes of a refused request that are read and discarded, so that its caller gets to read the response.
const MAX_DISCARDED_BYTES: usize = 256 << 20;
/// The longest pause of a caller whose refused request is being discarded.
const DISCARD_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves `stream` until its caller disconnects or is too slow, or until `stop` changes and the request in flight is
/// answered.
pub(crate) async fn serve(
    stream: TcpStream,
    activity: &Arc<Activity>,
    api: path::Service,
    limits: &Limits,
    metrics: &HttpMetrics,
    mut stop: watch::Receiver<()>,
) {
    let watched = TrackedStream { stream, activity: Arc::clone(activity) };
    let service = TrackedService { api, activity: Arc::clone(activity) };
    let mut builder = http1::Builder::new();
    builder
        .max_headers(MAX_HEADERS)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(64 << 10));
    let mut connection = builder.serve_connection(TokioIo::new(watched), service);
    let mut overdue = std::pin::pin!(activity.overdue(limits));
    let mut stopping = false;
    loop {
        tokio::select! {
            // An error of a connection concerns only its caller.
            _ = std::future::poll_fn(|context| connection.poll_without_shutdown(context)) => break,
            _ = stop.changed(), if !stopping => {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            phase = overdue.as_mut() => {
                if phase == Phase::Head {
                    metrics.timed_out();
                }
                return;
            }
        }
    }
    let TrackedStream { mut stream, .. } = connection.into_parts().io.into_inner();
    // The response is sent; this makes its end visible to the caller.
    let ended = stream.shutdown().await;
    if ended.is_ok() && activity.unread() {
        let _ = timeout(limits.body, discard(&mut stream, activity)).await;
    }
}

/// Reads and discards the rest of a refused request until the caller closes, pauses or has sent too much. Many clients
/// and proxies read a response only after they have written the whole body, and would lose it to a reset.
async fn discard(stream: &mut TcpStream, activity: &Activity) {
    let mut buffer = vec![0; 16 << 10];
    let mut left = MAX_DISCARDED_BYTES;
    while left > 0 {
        activity.touch();
        match timeout(DISCARD_IDLE_TIMEOUT, stream.read(&mut buffer)).await {
            Ok(Ok(read)) if read > 0 => left = left.saturating_sub(read),
            _ => return,
        }
    }
}
