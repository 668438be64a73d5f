//! The plans of AuthZEN searches: a page reads the names that it looks at, wherever in the order it begins.

use epr_core::store::{postgres, sqlite};
use epr_testkit::database::{Database, DatabaseKind};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};

use crate::plan::looked_at;

/// 20,000 principals and entities of each of two types, half of them without an external id.
const WORLD: &str = "
    INSERT INTO principals (type, id, external_id)
        SELECT t, gen_random_uuid(), CASE WHEN n % 2 = 0 THEN 'p' || n END
        FROM generate_series(1, 20000) n CROSS JOIN (VALUES ('user'), ('service')) AS types(t);
    INSERT INTO entities (id, name, type, external_id)
        SELECT gen_random_uuid(), 'e' || n, t, CASE WHEN n % 2 = 0 THEN 'e' || n END
        FROM generate_series(1, 20000) n CROSS JOIN (VALUES ('spv'), ('issuer')) AS types(t);";

#[tokio::test]
async fn postgres_reads_as_many_names_as_it_returns() {
    let database = Database::create(DatabaseKind::Postgres).await;
    database.store().await.close().await;
    // No entry explains these rows, and nothing is cached.
    let quiet = "SET session_replication_role = replica;";
    database.execute(&format!("{quiet}{WORLD}")).await.unwrap();
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    for (statement, (name, table, of_type)) in postgres::SEARCH_NAMES
        .iter()
        .zip([("found_principals", "principals", "user"), ("found_entities", "entities", "spv")])
    {
        let prepare = format!("PREPARE {name}(text, text, bigint) AS {statement}");
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut conn).await.unwrap();
        // Also with the estimates of an empty table.
        for statistics in [false, true] {
            if statistics {
                database.execute("ANALYZE").await.unwrap();
            }
            for mode in ["force_custom_plan", "force_generic_plan"] {
                for after in ["", "8", "e5", "p5"] {
                    sqlx::raw_sql("BEGIN").execute(&mut conn).await.unwrap();
                    sqlx::query(postgres::PLAN_SETTINGS).execute(&mut conn).await.unwrap();
                    let mode = format!("SET LOCAL plan_cache_mode = {mode}");
                    sqlx::raw_sql(AssertSqlSafe(mode)).execute(&mut conn).await.unwrap();
                    let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {name}('{of_type}', '{after}', 50)");
                    let row = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(&mut conn).await.unwrap();
                    let plan: Value = serde_json::from_str(row.try_get_unchecked(0).unwrap()).unwrap();
                    sqlx::raw_sql("ROLLBACK").execute(&mut conn).await.unwrap();
                    let rows = looked_at(&plan[0]["Plan"], table);
                    assert!(rows <= 51.0, "{rows} rows after '{after}': {plan:#}");
                }
            }
        }
    }
}

#[tokio::test]
async fn sqlite_reads_names_by_their_index() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    database.store().await.close().await;
    let url = format!("sqlite://{}", database.file().unwrap().display());
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    for (statement, index) in sqlite::SEARCH_NAMES.iter().zip(["ix_principals_type_name", "ix_entities_type_name"]) {
        let steps = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")))
            .bind("user")
            .bind("after")
            .bind(50)
            .fetch_all(&mut conn)
            .await
            .unwrap();
        let steps: Vec<String> = steps.iter().map(|step| step.get::<String, _>("detail")).collect();
        let [only] = steps.as_slice() else { panic!("{steps:#?}") };
        assert!(only.contains(&format!("{index} (type=? AND <expr>>?)")), "{only}");
    }
}
