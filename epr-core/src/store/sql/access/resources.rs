//! The candidates of a list of resources: the entities that a principal's assignments reach, in the order of their ids.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use super::super::dialect::{Conn, access_batch};
use super::super::facts::Accepted;
use super::super::history::PageState;
use super::super::sources::AsOf;
use super::described::{Described, describe};
use super::page_time::PageTime;
use super::paths::{Path, Paths};
use super::principal_assignments::PrincipalAssignments;
use super::region::{ArchivedFilter, Batch, Region, RegionEntity, listed};
use super::resource::principal_facts;
use crate::decision::{AssignmentFacts, Facts, PrincipalFacts};
use crate::ledger::chain::Head;
use crate::store::{
    AccessEnd, AccessNames, AccessStart, AccessVisitor, ResourceCandidate, ResourceSearch, ResourcesEnd, ResourcesPage,
    ResourcesQuery, Result,
};

/// The fewest entities that a scan reads at a time.
const MIN_SCANNED: usize = 256;
/// The most entities that are described at a time.
const MAX_DESCRIBED: usize = 1024;
/// The most entities that are described at a time with their attributes, which can be large.
const MAX_DESCRIBED_WHOLE: usize = 64;

/// Visits the candidates of `query`; `None` when the entity that it is limited to is unknown. `conn` must be in a
/// transaction that sees one snapshot.
pub(in super::super) async fn visit(
    conn: &mut Conn,
    query: &ResourcesQuery<'_>,
    page: ResourcesPage,
    known: Option<&Head>,
    visitor: &mut dyn AccessVisitor<ResourceCandidate>,
) -> Result<(Option<ResourcesEnd>, Accepted)> {
    let (state, accepted) = PageState::of(&mut *conn, known, query.moment).await?;
    let query = &ResourcesQuery { at: state.at.unwrap_or(query.at), ..*query };
    let asked = [(query.principal_id, query.principal_type.to_owned())];
    let registered = access_batch::registrations(&mut *conn, &asked, true, state.when).await?;
    let principal = principal_facts(registered.values().next());
    let held = PrincipalAssignments::read(&mut *conn, query, query.max_expanded, state.when).await?;
    let on = held.all.iter().enumerate().map(|(index, one)| (one.facts.entity_id, index));
    let mut paths = Paths::new(on, query.within);
    if let Some(within) = query.within
        && listed(&mut *conn, &[within], &mut paths, state.when).await?.is_empty()
    {
        return Ok((None, accepted));
    }
    let end = |end, search| Ok((Some(ResourcesEnd { end, search }), accepted));
    let (entities, roles) = Default::default();
    let start = AccessStart { revision: state.revision, at: state.at, resource_type: None, entities, roles };
    if !visitor.begin(start) {
        return end(AccessEnd::Stopped, page.search);
    }
    if principal.is_suspended {
        return end(AccessEnd::Complete, page.search);
    }
    let Some(region) = region(&mut *conn, (query, state.when), page, &held, &mut paths).await? else {
        return end(AccessEnd::Complete, page.search);
    };
    let names = AccessNames { roles: held.role_names(), ..AccessNames::default() };
    let mut candidates = Candidates {
        query,
        page,
        principal,
        held,
        paths,
        looked_up: HashSet::new(),
        names: Arc::new(names),
        region,
        visited: 0,
    };
    let ended = candidates.visit(conn, visitor).await?;
    end(ended, candidates.region.search)
}

