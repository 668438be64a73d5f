//! The ledger on both databases: the vectors, duplicates, what the database refuses, and bytes that come back.

use std::collections::HashMap;
use std::sync::Arc;

use epr_core::domain::{Json, JsonObject};
use epr_core::ledger::chain::Draft;
use epr_core::store::{Appended, Store};
use epr_testkit::database::{Database, DatabaseKind, LOCK_WAITERS};
use epr_testkit::ledger::{all_entries, audit_verify, draft, event, outcome_text};
use epr_testkit::seed;
use rand::Rng as _;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

const VECTORS: &str = include_str!("../../vectors/audit_chain_v1.json");

async fn append(store: &Arc<dyn Store>, drafts: &[Draft]) -> Vec<Appended> {
    let mut tx = store.begin().await.unwrap();
    let outcomes = tx.append(drafts).await.unwrap();
    tx.commit().await.unwrap();
    outcomes
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn the_vectors_come_out_byte_for_byte(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let entries = vectors["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 40);
    let store = database.store().await;
    let drafts: Vec<_> = entries.iter().map(|entry| draft(&entry["input"])).collect();
    // In pieces, so that the chain is carried on by the head row too.
    for (n, piece) in drafts.chunks(4).enumerate() {
        // Within a transaction, and in one of its own.
        if n % 3 == 0 {
            append(&store, piece).await
        } else {
            store.append(piece).await.unwrap()
        };
    }
    let stored = all_entries(&*store).await;
    assert_eq!(stored.len(), 40);
    for ((expected, seen), draft) in entries.iter().zip(&stored).zip(&drafts) {
        let mut written = String::new();
        draft.write_canonical(seen.sequence, &seen.previous_hash, &mut written);
        assert_eq!(Value::from(written), expected["canonical"], "on the way in");
        assert_eq!(Value::from(seen.canonical.clone()), expected["canonical"], "after the round trip");
        assert_eq!(Value::from(seen.entry_hash.clone()), expected["entry_hash"]);
        assert_eq!(Value::from(seen.previous_hash.clone()), expected["previous_hash"]);
        assert_eq!(Value::from(seen.sequence), expected["sequence"]);
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn duplicates_and_conflicts_are_recognised(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let store = database.store().await;
    let one = json!({"event_id": "11111111-0000-4000-8000-000000000001", "source": "s", "action": "a",
        "occurred_at": "2026-01-01T00:00:00Z", "details": {"n": 1}});
    let mut other = one.clone();
    other["details"]["n"] = json!(2);
    let unkeyed = json!({"source": "s", "action": "a", "occurred_at": "2026-01-01T00:00:00Z"});
    let outcomes = append(&store, &[draft(&one), draft(&unkeyed), draft(&one), draft(&other), draft(&unkeyed)]).await;
    assert_eq!(
        outcomes.iter().map(outcome_text).collect::<Vec<_>>(),
        ["recorded 1", "recorded 2", "duplicate of 1", "conflict with 1", "recorded 3"]
    );
    let outcomes = append(&store, &[draft(&other), draft(&one), draft(&unkeyed)]).await;
    assert_eq!(
        outcomes.iter().map(outcome_text).collect::<Vec<_>>(),
        ["conflict with 1", "duplicate of 1", "recorded 4"]
    );
    assert_eq!(append(&store, &[draft(&one)]).await, [Appended::Duplicate { sequence: 1 }]);
    let stored: Vec<_> = all_entries(&*store).await.into_iter().map(|seen| seen.sequence).collect();
    assert_eq!(stored, [1, 2, 3, 4], "no gap where a duplicate was");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn the_database_refuses_changes(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let store = database.store().await;
    let keyed = json!({
        "event_id": "11111111-0000-4000-8000-000000000001", "action": "a", "occurred_at": "2026-01-01T00:00:00Z",
    });
    append(&store, &[draft(&keyed)]).await;
    let mut statements = vec![
        "UPDATE audit_logs SET action = 'b'",
        "UPDATE audit_logs SET action = action",
        "DELETE FROM audit_logs",
        "DELETE FROM audit_logs WHERE sequence = 1",
        "INSERT INTO audit_logs SELECT * FROM audit_logs ON CONFLICT (sequence) DO UPDATE SET action = 'b'",
    ];
    match database.kind {
        DatabaseKind::Postgres => statements.push("TRUNCATE audit_logs"),
        DatabaseKind::Sqlite => statements.push(
            "INSERT OR REPLACE INTO audit_logs SELECT sequence, previous_hash, entry_hash, hash_version, event_id, \
             source, 'b', \
             actor_id, actor_type, entity_id, entity_type, correlation_id, details, occurred_at FROM audit_logs",
        ),
    }
    for statement in statements {
        let error = database.execute(statement).await.unwrap_err().to_string();
        assert!(
            error.contains("append-only") || error.contains("syntax error") && statement.contains("ON CONFLICT"),
            "{statement}: {error}"
        );
    }
    let seen = all_entries(&*store).await;
    assert_eq!(seen.len(), 1);
    assert!(seen[0].canonical.contains(r#""action":"a""#));
}

/// Free-form details of any shape.
fn details(rng: &mut impl rand::Rng, depth: usize) -> Json {
    match rng.random_range(0..if depth > 4 { 6 } else { 8 }) {
        0 => Json::Null,
        1 => Json::Bool(rng.random()),
        2 => Json::Int(rng.random()),
        3 => Json::UInt(rng.random_range(i64::MAX as u64 + 1..=u64::MAX)),
        4 => loop {
            let number = f64::from_bits(rng.random());
            if number.is_finite() {
                break Json::Float(number);
            }
        },
        5 => Json::Text(text(rng)),
        6 => Json::List((0..rng.random_range(0..4)).map(|_| details(rng, depth + 1)).collect()),
        _ => Json::Object(members(rng, depth + 1)),
    }
}

fn members(rng: &mut impl rand::Rng, depth: usize) -> JsonObject {
    (0..rng.random_range(0..5)).map(|_| (text(rng), details(rng, depth))).collect()
}

fn text(rng: &mut impl rand::Rng) -> String {
    (0..rng.random_range(0..9))
        .map(|_| match rng.random_range(0..4) {
            0 => char::from(rng.random_range(0..128_u8)),
            1 => rng.random_range('a'..='z'),
            _ => rng.random::<char>(),
        })
        .collect()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn accepted_details_read_back_unchanged(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let mut rng = seed::rng("what_was_accepted_reads_back");
    let store = database.store().await;
    let mut drafts = Vec::new();
    for _ in 0..400 {
        let mut event = event(&json!({"action": "a", "occurred_at": "2026-01-01T00:00:00Z"}));
        event.details = members(&mut rng, 0);
        drafts.push(Draft::new(event).unwrap());
    }
    append(&store, &drafts).await;
    for (draft, seen) in drafts.iter().zip(all_entries(&*store).await) {
        let mut written = String::new();
        draft.write_canonical(seen.sequence, &seen.previous_hash, &mut written);
        assert_eq!(seen.canonical, written);
        assert!(written.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "printable ASCII only");
    }
}

/// The `details` of a writer's entries.
fn numbered(writer: u64, n: u64, keyed: bool) -> Draft {
    let id = keyed.then(|| Uuid::from_u128(u128::from(writer) << 64 | u128::from(n)));
    draft(&json!({
        "event_id": id, "action": "a", "occurred_at": "2026-01-01T00:00:00Z", "details": {"writer": writer, "n": n},
    }))
}

/// Several processes, each of which believes to know where the chain ends; some entries come with a change, some
/// changes fail.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn many_writers_make_one_chain(#[case] kind: DatabaseKind) {
    const EACH: u64 = 150;
    let database = Database::create(kind).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let store = database.store().await;
        let mut rng = seed::rng(&format!("many_writers_make_one_chain {writer}"));
        writers.spawn(async move {
            let (mut n, mut outcomes) = (0, Vec::new());
            while n < EACH {
                let keyed = rng.random_bool(0.3);
                let count = rng.random_range(1..4);
                let drafts: Vec<_> = (n..n + count).map(|n| numbered(writer, n, keyed)).collect();
                match rng.random_range(0..6) {
                    0 => outcomes.extend(append(&store, &drafts).await),
                    1 => {
                        let mut tx = store.begin().await.unwrap();
                        tx.append(&drafts).await.unwrap();
                        // Goes back.
                        drop(tx);
                        continue;
                    }
                    _ => outcomes.extend(store.append(&drafts).await.unwrap()),
                }
                n += count;
            }
            (writer, n, outcomes)
        });
    }
    let store = database.store().await;
    let mut expected = HashMap::new();
    while let Some(done) = writers.join_next().await {
        let (writer, count, outcomes) = done.unwrap();
        assert_eq!(outcomes.len() as u64, count);
        for (n, outcome) in outcomes.into_iter().enumerate() {
            let Appended::Recorded { sequence, .. } = outcome else { panic!("{outcome:?}") };
            assert_eq!(expected.insert(sequence, format!(r#""details":{{"n":{n},"writer":{writer}}}"#)), None);
        }
    }
    let stored = all_entries(&*store).await;
    assert_eq!(stored.len(), expected.len());
    for (sequence, entry) in (1..).zip(&stored) {
        assert_eq!(entry.sequence, sequence);
        assert!(entry.canonical.contains(&expected[&entry.sequence]), "{entry:?}");
    }
    let (code, report) = audit_verify(&database.url, &[]).await;
    assert_eq!(code, 0, "{report}");
}

/// An entry that waits behind a change goes where the chain ends when its turn comes, whatever became of that change.
#[tokio::test]
async fn an_entry_that_had_to_wait_goes_to_the_end() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (store, other) = (database.store().await, database.store().await);
    store.append(&[numbered(0, 0, false)]).await.unwrap();
    for (keep, expected) in [(false, 2), (true, 4)] {
        let mut tx = other.begin().await.unwrap();
        tx.append(&[numbered(1, 0, false)]).await.unwrap();
        let waiting = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.append(&[numbered(0, 1, false)]).await.unwrap() }
        });
        database.until(LOCK_WAITERS, 1).await;
        if keep {
            tx.commit().await.unwrap();
        } else {
            drop(tx);
        }
        let appended = waiting.await.unwrap();
        assert_eq!(outcome_text(&appended[0]), format!("recorded {expected}"));
    }
    let (code, report) = audit_verify(&database.url, &[]).await;
    assert_eq!(code, 0, "{report}");
    assert_eq!(all_entries(&*store).await.len(), 4);
}
