//! Lists of access: who may do what. Each method delegates to its handler.

use super::Epr;
use crate::call::Call;
use crate::domain::access::{AccessItem, AccessPage, ActionsRequest, PrincipalsRequest, ResourcesRequest};
use crate::domain::subtree::SubtreeItem;
use crate::error::Result;
use crate::handlers::access::{self, keys::OldTokens};

/// Lists of access. The items are exactly those for which a check says yes at the time and the revision of the first
/// page. A page that is not the last one has a token, which goes into the next request; a list never ends early without
/// one.
impl Epr {
    /// A page of the principals that may perform an action on a resource.
    ///
    /// # Errors
    /// `NotFound` when the resource is unknown; `Invalid` when the token is not one of this request, or the context is
    /// too large or has a parameter of a condition with another type than the declared one; `Conflict` when the
    /// registry has changed since the first page and history lacks that revision, or when `call` names a later one, or
    /// one of another incarnation; `Busy` when the database does not reach it in time. `Unavailable` when the page
    /// cannot be recorded: then there is none.
    pub async fn list_principals(&self, call: &Call, request: &PrincipalsRequest) -> Result<AccessPage<AccessItem>> {
        access::principals::list(&self.engines, call, request).await
    }

    /// A page of the actions that a principal may perform on a resource.
    ///
    /// # Errors
    /// Those of [`Epr::list_principals`].
    pub async fn list_actions(&self, call: &Call, request: &ActionsRequest) -> Result<AccessPage<AccessItem>> {
        access::actions::list(&self.engines, call, request).await
    }

    /// A page of the resources on which a principal may perform an action.
    ///
    /// # Errors
    /// Those of [`Epr::list_principals`].
    pub async fn list_resources(&self, call: &Call, request: &ResourcesRequest) -> Result<AccessPage<AccessItem>> {
        access::resources::list(&self.engines, call, request).await
    }

    /// A page of the same resources as subtrees, one for each assignment, whatever the form that `request` names.
    ///
    /// # Errors
    /// Those of [`Epr::list_principals`].
    pub async fn list_subtrees(&self, call: &Call, request: &ResourcesRequest) -> Result<AccessPage<SubtreeItem>> {
        access::subtrees::list(&self.engines, call, request).await
    }

    /// Starts a new key of page tokens. Tokens of the present key are accepted for one more day. Returns the number of
    /// the new key.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn rotate_list_key(&self) -> Result<i64> {
        access::keys::rotate(&self.engines, OldTokens::AcceptForADay).await
    }

    /// Starts a new key of page tokens and deletes all others, whose tokens are refused from now on: for a copy of the
    /// database in wrong hands. Returns the number of the new key.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn revoke_list_keys(&self) -> Result<i64> {
        access::keys::rotate(&self.engines, OldTokens::Refuse).await
    }
}
