//! Statements on `principals` and `principal_keys`.

use std::sync::LazyLock;

use sqlx::{QueryBuilder, Row as _};

use super::columns::{Columns, InsertValues, Names, Selected, UpdateValues};
use super::dialect::{Conn, Db, Row, bind_id, classify};
use super::listing::{self, after};
use crate::domain::fields::Choice as _;
use crate::domain::input::value::Sink as _;
use crate::domain::{Principal, PrincipalFilter, Timestamp};
use crate::seal::PrincipalKey;
use crate::store::{Cursor, InsertedPrincipal, Page, PrincipalRef, Result, RowVisitor, StoreError};

/// The columns of a principal `p`.
static SELECTED: LazyLock<String> = LazyLock::new(|| {
    let mut selected = Selected::of("p");
    Principal::describe_to(&mut selected);
    selected.sql
});

fn select(end: &str) -> QueryBuilder<Db> {
    QueryBuilder::new(format!("SELECT {}{end}", *SELECTED))
}

fn read(row: &Row) -> Result<Principal> {
    Principal::read_from(&mut Columns(row))
}

/// Adds the condition on the identity of a principal.
fn identified(query: &mut QueryBuilder<Db>, (principal_type, id): PrincipalRef<'_>) {
    query.push("type = ").push_bind(principal_type).push(" AND id = ").push_bind(bind_id(id));
}

/// The most principals of one id, each of another type, that may be registered in one microsecond.
const MAX_MOMENTS: u32 = 64;

/// Inserts the principal. A list is ordered by creation and id: `created_at` is moved on by microseconds while another
/// type's principal with this id has that moment, and `updated_at` with it.
pub(super) async fn insert(conn: &mut Conn, principal: &Principal) -> Result<InsertedPrincipal> {
    let mut wanted = principal.clone();
    for _ in 0..MAX_MOMENTS {
        if insert_row(&mut *conn, &wanted).await? {
            return Ok(InsertedPrincipal::New(Box::new(wanted)));
        }
        if get(&mut *conn, (&wanted.principal_type, wanted.id)).await?.is_some() {
            return Ok(InsertedPrincipal::IdTaken);
        }
        if let Some(external_id) = &wanted.external_id
            && one(conn, &mut known_as(&wanted.principal_type, external_id)).await?.is_some()
        {
            return Ok(InsertedPrincipal::ExternalIdTaken);
        }
        let later = Timestamp::from_unix_micros(wanted.created_at.unix_micros().saturating_add(1));
        wanted.created_at = later.map_err(|error| StoreError::corrupt("created_at", error))?;
        wanted.updated_at = wanted.created_at;
    }
    Err(StoreError::Contention("the external id was released at the same moment".into()))
}