/// The region in which all candidates are; `None` when there are none.
async fn region(
    conn: &mut Conn,
    (query, when): (&ResourcesQuery<'_>, AsOf),
    page: ResourcesPage,
    held: &PrincipalAssignments<'_>,
    paths: &mut Paths,
) -> Result<Option<Region>> {
    let types = held.types();
    if types.as_ref().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    let mut entities = Vec::new();
    // An assignment that is global, or above the entity that the list is limited to, reaches all of the list.
    let mut reaches_all = held.is_partial;
    for one in held.started() {
        match one.facts.entity_id {
            Some(entity) => entities.push(entity),
            None => reaches_all = true,
        }
    }
    entities.sort_unstable();
    entities.dedup();
    if let Some(within) = query.within
        && !reaches_all
    {
        let above: HashSet<Uuid> = paths.ancestors(within).into_iter().chain([within]).collect();
        reaches_all = entities.iter().any(|entity| above.contains(entity));
        if !reaches_all {
            listed(conn, &entities, paths, when).await?;
            entities.retain(|entity| paths.of(*entity).is_within);
        }
    }
    let roots = match (reaches_all, query.within) {
        (true, Some(within)) => Some(vec![within]),
        (true, None) => None,
        (false, _) if entities.is_empty() => return Ok(None),
        (false, _) => Some(entities),
    };
    let search = if roots.is_none() { ResourceSearch::Scan } else { page.search };
    Ok(Some(Region {
        when,
        roots,
        archived: if query.includes_archived { ArchivedFilter::Included } else { ArchivedFilter::LeftOut },
        // One of several types is found among the others.
        entity_type: match types.as_deref() {
            Some([only]) => Some(only.clone()),
            _ => None,
        },
        search,
        max_expanded: query.max_expanded,
        after: page.after.unwrap_or_default(),
        size: page.expected.max(1),
        left: query.max_candidates.max(1),
        expanded: 0,
    }))
}

struct Candidates<'a> {
    query: &'a ResourcesQuery<'a>,
    page: ResourcesPage,
    principal: PrincipalFacts,
    held: PrincipalAssignments<'a>,
    paths: Paths,
    /// The entities on which assignments were looked up, if the principal has too many to read all.
    looked_up: HashSet<Uuid>,
    names: Arc<AccessNames>,
    region: Region,
    /// The number of candidates that were visited.
    visited: usize,
}

