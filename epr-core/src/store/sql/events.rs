//! Statements on `platform_events`.

use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use super::columns::{Column as _, read_object};
use super::dialect::{
    Conn, Db, Row, SqlTime, bind_id, bind_time, classify, lock_ordering_key, notify_outbox, read_id, read_time,
    use_indexes_in_order,
};
use super::listing;
use crate::domain::event::{DeliveryState, Event, EventFilter};
use crate::domain::fields::Choice;
use crate::domain::{Json, Timestamp, TraceParent};
use crate::store::{
    Backlog, Completion, Cursor, InsertedEvent, Lease, LeasedEvent, LeasedEvents, OutboxCursor, OutboxEvent, Page,
    Result, RowVisitor, StoreError,
};

/// The columns of an event, without the table's alias: SQLite knows none in `RETURNING`.
macro_rules! columns {
    () => {
        "position, id, event_id, event_type, source, CAST(payload AS TEXT) AS payload, \
         CAST(context AS TEXT) AS context, correlation_id, occurred_at, schema_version, delivery_state, \
         delivery_attempts, last_error, created_at, updated_at, traceparent, ingested"
    };
}

fn read(row: &Row) -> Result<Event> {
    let state: &str = row.try_get("delivery_state").map_err(classify)?;
    let at = |column| row.try_get::<SqlTime, _>(column).map_err(classify).and_then(read_time);
    Ok(Event {
        id: row.try_get("id").map(read_id).map_err(classify)?,
        event_id: row.try_get("event_id").map(read_id).map_err(classify)?,
        event_type: row.try_get("event_type").map_err(classify)?,
        source: row.try_get("source").map_err(classify)?,
        payload: read_object("payload", row.try_get("payload").map_err(classify)?)?,
        context: read_object("context", row.try_get("context").map_err(classify)?)?,
        correlation_id: row.try_get("correlation_id").map_err(classify)?,
        occurred_at: at("occurred_at")?,
        schema_version: row.try_get("schema_version").map_err(classify)?,
        delivery_state: DeliveryState::from_word(state).ok_or_else(|| StoreError::corrupt("delivery state", state))?,
        delivery_attempts: row.try_get("delivery_attempts").map_err(classify)?,
        last_error: row.try_get("last_error").map_err(classify)?,
        created_at: at("created_at")?,
        updated_at: at("updated_at")?,
        // A text that is not a trace parent is ignored: nothing depends on it.
        traceparent: row.try_get::<Option<&str>, _>("traceparent").map_err(classify)?.and_then(TraceParent::parse),
        ingested: row.try_get("ingested").map_err(classify)?,
    })
}

