//! The list of the resources on which a principal may perform an action, item by item.

use uuid::Uuid;

use super::page::{CompletedItems, ItemPage};
use super::{Basis, NextPage, Walk};
use crate::call::Call;
use crate::decision::{Question, judge_item};
use crate::domain::access::{AccessItem, AccessPage, Include, ResourcesRequest};
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::handlers::entities;
use crate::store::{
    AccessStart, AccessVisitor, ResourceCandidate, ResourceSearch, ResourcesEnd, ResourcesPage, ResourcesQuery,
    StoreError,
};

/// Lists a page of the resources on which the principal of `request` may perform its action.
///
/// # Errors
/// Those of [`super::principals::list`]; `NotFound` is about the entity that the list is limited to.
pub(crate) async fn list(engines: &Engines, call: &Call, request: &ResourcesRequest) -> Result<AccessPage<AccessItem>> {
    let walk = Walk::begin(engines, call, request).await?;
    let position = walk.position().map(|(last, state)| read_position(last, state)).transpose()?;
    let now = || engines.now();
    let query = query(engines, request, &walk);
    let page = ResourcesPage {
        after: position.map(|(after, _)| after),
        // One more than the page has room for shows whether the list goes on.
        expected: usize::try_from(request.list.limit).unwrap_or(usize::MAX).saturating_add(1),
        search: position.map(|(_, search)| search).unwrap_or_default(),
        with_names: request.list.explain,
    };
    let mut judge = ResourceJudge { page: ItemPage::new(&walk, &request.list, &now), request };
    let end = engines.store().resource_candidates(&query, page, &mut judge).await;
    let end = end.map_err(|error| walk.error(error))?;
    let ResourcesEnd { end, search } = end.ok_or_else(|| unknown_limit(request))?;
    let CompletedItems { start, as_of, items, next, errors } = judge.page.end(end)?;
    engines.condition_errors.report(&errors);
    let basis = Basis { revision: start.revision, as_of, subject: None };
    let next = next.map(|id| NextPage { last: id.as_bytes().to_vec(), state: vec![search_byte(search)] });
    walk.finish(engines, request, &basis, (items, next)).await
}

/// The question of `request` to the store.
pub(super) fn query<'a>(engines: &Engines, request: &'a ResourcesRequest, walk: &Walk<'_>) -> ResourcesQuery<'a> {
    let now = engines.now();
    let bounds = engines.core.settings.list_bounds;
    ResourcesQuery {
        principal_id: request.principal_id,
        principal_type: request.principal_type.as_str(),
        action: &request.action,
        resource_type: request.resource_type.as_ref(),
        within: request.within,
        includes_archived: request.list.include.contains(&Include::Archived),
        includes_conditional: request.list.include.contains(&Include::Conditional),
        at: now,
        max_candidates: bounds.candidates,
        max_expanded: bounds.expanded,
        max_page_time: bounds.page_time,
        moment: walk.moment(now),
    }
}

/// The error of a list that is limited to an unknown entity.
pub(super) fn unknown_limit(request: &ResourcesRequest) -> Error {
    entities::not_found(request.within.unwrap_or_default())
}

fn search_byte(search: ResourceSearch) -> u8 {
    match search {
        ResourceSearch::Expand => 0,
        ResourceSearch::Scan => 1,
    }
}

/// The position in a token: the id of the last entity, and the way in which entities are found.
fn read_position(last: &[u8], state: &[u8]) -> Result<(Uuid, ResourceSearch)> {
    let search = [ResourceSearch::Expand, ResourceSearch::Scan].into_iter().find(|one| state == [search_byte(*one)]);
    let position = Uuid::from_slice(last).ok().zip(search);
    position.ok_or_else(|| StoreError::corrupt("page token", "not a resource").into())
}

struct ResourceJudge<'a> {
    page: ItemPage<'a, Uuid>,
    request: &'a ResourcesRequest,
}

impl AccessVisitor<ResourceCandidate> for ResourceJudge<'_> {
    fn begin(&mut self, start: AccessStart) -> bool {
        self.page.begin(start)
    }

    fn candidate(&mut self, candidate: ResourceCandidate) -> bool {
        let Some((options, as_of)) = self.page.judging() else { return false };
        let ResourceCandidate { id, name, external_id, facts, names } = candidate;
        let question = Question {
            principal_id: self.request.principal_id,
            principal_type: self.request.principal_type.clone(),
            action: self.request.action.clone(),
            resource_id: id,
        };
        let judged = judge_item(&question, &facts, &self.request.list.context, as_of, options);
        let item = AccessItem {
            id: id.to_string(),
            kind: Some(facts.resource.entity_type.word().to_owned()),
            external_id,
            name: Some(name),
            ..AccessItem::default()
        };
        self.page.take_named(id, item, judged, &facts.assignments, &names)
    }
}
