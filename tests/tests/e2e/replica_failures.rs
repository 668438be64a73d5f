//! Replicas that fail, fall behind or go their own way: callers see what the primary has, and no error.

use std::sync::Arc;
use std::time::Duration;

use epr_core::domain::{AuditEntry, AuditFilter, AuditPage, EntityFilter, EntityType, Json, JsonObject, NewEntity};
use epr_core::history::RegistryRow;
use epr_core::store::postgres::{self, ReplicaOptions};
use epr_core::store::url::{DatabaseUrl, PostgresUrl};
use epr_core::store::{Options, Page, PrimaryReason, ReadNeed, RegistryList, ScanRange};
use epr_core::{Call, Epr, ExportedEntry};
use epr_testkit::postgres_server::PostgresServer;
use epr_testkit::proxy::Proxy;
use epr_testkit::wait;

use crate::replica_world::{POLL_INTERVAL, Replicated, Service, execute, once, standby_of, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_answers_while_the_replica_is_stopped_and_the_replica_when_it_is_back() {
    let pair = Replicated::start("").await;
    let service = pair.service(&[]).await;
    service.entity("first").await;
    pair.caught_up().await;
    service.until_from_replica().await;
    assert_eq!(service.replica_state().await, "ok");
    tokio::task::block_in_place(|| pair.standby.stop());
    for _ in 0..3 {
        let (answer, reads) = service.counted(service.get("/api/v1/entities")).await;
        assert_eq!((answer.all("name"), reads), (vec!["first".to_owned()], once("primary unavailable")));
    }
    assert_eq!(service.replica_state().await, "unavailable");
    tokio::task::block_in_place(|| pair.standby.start(""));
    service.until_from_replica().await;
    assert_eq!(service.replica_state().await, "ok");
}

/// Connections stay open, and nothing comes back on them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_answers_while_the_replica_is_silent() {
    let pair = Replicated::start("").await;
    let name = Proxy::to(&pair.standby.address()).await;
    let url = format!("postgres://epr@{}/postgres?sslmode=disable", name.address);
    let service = Service::start(&pair.primary.url(), Some(&url), &[]).await;
    service.entity("first").await;
    service.until_from_replica().await;
    name.silence_named("epr");
    name.silence();
    let (answer, reads) = service.counted(service.get("/api/v1/entities")).await;
    assert_eq!((answer.all("name"), reads), (vec!["first".to_owned()], once("primary unavailable")));
    name.forward_named();
    service.until_from_replica().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_answers_while_the_replica_lags_more_than_it_may() {
    let pair = Replicated::start("").await;
    let service =
        Service::start(&pair.primary.url(), Some(&pair.standby.url()), &[("EPR_DATABASE_READ_MAX_LAG", "1")]).await;
    service.until_from_replica().await;
    pair.pause().await;
    service.entity("first").await;
    // By then, a second has passed in which the primary had the entity.
    let names = async || service.get("/api/v1/entities").await.all("name");
    wait::until_value("the entity", POLL_INTERVAL, names, |names| *names == ["first"]).await;
    assert_eq!(service.replica_state().await, "lag");
    pair.resume().await;
    service.until_from_replica().await;
}

/// A standby that was promoted by mistake, and one that follows it: both have an entity that the primary lacks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_answers_nothing() {
    let pair = Replicated::start("").await;
    let service = pair.service(&[]).await;
    service.entity("first").await;
    pair.caught_up().await;
    service.until_from_replica().await;
    let follower = tokio::task::block_in_place(|| {
        pair.standby.promote();
        standby_of(&pair.standby, "")
    });
    let fork = Service::start(&pair.standby.url(), None, &[]).await;
    fork.entity("fork").await;
    // Connections that were open when it was promoted, and new ones.
    for _ in 0..3 {
        let (answer, reads) = service.counted(service.get("/api/v1/entities")).await;
        assert_eq!((answer.all("name"), reads), (vec!["first".to_owned()], once("primary not_a_standby")));
        assert_eq!(service.get("/api/v1/audit/entries").await.all("action"), ["entity.create"]);
    }
    assert_eq!(service.replica_state().await, "not_a_standby");

    let seen = || text(&follower, "SELECT CAST(COUNT(*) AS text) FROM entities");
    wait::until_value("a follower with both", POLL_INTERVAL, seen, |seen| seen == "2").await;
    let misled = Service::start(&pair.primary.url(), Some(&follower.url()), &[]).await;
    assert_eq!(misled.replica_state().await, "ahead");
    let (answer, reads) = misled.counted(misled.get("/api/v1/entities")).await;
    assert_eq!((answer.all("name"), reads), (vec!["first".to_owned()], once("primary ahead")));
    // Another entry in its place.
    service.entity("second").await;
    let state = async || misled.replica_state().await;
    wait::until_value("another entry", POLL_INTERVAL, state, |state| state == "diverged").await;
    assert_eq!(misled.get("/api/v1/entities").await.all("name"), ["second", "first"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_that_leads_to_the_primary_or_to_another_database_answers_nothing() {
    let pair = Replicated::start("").await;
    let itself = Service::start(&pair.primary.url(), Some(&pair.primary.url()), &[]).await;
    itself.entity("first").await;
    let (answer, reads) = itself.counted(itself.get("/api/v1/entities")).await;
    assert_eq!((answer.all("name"), reads), (vec!["first".to_owned()], once("primary not_a_standby")));
    let other = Replicated::start("").await;
    Service::start(&other.primary.url(), None, &[]).await.entity("other").await;
    other.caught_up().await;
    let misled = Service::start(&pair.primary.url(), Some(&other.standby.url()), &[]).await;
    let (answer, reads) = misled.counted(misled.get("/api/v1/entities")).await;
    assert_eq!((answer.all("name"), reads), (vec!["first".to_owned()], once("primary other_database")));
    // A database without EPR's tables.
    execute(&other.primary, "CREATE DATABASE empty").await;
    other.caught_up().await;
    let url = other.standby.url().replace("/postgres", "/empty");
    let misled = Service::start(&pair.primary.url(), Some(&url), &[]).await;
    let (answer, reads) = misled.counted(misled.get("/api/v1/entities")).await;
    assert_eq!((answer.all("name"), reads), (vec!["first".to_owned()], once("primary failed")));
}

/// A migration has reached the primary only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_an_older_schema_answers_nothing() {
    let pair = Replicated::start("").await;
    let service = pair.service(&[]).await;
    service.until_from_replica().await;
    let newest = "(SELECT MAX(version) FROM _sqlx_migrations)";
    execute(&pair.primary, &format!("DELETE FROM _sqlx_migrations WHERE version = {newest}")).await;
    pair.caught_up().await;
    let (_, reads) = service.counted(service.get("/api/v1/entities")).await;
    assert_eq!(reads, once("primary schema"));
}

fn parsed(server: &PostgresServer) -> PostgresUrl {
    match DatabaseUrl::parse(&server.url()).unwrap() {
        DatabaseUrl::Postgres(url) => url,
        _ => unreachable!(),
    }
}

/// The library on both servers.
async fn library(pair: &Replicated) -> Epr {
    let replica = ReplicaOptions { url: parsed(&pair.standby), max_lag: Duration::from_mins(1) };
    let store = postgres::open_with_replica(&parsed(&pair.primary), &Options::default(), Some(&replica)).unwrap();
    Epr::builder_on(Arc::new(store)).start().await.unwrap()
}

/// Ends every session of EPR on a server, from a thread that is not part of the runtime: a visitor cannot wait.
fn cut_sessions(server: &PostgresServer) {
    let url = server.url();
    let cut = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            use sqlx::Connection as _;
            let mut conn = sqlx::PgConnection::connect(&url).await.unwrap();
            let ended = "SELECT COUNT(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity \
                         WHERE application_name = 'omen-epr'";
            let ended: i64 = sqlx::query_scalar(ended).fetch_one(&mut conn).await.unwrap();
            assert!(ended > 0, "no session");
        });
    };
    std::thread::spawn(cut).join().unwrap();
}