pub(super) async fn insert(conn: &mut Conn, new: &OutboxEvent) -> Result<InsertedEvent> {
    let event = &new.event;
    let pending = event.delivery_state == DeliveryState::Pending;
    // The writer delivers the event at once, unless an earlier one with the same key is pending.
    if let Some(key) = new.ordering_key.as_deref().filter(|_| pending) {
        lock_ordering_key(&mut *conn, key).await?;
    }
    let behind: bool = if pending && new.ordering_key.is_some() {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM platform_events e WHERE e.ordering_key = $1 AND e.delivery_state = \
             'pending')",
        )
        .bind(&new.ordering_key)
        .persistent(false)
        .fetch_one(&mut *conn)
        .await
        .map_err(classify)?
    } else {
        false
    };
    let lease = new.lease.filter(|_| pending && !behind);
    let position: Option<i64> = sqlx::query_scalar(concat!(
        "INSERT INTO platform_events (id, event_id, event_type, source, payload, context, correlation_id, occurred_at, \
           schema_version, delivery_state, delivery_attempts, last_error, created_at, updated_at, ordering_key, \
           ingested, \
           next_attempt_at, lease_until, lease_token, traceparent) \
         VALUES ($1, $2, $3, $4, ",
        json_value!("$5"),
        ", ",
        json_value!("$6"),
        ", $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) \
         ON CONFLICT (source, correlation_id) WHERE ingested AND correlation_id IS NOT NULL DO NOTHING RETURNING \
         position"
    ))
    .bind(bind_id(event.id))
    .bind(bind_id(event.event_id))
    .bind(&event.event_type)
    .bind(&event.source)
    .bind(Json::Object(event.payload.clone()).to_string())
    .bind(Json::Object(event.context.clone()).to_string())
    .bind(&event.correlation_id)
    .bind(bind_time(event.occurred_at))
    .bind(&event.schema_version)
    .bind(event.delivery_state.word())
    .bind(event.delivery_attempts)
    .bind(&event.last_error)
    .bind(bind_time(event.created_at))
    .bind(bind_time(event.updated_at))
    .bind(&new.ordering_key)
    .bind(event.ingested)
    .bind(bind_time(event.created_at))
    .bind(lease.map(|claim| bind_time(claim.until)))
    .bind(lease.map(|claim| bind_id(claim.token)))
    .bind(event.traceparent.map(|trace| trace.to_string()))
    .fetch_optional(&mut *conn)
    .await
    .map_err(classify)?;
    if let Some(position) = position {
        if pending && lease.is_none() {
            notify_outbox(conn).await?;
        }
        return Ok(InsertedEvent::New { position, claimed: lease.is_some() });
    }
    let row = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM platform_events e WHERE e.ingested AND e.source = $1 AND e.correlation_id = $2"
    ))
    .bind(&event.source)
    .bind(&event.correlation_id)
    .fetch_optional(conn)
    .await
    .map_err(classify)?;
    row.as_ref().map(read).transpose()?.map(|event| InsertedEvent::Existing(Box::new(event))).ok_or_else(|| {
        StoreError::Contention("the event with the same source and correlation id is not visible yet".into())
    })
}

/// Events in one statement.
const EVENTS_IN_A_STATEMENT: usize = 200;

/// Inserts events of EPR's own, without a lease: relays deliver them, and are woken once.
///
/// No ordering key is locked. A transaction that does not see these events yet may deliver a later one of the same key
/// first; both were made at the same time.
pub(super) async fn insert_all(conn: &mut Conn, events: &[OutboxEvent]) -> Result<()> {
    for some in events.chunks(EVENTS_IN_A_STATEMENT) {
        let mut query = QueryBuilder::<Db>::new(
            "INSERT INTO platform_events (id, event_id, event_type, source, correlation_id, occurred_at, \
               schema_version, delivery_state, delivery_attempts, last_error, created_at, updated_at, ordering_key, \
               ingested, next_attempt_at, traceparent, payload, context) ",
        );
        query.push_values(some, |mut row, OutboxEvent { event, ordering_key, .. }| {
            row.push_bind(bind_id(event.id)).push_bind(bind_id(event.event_id));
            row.push_bind(event.event_type.clone()).push_bind(event.source.clone());
            row.push_bind(event.correlation_id.clone()).push_bind(bind_time(event.occurred_at));
            row.push_bind(event.schema_version.clone()).push_bind(event.delivery_state.word());
            row.push_bind(event.delivery_attempts).push_bind(event.last_error.clone());
            row.push_bind(bind_time(event.created_at)).push_bind(bind_time(event.updated_at));
            row.push_bind(ordering_key.clone()).push_bind(event.ingested).push_bind(bind_time(event.created_at));
            row.push_bind(event.traceparent.map(|trace| trace.to_string()));
            row.push("");
            event.payload.bind(&mut row);
            row.push("");
            event.context.bind(&mut row);
        });
        let is_frequent = matches!(some.len(), 1 | EVENTS_IN_A_STATEMENT);
        query.build().persistent(is_frequent).execute(&mut *conn).await.map_err(classify)?;
    }
    if events.iter().any(|new| new.event.delivery_state == DeliveryState::Pending) {
        notify_outbox(conn).await?;
    }
    Ok(())
}

