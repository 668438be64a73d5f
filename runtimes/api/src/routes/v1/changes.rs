//! `/api/v1/changes`: the ledger entries that changed the registry, by long polls and as server-sent events.
//!
//! INVARIANT: a reader that waits holds no concurrency permit and no database connection.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use epr_core::Error;
use epr_core::authn::Scope;
use epr_core::domain::fields::{self, Fields, Problem};
use epr_core::domain::{Change, Invalid, Revision, moment};
use epr_core::store::ReadNeed;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;
use utoipa::IntoParams;

use crate::App;
use crate::access::Rule;
use crate::http::budget::{Budget, Reservation, UNCOUNTED_BYTES};
use crate::http::error::ApiError;
use crate::http::event_stream::{self, EventWriter, NoRoom, Room};
use crate::http::extract::{Paging, Query, QuestionHeaders, given_twice};
use crate::http::listing::{self, Accounted, PageWriter};
use crate::http::permit::Permit;
use crate::http::respond::{self, with_revision};
use crate::openapi::responses::{ForeignRevision, InvalidRequest};
use crate::openapi::{Route, route};
use crate::routes::HandlerResult;

pub(crate) fn routes() -> [Route; 1] {
    [route!(changes, Rule::Requires(Scope::Audit))]
}

/// The longest wait of a long poll, in seconds.
const MAX_WAIT: i64 = 30;
/// A chunk of a stream ends with the entry that exceeds this size.
const CHUNK_BYTES: usize = 64 << 10;
/// The most entries of a chunk.
const CHUNK_ENTRIES: u32 = 512;
/// The interval of the comments that keep a stream open on which nothing happens.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// The longest that a stream lasts. Its reader connects again, with a credential that is checked again.
const MAX_STREAM: Duration = Duration::from_mins(15);

const LAST_EVENT_ID: &str = "last-event-id";
const NO_READERS: Error =
    Error::Busy("Too many readers of changes are connected to this process; retry after the time in `Retry-After`");

type ChangesPage = Paging<100, 1000>;

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described")]
struct ChangesQuery {
    /// The revision after which the entries begin: that of the last entry that was taken, or the header `EPR-Revision`
    /// of the answer before. From the first entry on if absent.
    #[param(nullable = false, example = "0198c5b2-8a54-4c1e-9d3f-6f2f0d6f1c11.0000000000000004711")]
    after: Option<String>,
    /// The time to wait for an entry if there is none, in seconds. Server-sent events ignore it.
    #[param(nullable = false, minimum = 0, maximum = 30, default = 0)]
    wait: Option<u8>,
    /// The largest number of entries in the answer. Server-sent events ignore it.
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only described")]
struct ResumeHeader {
    /// The `id` of the last event that was taken, which a browser sends when it connects again. It replaces `after`.
    /// Only for server-sent events.
    #[param(rename = "Last-Event-ID", nullable = false)]
    last_event_id: Option<String>,
}

/// Follow the changes of the registry
///
/// The ledger entries that changed the registry, oldest first, each with the revision that it made. A reader that goes
/// on after the last entry that it took gets every entry once, in the order of the commits, whichever process answers.
/// The header `EPR-Revision` is the revision to go on after, also of an empty answer. If more entries exist, `Link` has
/// the next page. A page also ends at 2 MiB.
///
/// With `Accept: text/event-stream` the same entries are server-sent events, whose `id` is the revision. A stream ends
/// with an event `end` that says why, at the latest after 15 minutes; a reader that does not take events for 10 s is
/// cut.
#[utoipa::path(
    get, path = "/api/v1/changes", operation_id = "followChanges", tag = "audit",
    params(ChangesQuery, ResumeHeader, ("EPR-At-Least" = Option<Revision>, Header,
        description = "A revision: the answer rests on that state of the registry or on a later one.")),
    responses(
        (status = 200, description = "Changes, oldest first.", content(
            ([Change] = "application/json"),
            (String = "text/event-stream"),
        ), headers((
            "EPR-Revision" = Revision, description = "The revision to go on after, also of an empty answer."
        ))),
        InvalidRequest, ForeignRevision
    )
)]
async fn changes(
    State(app): State<Arc<App>>,
    QuestionHeaders(call): QuestionHeaders,
    permit: Option<Extension<Permit>>,
    headers: HeaderMap,
    query: Query,
) -> HandlerResult {
    let mut fields = Fields::new("query", &query.members);
    let after = fields.given("after", moment::revision);
    let wait = fields.given("wait", fields::whole_number(0, MAX_WAIT)).and_then(|wait| u64::try_from(wait).ok());
    let limit = ChangesPage::limit(&mut fields);
    fields.only(&["after", "wait", "limit"]);
    let asked = Invalid::both(fields.finish(Some(after)), call);
    let is_stream = accepts_events(&headers);
    let resumed = if is_stream { last_event_id(&headers) } else { Ok(None) };
    let ((after, call), resumed) = Invalid::both(asked, resumed)?;
    let reader = app.readers.acquire().map_err(|_| NO_READERS)?;
    app.epr.await_revision(call.at_least).await?;
    let need = call.read_need(None);
    if is_stream {
        return stream(&app, reader, need, resumed.or(after)).await;
    }
    let wait = Duration::from_secs(wait.unwrap_or(0));
    poll(&app, &query, (need, after), (wait, limit), permit.as_deref()).await
}

