//! Statements on `idempotency_keys`.
//!
//! INVARIANT: a committed row has an answer, or was blanked by an erasure: a key is taken and its answer kept in one
//! transaction.

use async_trait::async_trait;
use sqlx::{QueryBuilder, Row as _};

use super::dialect::{Conn, Db, Id, bind_id, bind_time, classify, read_id};
use super::tx::SqlTx;
use crate::domain::Timestamp;
use crate::domain::event::Duplicate;
use crate::domain::fields::Choice as _;
use crate::domain::idempotency::{KeptAnswer, KeyState, KeyedRequest, kept_since};
use crate::store::{IdempotencyTx, PrincipalRef, Result, StoreError};

/// The most rows that one creation removes. Each adds one: the table shrinks while keys are used.
const REMOVED_BY_CREATION: u32 = 10;

/// Adds the condition on the identity of a request.
fn identified(query: &mut QueryBuilder<Db>, request: &KeyedRequest) {
    query.push(" WHERE caller = ").push_bind(bind_id(request.caller));
    query.push(" AND creation = ").push_bind(request.creation.word());
    query.push(" AND idempotency_key = ").push_bind(request.key.as_str().to_owned());
}

pub(super) async fn state(conn: &mut Conn, request: &KeyedRequest, now: Timestamp) -> Result<KeyState> {
    let mut query = QueryBuilder::<Db>::new(
        "SELECT body_sha256, answer, duplicate, principal_type, principal_id FROM idempotency_keys",
    );
    identified(&mut query, request);
    query.push(" AND created_at >= ").push_bind(bind_time(kept_since(now)));
    let Some(row) = query.build().fetch_optional(conn).await.map_err(classify)? else { return Ok(KeyState::Free) };
    let sha256: Option<Vec<u8>> = row.try_get("body_sha256").map_err(classify)?;
    let body: Option<String> = row.try_get("answer").map_err(classify)?;
    let (Some(sha256), Some(body)) = (sha256, body) else { return Ok(KeyState::Erased) };
    if sha256 != request.body_sha256 {
        return Ok(KeyState::OtherBody);
    }
    let duplicate = match row.try_get::<Option<&str>, _>("duplicate").map_err(classify)? {
        None => None,
        Some("same") => Some(Duplicate::Same),
        Some("different") => Some(Duplicate::Different),
        Some(other) => return Err(StoreError::corrupt("idempotency_keys.duplicate", other.to_owned())),
    };
    let principal_type: Option<String> = row.try_get("principal_type").map_err(classify)?;
    let principal_id: Option<Id> = row.try_get("principal_id").map_err(classify)?;
    let principal = match principal_type.zip(principal_id) {
        Some((kind, id)) => {
            Some((kind.parse().map_err(|error| StoreError::corrupt("principal type", error))?, read_id(id)))
        }
        None => None,
    };
    Ok(KeyState::Answered(KeptAnswer { body, duplicate, principal }))
}

/// Inserts the row of the request, or takes over one that is no longer kept. PostgreSQL waits here for a transaction
/// that has the key; on SQLite a transaction that writes is exclusive.
async fn take(conn: &mut Conn, request: &KeyedRequest, now: Timestamp) -> Result<KeyState> {
    let mut query = QueryBuilder::<Db>::new(
        "INSERT INTO idempotency_keys (caller, creation, idempotency_key, body_sha256, created_at) ",
    );
    query.push_values([request], |mut row, request| {
        row.push_bind(bind_id(request.caller)).push_bind(request.creation.word());
        row.push_bind(request.key.as_str().to_owned()).push_bind(request.body_sha256.to_vec());
        row.push_bind(bind_time(now));
    });
    query.push(
        " ON CONFLICT (caller, creation, idempotency_key) DO UPDATE SET body_sha256 = excluded.body_sha256, \
           created_at = excluded.created_at, answer = NULL, duplicate = NULL, principal_type = NULL, \
           principal_id = NULL WHERE idempotency_keys.created_at < ",
    );
    query.push_bind(bind_time(kept_since(now)));
    let done = query.build().execute(&mut *conn).await.map_err(classify)?;
    if done.rows_affected() == 0 {
        return state(conn, request, now).await;
    }
    remove_outdated(conn, now, REMOVED_BY_CREATION).await?;
    Ok(KeyState::Free)
}

/// Returns whether there is a row that is no longer kept.
pub(super) async fn has_outdated(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    let mut query = QueryBuilder::<Db>::new("SELECT 1 FROM idempotency_keys WHERE created_at < ");
    query.push_bind(bind_time(kept_since(now))).push(" LIMIT 1");
    Ok(query.build().fetch_optional(conn).await.map_err(classify)?.is_some())
}

/// Removes at most `most` of the oldest rows that are no longer kept, without waiting for others that do the same.
pub(super) async fn remove_outdated(conn: &mut Conn, now: Timestamp, most: u32) -> Result<u64> {
    let mut query = QueryBuilder::<Db>::new(
        "DELETE FROM idempotency_keys WHERE (caller, creation, idempotency_key) IN (SELECT k.caller, k.creation, \
           k.idempotency_key FROM idempotency_keys k WHERE k.created_at < ",
    );
    query.push_bind(bind_time(kept_since(now))).push(" ORDER BY k.created_at LIMIT ").push_bind(i64::from(most));
    query.push(skip_locked!("k")).push(")");
    Ok(query.build().execute(conn).await.map_err(classify)?.rows_affected())
}

async fn keep_answer(conn: &mut Conn, request: &KeyedRequest, answer: &KeptAnswer) -> Result<()> {
    let duplicate = answer.duplicate.map(|duplicate| match duplicate {
        Duplicate::Same => "same",
        Duplicate::Different => "different",
    });
    let (principal_type, principal_id) = answer.principal.as_ref().map(|(kind, id)| (kind.as_str(), *id)).unzip();
    let mut query = QueryBuilder::<Db>::new("UPDATE idempotency_keys SET answer = ");
    query.push_bind(answer.body.as_str()).push(", duplicate = ").push_bind(duplicate);
    query.push(", principal_type = ").push_bind(principal_type);
    query.push(", principal_id = ").push_bind(principal_id.map(bind_id));
    identified(&mut query, request);
    query.build().execute(conn).await.map_err(classify)?;
    Ok(())
}

async fn erase_answers(conn: &mut Conn, (principal_type, id): PrincipalRef<'_>) -> Result<()> {
    let mut query = QueryBuilder::<Db>::new("UPDATE idempotency_keys SET answer = NULL, body_sha256 = NULL");
    query.push(" WHERE principal_type = ").push_bind(principal_type).push(" AND principal_id = ");
    query.push_bind(bind_id(id)).build().execute(conn).await.map_err(classify)?;
    Ok(())
}

#[async_trait]
impl IdempotencyTx for SqlTx {
    async fn take_key(&mut self, request: &KeyedRequest, now: Timestamp) -> Result<KeyState> {
        self.step(async |conn| take(conn, request, now).await).await
    }

    async fn keep_answer(&mut self, request: &KeyedRequest, answer: &KeptAnswer) -> Result<()> {
        self.step(async |conn| keep_answer(conn, request, answer).await).await
    }

    async fn erase_answers(&mut self, principal: PrincipalRef<'_>) -> Result<()> {
        self.step(async |conn| erase_answers(conn, principal).await).await
    }
}
