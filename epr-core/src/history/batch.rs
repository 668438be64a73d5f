//! The versions that some consecutive entries make, in the order in which tables store them.
//!
//! INVARIANT: at most one version of a row is open after a batch: a later version ends the one before it, whether that
//! one is in the batch or in the table.

use std::collections::HashMap;
use std::hash::Hash;

use uuid::Uuid;

use super::row::{RegistryRow, RowKey, RowVersion};
use crate::domain::{Assignment, Entity, Principal, Role};

/// A version of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Version<R> {
    /// The sequence of the entry that made it.
    pub valid_from: i64,
    /// The sequence of the entry that ended it; `None`: none in the batch did.
    pub valid_to: Option<i64>,
    /// The row.
    pub row: R,
}

/// The end of a version that is in the table already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End<K> {
    /// The key of the row.
    pub key: K,
    /// The sequence of the entry that ended it.
    pub valid_to: i64,
}

/// What a batch does to one table: first the ends, then the new versions.
#[derive(Debug, Clone)]
pub struct TableBatch<K, R> {
    /// The ends of versions that are in the table.
    pub ends: Vec<End<K>>,
    /// The new versions.
    pub versions: Vec<Version<R>>,
    /// The open version of each key among `versions`; `None` when the last one of the batch has ended.
    open: HashMap<K, Option<usize>>,
}

impl<K, R> Default for TableBatch<K, R> {
    fn default() -> Self {
        Self { ends: Vec::new(), versions: Vec::new(), open: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash, R> TableBatch<K, R> {
    fn put(&mut self, key: &K, (sequence, is_new): (i64, bool), row: Option<R>) {
        match self.open.get(key) {
            Some(Some(index)) => {
                if let Some(version) = self.versions.get_mut(*index) {
                    version.valid_to = Some(sequence);
                }
            }
            Some(None) => {}
            None if is_new => {}
            None => self.ends.push(End { key: key.clone(), valid_to: sequence }),
        }
        let open = row.map(|row| {
            self.versions.push(Version { valid_from: sequence, valid_to: None, row });
            self.versions.len() - 1
        });
        self.open.insert(key.clone(), open);
    }
}

/// What some consecutive entries do to the tables of history.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Of entities.
    pub entities: TableBatch<Uuid, Entity>,
    /// Of roles; their permissions belong to their versions.
    pub roles: TableBatch<Uuid, Role>,
    /// Of assignments.
    pub assignments: TableBatch<Uuid, Assignment>,
    /// Of principals.
    pub principals: TableBatch<(String, Uuid), Principal>,
    /// The principals whose personal fields are blanked in every earlier version.
    pub erased: Vec<(String, Uuid)>,
}

impl Batch {
    /// The batch of `versions`: each with the sequence of its entry, in the order of the sequences.
    pub fn of<'a>(versions: impl IntoIterator<Item = (i64, &'a RowVersion)>) -> Self {
        let mut batch = Self::default();
        for (sequence, version) in versions {
            batch.add(sequence, version);
        }
        batch
    }

    fn add(&mut self, sequence: i64, version: &RowVersion) {
        let at = (sequence, version.is_new);
        match (&version.key, &version.row) {
            (RowKey::Entity(id), None) => self.entities.put(id, at, None),
            (RowKey::Role(id), None) => self.roles.put(id, at, None),
            (RowKey::Assignment(id), None) => self.assignments.put(id, at, None),
            (RowKey::Principal(kind, id), None) => self.principals.put(&(kind.clone(), *id), at, None),
            (_, Some(RegistryRow::Entity(entity))) => self.entities.put(&entity.id, at, Some(entity.clone())),
            (_, Some(RegistryRow::Role(role))) => self.roles.put(&role.id, at, Some(role.clone())),
            (_, Some(RegistryRow::Assignment(assignment))) => {
                self.assignments.put(&assignment.id, at, Some(assignment.clone()));
            }
            (_, Some(RegistryRow::Principal(principal))) => {
                let key = (principal.principal_type.clone(), principal.id);
                if principal.erased_at.is_some() {
                    self.erase(&key);
                }
                self.principals.put(&key, at, Some(principal.clone()));
            }
        }
    }

    /// Blanks the versions of the batch, and marks the principal for those in the table.
    fn erase(&mut self, key: &(String, Uuid)) {
        for version in &mut self.principals.versions {
            if (version.row.principal_type.as_str(), version.row.id) == (key.0.as_str(), key.1) {
                blank(&mut version.row);
            }
        }
        if !self.erased.contains(key) {
            self.erased.push(key.clone());
        }
    }
}

/// Removes the personal fields.
pub(super) fn blank(principal: &mut Principal) {
    principal.external_id = None;
    principal.display_name = None;
    principal.attributes = crate::domain::JsonObject::new();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EntityType, NewEntity, NewPrincipal, Timestamp};

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-01T00:00:00Z").unwrap()
    }

    fn entity(name: &str) -> RegistryRow {
        NewEntity::new(name.parse().unwrap(), EntityType::Spv).into_record(Uuid::from_u128(1), now()).into()
    }

    fn spans<R>(versions: &[Version<R>]) -> Vec<(i64, Option<i64>)> {
        versions.iter().map(|version| (version.valid_from, version.valid_to)).collect()
    }

    #[test]
    fn several_versions_of_one_row_follow_each_other() {
        let ended = RowVersion::ended(RowKey::Entity(Uuid::from_u128(1)));
        let versions = [entity("a").into(), entity("b").into(), ended.clone(), entity("c").into()];
        let batch = Batch::of([5, 7, 8, 9].into_iter().zip(&versions)).entities;
        // The version in the table ends where the first of the batch begins.
        assert_eq!(batch.ends, [End { key: Uuid::from_u128(1), valid_to: 5 }]);
        assert_eq!(spans(&batch.versions), [(5, Some(7)), (7, Some(8)), (9, None)]);
        let created = [RowVersion::created(entity("a")), ended];
        let batch = Batch::of([5, 6].into_iter().zip(&created)).entities;
        assert_eq!((batch.ends.len(), spans(&batch.versions)), (0, vec![(5, Some(6))]));
    }

    #[test]
    fn an_erasure_blanks_the_versions_of_its_own_batch() {
        let new = NewPrincipal::new().with_id(Uuid::from_u128(2)).known_as("x".parse().unwrap());
        let before = new.into_record(Uuid::nil(), now());
        let mut after = Principal { erased_at: Some(now()), ..before.clone() };
        blank(&mut after);
        let versions = [RowVersion::created(before), RegistryRow::from(after).into()];
        let batch = Batch::of([3, 4].into_iter().zip(&versions));
        assert_eq!(batch.erased, [("user".to_owned(), Uuid::from_u128(2))]);
        assert!(batch.principals.versions.iter().all(|version| version.row.external_id.is_none()));
        assert_eq!(spans(&batch.principals.versions), [(3, Some(4)), (4, None)]);
    }
}