/// Whether the caller asks for server-sent events.
fn accepts_events(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|value| {
        value.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_media = parts.next().is_some_and(|media| media.eq_ignore_ascii_case(event_stream::MEDIA_TYPE));
            // A weight of 0 refuses the type.
            let weight = parts.find_map(|part| part.strip_prefix("q=").map(str::parse::<f32>));
            is_media && !matches!(weight, Some(Ok(weight)) if weight <= 0.0)
        })
    })
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Revision>, Invalid> {
    let mut given = headers.get_all(LAST_EVENT_ID).iter();
    let invalid = |problem| Invalid::one("header", Some("Last-Event-ID"), problem);
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        // What a browser sends that has seen no event.
        (Some(value), None) if value.is_empty() => Ok(None),
        (Some(value), None) => {
            let revision: Result<Revision, _> = value.to_str().unwrap_or_default().parse();
            revision.map(Some).map_err(|error| invalid(Problem::new("revision", error.to_string())))
        }
        (Some(_), Some(_)) => Err(invalid(given_twice())),
    }
}

/// The revision to go on after, when everything up to `registry` has been taken.
fn position(after: Option<Revision>, registry: Revision) -> Revision {
    after.filter(|after| *after > registry).unwrap_or(registry)
}

async fn poll(
    app: &App,
    query: &Query,
    (need, after): (ReadNeed, Option<Revision>),
    (wait, limit): (Duration, u32),
    permit: Option<&Permit>,
) -> HandlerResult {
    let deadline = Instant::now() + wait;
    loop {
        // Without entries: most readers that ask have everything.
        let registry = app.read_changes(need, after, 0, &mut |_| false).await?;
        let seen = position(after, registry);
        if after.is_none_or(|after| registry > after) && registry.sequence > 0 {
            let (page, registry) = read_page(app, (need, after), limit).await?;
            if let Some(answer) = answer(query, page, position(after, registry)) {
                return Ok(answer);
            }
        }
        if Instant::now() >= deadline || app.is_stopping() || !app.transport.waits() {
            return Ok(with_revision(respond::ok(&[0_u8; 0]), seen));
        }
        if let Some(permit) = permit {
            permit.release_for(wait);
        }
        tokio::select! {
            () = app.epr.changed_since(seen) => {}
            () = sleep_until(deadline) => {}
            () = app.stopping() => {}
        }
    }
}

type ReadPage = (PageWriter<Revision>, Reservation);

async fn read_page(
    app: &App,
    (need, after): (ReadNeed, Option<Revision>),
    limit: u32,
) -> Result<(ReadPage, Revision), ApiError> {
    let _turn = app.feed.acquire().await;
    let reservation = listing::reserve_page(app).await?;
    let mut page = PageWriter::new(limit);
    let add = &mut |change: Change| page.add(&change, |change| change.revision);
    let registry = app.epr.changes_since(need, after, limit + 1, add).await?;
    Ok(((page, reservation), registry))
}

