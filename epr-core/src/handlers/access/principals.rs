//! The list of the principals that may perform an action on a resource.

use uuid::Uuid;

use super::page::{CompletedItems, ItemPage};
use super::{Basis, NextPage, Walk};
use crate::call::Call;
use crate::decision::{Question, judge_item};
use crate::domain::access::{AccessItem, AccessPage, PrincipalsRequest};
use crate::domain::assignment::PrincipalType;
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::handlers::entities;
use crate::store::{AccessStart, AccessVisitor, PrincipalCandidate, PrincipalKey, PrincipalsQuery, StoreError};

/// Lists a page of the principals that may perform the action of `request` on its resource.
///
/// # Errors
/// `NotFound` when the resource is unknown; `Invalid` when the token is not one of this request, or the context has a
/// declared parameter with another type, or the moment cannot be asked; `Conflict` when the revision that `call` names
/// is of another incarnation, or later than the first page; `Busy` when the database does not reach it in time.
pub(crate) async fn list(
    engines: &Engines,
    call: &Call,
    request: &PrincipalsRequest,
) -> Result<AccessPage<AccessItem>> {
    let walk = Walk::begin(engines, call, request).await?;
    let after = walk.position().map(|(last, _)| key_of(last)).transpose()?;
    let now = || engines.now();
    let mut judge = PrincipalJudge { page: ItemPage::new(&walk, &request.list, &now), request };
    let query = PrincipalsQuery {
        action: &request.action,
        resource_id: request.resource_id,
        unregistered: None,
        principal_type: request.principal_type.as_ref().map(PrincipalType::as_str),
        after: after.as_ref(),
        // One more than the page has room for shows whether the list goes on.
        expected: usize::try_from(request.list.limit).unwrap_or(usize::MAX).saturating_add(1),
        max_candidates: engines.core.settings.list_bounds.candidates,
        moment: walk.moment(engines.now()),
    };
    let end = engines.store().principal_candidates(&query, &mut judge).await.map_err(|error| walk.error(error))?;
    let end = end.ok_or_else(|| entities::not_found(request.resource_id))?;
    let CompletedItems { start, as_of, items, next, errors } = judge.page.end(end)?;
    engines.condition_errors.report(&errors);
    let subject = start.resource_type.map(|kind| (request.resource_id, kind));
    let basis = Basis { revision: start.revision, as_of, subject };
    let next = next.map(|(id, kind)| NextPage { last: [id.as_bytes(), kind.as_bytes()].concat(), state: Vec::new() });
    walk.finish(engines, request, &basis, (items, next)).await
}

/// The key in a token: the bytes of the id, and the type.
fn key_of(last: &[u8]) -> Result<PrincipalKey> {
    let read = || {
        let (id, kind) = last.split_first_chunk()?;
        Some((Uuid::from_bytes(*id), String::from_utf8(kind.to_vec()).ok()?))
    };
    read().ok_or_else(|| StoreError::corrupt("page token", "not a principal").into())
}

struct PrincipalJudge<'a> {
    page: ItemPage<'a, PrincipalKey>,
    request: &'a PrincipalsRequest,
}

impl AccessVisitor<PrincipalCandidate> for PrincipalJudge<'_> {
    fn begin(&mut self, start: AccessStart) -> bool {
        self.page.begin(start)
    }

    fn candidate(&mut self, candidate: PrincipalCandidate) -> bool {
        let Some((options, as_of)) = self.page.judging() else { return false };
        let PrincipalCandidate { id, principal_type, registration, facts } = candidate;
        let kind = match PrincipalType::new(&principal_type) {
            Ok(kind) => kind,
            Err(error) => return self.page.fail(Error::from(StoreError::corrupt("principal type", error))),
        };
        let question = Question {
            principal_id: id,
            principal_type: kind,
            action: self.request.action.clone(),
            resource_id: self.request.resource_id,
        };
        let judged = judge_item(&question, &facts, &self.request.list.context, as_of, options);
        let (external_id, name) = registration.map(|known| (known.external_id, known.display_name)).unwrap_or_default();
        let item = AccessItem {
            id: id.to_string(),
            kind: Some(principal_type.clone()),
            external_id,
            name,
            ..AccessItem::default()
        };
        self.page.take((id, principal_type), item, judged, &facts.assignments)
    }
}
