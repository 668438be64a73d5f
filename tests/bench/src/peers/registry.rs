//! The world in the form that the peers read: `bench-peers` as a file, Cerbos as policies and requests.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use uuid::Uuid;

/// Entities, roles and assignments. They name each other by their positions.
#[derive(Serialize)]
pub(crate) struct Registry {
    /// Every action.
    pub(crate) actions: Vec<String>,
    /// The actions of each role.
    pub(crate) roles: Vec<BTreeSet<usize>>,
    pub(crate) entities: Vec<Entity>,
    pub(crate) assignments: Vec<Assignment>,
}

#[derive(Serialize)]
pub(crate) struct Entity {
    pub(crate) id: Uuid,
    pub(crate) parent: Option<usize>,
}

#[derive(Serialize)]
pub(crate) struct Assignment {
    pub(crate) principal: Uuid,
    pub(crate) role: usize,
    /// Everywhere if there is none.
    pub(crate) entity: Option<usize>,
}

impl Registry {
    /// The assignments of each principal that has one.
    pub(crate) fn by_principal(&self) -> HashMap<Uuid, Vec<&Assignment>> {
        let mut all: HashMap<_, Vec<_>> = HashMap::new();
        for assignment in &self.assignments {
            all.entry(assignment.principal).or_default().push(assignment);
        }
        all
    }
}