impl Candidates<'_> {
    async fn visit(
        &mut self,
        conn: &mut Conn,
        visitor: &mut dyn AccessVisitor<ResourceCandidate>,
    ) -> Result<AccessEnd<Uuid>> {
        let (mut looked_at, time) = (0, PageTime::of(self.query.max_page_time));
        loop {
            if self.region.search == ResourceSearch::Scan {
                self.region.size = self.scan_size(looked_at);
            }
            let before = self.region.left;
            let Batch { entities, is_last } = self.region.next(&mut *conn, &mut self.paths).await?;
            looked_at += before.saturating_sub(self.region.left);
            if self.held.is_partial {
                self.look_up(&mut *conn, &entities).await?;
            }
            let reached = self.reached(entities);
            if !self.visit_reached(&mut *conn, &reached, visitor).await? {
                return Ok(AccessEnd::Stopped);
            }
            if is_last {
                return Ok(AccessEnd::Complete);
            }
            if self.region.left == 0 || time.is_over() {
                return Ok(AccessEnd::Bounded(self.region.after));
            }
        }
    }

    /// The number of entities among which the candidates are expected that are still to be visited, if they are spread
    /// as those before.
    fn scan_size(&self, looked_at: usize) -> usize {
        let wanted = self.page.expected.saturating_sub(self.visited).max(1);
        let spread = if looked_at == 0 { 2 } else { looked_at.div_ceil(self.visited.max(1)) };
        wanted.saturating_mul(spread).max(MIN_SCANNED)
    }

    /// Looks up the assignments on these entities and those above them.
    async fn look_up(&mut self, conn: &mut Conn, entities: &[RegionEntity]) -> Result<()> {
        let mut wanted = Vec::new();
        for one in entities {
            for id in self.paths.with_ancestors(one.id, one.parent_id) {
                // What is above a known entity is known.
                if !self.looked_up.insert(id) {
                    break;
                }
                wanted.push(id);
            }
        }
        for index in self.held.look_up(conn, &wanted).await? {
            if let Some(entity) = self.held.all.get(index).and_then(|one| one.facts.entity_id) {
                self.paths.assign(entity, index);
            }
        }
        Ok(())
    }

    /// Those of `entities` that an assignment reaches, with what is above them.
    fn reached(&mut self, entities: Vec<RegionEntity>) -> Vec<(RegionEntity, Arc<Path>)> {
        let reached = entities.into_iter().filter_map(|one| {
            let path = self.paths.below(one.parent_id, one.id);
            let is_reached = path.is_within
                && self.query.within != Some(one.id)
                && self.held.is_reached(&path.assignments, &one.entity_type);
            is_reached.then_some((one, path))
        });
        reached.collect()
    }

    /// Visits these candidates; returns `false` when the visitor stops.
    async fn visit_reached(
        &mut self,
        conn: &mut Conn,
        mut reached: &[(RegionEntity, Arc<Path>)],
        visitor: &mut dyn AccessVisitor<ResourceCandidate>,
    ) -> Result<bool> {
        while !reached.is_empty() {
            let expected = self.page.expected.saturating_sub(self.visited).clamp(16, MAX_DESCRIBED);
            let (mut group, mut rest) = reached.split_at(expected.min(reached.len()));
            let reads_attributes = group.iter().any(|(_, path)| self.reads_attributes(path));
            if reads_attributes {
                (group, rest) = reached.split_at(MAX_DESCRIBED_WHOLE.min(group.len()));
            }
            reached = rest;
            let ids: Vec<Uuid> = group.iter().map(|(one, _)| one.id).collect();
            let described = describe(&mut *conn, &ids, reads_attributes, self.region.when).await?;
            if self.page.with_names {
                self.name(&mut *conn, group).await?;
            }
            for (one, path) in group {
                let Some(entity) = described.get(&one.id) else { continue };
                self.visited += 1;
                if !visitor.candidate(self.candidate(one.id, path, entity)) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn assignments(&self, path: &Path) -> impl Iterator<Item = &AssignmentFacts> {
        path.assignments.iter().filter_map(|index| self.held.all.get(*index)).map(|one| &one.facts)
    }

    fn reads_attributes(&self, path: &Path) -> bool {
        self.assignments(path).any(reads_attributes)
    }

    /// Reads the names of the entities on which the assignments of these candidates are.
    async fn name(&mut self, conn: &mut Conn, group: &[(RegionEntity, Arc<Path>)]) -> Result<()> {
        let mut unnamed: Vec<Uuid> = group
            .iter()
            .flat_map(|(_, path)| self.assignments(path).filter_map(|one| one.entity_id))
            .filter(|entity| !self.names.entities.contains_key(entity))
            .collect();
        unnamed.sort_unstable();
        unnamed.dedup();
        let described = describe(conn, &unnamed, false, self.region.when).await?;
        if !described.is_empty() {
            let named = described.iter().map(|(id, entity)| (*id, entity.named(*id)));
            Arc::make_mut(&mut self.names).entities.extend(named);
        }
        Ok(())
    }

    fn candidate(&self, id: Uuid, path: &Path, entity: &Described) -> ResourceCandidate {
        let assignments: Vec<_> = self.assignments(path).cloned().collect();
        let mut assigned_entities = vec![id];
        for entity in assignments.iter().filter_map(|one| one.entity_id) {
            if !assigned_entities.contains(&entity) {
                assigned_entities.push(entity);
            }
        }
        let has_conditions = assignments.iter().any(|one| !one.conditions.is_empty());
        ResourceCandidate {
            id,
            name: entity.name.clone(),
            external_id: entity.external_id.clone(),
            facts: Facts {
                principal: self.principal.clone(),
                resource: entity.facts(has_conditions),
                assigned_entities,
                assignments,
            },
            names: Arc::clone(&self.names),
        }
    }
}

/// Returns `true` if a condition of the assignment reads the attributes of the resource.
pub(super) fn reads_attributes(assignment: &AssignmentFacts) -> bool {
    let compiled = assignment.conditions.iter().filter_map(|one| one.compiled.as_ref().ok());
    compiled.into_iter().any(|compiled| compiled.reads().resource_attributes)
}
