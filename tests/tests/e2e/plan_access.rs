//! The plans of lists of access: a page reads about as many rows as it has items, however many assignments there are.

use epr_core::store::{postgres, sqlite};
use epr_testkit::database::{Database, DatabaseKind};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};

use crate::plan::looked_at;

/// A root with an SPV below it. 100,000 principals have the role ...aa on the root, and 100,000 other ones roles that
/// do not hold the action.
const WORLD: &str = "
    INSERT INTO roles (id, name) SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), 'role ' || n
        FROM generate_series(1, 500) n;
    INSERT INTO roles (id, name) VALUES ('00000000-0000-0000-0000-0000000aaaaa', 'Reader');
    INSERT INTO entities (id, name, type, parent_id) VALUES
        ('00000000-0000-0000-0000-000000000001', 'root', 'issuer', NULL),
        ('00000000-0000-0000-0000-000000000002', 'spv', 'spv', '00000000-0000-0000-0000-000000000001');
    INSERT INTO role_assignments (id, principal_id, role_id, entity_id)
        SELECT gen_random_uuid(), gen_random_uuid(), '00000000-0000-0000-0000-0000000aaaaa',
               '00000000-0000-0000-0000-000000000001'
        FROM generate_series(1, 100000) n;
    INSERT INTO role_assignments (id, principal_id, role_id, entity_id)
        SELECT gen_random_uuid(), gen_random_uuid(), CAST(lpad(to_hex(n % 500 + 1), 32, '0') AS uuid),
               '00000000-0000-0000-0000-000000000001'
        FROM generate_series(1, 100000) n;";

#[tokio::test]
async fn postgres_reads_as_many_rows_as_a_page_has_items() {
    let database = Database::create(DatabaseKind::Postgres).await;
    database.store().await.close().await;
    database.execute(WORLD).await.unwrap();
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    let prepare = format!("PREPARE ranges(uuid[], uuid[], uuid[], text[], bigint) AS {}", postgres::ACCESS_RANGES);
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut conn).await.unwrap();
    // The SPV, the root and global assignments, for one role, from a principal in the middle on.
    let call = "ranges(ARRAY[uuid '00000000-0000-0000-0000-000000000002', uuid \
        '00000000-0000-0000-0000-000000000001', uuid '00000000-0000-0000-0000-000000000000'], \
        array_fill(uuid '00000000-0000-0000-0000-0000000aaaaa', ARRAY[3]), \
        array_fill(uuid '80000000-0000-0000-0000-000000000000', ARRAY[3]), array_fill(text 'user', ARRAY[3]), 101)";
    // Also with the estimates of an empty table.
    for statistics in [false, true] {
        if statistics {
            database.execute("ANALYZE").await.unwrap();
        }
        for mode in ["force_custom_plan", "force_generic_plan"] {
            sqlx::raw_sql("BEGIN").execute(&mut conn).await.unwrap();
            sqlx::query(postgres::PLAN_SETTINGS).execute(&mut conn).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(format!("SET LOCAL plan_cache_mode = {mode}")))
                .execute(&mut conn)
                .await
                .unwrap();
            let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {call}");
            let row = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(&mut conn).await.unwrap();
            let plan: Value = serde_json::from_str(row.try_get_unchecked(0).unwrap()).unwrap();
            sqlx::raw_sql("ROLLBACK").execute(&mut conn).await.unwrap();
            let rows = looked_at(&plan[0]["Plan"], "role_assignments");
            assert!((101.0..=110.0).contains(&rows), "{rows} rows: {plan:#}");
            let blocks =
                ["Shared Hit Blocks", "Shared Read Blocks"].map(|name| plan[0]["Plan"][name].as_f64().unwrap());
            assert!(blocks.iter().sum::<f64>() < 200.0, "{plan:#}");
        }
    }
}

#[tokio::test]
async fn sqlite_reads_ranges_by_their_index() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    database.store().await.close().await;
    let url = format!("sqlite://{}", database.file().unwrap().display());
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    let steps = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sqlite::ACCESS_RANGES)))
        .bind("[[\"e\", \"r\", \"p\", \"user\"]]")
        .bind(101)
        .fetch_all(&mut conn)
        .await
        .unwrap();
    let steps: Vec<String> = steps.iter().map(|step| step.get::<String, _>("detail")).collect();
    // One walk of the index for each range, and its rows.
    for (table, way) in [
        ("a", "ix_role_assignments_entity_role (<expr>=? AND role_id=? AND (principal_id,principal_type)>(?,?)"),
        ("found", "INTEGER PRIMARY KEY (rowid=?)"),
    ] {
        let of_table: Vec<_> = steps.iter().filter(|step| step.split(' ').nth(1) == Some(table)).collect();
        assert!(matches!(of_table.as_slice(), [only] if only.contains(way)), "{table}: {steps:#?}");
    }
    assert!(steps.iter().all(|step| !step.contains("TEMP B-TREE")), "no range is sorted: {steps:#?}");
}

