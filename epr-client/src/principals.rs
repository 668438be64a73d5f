//! `/api/v1/principals`

use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{Json, Moment, NewPrincipal, Principal, PrincipalFilter, PrincipalPatch};
use reqwest::Method;
use uuid::Uuid;

use crate::client::Client;
use crate::error::Error;
use crate::list::List;
use crate::retry::Repeat;
use crate::transport::Request;
use crate::wire;

const PATH: &str = "api/v1/principals";

impl Client {
    /// Registers a principal.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a principal of the type has the id or the external id.
    pub async fn create_principal(&self, new: &NewPrincipal) -> Result<Principal, Error> {
        self.create(PATH, new.to_body(), Repeat::Unsafe, Principal::from_json).await
    }

    /// Reads a registered principal, an erased one included.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn principal(&self, principal_type: &PrincipalType, id: Uuid) -> Result<Principal, Error> {
        let path = wire::object(PATH, id);
        self.principal_call(Method::GET, &path, principal_type, None, Repeat::Safe).await
    }

    /// Reads a principal as it was at a moment. The read is recorded as a review.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there was none; [`Error::Invalid`] or [`Error::Conflict`] when the moment cannot be
    /// asked.
    pub async fn principal_at(
        &self,
        principal_type: &PrincipalType,
        id: Uuid,
        moment: Moment,
    ) -> Result<Principal, Error> {
        let mut url = self.at(&wire::object(PATH, id));
        url.query_pairs_mut().append_pair("type", principal_type.as_str()).extend_pairs(wire::moment_pairs(moment));
        let request = Request { method: Method::GET, url, body: None, repeat: Repeat::Safe };
        self.send(request).await?.read(Principal::from_json)
    }

    /// Lists registered principals, newest first.
    pub fn principals(&self, filter: &PrincipalFilter) -> List<Principal> {
        List::new(self, PATH, filter.to_pairs(), 500, Principal::from_json)
    }

    /// Changes, suspends or activates a principal; absent fields stay as they are.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] when the new external id is taken, or when the principal was erased and
    /// the patch names a personal field.
    pub async fn update_principal(
        &self,
        principal_type: &PrincipalType,
        id: Uuid,
        patch: &PrincipalPatch,
    ) -> Result<Principal, Error> {
        let body = Some(Json::Object(patch.to_body()));
        self.principal_call(Method::PATCH, &wire::object(PATH, id), principal_type, body, Repeat::Unsafe).await
    }

    /// Erases the personal fields of a principal and revokes its assignments. It cannot be undone. Erasing it again
    /// changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not registered, [`Error::Forbidden`] without the scope `epr:erase`.
    pub async fn erase_principal(&self, principal_type: &PrincipalType, id: Uuid) -> Result<Principal, Error> {
        self.principal_call(Method::POST, &format!("{PATH}/{id}/erase"), principal_type, None, Repeat::Safe).await
    }

    async fn principal_call(
        &self,
        method: Method,
        path: &str,
        principal_type: &PrincipalType,
        body: Option<Json>,
        repeat: Repeat,
    ) -> Result<Principal, Error> {
        let mut url = self.at(path);
        url.query_pairs_mut().append_pair("type", principal_type.as_str());
        self.send(Request { method, url, body, repeat }).await?.read(Principal::from_json)
    }
}
