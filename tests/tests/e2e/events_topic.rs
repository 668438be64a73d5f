//! Delivery over the real wire: SNS with a queue subscribed, by processes.

use epr_core::publish::sns::Sns;
use epr_core::publish::{Message, PublishOutcome, Publisher as _};
use epr_core::settings::{Settings, Source};
use epr_testkit::aws::{self, Topic};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::{Process, epr};
use serde_json::{Value, json};

async fn post(base: &str, path: &str, body: Value) -> Value {
    let answer = reqwest::Client::new().post(format!("{base}{path}")).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.json().await.unwrap()
}

#[tokio::test]
async fn the_vaults_consumer_finds_what_it_reads() {
    let (topic, database, endpoint) =
        (Topic::create().await, Database::create(DatabaseKind::Postgres).await, aws::endpoint());
    let mut environment =
        vec![("EPR_DATABASE_URL", database.url.as_str()), ("EPR_DOCUMENT_VAULT_TOPIC_ARN", topic.arn.as_str())];
    environment.extend(aws::environment(&endpoint));
    let (mut process, base) = Process::api(&environment).await;
    let entity = post(&base, "/api/v1/entities", json!({"name": "Zoë", "type": "spv"})).await;
    post(&base, &format!("/api/v1/entities/{}/archive", entity["id"].as_str().unwrap()), json!({})).await;
    let line = process.wait_for_log("events_engine_published").await;
    assert_eq!((&line["extra"]["attempts"], &line["extra"]["event_type"]), (&json!(1), &json!("entity.archived")));
    let metrics = reqwest::get(format!("{base}/metrics")).await.unwrap().text().await.unwrap();
    for line in [
        "epr_event_publish_attempts_total{outcome=\"delivered\"} 1",
        "epr_event_publish_duration_seconds_count 1",
        "epr_events_pending 0",
        "epr_events_failed 0",
        "epr_event_oldest_pending_seconds 0.0",
    ] {
        assert!(metrics.lines().any(|reported| reported == line), "{line} is not in {metrics}");
    }
    let received = topic.drain().await;
    assert_eq!(received.len(), 1);
    let body = &received[0].body;
    // Just what the consumer reads.
    for (field, expected) in [
        ("event_id", line["extra"]["event_id"].clone()),
        ("source", json!("entity_permissions_core")),
        ("action", json!("entity.archived")),
        ("entity_id", entity["id"].clone()),
        ("entity_type", json!("spv")),
    ] {
        assert_eq!(body[field], expected, "{field}");
    }
    let attribute = |value: &Value| json!({"Type": "String", "Value": value});
    assert_eq!(
        received[0].attributes,
        json!({"event_type": attribute(&body["event_type"]), "source": attribute(&body["source"]),
            "event_id": attribute(&body["event_id"])})
    );
    assert_eq!(process.terminate().await.0.code(), Some(0));
}

#[tokio::test]
async fn a_topic_that_is_gone_loses_nothing() {
    let (mut topic, database, endpoint) =
        (Topic::create().await, Database::create(DatabaseKind::Sqlite).await, aws::endpoint());
    let arn = topic.arn.clone();
    let mut environment = vec![
        ("EPR_DATABASE_URL", database.url.as_str()),
        ("EPR_DOCUMENT_VAULT_TOPIC_ARN", arn.as_str()),
        ("EPR_EVENT_POLL_MS", "100"),
    ];
    environment.extend(aws::environment(&endpoint));
    topic.delete_topic().await;
    let (process, base) = Process::api(&environment).await;
    let event =
        json!({"event_type": "a.happened", "source": "vault", "payload": {"entity_id": "e", "entity_type": "spv"}});
    let mut made = Vec::new();
    for _ in 0..25 {
        let event = post(&base, "/api/v1/events", event.clone()).await;
        assert_eq!((&event["delivery_state"], &event["delivery_attempts"]), (&json!("pending"), &json!(0)));
        made.push(event["event_id"].clone());
    }
    let (_, out, _) = epr(&database.url, &["events", "list", "--state", "pending"]).await;
    assert!(out.contains("pending, 0 attempts") && out.contains("the topic cannot be used"), "{out}");
    // The process is stopped so that nothing is published to a topic without its queue.
    process.terminate().await;
    topic.create_topic().await;
    let (process, _) = Process::api(&environment).await;
    database.until("SELECT COUNT(*) FROM platform_events WHERE delivery_state <> 'succeeded'", 0).await;
    assert_eq!(process.terminate().await.0.code(), Some(0));
    let received: Vec<_> = topic.drain().await.into_iter().map(|message| message.body["event_id"].clone()).collect();
    assert_eq!(received, made, "each once, in order");
}

#[tokio::test]
async fn a_relay_in_another_process_is_woken() {
    let (topic, database, endpoint) =
        (Topic::create().await, Database::create(DatabaseKind::Postgres).await, aws::endpoint());
    let mut environment =
        vec![("EPR_DATABASE_URL", database.url.as_str()), ("EPR_DOCUMENT_VAULT_TOPIC_ARN", topic.arn.as_str())];
    environment.extend(aws::environment(&endpoint));
    // It looks of its own accord every ten minutes only.
    let (mut relay, _) = Process::api(&[&environment[..], &[("EPR_EVENT_POLL_MS", "600000")]].concat()).await;
    database
        .until("SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'", 1)
        .await;
    let silent = [("EPR_EVENT_RELAY", "false"), ("EPR_EVENT_PUBLISH_ATTEMPTS", "0")];
    let (writer, base) = Process::api(&[&environment[..], &silent].concat()).await;
    let made = post(&base, "/api/v1/events", json!({"event_type": "a.happened", "source": "vault"})).await;
    assert_eq!((&made["delivery_state"], &made["delivery_attempts"]), (&json!("pending"), &json!(0)));
    let line = relay.wait_for_log("events_engine_published").await;
    assert_eq!(line["extra"]["event_id"], made["event_id"]);
    for process in [relay, writer] {
        assert_eq!(process.terminate().await.0.code(), Some(0));
    }
    assert_eq!(topic.drain().await.len(), 1);
}

#[tokio::test]
async fn one_bad_message_does_not_take_its_neighbours_with_it() {
    let (topic, endpoint) = (Topic::create().await, aws::endpoint());
    let settings = Settings::from_source(&Source::of(aws::environment(&endpoint))).unwrap();
    let sns = Sns::new(&settings.aws, &topic.arn).await;
    // An empty attribute is what the service refuses, and with it (here) the whole batch.
    let message = |n: u128, event_type: &str| Message {
        event_id: uuid::Uuid::from_u128(n),
        event_type: event_type.into(),
        source: "vault".into(),
        body: json!({"event_id": n.to_string()}).to_string(),
        traceparent: None,
    };
    let verdicts = sns.publish(&[message(1, "a.b"), message(2, ""), message(3, "a.b")]).await.unwrap();
    assert_eq!((&verdicts[0], &verdicts[2]), (&PublishOutcome::Delivered, &PublishOutcome::Delivered));
    assert!(matches!(&verdicts[1], PublishOutcome::Refused(why) if why.contains("Invalid")), "{verdicts:?}");
    let received: Vec<_> = topic.drain().await.into_iter().map(|message| message.body["event_id"].clone()).collect();
    assert!(
        received.contains(&json!("1")) && received.contains(&json!("3")) && !received.contains(&json!("2")),
        "{received:?}"
    );
}
