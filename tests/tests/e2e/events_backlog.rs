//! Delivery with a large backlog: a claim goes over ordering keys, not over events.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use epr_core::Epr;
use epr_core::domain::Timestamp;
use epr_core::domain::event::DeliveryState;
use epr_core::publish::recording::Recording;
use epr_core::store::postgres::{PLAN_SETTINGS, WALKS};
use epr_core::store::{Completion, Lease, OutboxCursor, Store, sqlite};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::{seed, wait};
use rand::Rng as _;
use rstest::rstest;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use uuid::Uuid;

fn service(store: Arc<dyn Store>, topic: &Arc<Recording>) -> Epr {
    Epr::builder().store(store).publisher(topic.clone()).build()
}

/// Writes pending events with one ordering key behind the service's back; `key` is their type, too.
async fn backlog(database: &Database, key: &str, count: u32) {
    let id = database.new_uuid();
    let at = "'2026-01-01T00:00:00.000000Z'";
    let sql = format!(
        "INSERT INTO platform_events (id, event_id, event_type, source, payload, context, occurred_at, schema_version, \
           delivery_state, delivery_attempts, created_at, updated_at, ordering_key, ingested, next_attempt_at) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
         SELECT {id}, {id}, '{key}', 'vault', '{{}}', '{{}}', {at}, 'v1', 'pending', 0, {at}, {at}, '{key}', TRUE, \
         {at} FROM n"
    );
    // Writers of one key take turns, as the service's do: the order of positions is the order of commits.
    let sql = match database.kind {
        DatabaseKind::Postgres => format!("BEGIN; SELECT pg_advisory_xact_lock(hashtext('{key}')); {sql}; COMMIT"),
        DatabaseKind::Sqlite => sql,
    };
    database.execute(&sql).await.unwrap();
}

/// The number of events delivered before the one whose key has no others.
async fn delivered_before(database: &Database, other: &str) -> usize {
    let topic = Arc::new(Recording::default());
    let epr = service(database.store().await, &topic);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let relay = tokio::spawn({
        let epr = epr.clone();
        async move { epr.relay(async { drop(stopped.await) }).await }
    });
    let delivered = async || topic.published().iter().any(|message| message.event_type == other);
    wait::until("the other key's event", delivered).await;
    drop(stop);
    relay.await.unwrap();
    epr.close().await;
    topic.published().iter().take_while(|message| message.event_type != other).count()
}

/// The blocks that one statement of a walk reads on PostgreSQL: shared buffers hit or read. Prints its plan.
async fn blocks_read(database: &Database, walk: &str, after: &str) -> i64 {
    let mut conn = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN").execute(&mut conn).await.unwrap();
    sqlx::raw_sql(PLAN_SETTINGS).execute(&mut conn).await.unwrap();
    let walk = walk.replace("$1", after).replace("$2", "256");
    let explain = AssertSqlSafe(format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {walk}"));
    let row = sqlx::raw_sql(explain).fetch_one(&mut conn).await.unwrap();
    let plan: Value = serde_json::from_str(row.try_get_unchecked(0).unwrap()).unwrap();
    println!("{plan}");
    let blocks = |name: &str| plan[0]["Plan"][name].as_i64().unwrap();
    blocks("Shared Hit Blocks") + blocks("Shared Read Blocks")
}

/// The rows that a claim reads, and the event that is delivered first, do not depend on the backlog of another key,
/// whether the statistics know that backlog (`analyzed`) or are those of an empty outbox.
#[rstest]
#[case::postgres_analyzed(true)]
#[case::postgres_not_analyzed(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_backlog_of_one_key_costs_other_keys_nothing(#[case] analyzed: bool) {
    let mut blocks = Vec::new();
    for count in [10, 10_000, 100_000] {
        let database = Database::create(DatabaseKind::Postgres).await;
        database.store().await.close().await;
        database.execute("ANALYZE platform_events").await.unwrap();
        database.execute("ALTER TABLE platform_events SET (autovacuum_enabled = false)").await.unwrap();
        backlog(&database, "crowded", count).await;
        backlog(&database, "other", 1).await;
        if analyzed {
            database.execute("ANALYZE platform_events").await.unwrap();
        }
        let [keys, unordered] = WALKS;
        let read = blocks_read(&database, keys, "''").await + blocks_read(&database, unordered, "0").await;
        blocks.push(read);
        let before = delivered_before(&database, "other").await;
        assert!(before <= 1, "{before} of {count} events of the other key were delivered first");
    }
    println!("blocks read by a claim: {blocks:?}");
    assert!(blocks.iter().all(|read| *read <= blocks[0] + 16), "{blocks:?}");
}

