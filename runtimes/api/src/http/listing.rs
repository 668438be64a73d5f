//! Answers that are lists: pages that end by rows and by bytes, and whole lists that are streamed.
//!
//! INVARIANT: nothing is cut short silently. Rows are left out only where a `Link` says that more exists, and a list that
//! cannot be finished ends in a broken connection, never in a closing bracket. Must never hold more of a list than one page.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use epr_core::store::{Cursor, Page};
use epr_core::{Epr, Error};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::mpsc;
use tracing::warn;

use crate::App;
use crate::http::budget::{Reservation, UNCOUNTED_BYTES};
use crate::http::error::ApiError;
use crate::http::extract::Query;

/// A page ends when it has this many bytes, whatever its limit is.
const PAGE_BYTES: usize = 2 << 20;
/// Bytes in a chunk of a streamed list; a reader that is slow holds two of them.
const CHUNK_BYTES: usize = 256 << 10;
/// What a streamed list counts in the budget of answers.
const STREAM_BYTES: usize = 4 * CHUNK_BYTES;
/// Bytes of a whole list, less the largest row: the list ends with the row that exceeds them.
const LIST_BYTES: i64 = 63 << 20;
/// How long a reader may take for a chunk.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);

/// A list of the registry in the order of creation.
pub(crate) trait ListSource: Send + Sync + 'static {
    type Row: Serialize + Send;

    /// Shows rows to `take` until it says `false`.
    fn show(
        &self,
        epr: &Epr,
        page: Page,
        take: impl FnMut(Self::Row) -> bool + Send,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The last row that about `bytes` have room for, when others follow.
    fn end(&self, epr: &Epr, bytes: i64) -> impl Future<Output = Result<Option<Cursor>, Error>> + Send;

    /// Where a row is.
    fn position(row: &Self::Row) -> Cursor;
}

/// Rows as JSON, until a limit of rows or bytes.
pub(crate) struct PageWriter<P> {
    text: Vec<u8>,
    rows: u32,
    limit: u32,
    bytes: usize,
    last: Option<P>,
    /// Whether a row did not fit.
    more: bool,
}

impl<P> PageWriter<P> {
    pub(crate) fn page(limit: u32) -> Self {
        Self { text: vec![b'['], rows: 0, limit, bytes: PAGE_BYTES, last: None, more: false }
    }

    /// Adds a row; `false` when there is no room for it.
    pub(crate) fn add<T: Serialize>(&mut self, row: &T, position: impl FnOnce(&T) -> P) -> bool {
        if self.rows == self.limit || self.text.len() >= self.bytes {
            self.more = true;
            return false;
        }
        if self.last.is_some() {
            self.text.push(b',');
        }
        // A row that can be stored can be written.
        let _ = serde_json::to_writer(&mut self.text, row);
        self.rows += 1;
        self.last = Some(position(row));
        true
    }

    /// The page as an answer.
    pub(crate) fn answer(
        mut self,
        mut reservation: Reservation,
        query: &Query,
        encode: impl Fn(P) -> String,
    ) -> Response {
        self.text.push(b']');
        reservation.shrink(self.text.len());
        let link = self.last.filter(|_| self.more).map(encode);
        let body = if self.text.len() > UNCOUNTED_BYTES { reservation.attach(self.text) } else { self.text.into() };
        with_link(Body::from(body), query, link)
    }
}

