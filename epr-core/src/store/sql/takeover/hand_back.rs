//! Handing a database back to the older service: its tables are restored and EPR's removed, in one transaction.
//!
//! Must never remove rows that the caller has not seen: the caller passes what was written since the takeover, which is
//! compared again under locks that exclude every writer.

use futures_util::TryStreamExt as _;
use sqlx::AssertSqlSafe;

use super::super::dialect::takeover::{exclude_others, kept_tables, put_back, remove_functions, row_as_json, tidy};
use super::super::dialect::{
    Conn, MIGRATIONS, Pool, begin_disposable, begin_snapshot, classify, commit, driver, lock_schema,
};
use super::super::schema;
use super::TABLES;
use crate::store::{Result, RowVisitor, SinceTakeover, StoreError, TableRow};

/// The tables that are exported whole, changed or not: the older tables store them in another form.
const REGISTRY: [&str; 5] = ["entities", "roles", "permissions", "role_permissions", "role_assignments"];

/// The events that the older table lacks or holds in another state, by id without hyphens.
const OWN_EVENTS: &str = concat!(
    "SELECT REPLACE(LOWER(CAST(event_id AS TEXT)), '-', '') AS event, \
     LOWER(CAST(delivery_state AS TEXT)) AS state FROM platform_events \
     EXCEPT SELECT REPLACE(LOWER(CAST(event_id AS TEXT)), '-', ''), LOWER(CAST(delivery_state AS TEXT)) FROM ",
    set_aside!("platform_events")
);
/// All events, for a database without an older table of events.
const ALL_EVENTS: &str =
    "SELECT REPLACE(LOWER(CAST(event_id AS TEXT)), '-', '') AS event, delivery_state AS state FROM platform_events";

/// The most conditions that an error names.
const MAX_NAMED: usize = 20;

fn refused(why: impl Into<String>) -> StoreError {
    StoreError::NotHandedBack(why.into())
}

/// Returns what was written since the takeover; `None` when no older tables are set aside.
pub(in super::super) async fn since_takeover(conn: &mut Conn) -> Result<Option<SinceTakeover>> {
    let kept = kept_tables(&mut *conn).await?;
    if !kept.contains(&"entities") && !kept.contains(&"audit_logs") {
        return Ok(None);
    }
    let (current, applied) = (schema::known(), schema::version(&schema::applied_in(&mut *conn).await?));
    if applied != current {
        return Err(refused(format!(
            "the schema is at version {applied}, and this program needs version {current}: run `epr migrate` of this \
             program first"
        )));
    }
    has_every_entry(&mut *conn).await?;
    belongs_together(&mut *conn, &kept).await?;
    has_no_conditions(&mut *conn).await?;
    has_no_suspended(&mut *conn).await?;
    let events = own_events(&kept);
    Ok(Some(SinceTakeover {
        last_older_entry: last_older_entry(&mut *conn, &kept).await?,
        last_entry: number(&mut *conn, "SELECT sequence FROM audit_chain_head".into()).await?,
        events: number(&mut *conn, format!("SELECT COUNT(*) FROM ({events}) AS own")).await?,
        rejections: number(&mut *conn, "SELECT COUNT(*) FROM audit_rejections".into()).await?,
    }))
}

fn own_events(kept: &[&str]) -> &'static str {
    if kept.contains(&"platform_events") { OWN_EVENTS } else { ALL_EVENTS }
}

async fn last_older_entry(conn: &mut Conn, kept: &[&str]) -> Result<i64> {
    let last = if kept.contains(&"audit_logs") {
        concat!("SELECT COALESCE(MAX(sequence), 0) FROM ", set_aside!("audit_logs"))
    } else {
        "SELECT CAST(0 AS bigint)"
    };
    let last = number(&mut *conn, last.into()).await?;
    // The baselines of the takeover follow: they say what the older tables say.
    let other = format!(
        "SELECT COALESCE((SELECT MIN(l.sequence) FROM audit_logs l WHERE l.sequence > {last} \
         AND l.action NOT IN ('entity.baseline', 'role.baseline', 'role_assignment.baseline')) - 1, \
         (SELECT h.sequence FROM audit_chain_head h WHERE h.id = 1))"
    );
    number(conn, other).await
}