pub(super) async fn get(conn: &mut Conn, event_id: Uuid) -> Result<Option<Event>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM platform_events e WHERE e.event_id = $1"))
        .bind(bind_id(event_id))
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn list(
    conn: &mut Conn,
    filter: &EventFilter,
    page: Page,
    visit: RowVisitor<'_, Event>,
) -> Result<()> {
    let query = |position: Option<Cursor>, limit| {
        let mut query = QueryBuilder::<Db>::new(concat!("SELECT ", columns!(), " FROM platform_events e WHERE 1 = 1"));
        if let Some(event_type) = &filter.event_type {
            query.push(" AND e.event_type = ").push_bind(event_type.clone());
        }
        if let Some(source) = &filter.source {
            query.push(" AND e.source = ").push_bind(source.clone());
        }
        if let Some(state) = filter.delivery_state {
            query.push(" AND e.delivery_state = ").push_bind(state.word());
        }
        if let Some(cursor) = position {
            query.push(" AND (e.occurred_at, e.id) < (").push_bind(bind_time(cursor.created_at));
            query.push(", ").push_bind(bind_id(cursor.id)).push(")");
        }
        query.push(" ORDER BY e.occurred_at DESC, e.id DESC LIMIT ").push_bind(i64::from(limit));
        query
    };
    let position = |event: &Event| Cursor { created_at: event.occurred_at, id: event.id };
    listing::show(conn, (page.limit, page.after), query, (read, position), visit).await
}

/// The largest number of ordering keys, or of events without a key, that a claim reads.
const MAX_LOOKED_AT: u16 = 256;

/// The first pending event of the next ordering key after `$key`: one probe of the index.
macro_rules! next_head {
    ($column:literal, $key:literal) => {
        concat!(
            "(SELECT e.",
            $column,
            " FROM platform_events e ",
            only_by_index!("ix_platform_events_key"),
            " WHERE e.delivery_state = 'pending' AND e.ordering_key > ",
            $key,
            " ORDER BY e.ordering_key, e.position LIMIT 1)"
        )
    };
}

/// The ordering keys with pending events after `$1`, at most `$2` of them, each with its first pending event.
pub(in super::super) const PENDING_KEYS: &str = concat!(
    "WITH RECURSIVE walk(step, previous, ordering_key) AS ( \
       SELECT 0, CAST($1 AS text), CAST($1 AS text) \
       UNION ALL \
       SELECT w.step + 1, w.ordering_key, ",
    next_head!("ordering_key", "w.ordering_key"),
    " FROM walk w WHERE w.step < $2 AND w.ordering_key IS NOT NULL) \
     SELECT w.ordering_key, ",
    next_head!("position", "w.previous"),
    " AS position FROM walk w WHERE w.step > 0 AND w.ordering_key IS NOT NULL ORDER BY w.step"
);

/// The pending events without an ordering key after the position `$1`, at most `$2` of them.
pub(in super::super) const PENDING_UNORDERED: &str = concat!(
    "SELECT e.position FROM platform_events e ",
    only_by_index!("ix_platform_events_key"),
    " WHERE e.delivery_state = 'pending' AND e.ordering_key IS NULL AND e.position > $1 \
     ORDER BY e.ordering_key, e.position LIMIT $2"
);

