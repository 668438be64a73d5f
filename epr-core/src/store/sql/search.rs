//! The candidates of searches in the names of other systems.
//!
//! Two ways lead to the same candidates in the same order. If few principals or entities can be reached at all, their
//! names are read and sorted. Otherwise an index over the names is read from the position of the page on. Either way,
//! each candidate has the facts of an evaluation in its name. Must never decide.

use std::collections::{BTreeSet, btree_set};

use sqlx::Row as _;
use uuid::Uuid;

use super::access::actions;
use super::access::region::{bound, ids_text};
use super::dialect::{Conn, Id, Row, bind_id, classify, read_id, use_indexes_in_order};
use super::facts::Accepted;
use super::identities;
use crate::decision::{AskedAction, NamedType, Question, ResourceFacts};
use crate::domain::assignment::PrincipalType;
use crate::domain::{EntityType, ExternalId, PageMoment};
use crate::ledger::chain::Head;
use crate::store::{
    AccessEnd, AccessStart, AccessVisitor, ActionCandidate, ActionsQuery, ExternalName, NamedQuestion, Result,
    SearchCandidate, SearchFor, SearchQuery, SearchStart, SearchVisitor, StoreError,
};

/// The fewest and the most candidates whose facts are read at a time.
const MIN_FACTS: usize = 16;
const MAX_FACTS: usize = 128;

/// The first `$3` names of the type `$1` after `$2`, by the index over them.
macro_rules! names_statement {
    ($table:literal, $index:literal) => {
        concat!(
            "SELECT ",
            external_name!("n"),
            " AS name FROM ",
            $table,
            " n ",
            only_by_index!($index),
            " WHERE n.type = $1 AND ",
            external_name!("n"),
            " > $2 ORDER BY ",
            external_name!("n"),
            " LIMIT $3"
        )
    };
}

const PRINCIPAL_NAMES: &str = names_statement!("principals", "ix_principals_type_name");
const ENTITY_NAMES: &str = names_statement!("entities", "ix_entities_type_name");
pub(in super::super) const NAMES: [&str; 2] = [PRINCIPAL_NAMES, ENTITY_NAMES];

/// The names of the principals of the type `$4` that have an assignment which reaches the resource `$1`, with a role
/// that holds the action `$2`; at most `$3` assignments are read. A row without a name has in `total` their number.
const REACHING_PRINCIPALS: &str = concat!(
    "WITH RECURSIVE lineage(id, parent_id) AS ( \
       SELECT e.id, e.parent_id",
    from_entity!(now, "e", "$1"),
    " UNION \
       SELECT e.id, e.parent_id FROM lineage l ",
    join_entity!(now, "e", "l.parent_id"),
    ") , reached(id) AS ( \
       SELECT id FROM lineage UNION ALL SELECT ",
    uuid_value!("'00000000-0000-0000-0000-000000000000'"),
    "), holding(role_id) AS MATERIALIZED (",
    holding_statement!(now, "$2", "rp.role_id"),
    "), assigned(principal_id, principal_type) AS MATERIALIZED ( \
       SELECT a.principal_id, a.principal_type FROM reached CROSS JOIN holding ",
    join_probing!(
        "role_assignments",
        "a",
        "COALESCE(a.entity_id, '00000000-0000-0000-0000-000000000000') = ",
        index_value!("reached.id"),
        " AND a.role_id = holding.role_id"
    ),
    " LIMIT $3) \
     SELECT ",
    external_name!("n"),
    " AS name, CAST(NULL AS bigint) AS total FROM assigned s ",
    join_probing!("principals", "n", "n.type = s.principal_type AND n.id = s.principal_id"),
    " WHERE s.principal_type = $4 UNION SELECT NULL, COUNT(*) FROM assigned"
);

