//! The rows that the database's triggers write when facts of decisions change, and the processes that apply them.

use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::postgres_server::PostgresServer;
use epr_testkit::process::epr;
use epr_testkit::wait;
use rstest::rstest;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const ROLE: &str = "00000000-0000-4000-8000-0000000000aa";
const ENTITY: &str = "00000000-0000-4000-8000-0000000000bb";
const ACTION: &str = "00000000-0000-4000-8000-0000000000cc";

/// Assigns a role everywhere to that many new principals, in one statement.
async fn assign(database: &Database, count: u32) {
    let id = database.new_uuid();
    let at = "'2026-01-01T00:00:00.000000Z'";
    let sql = format!(
        "INSERT INTO roles (id, name, scope_types, is_system, created_at, updated_at) \
           VALUES ('{ROLE}', 'Reader', '[]', FALSE, {at}, {at}) ON CONFLICT DO NOTHING; \
         INSERT INTO role_assignments (id, principal_id, principal_type, role_id, effective_at, created_at, \
         updated_at) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
         SELECT {id}, {id}, 'user', '{ROLE}', {at}, {at}, {at} FROM n"
    );
    database.execute(&sql).await.unwrap();
}

/// Many principals in one transaction are one global renewal, so that an import costs the same for each
/// assignment however many it has.
#[tokio::test]
async fn a_transaction_writes_a_bounded_number_of_renewals() {
    let database = Database::create(DatabaseKind::Postgres).await;
    database.store().await.close().await;
    assign(&database, 200).await;
    assert_eq!(database.number("SELECT COUNT(*) FROM cache_renewals WHERE principal_id IS NOT NULL").await, 200);
    for count in [257, 20_000] {
        database.execute("DELETE FROM cache_renewals").await.unwrap();
        assign(&database, count).await;
        assert_eq!(database.number("SELECT COUNT(*) FROM cache_renewals").await, 257);
        assert_eq!(database.number("SELECT COUNT(*) FROM cache_renewals WHERE principal_id IS NULL").await, 1);
    }
}

/// The number of rows that the triggers of one statement read through indexes and sequential scans of `cache_renewals`.
async fn rows_read(database: &Database, count: u32) -> i64 {
    database.execute("SELECT pg_stat_reset()").await.unwrap();
    assign(database, count).await;
    database.execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    let read = "SELECT CAST(seq_tup_read + COALESCE(idx_tup_fetch, 0) AS bigint) FROM pg_stat_user_tables \
                WHERE relname = 'cache_renewals'";
    wait::until("statistics", async || database.number(read).await > 0).await;
    database.number(read).await
}

#[tokio::test]
async fn the_cost_of_an_assignment_does_not_grow_with_the_transaction() {
    let database = Database::create(DatabaseKind::Postgres).await;
    database.store().await.close().await;
    let (small, large) = (rows_read(&database, 2_000).await, rows_read(&database, 20_000).await);
    println!("rows of cache_renewals read: {small} for 2,000 assignments, {large} for 20,000");
    assert!(large <= small * 12, "{large} for ten times the assignments, {small} before");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_program_gets_a_bounded_number_of_renewals(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let role = api.role("Writer", &[], &["document:upload"]).await;
    assign(&api.database, 1_000).await;
    let own = api.entity("e", "spv", None).await;
    let body = json!({"principal_id": USER, "role_id": role, "entity_id": own});
    assert!(!api.authorized(USER, "document:upload", &own).await);
    api.post("/api/v1/assignments", body).await.expect(201);
    assert!(api.authorized(USER, "document:upload", &own).await);
    if api.database.kind == DatabaseKind::Sqlite {
        // The renewals of the other program were among its own, and became one global renewal.
        assert!(api.database.number("SELECT COUNT(*) FROM cache_renewals").await < 10);
    }
}

async fn replica(database: &Database) -> PgConnection {
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("SET session_replication_role = replica").execute(&mut conn).await.unwrap();
    conn
}

/// A restore and a replication apply set this role of the session, under which ordinary triggers do not fire.
#[tokio::test]
async fn changes_by_replication_are_renewed_and_the_ledger_stays_guarded() {
    let database = Database::create(DatabaseKind::Postgres).await;
    database.store().await.close().await;
    assign(&database, 1).await;
    database.execute("DELETE FROM cache_renewals").await.unwrap();
    let mut conn = replica(&database).await;
    for change in [
        "UPDATE role_assignments SET expires_at = now()",
        "DELETE FROM role_assignments",
        "UPDATE roles SET scope_types = '[\"spv\"]'",
        "INSERT INTO permissions (action) VALUES ('a:read'); \
         INSERT INTO role_permissions SELECT r.id, p.id FROM roles r, permissions p",
        "TRUNCATE role_permissions",
    ] {
        sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut conn).await.unwrap();
        assert!(database.number("SELECT COUNT(*) FROM cache_renewals").await > 0, "{change}");
        database.execute("DELETE FROM cache_renewals").await.unwrap();
    }
    let (code, _, failed) = epr(&database.url, &["entities", "create", "spv", "an entry"]).await;
    assert_eq!(code, 0, "{failed}");
    for change in ["DELETE FROM audit_logs", "TRUNCATE audit_logs", "UPDATE audit_logs SET action = 'x'"] {
        let refused = sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut conn).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{change}: {refused}");
    }
}

