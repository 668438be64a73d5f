//! A stream of audit messages as a platform sends them: most are fine, some come twice, some are no events, and some
//! contradict one that came before.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::ledger::LedgerEntry;
use crate::queue::{AuditQueue, MessageForm};

/// Messages, and their expected entries in the ledger.
pub struct Stream {
    /// Valid, repeated and invalid ones, mixed.
    pub mixed: Vec<(MessageForm, String)>,
    /// Messages that contradict a valid one; to be sent after the valid ones are recorded.
    pub conflicts: Vec<(MessageForm, String)>,
    /// The expected fields of each entry by correlation id.
    pub expected: BTreeMap<String, Value>,
    /// The number of mixed messages that are no events.
    pub invalid: usize,
}

impl Stream {
    /// `total` messages: 5 % repeat one, 2 % are no events, 1 % contradict one; half of all are enveloped.
    pub fn new(total: usize, rng: &mut StdRng) -> Self {
        let (repeats, invalid, conflicts) = (total / 20, total / 50, total / 100);
        let mut stream =
            Self { mixed: Vec::with_capacity(total), conflicts: Vec::new(), expected: BTreeMap::new(), invalid };
        let mut keyed = Vec::new();
        for n in 0..total - repeats - invalid - conflicts {
            let event = event(n, rng);
            if event.get("event_id").is_some() {
                keyed.push(event.clone());
            }
            stream.mixed.push((way(rng), event.to_string()));
            stream.expected.insert(format!("m-{n}"), event);
        }
        for _ in 0..repeats {
            let mut event = keyed[rng.random_range(0..keyed.len())].clone();
            if rng.random() {
                // The id in another spelling.
                event["event_id"] = event["event_id"].as_str().expect("an id").to_uppercase().into();
            }
            stream.mixed.push((way(rng), event.to_string()));
        }
        for n in 0..invalid {
            stream.mixed.push(not_an_event(n, rng));
        }
        for at in (1..stream.mixed.len()).rev() {
            stream.mixed.swap(at, rng.random_range(0..=at));
        }
        for n in 0..conflicts {
            let mut event = keyed[rng.random_range(0..keyed.len())].clone();
            match n % 3 {
                0 => event["action"] = "another.action".into(),
                1 => event["details"] = json!({"other": n}),
                _ => event["occurred_at"] = "1999-01-01T00:00:00Z".into(),
            }
            stream.conflicts.push((way(rng), event.to_string()));
        }
        stream
    }

    /// Sends messages to the queue, in their order as far as batches of one form allow.
    pub async fn send(queue: &AuditQueue, messages: &[(MessageForm, String)]) {
        for chunk in messages.chunks(40) {
            queue.until_shallow().await;
            for wanted in [MessageForm::Enveloped, MessageForm::Raw] {
                let bodies: Vec<String> =
                    chunk.iter().filter(|(way, _)| *way == wanted).map(|(_, body)| body.clone()).collect();
                queue.put(wanted, &bodies).await;
            }
        }
    }

    /// Compares the entries of the ledger with the expected ones.
    pub fn check(&self, ledger: &[LedgerEntry]) {
        let mut found = BTreeMap::new();
        for entry in ledger {
            let stored: Value = serde_json::from_str(&entry.canonical).expect("canonical JSON");
            let key = stored["correlation_id"].as_str().expect("a correlation id").to_owned();
            assert!(found.insert(key.clone(), stored).is_none(), "{key} is recorded twice");
        }
        assert_eq!(found.len(), self.expected.len());
        for (key, expected) in &self.expected {
            let stored = &found[key];
            for (name, value) in expected.as_object().expect("an object") {
                let value = if name == "occurred_at" { spelled(value) } else { value.clone() };
                assert_eq!(stored[name], value, "{name} of {key}");
            }
        }
    }
}

/// A time in the notation of the ledger's canonical text.
fn spelled(at: &Value) -> Value {
    at.as_str().expect("a time").replace('Z', "+00:00").into()
}

fn way(rng: &mut StdRng) -> MessageForm {
    if rng.random() { MessageForm::Enveloped } else { MessageForm::Raw }
}

fn id(rng: &mut StdRng) -> String {
    Uuid::from_u128(rng.random()).to_string()
}

