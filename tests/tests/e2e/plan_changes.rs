//! The plan of a page of the change feed: it reads its own entries, however many decisions lie between them.

use epr_core::store::{postgres, sqlite};
use epr_testkit::database::DatabaseKind;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Execute as _, PgConnection, Row as _, SqliteConnection};

use crate::plan::looked_at;
use crate::plan_ledger::ledger;

/// Every thousandth entry changes the registry.
const POSTGRES: &str = "
    ALTER TABLE audit_logs DISABLE TRIGGER ALL;
    INSERT INTO audit_logs (sequence, previous_hash, entry_hash, hash_version, source, action, actor_type, details,
      occurred_at)
    SELECT n, repeat('0', 64), repeat('0', 64), 1, 'entity_permissions_core',
      CASE WHEN n % 1000 = 0 THEN 'entity.update' ELSE 'authorization.evaluate' END, 'user', '{}',
      timestamptz '2026-01-01 00:00Z' + n * interval '1 second'
    FROM generate_series(1, 100000) n;
    ANALYZE audit_logs";

const SQLITE: &str = "
    INSERT INTO audit_logs (sequence, previous_hash, entry_hash, hash_version, source, action, actor_type, details,
      occurred_at)
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000)
    SELECT n, printf('%064d', 0), printf('%064d', 0), 1, 'entity_permissions_core',
      CASE WHEN n % 1000 = 0 THEN 'entity.update' ELSE 'authorization.evaluate' END, 'user', '{}',
      strftime('%Y-%m-%dT%H:%M:%S', '2026-01-01', '+' || n || ' seconds') || '.000000Z'
    FROM numbers";

const PAGE: u32 = 20;

#[tokio::test]
async fn postgres_reads_the_changes_of_a_page() {
    let database = ledger(DatabaseKind::Postgres).await;
    database.execute(POSTGRES).await.unwrap();
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    for after in [0, 50_000, 98_500, 100_000] {
        for mode in ["force_custom_plan", "force_generic_plan"] {
            sqlx::raw_sql(AssertSqlSafe(format!("SET plan_cache_mode = {mode}"))).execute(&mut conn).await.unwrap();
            let mut query = postgres::changes_query(after, PAGE);
            let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) {}", query.sql().as_str());
            let arguments = query.build().take_arguments().unwrap().unwrap();
            let row = sqlx::query_with(AssertSqlSafe(explain), arguments).fetch_one(&mut conn).await.unwrap();
            let plan: Value = serde_json::from_str(row.try_get_unchecked(0).unwrap()).unwrap();
            let rows = looked_at(&plan[0]["Plan"], "audit_logs");
            assert!(rows <= f64::from(PAGE), "after {after}: {rows} rows\n{plan:#}");
        }
    }
}

#[tokio::test]
async fn sqlite_reads_the_changes_of_a_page() {
    let database = ledger(DatabaseKind::Sqlite).await;
    database.execute(SQLITE).await.unwrap();
    let url = format!("sqlite://{}", database.file().unwrap().display());
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    let mut query = sqlite::changes_query(50_000, PAGE);
    let explain = format!("EXPLAIN QUERY PLAN {}", query.sql().as_str());
    let arguments = query.build().take_arguments().unwrap().unwrap();
    let steps = sqlx::query_with(AssertSqlSafe(explain), arguments).fetch_all(&mut conn).await.unwrap();
    let steps: Vec<String> = steps.iter().map(|step| step.get("detail")).collect();
    assert_eq!(steps, ["SEARCH l USING INDEX ix_audit_logs_changes (sequence>?)"]);
}
