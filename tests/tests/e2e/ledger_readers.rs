//! Readers of the ledger do not take the connections that checks need.

use std::sync::Arc;

use axum::http::StatusCode;
use epr_core::clock::SystemClock;
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use futures_util::future::join_all;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

/// Readers that wait for the table, and checks that do not need it, on few connections. Nothing here depends on how
/// long anything takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledger_readers_do_not_take_the_checks_connections() {
    let database = Arc::new(Database::create(DatabaseKind::Postgres).await);
    // Decisions that are recorded would wait for the table as the readers do; cached ones would need no connection.
    let environment = [("EPR_DATABASE_POOL_SIZE", "6"), ("EPR_AUDIT_DECISIONS", "off"), ("EPR_DECISION_CACHE", "off")];
    let api = Api::with_settings(Arc::clone(&database), Arc::new(SystemClock), &environment).await;
    let spv = api.entity("Berlin One", "spv", None).await;
    // All of them are open before the readers come: each could be taken at once.
    api.epr.keep_connections_open();
    let open = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.until_at_least(open, 6).await;
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE").execute(&mut other).await.unwrap();
    let readers: Vec<_> = (0..40)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { api.get("/api/v1/audit/entries?source=x").await.status })
        })
        .collect();
    // The largest number of readers is at the table.
    let waiting =
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    database.until_at_least(waiting, 2).await;
    let checks = (0..60).map(|n| {
        let (api, spv) = (&api, &spv);
        async move { api.authorized(&Uuid::from_u128(n).to_string(), "document:download", spv).await }
    });
    assert!(join_all(checks).await.iter().all(|allowed| !allowed));
    assert!(database.number(waiting).await <= 2, "a third of the connections");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    for reader in readers {
        let status = reader.await.unwrap();
        assert!([StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&status), "{status}");
    }
}