/// Leases due events, going over ordering keys and not over events: of each key, only the first pending event is a
/// candidate, leased or not, so that two relays cannot overtake each other, and a long backlog of one key costs the
/// others nothing.
pub(super) async fn claim(
    conn: &mut Conn,
    claim: Lease,
    now: Timestamp,
    limit: u32,
    from: OutboxCursor,
) -> Result<LeasedEvents> {
    use_indexes_in_order(&mut *conn).await?;
    let mut claimed = Vec::new();
    let mut cursor = from;
    if let OutboxCursor::Key(after) = &cursor {
        let heads = pending_keys(&mut *conn, after).await?;
        let positions: Vec<_> = heads.iter().map(|(_, position)| *position).collect();
        claimed = lease(&mut *conn, claim, now, limit, &positions).await?;
        let full = claimed.len() >= limit as usize;
        // The cursor moves behind the last leased event; with room for more, behind the last candidate.
        let last = if full {
            heads.iter().rfind(|(_, at)| claimed.iter().any(|one| one.position == *at))
        } else {
            heads.last()
        };
        let ended = !full && heads.len() < usize::from(MAX_LOOKED_AT);
        cursor = match last {
            Some((key, _)) if !ended => OutboxCursor::Key(key.clone()),
            _ => OutboxCursor::Unordered(0),
        };
    }
    let mut ended = false;
    if let OutboxCursor::Unordered(after) = cursor {
        let room = limit.saturating_sub(u32::try_from(claimed.len()).unwrap_or(limit));
        let positions = pending_unordered(&mut *conn, after).await?;
        let more = lease(&mut *conn, claim, now, room, &positions).await?;
        let full = more.len() >= room as usize;
        let last = if full { more.iter().map(|one| one.position).max() } else { positions.last().copied() };
        ended = !full && positions.len() < usize::from(MAX_LOOKED_AT);
        cursor = if ended { OutboxCursor::default() } else { OutboxCursor::Unordered(last.unwrap_or(after)) };
        claimed.extend(more);
    }
    claimed.sort_by_key(|event| event.position);
    Ok(LeasedEvents { events: claimed, next: cursor, ended })
}

async fn pending_keys(conn: &mut Conn, after: &str) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query(PENDING_KEYS)
        .bind(after)
        .bind(i64::from(MAX_LOOKED_AT))
        .persistent(false)
        .fetch_all(conn)
        .await
        .map_err(classify)?;
    let head = |row: &Row| Ok((row.try_get("ordering_key")?, row.try_get("position")?));
    rows.iter().map(|row| head(row).map_err(classify)).collect()
}

async fn pending_unordered(conn: &mut Conn, after: i64) -> Result<Vec<i64>> {
    sqlx::query_scalar(PENDING_UNORDERED)
        .bind(after)
        .bind(i64::from(MAX_LOOKED_AT))
        .persistent(false)
        .fetch_all(conn)
        .await
        .map_err(classify)
}

/// Leases the first `limit` of the events at `positions` that are due and not leased.
async fn lease(
    conn: &mut Conn,
    claim: Lease,
    now: Timestamp,
    limit: u32,
    positions: &[i64],
) -> Result<Vec<LeasedEvent>> {
    if positions.is_empty() || limit == 0 {
        return Ok(Vec::new());
    }
    let positions = Json::List(positions.iter().copied().map(Json::Int).collect()).to_string();
    // Materialized: locks are taken once, however the update is planned.
    let rows = sqlx::query(concat!(
        "WITH due AS MATERIALIZED ( \
           SELECT d.position FROM ",
        json_items!("$5"),
        " JOIN platform_events d ON d.position = CAST(item.value AS bigint) \
           WHERE d.delivery_state = 'pending' AND d.next_attempt_at <= $3 \
             AND (d.lease_until IS NULL OR d.lease_until <= $3) \
           ORDER BY d.ordering_key, d.position LIMIT $4",
        skip_locked!("d"),
        ") UPDATE platform_events SET lease_token = $1, lease_until = $2 \
           WHERE position IN (SELECT position FROM due) RETURNING ",
        columns!()
    ))
    .bind(bind_id(claim.token))
    .bind(bind_time(claim.until))
    .bind(bind_time(now))
    .bind(i64::from(limit))
    .bind(positions)
    .persistent(false)
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    rows.iter()
        .map(|row| Ok(LeasedEvent { position: row.try_get("position").map_err(classify)?, event: read(row)? }))
        .collect()
}