#[tokio::test]
async fn the_backlog_of_one_key_costs_other_keys_nothing_on_sqlite() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    database.store().await.close().await;
    backlog(&database, "crowded", 10_000).await;
    backlog(&database, "other", 1).await;
    let file = format!("sqlite://{}", database.file().unwrap().display());
    let mut conn = sqlx::SqliteConnection::connect(&file).await.unwrap();
    for walk in sqlite::WALKS {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", walk.replace("$1", "''").replace("$2", "256")));
        let rows = sqlx::raw_sql(explain).fetch_all(&mut conn).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        let probe = "SEARCH e USING COVERING INDEX ix_platform_events_key (ordering_key";
        assert!(plan.iter().any(|step| step.contains(probe)), "{plan:?}");
        assert!(!plan.iter().any(|step| step.contains("SCAN e")), "{plan:?}");
    }
    let before = delivered_before(&database, "other").await;
    assert!(before <= 1, "{before} events of the other key were delivered first");
}

/// A claim reads pending keys that are not due in steps. It finds a due key behind them, and the next claim finds none.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_due_key_is_found_behind_many_that_are_not_due(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let store = database.store().await;
    for key in 0..600 {
        backlog(&database, &format!("a{key:03}"), 1).await;
    }
    let later = "UPDATE platform_events SET next_attempt_at = '2026-12-01T00:00:00.000000Z'";
    database.execute(later).await.unwrap();
    backlog(&database, "z", 2).await;
    let unordered =
        "UPDATE platform_events SET ordering_key = NULL WHERE position = (SELECT MAX(position) FROM platform_events)";
    backlog(&database, "unordered", 1).await;
    database.execute(unordered).await.unwrap();
    let now = Timestamp::parse("2026-11-01T00:00:00Z").unwrap();
    let claim = Lease { token: Uuid::from_u128(1), until: Timestamp::parse("2026-11-01T00:10:00Z").unwrap() };
    let mut from = OutboxCursor::default();
    let mut found = Vec::new();
    let mut steps = Vec::new();
    loop {
        let claimed = store.lease_events(claim, now, 10, from).await.unwrap();
        steps.push(claimed.events.len());
        found.extend(claimed.events.into_iter().map(|event| event.event.event_type));
        from = claimed.next;
        if claimed.ended {
            break;
        }
    }
    assert_eq!(found, ["z", "unordered"]);
    assert_eq!(steps, [0, 0, 2]);
    assert_eq!(from, OutboxCursor::default());
}

/// The state that the relays of one run share.
#[derive(Default)]
struct Run {
    /// Whether every writer is done.
    written: AtomicBool,
    /// Of each delivered event, in the order of delivery: its type, which is its key, and its position.
    delivered: Mutex<Vec<(String, i64)>>,
}

/// Relays, writers and retries at the same time: each key's events are delivered in their order, and none is left
/// behind.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_left_behind(#[case] kind: DatabaseKind) {
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
    let left = "SELECT COUNT(*) FROM platform_events WHERE delivery_state = 'pending'";
    let Ok(ended) = ended else { panic!("{} events were left behind", database.number(left).await) };
    for relay in ended {
        relay.unwrap();
    }
    let delivered = run.delivered.lock().unwrap();
    assert_eq!(delivered.len(), 180);
    for key in 0..4 {
        let of_key: Vec<_> =
            delivered.iter().filter(|(of, _)| *of == format!("key {key}")).map(|(_, position)| *position).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
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
    let mut from = OutboxCursor::default();
    while !run.written.load(Ordering::Relaxed) || store.any_event_pending().await.unwrap() {
        let token = Uuid::from_u128(rng.random());
        let step = store.lease_events(Lease { token, until }, now, 3, from).await.unwrap();
        let claimed = step.events;
        from = step.next;
        let mut completions = Vec::new();
        for event in &claimed {
            let again = rng.random_bool(0.2);
            if !again {
                run.delivered.lock().unwrap().push((event.event.event_type.clone(), event.position));
            }
            let state = if again { DeliveryState::Pending } else { DeliveryState::Succeeded };
            let position = event.position;
            completions.push(Completion { position, state, attempts: 1, last_error: None, next_attempt_at: now });
        }
        store.complete_events(token, now, &completions).await.unwrap();
        tokio::task::yield_now().await;
    }
}