/// The entities on which the principal `$1` of the type `$2` has assignments, and whether their roles hold the action
/// `$3`; at most `$4` assignments are read.
const HELD_ENTITIES: &str = concat!(
    "SELECT a.entity_id, EXISTS (SELECT 1 FROM permissions p ",
    join_probing!("role_permissions", "rp", "rp.permission_id = p.id AND rp.role_id = a.role_id"),
    " WHERE p.action = $3) AS holds \
     FROM (SELECT entity_id, role_id FROM role_assignments WHERE principal_id = $1 AND principal_type = $2 LIMIT $4) a"
);

/// The names of the entities of the type `$3` among those of the list `$1` and everything below them; at most `$2`
/// entities are read. A row without a name has in `total` their number.
const REACHED_ENTITIES: &str = concat!(
    "WITH RECURSIVE below(id) AS ( \
       SELECT ",
    uuid_value!("item.value"),
    " FROM ",
    json_items!("$1"),
    " UNION \
       SELECT e.id FROM below b ",
    join_probing!("entities", "e", "e.parent_id = b.id"),
    "), expanded(id) AS MATERIALIZED (SELECT id FROM below LIMIT $2) \
     SELECT ",
    external_name!("n"),
    " AS name, CAST(NULL AS bigint) AS total FROM expanded x ",
    join_probing!("entities", "n", "n.id = x.id"),
    " WHERE n.type = $3 UNION ALL SELECT NULL, COUNT(*) FROM expanded"
);

/// Visits the candidates of `query`. `conn` must be in a transaction that sees one snapshot.
pub(super) async fn visit(
    conn: &mut Conn,
    query: &SearchQuery<'_>,
    known: Option<&Head>,
    visitor: &mut dyn SearchVisitor,
) -> Result<(AccessEnd<String>, Accepted)> {
    use_indexes_in_order(&mut *conn).await?;
    let (principal, resource) = match query.of {
        SearchFor::Subjects { resource, .. } => (None, Some(resource)),
        SearchFor::Resources { principal, .. } => (Some(principal), None),
        SearchFor::Actions { principal, resource } => (Some(principal), Some(resource)),
    };
    let listed = |name: Option<&ExternalName>| name.cloned().into_iter().collect::<Vec<_>>();
    let ((principals, entities), accepted) =
        identities::read(&mut *conn, &listed(principal), &listed(resource), known).await?;
    let first = |ids: Vec<Option<Uuid>>| ids.into_iter().next().flatten();
    let (principal_id, resource_id) = (first(principals), first(entities));
    visitor.begin(SearchStart { principal_id, resource_id, revision: accepted.revision });
    let mut page = Page { query, known, looked_at: 0, visitor };
    let end = match query.of {
        SearchFor::Subjects { principal_type, action, resource } => {
            let Ok(found_type) = PrincipalType::new(principal_type.as_str()) else {
                return Ok((AccessEnd::Complete, accepted));
            };
            let reaching = sqlx::query(REACHING_PRINCIPALS)
                .bind(bind_id(resource_id.unwrap_or_default()))
                .bind(action.as_str())
                .bind(bound(query.max_candidates.saturating_add(1)))
                .bind(found_type.as_str())
                .fetch_all(&mut *conn)
                .await
                .map_err(classify)?;
            let names = match few_names(&reaching, query.max_candidates)? {
                Some(names) => Names::Sorted(names.into_iter()),
                None => Names::Indexed(PRINCIPAL_NAMES, principal_type.as_str()),
            };
            let question_of = |name: &ExternalName| NamedQuestion {
                principal: name.clone(),
                action: action.clone(),
                resource: resource.clone(),
            };
            page.visit(&mut *conn, names, principal_type, &question_of).await?
        }
        SearchFor::Resources { principal, action, resource_type } => {
            // An entity has a type that is a word of the registry.
            let registered = EntityType::from_word(resource_type.as_str()).is_some();
            let Some(names) = reached_names(&mut *conn, query, principal_id.filter(|_| registered)).await? else {
                return Ok((AccessEnd::Complete, accepted));
            };
            let question_of = |name: &ExternalName| NamedQuestion {
                principal: principal.clone(),
                action: action.clone(),
                resource: name.clone(),
            };
            page.visit(&mut *conn, names, resource_type, &question_of).await?
        }
        SearchFor::Actions { principal, resource } => match (principal_id, PrincipalType::new(principal.kind.as_str()))
        {
            (Some(id), Ok(principal_type)) => {
                page.visit_actions(&mut *conn, (id, principal_type), resource_id, resource).await?
            }
            _ => AccessEnd::Complete,
        },
    };
    Ok((end, accepted))
}