/// The answer with a page; `None` when it is empty. `seen` is the revision to go on after, if there are no more.
fn answer(query: &Query, (page, reservation): ReadPage, seen: Revision) -> Option<Response> {
    if page.is_empty() {
        return None;
    }
    let (body, last, more) = page.into_parts(reservation);
    let json = HeaderValue::from_static("application/json");
    let mut response = (StatusCode::OK, [(header::CONTENT_TYPE, json)], body).into_response();
    response.extensions_mut().insert(Accounted);
    let next = last.filter(|_| more);
    let link = next.map(|next| query.next_link("after", &next.to_string()));
    if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    Some(with_revision(response, next.unwrap_or(seen)))
}

/// Opens a stream. Errors of the position are answered before it begins.
async fn stream(app: &Arc<App>, reader: Permit, need: ReadNeed, after: Option<Revision>) -> HandlerResult {
    let registry = app.read_changes(need, after, 0, &mut |_| false).await?;
    let (writer, response) = event_stream::open(reader);
    tokio::spawn(write(Arc::clone(app), writer, need, after));
    Ok(with_revision(response, after.unwrap_or(Revision { sequence: 0, ..registry })))
}

/// Writes events until the reader disconnects or is cut, the service stops, or the stream is [`MAX_STREAM`] old.
async fn write(app: Arc<App>, writer: EventWriter, need: ReadNeed, after: Option<Revision>) {
    // Streams that began together do not end together.
    let jitter = Duration::from_millis(u64::from(uuid::Uuid::new_v4().as_fields().1) * 2);
    let end = tokio::select! {
        end = write_events(&app, &writer, need, after) => end,
        () = app.stopping() => Some(again("The service is stopping")),
        () = sleep(MAX_STREAM.saturating_sub(jitter)) => Some(again("The stream has reached its longest duration")),
    };
    if let Some(sentence) = end {
        writer.end(&sentence);
    }
}

/// Why a stream ends that can be continued.
fn again(why: impl std::fmt::Display) -> String {
    format!("{why}; connect again with the id of the last event (`Last-Event-ID`)")
}

/// Returns why the stream ends; `None` when nobody reads it any more.
async fn write_events(app: &App, writer: &EventWriter, need: ReadNeed, mut after: Option<Revision>) -> Option<String> {
    // A connection that is silent for longer is closed.
    let keep_alive = KEEP_ALIVE_INTERVAL.min(app.limits.keep_alive / 2);
    let mut chunk = b"retry: 1000\n\n".to_vec();
    let mut written = 0;
    loop {
        if !app.transport.takes_events_after(written) {
            return Some(again("The answer has no room for more events"));
        }
        let room = match writer.room().await {
            Ok(room) => room,
            Err(NoRoom::Gone) => return None,
            Err(NoRoom::TooSlow) => {
                warn!("change_reader_cut");
                return Some(again("The reader has not taken events for 10 seconds"));
            }
        };
        let mut last = None;
        let mut take = |change: Change| {
            event_stream::write_event(&mut chunk, &change.revision.to_string(), &change);
            last = Some(change.revision);
            chunk.len() < CHUNK_BYTES
        };
        let registry = match app.read_changes(need, after, CHUNK_ENTRIES, &mut take).await {
            Ok(registry) => registry,
            Err(error) => {
                warn!(error = epr_core::error::chain(&error), "change_stream_ended");
                return Some(if error.retryable() { again(error) } else { error.to_string() });
            }
        };
        let seen = position(after, registry);
        after = Some(last.unwrap_or(seen));
        if chunk.is_empty() && !app.transport.waits() {
            return Some(again("The answer has every event until now"));
        }
        if chunk.is_empty() {
            tokio::select! {
                () = app.epr.changed_since(seen) => continue,
                () = sleep(keep_alive) => chunk.extend_from_slice(b":\n\n"),
                () = writer.closed() => return None,
            }
        }
        written += chunk.len();
        if send(&app.answers, room, std::mem::take(&mut chunk)).await.is_err() {
            return Some(again("The service is overloaded"));
        }
    }
}

/// Writes a chunk, counted in the budget until it is sent.
async fn send(answers: &Budget, room: Room<'_>, chunk: Vec<u8>) -> Result<(), ApiError> {
    let bytes: Bytes = if chunk.len() > UNCOUNTED_BYTES {
        answers.reserve(chunk.len()).await.map_err(|_| ApiError::Overloaded)?.attach(chunk)
    } else {
        chunk.into()
    };
    room.write(bytes);
    Ok(())
}
