//! Baselines: the entries that say how a row is that the ledger did not explain before.
//!
//! A takeover writes one for each row, and the first filling of history one for each row that differs from the replay.
//! Must never put a personal field into an entry unsealed.

use super::replay::members_of;
use super::row::{RegistryRow, RowKey, RowVersion};
use crate::domain::audit::{Label, LedgerAction, OWN_SOURCE};
use crate::domain::{AuditEvent, EntityType, Json, JsonObject, Timestamp};
use crate::ledger::canonical;
use crate::ledger::chain::Draft;
use crate::seal::{PrincipalKey, SealError, SealedPlace, seal, split_personal};

/// A row that the ledger does not explain.
#[derive(Debug, Clone, PartialEq)]
pub struct Unexplained {
    /// The key of the row.
    pub key: RowKey,
    /// The row of the registry; `None` when the registry lacks it.
    pub row: Option<RegistryRow>,
    /// The type of the entity of an assignment.
    pub on_type: Option<EntityType>,
}

impl Unexplained {
    /// The draft of the baseline at `now`. Personal fields are sealed under `key`, and left out without one.
    ///
    /// # Errors
    /// The personal fields cannot be sealed.
    pub fn draft(&self, now: Timestamp, key: Option<&PrincipalKey>) -> Result<Draft, SealError> {
        let action = match self.key {
            RowKey::Entity(_) => "entity.baseline",
            RowKey::Role(_) => "role.baseline",
            RowKey::Assignment(_) => "role_assignment.baseline",
            RowKey::Principal(..) => "principal.baseline",
        };
        let (entity_id, entity_type) = self.subject();
        let event = AuditEvent {
            event_id: None,
            source: own(OWN_SOURCE),
            action: own::<LedgerAction>(action),
            actor_id: None,
            actor_type: own("system"),
            entity_id,
            entity_type,
            correlation_id: None,
            details: JsonObject::new(),
            occurred_at: now,
        };
        let details = self.details((action, now), key)?;
        let version = match &self.row {
            Some(row) => RowVersion::from(row.clone()),
            None => RowVersion::ended(self.key.clone()),
        };
        Ok(Draft::recorded(event, canonical::text_of(&Json::Object(details))).with_row(version))
    }

    fn subject(&self) -> (Option<uuid::Uuid>, Option<Label>) {
        let of_type = |kind: &EntityType| Label::new(kind.word()).ok();
        match (&self.key, &self.row) {
            (RowKey::Entity(id), Some(RegistryRow::Entity(entity))) => (Some(*id), of_type(&entity.entity_type)),
            (RowKey::Entity(id), _) => (Some(*id), None),
            (RowKey::Role(id), _) => (Some(*id), Some(own("role"))),
            (RowKey::Assignment(_), Some(RegistryRow::Assignment(assignment))) => {
                (assignment.entity_id, self.on_type.as_ref().and_then(of_type))
            }
            (RowKey::Assignment(_), _) => (None, None),
            (RowKey::Principal(_, id), _) => (Some(*id), Some(own("principal"))),
        }
    }

    /// The key of the row and all its fields, or that it is absent.
    fn details(
        &self,
        (action, occurred_at): (&str, Timestamp),
        key: Option<&PrincipalKey>,
    ) -> Result<JsonObject, SealError> {
        let mut details = match &self.row {
            Some(row) => members_of(row),
            None => [("absent".to_owned(), true.into())].into_iter().collect(),
        };
        details.remove("id");
        match &self.key {
            RowKey::Entity(_) => {}
            RowKey::Role(id) => {
                details.insert("role_id".to_owned(), (*id).into());
            }
            RowKey::Assignment(id) => {
                details.insert("assignment_id".to_owned(), (*id).into());
            }
            RowKey::Principal(kind, id) => {
                details.remove("type");
                let (open, personal) = split_personal(details);
                details = open;
                details.insert("principal_id".to_owned(), (*id).into());
                details.insert("principal_type".to_owned(), kind.as_str().into());
                if let Some(key) = key {
                    let place = SealedPlace { action, occurred_at, principal_type: kind, principal_id: *id };
                    let names = personal.keys().map(|name| name.as_str().into()).collect();
                    details.insert("sealed".to_owned(), seal(key, &place, &personal)?.into());
                    details.insert("sealed_fields".to_owned(), Json::List(names));
                }
            }
        }
        Ok(details)
    }
}

/// A word of this program; all of them are within the bounds.
fn own<T: TryFrom<&'static str>>(word: &'static str) -> T {
    T::try_from(word).unwrap_or_else(|_| unreachable!("`{word}` is within its bounds"))
}
