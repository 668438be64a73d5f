//! The plans of a list of resources: the databases read what a page needs, however large the registry is and whatever
//! they expect to find.

use epr_core::store::{postgres, sqlite};
use epr_testkit::database::{Database, DatabaseKind};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};

use crate::plan::looked_at;

const HEAVY: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// Two hundred trees of 51 entities in three levels, one entity in fifty archived, one in a thousand of a rare type; a
/// principal with two thousand assignments among others with one.
const WORLD: &str = "
    INSERT INTO roles (id, name) VALUES ('00000000-0000-0000-0000-0000000000aa', 'Reader');
    INSERT INTO entities (id, name, type, status, parent_id)
        SELECT CAST(md5('e' || n) AS uuid), 'e' || n, CASE WHEN n % 1000 = 7 THEN 'agent' ELSE 'spv' END,
               CASE WHEN n % 50 = 3 THEN 'archived' ELSE 'active' END,
               CASE WHEN n % 51 = 0 THEN NULL
                    WHEN n % 51 <= 5 THEN CAST(md5('e' || (n - n % 51)) AS uuid)
                    ELSE CAST(md5('e' || (n - n % 51 + 1 + (n % 51 - 6) / 9)) AS uuid) END
        FROM generate_series(0, 10199) n;
    INSERT INTO role_assignments (id, principal_id, role_id, entity_id)
        SELECT gen_random_uuid(), id, '00000000-0000-0000-0000-0000000000aa', id FROM entities;
    INSERT INTO role_assignments (id, principal_id, role_id, entity_id)
        SELECT gen_random_uuid(), 'aaaaaaaa-0000-4000-8000-000000000001', '00000000-0000-0000-0000-0000000000aa', id
        FROM entities LIMIT 2000;
    ANALYZE";

/// The plan of a prepared statement with these arguments.
async fn plan(conn: &mut PgConnection, name: &str, arguments: &str) -> Value {
    let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {name}({arguments})");
    let row = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(conn).await.unwrap();
    serde_json::from_str(row.try_get_unchecked(0).unwrap()).unwrap()
}

#[tokio::test]
async fn postgres_reads_the_entities_of_a_page_and_those_above_them_only() {
    let database = Database::create(DatabaseKind::Postgres).await;
    database.store().await.close().await;
    database.execute(WORLD).await.unwrap();
    let below = "WITH RECURSIVE below(id) AS (SELECT id FROM entities WHERE name = 'e0' UNION \
                 SELECT e.id FROM below b JOIN entities e ON e.parent_id = b.id) SELECT COUNT(*) FROM below";
    assert_eq!(database.number(below).await, 51);
    let subtree = 51.0;
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    let [expand, scan, scan_type, scan_archived] = postgres::RESOURCES;
    let [of_principal, in_order] = postgres::PRINCIPAL_ASSIGNMENTS;
    for prepare in [
        format!("PREPARE expand(text, bigint, uuid, text, bigint, text) AS {expand}"),
        format!("PREPARE scan(uuid, bigint) AS {scan}"),
        format!("PREPARE scan_type(uuid, bigint, text) AS {scan_type}"),
        format!("PREPARE scan_archived(uuid, bigint) AS {scan_archived}"),
        format!("PREPARE of_principal(uuid, text, timestamptz, text, bigint) AS {of_principal}"),
        format!("PREPARE in_order(uuid, text, timestamptz, uuid, bigint) AS {in_order}"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut conn).await.unwrap();
    }
    let root = "(SELECT json_build_array(id)::text FROM entities WHERE name = 'e0')";
    let root: String = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {root}"))).fetch_one(&mut conn).await.unwrap();
    for mode in ["force_custom_plan", "force_generic_plan"] {
        sqlx::raw_sql(AssertSqlSafe(format!("SET plan_cache_mode = {mode}"))).execute(&mut conn).await.unwrap();
        // The subtree once for its ids and once for its rows, and its six inner entities as links: once as parents,
        // once in the walk up from each of them.
        let arguments = format!("'{root}', 20001, '{NIL}', 'included', 1000, NULL");
        let whole = plan(&mut conn, "expand", &arguments).await;
        let rows = looked_at(&whole[0]["Plan"], "entities");
        assert!(rows >= subtree && rows <= 2.0 * subtree + 14.0, "{mode}: {rows} of {subtree}: {whole:#}");
        // Bounded, and rows only of what is returned.
        let arguments = format!("'{root}', 5, '{NIL}', 'included', 2, NULL");
        let bounded = plan(&mut conn, "expand", &arguments).await;
        let rows = looked_at(&bounded[0]["Plan"], "entities");
        assert!(rows <= subtree + 8.0, "{mode}: {rows}: {bounded:#}");
        // At most three levels above each.
        for (name, arguments) in [
            ("scan", format!("'{NIL}', 100")),
            ("scan_type", format!("'{NIL}', 5, 'agent'")),
            ("scan_type", format!("'{NIL}', 100, 'spv'")),
            ("scan_archived", format!("'{NIL}', 100")),
        ] {
            let page = plan(&mut conn, name, &arguments).await;
            let limit = if arguments.contains("agent") { 5.0 } else { 100.0 };
            let rows = looked_at(&page[0]["Plan"], "entities");
            assert!(rows >= limit && rows <= 4.0 * limit + 2.0, "{mode} {name} {arguments}: {rows}: {page:#}");
        }
        let all = format!("'{HEAVY}', 'user', '2026-01-01Z', '[]', 500");
        let first = plan(&mut conn, "of_principal", &all).await;
        assert!(looked_at(&first[0]["Plan"], "role_assignments") <= 2_001.0, "{mode}: {first:#}");
        let page = format!("'{HEAVY}', 'user', '0001-01-01Z', '{NIL}', 50");
        let page = plan(&mut conn, "in_order", &page).await;
        assert!(looked_at(&page[0]["Plan"], "role_assignments") <= 2_001.0, "{mode}: {page:#}");
    }
}

