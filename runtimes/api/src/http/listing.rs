//! List responses: pages that end by rows and by bytes, and whole lists that are streamed.
//!
//! INVARIANT: nothing is cut short silently. Rows are left out only if a `Link` says that more exist, and a list that
//! cannot be finished ends in a broken connection, never in a closing bracket. Must never hold more of a list than one
//! page.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use epr_core::Call;
use epr_core::domain::Json;
use epr_core::history::RegistryRow;
use epr_core::store::{Cursor, Page, ReadNeed, RegistryList, with_position};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::mpsc;
use tracing::warn;

use super::budget::{Reservation, UNCOUNTED_BYTES};
use super::error::ApiError;
use super::extract::Query;
use crate::App;

/// A page ends at this size, whatever its limit is.
const PAGE_BYTES: usize = 2 << 20;
/// The size of a chunk of a streamed list. A slow reader holds two of them.
const CHUNK_BYTES: usize = 256 << 10;
/// The reservation of a streamed list.
const STREAM_BYTES: usize = 4 * CHUNK_BYTES;
/// The longest that a reader may take for a chunk.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);

/// A list of the registry in the order of creation.
pub(crate) trait ListSource: Send + Sync + 'static {
    /// The list.
    fn list(&self) -> RegistryList<'_>;
}

/// Writes rows as JSON until a limit of rows or bytes is reached. `P` is the position of a row.
pub(crate) struct PageWriter<P> {
    text: Vec<u8>,
    rows: u32,
    max_rows: u32,
    max_bytes: usize,
    last: Option<P>,
    /// Whether a row did not fit.
    more: bool,
}

impl PageWriter<Cursor> {
    /// Adds a row of the registry; `false` if it does not fit.
    pub(crate) fn add_row(&mut self, row: &RegistryRow) -> bool {
        let position = Cursor::of(row);
        match row {
            RegistryRow::Entity(one) => self.add(one, |_| position),
            RegistryRow::Role(one) => self.add(one, |_| position),
            RegistryRow::Assignment(one) => self.add(one, |_| position),
            RegistryRow::Principal(one) => self.add(one, |_| position),
        }
    }
}

impl<P> PageWriter<P> {
    /// A page of at most `max_rows` rows.
    pub(crate) fn new(max_rows: u32) -> Self {
        Self { text: vec![b'['], rows: 0, max_rows, max_bytes: PAGE_BYTES, last: None, more: false }
    }

    /// The first chunk of a whole list.
    fn first_chunk() -> Self {
        Self { max_bytes: CHUNK_BYTES, ..Self::new(u32::MAX) }
    }

    /// The chunk of a whole list that follows `last`.
    fn next_chunk(last: Option<P>) -> Self {
        Self { text: Vec::with_capacity(CHUNK_BYTES), last, ..Self::first_chunk() }
    }

