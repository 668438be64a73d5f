//! The change feed on PostgreSQL: NOTIFY in the changing transaction, LISTEN on a dedicated connection.

use std::time::Duration;

use sqlx::Acquire as _;
use sqlx::postgres::{PgListener, PgNotification, PgPoolOptions};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::warn;
use uuid::Uuid;

use super::dialect::{Conn, Pool, acquire, classify, with_deadline};
use super::pooling::Pooling;
use super::sql::schema::Target;
use super::sql::{invalidations, revisions};
use crate::store::continuity::WrongServer;
use crate::store::{FeedEvent, Invalidation, Result, StoreError};

/// The channel on which the triggers of the schema report changes.
const CHANNEL: &str = "epr_decisions";
/// The channel on which the triggers of the schema report revisions, after the changes of the same transaction.
const REVISIONS: &str = "epr_revisions";
/// The `application_name` of the session of a process that caches decisions and follows changes.
pub(super) const SESSION: &str = "omen-epr changes";
/// The interval between tests of the connection.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// The time in which the connection must answer a test.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The interval at which the process sends a notification to itself, to see that notifications arrive: through a pooler
/// in transaction mode, LISTEN succeeds and no notification ever arrives.
const ECHO_INTERVAL: Duration = Duration::from_secs(10);
/// The time in which such a notification must arrive.
const ECHO_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait before the next attempt to listen.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(250);

/// Returns the invalidations of the running transaction.
pub(super) async fn of_transaction(conn: &mut Conn) -> Result<Vec<Invalidation>> {
    let rows =
        sqlx::query("SELECT id, principal_id FROM cache_renewals WHERE transaction = pg_current_xact_id_if_assigned()")
            .fetch_all(conn)
            .await
            .map_err(classify)?;
    rows.iter().map(invalidations::read).collect()
}

/// Reports changes until the pool is closed.
pub(super) async fn follow(pool: &Pool, _: &Target, report: &(dyn Fn(FeedEvent) + Send + Sync)) {
    let mut warned = false;
    while !pool.is_closed() {
        if pool.pooling() == Some(Pooling::Transactions) {
            // LISTEN would belong to another client by the next transaction. Decisions are evaluated; nothing is
            // cached.
            tokio::time::sleep(ECHO_INTERVAL).await;
            continue;
        }
        let error = match listen(pool, report).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        report(FeedEvent::Disconnected);
        if !std::mem::replace(&mut warned, true) && !pool.is_closed() {
            warn!(error = crate::error::chain(&error), "decision_cache_line_cut");
        }
        tokio::time::sleep(RECONNECT_INTERVAL).await;
    }
}

enum Never {}

fn silent() -> StoreError {
    StoreError::Unavailable(
        "notifications do not arrive (a connection pooler in transaction mode, or a server that hangs)".into(),
    )
}

async fn listen(pool: &Pool, report: &(dyn Fn(FeedEvent) + Send + Sync)) -> Result<Never> {
    let generation = pool.continuity().generation();
    // Outside the pool, which would lack the connection for ever.
    let options = pool.connect_options().application_name(SESSION);
    let own = PgPoolOptions::new().max_connections(1).acquire_timeout(ANSWER_TIMEOUT).connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&own).await.map_err(classify)?;
    listener.eager_reconnect(false);
    answered(listener.listen_all([CHANNEL, REVISIONS])).await?;

    // INVARIANT: the feed is not reported as connected before a notification has arrived.
    let mut echo = Echo::send(pool);
    while !echo.heard {
        let note = timeout(ECHO_TIMEOUT, listener.try_recv()).await.map_err(|_| silent())?;
        echo.receive(&note.map_err(classify)?.ok_or_else(cut)?);
    }
    // Before the pending invalidations are read: every later change is received.
    let at = Instant::now();
    let first = timeout(ANSWER_TIMEOUT, async {
        let conn = listener.acquire().await.map_err(classify)?;
        let revision = revisions::newest(&mut *conn).await?;
        let database = invalidations::database(&mut *conn).await?;
        Ok::<_, StoreError>((revision, database, invalidations::after(conn, 0).await?))
    });
    let (revision, database, pending) = first.await.map_err(|_| silent())??;
    report(FeedEvent::Connected { at, database, pending });
    report(FeedEvent::Reached(revision));

    let mut beat = interval(HEARTBEAT_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            note = listener.try_recv() => {
                handle_notification(&note.map_err(classify)?.ok_or_else(cut)?, &mut echo, report);
            }
            () = pool.continuity().retired(generation) => return Err(WrongServer::error("another one has taken over")),
            _ = beat.tick() => {
                let at = Instant::now();
                let recovering = sqlx::query_scalar::<_, bool>("SELECT pg_is_in_recovery()");
                if answered(recovering.fetch_one(&mut listener)).await? {
                    return Err(WrongServer::error("it is in recovery (a standby)"));
                }
                // Notifications that arrived with the answer were committed before it.
                while let Some(note) = listener.next_buffered() {
                    handle_notification(&note, &mut echo, report);
                }
                if !echo.heard && echo.sent.elapsed() >= ECHO_TIMEOUT {
                    return Err(silent());
                }
                report(FeedEvent::Heartbeat(at));
                if echo.heard && echo.sent.elapsed() >= ECHO_INTERVAL {
                    echo = Echo::send(pool);
                }
            }
        }
    }
}

fn cut() -> StoreError {
    StoreError::Unavailable("the connection that listens was lost".into())
}

async fn answered<T>(call: impl Future<Output = std::result::Result<T, sqlx::Error>>) -> Result<T> {
    timeout(ANSWER_TIMEOUT, call).await.map_err(|_| silent())?.map_err(classify)
}

/// A notification that this process sends to itself, over another connection.
struct Echo {
    payload: String,
    sent: Instant,
    heard: bool,
}

impl Echo {
    fn send(pool: &Pool) -> Self {
        let echo =
            Self { payload: format!("echo {}", uuid::Uuid::new_v4().simple()), sent: Instant::now(), heard: false };
        let (pool, payload) = (pool.clone(), echo.payload.clone());
        tokio::spawn(async move {
            let call = async {
                let mut conn = acquire(&pool).await?;
                let note = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(payload);
                note.execute(&mut *conn).await.map_err(classify)
            };
            // A failure shows when the notification does not arrive.
            let _ = with_deadline(ECHO_TIMEOUT, call).await;
        });
        echo
    }

    fn receive(&mut self, note: &PgNotification) {
        self.heard |= note.payload() == self.payload;
    }
}

fn handle_notification(note: &PgNotification, echo: &mut Echo, report: &(dyn Fn(FeedEvent) + Send + Sync)) {
    if note.channel() == REVISIONS {
        // A form of a newer schema says nothing to this program.
        if let Ok(revision) = note.payload().parse() {
            report(FeedEvent::Reached(revision));
        }
        return;
    }
    echo.receive(note);
    if note.payload().starts_with("echo ") {
        return;
    }
    let invalidation = note.payload().split_once(' ').and_then(|(id, principal)| {
        let principal = if principal == "*" { None } else { Some(principal.parse::<Uuid>().ok()?) };
        Some(Invalidation { id: id.parse().ok()?, principal })
    });
    // A form of a newer schema: all decisions are invalid.
    report(FeedEvent::Changed(invalidation.unwrap_or(Invalidation { id: 0, principal: None })));
}
