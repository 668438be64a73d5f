//! The paths from entities to their roots, as far as they are known, and the assignments on them.
//!
//! Owns the walk up. Must never loop: in a cycle, which no write can create, every entity is above every other one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

/// What is on the path from an entity to its root, the entity included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Path {
    /// The indexes of the assignments on it, global ones included.
    pub(super) assignments: Vec<usize>,
    /// `true` if the entity that the list is limited to is on it, or the list is not limited.
    pub(super) is_within: bool,
}

/// The links from entities to their parents, and the assignments on entities.
pub(super) struct Paths {
    parents: HashMap<Uuid, Option<Uuid>>,
    /// The indexes of the assignments on each entity.
    assignments: HashMap<Uuid, Vec<usize>>,
    /// The entity that the list is limited to.
    within: Option<Uuid>,
    /// Above every root: the global assignments.
    top: Arc<Path>,
    known: HashMap<Uuid, Arc<Path>>,
}

impl Paths {
    /// Paths without links. `assignments` are the entities of assignments with their indexes, without an entity for
    /// global ones.
    pub(super) fn new(assignments: impl Iterator<Item = (Option<Uuid>, usize)>, within: Option<Uuid>) -> Self {
        let mut on: HashMap<Uuid, Vec<usize>> = HashMap::new();
        let mut global = Vec::new();
        for (entity, index) in assignments {
            match entity {
                Some(entity) => on.entry(entity).or_default().push(index),
                None => global.push(index),
            }
        }
        let top = Arc::new(Path { assignments: global, is_within: within.is_none() });
        Self { parents: HashMap::new(), assignments: on, within, top, known: HashMap::new() }
    }

    /// Adds a link. Links that are needed for a path must be added before the path is asked for.
    pub(super) fn link(&mut self, entity: Uuid, parent: Option<Uuid>) {
        self.parents.insert(entity, parent);
    }

    /// Adds an assignment on an entity whose path is not known yet.
    pub(super) fn assign(&mut self, entity: Uuid, index: usize) {
        self.assignments.entry(entity).or_default().push(index);
    }

    /// The entities on the path above `entity`, the nearest first.
    pub(super) fn ancestors(&self, entity: Uuid) -> Vec<Uuid> {
        let (mut found, mut seen, mut next) = (Vec::new(), HashSet::from([entity]), self.parent(entity));
        while let Some(id) = next.filter(|id| seen.insert(*id)) {
            found.push(id);
            next = self.parent(id);
        }
        found
    }

    /// The entity, whose parent this is, and the entities above it.
    pub(super) fn with_ancestors(&self, entity: Uuid, parent: Option<Uuid>) -> Vec<Uuid> {
        let mut all = vec![entity];
        all.extend(parent.filter(|parent| *parent != entity));
        all.extend(parent.into_iter().flat_map(|parent| self.ancestors(parent)).filter(|id| *id != entity));
        all
    }

    fn parent(&self, entity: Uuid) -> Option<Uuid> {
        self.parents.get(&entity).copied().flatten()
    }

    /// The path of `entity`, whose parent has a path. Most entities have no other one below them: their own paths need
    /// not be kept.
    pub(super) fn below(&mut self, parent: Option<Uuid>, entity: Uuid) -> Arc<Path> {
        let path = match parent {
            Some(parent) => self.of(parent),
            None => Arc::clone(&self.top),
        };
        self.extended(path, entity)
    }

    /// `path` with what is on `entity`.
    fn extended(&self, path: Arc<Path>, entity: Uuid) -> Arc<Path> {
        let own = self.assignments.get(&entity);
        if own.is_none() && self.within != Some(entity) {
            return path;
        }
        let mut longer = (*path).clone();
        for index in own.into_iter().flatten() {
            // In a cycle, the entity is above itself.
            if !longer.assignments.contains(index) {
                longer.assignments.push(*index);
            }
        }
        longer.is_within |= self.within == Some(entity);
        Arc::new(longer)
    }

    /// The path of `entity`. Entities without an assignment share the path of their parent.
    pub(super) fn of(&mut self, entity: Uuid) -> Arc<Path> {
        let mut unknown = Vec::new();
        let (mut next, mut path) = (Some(entity), Arc::clone(&self.top));
        while let Some(id) = next {
            if let Some(known) = self.known.get(&id) {
                path = Arc::clone(known);
                break;
            }
            // Paths of this length are found only in a hierarchy that is too deep or has a cycle.
            if unknown.len() >= 64 && unknown.contains(&id) {
                return self.of_cycle(entity);
            }
            unknown.push(id);
            next = self.parent(id);
        }
        while let Some(id) = unknown.pop() {
            path = self.extended(path, id);
            self.known.insert(id, Arc::clone(&path));
        }
        path
    }

    /// The path of an entity of a cycle or below one, which others cannot share.
    fn of_cycle(&self, entity: Uuid) -> Arc<Path> {
        let mut path = (*self.top).clone();
        for id in std::iter::once(entity).chain(self.ancestors(entity)) {
            path.assignments.extend(self.assignments.get(&id).into_iter().flatten());
            path.is_within |= self.within == Some(id);
        }
        Arc::new(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn sorted(path: &Path) -> Vec<usize> {
        let mut all = path.assignments.clone();
        all.sort_unstable();
        all
    }

    #[test]
    fn a_path_has_the_assignments_on_it_and_the_global_ones() {
        let on = [(None, 0), (Some(id(1)), 1), (Some(id(2)), 2), (Some(id(9)), 3)];
        let mut paths = Paths::new(on.into_iter(), Some(id(2)));
        for (child, parent) in [(1, None), (2, Some(1)), (3, Some(2)), (4, Some(1))] {
            paths.link(id(child), parent.map(id));
        }
        let found = |paths: &mut Paths, n| (sorted(&paths.of(id(n))), paths.of(id(n)).is_within);
        assert_eq!(found(&mut paths, 3), (vec![0, 1, 2], true));
        assert_eq!(found(&mut paths, 4), (vec![0, 1], false));
        assert_eq!(found(&mut paths, 2), (vec![0, 1, 2], true));
        assert_eq!(found(&mut paths, 7), (vec![0], false));
        assert_eq!(paths.ancestors(id(3)), [id(2), id(1)]);
        assert!(Arc::ptr_eq(&paths.of(id(3)), &paths.of(id(2))), "shared");
        assert_eq!(sorted(&paths.below(Some(id(3)), id(9))), [0, 1, 2, 3]);
        assert_eq!(sorted(&paths.below(None, id(8))), [0]);
    }

    #[test]
    fn in_a_cycle_every_entity_is_above_every_other_one() {
        let length = 100;
        let mut paths = Paths::new([(Some(id(5)), 0), (Some(id(77)), 1)].into_iter(), Some(id(30)));
        for n in 0..length {
            paths.link(id(n), Some(id((n + 1) % length)));
        }
        paths.link(id(500), Some(id(0)));
        for n in (0..length).chain([500]) {
            assert_eq!((sorted(&paths.of(id(n))), paths.of(id(n)).is_within), (vec![0, 1], true), "{n}");
            let below = paths.below(Some(id((n + 1) % length)), id(n));
            assert_eq!((sorted(&below), below.is_within), (vec![0, 1], true), "{n}");
        }
        assert_eq!(paths.ancestors(id(0)).len(), 99);
    }
}
