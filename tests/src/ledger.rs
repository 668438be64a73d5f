//! Helpers for tests of the ledger: events from JSON, all stored entries, and the result of `epr audit verify`.

use epr_core::domain::{AuditEvent, Json, Timestamp};
use epr_core::ledger::chain::Draft;
use epr_core::ledger::verify::{StoredEntry, UnreadableRow};
use epr_core::store::{Appended, LedgerVisitor, ScanRange, ScanStart, Store};
use serde_json::Value;

use crate::api::Api;
use crate::process::epr;

/// An event from the JSON form of the vectors.
pub fn event(input: &Value) -> AuditEvent {
    let text = |name: &str| input.get(name).and_then(Value::as_str);
    let id = |name: &str| text(name).map(|id| id.parse().expect("a UUID"));
    let details = input.get("details").map_or_else(|| "{}".into(), Value::to_string);
    AuditEvent {
        event_id: id("event_id"),
        source: text("source").unwrap_or("entity_permissions_core").try_into().expect("a source"),
        action: text("action").expect("an action").try_into().expect("an action"),
        actor_id: id("actor_id"),
        actor_type: text("actor_type").unwrap_or("user").try_into().expect("an actor type"),
        entity_id: id("entity_id"),
        entity_type: text("entity_type").map(|word| word.try_into().expect("an entity type")),
        correlation_id: text("correlation_id").map(|word| word.try_into().expect("a correlation id")),
        details: Json::parse(details.as_bytes()).expect("details").as_object().expect("an object").clone(),
        occurred_at: Timestamp::parse(text("occurred_at").expect("a time")).expect("a time"),
    }
}

/// A draft of an entry from the JSON form of the vectors.
pub fn draft(input: &Value) -> Draft {
    Draft::new(event(input)).expect("details within the bounds")
}

/// The outcome of an append as text.
pub fn outcome_text(outcome: &Appended) -> String {
    match outcome {
        Appended::Recorded { sequence, .. } => format!("recorded {sequence}"),
        Appended::Duplicate { sequence } => format!("duplicate of {sequence}"),
        Appended::Conflict { sequence } => format!("conflict with {sequence}"),
        Appended::Outdated => "outdated".to_owned(),
    }
}

/// A stored entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The sequence number.
    pub sequence: i64,
    /// The hash of the previous entry.
    pub previous_hash: String,
    /// The hash of this entry.
    pub entry_hash: String,
    /// The hashed text, rebuilt from the stored columns.
    pub canonical: String,
}

/// All entries of the ledger in their order.
pub async fn all_entries(store: &dyn Store) -> Vec<LedgerEntry> {
    struct Collect(Vec<LedgerEntry>);
    impl LedgerVisitor for Collect {
        fn begin(&mut self, _: ScanStart) -> bool {
            true
        }

        fn entry(&mut self, row: Result<StoredEntry<'_>, UnreadableRow>) -> bool {
            let entry = row.expect("a row that can be read");
            let mut canonical = String::new();
            entry.fields.write(&mut canonical);
            self.0.push(LedgerEntry {
                sequence: entry.fields.sequence,
                previous_hash: entry.fields.previous_hash.to_owned(),
                entry_hash: entry.entry_hash.to_owned(),
                canonical,
            });
            true
        }

        fn dropped(&mut self, sequence: i64, _: &str) -> bool {
            panic!("entry {sequence} was dropped");
        }
    }
    let mut all = Collect(Vec::new());
    store.scan_ledger(ScanRange::ALL, &mut all).await.expect("a scan");
    all.0
}

/// Runs `epr audit verify --json` with these arguments; returns the exit code and the report.
pub async fn audit_verify(database_url: &str, arguments: &[&str]) -> (i32, Value) {
    let (code, out, err) = epr(database_url, &[&["audit", "verify", "--json"], arguments].concat()).await;
    (code, serde_json::from_str(&out).unwrap_or_else(|_| err.into()))
}

/// Appends entries until the ledger of `api` has `size`.
pub async fn grow(api: &Api, size: i64) {
    let store = api.database.store().await;
    let head = store.registry_state().await.expect("a state").head;
    let entry = |n: i64| {
        draft(&serde_json::json!({
            "event_id": null, "source": "tests", "action": "thing.done", "actor_id": null, "actor_type": "service",
            "entity_id": null, "entity_type": null, "correlation_id": null,
            "occurred_at": "2026-01-01T00:00:00Z", "details": {"n": n},
        }))
    };
    store.append(&(head..size).map(entry).collect::<Vec<_>>()).await.expect("entries");
}
