//! Delivery, attempt by attempt, against a topic in memory that can be made to fail.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use async_trait::async_trait;
use epr_core::clock::{Clock as _, ManualClock, SystemClock};
use epr_core::domain::{DeliveryState, Event, EventFilter, NewEvent};
use epr_core::publish::recording::Recording;
use epr_core::publish::{Message, Outage, PublishOutcome, Publisher};
use epr_core::settings::EventSettings;
use epr_core::store::Page;
use epr_core::{Call, Epr};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::wait;
use serde_json::{Value, json};
use sqlx::Connection as _;

async fn service(topic: &Arc<Recording>) -> Epr {
    Epr::builder().publisher(topic.clone()).start().await.unwrap()
}

fn event(entity: &str) -> NewEvent {
    let body = json!({"event_type": "a.happened", "source": "vault", "payload": {"entity_id": entity,
        "entity_type": "spv", "n": 1}});
    NewEvent::from_body(&epr_core::domain::Json::parse(body.to_string().as_bytes()).unwrap()).unwrap()
}

async fn all(epr: &Epr) -> Vec<Event> {
    epr.events_list(&EventFilter::default(), &Page { limit: 100, after: None }).await.unwrap()
}

/// Relays until nothing is pending.
async fn relayed(epr: &Epr) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let relay = tokio::spawn({
        let epr = epr.clone();
        async move { epr.relay(async { drop(stopped.await) }).await }
    });
    wait::until("nothing pending", async || epr.event_backlog().await.unwrap().pending == 0).await;
    drop(stop);
    relay.await.unwrap();
}

#[allow(clippy::unnecessary_wraps, reason = "has the type of `outage`, with which it shares lists of answers")]
fn failed() -> Result<PublishOutcome, Outage> {
    Ok(PublishOutcome::Failed("busy".into()))
}

fn outage() -> Result<PublishOutcome, Outage> {
    Err(Outage { why: "gone".into(), retryable: false })
}

#[tokio::test]
async fn the_message_has_the_form_of_the_contract() {
    let topic = Arc::new(Recording::default());
    let epr = service(&topic).await;
    let made = epr.ingest_event(&Call::default(), event("11111111-0000-4000-8000-000000000001")).await.unwrap().event;
    assert_eq!((made.delivery_state, made.delivery_attempts), (DeliveryState::Succeeded, 1));
    let [message] = <[Message; 1]>::try_from(topic.published()).unwrap();
    let body: Value = serde_json::from_str(&message.body).unwrap();
    assert_eq!(
        body,
        json!({
            "event_id": made.event_id, "event_type": "a.happened", "source": "vault",
            "occurred_at": made.occurred_at.to_string(), "correlation_id": null, "schema_version": "v1",
            "payload": {"entity_id": "11111111-0000-4000-8000-000000000001", "entity_type": "spv", "n": 1},
            "context": {}, "metadata": {},
        })
    );
    assert_eq!(
        message.attributes(),
        [("event_type", "a.happened".into()), ("source", "vault".into()), ("event_id", made.event_id.to_string())]
    );
}

#[tokio::test]
async fn a_failure_is_retried_in_the_request_and_then_by_the_relay() {
    let topic = Arc::new(Recording::default());
    let epr = service(&topic).await;
    topic.answer_next([failed()]);
    let made = epr.ingest_event(&Call::default(), event("e")).await.unwrap().event;
    assert_eq!((made.delivery_state, made.delivery_attempts, made.last_error), (DeliveryState::Succeeded, 2, None));
    topic.answer_next([failed(), failed(), failed()]);
    let made = epr.ingest_event(&Call::default(), event("e")).await.unwrap().event;
    assert_eq!(
        (made.delivery_state, made.delivery_attempts, made.last_error.as_deref()),
        (DeliveryState::Pending, 2, Some("busy"))
    );
    relayed(&epr).await;
    let made = epr.event(made.event_id).await.unwrap();
    assert_eq!((made.delivery_state, made.delivery_attempts), (DeliveryState::Succeeded, 4));
    assert_eq!(topic.published().len(), 2);
}

#[tokio::test]
async fn a_refusal_fails_at_once_with_the_reason() {
    let topic = Arc::new(Recording::default());
    let epr = service(&topic).await;
    topic.answer_next([Ok(PublishOutcome::Refused("InvalidParameter: no".into()))]);
    let made = epr.ingest_event(&Call::default(), event("e")).await.unwrap().event;
    assert_eq!(
        (made.delivery_state, made.delivery_attempts, made.last_error.as_deref()),
        (DeliveryState::Failed, 1, Some("InvalidParameter: no"))
    );
    // It blocks no other event, and can be requeued.
    epr.ingest_event(&Call::default(), event("e")).await.unwrap();
    assert_eq!(topic.published().len(), 1);
    assert_eq!(epr.requeue_events(Some(made.event_id)).await.unwrap(), 1);
    assert_eq!(epr.requeue_events(None).await.unwrap(), 0);
    relayed(&epr).await;
    assert_eq!(topic.published().last().unwrap().event_id, made.event_id);
}