fn with_link(body: Body, query: &Query, cursor: Option<String>) -> Response {
    let json = HeaderValue::from_static("application/json");
    let mut response = (StatusCode::OK, [(header::CONTENT_TYPE, json)], body).into_response();
    response.extensions_mut().insert(Accounted);
    if let Some(link) = cursor.and_then(|cursor| HeaderValue::from_str(&query.next_link(&cursor)).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// In the extensions of an answer whose bytes are counted already.
#[derive(Clone, Copy)]
pub(crate) struct Accounted;

/// A reservation of the budget of answers for one page.
pub(crate) async fn reserve_page(app: &App) -> Result<Reservation, ApiError> {
    app.answers.reserve(PAGE_BYTES + (PAGE_BYTES >> 1)).await.map_err(|_| ApiError::Overloaded)
}

/// The page of `list` that was asked for, or all of it when none was.
pub(crate) async fn list<L: ListSource>(
    app: &Arc<App>,
    query: &Query,
    list: L,
    page: Option<Page>,
) -> Result<Response, ApiError> {
    match page {
        Some(page) => one_page(app, query, &list, page).await,
        None => whole(app, query, list).await,
    }
}

async fn one_page<L: ListSource>(app: &App, query: &Query, list: &L, page: Page) -> Result<Response, ApiError> {
    let reservation = reserve_page(app).await?;
    let mut filler = PageWriter::page(page.limit);
    let rows = Page { limit: page.limit + 1, ..page };
    list.show(&app.epr, rows, |row| filler.add(&row, L::position)).await?;
    Ok(filler.answer(reservation, query, Cursor::encode))
}

/// All of `list`, within [`LIST_BYTES`]. One that fits into a chunk is answered at once. Of a larger one the end is looked up first, so
/// that `Link` can be sent before the rows are.
async fn whole<L: ListSource>(app: &Arc<App>, query: &Query, list: L) -> Result<Response, ApiError> {
    let reservation = app.answers.reserve(STREAM_BYTES).await.map_err(|_| ApiError::Overloaded)?;
    let mut first = PageWriter { bytes: CHUNK_BYTES, ..PageWriter::page(u32::MAX) };
    list.show(&app.epr, Page { limit: u32::MAX, after: None }, |row| first.add(&row, L::position)).await?;
    if !first.more {
        return Ok(first.answer(reservation, query, Cursor::encode));
    }
    let end = list.end(&app.epr, LIST_BYTES).await?;
    let (sender, chunks) = mpsc::channel(1);
    tokio::spawn(produce(Arc::clone(app), list, first, end, sender));
    let body = Body::from_stream(stream::unfold(
        ListStream { from: chunks, ended: false, _reservation: reservation },
        ListStream::next,
    ));
    Ok(with_link(body, query, end.map(Cursor::encode)))
}

/// What a reader gets of a streamed list.
struct ListStream {
    from: mpsc::Receiver<Chunk>,
    ended: bool,
    _reservation: Reservation,
}

enum Chunk {
    Rows(Vec<u8>),
    End,
}

impl ListStream {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if self.ended {
            return None;
        }
        let chunk = match self.from.recv().await {
            Some(Chunk::Rows(text)) => Ok(text.into()),
            Some(Chunk::End) => {
                self.ended = true;
                Ok(Bytes::from_static(b"]"))
            }
            // The connection is cut, so that nobody takes the part for the whole.
            None => {
                self.ended = true;
                Err(io::Error::other("the list could not be read to its end"))
            }
        };
        Some((chunk, self))
    }
}

/// Reads a list chunk by chunk, each in a call of its own: between two of them no connection to the database is held, however slowly the
/// reader takes them.
async fn produce<L: ListSource>(
    app: Arc<App>,
    list: L,
    first: PageWriter<Cursor>,
    end: Option<Cursor>,
    to: mpsc::Sender<Chunk>,
) {
    let mut chunk = first;
    loop {
        let (seen, more) = (chunk.last, chunk.more);
        if !send(&to, Chunk::Rows(chunk.text)).await {
            return;
        }
        if !more {
            send(&to, Chunk::End).await;
            return;
        }
        chunk = PageWriter {
            text: Vec::with_capacity(CHUNK_BYTES),
            bytes: CHUNK_BYTES,
            last: seen,
            ..PageWriter::page(u32::MAX)
        };
        let read = list.show(&app.epr, Page { limit: u32::MAX, after: seen }, |row| {
            let position = L::position(&row);
            let beyond = end.is_some_and(|end| (position.created_at, position.id) < (end.created_at, end.id));
            !beyond && chunk.add(&row, |_| position)
        });
        if let Err(error) = read.await {
            warn!(error = epr_core::error::chain(&error), "list_interrupted");
            return;
        }
    }
}

/// `false` when the reader is gone or takes too long.
async fn send(to: &mpsc::Sender<Chunk>, chunk: Chunk) -> bool {
    match tokio::time::timeout(CHUNK_TIMEOUT, to.send(chunk)).await {
        Ok(sent) => sent.is_ok(),
        Err(_) => {
            warn!(limit_seconds = CHUNK_TIMEOUT.as_secs(), "list_not_taken");
            false
        }
    }
}
