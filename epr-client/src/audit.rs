//! `/api/v1/audit/entries`

use epr_core::domain::audit::CanonicalDetails;
use epr_core::domain::fields::{self, Fields};
use epr_core::domain::{AuditEntry, AuditFilter, Invalid, Json};
use epr_core::ledger::canonical;

use crate::client::Client;
use crate::list::List;
use crate::wire;

/// The order of ledger entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// By descending sequence.
    #[default]
    NewestFirst,
    /// By ascending sequence.
    OldestFirst,
}

impl Client {
    /// Lists ledger entries. Every condition of the filter must hold.
    pub fn audit_entries(&self, filter: &AuditFilter, order: Order) -> List<AuditEntry> {
        let order = (order == Order::OldestFirst).then(|| ("order", "asc".to_owned()));
        let query = filter.to_pairs().into_iter().chain(order);
        List::new(self, "api/v1/audit/entries", query, 500, read)
    }
}

/// `details` become their canonical text, which is the text that was hashed.
pub(crate) fn read(json: &Json) -> Result<AuditEntry, Invalid> {
    let mut fields = Fields::of_body(json)?;
    let sequence = fields.required("sequence", fields::whole_number(1, i64::MAX));
    let previous_hash = fields.required("previous_hash", wire::text);
    let entry_hash = fields.required("entry_hash", wire::text);
    let hash_version = fields.required("hash_version", fields::whole_number(1, i32::MAX.into()));
    let event_id = fields.required("event_id", fields::nullable(fields::uuid));
    let source = fields.required("source", wire::text);
    let action = fields.required("action", wire::text);
    let actor_id = fields.required("actor_id", fields::nullable(fields::uuid));
    let actor_type = fields.required("actor_type", wire::text);
    let entity_id = fields.required("entity_id", fields::nullable(fields::uuid));
    let entity_type = fields.required("entity_type", wire::nullable_text);
    let correlation_id = fields.required("correlation_id", wire::nullable_text);
    let details = fields.required("details", |value| Ok(CanonicalDetails(canonical::text_of(value))));
    let occurred_at = fields.required("occurred_at", fields::timestamp);
    let build = || {
        Some(AuditEntry {
            sequence: sequence?,
            previous_hash: previous_hash?,
            entry_hash: entry_hash?,
            hash_version: i32::try_from(hash_version?).ok()?,
            event_id: event_id?,
            source: source?,
            action: action?,
            actor_id: actor_id?,
            actor_type: actor_type?,
            entity_id: entity_id?,
            entity_type: entity_type?,
            correlation_id: correlation_id?,
            details: details?,
            occurred_at: occurred_at?,
        })
    };
    let build = build();
    fields.finish(build)
}
