//! The reads of a check on PostgreSQL depend on the question only: not on the size of the tables, nor on whether their
//! statistics are missing, outdated or current, nor on when the statement was planned.

use std::collections::BTreeMap;
use std::sync::Arc;

use epr_core::decision::Question;
use epr_core::domain::{NewAssignment, Timestamp};
use epr_core::store::{BatchQuestion, Store};
use epr_testkit::database::{Database, DatabaseKind, OTHER_CLIENTS};
use rstest::rstest;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

const HEAVY: Uuid = Uuid::from_u128(0xaaaa_aaaa_0000_4000_8000_0000_0000_0001);
const SIZES: [u32; 3] = [10, 200, 10_000];
/// Checks of each kind: more than the server plans for their parameters before it keeps a plan.
const CHECKS: u32 = 12;
/// The most rows of a table that one question reads: the levels of the path, and everywhere.
const MOST_ROWS: i64 = 5;
const TABLES: [&str; 5] = ["entities", "roles", "permissions", "role_permissions", "role_assignments"];
const INVALIDATIONS: &str = "cache_renewals";

/// What the planner knows of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Statistics {
    Missing,
    /// From before the tables were filled.
    OfEmptyTables,
    Current,
}

/// Rows `from` to `to`: entities in a chain of three and beside it, as many roles, actions and principals. One of them
/// has an assignment on every entity.
fn rows(from: u32, to: u32) -> String {
    format!(
        "INSERT INTO roles (id, name) SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), 'role ' || n
             FROM generate_series({from}, least({to}, 500)) n;
         INSERT INTO permissions (id, action) SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), 'a:' || n
             FROM generate_series({from}, least({to}, 500)) n;
         INSERT INTO role_permissions (role_id, permission_id)
             SELECT CAST(lpad('1', 32, '0') AS uuid), CAST(lpad(to_hex(n), 32, '0') AS uuid)
             FROM generate_series({from}, least({to}, 500)) n;
         INSERT INTO entities (id, name, type, parent_id)
             SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), 'e' || n, 'spv',
                    CASE WHEN n IN (2, 3) THEN CAST(lpad(to_hex(n - 1), 32, '0') AS uuid) END
             FROM generate_series({from}, {to}) n;
         INSERT INTO role_assignments (id, principal_id, role_id, entity_id)
             SELECT gen_random_uuid(), p.id, CAST(lpad('1', 32, '0') AS uuid), CAST(lpad(to_hex(n), 32, '0') AS uuid)
             FROM generate_series({from}, {to}) n
             CROSS JOIN LATERAL (VALUES (CAST('{HEAVY}' AS uuid)), (CAST(lpad(to_hex(n), 32, 'b') AS uuid))) p (id);"
    )
}

/// For each table the number of times that it was read sequentially, and the rows that indexes found.
pub(crate) async fn reads(database: &Database, tables: &[&str]) -> BTreeMap<String, (i64, i64)> {
    database.until(OTHER_CLIENTS, 0).await;
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    let read = "SELECT CAST(relname AS text), coalesce(seq_scan, 0), coalesce(idx_tup_fetch, 0) \
                FROM pg_stat_user_tables WHERE relname = ANY($1)";
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(read).bind(tables).fetch_all(&mut conn).await.unwrap();
    assert_eq!(rows.len(), tables.len());
    rows.into_iter().map(|(table, sequential, found)| (table, (sequential, found))).collect()
}

/// Asks about the lowest entity of the chain, alone, together, by a batch and for an explanation. Returns the number of
/// questions.
async fn ask(store: &Arc<dyn Store>) -> i64 {
    let question = Question::new(HEAVY, "a:7".try_into().unwrap(), Uuid::from_u128(3));
    let together = vec![question.clone(); 20];
    // Different ones: a batch reads the same question once.
    let batch: Vec<BatchQuestion> =
        (1..=10).map(|n| Question { resource_id: Uuid::from_u128(n), ..question.clone() }.into()).collect();
    for _ in 0..CHECKS {
        let facts = store.facts(std::slice::from_ref(&question)).await.unwrap().facts;
        assert_eq!(facts[0].as_ref().unwrap().assignments.len(), 3);
        assert_eq!(store.facts(&together).await.unwrap().facts.len(), together.len());
        assert_eq!(store.identified_facts(&batch).await.unwrap().facts[2].facts.assignments.len(), 3);
    }
    i64::from(CHECKS) * 31
}

