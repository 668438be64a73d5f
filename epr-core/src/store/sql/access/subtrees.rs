//! The subtrees of a list of resources: one for each assignment, in the order of their creation, with the entities that
//! it does not cover.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::super::dialect::{Conn, access_batch};
use super::super::facts::Accepted;
use super::super::history::PageState;
use super::super::sources::AsOf;
use super::archived_entities::ArchivedEntities;
use super::described::{Described, describe};
use super::page_time::PageTime;
use super::paths::Paths;
use super::principal_assignments::{DatedAssignment, PrincipalAssignments};
use super::region::{ArchivedFilter, Region, RegionEntity, listed};
use super::resource::principal_facts;
use super::resources::reads_attributes;
use crate::decision::{AssignmentFacts, ConditionFacts, Facts, PrincipalFacts, is_in_scope};
use crate::domain::{EntityType, Timestamp};
use crate::ledger::chain::Head;
use crate::store::{
    AccessEnd, AccessNames, ResourceSearch, ResourcesQuery, Result, StoreError, Subtree, SubtreeEntity,
    SubtreePosition, SubtreeRoot, SubtreeStep, SubtreeVariant, SubtreeVisitor,
};

/// The fewest and the most assignments that are read at a time.
const MIN_ASSIGNMENTS: usize = 16;
const MAX_ASSIGNMENTS: usize = 1024;
/// The number of entities of a subtree that are read first.
const FIRST_ENTITIES: usize = 256;
/// The most entities that are described at a time.
const MAX_DESCRIBED: usize = 64;

/// The start of a list: before every assignment.
fn earliest() -> Result<(Timestamp, Uuid)> {
    const YEAR_ONE_MICROS: i64 = -62_135_596_800_000_000;
    let first = Timestamp::from_unix_micros(YEAR_ONE_MICROS);
    Ok((first.map_err(|error| StoreError::corrupt("timestamp", error))?, Uuid::nil()))
}

/// Visits the subtrees of `query` after a position; `None` when the entity that it is limited to is unknown. `conn`
/// must be in a transaction that sees one snapshot.
pub(in super::super) async fn visit(
    conn: &mut Conn,
    query: &ResourcesQuery<'_>,
    after: Option<SubtreePosition>,
    known: Option<&Head>,
    visitor: &mut dyn SubtreeVisitor,
) -> Result<(Option<AccessEnd<SubtreePosition>>, Accepted)> {
    let (state, accepted) = PageState::of(&mut *conn, known, query.moment).await?;
    let query = &ResourcesQuery { at: state.at.unwrap_or(query.at), ..*query };
    let asked = [(query.principal_id, query.principal_type.to_owned())];
    let registered = access_batch::registrations(&mut *conn, &asked, true, state.when).await?;
    let principal = principal_facts(registered.values().next());
    let mut within = Paths::new(std::iter::empty(), query.within);
    if let Some(limit) = query.within
        && listed(&mut *conn, &[limit], &mut within, state.when).await?.is_empty()
    {
        return Ok((None, accepted));
    }
    if !visitor.begin(state.revision, state.at) {
        return Ok((Some(AccessEnd::Stopped), accepted));
    }
    let held = PrincipalAssignments::none(&mut *conn, query, state.when).await?;
    if principal.is_suspended || held.has_no_role() {
        return Ok((Some(AccessEnd::Complete), accepted));
    }
    let above = query.within.map(|limit| within.ancestors(limit)).unwrap_or_default();
    let names = AccessNames { roles: held.role_names(), ..AccessNames::default() };
    let mut subtrees = Subtrees {
        query,
        when: state.when,
        principal,
        archived: ArchivedEntities::read(&mut *conn, query, state.when).await?,
        within,
        above,
        names: Arc::new(names),
        left: query.max_candidates.max(1),
        time: PageTime::of(query.max_page_time),
        has_advanced: false,
        last: after,
    };
    let end = subtrees.visit(conn, held, visitor).await?;
    Ok((Some(end), accepted))
}

