//! The depth limit of the hierarchy of entities, and the results of traversing it.
//!
//! Pure. Must never assume that a traversal ends at a root: tables that were taken over or restored may contain a
//! cycle.

use std::collections::HashMap;

use uuid::Uuid;

/// The most levels of a hierarchy: every check traverses from the resource to the root. Deeper ones that exist keep
/// working.
pub const MAX_LEVELS: usize = 256;

/// The most entities that one traversal to the root reads.
pub const MAX_WALK: usize = 100_000;

/// The longest chain of ids that an error shows in full; of a longer one it shows both ends.
const MAX_NAMED_LINKS: usize = 256;

/// An entity and its ancestors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathToRoot {
    /// The ids, the entity first and the nearest ancestor next. Empty when the entity is unknown.
    pub ids: Vec<Uuid>,
    /// The end of the traversal.
    pub end: PathEnd,
}

/// The end of a traversal to the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathEnd {
    /// The last id is a root.
    Root,
    /// The parent of the last id is the one at this index: a cycle.
    Cycle(usize),
    /// The last id has ancestors that were not read.
    Cut,
}

impl PathToRoot {
    /// Orders the rows of a traversal, each an id with its parent. `cut`: whether there may be more rows.
    pub(super) fn new(start: Uuid, links: &HashMap<Uuid, Option<Uuid>>, cut: bool) -> Self {
        let mut ids = Vec::new();
        let mut indexes = HashMap::new();
        let mut next = Some(start);
        while let Some(id) = next {
            if let Some(index) = indexes.get(&id) {
                return Self { ids, end: PathEnd::Cycle(*index) };
            }
            let Some(parent) = links.get(&id) else { break };
            indexes.insert(id, ids.len());
            ids.push(id);
            next = *parent;
        }
        Self { ids, end: if cut && next.is_some() { PathEnd::Cut } else { PathEnd::Root } }
    }

    /// The levels from the entity to the root, both included; `None` when there is no root.
    #[must_use]
    pub fn levels(&self) -> Option<usize> {
        (self.end == PathEnd::Root).then_some(self.ids.len())
    }

    /// The links of the cycle that the walk ended in: the first id again at the end.
    #[must_use]
    pub fn cycle(&self) -> Option<Vec<Uuid>> {
        let PathEnd::Cycle(first) = self.end else { return None };
        let links = self.ids.get(first..)?;
        Some(links.iter().chain(links.first()).copied().collect())
    }
}

/// An error in the hierarchy of the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HierarchyState {
    /// The number of entities on a level beyond [`MAX_LEVELS`].
    pub too_deep: i64,
    /// Some of those on the first such level.
    pub examples: Vec<Uuid>,
    /// The level of the deepest entity.
    pub levels: i64,
    /// The number of entities without a root: those of cycles, and those below them.
    pub rootless: i64,
    /// Cycles, each with its first id again at the end. Not all when `rootless` is large.
    pub cycles: Vec<Vec<Uuid>>,
}

/// The cycles among these links from entities to their parents, each with its first id again at the end; ordered.
pub(super) fn cycles(links: &HashMap<Uuid, Option<Uuid>>) -> Vec<Vec<Uuid>> {
    let mut walk_of = HashMap::new();
    let mut found = Vec::new();
    for (walk, start) in links.keys().enumerate() {
        let mut next = Some(*start);
        while let Some(id) = next {
            match walk_of.get(&id) {
                // A path that was walked before, or the beginning of this cycle.
                Some(before) if *before != walk => break,
                Some(_) => {
                    found.push(cycle_at(id, links));
                    break;
                }
                None => {
                    walk_of.insert(id, walk);
                    next = links.get(&id).copied().flatten();
                }
            }
        }
    }
    found.sort_unstable();
    found
}

/// The cycle that contains `member`, from its smallest id.
fn cycle_at(member: Uuid, links: &HashMap<Uuid, Option<Uuid>>) -> Vec<Uuid> {
    let mut ids = vec![member];
    let mut next = links.get(&member).copied().flatten();
    while let Some(id) = next.filter(|id| *id != member) {
        ids.push(id);
        next = links.get(&id).copied().flatten();
    }
    if let Some(smallest) = (0..ids.len()).min_by_key(|index| ids.get(*index)) {
        ids.rotate_left(smallest);
    }
    ids.extend(ids.first().copied());
    ids
}

/// A chain of ids as text of bounded length.
#[must_use]
pub fn chain_text(chain: &[Uuid]) -> String {
    const END: usize = MAX_NAMED_LINKS / 2;
    let text = |ids: &[Uuid]| ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(" -> ");
    match (chain.get(..END), chain.len().checked_sub(END).and_then(|from| chain.get(from..))) {
        (Some(first), Some(last)) if chain.len() > MAX_NAMED_LINKS + 1 => {
            format!("{} -> ({} more) -> {}", text(first), chain.len() - 2 * END, text(last))
        }
        _ => text(chain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn links(pairs: &[(u128, u128)]) -> HashMap<Uuid, Option<Uuid>> {
        pairs.iter().map(|(child, parent)| (id(*child), (*parent != 0).then(|| id(*parent)))).collect()
    }

    #[test]
    fn a_path_ends_at_its_root_in_its_cycle_or_where_it_was_cut() {
        let tree = links(&[(1, 0), (2, 1), (3, 2)]);
        let path = PathToRoot::new(id(3), &tree, false);
        assert_eq!((path.levels(), path.ids), (Some(3), vec![id(3), id(2), id(1)]));
        let path = PathToRoot::new(id(5), &links(&[(5, 6), (6, 7), (7, 6)]), false);
        assert_eq!((path.levels(), path.cycle()), (None, Some(vec![id(6), id(7), id(6)])));
        assert_eq!(PathToRoot::new(id(1), &links(&[(1, 1)]), false).cycle(), Some(vec![id(1), id(1)]));
        assert_eq!(PathToRoot::new(id(3), &links(&[(3, 2)]), true).end, PathEnd::Cut);
        assert!(PathToRoot::new(id(9), &HashMap::new(), false).ids.is_empty());
    }

    #[test]
    fn every_cycle_is_found_once() {
        let found = cycles(&links(&[(1, 0), (2, 1), (4, 5), (5, 6), (6, 4), (7, 4), (8, 7), (9, 9)]));
        assert_eq!(found, [vec![id(4), id(5), id(6), id(4)], vec![id(9), id(9)]]);
    }

    #[test]
    fn a_chain_of_256_links_is_named_whole_and_a_longer_one_is_bounded() {
        let chain = |links: u128| (0..=links).map(id).collect::<Vec<_>>();
        assert_eq!(chain_text(&chain(256)).matches(" -> ").count(), 256);
        let long = chain_text(&chain(20_000));
        assert!(long.len() < 12_000 && long.contains(" -> (19745 more) -> "), "{long}");
    }
}