/// The names of a search for resources; `None` when no assignment reaches any.
async fn reached_names<'a>(
    conn: &mut Conn,
    query: &SearchQuery<'a>,
    principal_id: Option<Uuid>,
) -> Result<Option<Names<'a>>> {
    let SearchFor::Resources { principal, action, resource_type } = query.of else { return Ok(None) };
    let Some(principal_id) = principal_id else { return Ok(None) };
    let most = bound(query.max_candidates.saturating_add(1));
    let held = sqlx::query(HELD_ENTITIES)
        .bind(bind_id(principal_id))
        .bind(principal.kind.as_str())
        .bind(action.as_str())
        .bind(most)
        .fetch_all(&mut *conn)
        .await
        .map_err(classify)?;
    let (mut roots, mut reaches_all) = (BTreeSet::new(), held.len() > query.max_candidates);
    for row in &held {
        if row.try_get("holds").map_err(classify)? {
            match row.try_get::<Option<Id>, _>("entity_id").map_err(classify)?.map(read_id) {
                Some(entity) => _ = roots.insert(entity),
                None => reaches_all = true,
            }
        }
    }
    let indexed = Names::Indexed(ENTITY_NAMES, resource_type.as_str());
    if reaches_all {
        return Ok(Some(indexed));
    }
    if roots.is_empty() {
        return Ok(None);
    }
    let reached = sqlx::query(REACHED_ENTITIES)
        .bind(ids_text(&roots.into_iter().collect::<Vec<_>>()))
        .bind(most)
        .bind(resource_type.as_str())
        .fetch_all(conn)
        .await
        .map_err(classify)?;
    Ok(Some(few_names(&reached, query.max_candidates)?.map_or(indexed, |names| Names::Sorted(names.into_iter()))))
}

/// The names in the rows of a statement, unless it read more than `most` rows to find them.
fn few_names(rows: &[Row], most: usize) -> Result<Option<BTreeSet<String>>> {
    let mut names = BTreeSet::new();
    for row in rows {
        match row.try_get::<Option<String>, _>("name").map_err(classify)? {
            Some(name) => _ = names.insert(name),
            None if row.try_get::<i64, _>("total").map_err(classify)? > bound(most) => return Ok(None),
            None => {}
        }
    }
    Ok(Some(names))
}

/// Where names come from.
enum Names<'a> {
    /// All of them.
    Sorted(btree_set::IntoIter<String>),
    /// The statement of an index, and the type.
    Indexed(&'static str, &'a str),
}

impl Names<'_> {
    /// The first `count` names after `after`, in order.
    async fn next(&mut self, conn: &mut Conn, after: Option<&str>, count: usize) -> Result<Vec<String>> {
        match self {
            Self::Sorted(names) => {
                let is_before = |name: &String| after.is_some_and(|after| name.as_str() <= after);
                Ok(names.skip_while(is_before).take(count).collect())
            }
            Self::Indexed(statement, of_type) => {
                let rows = sqlx::query(*statement)
                    .bind(*of_type)
                    .bind(after.unwrap_or_default())
                    .bind(bound(count))
                    .fetch_all(conn)
                    .await
                    .map_err(classify)?;
                rows.iter().map(|row| row.try_get("name").map_err(classify)).collect()
            }
        }
    }
}

/// A page under way.
struct Page<'a> {
    query: &'a SearchQuery<'a>,
    known: Option<&'a Head>,
    looked_at: usize,
    visitor: &'a mut dyn SearchVisitor,
}