fn assert_only_probes(before: &BTreeMap<String, (i64, i64)>, after: &BTreeMap<String, (i64, i64)>, questions: i64) {
    for (table, (sequential, found)) in after {
        let (sequential_before, found_before) = before[table];
        assert_eq!(sequential - sequential_before, 0, "{table} was read sequentially");
        let found = found - found_before;
        assert!(found <= questions * MOST_ROWS, "{table}: {found} rows for {questions} questions");
    }
    let found = after["entities"].1 - before["entities"].1;
    assert!(found >= questions, "the questions were asked: {found} rows for {questions} questions");
}

async fn fill(database: &Database, statistics: Statistics, from: u32, to: u32) {
    let analyze = if statistics == Statistics::Current { "ANALYZE" } else { "" };
    database.execute(&format!("{} {analyze}", rows(from, to))).await.unwrap();
}

async fn empty(statistics: Statistics) -> Database {
    let database = Database::create(DatabaseKind::Postgres).await;
    database.store().await.close().await;
    // The server must not do it by itself.
    for table in TABLES.iter().chain([&INVALIDATIONS]) {
        database.execute(&format!("ALTER TABLE {table} SET (autovacuum_enabled = off)")).await.unwrap();
    }
    // Filling the tables would read them.
    for (table, column) in [
        ("entities", "parent_id"),
        ("role_permissions", "role_id"),
        ("role_permissions", "permission_id"),
        ("role_assignments", "role_id"),
        ("role_assignments", "entity_id"),
    ] {
        let unbound = format!("ALTER TABLE {table} DROP CONSTRAINT {table}_{column}_fkey");
        database.execute(&unbound).await.unwrap();
    }
    if statistics == Statistics::OfEmptyTables {
        database.execute("VACUUM ANALYZE").await.unwrap();
    }
    database
}

#[rstest]
#[case::missing(Statistics::Missing)]
#[case::of_empty_tables(Statistics::OfEmptyTables)]
#[case::current(Statistics::Current)]
#[tokio::test]
async fn a_check_probes_indexes_at_every_size(#[case] statistics: Statistics) {
    let database = empty(statistics).await;
    let mut filled = 0;
    for size in SIZES {
        fill(&database, statistics, filled + 1, size).await;
        filled = size;
        // A new one, which plans for what is there now.
        let before = reads(&database, &TABLES).await;
        let store = database.store().await;
        let questions = ask(&store).await;
        store.close().await;
        assert_only_probes(&before, &reads(&database, &TABLES).await, questions);
    }
}

/// A connection keeps a plan that was made when the tables were nearly empty.
#[rstest]
#[case::missing(Statistics::Missing)]
#[case::of_empty_tables(Statistics::OfEmptyTables)]
#[tokio::test]
async fn a_plan_from_when_the_tables_were_small_probes_indexes(#[case] statistics: Statistics) {
    let database = empty(statistics).await;
    let before = reads(&database, &TABLES).await;
    fill(&database, statistics, 1, 10).await;
    let store = database.store().await;
    let mut questions = ask(&store).await;
    fill(&database, statistics, 11, 10_000).await;
    questions += ask(&store).await;
    store.close().await;
    assert_only_probes(&before, &reads(&database, &TABLES).await, questions);
}

/// The statements by which a change finds its own invalidations, in the triggers and in the program. Their table is
/// empty again after each change, and full of dead rows.
#[tokio::test]
async fn a_change_probes_for_its_invalidations() {
    const CHANGES: u32 = 50;
    let database = empty(Statistics::OfEmptyTables).await;
    fill(&database, Statistics::OfEmptyTables, 1, 10).await;
    database.execute("DELETE FROM cache_renewals").await.unwrap();
    database.execute("VACUUM ANALYZE cache_renewals").await.unwrap();
    let before = reads(&database, &[INVALIDATIONS]).await[INVALIDATIONS];
    let store = database.store().await;
    for n in 0..CHANGES {
        let new = NewAssignment::new(Uuid::from_u128(0xcc << 64 | u128::from(n)), Uuid::from_u128(1));
        let assignment = new.into_record(Uuid::from_u128(0xdd << 64 | u128::from(n)), at(n));
        let mut tx = store.begin().await.unwrap();
        tx.insert_assignment(&assignment).await.unwrap();
        let invalidations = tx.invalidations().await.unwrap();
        assert_eq!(invalidations.len(), 1);
        tx.commit().await.unwrap();
        store.mark_applied(&[invalidations[0].id]).await.unwrap();
    }
    store.close().await;
    let after = reads(&database, &[INVALIDATIONS]).await[INVALIDATIONS];
    assert_eq!(after.0 - before.0, 0, "sequential reads");
    let found = after.1 - before.1;
    assert!(found <= i64::from(CHANGES) * 4, "{found} rows for {CHANGES} changes");
}

fn at(n: u32) -> Timestamp {
    Timestamp::parse(&format!("2026-01-01T00:{:02}:00Z", n % 60)).unwrap()
}
