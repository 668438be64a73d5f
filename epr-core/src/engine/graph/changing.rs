//! How rows become a [`Snapshot`], and changed rows the next one.
//!
//! Must never leave a change out: what cannot be kept is an error, after which there is no snapshot.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::roles::{Role, RoleNumber};
use super::snapshot::{Assignment, Described, Entity, Principal, PrincipalKey, Snapshot};
use crate::decision::{ConditionFacts, ConditionOwner};
use crate::store::{
    GraphAssignment, GraphChanges, GraphEntity, GraphKey, GraphPosition, GraphPrincipal, GraphPrincipalKey, GraphRole,
    GraphRow,
};

/// The memory of a compiled condition for each byte of its text.
const CONDITION_BYTES_PER_BYTE: usize = 32;

/// The registry holds what a copy in memory cannot represent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotKept {
    /// Rows hold a small number in place of a type.
    #[error("the registry has more than 1000 types of entities or of principals")]
    TooManyTypes,
    /// Assignments hold a small number in place of a role.
    #[error("the registry has more than 4294967296 roles")]
    TooManyRoles,
    /// The nil UUID stands for global assignments.
    #[error("an entity has the nil UUID as its id")]
    NilEntity,
}

/// A snapshot that is being read, row by row.
pub(super) struct Building {
    snapshot: Snapshot,
    /// The assignments of the principal whose rows arrive.
    run: Option<(PrincipalKey, Vec<Assignment>)>,
}

impl Building {
    /// A snapshot without rows.
    pub(super) fn begin() -> Self {
        Self { snapshot: Snapshot::default(), run: None }
    }

    /// Adds a row. The assignments of a principal follow one another.
    pub(super) fn add(&mut self, row: GraphRow) -> Result<(), NotKept> {
        match row {
            GraphRow::Entity(row) => self.snapshot.put_entity(&row),
            GraphRow::Principal(row) => self.snapshot.put_principal(&row),
            GraphRow::Role(row) => self.snapshot.put_role(row),
            GraphRow::Assignment(row) => {
                let key = self.snapshot.principal_key(&row.principal)?;
                let assignment = self.snapshot.assignment(row)?;
                match &mut self.run {
                    Some((of, run)) if *of == key => run.push(assignment),
                    _ => {
                        self.end_run();
                        self.run = Some((key, vec![assignment]));
                    }
                }
                Ok(())
            }
        }
    }

    /// The memory so far, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.snapshot.bytes()
    }

    fn end_run(&mut self) {
        if let Some((key, run)) = self.run.take() {
            // A principal whose rows did not follow one another keeps the earlier ones.
            let earlier = self.snapshot.principals.get(&key).map(|principal| Arc::clone(&principal.assignments));
            let run = earlier.unwrap_or_default().iter().cloned().chain(run).collect();
            self.snapshot.set_assignments(key, run);
        }
    }

    /// The snapshot of every row, at `position`.
    pub(super) fn end(mut self, position: GraphPosition) -> Snapshot {
        self.end_run();
        self.snapshot.entities.compact();
        self.snapshot.principals.compact();
        self.snapshot.position = Some(position);
        self.snapshot
    }
}

impl Snapshot {
    /// The snapshot after `changes`. This one stays as it is.
    pub(super) fn after(&self, changes: GraphChanges) -> Result<Self, NotKept> {
        let mut next = self.clone();
        let mut of_principals: BTreeMap<PrincipalKey, HashMap<Uuid, Option<Assignment>>> = BTreeMap::new();
        for change in changes.changes {
            match (change.key, change.row) {
                (GraphKey::Assignment(principal, id), row) => {
                    let key = next.principal_key(&principal)?;
                    let row = match row {
                        Some(GraphRow::Assignment(row)) if row.principal == principal => Some(next.assignment(row)?),
                        // It is gone, or has become the assignment of another principal, which has a key of its own.
                        _ => None,
                    };
                    of_principals.entry(key).or_default().insert(id, row);
                }
                (_, Some(GraphRow::Entity(row))) => next.put_entity(&row)?,
                (_, Some(GraphRow::Role(row))) => next.put_role(row)?,
                (_, Some(GraphRow::Principal(row))) => next.put_principal(&row)?,
                (_, Some(GraphRow::Assignment(_))) => {}
                (GraphKey::Entity(id), None) => next.remove_entity(id),
                (GraphKey::Role(id), None) => next.remove_role(id),
                (GraphKey::Principal(key), None) => next.remove_principal(&key)?,
            }
        }
        for (key, mut changed) in of_principals {
            let former = next.principals.get(&key).map(|principal| Arc::clone(&principal.assignments));
            let mut assignments: Vec<_> =
                former.unwrap_or_default().iter().filter(|one| !changed.contains_key(&one.id)).cloned().collect();
            assignments.extend(changed.drain().filter_map(|(_, assignment)| assignment));
            next.set_assignments(key, assignments);
        }
        next.position = Some(changes.position);
        Ok(next)
    }

    /// The key of a principal, whose type is noted.
    fn principal_key(&mut self, key: &GraphPrincipalKey) -> Result<PrincipalKey, NotKept> {
        let principal_type = self.principal_types.index(&key.principal_type).ok_or(NotKept::TooManyTypes)?;
        Ok(PrincipalKey { id: key.id, principal_type })
    }