struct Subtrees<'a> {
    query: &'a ResourcesQuery<'a>,
    when: AsOf,
    principal: PrincipalFacts,
    /// The archived entities, if they are few.
    archived: ArchivedEntities,
    /// The paths of the entities of assignments, as far as the list is limited to an entity.
    within: Paths,
    /// The entities above the one that the list is limited to.
    above: Vec<Uuid>,
    names: Arc<AccessNames>,
    /// The number of assignments and entities that may still be looked at.
    left: usize,
    time: PageTime,
    /// `true` if the position is behind the one at which the page began: without that, its end would be no progress.
    has_advanced: bool,
    /// The position that was reached.
    last: Option<SubtreePosition>,
}

/// What an assignment reaches.
enum Extent {
    Nothing,
    Everything,
    Below(SubtreeRoot),
}

/// How the visit of a subtree ended.
enum Visited {
    Finished,
    Stopped,
    /// After this entity, because enough was looked at.
    Bounded(Uuid),
}

impl Subtrees<'_> {
    /// Returns `true` if enough was looked at for one page.
    fn is_spent(&self) -> bool {
        self.left == 0 || self.has_advanced && self.time.is_over()
    }

    async fn visit(
        &mut self,
        conn: &mut Conn,
        mut held: PrincipalAssignments<'_>,
        visitor: &mut dyn SubtreeVisitor,
    ) -> Result<AccessEnd<SubtreePosition>> {
        let resumed = self.last;
        let mut from = match resumed {
            Some(position) => (position.created_at, position.assignment_id),
            None => earliest()?,
        };
        // One more than the visitor takes shows whether the list goes on.
        let mut number = visitor.expected().saturating_add(1).clamp(MIN_ASSIGNMENTS, MAX_ASSIGNMENTS);
        loop {
            let (looked_at, last) = held.read_in_order(&mut *conn, from, number).await?;
            let described = self.describe(&mut *conn, &held).await?;
            for dated in &held.all {
                let key = (dated.created_at, dated.facts.assignment_id);
                let begins = match resumed.filter(|position| (position.created_at, position.assignment_id) == key) {
                    Some(position) if from == key => Some(position),
                    // It ended the batch before.
                    _ if from == key && self.last.is_some() => continue,
                    _ => None,
                };
                if let Some(end) = self.visit_assignment(&mut *conn, dated, begins, &described, visitor).await? {
                    return Ok(end);
                }
            }
            let Some(last) = last.filter(|_| looked_at >= number) else { return Ok(AccessEnd::Complete) };
            self.left = self.left.saturating_sub(looked_at);
            let position = SubtreePosition {
                created_at: last.0,
                assignment_id: last.1,
                variant: SubtreeVariant::Conditional,
                entity_id: None,
            };
            self.last = Some(position);
            self.has_advanced = true;
            if self.is_spent() {
                return Ok(AccessEnd::Bounded(position));
            }
            from = last;
            number = number.saturating_mul(2).min(MAX_ASSIGNMENTS);
        }
    }

    /// Describes the entities of these assignments and the one that the list is limited to, and adds their names and
    /// paths.
    async fn describe(&mut self, conn: &mut Conn, held: &PrincipalAssignments<'_>) -> Result<HashMap<Uuid, Described>> {
        let mut entities: Vec<Uuid> = held.all.iter().filter_map(|dated| dated.facts.entity_id).collect();
        if self.query.within.is_some() {
            listed(&mut *conn, &entities, &mut self.within, self.when).await?;
        }
        entities.extend(self.query.within);
        entities.sort_unstable();
        entities.dedup();
        let described = describe(conn, &entities, false, self.when).await?;
        let named = described.iter().map(|(id, entity)| (*id, entity.named(*id)));
        Arc::make_mut(&mut self.names).entities = named.collect();
        Ok(described)
    }

    /// Visits the variants of one subtree; `Some` when the visit ends.
    async fn visit_assignment(
        &mut self,
        conn: &mut Conn,
        dated: &DatedAssignment,
        resumed: Option<SubtreePosition>,
        described: &HashMap<Uuid, Described>,
        visitor: &mut dyn SubtreeVisitor,
    ) -> Result<Option<AccessEnd<SubtreePosition>>> {
        if !dated.has_started(self.query.at) {
            return Ok(None);
        }
        let Some(types) = self.types(&dated.facts) else { return Ok(None) };
        let root = match self.extent(&dated.facts, described) {
            Extent::Nothing => return Ok(None),
            Extent::Everything => None,
            Extent::Below(root) => Some(root),
        };
        let mut variants = vec![SubtreeVariant::Allowed];
        if self.query.includes_conditional && dated.facts.conditions.iter().any(ConditionFacts::reads_resource) {
            variants.push(SubtreeVariant::Conditional);
        }
        for variant in variants {
            let after = match resumed {
                Some(position) if variant < position.variant => continue,
                Some(position) if variant == position.variant => match position.entity_id {
                    Some(entity) => Some(entity),
                    None => continue,
                },
                _ => None,
            };
            if self.is_spent()
                && let Some(last) = self.last
            {
                return Ok(Some(AccessEnd::Bounded(last)));
            }
            let subtree = Subtree {
                assignment: dated.facts.clone(),
                created_at: dated.created_at,
                variant,
                principal: self.principal.clone(),
                root: root.clone(),
                types: types.clone(),
                after,
                names: Arc::clone(&self.names),
            };
            let visited = match visitor.subtree(subtree) {
                SubtreeStep::Stop => return Ok(Some(AccessEnd::Stopped)),
                SubtreeStep::Skip => Visited::Finished,
                step => {
                    let region = TypedRegion { assignment: &dated.facts, root: root.as_ref(), types: &types, after };
                    self.visit_entities(&mut *conn, &region, step == SubtreeStep::Each, visitor).await?
                }
            };
            let mut position = SubtreePosition {
                created_at: dated.created_at,
                assignment_id: dated.facts.assignment_id,
                variant,
                entity_id: None,
            };
            match visited {
                Visited::Finished => {
                    self.last = Some(position);
                    self.has_advanced = true;
                }
                Visited::Stopped => return Ok(Some(AccessEnd::Stopped)),
                Visited::Bounded(entity) => {
                    position.entity_id = Some(entity);
                    return Ok(Some(AccessEnd::Bounded(position)));
                }
            }
        }
        Ok(None)
    }

    /// The types of the entities of an assignment's subtree, every type when empty; `None` when the list wants none of
    /// them.
    fn types(&self, assignment: &AssignmentFacts) -> Option<Vec<EntityType>> {
        match self.query.resource_type {
            None => Some(assignment.scope_types.to_vec()),
            Some(wanted) => is_in_scope(&assignment.scope_types, wanted).then(|| vec![wanted.clone()]),
        }
    }

    /// What an assignment reaches of the entities that the list wants.
    fn extent(&mut self, assignment: &AssignmentFacts, described: &HashMap<Uuid, Described>) -> Extent {
        let (id, is_excluded) = match (assignment.entity_id, self.query.within) {
            (None, None) => return Extent::Everything,
            (None, Some(within)) => (within, true),
            (Some(entity), Some(within)) if entity == within || self.above.contains(&entity) => (within, true),
            (Some(entity), Some(_)) if !self.within.of(entity).is_within => return Extent::Nothing,
            (Some(entity), _) => (entity, false),
        };
        match described.get(&id) {
            None => Extent::Nothing,
            Some(entity) => Extent::Below(SubtreeRoot {
                id,
                entity_type: entity.entity_type.clone(),
                name: entity.name.clone(),
                external_id: entity.external_id.clone(),
                is_excluded,
            }),
        }
    }

    /// Visits the entities of a subtree: each, or those that are left out only.
    async fn visit_entities(
        &mut self,
        conn: &mut Conn,
        region: &TypedRegion<'_>,
        visits_each: bool,
        visitor: &mut dyn SubtreeVisitor,
    ) -> Result<Visited> {
        if !visits_each {
            let excluded = region.excluded_root();
            if let Some(known) = self.archived.below(region.root.map(|root| root.id)) {
                let mut entities: Vec<_> =
                    known.filter(|one| region.has(one)).map(|one| one.id).chain(excluded).collect();
                entities.sort_unstable();
                entities.dedup();
                let mut after = entities.into_iter().filter(|id| region.after.is_none_or(|after| after < *id));
                let stopped = after.any(|id| !visitor.entity(SubtreeEntity { id, is_left_out: true, facts: None }));
                return Ok(if stopped { Visited::Stopped } else { Visited::Finished });
            }
        }
        let mut read = Region {
            when: self.when,
            roots: region.root.map(|root| vec![root.id]),
            archived: if visits_each { ArchivedFilter::Included } else { ArchivedFilter::Only },
            entity_type: match region.types {
                [only] => Some(only.clone()),
                _ => None,
            },
            search: ResourceSearch::Expand,
            max_expanded: self.query.max_expanded,
            after: region.after.unwrap_or_default(),
            size: FIRST_ENTITIES,
            left: self.left,
            expanded: 0,
        };
        let mut paths = Paths::new([(region.root.map(|root| root.id), 0)].into_iter(), None);
        // The excluded root need not be archived.
        let mut excluded = region.root.filter(|root| !visits_each && region.excluded_root() == Some(root.id));
        loop {
            let batch = read.next(&mut *conn, &mut paths).await?;
            // Few of many expanded entities may be archived: all of them are work.
            read.left = read.left.saturating_sub(read.expanded.saturating_sub(batch.entities.len()));
            self.left = read.left;
            let mut entities = batch.entities;
            entities.retain(|one| region.has(one) && !paths.below(one.parent_id, one.id).assignments.is_empty());
            if let Some(root) = excluded.take_if(|root| batch.is_last || root.id <= read.after)
                && region.after.is_none_or(|after| after < root.id)
                && !entities.iter().any(|one| one.id == root.id)
            {
                let entity_type = root.entity_type.clone();
                entities.push(RegionEntity { id: root.id, parent_id: None, entity_type, is_archived: false });
                entities.sort_unstable_by_key(|one| one.id);
            }
            if !self.visit_batch(&mut *conn, region, (entities, visits_each), visitor).await? {
                return Ok(Visited::Stopped);
            }
            if batch.is_last {
                return Ok(Visited::Finished);
            }
            self.has_advanced = true;
            if self.is_spent() {
                return Ok(Visited::Bounded(read.after));
            }
        }
    }

    /// Returns `false` when the visitor stops.
    async fn visit_batch(
        &self,
        conn: &mut Conn,
        region: &TypedRegion<'_>,
        (entities, visits_each): (Vec<RegionEntity>, bool),
        visitor: &mut dyn SubtreeVisitor,
    ) -> Result<bool> {
        let is_left_out = |one: &RegionEntity| {
            one.is_archived && !self.query.includes_archived || region.excluded_root() == Some(one.id)
        };
        for group in entities.chunks(MAX_DESCRIBED) {
            let wanted: Vec<Uuid> =
                group.iter().filter(|one| visits_each && !is_left_out(one)).map(|one| one.id).collect();
            let described = describe(&mut *conn, &wanted, reads_attributes(region.assignment), self.when).await?;
            for one in group {
                let is_left_out = is_left_out(one);
                if !is_left_out && !visits_each {
                    continue;
                }
                let facts = described.get(&one.id).map(|entity| Facts {
                    principal: self.principal.clone(),
                    resource: entity.facts(true),
                    assigned_entities: std::iter::once(one.id).chain(region.assignment.entity_id).collect(),
                    assignments: vec![region.assignment.clone()],
                });
                if !visitor.entity(SubtreeEntity { id: one.id, is_left_out, facts }) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// The entities of a subtree.
struct TypedRegion<'a> {
    assignment: &'a AssignmentFacts,
    root: Option<&'a SubtreeRoot>,
    types: &'a [EntityType],
    after: Option<Uuid>,
}

impl TypedRegion<'_> {
    fn has(&self, entity: &RegionEntity) -> bool {
        is_in_scope(self.types, &entity.entity_type)
    }

    /// The root, if it is left out and its type is one of the subtree's.
    fn excluded_root(&self) -> Option<Uuid> {
        let root = self.root.filter(|root| root.is_excluded && is_in_scope(self.types, &root.entity_type));
        root.map(|root| root.id)
    }
}
