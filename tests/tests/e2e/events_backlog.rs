//! Delivery with a large backlog: a claim goes over ordering keys, not over events.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use epr_core::clock::{SystemClock, TimeOrderedIds};
use epr_core::domain::Timestamp;
use epr_core::domain::event::DeliveryState;
use epr_core::publish::recording::Recording;
use epr_core::settings::{AuditDecisions, AuditEvents, CacheSettings, EventSettings};
use epr_core::store::{Claim, Settlement, Store};
use epr_core::{Epr, Parts};
use epr_testkit::database::{Database, Kind};
use epr_testkit::{patience, seed};
use rand::Rng as _;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use uuid::Uuid;

fn service(store: Arc<dyn Store>, topic: &Arc<Recording>) -> Epr {
    Epr::new(Parts {
        store,
        clock: Arc::new(SystemClock),
        ids: Box::new(TimeOrderedIds),
        default_permissions: Vec::new(),
        audit_decisions: AuditDecisions::All,
        audit_events: AuditEvents::Context,
        events: EventSettings::default(),
        publisher: Some(topic.clone()),
        cache: CacheSettings::default(),
    })
}

/// Writes pending events with one ordering key behind the service's back; `key` is their type, too.
async fn backlog(database: &Database, key: &str, count: u32) {
    let id = match database.kind {
        Kind::Postgres => "gen_random_uuid()",
        Kind::Sqlite => {
            "lower(printf('%s-%s-4%s-8%s-%s', hex(randomblob(4)), hex(randomblob(2)), substr(hex(randomblob(2)), 2), \
             substr(hex(randomblob(2)), 2), hex(randomblob(6))))"
        }
    };
    let at = "'2026-01-01T00:00:00.000000Z'";
    let sql = format!(
        "INSERT INTO platform_events (id, event_id, event_type, source, payload, context, occurred_at, schema_version, \
           delivery_state, delivery_attempts, created_at, updated_at, ordering_key, ingested, next_attempt_at) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
         SELECT {id}, {id}, '{key}', 'vault', '{{}}', '{{}}', {at}, 'v1', 'pending', 0, {at}, {at}, '{key}', TRUE, {at} FROM n"
    );
    database.execute(&sql).await.unwrap();
}

/// How many events are delivered before the one whose key has no others.
async fn delivered_before(database: &Database, other: &str) -> usize {
    let topic = Arc::new(Recording::default());
    let epr = service(database.store().await, &topic);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let relay = tokio::spawn({
        let epr = epr.clone();
        async move { epr.relay(async { drop(stopped.await) }).await }
    });
    let delivered = async || topic.published().iter().any(|message| message.event_type == other);
    patience::until_so("the other key's event", delivered).await;
    drop(stop);
    relay.await.unwrap();
    epr.close().await;
    topic.published().iter().take_while(|message| message.event_type != other).count()
}

