//! Lists of access, page by page, on the database or over the API.

use epr_core::domain::Timestamp;
use epr_core::domain::access::{AccessItem, AccessPage, ActionsRequest, ListRequest, MAX_LIMIT};
use epr_core::domain::access::{PrincipalsRequest, ResourcesRequest};
use epr_core::domain::subtree::SubtreeItem;

use super::{Backend, BackendError, RowVisitor};

/// A list of access, by its question.
#[derive(Debug, Clone)]
pub(crate) enum AccessQuestion {
    /// Who may do this on this resource?
    Principals(PrincipalsRequest),
    /// On which resources may this principal do this?
    Resources(ResourcesRequest),
    /// What may this principal do on this resource?
    Actions(ActionsRequest),
}

/// The state that a list rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedState {
    pub(crate) revision: String,
    pub(crate) as_of: Timestamp,
}

impl AccessQuestion {
    fn list(&mut self) -> &mut ListRequest {
        match self {
            Self::Principals(request) => &mut request.list,
            Self::Resources(request) => &mut request.list,
            Self::Actions(request) => &mut request.list,
        }
    }
}

impl Backend {
    /// Passes the items of a list to `visit` until it returns `false`. Reads no more than `wanted`, page by page.
    pub(crate) async fn for_each_item(
        &self,
        mut question: AccessQuestion,
        wanted: u64,
        visit: RowVisitor<'_, AccessItem>,
    ) -> Result<ListedState, BackendError> {
        question.list().limit = u32::try_from(wanted).unwrap_or(MAX_LIMIT).clamp(1, MAX_LIMIT);
        loop {
            let AccessPage { items, next, revision, as_of, .. } = self.access_page(&question).await?;
            let goes_on = items.into_iter().all(&mut *visit);
            if !goes_on || next.is_none() {
                return Ok(ListedState { revision, as_of });
            }
            question.list().next = next;
        }
    }

    /// Passes the subtrees of a list of resources to `visit` until it returns `false`.
    pub(crate) async fn for_each_subtree(
        &self,
        mut request: ResourcesRequest,
        visit: RowVisitor<'_, SubtreeItem>,
    ) -> Result<ListedState, BackendError> {
        // The largest page, so that as few subtrees as possible are on two pages.
        request.list.limit = MAX_LIMIT;
        loop {
            let AccessPage { items, next, revision, as_of, .. } = match self {
                Self::Database { epr, call, .. } => epr.list_subtrees(call, &request).await?,
                Self::Api(api) => api.checked(api.client.access_subtrees(&request).page().await)?,
            };
            let goes_on = items.into_iter().all(&mut *visit);
            if !goes_on || next.is_none() {
                return Ok(ListedState { revision, as_of });
            }
            request.list.next = next;
        }
    }

    async fn access_page(&self, question: &AccessQuestion) -> Result<AccessPage<AccessItem>, BackendError> {
        match self {
            Self::Database { epr, call, .. } => Ok(match question {
                AccessQuestion::Principals(request) => epr.list_principals(call, request).await?,
                AccessQuestion::Resources(request) => epr.list_resources(call, request).await?,
                AccessQuestion::Actions(request) => epr.list_actions(call, request).await?,
            }),
            Self::Api(api) => api.checked(match question {
                AccessQuestion::Principals(request) => api.client.access_principals(request).page().await,
                AccessQuestion::Resources(request) => api.client.access_resources(request).page().await,
                AccessQuestion::Actions(request) => api.client.access_actions(request).page().await,
            }),
        }
    }
}