#[tokio::test]
async fn postgres_reads_the_versions_of_one_type_for_a_page_of_it_in_the_past() {
    let database = Database::create(DatabaseKind::Postgres).await;
    database.store().await.close().await;
    database.execute(WORLD).await.unwrap();
    // Two versions of each entity, one of them former.
    let versions = "INSERT INTO entity_versions
        SELECT id, 1, 2, 'former', type, NULL, status, parent_id, '{}', created_at, updated_at FROM entities;
        INSERT INTO entity_versions
        SELECT id, 2, NULL, name, type, NULL, status, parent_id, '{}', created_at, updated_at FROM entities;
        ANALYZE entity_versions";
    database.execute(versions).await.unwrap();
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    let prepare = format!("PREPARE past(uuid, bigint, text, bigint) AS {}", postgres::PAST_SCAN_TYPE);
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut conn).await.unwrap();
    for mode in ["force_custom_plan", "force_generic_plan"] {
        sqlx::raw_sql(AssertSqlSafe(format!("SET plan_cache_mode = {mode}"))).execute(&mut conn).await.unwrap();
        for (arguments, limit) in [("5, 'agent', 1", 5.0), ("5, 'agent', 2", 5.0), ("100, 'spv', 2", 100.0)] {
            let page = plan(&mut conn, "past", &format!("'{NIL}', {arguments}")).await;
            let rows = looked_at(&page[0]["Plan"], "entity_versions");
            // Both versions of each, and of the at most three entities above it.
            assert!(rows >= limit && rows <= 2.0 * (4.0 * limit + 2.0), "{mode} {arguments}: {rows}: {page:#}");
        }
    }
}

#[tokio::test]
async fn sqlite_reads_entities_by_their_indexes_only() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    database.store().await.close().await;
    let url = format!("sqlite://{}", database.file().unwrap().display());
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    let by_id = "(id>?)";
    let cases = [
        (sqlite::RESOURCES[0], vec!["(parent_id=?)", "(id=?)"]),
        (sqlite::RESOURCES[1], vec![by_id, "(id=?)"]),
        (sqlite::RESOURCES[2], vec!["ix_entities_type_id (", "(id=?)"]),
        (sqlite::RESOURCES[3], vec!["ix_entities_archived_id (id>?)", "(id=?)"]),
        (sqlite::PAST_SCAN_TYPE, vec!["ix_entity_versions_type (", "(id=?"]),
    ];
    for (statement, ways) in cases {
        let mut query = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
        for parameter in 1..=6 {
            if statement.contains(&format!("${parameter}")) {
                query = query.bind("1");
            }
        }
        let steps = query.fetch_all(&mut conn).await.unwrap();
        let steps: Vec<String> = steps.iter().map(|step| step.get::<String, _>("detail")).collect();
        let of_entities: Vec<_> =
            steps.iter().filter(|step| matches!(step.split(' ').nth(1), Some("e" | "valid"))).collect();
        assert!(of_entities.len() >= 3, "{steps:#?}");
        for step in &of_entities {
            assert!(step.starts_with("SEARCH ") && ways.iter().any(|way| step.contains(way)), "{step}: {steps:#?}");
        }
        for way in ways {
            assert!(of_entities.iter().any(|step| step.contains(way)), "{way}: {steps:#?}");
        }
    }
    for statement in sqlite::PRINCIPAL_ASSIGNMENTS {
        let mut query = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
        for _ in 1..=5 {
            query = query.bind("1");
        }
        let steps = query.fetch_all(&mut conn).await.unwrap();
        let steps: Vec<String> = steps.iter().map(|step| step.get::<String, _>("detail")).collect();
        assert!(
            steps.iter().any(|step| step.starts_with("SEARCH a ") && step.contains("principal_id=?")),
            "{steps:#?}"
        );
    }
}
