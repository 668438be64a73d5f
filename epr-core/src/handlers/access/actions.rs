//! The list of the actions that a principal may perform on a resource.

use super::page::{CompletedItems, ItemPage};
use super::{Basis, NextPage, Walk};
use crate::call::Call;
use crate::decision::{AskedAction, Question, judge_item};
use crate::domain::access::{AccessItem, AccessPage, ActionsRequest};
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::handlers::entities;
use crate::store::{AccessStart, AccessVisitor, ActionCandidate, ActionsQuery, StoreError};

/// Lists a page of the actions that the principal of `request` may perform on its resource.
///
/// # Errors
/// Those of [`super::principals::list`].
pub(crate) async fn list(engines: &Engines, call: &Call, request: &ActionsRequest) -> Result<AccessPage<AccessItem>> {
    let walk = Walk::begin(engines, call, request).await?;
    let after = walk.position().map(|(last, _)| std::str::from_utf8(last)).transpose();
    let after = after.map_err(|error| StoreError::corrupt("page token", error))?;
    let now = || engines.now();
    let mut judge = ActionJudge { page: ItemPage::new(&walk, &request.list, &now), request };
    let query = ActionsQuery {
        principal_id: request.principal_id,
        principal_type: request.principal_type.as_str(),
        resource_id: request.resource_id,
        unregistered: None,
        after,
        max_rows: engines.core.settings.list_bounds.candidates,
        moment: walk.moment(engines.now()),
    };
    let end = engines.store().action_candidates(&query, &mut judge).await.map_err(|error| walk.error(error))?;
    let end = end.ok_or_else(|| entities::not_found(request.resource_id))?;
    let CompletedItems { start, as_of, items, next, errors } = judge.page.end(end)?;
    engines.condition_errors.report(&errors);
    let subject = start.resource_type.map(|kind| (request.resource_id, kind));
    let basis = Basis { revision: start.revision, as_of, subject };
    let next = next.map(|action| NextPage { last: action.into_bytes(), state: Vec::new() });
    walk.finish(engines, request, &basis, (items, next)).await
}

struct ActionJudge<'a> {
    page: ItemPage<'a, String>,
    request: &'a ActionsRequest,
}

impl AccessVisitor<ActionCandidate> for ActionJudge<'_> {
    fn begin(&mut self, start: AccessStart) -> bool {
        self.page.begin(start)
    }

    fn candidate(&mut self, candidate: ActionCandidate) -> bool {
        let Some((options, as_of)) = self.page.judging() else { return false };
        let ActionCandidate { action, facts } = candidate;
        let asked = match AskedAction::new(&action) {
            Ok(asked) => asked,
            Err(error) => return self.page.fail(Error::from(StoreError::corrupt("action", error))),
        };
        let question = Question {
            principal_id: self.request.principal_id,
            principal_type: self.request.principal_type.clone(),
            action: asked,
            resource_id: self.request.resource_id,
        };
        let judged = judge_item(&question, &facts, &self.request.list.context, as_of, options);
        let item = AccessItem { id: action.clone(), ..AccessItem::default() };
        self.page.take(action, item, judged, &facts.assignments)
    }
}