#[tokio::test]
async fn an_outage_uses_up_no_attempt() {
    let topic = Arc::new(Recording::default());
    let epr = service(&topic).await;
    topic.answer_next([outage(), outage(), outage()]);
    let first = epr.ingest_event(&Call::default(), event("e")).await.unwrap().event;
    assert_eq!((first.delivery_state, first.delivery_attempts), (DeliveryState::Pending, 0));
    assert_eq!(first.last_error.as_deref(), Some("the topic cannot be used: gone"));
    // The breaker is open: the next one does not even try.
    let second = epr.ingest_event(&Call::default(), event("f")).await.unwrap().event;
    assert_eq!((second.delivery_state, second.delivery_attempts, second.last_error), (DeliveryState::Pending, 0, None));
    relayed(&epr).await;
    assert!(
        all(&epr)
            .await
            .iter()
            .all(|event| (event.delivery_state, event.delivery_attempts) == (DeliveryState::Succeeded, 1))
    );
}

#[tokio::test]
async fn a_transient_error_is_retried_in_the_request() {
    let topic = Arc::new(Recording::default());
    let epr = service(&topic).await;
    let moment = || Err(Outage { why: "503".into(), retryable: true });
    topic.answer_next([moment()]);
    let made = epr.ingest_event(&Call::default(), event("e")).await.unwrap().event;
    assert_eq!((made.delivery_state, made.delivery_attempts, made.last_error), (DeliveryState::Succeeded, 1, None));
    topic.answer_next([moment(), moment()]);
    let made = epr.ingest_event(&Call::default(), event("e")).await.unwrap().event;
    assert_eq!((made.delivery_state, made.delivery_attempts), (DeliveryState::Pending, 0));
}

#[tokio::test]
async fn events_of_one_entity_stay_in_order() {
    let topic = Arc::new(Recording::default());
    let epr = service(&topic).await;
    // The first of `a` stays behind; the later ones wait for it, those of `b` do not.
    topic.answer_next([failed(), failed()]);
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(epr.ingest_event(&Call::default(), event("a")).await.unwrap().event.event_id);
    }
    let b = epr.ingest_event(&Call::default(), event("b")).await.unwrap().event;
    assert_eq!(b.delivery_state, DeliveryState::Succeeded);
    assert_eq!(topic.published().iter().map(|message| message.event_id).collect::<Vec<_>>(), [b.event_id]);
    // Two relays at once do not pass each other.
    tokio::join!(relayed(&epr), relayed(&epr));
    let reported: Vec<_> =
        topic.published().iter().map(|message| message.event_id).filter(|id| *id != b.event_id).collect();
    assert_eq!(reported, expected);
}

#[tokio::test]
async fn an_event_fails_after_its_last_attempt() {
    let topic = Arc::new(Recording::default());
    let events = EventSettings { publish_attempts: 2, max_attempts: 3, ..EventSettings::default() };
    let epr = Epr::builder().events(events).publisher(topic.clone()).start().await.unwrap();
    topic.answer_next([failed(), failed(), failed()]);
    let made = epr.ingest_event(&Call::default(), event("e")).await.unwrap().event;
    assert_eq!((made.delivery_state, made.delivery_attempts), (DeliveryState::Pending, 2));
    relayed(&epr).await;
    let made = epr.event(made.event_id).await.unwrap();
    assert_eq!(
        (made.delivery_state, made.delivery_attempts, made.last_error.as_deref()),
        (DeliveryState::Failed, 3, Some("busy"))
    );
    let backlog = epr.event_backlog().await.unwrap();
    assert_eq!((backlog.pending, backlog.failed, backlog.oldest_pending), (0, 1, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_concurrent_writers_are_delivered_in_one_order() {
    let (topic, database) = (Arc::new(Recording::default()), Database::create(DatabaseKind::Postgres).await);
    let epr = Epr::builder().store(database.store().await).publisher(topic.clone()).build();
    let writers: Vec<_> = (0..30)
        .map(|n| {
            let epr = epr.clone();
            // One entity in two spellings.
            let entity =
                if n % 2 == 0 { "abcdefab-0000-4000-8000-000000000001" } else { "ABCDEFAB000040008000000000000001" };
            tokio::spawn(async move { epr.ingest_event(&Call::default(), event(entity)).await.unwrap().event })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    relayed(&epr).await;
    let mut conn = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let written: Vec<uuid::Uuid> = sqlx::query_scalar("SELECT event_id FROM platform_events ORDER BY position")
        .fetch_all(&mut conn)
        .await
        .unwrap();
    let published: Vec<_> = topic.published().iter().map(|message| message.event_id).collect();
    assert_eq!(published, written);
}

/// A topic, and a process that is stopped for a minute in the middle of its first attempt.
struct Stopping {
    topic: Arc<Recording>,
    clock: Arc<ManualClock>,
    attempts: AtomicUsize,
}

#[async_trait]
impl Publisher for Stopping {
    async fn publish(&self, messages: &[Message]) -> Result<Vec<PublishOutcome>, Outage> {
        if self.attempts.fetch_add(1, SeqCst) == 0 {
            self.clock.advance_micros(60_000_000);
        }
        self.topic.publish(messages).await
    }
}

#[tokio::test]
async fn no_attempt_begins_after_the_lease() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let stopping =
        Arc::new(Stopping { topic: Arc::default(), clock: Arc::clone(&clock), attempts: AtomicUsize::new(0) });
    let epr = Epr::builder().clock(clock.clone()).publisher(stopping.clone()).start().await.unwrap();
    stopping.topic.answer_next([failed()]);
    let made = epr.ingest_event(&Call::default(), event("e")).await.unwrap().event;
    assert_eq!((made.delivery_state, stopping.attempts.load(SeqCst)), (DeliveryState::Pending, 1));
    // Until the next attempt is due.
    clock.advance_micros(60_000_000);
    relayed(&epr).await;
    assert_eq!((stopping.topic.published().len(), stopping.attempts.load(SeqCst)), (1, 2));
}
