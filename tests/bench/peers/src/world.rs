//! The world, as `bench` writes it.

use std::collections::HashMap;

use serde::Deserialize;
use uuid::Uuid;

/// The entity above all roots: an assignment on it counts everywhere.
pub(crate) const EVERYTHING: &str = "everything";

/// Entities, roles and assignments. They name each other by their positions.
#[derive(Deserialize)]
pub(crate) struct World {
    /// Every action.
    pub(crate) actions: Vec<String>,
    /// The actions of each role.
    pub(crate) roles: Vec<Vec<usize>>,
    pub(crate) entities: Vec<Entity>,
    pub(crate) assignments: Vec<Assignment>,
}

#[derive(Deserialize)]
pub(crate) struct Entity {
    pub(crate) id: Uuid,
    pub(crate) parent: Option<usize>,
}

#[derive(Deserialize)]
pub(crate) struct Assignment {
    pub(crate) principal: Uuid,
    pub(crate) role: usize,
    /// Everywhere if there is none.
    pub(crate) entity: Option<usize>,
}

impl World {
    pub(crate) fn read(path: &str) -> Self {
        let text = std::fs::read(path).expect("the file of a world");
        serde_json::from_slice(&text).expect("a world")
    }

    /// The id of an entity, or of the one above all.
    pub(crate) fn entity(&self, at: Option<usize>) -> String {
        at.map_or_else(|| EVERYTHING.to_owned(), |at| self.entities[at].id.to_string())
    }

    /// The assignments of each principal that has one.
    pub(crate) fn by_principal(&self) -> HashMap<Uuid, Vec<&Assignment>> {
        let mut all: HashMap<_, Vec<_>> = HashMap::new();
        for assignment in &self.assignments {
            all.entry(assignment.principal).or_default().push(assignment);
        }
        all
    }
}
