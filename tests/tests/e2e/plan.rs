//! What the databases do for a check: they look up what matters, however much else the principal holds and whatever they
//! expect to find.

use epr_core::store::{postgres, sqlite};
use epr_testkit::database::{Database, Kind};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};

const HEAVY: &str = "aaaaaaaa-0000-4000-8000-000000000001";
/// On the lowest entity of a chain: itself, two above it, and "everywhere".
const PLACES: f64 = 4.0;

/// Two thousand principals with one assignment each, and one with two thousand.
const WORLD: &str = "
    INSERT INTO roles (id, name) VALUES ('00000000-0000-0000-0000-0000000000aa', 'Reader');
    INSERT INTO permissions (action) SELECT 'a:' || n FROM generate_series(1, 500) n;
    INSERT INTO role_permissions
        SELECT '00000000-0000-0000-0000-0000000000aa', id FROM permissions WHERE action LIKE 'a:%';
    INSERT INTO entities (id, name, type)
        SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), 'e' || n, 'spv' FROM generate_series(1, 2000) n;
    UPDATE entities SET parent_id = '00000000-0000-0000-0000-000000000001' WHERE name = 'e2';
    UPDATE entities SET parent_id = '00000000-0000-0000-0000-000000000002' WHERE name = 'e3';
    INSERT INTO role_assignments (id, principal_id, role_id, entity_id)
        SELECT gen_random_uuid(), id, '00000000-0000-0000-0000-0000000000aa', id FROM entities;
    INSERT INTO role_assignments (id, principal_id, role_id, entity_id)
        SELECT gen_random_uuid(), 'aaaaaaaa-0000-4000-8000-000000000001', '00000000-0000-0000-0000-0000000000aa', id
        FROM entities;
    ANALYZE";

/// Rows of `table` that this node of a plan and those under it looked at.
fn looked_at(node: &Value, table: &str) -> f64 {
    let number = |name: &str| node[name].as_f64().unwrap_or(0.0);
    let removed = number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
    // A bitmap's rows are counted where they are fetched.
    let own =
        if node["Relation Name"] == table { (number("Actual Rows") + removed) * number("Actual Loops") } else { 0.0 };
    let below = node["Plans"].as_array().into_iter().flatten().map(|node| looked_at(node, table)).sum::<f64>();
    own + below
}

#[tokio::test]
async fn postgres_looks_at_what_matters() {
    let database = Database::create(Kind::Postgres).await;
    database.store().await.close().await;
    database.execute(WORLD).await.unwrap();
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    let prepare = format!("PREPARE checked(uuid, uuid, text, text) AS {}", postgres::CHECK);
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut conn).await.unwrap();
    // The plan for this principal, and the one for all of them, which the server takes after a few checks.
    for mode in ["force_custom_plan", "force_generic_plan"] {
        sqlx::raw_sql(AssertSqlSafe(format!("SET plan_cache_mode = {mode}"))).execute(&mut conn).await.unwrap();
        let explain = format!(
            "EXPLAIN (ANALYZE, FORMAT JSON) \
             EXECUTE checked('00000000-0000-0000-0000-000000000003', '{HEAVY}', 'user', 'a:7')"
        );
        let row = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(&mut conn).await.unwrap();
        let plan: Value = serde_json::from_str(row.try_get_unchecked(0).unwrap()).unwrap();
        let rows = |table: &str| looked_at(&plan[0]["Plan"], table);
        assert!(rows("role_assignments") >= 3.0, "{plan:#}");
        assert!(rows("role_assignments") <= PLACES, "{plan:#}");
        assert!(rows("entities") <= PLACES, "{plan:#}");
        assert!(rows("role_permissions") <= PLACES, "{plan:#}");
    }
}

#[tokio::test]
async fn sqlite_looks_at_what_matters() {
    let database = Database::create(Kind::Sqlite).await;
    database.store().await.close().await;
    let url = format!("sqlite://{}", database.file().unwrap().display());
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    let steps = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sqlite::CHECK)))
        .bind("e")
        .bind("p")
        .bind("user")
        .bind("a:7")
        .fetch_all(&mut conn)
        .await
        .unwrap();
    let steps: Vec<String> = steps.iter().map(|step| step.get::<String, _>("detail")).collect();
    let of = |table: &'static str| steps.iter().filter(move |step| step.split(' ').nth(1) == Some(table));
    let probe = "uq_role_assignments (principal_id=? AND principal_type=? AND <expr>=?)";
    assert!(of("a").all(|step| step.contains(probe)), "{steps:#?}");
    assert!(of("rp").all(|step| step.contains("(role_id=? AND permission_id=?)")), "{steps:#?}");
    assert_eq!((of("a").count(), of("rp").count()), (1, 1), "{steps:#?}");
    // What is walked through are results of its own, not tables.
    let walked: Vec<_> = steps.iter().filter(|step| step.starts_with("SCAN ")).collect();
    assert!(
        walked.iter().all(|step| ["SCAN l", "SCAN lineage", "SCAN places", "SCAN asked", "SCAN CONSTANT ROW"]
            .contains(&step.as_str())),
        "{steps:#?}"
    );
}