impl Page<'_> {
    /// Visits what the names of `of_type` name, with the facts of the questions that `question_of` makes of the names.
    async fn visit(
        &mut self,
        conn: &mut Conn,
        mut names: Names<'_>,
        of_type: &NamedType,
        question_of: &(dyn Fn(&ExternalName) -> NamedQuestion + Sync),
    ) -> Result<AccessEnd<String>> {
        let mut after = self.query.after.map(str::to_owned);
        loop {
            let left = self.query.max_candidates.max(1).saturating_sub(self.looked_at);
            let expected = self.query.expected.saturating_sub(self.looked_at).clamp(MIN_FACTS, MAX_FACTS);
            let count = expected.min(left);
            if let (0, Some(last)) = (count, &after) {
                return Ok(AccessEnd::Bounded(last.clone()));
            }
            let mut next = names.next(&mut *conn, after.as_deref(), count).await?;
            let is_last = next.len() < count;
            self.looked_at += next.len();
            // One name may be the UUID of one row and the external id of another one.
            next.dedup();
            after = next.last().cloned().or(after);
            let questions = next.iter().map(|name| {
                let id = ExternalId::new(name.as_str()).map_err(|error| StoreError::corrupt("external_id", error))?;
                Ok(question_of(&ExternalName { kind: of_type.clone(), id }).into())
            });
            let questions = questions.collect::<Result<Vec<_>>>()?;
            let (facts, _) = identities::facts(&mut *conn, &questions, self.known).await?;
            for (name, identified) in next.into_iter().zip(facts) {
                let facts = match &identified.unregistered {
                    None => identified.facts,
                    Some(_) => identified.of_question().into_owned().into(),
                };
                let candidate = SearchCandidate { name, question: identified.question, facts };
                if !self.visitor.candidate(&candidate) {
                    return Ok(AccessEnd::Stopped);
                }
            }
            if is_last {
                return Ok(AccessEnd::Complete);
            }
        }
    }

    async fn visit_actions(
        &mut self,
        conn: &mut Conn,
        (principal_id, principal_type): (Uuid, PrincipalType),
        resource_id: Option<Uuid>,
        resource: &ExternalName,
    ) -> Result<AccessEnd<String>> {
        let unregistered = resource_id
            .is_none()
            .then(|| ResourceFacts::unregistered(resource.kind.clone(), resource.id.clone().into_string()));
        let resource_id = resource_id.unwrap_or_default();
        let query = ActionsQuery {
            principal_id,
            principal_type: principal_type.as_str(),
            resource_id,
            unregistered: unregistered.as_ref(),
            after: self.query.after,
            max_rows: self.query.max_candidates.max(1),
            moment: PageMoment::Present,
        };
        let mut actions = Actions {
            visitor: &mut *self.visitor,
            principal: (principal_id, &principal_type),
            resource_id,
            failed: None,
        };
        let end = actions::visit(conn, &query, self.known, &mut actions).await?.0;
        match actions.failed {
            Some(error) => Err(error),
            // It was registered in the same snapshot.
            None => end.ok_or_else(|| StoreError::corrupt("entities", "the resource has vanished")),
        }
    }
}

/// Makes candidates of actions.
struct Actions<'a> {
    visitor: &'a mut dyn SearchVisitor,
    principal: (Uuid, &'a PrincipalType),
    resource_id: Uuid,
    failed: Option<StoreError>,
}

impl AccessVisitor<ActionCandidate> for Actions<'_> {
    fn begin(&mut self, _: AccessStart) -> bool {
        true
    }

    fn candidate(&mut self, candidate: ActionCandidate) -> bool {
        let ActionCandidate { action: name, facts } = candidate;
        let Ok(action) = AskedAction::new(name.as_str()) else {
            self.failed = Some(StoreError::corrupt("permissions.action", "it is empty or too long"));
            return false;
        };
        let (principal_id, principal_type) = (self.principal.0, self.principal.1.clone());
        let question = Question { principal_id, principal_type, action, resource_id: self.resource_id };
        self.visitor.candidate(&SearchCandidate { name, question, facts: facts.into() })
    }
}
