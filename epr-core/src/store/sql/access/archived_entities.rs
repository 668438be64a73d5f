//! The archived entities, when they are few: read once for all subtrees of a page.

use std::collections::HashMap;

use uuid::Uuid;

use super::super::dialect::Conn;
use super::super::sources::AsOf;
use super::paths::Paths;
use super::region::{ArchivedFilter, Region, RegionEntity};
use crate::store::{ResourceSearch, ResourcesQuery, Result};

/// The most archived entities that are read for a page.
const MAX_ARCHIVED: usize = 1000;

/// The archived entities that a list leaves out.
pub(super) struct ArchivedEntities {
    all: Vec<RegionEntity>,
    /// The indexes of those in the subtree of each entity.
    below: HashMap<Uuid, Vec<usize>>,
    /// `true` if there are more.
    are_many: bool,
}

impl ArchivedEntities {
    /// Reads the archived entities, if the list leaves them out.
    pub(super) async fn read(conn: &mut Conn, query: &ResourcesQuery<'_>, when: AsOf) -> Result<Self> {
        let mut archived = Self { all: Vec::new(), below: HashMap::new(), are_many: false };
        if query.includes_archived {
            return Ok(archived);
        }
        let max = MAX_ARCHIVED.min(query.max_expanded);
        let mut region = Region {
            when,
            roots: None,
            archived: ArchivedFilter::Only,
            entity_type: None,
            search: ResourceSearch::Scan,
            max_expanded: 0,
            after: Uuid::nil(),
            size: max.saturating_add(1),
            left: usize::MAX,
            expanded: 0,
        };
        let mut paths = Paths::new(std::iter::empty(), None);
        let batch = region.next(conn, &mut paths).await?;
        archived.are_many = !batch.is_last;
        for (index, one) in batch.entities.iter().enumerate() {
            for id in paths.with_ancestors(one.id, one.parent_id) {
                archived.below.entry(id).or_default().push(index);
            }
        }
        archived.all = batch.entities;
        Ok(archived)
    }

    /// Those in the subtree of `root`, of all entities if it is `None`; `None` when they are too many.
    pub(super) fn below(&self, root: Option<Uuid>) -> Option<impl Iterator<Item = &RegionEntity>> {
        if self.are_many {
            return None;
        }
        let indexes = root.map(|root| self.below.get(&root).map(Vec::as_slice).unwrap_or_default());
        let chosen = indexes.into_iter().flatten().filter_map(|index| self.all.get(*index));
        Some(chosen.chain(self.all.iter().filter(move |_| root.is_none())))
    }
}
