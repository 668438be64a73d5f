//! Events of other services: which messages have flat fields, who may use EPR's own source, and what the ledger
//! records.

use epr_testkit::api::Api;
use epr_testkit::aws::{self, Topic};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use rstest::rstest;
use serde_json::{Value, json};
use std::sync::Arc;

const EVENTS: &str = "/api/v1/events";
const ENTRIES: &str = "/api/v1/audit/entries?order=asc";
const ACTOR: &str = "bbbbbbbb-0000-4000-8000-000000000002";
const DOCUMENT: &str = "dddddddd-0000-4000-8000-000000000004";

/// An audit event as the vault posts it.
fn audit(correlation: &str, payload: &Value) -> Value {
    json!({"event_type": "document.downloaded", "source": "document_vault", "correlation_id": correlation,
        "payload": payload,
        "context": {"actor_id": ACTOR, "actor_type": "user", "entity_id": DOCUMENT, "entity_type": "document",
            "ip": "::1"}})
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_event_is_an_entry_each_time(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let first = api.post(EVENTS, audit("c-1", &json!({"n": 1.5}))).await;
    assert!(!first.headers.contains_key("epr-duplicate"));
    let first = first.expect(201);
    let again = api.post(EVENTS, audit("c-1", &json!({"n": 1.5}))).await;
    assert_eq!(again.headers["epr-duplicate"], "true");
    assert_eq!(again.expect(201), first);
    let other = api.post(EVENTS, audit("c-1", &json!({"n": 2}))).await;
    assert_eq!(other.headers["epr-duplicate"], "true; differs");
    assert_eq!(other.expect(201), first);
    // No audit event: no entry.
    api.post(EVENTS, json!({"event_type": "a.b", "source": "vault", "context": {"actor_id": ACTOR}})).await.expect(201);
    let entries = api.get(ENTRIES).await.expect(200);
    let entries = entries.as_array().unwrap();
    let details: Vec<_> = entries.iter().map(|entry| entry["details"].to_string()).collect();
    assert_eq!(details, [r#"{"n":1.5}"#, r#"{"n":1.5}"#, r#"{"n":2}"#]);
    for entry in entries {
        for (field, expected) in [
            ("source", "document_vault"),
            ("action", "document.downloaded"),
            ("actor_id", ACTOR),
            ("actor_type", "user"),
            ("entity_id", DOCUMENT),
            ("entity_type", "document"),
            ("correlation_id", "c-1"),
        ] {
            assert_eq!(entry[field], expected, "{field}");
        }
    }
    assert_eq!(entries[0]["event_id"], first["event_id"]);
    assert!(entries[1]["event_id"] != entries[0]["event_id"] && entries[2]["event_id"] != entries[1]["event_id"]);
    assert_eq!(api.get(EVENTS).await.expect(200).as_array().unwrap().len(), 2, "one delivery each");
    let metrics = api.epr.metrics_text().await;
    assert!(metrics.contains("epr_events_deduplicated_total{content=\"same\"} 1"), "{metrics}");
    assert!(metrics.contains("epr_events_deduplicated_total{content=\"different\"} 1"), "{metrics}");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_fits_no_column_is_kept_and_refuses_nothing(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let mut event = audit("c".repeat(128).as_str(), &json!({"as_sent": 7}));
    event["event_type"] = json!("t".repeat(128));
    event["context"] =
        json!({"actor_id": "bob", "actor_type": "t".repeat(65), "entity_id": null, "entity_type": ["a"]});
    api.post(EVENTS, event).await.expect(201);
    let entries = api.get(ENTRIES).await.expect(200);
    let entry = &entries[0];
    assert_eq!(
        (&entry["actor_id"], &entry["actor_type"], &entry["entity_id"], &entry["entity_type"]),
        (&Value::Null, &json!("user"), &Value::Null, &Value::Null)
    );
    assert_eq!((&entry["action"], &entry["correlation_id"]), (&json!("t".repeat(120)), &json!("c".repeat(120))));
    assert_eq!(
        entry["details"],
        json!({"as_sent": 7, "as_sent_": {"actor_id": "bob", "actor_type": "t".repeat(65),
            "entity_type": ["a"], "event_type": "t".repeat(128), "correlation_id": "c".repeat(128)}})
    );
    // A message within its bound whose canonical text is over the ledger's.
    api.post(EVENTS, audit("c-2", &json!({"x": "é".repeat(120_000), "y": "\u{1}".repeat(1000)}))).await.expect(201);
    api.post(EVENTS, audit("c-3", &json!({"x": "\u{7f}".repeat(200_000)}))).await.expect(201);
    let entries = api.get(ENTRIES).await.expect(200);
    assert!(
        entries[2]["details"]["details_sha256"].as_str().is_some_and(|hash| hash.len() == 64),
        "{}",
        entries[2]["details"]
    );
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eprs_own_source_is_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    for source in ["entity_permissions_core", " Entity_Permissions_Core "] {
        let forged = json!({"event_type": "entity.archived", "source": source, "payload": {"entity_id": DOCUMENT,
            "entity_type": "spv"}});
        assert_eq!(api.post(EVENTS, forged).await.field_errors(), ["body.source: reserved"], "{source}");
    }
    assert_eq!(api.get(EVENTS).await.expect(200), json!([]));
}

#[tokio::test]
async fn fifty_repeats_at_once_are_one_event_and_fifty_entries() {
    for kind in [DatabaseKind::Sqlite, DatabaseKind::Postgres] {
        let api = Api::start(kind).await;
        let entity = api.entity("S", "spv", None).await;
        let tasks: Vec<_> = (0..50)
            .map(|n| {
                let (api, entity) = (api.clone(), entity.clone());
                tokio::spawn(async move {
                    // EPR's own events have this ordering key, too: both writers lock it after the ledger.
                    api.patch(&format!("/api/v1/entities/{entity}"), json!({"attributes": {"n": n}})).await.expect(200);
                    api.post(EVENTS, audit("c", &json!({"n": n, "entity_id": entity}))).await.expect(201);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let entries = api.get("/api/v1/audit/entries?source=document_vault").await.expect(200);
        assert_eq!(entries.as_array().unwrap().len(), 50, "{kind:?}");
        let events = api.get(&format!("{EVENTS}?source=document_vault")).await.expect(200);
        assert_eq!(events.as_array().unwrap().len(), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn the_setting_says_which_events_are_recorded() {
    for (setting, expected) in [("off", 0), ("context", 1), ("all", 2)] {
        let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
        let clock = Arc::new(epr_core::clock::SystemClock);
        let api = Api::with_settings(
            database,
            clock,
            &[("EPR_AUDIT_EVENTS", setting), ("EPR_DOCUMENT_EVENT_SOURCE", "epr-eu")],
        )
        .await;
        api.post(EVENTS, audit("c", &json!({}))).await.expect(201);
        let plain = json!({"event_type": "a.b", "source": "vault", "payload": {"entity_id": DOCUMENT}});
        api.post(EVENTS, plain).await.expect(201);
        let entries = api.get(ENTRIES).await.expect(200);
        assert_eq!(entries.as_array().unwrap().len(), expected, "{setting}");
        for own in ["epr-eu", "entity_permissions_core"] {
            let forged = json!({"event_type": "entity.archived", "source": own});
            assert_eq!(api.post(EVENTS, forged).await.field_errors(), ["body.source: reserved"]);
        }
    }
}

/// The vault's consumer: for each message, it archives the documents of the entity that the flat fields name.
fn archived_by_the_vault(message: &Value) -> Option<(String, String)> {
    let text = |name: &str| message[name].as_str().map(str::to_owned);
    Some((text("entity_id")?, text("entity_type")?))
}

#[tokio::test]
async fn a_consumer_that_acts_on_flat_fields_archives_what_epr_archived_and_nothing_else() {
    let (topic, database, endpoint) =
        (Topic::create().await, Database::create(DatabaseKind::Postgres).await, aws::endpoint());
    let mut environment =
        vec![("EPR_DATABASE_URL", database.url.as_str()), ("EPR_DOCUMENT_VAULT_TOPIC_ARN", topic.arn.as_str())];
    environment.extend(aws::environment(&endpoint));
    let (process, base) = Process::api(&environment).await;
    let http = reqwest::Client::new();
    let post = async |path: &str, body: Value| http.post(format!("{base}{path}")).json(&body).send().await.unwrap();
    let entity: Value = post("/api/v1/entities", json!({"name": "S", "type": "spv"})).await.json().await.unwrap();
    let entity = entity["id"].as_str().unwrap();
    // The client uploads to the entity, which must not archive anything.
    let payload =
        json!({"document_id": DOCUMENT, "entity_id": entity, "entity_type": "spv", "action": "entity.archived"});
    let uploaded = json!({"event_type": "document.uploaded", "source": "document_vault", "payload": payload,
        "context": {"ip": "::1"}});
    assert_eq!(post(EVENTS, uploaded).await.status(), 201);
    assert_eq!(
        post(EVENTS, json!({"event_type": "entity.archived", "source": "entity_permissions_core", "payload": payload}))
            .await
            .status(),
        400
    );
    assert_eq!(post(&format!("/api/v1/entities/{entity}/archive"), json!({})).await.status(), 200);
    database.until("SELECT COUNT(*) FROM platform_events WHERE delivery_state = 'succeeded'", 2).await;
    let received = topic.drain().await;
    let [uploaded, archived] = <[_; 2]>::try_from(received).unwrap().map(|message| message.body);
    assert_eq!((archived_by_the_vault(&uploaded), uploaded.get("action")), (None, None), "{uploaded}");
    assert_eq!((&uploaded["payload"], &uploaded["metadata"]), (&payload, &json!({"ip": "::1"})));
    assert_eq!(archived_by_the_vault(&archived), Some((entity.to_owned(), "spv".to_owned())));
    assert_eq!((&archived["action"], &archived["metadata"]), (&json!("entity.archived"), &json!({})));
    assert_eq!(process.terminate().await.0.code(), Some(0));
}