/// Stores the results of claimed events. An event that another process has claimed meanwhile stays unchanged.
pub(super) async fn complete(conn: &mut Conn, token: Uuid, now: Timestamp, completions: &[Completion]) -> Result<bool> {
    let mut waiting = false;
    use_indexes_in_order(&mut *conn).await?;
    for completion in completions {
        sqlx::query(
            "UPDATE platform_events SET delivery_state = $3, delivery_attempts = delivery_attempts + $4, \
             last_error = $5, \
               next_attempt_at = $6, lease_until = NULL, lease_token = NULL, updated_at = $7 \
             WHERE position = $1 AND lease_token = $2 AND delivery_state = 'pending'",
        )
        .bind(completion.position)
        .bind(bind_id(token))
        .bind(completion.state.word())
        .bind(completion.attempts)
        .bind(&completion.last_error)
        .bind(bind_time(completion.next_attempt_at))
        .bind(bind_time(now))
        .execute(&mut *conn)
        .await
        .map_err(classify)?;
        // A range of one key, and not an equality: only one index is in the order asked for then.
        waiting |= sqlx::query_scalar::<Db, bool>(concat!(
            "SELECT (SELECT o.position FROM platform_events o ",
            only_by_index!("ix_platform_events_key"),
            " WHERE o.delivery_state = 'pending' AND o.ordering_key >= s.ordering_key \
                AND o.ordering_key <= s.ordering_key AND o.position > s.position \
              ORDER BY o.ordering_key, o.position LIMIT 1) IS NOT NULL \
             FROM platform_events s WHERE s.position = $1"
        ))
        .bind(completion.position)
        .persistent(false)
        .fetch_one(&mut *conn)
        .await
        .map_err(classify)?;
    }
    // Another process may deliver the events that became free: retries, and those after the completed ones.
    if waiting || completions.iter().any(|completion| completion.state == DeliveryState::Pending) {
        notify_outbox(conn).await?;
    }
    Ok(waiting)
}

/// Whether an event is pending.
pub(super) async fn any_pending(conn: &mut Conn) -> Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM platform_events WHERE delivery_state = 'pending')")
        .fetch_one(conn)
        .await
        .map_err(classify)
}

/// Counts up to [`Backlog::MAX_COUNT`] of each state: what is read twice a minute must not read a million rows.
pub(super) async fn backlog(conn: &mut Conn) -> Result<Backlog> {
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM platform_events WHERE delivery_state = 'pending' LIMIT $1) p) AS \
         pending, \
           (SELECT COUNT(*) FROM (SELECT 1 FROM platform_events WHERE delivery_state = 'failed' LIMIT $1) f) AS \
           failed, \
           (SELECT created_at FROM platform_events WHERE delivery_state = 'pending' ORDER BY position LIMIT 1) AS \
           oldest",
    )
    .bind(Backlog::MAX_COUNT)
    .fetch_one(conn)
    .await
    .map_err(classify)?;
    Ok(Backlog {
        pending: row.try_get("pending").map_err(classify)?,
        failed: row.try_get("failed").map_err(classify)?,
        oldest_pending: row.try_get::<Option<SqlTime>, _>("oldest").map_err(classify)?.map(read_time).transpose()?,
    })
}

/// Puts failed events back: one, or the first `limit`.
pub(super) async fn requeue(conn: &mut Conn, event_id: Option<Uuid>, now: Timestamp, limit: u32) -> Result<u64> {
    let mut query = QueryBuilder::<Db>::new(
        "UPDATE platform_events SET delivery_state = 'pending', delivery_attempts = 0, next_attempt_at = ",
    );
    query
        .push_bind(bind_time(now))
        .push(", updated_at = ")
        .push_bind(bind_time(now))
        .push(" WHERE delivery_state = 'failed'");
    match event_id {
        Some(event_id) => query.push(" AND event_id = ").push_bind(bind_id(event_id)),
        None => query
            .push(
                " AND position IN (SELECT position FROM platform_events WHERE delivery_state = 'failed' \
                 ORDER BY position LIMIT ",
            )
            .push_bind(i64::from(limit))
            .push(")"),
    };
    let done = query.build().execute(&mut *conn).await.map_err(classify)?;
    notify_outbox(conn).await?;
    Ok(done.rows_affected())
}
