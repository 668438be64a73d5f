//! Server-sent events: a response whose body is written while things happen, to a reader of any speed.
//!
//! INVARIANT: a stream holds at most two chunks: one that hyper sends, and one that waits for it. A reader that does
//! not take them in time is cut. Must never know what the events are about.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The media type of a stream.
pub(crate) const MEDIA_TYPE: &str = "text/event-stream";
/// The longest that a reader may take for a chunk.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);

/// When the writer of a stream has ended it. In the extensions of the response: its connection is not closed for being
/// silent, and closes when its reader does not take the rest.
#[derive(Clone, Default)]
pub(crate) struct StreamEnd(Arc<OnceLock<Instant>>);

impl StreamEnd {
    /// The time of the end; `None` while the stream goes on.
    pub(crate) fn ended(&self) -> Option<Instant> {
        self.0.get().copied()
    }

    /// The stream has ended now.
    pub(crate) fn set(&self) {
        // The first end counts.
        let _ = self.0.set(Instant::now());
    }
}

/// The writing end of a stream.
pub(crate) struct EventWriter {
    end: StreamEnd,
    chunks: mpsc::Sender<Bytes>,
    ending: Arc<OnceLock<Bytes>>,
    chunk_timeout: Duration,
}

/// The right to write one chunk.
pub(crate) struct Room<'a>(mpsc::Permit<'a, Bytes>);

/// Why there is no room for a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The reader has disconnected.
    Gone,
    /// The reader has not taken the chunks before in time.
    TooSlow,
}

struct Reading {
    chunks: mpsc::Receiver<Bytes>,
    ending: Arc<OnceLock<Bytes>>,
    is_over: bool,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if self.is_over {
            return None;
        }
        let chunk = match self.chunks.recv().await {
            Some(chunk) => chunk,
            None => {
                self.is_over = true;
                self.ending.get()?.clone()
            }
        };
        Some((Ok(chunk), self))
    }
}

/// A response with a stream, and its writing end. `held` is dropped with the body: when everything is sent, or the
/// reader has disconnected.
pub(crate) fn open(held: impl Send + 'static) -> (EventWriter, Response) {
    let (sender, chunks) = mpsc::channel(1);
    let ending = Arc::new(OnceLock::new());
    let reading = Reading { chunks, ending: Arc::clone(&ending), is_over: false };
    let chunks = stream::unfold((reading, held), async |(reading, held)| {
        let (chunk, reading) = reading.next().await?;
        Some((chunk, (reading, held)))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx would collect events before it passes them on.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let mut response = (StatusCode::OK, headers, Body::from_stream(chunks)).into_response();
    let end = StreamEnd::default();
    response.extensions_mut().insert(end.clone());
    (EventWriter { end, chunks: sender, ending, chunk_timeout: CHUNK_TIMEOUT }, response)
}

impl EventWriter {
    /// Waits until the reader has taken the chunk before the last one.
    pub(crate) async fn room(&self) -> Result<Room<'_>, NoRoom> {
        match tokio::time::timeout(self.chunk_timeout, self.chunks.reserve()).await {
            Ok(Ok(permit)) => Ok(Room(permit)),
            Ok(Err(_)) => Err(NoRoom::Gone),
            Err(_) => Err(NoRoom::TooSlow),
        }
    }

    /// Waits until the reader has disconnected.
    pub(crate) async fn closed(&self) {
        self.chunks.closed().await;
    }

    /// Ends the stream with an event `end` that says why. A reader that is slow gets it after what it has not read yet.
    pub(crate) fn end(self, sentence: &str) {
        #[derive(Serialize)]
        struct End<'a> {
            detail: &'a str,
        }
        let mut text = b"event: end\n".to_vec();
        write_data(&mut text, &End { detail: sentence });
        text.push(b'\n');
        // Nothing else sets it.
        let _ = self.ending.set(text.into());
    }
}

impl Drop for EventWriter {
    fn drop(&mut self) {
        self.end.set();
    }
}

impl Room<'_> {
    pub(crate) fn write(self, chunk: impl Into<Bytes>) {
        self.0.send(chunk.into());
    }
}

/// Adds an event to `text`.
pub(crate) fn write_event(text: &mut Vec<u8>, id: &str, data: &impl Serialize) {
    text.extend_from_slice(b"id: ");
    text.extend_from_slice(id.as_bytes());
    text.push(b'\n');
    write_data(text, data);
    text.push(b'\n');
}

/// One line with JSON. Line breaks between the values of stored JSON become spaces: they would end the event.
fn write_data(text: &mut Vec<u8>, data: &impl Serialize) {
    text.extend_from_slice(b"data: ");
    let from = text.len();
    // What can be stored can be written.
    let _ = serde_json::to_writer(&mut *text, data);
    for byte in text.iter_mut().skip(from).filter(|byte| matches!(**byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    text.push(b'\n');
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_cut_and_then_reads_why() {
        let (writer, response) = open(());
        let mut writer = writer;
        writer.chunk_timeout = Duration::from_millis(50);
        // The second chunk waits for the first: nothing is read.
        writer.room().await.ok().unwrap().write("one");
        assert_eq!(writer.room().await.err(), Some(NoRoom::TooSlow));
        writer.end("too slow");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes, "oneevent: end\ndata: {\"detail\":\"too slow\"}\n\n");
    }

    #[tokio::test]
    async fn what_a_stream_holds_is_dropped_with_it() {
        let held = Arc::new(());
        let (writer, response) = open(Arc::clone(&held));
        assert_eq!(Arc::strong_count(&held), 2);
        drop(response);
        writer.closed().await;
        assert_eq!(writer.room().await.err(), Some(NoRoom::Gone));
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn an_event_is_one_line_of_data() {
        let raw = serde_json::value::RawValue::from_string("{\"a\":\r\n\n1}".to_owned()).unwrap();
        let mut text = Vec::new();
        write_event(&mut text, "7", &raw);
        assert_eq!(String::from_utf8(text).unwrap(), "id: 7\ndata: {\"a\":   1}\n\n");
    }
}
