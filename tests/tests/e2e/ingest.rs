//! Messages into the ledger through the handler, on both databases: each once, and none at the cost of its neighbours.

use std::sync::Arc;

use epr_core::Epr;
use epr_core::ingest::{IngestOutcome, Message};
use epr_core::store::Store;
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::{all_entries, audit_verify};
use epr_testkit::process::epr;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

fn id(n: u128) -> String {
    Uuid::from_u128(n).to_string()
}

fn event(key: u128, action: &str) -> Value {
    json!({"event_id": id(key), "source": "vault", "action": action, "occurred_at": "2026-01-01T00:00:00Z"})
}

/// Messages of these bodies, with ids of their own.
fn messages(bodies: &[Value]) -> Vec<Message> {
    bodies.iter().map(|body| Message::new(Uuid::from_u128(rand::random()).to_string(), body.to_string())).collect()
}

async fn outcomes(epr: &Epr, bodies: &[Value]) -> Vec<IngestOutcome> {
    epr.ingest(&messages(bodies)).await.outcomes
}

async fn actions(store: &Arc<dyn Store>) -> Vec<String> {
    let all = all_entries(&**store).await;
    let action =
        |canonical: &str| serde_json::from_str::<Value>(canonical).unwrap()["action"].as_str().unwrap().to_owned();
    all.iter().map(|entry| action(&entry.canonical)).collect()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_valid_messages_of_a_mixed_batch_are_recorded(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (epr, database) = (&api.epr, &api.database);
    let bodies = [event(1, "a"), json!({"action": 1}), event(1, "a"), event(1, "b"), event(2, "c")];
    let first = epr.ingest(&messages(&bodies)).await;
    assert!(
        matches!(
            &first.outcomes[..],
            [
                IngestOutcome::Recorded { sequence: 1 },
                IngestOutcome::Invalid(_),
                IngestOutcome::Duplicate { sequence: 1 },
                IngestOutcome::Conflict { sequence: 1 },
                IngestOutcome::Recorded { sequence: 2 },
            ]
        ),
        "{first:?}"
    );
    assert_eq!(first.deletable(&messages(&bodies)), [true, false, true, false, true]);
    // Everything again: nothing new.
    assert!(matches!(
        outcomes(epr, &bodies).await[..],
        [
            IngestOutcome::Duplicate { sequence: 1 },
            IngestOutcome::Invalid(_),
            IngestOutcome::Duplicate { sequence: 1 },
            IngestOutcome::Conflict { sequence: 1 },
            IngestOutcome::Duplicate { sequence: 2 },
        ]
    ));
    assert_eq!(actions(&database.store().await).await, ["a", "c"]);
    assert_eq!(audit_verify(&database.url, &[]).await.0, 0);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_without_a_time_is_the_same_whenever_it_comes(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let epr = &api.epr;
    let undated = json!({"event_id": id(1), "source": "vault", "action": "a"});
    assert_eq!(
        outcomes(epr, &[undated.clone(), undated.clone()]).await,
        [IngestOutcome::Recorded { sequence: 1 }, IngestOutcome::Duplicate { sequence: 1 },]
    );
    assert_eq!(outcomes(epr, std::slice::from_ref(&undated)).await, [IngestOutcome::Duplicate { sequence: 1 }]);
    // With other content it is not the same, with or without a time.
    let mut other = undated.clone();
    other["action"] = "b".into();
    assert_eq!(outcomes(epr, &[other, event(1, "a")]).await, vec![IngestOutcome::Conflict { sequence: 1 }; 2]);
    // One that says nothing else than what is recorded.
    assert_eq!(outcomes(epr, &[event(2, "a")]).await, [IngestOutcome::Recorded { sequence: 2 }]);
    let undated = json!({"event_id": id(2), "source": "vault", "action": "a"});
    assert_eq!(outcomes(epr, &[undated]).await, [IngestOutcome::Duplicate { sequence: 2 }]);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_without_an_event_id_is_known_by_its_own(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let epr = &api.epr;
    let body = json!({"source": "vault", "action": "a"}).to_string();
    let (one, two) = (Message::new(id(7), body.clone()), Message::new(id(8), body));
    assert_eq!(
        epr.ingest(&[one.clone(), two, one.clone()]).await.outcomes,
        [
            IngestOutcome::Recorded { sequence: 1 },
            IngestOutcome::Recorded { sequence: 2 },
            IngestOutcome::Duplicate { sequence: 1 },
        ]
    );
    assert_eq!(epr.ingest(&[one]).await.outcomes, [IngestOutcome::Duplicate { sequence: 1 }]);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_the_database_refuses_does_not_take_its_neighbours_with_it(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (epr, database) = (&api.epr, &api.database);
    database.execute(&refusing(database, "action = 'poison'")).await.unwrap();
    let bodies = [event(1, "a"), event(2, "poison"), event(3, "c")];
    let reported = outcomes(epr, &bodies).await;
    assert!(
        matches!(
            &reported[..],
            [
                IngestOutcome::Recorded { sequence: 1 },
                IngestOutcome::Refused { .. },
                IngestOutcome::Recorded { sequence: 2 }
            ]
        ),
        "{reported:?}"
    );
    // Alone, or beside messages recorded before, the entry cannot be told from the database as the cause.
    for nothing_recorded in [&bodies[1..2], &bodies[..]] {
        let reported = outcomes(epr, nothing_recorded).await;
        assert!(
            reported.iter().any(|outcome| matches!(outcome, IngestOutcome::Retry { unavailable: false, .. })),
            "{reported:?}"
        );
        assert!(!reported.iter().any(|outcome| matches!(outcome, IngestOutcome::Refused { .. })), "{reported:?}");
    }
    assert_eq!(actions(&database.store().await).await, ["a", "c"]);
    assert_eq!(audit_verify(&database.url, &[]).await.0, 0);
    let kept = epr.rejections(10, None).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert!(kept.iter().all(|kept| kept.rejection.reason.contains("poisoned")), "{kept:#?}");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_database_rejects_no_message(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (epr, database) = (&api.epr, &api.database);
    database.execute("ALTER TABLE audit_chain_head RENAME TO elsewhere").await.unwrap();
    let reported = epr.ingest(&messages(&[event(1, "a"), event(2, "b")])).await;
    assert!(
        reported.retryable() && reported.outcomes.iter().all(|outcome| matches!(outcome, IngestOutcome::Retry { .. })),
        "{reported:?}"
    );
    assert_eq!(epr.rejections(10, None).await.unwrap(), []);
    database.execute("ALTER TABLE elsewhere RENAME TO audit_chain_head").await.unwrap();
    assert_eq!(actions(&database.store().await).await, Vec::<String>::new());
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejections_are_kept_within_bounds_and_listed(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (epr_core, database) = (&api.epr, &api.database);
    let long = format!("no event \u{0} {}", "ü".repeat(60_000));
    let bad = Message::new("m-1", long.clone());
    for _ in 0..3 {
        epr_core.ingest(std::slice::from_ref(&bad)).await;
    }
    epr_core
        .ingest(&[Message::new("m-2", event(1, "a").to_string()), Message::new("m-3", event(1, "b").to_string())])
        .await;
    let kept = epr_core.rejections(10, None).await.unwrap();
    let seen: Vec<_> = kept.iter().map(|kept| (kept.rejection.message_id.as_str(), kept.times_seen)).collect();
    assert_eq!(seen, [("m-3", 1), ("m-1", 3)]);
    assert_eq!(kept[1].rejection.body_bytes, i64::try_from(long.len()).unwrap());
    assert!(kept[1].rejection.body.len() <= 64 * 1024 && kept[1].rejection.body.starts_with("no event \u{fffd} ü"));
    assert_eq!(epr_core.rejections(10, Some(kept[0].id)).await.unwrap().len(), 1);

    let (code, text, _) = epr(&database.url, &["audit", "rejections"]).await;
    assert_eq!(code, 0);
    assert!(
        text.contains("m-1") && text.contains("conflict") && text.contains("entry 1 has the same event id"),
        "{text}"
    );
    let (code, lines, _) = epr(&database.url, &["audit", "rejections", "--json", "--limit", "1"]).await;
    let line: Value = serde_json::from_str(&lines).unwrap();
    assert_eq!((code, line["message_id"].as_str(), line["kind"].as_str()), (0, Some("m-3"), Some("conflict")));
}

/// A trigger that refuses entries under `condition`.
fn refusing(database: &Database, condition: &str) -> String {
    match database.kind {
        DatabaseKind::Postgres => format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN IF NEW.{condition} THEN RAISE EXCEPTION 'poisoned'; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION refuse()"
        ),
        DatabaseKind::Sqlite => format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON audit_logs WHEN NEW.{condition} \
             BEGIN SELECT RAISE(ABORT, 'poisoned'); END"
        ),
    }
}