fn event(n: usize, rng: &mut StdRng) -> Value {
    let mut event = json!({
        "source": format!("service-{}", rng.random_range(0..5)),
        "action": format!("document.{}", ["uploaded", "verified", "downloaded", "archived"][rng.random_range(0..4)]),
        "correlation_id": format!("m-{n}"),
        "details": details(rng),
    });
    let mut sometimes = |name: &str, share: f64, make: &mut dyn FnMut(&mut StdRng) -> String| {
        if rng.random_bool(share) {
            event[name] = make(rng).into();
        }
    };
    sometimes("event_id", 0.8, &mut id);
    sometimes("actor_id", 0.7, &mut id);
    sometimes("actor_type", 0.3, &mut |_| "service".into());
    sometimes("entity_id", 0.7, &mut id);
    sometimes("entity_type", 0.5, &mut |_| "dokument-ü".into());
    sometimes("occurred_at", 0.7, &mut |rng| format!("2026-0{}-01T00:00:00.{:06}Z", rng.random_range(1..9), 1 + n));
    event
}

fn details(rng: &mut StdRng) -> Value {
    let mut members = Map::new();
    for n in 0..rng.random_range(0..6) {
        let value = match rng.random_range(0..7) {
            0 => json!(rng.random::<i64>()),
            1 => json!(rng.random::<f64>() * 1e20),
            2 => json!(["a", null, true, 1.5]),
            3 => json!({"nested": {"ключ": "\u{1f600}\n\"\\", "n": 0}}),
            4 => json!("x".repeat(rng.random_range(0..200))),
            5 => Value::Null,
            _ => json!("\u{7f}\u{0}/é"),
        };
        members.insert(format!("k{n}"), value);
    }
    members.into()
}

/// The `n`th form of a message that is no audit event.
fn not_an_event(n: usize, rng: &mut StdRng) -> (MessageForm, String) {
    let good = |name: &str, value: Value| {
        let mut event = json!({"source": "s", "action": "a", "correlation_id": format!("bad-{n}")});
        event[name] = value;
        event.to_string()
    };
    let envelope = |kind: &str, message: Value| {
        json!({"Type": kind, "TopicArn": "arn:aws:sns:us-east-1:1:t", "Message": message}).to_string()
    };
    let event = r#"{"source":"s","action":"a"}"#;
    let forms = [
        (way(rng), "no JSON at all".to_owned()),
        (way(rng), "{".to_owned()),
        (way(rng), "[]".to_owned()),
        (way(rng), "null".to_owned()),
        (way(rng), r#""{}""#.to_owned()),
        (way(rng), "{}".to_owned()),
        (way(rng), r#"{"source": "s"}"#.to_owned()),
        (way(rng), r#"{"action": "a"}"#.to_owned()),
        (way(rng), r#"{"source":"s","action":"a","action":"b"}"#.to_owned()),
        (way(rng), r#"{"source":"s","action":"a","details":{"n":123456789012345678901234567890}}"#.to_owned()),
        (way(rng), r#"{"source":"s","action":"a","details":{"n":1e999}}"#.to_owned()),
        (way(rng), format!(r#"{{"source":"s","action":"a","details":{{"d":{}{}}}}}"#, "[".repeat(80), "]".repeat(80))),
        (way(rng), good("source", Value::Null)),
        (way(rng), good("source", json!(7))),
        (way(rng), good("source", json!("s".repeat(129)))),
        (way(rng), good("source", json!("nul\u{0}"))),
        (way(rng), good("action", json!("a".repeat(121)))),
        (way(rng), good("event_id", json!("not-a-uuid"))),
        (way(rng), good("event_id", json!(7))),
        (way(rng), good("actor_id", json!({}))),
        (way(rng), good("actor_type", json!("t".repeat(65)))),
        (way(rng), good("entity_id", json!(""))),
        (way(rng), good("entity_type", json!("t".repeat(65)))),
        (way(rng), good("correlation_id", json!("c".repeat(121)))),
        (way(rng), good("details", json!([]))),
        (way(rng), good("details", json!("{}"))),
        (way(rng), good("occurred_at", json!("yesterday"))),
        (way(rng), good("occurred_at", json!(true))),
        (way(rng), good("occurred_at", json!("2026-02-30T00:00:00Z"))),
        (MessageForm::Raw, envelope("SubscriptionConfirmation", event.into())),
        (MessageForm::Raw, envelope("Notification", json!(7))),
        (MessageForm::Raw, envelope("Notification", "no JSON".into())),
        (MessageForm::Raw, envelope("Notification", envelope("Notification", event.into()).into())),
        (MessageForm::Raw, json!({"Message": "no event"}).to_string()),
    ];
    forms[n % forms.len()].clone()
}
