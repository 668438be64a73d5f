//! `/api/v1/roles`

use epr_core::domain::{Json, Moment, NewRole, Role, RolePatch};
use reqwest::Method;
use uuid::Uuid;

use crate::client::Client;
use crate::error::Error;
use crate::list::List;
use crate::retry::Repeat;
use crate::wire;

const PATH: &str = "api/v1/roles";

impl Client {
    /// Creates a role. Actions that are new to the registry are created with it; `is_system` is ignored by the service.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the name is in use.
    pub async fn create_role(&self, new: &NewRole) -> Result<Role, Error> {
        self.create(PATH, new.to_body(), Repeat::Unsafe, Role::from_json).await
    }

    /// Reads a role.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn role(&self, id: Uuid) -> Result<Role, Error> {
        self.get(&wire::object(PATH, id), Role::from_json).await
    }

    /// Reads a role as it was at a moment. The read is recorded as a review.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there was none; [`Error::Invalid`] or [`Error::Conflict`] when the moment cannot be
    /// asked.
    pub async fn role_at(&self, id: Uuid, moment: Moment) -> Result<Role, Error> {
        self.get_at(&wire::object(PATH, id), moment, Role::from_json).await
    }

    /// Lists roles, newest first.
    pub fn roles(&self) -> List<Role> {
        List::new(self, PATH, [], 500, Role::from_json)
    }

    /// Changes a role; absent fields stay as they are. A description can be emptied but not removed: the service takes
    /// `null` for no change, and this client sends an empty text instead.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn update_role(&self, id: Uuid, patch: &RolePatch) -> Result<Role, Error> {
        self.submit(Method::PATCH, &wire::object(PATH, id), Some(write_patch(patch)), Repeat::Unsafe, Role::from_json)
            .await
    }
}

/// The body of a change. An empty text takes the place of a description that is to be removed.
fn write_patch(patch: &RolePatch) -> Json {
    let mut body = patch.to_body();
    if patch.description == Some(None) {
        body.insert("description".into(), "".into());
    }
    Json::Object(body)
}