/// The number of large entities.
const ROWS: usize = 1_000;

/// Creates entities whose rows are more than the sockets between reader and server hold.
async fn create_large_entities(epr: &Epr) {
    for n in 0..ROWS {
        let attributes = JsonObject::from([("text".to_owned(), Json::Text("x".repeat(16_000)))]);
        let name = format!("entity {n}").as_str().try_into().unwrap();
        let new = NewEntity { attributes, ..NewEntity::new(name, EntityType::Spv) };
        epr.create_entity(&Call::default(), new).await.unwrap();
    }
}

/// Lists most of the large entities, and calls `disturb` in the middle.
async fn every_row_is_listed_once(epr: &Epr, disturb: impl Fn() + Send + Sync) {
    let mut names = Vec::new();
    let mut take = |row: RegistryRow| {
        if names.len() == 70 {
            disturb();
        }
        let RegistryRow::Entity(entity) = row else { panic!("{row:?}") };
        names.push(entity.name);
        true
    };
    let (filter, page) = (EntityFilter::default(), Page { limit: 900, after: None });
    epr.show_list(ReadNeed::default(), RegistryList::Entities(&filter), page, &mut take).await.unwrap();
    let expected: Vec<_> = (0..ROWS).rev().take(900).map(|n| format!("entity {n}")).collect();
    assert!(names == expected, "{} rows, from {:?} to {:?}", names.len(), names.first(), names.last());
}