async fn insert_row(conn: &mut Conn, principal: &Principal) -> Result<bool> {
    static NAMES: LazyLock<String> = LazyLock::new(|| {
        let mut names = Names::default();
        Principal::describe_to(&mut names);
        names.0
    });
    let mut query = QueryBuilder::<Db>::new(format!("INSERT INTO principals ({}) ", *NAMES));
    query.push_values([principal], |mut row, principal| principal.write_to(&mut InsertValues(&mut row)));
    query.push(" ON CONFLICT DO NOTHING");
    let done = query.build().execute(conn).await.map_err(classify)?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn get(conn: &mut Conn, principal: PrincipalRef<'_>) -> Result<Option<Principal>> {
    let mut query = select(" FROM principals p WHERE ");
    identified(&mut query, principal);
    one(conn, &mut query).await
}

pub(super) async fn lock(conn: &mut Conn, principal: PrincipalRef<'_>) -> Result<Option<Principal>> {
    let mut query = select(" FROM principals p WHERE ");
    identified(&mut query, principal);
    query.push(for_update!("p"));
    one(conn, &mut query).await
}

/// Returns the principal, and excludes transactions that lock it until the end of this one.
pub(super) async fn share(conn: &mut Conn, principal: PrincipalRef<'_>) -> Result<Option<Principal>> {
    let mut query = select(" FROM principals p WHERE ");
    identified(&mut query, principal);
    query.push(for_key_share!("p"));
    one(conn, &mut query).await
}

fn known_as(principal_type: &str, external_id: &str) -> QueryBuilder<Db> {
    let mut query = select(" FROM principals p WHERE p.type = ");
    query.push_bind(principal_type).push(" AND p.external_id = ").push_bind(external_id);
    query
}

pub(super) async fn lock_known_as(
    conn: &mut Conn,
    principal_type: &str,
    external_id: &str,
) -> Result<Option<Principal>> {
    let mut query = known_as(principal_type, external_id);
    query.push(for_update!("p"));
    one(conn, &mut query).await
}

async fn one(conn: &mut Conn, query: &mut QueryBuilder<Db>) -> Result<Option<Principal>> {
    let row = query.build().fetch_optional(conn).await.map_err(classify)?;
    row.as_ref().map(read).transpose()
}

/// Updates everything that a change or an erasure can set; `false` when another principal of the type has the new
/// external id.
pub(super) async fn update(conn: &mut Conn, principal: &Principal) -> Result<bool> {
    let mut query = QueryBuilder::<Db>::new("UPDATE principals SET ");
    let mut columns = UpdateValues(query.separated(", "));
    principal.write_changeable_to(&mut columns);
    columns.put("updated_at", &principal.updated_at);
    columns.put("erased_at", &principal.erased_at);
    query.push(" WHERE ");
    identified(&mut query, (&principal.principal_type, principal.id));
    match query.build().execute(conn).await {
        Ok(_) => Ok(true),
        // The only unique key that an update touches is (type, external_id).
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(classify(error)),
    }
}

pub(super) async fn key(conn: &mut Conn, principal: PrincipalRef<'_>) -> Result<Option<PrincipalKey>> {
    let mut query = QueryBuilder::<Db>::new("SELECT key FROM principal_keys WHERE ");
    identified(&mut query, principal);
    let row = query.build().fetch_optional(conn).await.map_err(classify)?;
    row.map(|row| {
        let bytes: Vec<u8> = row.try_get("key").map_err(classify)?;
        PrincipalKey::from_bytes(&bytes).ok_or_else(|| StoreError::corrupt("principal_keys.key", "not 32 bytes"))
    })
    .transpose()
}

pub(super) async fn insert_key(conn: &mut Conn, (kind, id): PrincipalRef<'_>, key: &PrincipalKey) -> Result<()> {
    let mut query = QueryBuilder::<Db>::new("INSERT INTO principal_keys (type, id, key) ");
    query.push_values([key], |mut row, key| {
        row.push_bind(kind).push_bind(bind_id(id)).push_bind(key.as_bytes().to_vec());
    });
    query.build().execute(conn).await.map_err(classify)?;
    Ok(())
}

pub(super) async fn delete_key(conn: &mut Conn, principal: PrincipalRef<'_>) -> Result<bool> {
    let mut query = QueryBuilder::<Db>::new("DELETE FROM principal_keys WHERE ");
    identified(&mut query, principal);
    let done = query.build().execute(conn).await.map_err(classify)?;
    Ok(done.rows_affected() == 1)
}

fn matching(query: &mut QueryBuilder<Db>, filter: &PrincipalFilter) {
    query.push(" FROM principals p WHERE 1 = 1");
    if let Some(principal_type) = &filter.principal_type {
        query.push(" AND p.type = ").push_bind(principal_type.as_str());
    }
    if let Some(status) = filter.status {
        query.push(" AND p.status = ").push_bind(status.word());
    }
    if let Some(external_id) = &filter.external_id {
        query.push(" AND p.external_id = ").push_bind(external_id.as_str());
    }
}

pub(super) async fn list(
    conn: &mut Conn,
    filter: &PrincipalFilter,
    page: Page,
    visit: RowVisitor<'_, Principal>,
) -> Result<()> {
    let query = |position, limit| {
        let mut query = select("");
        matching(&mut query, filter);
        after(&mut query, "p", Page { limit, after: position });
        query
    };
    let position = |principal: &Principal| Cursor { created_at: principal.created_at, id: principal.id };
    listing::show(conn, (page.limit, page.after), query, (read, position), visit).await
}

/// Returns the last row of the list that fits into `bytes`.
pub(super) async fn end(conn: &mut Conn, filter: &PrincipalFilter, bytes: i64) -> Result<Option<Cursor>> {
    let mut query = QueryBuilder::<Db>::new(listing::SUMMED);
    // The names of the members, the id, the status and the times take 350 bytes.
    query.push(
        "SELECT p.created_at, p.id, 350 + octet_length(p.type) + COALESCE(octet_length(p.external_id), 0) \
           + COALESCE(octet_length(p.display_name), 0) + octet_length(CAST(p.attributes AS TEXT)) AS size",
    );
    matching(&mut query, filter);
    listing::end(conn, query, bytes).await
}