/// A cached decision of a running process ends with a change that only replication's role of a session makes.
#[tokio::test]
async fn a_running_process_notices_changes_under_the_role_of_replication() {
    let api = Api::start(DatabaseKind::Postgres).await;
    let (entity, role) = (api.entity("e", "spv", None).await, api.role("Reader", &[], &["document:download"]).await);
    let body = json!({"principal_id": USER, "role_id": role, "entity_id": entity});
    api.post("/api/v1/assignments", body).await.expect(201);
    for _ in 0..2 {
        assert!(api.authorized(USER, "document:download", &entity).await);
    }
    let mut conn = replica(&api.database).await;
    sqlx::raw_sql("DELETE FROM role_assignments").execute(&mut conn).await.unwrap();
    wait::until("a denial", async || !api.authorized(USER, "document:download", &entity).await).await;
}

async fn publish(conn: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.unwrap();
}

/// Rows that real logical replication applies to the database of a running process end its cached decisions.
#[tokio::test]
async fn a_running_process_notices_what_logical_replication_applies() {
    let server = PostgresServer::create(&[], "-c wal_level=logical");
    let publisher = format!("postgres://epr@127.0.0.1:{}/postgres", server.port);
    assert_eq!(epr(&publisher, &["migrate"]).await.0, 0);
    let mut source = PgConnection::connect(&publisher).await.unwrap();
    let tables = "entities, roles, permissions, role_permissions, role_assignments";
    let at = "'2026-01-01T00:00:00Z'";
    publish(
        &mut source,
        format!(
            "CREATE PUBLICATION registry FOR TABLE {tables}; \
             INSERT INTO entities (id, name, type, status, attributes, created_at, updated_at) \
               VALUES ('{ENTITY}', 'e', 'spv', 'active', '{{}}', {at}, {at}); \
             INSERT INTO roles (id, name, scope_types, is_system, created_at, updated_at) \
               VALUES ('{ROLE}', 'Reader', '[]', FALSE, {at}, {at}); \
             INSERT INTO permissions (id, action) VALUES ('{ACTION}', 'a:read'); \
             INSERT INTO role_permissions VALUES ('{ROLE}', '{ACTION}')"
        ),
    )
    .await;
    let api = Api::start(DatabaseKind::Postgres).await;
    let connection = format!("host=127.0.0.1 port={} user=epr dbname=postgres", server.port);
    let subscribe = format!("CREATE SUBSCRIPTION registry CONNECTION '{connection}' PUBLICATION registry");
    api.database.execute(&subscribe).await.unwrap();
    wait::until("the entity", async || {
        api.get(&format!("/api/v1/entities/{ENTITY}")).await.status.as_u16() == 200
            && api.database.number("SELECT COUNT(*) FROM role_permissions").await == 1
    })
    .await;
    for _ in 0..2 {
        assert!(!api.authorized(USER, "a:read", ENTITY).await);
    }
    publish(
        &mut source,
        format!(
            "INSERT INTO role_assignments (id, principal_id, principal_type, role_id, effective_at, created_at, \
             updated_at) \
             VALUES ('{USER}', '{USER}', 'user', '{ROLE}', {at}, {at}, {at})"
        ),
    )
    .await;
    wait::until("an allow", async || api.authorized(USER, "a:read", ENTITY).await).await;
    publish(&mut source, "DELETE FROM role_permissions".into()).await;
    wait::until("a denial", async || !api.authorized(USER, "a:read", ENTITY).await).await;
    for end in ["DISABLE", "SET (slot_name = NONE)"] {
        api.database.execute(&format!("ALTER SUBSCRIPTION registry {end}")).await.unwrap();
    }
    api.database.execute("DROP SUBSCRIPTION registry").await.unwrap();
}
