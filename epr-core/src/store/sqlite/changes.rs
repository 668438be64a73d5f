//! The change feed on SQLite: other processes may write the file, which is polled.

use std::time::Duration;

use sqlx::{Row as _, SqliteConnection};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::dialect::{Pool, classify};
use super::sql::facts::read_revision;
use super::sql::invalidations;
use super::sql::schema::Target;
use crate::domain::{Json, Revision};
use crate::store::{FeedEvent, Invalidation, Result, StoreError};

/// The interval between polls of the file.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The time that a poll may take.
const POLL_TIMEOUT: Duration = Duration::from_secs(2);

/// The most invalidations of one transaction that are kept one by one; more are replaced by one of all principals, as
/// the triggers on PostgreSQL do.
const MAX_INVALIDATIONS: usize = 256;

/// Returns the invalidations of the running transaction; no other one runs.
pub(super) async fn of_transaction(conn: &mut SqliteConnection) -> Result<Vec<Invalidation>> {
    let rows = sqlx::query("UPDATE cache_renewals SET fresh = FALSE WHERE fresh RETURNING id, principal_id")
        .fetch_all(&mut *conn)
        .await
        .map_err(classify)?;
    let invalidations = rows.iter().map(invalidations::read).collect::<Result<Vec<_>>>()?;
    if invalidations.len() <= MAX_INVALIDATIONS {
        return Ok(invalidations);
    }
    let Some(newest) = invalidations.iter().map(|invalidation| invalidation.id).max() else { return Ok(invalidations) };
    sqlx::query("UPDATE cache_renewals SET principal_id = NULL WHERE id = $1")
        .bind(newest)
        .execute(&mut *conn)
        .await
        .map_err(classify)?;
    // Other processes see by the missing ids that all decisions are invalid.
    let others = invalidations.iter().map(|invalidation| invalidation.id).filter(|id| *id != newest);
    let others = Json::List(others.map(Json::Int).collect()).to_string();
    sqlx::query("DELETE FROM cache_renewals WHERE id IN (SELECT value FROM json_each($1))")
        .bind(others)
        .execute(conn)
        .await
        .map_err(classify)?;
    Ok(vec![Invalidation { id: newest, principal: None }])
}

/// Reports changes until the pool is closed.
pub(super) async fn follow(pool: &Pool, target: &Target, report: &(dyn Fn(FeedEvent) + Send + Sync)) {
    if target.lock_file.is_none() {
        return report(FeedEvent::SingleProcess);
    }
    let mut warned = false;
    while !pool.is_closed() {
        let error = match watch(pool, report).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        report(FeedEvent::Disconnected);
        if !std::mem::replace(&mut warned, true) && !pool.is_closed() {
            warn!(error = crate::error::chain(&error), "decision_cache_line_cut");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

enum Never {}

async fn watch(pool: &Pool, report: &(dyn Fn(FeedEvent) + Send + Sync)) -> Result<Never> {
    let at = Instant::now();
    let (mut seen, mut revision) = answered(last(pool)).await?;
    let pending = answered(after(pool, 0)).await?;
    let database = answered(async { invalidations::database(&mut *pool.acquire().await?).await }).await?;
    report(FeedEvent::Connected { at, database, pending });
    report(FeedEvent::Reached(revision));
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let at = Instant::now();
        let (now, reached) = answered(last(pool)).await?;
        if now != seen {
            let changes = answered(after(pool, seen)).await?;
            // Some are deleted already, or the file was replaced.
            let known = changes.iter().filter(|invalidation| (seen + 1..=now).contains(&invalidation.id)).count();
            if i64::try_from(known) != Ok(now - seen) {
                report(FeedEvent::Changed(Invalidation { id: 0, principal: None }));
            }
            seen = changes.last().map_or(now, |invalidation| invalidation.id.max(now));
            changes.into_iter().map(FeedEvent::Changed).for_each(report);
        }
        // Read with the last id: every invalidation up to it has been reported.
        if reached != revision {
            revision = reached;
            report(FeedEvent::Reached(revision));
        }
        report(FeedEvent::Heartbeat(at));
    }
}

async fn answered<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(POLL_TIMEOUT, call).await.map_err(|_| StoreError::Unavailable("the file does not answer".into()))?
}

/// Returns the highest id that was ever assigned, and the revision, in one snapshot.
async fn last(pool: &Pool) -> Result<(i64, Revision)> {
    let row = sqlx::query(
        "SELECT r.registry_sequence, r.incarnation, \
         coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'cache_renewals'), 0) AS last \
         FROM registry_head r WHERE r.id = 1",
    )
    .fetch_one(&mut *pool.acquire().await?)
    .await
    .map_err(classify)?;
    Ok((row.try_get("last").map_err(classify)?, read_revision(&row)?))
}

async fn after(pool: &Pool, id: i64) -> Result<Vec<Invalidation>> {
    invalidations::after(&mut *pool.acquire().await?, id).await
}
