//! `/api/v1/access/principals`, `/resources` and `/actions`: complete lists of access.

use std::fmt;

use epr_core::domain::access::{
    AccessItem, AccessPage, ActionsRequest, ListForm, ListRequest, PrincipalsRequest, ResourcesRequest,
};
use epr_core::domain::fields::Choice as _;
use epr_core::domain::input::value::Value;
use epr_core::domain::json::object;
use epr_core::domain::subtree::SubtreeItem;
use epr_core::domain::{Invalid, Json, JsonObject};
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use reqwest::Method;

use crate::client::Client;
use crate::error::Error;
use crate::retry::Repeat;

/// A list of access that has not been read yet. Nothing is sent before [`page`](Self::page), [`pages`](Self::pages),
/// [`stream`](Self::stream) or [`all`](Self::all).
#[must_use = "a list is read by `page`, `pages`, `stream` or `all`"]
pub struct AccessList<T> {
    client: Client,
    path: &'static str,
    body: JsonObject,
    read: fn(&Json) -> Result<AccessPage<T>, Invalid>,
}

impl<T> fmt::Debug for AccessList<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AccessList").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> AccessList<T> {
    /// The page that the request names: the first one, or the one of its token.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the resource does not exist; [`Error::Invalid`] for a token of another request;
    /// [`Error::Conflict`] when the registry has changed since the page that the token is from, or is of another
    /// incarnation than [`Client::with_at_least`] names.
    pub async fn page(&self) -> Result<AccessPage<T>, Error> {
        self.fetch(self.body.clone()).await
    }

    /// The page after `page`, or `None` after the last one.
    ///
    /// # Errors
    /// Those of [`page`](Self::page).
    pub async fn page_after(&self, page: &AccessPage<T>) -> Result<Option<AccessPage<T>>, Error> {
        match &page.next {
            Some(token) => self.fetch(self.body_with(token)).await.map(Some),
            None => Ok(None),
        }
    }

    /// All pages. A page is requested when the one before it has been taken; the stream ends after an error.
    #[must_use]
    pub fn pages(self) -> BoxStream<'static, Result<AccessPage<T>, Error>> {
        let first = self.body.clone();
        stream::try_unfold((self, Some(first)), |(list, body)| async move {
            let Some(body) = body else { return Ok(None) };
            let page = list.fetch(body).await?;
            let next = page.next.as_deref().map(|token| list.body_with(token));
            Ok(Some((page, (list, next))))
        })
        .boxed()
    }

    /// All items. Pages are requested as the items are taken; the stream ends after an error.
    #[must_use]
    pub fn stream(self) -> BoxStream<'static, Result<T, Error>> {
        self.pages().map_ok(|page| stream::iter(page.items).map(Ok)).try_flatten().boxed()
    }

    /// All items in memory.
    ///
    /// # Errors
    /// Those of [`page`](Self::page): a list that cannot be read to its end is an error, never a part of it.
    pub async fn all(self) -> Result<Vec<T>, Error> {
        self.stream().try_collect().await
    }

    fn body_with(&self, token: &str) -> JsonObject {
        let mut body = self.body.clone();
        body.insert("next".to_owned(), token.into());
        body
    }

    async fn fetch(&self, body: JsonObject) -> Result<AccessPage<T>, Error> {
        self.client.submit(Method::POST, self.path, Some(body.into()), Repeat::Safe, self.read).await
    }
}

impl Client {
    /// Lists the principals that may perform an action on a resource. The token needs the scope `epr:list`.
    pub fn access_principals(&self, request: &PrincipalsRequest) -> AccessList<AccessItem> {
        let question =
            object([("action", request.action.as_str().into()), ("resource_id", request.resource_id.into())]);
        let filters = [("principal_type", request.principal_type.as_ref().map(|kind| kind.as_str().into()))];
        self.access("api/v1/access/principals", question, filters, &request.list)
    }

    /// Lists the resources on which a principal may perform an action, one item for each, whatever the request's form
    /// is. The token needs the scope `epr:list`.
    pub fn access_resources(&self, request: &ResourcesRequest) -> AccessList<AccessItem> {
        self.resources(request, None)
    }

    /// Lists the resources on which a principal may perform an action as subtrees with exclusions, whatever the
    /// request's form is. The token needs the scope `epr:list`.
    pub fn access_subtrees(&self, request: &ResourcesRequest) -> AccessList<SubtreeItem> {
        self.resources(request, Some(ListForm::Subtrees))
    }

    fn resources<T: Value + Send + 'static>(
        &self,
        request: &ResourcesRequest,
        form: Option<ListForm>,
    ) -> AccessList<T> {
        let question = object([
            ("principal_id", request.principal_id.into()),
            ("principal_type", request.principal_type.as_str().into()),
            ("action", request.action.as_str().into()),
        ]);
        let filters = [
            ("resource_type", request.resource_type.as_ref().map(|kind| kind.word().into())),
            ("within", request.within.map(Json::from)),
            ("form", form.map(|form| form.word().into())),
        ];
        self.access("api/v1/access/resources", question, filters, &request.list)
    }

    /// Lists the actions that a principal may perform on a resource. The token needs the scope `epr:list`.
    pub fn access_actions(&self, request: &ActionsRequest) -> AccessList<AccessItem> {
        let question = object([
            ("principal_id", request.principal_id.into()),
            ("principal_type", request.principal_type.as_str().into()),
            ("resource_id", request.resource_id.into()),
        ]);
        self.access("api/v1/access/actions", question, [], &request.list)
    }

    fn access<T: Value + Send + 'static>(
        &self,
        path: &'static str,
        question: JsonObject,
        filters: impl IntoIterator<Item = (&'static str, Option<Json>)>,
        list: &ListRequest,
    ) -> AccessList<T> {
        let mut body = question;
        let include: Vec<_> = list.include.iter().map(|word| Json::from(word.word())).collect();
        let members = [
            ("context", (!list.context.is_empty()).then(|| list.context.clone().into())),
            ("limit", Some(Json::Int(list.limit.into()))),
            ("next", list.next.as_deref().map(Json::from)),
            ("at", list.at.map(|at| at.to_string().into())),
            ("revision", list.revision.map(|revision| revision.to_string().into())),
            ("explain", (!list.explain).then_some(Json::Bool(false))),
            ("include", (!include.is_empty()).then_some(Json::List(include))),
        ];
        let given = filters.into_iter().chain(members).filter_map(|(name, value)| Some((name.to_owned(), value?)));
        body.extend(given);
        AccessList { client: self.clone(), path, body, read: AccessPage::from_json }
    }
}