/// The blocks that a claim reads on PostgreSQL: shared buffers hit or read.
async fn blocks_read(database: &Database) -> i64 {
    let mut conn = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("ANALYZE platform_events").execute(&mut conn).await.unwrap();
    let claim = epr_core::store::postgres::CLAIM.replace("$1", "now()").replace("$2", "500");
    let explain = AssertSqlSafe(format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {claim}"));
    let row = sqlx::raw_sql(explain).fetch_one(&mut conn).await.unwrap();
    let plan: Value = serde_json::from_str(row.try_get_unchecked(0).unwrap()).unwrap();
    let blocks = |name: &str| plan[0]["Plan"][name].as_i64().unwrap();
    blocks("Shared Hit Blocks") + blocks("Shared Read Blocks")
}

#[tokio::test]
async fn the_backlog_of_one_key_costs_other_keys_nothing_on_postgres() {
    let mut blocks = Vec::new();
    for count in [10, 10_000, 100_000] {
        let database = Database::create(Kind::Postgres).await;
        database.store().await.close().await;
        backlog(&database, "crowded", count).await;
        backlog(&database, "other", 1).await;
        blocks.push(blocks_read(&database).await);
        let before = delivered_before(&database, "other").await;
        assert!(before <= 1, "{before} of {count} events of the other key were delivered first");
    }
    println!("blocks read by a claim: {blocks:?}");
    assert!(blocks.iter().all(|read| *read <= blocks[0] + 16), "{blocks:?}");
}

#[tokio::test]
async fn the_backlog_of_one_key_costs_other_keys_nothing_on_sqlite() {
    let database = Database::create(Kind::Sqlite).await;
    database.store().await.close().await;
    backlog(&database, "crowded", 10_000).await;
    backlog(&database, "other", 1).await;
    assert_eq!(database.number("SELECT COUNT(*) FROM platform_events WHERE NOT blocked").await, 2);
    let file = format!("sqlite://{}", database.file().unwrap().display());
    let mut conn = sqlx::SqliteConnection::connect(&file).await.unwrap();
    let claim = epr_core::store::sqlite::CLAIM.replace("$1", "'2026-06-01T00:00:00.000000Z'").replace("$2", "500");
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {claim}"));
    let rows = sqlx::raw_sql(explain).fetch_all(&mut conn).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    let by = |index: &str| plan.iter().any(|step| step.contains(&format!("INDEX {index} ")));
    assert!(by("ix_platform_events_claimable") && by("ix_platform_events_key"), "{plan:?}");
    assert!(!plan.iter().any(|step| step.contains("SCAN") || step.contains("TEMP")), "{plan:?}");
    let before = delivered_before(&database, "other").await;
    assert!(before <= 1, "{before} events of the other key were delivered first");
}

/// The events that were pending before the migration are marked by it.
async fn is_marked_by_the_migration(kind: Kind) {
    let database = Database::create(kind).await;
    database.store().await.close().await;
    backlog(&database, "a", 50).await;
    backlog(&database, "b", 1).await;
    for undo in [
        "DROP TRIGGER platform_events_inserted",
        "DROP TRIGGER platform_events_completed",
        "DROP TRIGGER platform_events_deleted",
    ] {
        let on = if kind == Kind::Postgres { " ON platform_events" } else { "" };
        database.execute(&format!("{undo}{on}")).await.unwrap();
    }
    if kind == Kind::Postgres {
        database.execute("DROP FUNCTION epr_event_inserted(); DROP FUNCTION epr_event_completed()").await.unwrap();
    }
    database
        .execute(
            "DROP INDEX ix_platform_events_claimable; ALTER TABLE platform_events DROP COLUMN blocked; \
             DELETE FROM _sqlx_migrations WHERE version = 10",
        )
        .await
        .unwrap();
    database.store().await.close().await;
    assert_eq!(database.number("SELECT COUNT(*) FROM platform_events WHERE NOT blocked").await, 2);
    assert_eq!(database.number("SELECT COUNT(*) FROM platform_events WHERE blocked AND ordering_key = 'a'").await, 49);
}

#[tokio::test]
async fn an_existing_backlog_is_marked_on_postgres() {
    is_marked_by_the_migration(Kind::Postgres).await;
}

#[tokio::test]
async fn an_existing_backlog_is_marked_on_sqlite() {
    is_marked_by_the_migration(Kind::Sqlite).await;
}

/// What the relays of one run share.
#[derive(Default)]
struct Run {
    /// Whether every writer is done.
    written: AtomicBool,
    /// Of each delivered event, in the order of delivery: its type, which is its key, and its position.
    delivered: Mutex<Vec<(String, i64)>>,
}

/// Relays, writers and retries at the same time: each key's events are delivered in their order, and none is left behind.
async fn none_is_left_behind(kind: Kind) {
    let database = Arc::new(Database::create(kind).await);
    let (store, run) = (database.store().await, Arc::new(Run::default()));
    let writers: Vec<_> = (0..3).map(|writer| tokio::spawn(write(Arc::clone(&database), writer))).collect();
    let relays: Vec<_> =
        (0..4).map(|relay| tokio::spawn(deliver(Arc::clone(&store), Arc::clone(&run), relay))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    run.written.store(true, Ordering::Relaxed);
    let relays = futures_util::future::join_all(relays);
    let ended = tokio::time::timeout(Duration::from_mins(1), relays).await;
    let left = "SELECT COUNT(*) FROM platform_events e WHERE delivery_state = 'pending'";
    // Blocked by no other event: nothing will ever remove the mark.
    let stuck = format!(
        "{left} AND blocked AND NOT EXISTS (SELECT 1 FROM platform_events o WHERE o.delivery_state = 'pending' \
           AND o.ordering_key = e.ordering_key AND o.position < e.position)"
    );
    assert_eq!(database.number(&stuck).await, 0, "events are stuck");
    let Ok(ended) = ended else { panic!("{} events were left behind", database.number(left).await) };
    ended.into_iter().for_each(|relay| relay.unwrap());
    let delivered = run.delivered.lock().unwrap();
    assert_eq!(delivered.len(), 180);
    for key in 0..4 {
        let of_key: Vec<_> =
            delivered.iter().filter(|(of, _)| *of == format!("key {key}")).map(|(_, position)| *position).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_left_behind_on_postgres() {
    none_is_left_behind(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_left_behind_on_sqlite() {
    none_is_left_behind(Kind::Sqlite).await;
}

/// Writes 60 events with four keys, each in a transaction of its own, as another program does it.
async fn write(database: Arc<Database>, writer: u32) {
    let mut rng = seed::rng(&format!("none_is_left_behind, writer {writer}"));
    for _ in 0..60 {
        backlog(&database, &format!("key {}", rng.random_range(0..4)), 1).await;
    }
}

/// Delivers until nothing is pending; puts one in five events back.
async fn deliver(store: Arc<dyn Store>, run: Arc<Run>, relay: u32) {
    let mut rng = seed::rng(&format!("none_is_left_behind, relay {relay}"));
    let now = Timestamp::parse("2026-11-01T00:00:00Z").unwrap();
    let until = Timestamp::parse("2026-11-01T00:10:00Z").unwrap();
    while !run.written.load(Ordering::Relaxed) || store.any_event_pending().await.unwrap() {
        let token = Uuid::from_u128(rng.random());
        let claimed = store.claim_events(Claim { token, until }, now, 3).await.unwrap();
        let mut settlements = Vec::new();
        for event in &claimed {
            let again = rng.random_bool(0.2);
            if !again {
                run.delivered.lock().unwrap().push((event.event.event_type.clone(), event.position));
            }
            let state = if again { DeliveryState::Pending } else { DeliveryState::Succeeded };
            let position = event.position;
            settlements.push(Settlement { position, state, attempts: 1, last_error: None, next_attempt_at: now });
        }
        store.settle_events(token, now, &settlements).await.unwrap();
        tokio::task::yield_now().await;
    }
}
