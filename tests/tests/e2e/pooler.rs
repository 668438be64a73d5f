//! `PgBouncer` between EPR and the server: what works in each of its modes, and what other clients of its sessions see.

use epr_core::Epr;
use epr_core::settings::{Settings, Source};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::pgbouncer::PgBouncer;
use epr_testkit::process::{Process, epr};
use epr_testkit::tour::{post, tour};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};

/// A tour, and a list.
async fn tour_with_list(base: &str, n: u64) {
    tour(base, n).await;
    let list = reqwest::get(format!("{base}/api/v1/audit/entries?limit=5")).await.unwrap();
    assert_eq!(list.status(), 200);
}

async fn serves(mode: &str, sessions: u32) -> (Database, PgBouncer, Process, String) {
    let database = Database::create(DatabaseKind::Postgres).await;
    let pooler = PgBouncer::start(mode, sessions).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", pooler.url(&database.url).as_str())]).await;
    let tours = (0..24).map(|n| {
        let base = base.clone();
        tokio::spawn(async move { tour_with_list(&base, n).await })
    });
    for tour in tours.collect::<Vec<_>>() {
        tour.await.unwrap();
    }
    let (code, out, err) = epr(&database.url, &["audit", "verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
    (database, pooler, process, base)
}

#[tokio::test]
async fn transaction_mode_serves_many_callers_and_outlives_a_kill() {
    let (database, mut pooler, _process, base) = serves("transaction", 3).await;
    // Nothing of this service is left in the sessions that others get.
    let options: PgConnectOptions = pooler.url(&database.url).parse().unwrap();
    let mut other = PgConnection::connect_with(&options.extra_float_digits(None)).await.unwrap();
    for _ in 0..10 {
        let look = "SELECT current_setting('statement_timeout') || current_setting('lock_timeout') || \
                    current_setting('idle_in_transaction_session_timeout') || (SELECT COUNT(*) FROM \
                    pg_prepared_statements)";
        let seen: String = sqlx::raw_sql(look).fetch_one(&mut other).await.unwrap().get(0);
        assert_eq!(seen, "0000");
    }
    // Settings that other clients leave in the session have no effect.
    let leave = "SET search_path = pg_catalog; SET default_transaction_isolation = 'serializable'; \
                 SET default_transaction_read_only = on; SET standard_conforming_strings = off";
    for _ in 0..10 {
        sqlx::raw_sql(leave).execute(&mut other).await.unwrap();
    }
    for n in 100..110 {
        tour_with_list(&base, n).await;
    }
    pooler.restart().await;
    epr_testkit::wait::until("a check after the pooler was killed", async || {
        let body = json!({"name": format!("e{}", rand::random::<u64>()), "type": "spv"});
        post(&base, "/entities", body).await.0 == 201
    })
    .await;
    tour_with_list(&base, 200).await;
    let (code, out, err) = epr(&database.url, &["audit", "verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let (_, out, _) = epr(&pooler.url(&database.url), &["doctor"]).await;
    assert!(out.contains("a connection pooler in transaction mode"), "{out}");
}

#[tokio::test]
async fn session_mode_serves_as_the_server_does() {
    let (database, pooler, _process, _base) = serves("session", 40).await;
    let (_, out, _) = epr(&pooler.url(&database.url), &["doctor"]).await;
    assert!(out.contains("a connection pooler in session mode"), "{out}");
}

#[tokio::test]
async fn statement_mode_is_refused_with_a_sentence() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let pooler = PgBouncer::start("statement", 3).await;
    let url = pooler.url(&database.url);
    let source = Source::of([("EPR_DATABASE_URL", url.as_str())]);
    let service = Epr::from_settings(&Settings::from_source(&source).unwrap()).await.unwrap();
    let error = epr_core::error::chain(&service.start(true).await.unwrap_err());
    assert!(error.contains("statement mode"), "{error}");
}