/// Returns an error when EPR's tables were not made from these older ones: on PostgreSQL one schema keeps the older
/// tables of the whole database.
async fn belongs_together(conn: &mut Conn, kept: &[&str]) -> Result<()> {
    let mut strange = 0;
    if kept.contains(&"entities") {
        let lacking = concat!(
            "SELECT COUNT(*) FROM (SELECT REPLACE(LOWER(CAST(id AS TEXT)), '-', '') AS entity FROM ",
            set_aside!("entities"),
            " EXCEPT SELECT REPLACE(CAST(id AS TEXT), '-', '') FROM entities) AS lacking"
        );
        strange += number(&mut *conn, lacking.into()).await?;
    }
    if kept.contains(&"audit_logs") {
        let last = concat!(
            "SELECT COUNT(*) FROM ",
            set_aside!("audit_logs"),
            " o WHERE o.sequence = (SELECT MAX(sequence) FROM ",
            set_aside!("audit_logs"),
            ") AND NOT EXISTS (SELECT 1 FROM audit_logs l WHERE l.sequence = o.sequence AND l.entry_hash = \
             o.entry_hash)"
        );
        strange += number(&mut *conn, last.into()).await?;
    }
    if strange == 0 {
        return Ok(());
    }
    Err(refused("the older tables that are set aside are not those that EPR's tables were made from"))
}

/// Returns an error when entries were dropped: the older service needs every entry in one table.
async fn has_every_entry(conn: &mut Conn) -> Result<()> {
    let border = number(conn, "SELECT b.sequence FROM ledger_border b WHERE b.id = 1".into()).await?;
    if border == 0 {
        return Ok(());
    }
    Err(refused(format!(
        "entries up to {border} were dropped by `epr audit drop` and are only in the archive; the older service needs \
         every entry in one table"
    )))
}

/// The conditions in use, each by what has it.
const CONDITIONS: &str = "SELECT 'assignment ' || CAST(a.id AS TEXT) AS holder FROM role_assignments a \
     WHERE a.condition IS NOT NULL \
     UNION ALL \
     SELECT 'role ' || r.name || ', action ' || p.action FROM role_permissions rp JOIN roles r ON r.id = rp.role_id \
     JOIN permissions p ON p.id = rp.permission_id WHERE rp.condition IS NOT NULL ORDER BY holder LIMIT 21";

/// The suspended principals that have assignments.
const SUSPENDED: &str = "SELECT p.type || ' ' || CAST(p.id AS TEXT) AS holder FROM principals p \
     WHERE p.status = 'suspended' AND EXISTS (SELECT 1 FROM role_assignments a WHERE a.principal_id = p.id \
     AND a.principal_type = p.type) ORDER BY holder LIMIT 21";

/// Returns an error that names the suspended principals with assignments. The older service knows no suspension.
async fn has_no_suspended(conn: &mut Conn) -> Result<()> {
    has_none(
        conn,
        SUSPENDED,
        "suspended principals have assignments, which the older service would apply. Revoke them, here and there, then \
         run this again",
    )
    .await
}

/// Returns an error that names the conditions in use. The older service knows none: a role or an assignment that is
/// entered there again would allow what its condition denies here.
async fn has_no_conditions(conn: &mut Conn) -> Result<()> {
    has_none(
        conn,
        CONDITIONS,
        "conditions are in use, which the older service would ignore: it would allow what they deny. Revoke or replace \
         what has them, then run this again",
    )
    .await
}

/// Returns an error with `sentence` and the first of the holders that `statement` selects, if there are any.
async fn has_none(conn: &mut Conn, statement: &'static str, sentence: &str) -> Result<()> {
    let mut holders: Vec<String> = sqlx::query_scalar(statement).fetch_all(conn).await.map_err(classify)?;
    if holders.is_empty() {
        return Ok(());
    }
    if holders.len() > MAX_NAMED {
        holders.truncate(MAX_NAMED);
        holders.push("and more".to_owned());
    }
    Err(refused(format!("{sentence}: {}", holders.join("; "))))
}

