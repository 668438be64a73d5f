//! A PostgreSQL database as its administrator has made it: encodings, defaults, rights, and other applications' tables.

use std::sync::Arc;

use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind, postgres_server};
use epr_testkit::process::epr;
use futures_util::future::join_all;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

async fn admin(sql: &str) {
    let mut admin = PgConnection::connect(&format!("{}/postgres", postgres_server())).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut admin).await.unwrap();
}

fn name_of(database: &Database) -> &str {
    database.url.rsplit('/').next().unwrap()
}

/// The URL of the same database for another role.
fn url_as(database: &Database, role: &str) -> String {
    database.url.replacen("epr@", &format!("{role}@"), 1)
}

#[tokio::test]
async fn another_encoding_is_refused() {
    for encoding in ["SQL_ASCII", "LATIN1"] {
        let name = format!("epr_encoding_{:08x}", rand::random::<u32>());
        admin(&format!("CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"))
            .await;
        let url = format!("{}/{name}", postgres_server());
        for command in ["migrate", "doctor"] {
            let (code, out, err) = epr(&url, &[command]).await;
            assert_ne!(code, 0, "{out}{err}");
            let output = format!("{out}{err}").split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(output.contains(&format!("has the encoding {encoding}, and EPR needs UTF8")), "{output}");
        }
    }
}

#[tokio::test]
async fn defaults_of_the_database_change_nothing() {
    for default in [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_isolation = 'repeatable read'",
        "default_transaction_read_only = on",
        "default_transaction_deferrable = on",
        "timezone = 'Asia/Kathmandu'",
        "datestyle = 'German, DMY'",
        "intervalstyle = 'sql_standard'",
        "standard_conforming_strings = off",
        "bytea_output = 'escape'",
        "extra_float_digits = -15",
        "client_encoding = 'LATIN1'",
        "row_security = off",
        "statement_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "quote_all_identifiers = on",
        "search_path = 'elsewhere'",
    ] {
        let database = Arc::new(Database::create(DatabaseKind::Postgres).await);
        let setting = format!("CREATE SCHEMA elsewhere; ALTER DATABASE {} SET {default}", name_of(&database));
        database.execute(&setting).await.unwrap();
        let api = Api::on(Arc::clone(&database)).await;
        let creating = (0..12).map(|n| api.create_numbered_entity(n));
        for created in join_all(creating).await {
            assert_eq!(created, 201, "{default}");
        }
        let role = api.role("Reader", &["spv"], &["document:download"]).await;
        let place = api.entity("Café", "spv", None).await;
        let user = "99999999-0000-4000-8000-000000000009";
        assert!(!api.authorized(user, "document:download", &place).await, "{default}");
        let grant = json!({"principal_id": user, "role_id": role, "entity_id": place,
            "effective_at": "2020-02-03T04:05:06.789Z"});
        let grant = api.post("/api/v1/assignments", grant).await.expect(201);
        assert_eq!(grant["effective_at"], "2020-02-03T04:05:06.789000Z", "{default}");
        assert!(api.authorized(user, "document:download", &place).await, "{default}");
        api.epr.close().await;
    }
}

#[tokio::test]
async fn a_role_that_may_only_read_and_write_starts_on_a_current_schema() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let role = format!("writer_{:08x}", rand::random::<u32>());
    admin(&format!("CREATE ROLE {role} LOGIN")).await;
    // Before PostgreSQL 15 every role may create tables there.
    database.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await.unwrap();
    let url = url_as(&database, &role);
    // Nothing may be made there: the right that is missing is named, and nothing is left behind.
    let (code, out, err) = epr(&url, &["migrate"]).await;
    assert_ne!(code, 0, "{out}{err}");
    assert!(
        format!("{out}{err}").contains(&format!("GRANT USAGE, CREATE ON SCHEMA \"public\" TO {role}")),
        "{out}{err}"
    );
    assert_eq!(database.number("SELECT COUNT(*) FROM pg_class WHERE relname = '_sqlx_migrations'").await, 0);
    database.store().await.close().await;
    let grants = format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}; \
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
    );
    database.execute(&grants).await.unwrap();
    let (code, out, err) = epr(&url, &["migrate"]).await;
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test]
async fn another_applications_tables_are_left_alone() {
    for neighbour in [
        "CREATE TABLE roles (id serial PRIMARY KEY, title text)",
        "CREATE TABLE entities (id uuid PRIMARY KEY, kind text)",
        "CREATE TABLE audit_chain_head (x int)",
        "CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL, \
           installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL, checksum bytea NOT NULL, \
           execution_time bigint NOT NULL); \
         INSERT INTO _sqlx_migrations VALUES (20230101000000, 'users', now(), true, '', 1)",
    ] {
        let database = Database::create(DatabaseKind::Postgres).await;
        database.execute(neighbour).await.unwrap();
        let tables = "SELECT COUNT(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
                      WHERE relkind IN ('r', 'i', 'S') AND nspname NOT IN ('pg_catalog', 'information_schema', \
                      'pg_toast')";
        let before = database.number(tables).await;
        let (code, out, err) = epr(&database.url, &["migrate"]).await;
        assert_ne!(code, 0, "{out}{err}");
        let output = format!("{out}{err}");
        assert!(output.contains("not EPR's") && output.contains("schema of its own"), "{output}");
        assert_eq!(database.number(tables).await, before, "{neighbour}");
        // In a schema of its own it lives beside them.
        let own = format!("CREATE SCHEMA epr; ALTER DATABASE {} SET search_path = epr, public", name_of(&database));
        database.execute(&own).await.unwrap();
        let api = Api::on(Arc::new(database)).await;
        api.entity("e", "spv", None).await;
        api.epr.close().await;
    }
}

/// Two other sessions are all that the server has left when the service has opened two of its ten.
#[tokio::test]
async fn a_server_without_room_costs_no_caller_anything() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let limit = format!("ALTER DATABASE {} CONNECTION LIMIT 6", name_of(&database));
    let role = format!("limited_{:08x}", rand::random::<u32>());
    admin(&format!("CREATE ROLE {role} LOGIN; {limit}")).await;
    database.store().await.close().await;
    database.execute(&format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(PgConnection::connect(&url_as(&database, &role)).await.unwrap());
    }
    let options = epr_core::store::postgres::Options::default();
    let store = epr_core::store::postgres::open(&url_as(&database, &role), &options).unwrap();
    let store: Arc<dyn epr_core::store::Store> = Arc::new(store);
    store.keep_open();
    store.ping().await.unwrap();
    let asked = (0..400).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.ping().await })
    });
    for answer in join_all(asked.collect::<Vec<_>>()).await {
        answer.unwrap().unwrap();
    }
    assert!(store.pools().iter().map(|pool| pool.open).sum::<u32>() <= 2);
    // As soon as there is room, the pool is as large as it should be.
    drop(others);
    admin(&format!("ALTER DATABASE {} CONNECTION LIMIT 50", name_of(&database))).await;
    epr_testkit::wait::until("ten connections", async || store.pools().iter().map(|pool| pool.open).sum::<u32>() == 10)
        .await;
    store.close().await;
}