/// A chain of three entities among two thousand; a principal with an assignment of one role on each of them. The role
/// holds 500 actions, and each of 300 other roles 99.
const ACTIONS_WORLD: &str = "
    INSERT INTO roles (id, name) SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), 'role ' || n
        FROM generate_series(1, 300) n;
    INSERT INTO roles (id, name) VALUES ('00000000-0000-0000-0000-0000000aaaaa', 'Reader');
    INSERT INTO permissions (action) SELECT 'a:' || n FROM generate_series(1, 500) n;
    INSERT INTO role_permissions (role_id, permission_id)
        SELECT r.id, p.id FROM roles r JOIN permissions p ON r.name = 'Reader' OR length(p.action) <= 4
        WHERE p.action LIKE 'a:%';
    -- PostgreSQL reads a table of a few pages as a whole, whatever is looked up.
    INSERT INTO roles (id, name) SELECT gen_random_uuid(), 'empty ' || n FROM generate_series(1, 3000) n;
    INSERT INTO entities (id, name, type)
        SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), 'e' || n, 'spv' FROM generate_series(1, 2000) n;
    UPDATE entities SET parent_id = '00000000-0000-0000-0000-000000000001' WHERE name = 'e2';
    UPDATE entities SET parent_id = '00000000-0000-0000-0000-000000000002' WHERE name = 'e3';
    INSERT INTO role_assignments (id, principal_id, role_id, entity_id)
        SELECT gen_random_uuid(), 'aaaaaaaa-0000-4000-8000-000000000001', '00000000-0000-0000-0000-0000000aaaaa', id
        FROM entities;
    ANALYZE";

#[tokio::test]
async fn a_list_of_actions_reads_the_assignments_that_reach_the_resource_and_their_roles_only() {
    let database = Database::create(DatabaseKind::Postgres).await;
    database.store().await.close().await;
    database.execute(ACTIONS_WORLD).await.unwrap();
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    let [reaching, permissions] = postgres::ACTIONS;
    for prepare in [
        format!("PREPARE reaching(uuid, uuid, text) AS {reaching}"),
        format!("PREPARE permissions(text, text, bigint) AS {permissions}"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut conn).await.unwrap();
    }
    let reaching = "reaching('00000000-0000-0000-0000-000000000003', 'aaaaaaaa-0000-4000-8000-000000000001', 'user')";
    let permissions = r#"permissions('["00000000-0000-0000-0000-0000000aaaaa"]', '', 20000)"#;
    for mode in ["force_custom_plan", "force_generic_plan"] {
        sqlx::raw_sql(AssertSqlSafe(format!("SET plan_cache_mode = {mode}"))).execute(&mut conn).await.unwrap();
        // One probe for each level and one more; a plan shows the average of their rows, rounded.
        let bounds = [
            (reaching, "role_assignments", 4.0),
            (reaching, "entities", 4.0),
            (reaching, "roles", 3.0),
            (permissions, "role_permissions", 500.0),
            (permissions, "permissions", 500.0),
        ];
        for (call, table, most) in bounds {
            let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {call}");
            let row = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(&mut conn).await.unwrap();
            let plan: Value = serde_json::from_str(row.try_get_unchecked(0).unwrap()).unwrap();
            let rows = looked_at(&plan[0]["Plan"], table);
            assert!(rows > 0.0 && rows <= most, "{mode}: {rows} rows of {table}: {plan:#}");
        }
    }
}

#[tokio::test]
async fn sqlite_reads_actions_by_their_indexes() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    database.store().await.close().await;
    let url = format!("sqlite://{}", database.file().unwrap().display());
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    for (statement, tables) in sqlite::ACTIONS.into_iter().zip([["e", "a", "r"].as_slice(), &["rp", "p"]]) {
        let query = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
        let steps = query.bind("1").bind("2").bind("3").fetch_all(&mut conn).await.unwrap();
        let steps: Vec<String> = steps.iter().map(|step| step.get::<String, _>("detail")).collect();
        for table in tables {
            let of_table: Vec<_> = steps.iter().filter(|step| step.split(' ').nth(1) == Some(table)).collect();
            let all = of_table.iter().all(|step| step.starts_with("SEARCH "));
            assert!(!of_table.is_empty() && all, "{table}: {steps:#?}");
        }
    }
}