    fn assignment(&mut self, row: GraphAssignment) -> Result<Assignment, NotKept> {
        Ok(Assignment {
            entity_id: row.entity_id.unwrap_or_default(),
            id: row.id,
            role: self.role_number(row.role_id)?,
            effective_at: row.effective_at,
            expires_at: row.expires_at,
            condition: row.condition.map(|stored| self.condition(&stored)),
        })
    }

    /// The number of a role, which is noted.
    fn role_number(&mut self, id: Uuid) -> Result<RoleNumber, NotKept> {
        // The roles are copied only when there is a new one.
        let known = self.roles.find(id);
        known.or_else(|| Arc::make_mut(&mut self.roles).number(id)).ok_or(NotKept::TooManyRoles)
    }

    /// The compiled condition of an assignment. Many assignments have the same one, which is kept once.
    fn condition(&mut self, stored: &str) -> Arc<ConditionFacts> {
        let key: Arc<str> = stored.into();
        if let Some(known) = self.conditions.get(&key) {
            return Arc::clone(known);
        }
        let compiled = Arc::new(ConditionFacts::of(ConditionOwner::Assignment, stored));
        self.heap += (1 + CONDITION_BYTES_PER_BYTE) * stored.len();
        self.conditions.insert(key, Arc::clone(&compiled));
        compiled
    }

    fn put_entity(&mut self, row: &GraphEntity) -> Result<(), NotKept> {
        if row.id.is_nil() {
            return Err(NotKept::NilEntity);
        }
        let kind = self.entity_types.index(&row.entity_type).ok_or(NotKept::TooManyTypes)?;
        let described = Described::new(&row.described);
        self.heap += described_bytes(described.as_ref());
        let former = self.entities.insert(row.id, Entity { parent_id: row.parent_id, described, kind });
        self.forget(former.and_then(|entity| entity.described).as_ref());
        Ok(())
    }

    fn remove_entity(&mut self, id: Uuid) {
        let former = self.entities.remove(&id);
        self.forget(former.and_then(|entity| entity.described).as_ref());
    }

    fn put_role(&mut self, row: GraphRole) -> Result<(), NotKept> {
        let number = self.role_number(row.id)?;
        let actions = row.actions.into_iter().map(|(action, condition)| {
            (action.into(), condition.map(|stored| ConditionFacts::of(ConditionOwner::Role, &stored)))
        });
        self.set_role(number, Some(Role { scope_types: row.scope_types.into(), actions: actions.collect() }));
        Ok(())
    }

    fn remove_role(&mut self, id: Uuid) {
        if let Some(number) = self.roles.find(id) {
            self.set_role(number, None);
        }
    }

    fn set_role(&mut self, number: RoleNumber, role: Option<Role>) {
        self.heap += role.as_ref().map_or(0, role_bytes);
        let former = Arc::make_mut(&mut self.roles).set(number, role);
        self.heap = self.heap.saturating_sub(former.map_or(0, |role| role_bytes(&role)));
    }

    fn put_principal(&mut self, row: &GraphPrincipal) -> Result<(), NotKept> {
        let key = self.principal_key(&row.key)?;
        let described = Described::new(&row.described);
        self.change_principal(key, |principal| {
            principal.is_registered = true;
            principal.is_suspended = row.is_suspended;
            principal.described = described;
        });
        Ok(())
    }

    fn remove_principal(&mut self, key: &GraphPrincipalKey) -> Result<(), NotKept> {
        let key = self.principal_key(key)?;
        self.change_principal(key, |principal| {
            *principal = Principal { assignments: Arc::clone(&principal.assignments), ..Principal::default() };
        });
        Ok(())
    }

    fn set_assignments(&mut self, key: PrincipalKey, mut assignments: Vec<Assignment>) {
        assignments.sort_unstable_by_key(|one| (one.entity_id, one.id));
        self.change_principal(key, |principal| principal.assignments = assignments.into());
    }

    /// Changes a principal, which is forgotten when nothing is left of it.
    fn change_principal(&mut self, key: PrincipalKey, change: impl FnOnce(&mut Principal)) {
        let former = self.principals.get(&key).cloned();
        self.heap = self.heap.saturating_sub(former.as_ref().map_or(0, principal_bytes));
        let mut principal = former.unwrap_or_default();
        change(&mut principal);
        if principal.is_registered || !principal.assignments.is_empty() {
            self.heap += principal_bytes(&principal);
            self.principals.insert(key, principal);
        } else {
            self.principals.remove(&key);
        }
    }

    fn forget(&mut self, described: Option<&Described>) {
        self.heap = self.heap.saturating_sub(described_bytes(described));
    }
}

fn described_bytes(described: Option<&Described>) -> usize {
    described.map_or(0, Described::bytes)
}

fn principal_bytes(principal: &Principal) -> usize {
    2 * size_of::<usize>() + size_of_val(&*principal.assignments) + described_bytes(principal.described.as_ref())
}

fn role_bytes(role: &Role) -> usize {
    let actions = role.actions.iter().map(|(action, condition)| {
        128 + action.len() + condition.as_ref().map_or(0, |one| CONDITION_BYTES_PER_BYTE * one.stored.len())
    });
    size_of_val(role) + actions.sum::<usize>()
}
