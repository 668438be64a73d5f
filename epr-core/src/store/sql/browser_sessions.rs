//! Statements on `browser_sessions`.

use sqlx::{QueryBuilder, Row as _};

use super::dialect::{Conn, Db, SqlTime, bind_time, classify, read_time};
use crate::domain::Timestamp;
use crate::domain::browser_session::{BrowserSession, Sha256, idle_since};
use crate::store::{Result, StoreError};

/// The most sessions that the beginning of one removes: their number is bounded at each beginning.
const REMOVED_BY_BEGINNING: u32 = 1_000;

pub(super) async fn begin(conn: &mut Conn, session: &BrowserSession, most: u32) -> Result<()> {
    let mut query = QueryBuilder::<Db>::new(
        "INSERT INTO browser_sessions (session_key, caller, sealed_credential, begun_at, used_at) ",
    );
    query.push_values([session], |mut row, session| {
        row.push_bind(session.key.to_vec()).push_bind(session.caller.to_vec());
        row.push_bind(session.sealed_credential.clone());
        row.push_bind(bind_time(session.begun_at)).push_bind(bind_time(session.used_at));
    });
    query.build().execute(&mut *conn).await.map_err(classify)?;
    let mut query = QueryBuilder::<Db>::new(
        "DELETE FROM browser_sessions WHERE session_key IN (SELECT s.session_key FROM browser_sessions s \
           WHERE s.caller = ",
    );
    query.push_bind(session.caller.to_vec()).push(" ORDER BY s.used_at DESC, s.session_key LIMIT ");
    query.push_bind(i64::from(REMOVED_BY_BEGINNING)).push(" OFFSET ").push_bind(i64::from(most)).push(")");
    query.build().execute(conn).await.map_err(classify)?;
    Ok(())
}

pub(super) async fn get(conn: &mut Conn, key: &Sha256) -> Result<Option<BrowserSession>> {
    let mut query = QueryBuilder::<Db>::new(
        "SELECT caller, sealed_credential, begun_at, used_at FROM browser_sessions WHERE session_key = ",
    );
    query.push_bind(key.to_vec());
    let Some(row) = query.build().fetch_optional(conn).await.map_err(classify)? else { return Ok(None) };
    let caller: Vec<u8> = row.try_get("caller").map_err(classify)?;
    let caller = Sha256::try_from(caller);
    let caller = caller.map_err(|_| StoreError::corrupt("browser_sessions.caller", "not 32 bytes"))?;
    Ok(Some(BrowserSession {
        key: *key,
        caller,
        sealed_credential: row.try_get("sealed_credential").map_err(classify)?,
        begun_at: read_time(row.try_get::<SqlTime, _>("begun_at").map_err(classify)?)?,
        used_at: read_time(row.try_get::<SqlTime, _>("used_at").map_err(classify)?)?,
    }))
}

pub(super) async fn mark_used(conn: &mut Conn, key: &Sha256, now: Timestamp) -> Result<()> {
    let mut query = QueryBuilder::<Db>::new("UPDATE browser_sessions SET used_at = ");
    query.push_bind(bind_time(now)).push(" WHERE session_key = ").push_bind(key.to_vec());
    query.push(" AND used_at < ").push_bind(bind_time(now));
    query.build().execute(conn).await.map_err(classify)?;
    Ok(())
}

pub(super) async fn end(conn: &mut Conn, key: &Sha256) -> Result<()> {
    let mut query = QueryBuilder::<Db>::new("DELETE FROM browser_sessions WHERE session_key = ");
    query.push_bind(key.to_vec()).build().execute(conn).await.map_err(classify)?;
    Ok(())
}

pub(super) async fn end_of(conn: &mut Conn, caller: &Sha256) -> Result<u64> {
    let mut query = QueryBuilder::<Db>::new("DELETE FROM browser_sessions WHERE caller = ");
    let done = query.push_bind(caller.to_vec()).build().execute(conn).await.map_err(classify)?;
    Ok(done.rows_affected())
}

/// Returns whether there is a session that has ended by idleness.
pub(super) async fn has_idle(conn: &mut Conn, now: Timestamp) -> Result<bool> {
    let mut query = QueryBuilder::<Db>::new("SELECT 1 FROM browser_sessions WHERE used_at <= ");
    query.push_bind(bind_time(idle_since(now))).push(" LIMIT 1");
    Ok(query.build().fetch_optional(conn).await.map_err(classify)?.is_some())
}

pub(super) async fn remove_idle(conn: &mut Conn, now: Timestamp, most: u32) -> Result<u64> {
    let mut query = QueryBuilder::<Db>::new(
        "DELETE FROM browser_sessions WHERE session_key IN (SELECT s.session_key FROM browser_sessions s \
           WHERE s.used_at <= ",
    );
    query.push_bind(bind_time(idle_since(now))).push(" ORDER BY s.used_at LIMIT ").push_bind(i64::from(most));
    query.push(skip_locked!("s")).push(")");
    Ok(query.build().execute(conn).await.map_err(classify)?.rows_affected())
}