fn counts(epr: &Epr) -> Vec<(&'static str, u64)> {
    epr.replica_reads().into_iter().filter(|reads| reads.count > 0).map(|reads| (reads.reason, reads.count)).collect()
}

/// The clock of a process can stand still while it is frozen: what it saw before says nothing about the lag.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_frozen_measures_the_lag_anew() {
    let pair = Replicated::start("").await;
    let epr = library(&pair).await;
    pair.caught_up().await;
    wait::until("a replica that answers", async || epr.replica_state(Duration::from_secs(5)).await.unwrap().is_ok())
        .await;
    pair.pause().await;
    let name = "second".try_into().unwrap();
    epr.create_entity(&Call::default(), NewEntity::new(name, EntityType::Spv)).await.unwrap();
    assert!(epr.replica_state(Duration::from_secs(5)).await.unwrap().is_ok(), "a minute has not passed");
    epr.rest(Duration::from_secs(1)).await;
    assert_eq!(epr.replica_state(Duration::from_secs(5)).await, Some(Err(PrimaryReason::Lag)));
    epr.close().await;
}

/// The session of the replica ends in the middle of a list and of an export.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_goes_on_after_the_last_row_that_the_replica_gave() {
    let pair = Replicated::start("").await;
    let epr = library(&pair).await;
    create_large_entities(&epr).await;
    pair.caught_up().await;

    every_row_is_listed_once(&epr, || cut_sessions(&pair.standby)).await;
    assert_eq!(counts(&epr), [("unavailable", 1)]);

    let from_replica = async || epr.replica_state(Duration::from_secs(5)).await.unwrap().is_ok();
    wait::until("a replica that answers", from_replica).await;
    let mut sequences = Vec::new();
    let mut take = |entry: ExportedEntry<'_>| {
        if sequences.len() == 5 {
            cut_sessions(&pair.standby);
        }
        sequences.push(entry.sequence);
        true
    };
    epr.copy_ledger(ScanRange::ALL, &mut take).await.unwrap();
    assert!(sequences.iter().copied().eq(1..=1_000), "{} entries", sequences.len());
    assert_eq!(counts(&epr), [("unavailable", 2)]);

    wait::until("a replica that answers", from_replica).await;
    let mut seen = Vec::new();
    let page = AuditPage { limit: 500, after: None, ascending: true };
    let mut take = |entry: AuditEntry| {
        if seen.len() == 70 {
            cut_sessions(&pair.standby);
        }
        seen.push(entry.sequence);
        true
    };
    epr.list_audit_entries(ReadNeed::default(), &AuditFilter::default(), page, &mut take).await.unwrap();
    assert!(seen.iter().copied().eq(1..=500), "{} entries", seen.len());
    assert_eq!(counts(&epr), [("unavailable", 3)]);
    epr.close().await;
}

/// Locks a table on the primary for a moment, and returns when replay on the standby ends the readers of the table.
fn conflict_with_readers(pair: &Replicated) {
    let conflict = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let lock = "BEGIN; SELECT pg_current_xact_id(); LOCK TABLE entities IN ACCESS EXCLUSIVE MODE; COMMIT";
            execute(&pair.primary, lock).await;
            // The server says so just before it cancels them.
            let is_waiting = async || pair.standby.log().contains("recovery still waiting");
            wait::until("replay that waits for a reader", is_waiting).await;
        });
    };
    std::thread::scope(|scope| scope.spawn(conflict).join()).unwrap();
}

/// Replay cancels a read of the replica that is in its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_goes_on_where_replay_has_cancelled_the_replica() {
    let pair = Replicated::start(
        "-c max_standby_streaming_delay=50ms -c deadlock_timeout=1ms -c log_recovery_conflict_waits=on",
    )
    .await;
    let epr = library(&pair).await;
    create_large_entities(&epr).await;
    pair.caught_up().await;
    every_row_is_listed_once(&epr, || conflict_with_readers(&pair)).await;
    assert_eq!(counts(&epr), [("cancelled", 1)]);
    epr.close().await;
}
