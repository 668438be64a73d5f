//! Changes of the registry, as the change feed reports them.

use serde::Serialize;
use utoipa::ToSchema;

use super::{AuditEntry, Revision};

/// A ledger entry that changed the registry, and the revision that it made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Change {
    /// The state of the registry after the entry: the position from which the feed goes on.
    #[schema(value_type = String, example = "0198c5b2-8a54-4c1e-9d3f-6f2f0d6f1c11.0000000000000004711")]
    pub revision: Revision,
    /// The entry.
    #[serde(flatten)]
    pub entry: AuditEntry,
}
