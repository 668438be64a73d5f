//! The roles of a snapshot. Assignments hold the number of their role, which takes a quarter of its id.

use std::sync::Arc;

use hashbrown::HashMap;
use uuid::Uuid;

use crate::decision::ConditionFacts;
use crate::domain::EntityType;

/// A role.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) scope_types: Arc<[EntityType]>,
    /// Its actions with their conditions.
    pub(super) actions: HashMap<Arc<str>, Option<ConditionFacts>>,
}

/// The number of a role in every snapshot that follows from one read of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoleNumber(u32);

/// The roles. A number is never given to another role, also after its role is gone.
#[derive(Debug, Clone, Default)]
pub(super) struct Roles {
    numbers: HashMap<Uuid, RoleNumber>,
    rows: Vec<(Uuid, Option<Arc<Role>>)>,
}

impl Roles {
    /// The number of a role that has one.
    pub(super) fn find(&self, id: Uuid) -> Option<RoleNumber> {
        self.numbers.get(&id).copied()
    }

    /// The number of a role, which need not be here yet; `None` when there are too many.
    pub(super) fn number(&mut self, id: Uuid) -> Option<RoleNumber> {
        if let Some(known) = self.find(id) {
            return Some(known);
        }
        let number = RoleNumber(u32::try_from(self.rows.len()).ok()?);
        self.rows.push((id, None));
        self.numbers.insert(id, number);
        Some(number)
    }

    /// The id of a role that has a number, and the role if it is here.
    pub(super) fn get(&self, number: RoleNumber) -> Option<(Uuid, Option<&Role>)> {
        let (id, role) = self.rows.get(usize::try_from(number.0).ok()?)?;
        Some((*id, role.as_deref()))
    }

    /// The role with this id.
    pub(super) fn role(&self, id: Uuid) -> Option<&Role> {
        self.get(self.find(id)?)?.1
    }

    /// Sets or removes the role with this number; returns the one that it had.
    pub(super) fn set(&mut self, number: RoleNumber, role: Option<Role>) -> Option<Arc<Role>> {
        let (_, row) = self.rows.get_mut(usize::try_from(number.0).ok()?)?;
        std::mem::replace(row, role.map(Arc::new))
    }

    /// The ids of the roles.
    pub(super) fn ids(&self) -> impl Iterator<Item = Uuid> {
        self.rows.iter().filter(|(_, role)| role.is_some()).map(|(id, _)| *id)
    }
}