/// Shows the rows that would be lost, ledger entries excepted: the registry, and the principals, events and rejections
/// of this program. The keys of principals are not shown: what is sealed in exported entries stays closed.
pub(in super::super) async fn scan(pool: &Pool, visit: RowVisitor<'_, TableRow>) -> Result<()> {
    let mut snapshot = begin_snapshot(pool).await?;
    let kept = kept_tables(&mut snapshot).await?;
    let events = format!(
        "platform_events t JOIN ({}) AS own ON own.event = REPLACE(LOWER(CAST(t.event_id AS TEXT)), '-', '')",
        own_events(&kept)
    );
    let registry = REGISTRY.map(|table| (table, format!("{table} t")));
    let others = [
        ("principals", "principals t".to_owned()),
        ("platform_events", events),
        ("audit_rejections", "audit_rejections t".to_owned()),
    ];
    for (table, from) in registry.into_iter().chain(others) {
        let row = row_as_json(&mut snapshot, table).await?;
        let query = AssertSqlSafe(format!("SELECT {row} FROM {from}"));
        let mut rows = sqlx::query_scalar::<_, String>(query).fetch(&mut *snapshot);
        while let Some(json) = rows.try_next().await.map_err(classify)? {
            if !visit(TableRow { table, json }) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Restores the older tables. `seen` is what the caller knows would be lost.
pub(in super::super) async fn hand_back(pool: &Pool, seen: &SinceTakeover) -> Result<()> {
    let mut tx = begin_disposable(pool).await?;
    lock_schema(&mut tx).await?;
    let tables = made("CREATE TABLE ");
    exclude_others(&mut tx, &tables).await?;
    let since = since_takeover(&mut tx).await?.ok_or_else(|| refused("no older tables are set aside"))?;
    if since != *seen {
        return Err(refused(
            "something was written while this command ran: stop every process of EPR, then run it again",
        ));
    }
    let kept = kept_tables(&mut tx).await?;
    remove(&mut tx, tables).await?;
    for (table, _) in TABLES.iter().rev().filter(|(table, _)| kept.contains(table)) {
        put_back(&mut tx, table).await?;
    }
    tidy(&mut tx).await?;
    commit(tx).await
}

/// Removes the objects that migrations created. A table that refers to another was created after it, and is removed
/// before it.
async fn remove(conn: &mut Conn, tables: Vec<String>) -> Result<()> {
    let functions = made("CREATE FUNCTION ").into_iter().chain(made("CREATE OR REPLACE FUNCTION "));
    for table in tables.into_iter().rev().chain([schema::APPLIED.to_owned()]) {
        let drop = AssertSqlSafe(format!("DROP TABLE IF EXISTS {table}"));
        let done = sqlx::raw_sql(drop).execute(driver(&mut *conn)).await;
        done.map_err(|failure| match failure.as_database_error() {
            // Another application's view or foreign key; on SQLite rows that refer to it.
            Some(error) => refused(format!(
                "EPR's table {table} cannot be removed: {}",
                super::super::dialect::takeover::reason(error)
            )),
            None => classify(failure),
        })?;
    }
    remove_functions(conn, functions.collect()).await
}

/// Returns the names of the objects that migrations create by statements that begin with `words`, in their order.
fn made(words: &str) -> Vec<String> {
    let lines = MIGRATIONS.iter().flat_map(|migration| migration.sql.as_str().lines());
    let rests = lines.filter_map(|line| line.strip_prefix(words));
    let rests = rests.map(|rest| rest.strip_prefix("IF NOT EXISTS ").unwrap_or(rest));
    let names = rests.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or(rest));
    names.map(str::to_owned).collect()
}

async fn number(conn: &mut Conn, sql: String) -> Result<i64> {
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(conn).await.map_err(classify)
}