    /// Adds a row; `false` if it does not fit.
    pub(crate) fn add<T: Serialize>(&mut self, row: &T, position: impl FnOnce(&T) -> P) -> bool {
        if self.rows == self.max_rows || self.text.len() >= self.max_bytes {
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

    /// Whether the page has no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The page as a response.
    pub(crate) fn into_response(
        self,
        reservation: Reservation,
        query: &Query,
        encode: impl Fn(P) -> String,
    ) -> Response {
        let (body, last, more) = self.into_parts(reservation);
        with_link(body, query, last.filter(|_| more).map(encode))
    }

    /// The page as a body, the position of its last row, and whether more rows exist.
    pub(crate) fn into_parts(mut self, mut reservation: Reservation) -> (Body, Option<P>, bool) {
        self.text.push(b']');
        reservation.shrink(self.text.len());
        let body = if self.text.len() > UNCOUNTED_BYTES { reservation.attach(self.text) } else { self.text.into() };
        (Body::from(body), self.last, self.more)
    }
}

fn with_link(body: Body, query: &Query, cursor: Option<String>) -> Response {
    let json = HeaderValue::from_static("application/json");
    let mut response = (StatusCode::OK, [(header::CONTENT_TYPE, json)], body).into_response();
    response.extensions_mut().insert(Accounted);
    if let Some(link) = cursor.and_then(|cursor| HeaderValue::from_str(&query.next_link("cursor", &cursor)).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// In the extensions of a response whose bytes are counted in the budget already.
#[derive(Clone, Copy)]
pub(crate) struct Accounted;

/// Reserves memory for one page.
pub(crate) async fn reserve_page(app: &App) -> Result<Reservation, ApiError> {
    app.answers.reserve(PAGE_BYTES + (PAGE_BYTES >> 1)).await.map_err(|_| ApiError::Overloaded)
}

/// The state that the page of this query needs from a replica.
pub(crate) fn need_of(query: &Query, call: &Call) -> ReadNeed {
    call.read_need(query.members.get("cursor").and_then(Json::as_text))
}

/// Responds with the given page of `list`, or with all of it if no page was requested.
pub(crate) async fn respond<L: ListSource>(
    app: &Arc<App>,
    query: &Query,
    call: &Call,
    list: L,
    page: Option<Page>,
) -> Result<Response, ApiError> {
    app.epr.await_revision(call.at_least).await?;
    let need = need_of(query, call);
    match page {
        Some(page) => one_page(app, query, need, &list, page).await,
        None => whole(app, query, need, list).await,
    }
}

async fn one_page<L: ListSource>(
    app: &App,
    query: &Query,
    need: ReadNeed,
    list: &L,
    page: Page,
) -> Result<Response, ApiError> {
    let reservation = reserve_page(app).await?;
    let mut writer = PageWriter::new(page.limit);
    // One row more tells whether there is a next page.
    let rows = Page { limit: page.limit + 1, ..page };
    let position = app.epr.show_list(need, list.list(), rows, &mut |row| writer.add_row(&row)).await?;
    Ok(writer.into_response(reservation, query, |cursor| with_position(cursor.encode(), position)))
}

/// All of `list`, within the bytes that the transport has for a list. A list that fits into one chunk is sent at once.
/// The end of a larger one is looked up first, so that `Link` can be sent before the rows.
async fn whole<L: ListSource>(app: &Arc<App>, query: &Query, need: ReadNeed, list: L) -> Result<Response, ApiError> {
    let reservation = app.answers.reserve(STREAM_BYTES).await.map_err(|_| ApiError::Overloaded)?;
    let mut first = PageWriter::first_chunk();
    let all = Page { limit: u32::MAX, after: None };
    let position = app.epr.show_list(need, list.list(), all, &mut |row| first.add_row(&row)).await?;
    if !first.more {
        return Ok(first.into_response(reservation, query, Cursor::encode));
    }
    let need = need.after_page(position);
    let end = app.epr.list_end(need, list.list(), app.transport.list_bytes()).await?;
    let (sender, chunks) = mpsc::channel(1);
    tokio::spawn(produce(Arc::clone(app), need, list, (first, end), sender));
    let stream = ListStream { chunks, ended: false, _reservation: reservation };
    let body = Body::from_stream(stream::unfold(stream, ListStream::next));
    // The state of the last chunk is not known yet: without a position, the next page comes from the primary.
    Ok(with_link(body, query, end.map(Cursor::encode)))
}

/// The body of a streamed list.
struct ListStream {
    chunks: mpsc::Receiver<Chunk>,
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
        let bytes = match self.chunks.recv().await {
            Some(Chunk::Rows(text)) => Ok(text.into()),
            Some(Chunk::End) => {
                self.ended = true;
                Ok(Bytes::from_static(b"]"))
            }
            // An error breaks the connection, so that the caller cannot mistake the part for the whole.
            None => {
                self.ended = true;
                Err(io::Error::other("the list could not be read to its end"))
            }
        };
        Some((bytes, self))
    }
}

/// Reads a list chunk by chunk, each in a call of its own, so that no database connection is held between them, however
/// slow the reader is.
async fn produce<L: ListSource>(
    app: Arc<App>,
    mut need: ReadNeed,
    list: L,
    (first, end): (PageWriter<Cursor>, Option<Cursor>),
    sender: mpsc::Sender<Chunk>,
) {
    let mut chunk = first;
    loop {
        let (after, more) = (chunk.last, chunk.more);
        if !send(&sender, Chunk::Rows(chunk.text)).await {
            return;
        }
        if !more {
            send(&sender, Chunk::End).await;
            return;
        }
        chunk = PageWriter::next_chunk(after);
        let rest = Page { limit: u32::MAX, after };
        let mut add = |row: RegistryRow| {
            let position = Cursor::of(&row);
            let beyond = end.is_some_and(|end| (position.created_at, position.id) < (end.created_at, end.id));
            !beyond && chunk.add_row(&row)
        };
        match app.epr.show_list(need, list.list(), rest, &mut add).await {
            Ok(position) => need = need.after_page(position),
            Err(error) => {
                warn!(error = epr_core::error::chain(&error), "list_interrupted");
                return;
            }
        }
    }
}

/// Sends a chunk; `false` if the reader disconnected or takes too long.
async fn send(sender: &mpsc::Sender<Chunk>, chunk: Chunk) -> bool {
    match tokio::time::timeout(CHUNK_TIMEOUT, sender.send(chunk)).await {
        Ok(sent) => sent.is_ok(),
        Err(_) => {
            warn!(limit_seconds = CHUNK_TIMEOUT.as_secs(), "list_not_taken");
            false
        }
    }
}
