//! The candidates of a list of principals: a merge of ordered ranges of an index, one for each entity of the resource's
//! lineage (and for global assignments) and each role that holds the action.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::super::dialect::{Conn, access_batch, use_indexes_in_order};
use super::super::facts::Accepted;
use super::super::history::PageState;
use super::super::sources::AsOf;
use super::merge::Merge;
use super::resource::{Lineage, lineage};
use super::roles::{HoldingRole, holding};
use super::rows::RangeRow;
use crate::decision::{AssignmentFacts, ConditionFacts, ConditionOwner};
use crate::ledger::chain::Head;
use crate::store::{AccessEnd, AccessStart, AccessVisitor, PrincipalCandidate, PrincipalKey, PrincipalsQuery, Result};

/// The most principals whose registrations are read at a time.
const MAX_GROUP: usize = 256;
/// The most of them while their attributes are read, which can be large.
const MAX_DESCRIBED_GROUP: usize = 32;

/// Visits the candidates of `query`; `None` when the resource is unknown. `conn` must be in a transaction that sees one
/// snapshot.
pub(in super::super) async fn visit(
    conn: &mut Conn,
    query: &PrincipalsQuery<'_>,
    known: Option<&Head>,
    visitor: &mut dyn AccessVisitor<PrincipalCandidate>,
) -> Result<(Option<AccessEnd<PrincipalKey>>, Accepted)> {
    use_indexes_in_order(&mut *conn).await?;
    let (state, accepted) = PageState::of(&mut *conn, known, query.moment).await?;
    let lineage = match query.unregistered {
        Some(resource) => Some(Lineage::unregistered(resource.clone())),
        None => lineage(&mut *conn, query.resource_id, state.when).await?,
    };
    let Some(lineage) = lineage else { return Ok((None, accepted)) };
    let mut roles = holding(&mut *conn, query.action.as_str(), state.when).await?;
    // The type of the resource is the same for every candidate.
    roles.retain(|role| lineage.resource(false).entity_type.is_in_scope(&role.scope_types));
    let start = AccessStart {
        revision: state.revision,
        at: state.at,
        resource_type: lineage.resource(false).entity_type.registered().cloned(),
        entities: lineage.entities.clone(),
        roles: roles.iter().map(|role| (role.id, role.name.clone())).collect(),
    };
    if !visitor.begin(start) {
        return Ok((Some(AccessEnd::Stopped), accepted));
    }
    let mut candidates = Candidates { query, lineage, roles: by_id(roles), compiled: HashMap::new(), when: state.when };
    Ok((Some(candidates.visit(conn, visitor).await?), accepted))
}

fn by_id(roles: Vec<HoldingRole>) -> BTreeMap<Uuid, HoldingRole> {
    roles.into_iter().map(|role| (role.id, role)).collect()
}

/// A principal with its assignments, before its registration is known.
type Group = (PrincipalKey, Vec<AssignmentFacts>);

struct Candidates<'a> {
    query: &'a PrincipalsQuery<'a>,
    lineage: Lineage,
    roles: BTreeMap<Uuid, HoldingRole>,
    /// The conditions of assignments by their stored text: many assignments have the same.
    compiled: HashMap<String, ConditionFacts>,
    when: AsOf,
}

impl Candidates<'_> {
    async fn visit(
        &mut self,
        conn: &mut Conn,
        visitor: &mut dyn AccessVisitor<PrincipalCandidate>,
    ) -> Result<AccessEnd<PrincipalKey>> {
        let first = (Uuid::nil(), String::new());
        let entities = self.lineage.entities.keys().copied().chain([Uuid::nil()]);
        let pairs: Vec<_> = entities.flat_map(|entity| self.roles.keys().map(move |role| (entity, *role))).collect();
        let mut merge =
            Merge::new(pairs.into_iter(), self.query.after.unwrap_or(&first), self.query.expected, self.when);
        let (mut looked_at, mut last) = (0, None);
        loop {
            let mut groups: Vec<Group> = Vec::new();
            let (mut is_described, mut is_end) = (false, true);
            while let Some((principal, rows)) = merge.next(&mut *conn).await? {
                looked_at += 1;
                last = Some(principal.clone());
                if self.query.principal_type.is_none_or(|wanted| wanted == principal.1) {
                    let assignments: Vec<_> =
                        rows.into_iter().filter_map(|(role, row)| self.assignment(role, row)).collect();
                    is_described |= assignments.iter().any(|one| !one.conditions.is_empty());
                    groups.push((principal, assignments));
                }
                let most = if is_described { MAX_DESCRIBED_GROUP } else { MAX_GROUP.min(self.query.expected.max(1)) };
                if groups.len() >= most || looked_at >= self.query.max_candidates {
                    is_end = false;
                    break;
                }
            }
            if !self.visit_groups(&mut *conn, groups, is_described, visitor).await? {
                return Ok(AccessEnd::Stopped);
            }
            match last.take() {
                _ if is_end => return Ok(AccessEnd::Complete),
                Some(last) if looked_at >= self.query.max_candidates => return Ok(AccessEnd::Bounded(last)),
                _ => {}
            }
        }
    }

    /// Returns `false` when the visitor stops.
    async fn visit_groups(
        &self,
        conn: &mut Conn,
        groups: Vec<Group>,
        is_described: bool,
        visitor: &mut dyn AccessVisitor<PrincipalCandidate>,
    ) -> Result<bool> {
        let keys: Vec<_> = groups.iter().map(|(principal, _)| principal.clone()).collect();
        let mut registered = access_batch::registrations(conn, &keys, is_described, self.when).await?;
        for (principal, assignments) in groups {
            let known = registered.remove(&principal);
            let facts = self.lineage.facts(known.as_ref(), assignments);
            let (id, principal_type) = principal;
            let registration = known.map(|known| known.registration);
            if !visitor.candidate(PrincipalCandidate { id, principal_type, registration, facts }) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn assignment(&mut self, role_id: Uuid, row: RangeRow) -> Option<AssignmentFacts> {
        let role = self.roles.get(&role_id)?;
        let own = row.condition.map(|text| match self.compiled.get(&text) {
            Some(compiled) => compiled.clone(),
            None => {
                let compiled = ConditionFacts::of(ConditionOwner::Assignment, &text);
                self.compiled.insert(text, compiled.clone());
                compiled
            }
        });
        let (principal_id, principal_type) = row.principal;
        Some(AssignmentFacts {
            assignment_id: row.assignment_id,
            principal_id,
            principal_type: principal_type.into(),
            role_id,
            entity_id: row.entity_id,
            effective_at: row.effective_at,
            expires_at: row.expires_at,
            scope_types: Arc::clone(&role.scope_types),
            held_action: Some(self.query.action.as_str().into()),
            conditions: own.into_iter().chain(role.condition.clone()).collect(),
        })
    }
}
