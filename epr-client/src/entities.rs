//! `/api/v1/entities`

use epr_core::domain::{Entity, EntityFilter, EntityPatch, Json, Moment, NewEntity};
use reqwest::Method;
use uuid::Uuid;

use crate::client::Client;
use crate::error::Error;
use crate::list::List;
use crate::retry::Repeat;
use crate::wire;

const PATH: &str = "api/v1/entities";

impl Client {
    /// Creates an entity.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another entity of the type has the name or the external id, [`Error::Invalid`] when the
    /// parent does not exist.
    pub async fn create_entity(&self, new: &NewEntity) -> Result<Entity, Error> {
        self.create(PATH, new.to_body(), Repeat::Unsafe, Entity::from_json).await
    }

    /// Reads an entity, an archived one included.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn entity(&self, id: Uuid) -> Result<Entity, Error> {
        self.get(&wire::object(PATH, id), Entity::from_json).await
    }

    /// Reads an entity as it was at a moment. The read is recorded as a review.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there was none; [`Error::Invalid`] or [`Error::Conflict`] when the moment cannot be
    /// asked.
    pub async fn entity_at(&self, id: Uuid, moment: Moment) -> Result<Entity, Error> {
        self.get_at(&wire::object(PATH, id), moment, Entity::from_json).await
    }

    /// Lists entities, newest first, without the archived ones.
    pub fn entities(&self, filter: &EntityFilter) -> List<Entity> {
        List::new(self, PATH, filter.to_pairs(), 500, Entity::from_json)
    }

    /// Changes an entity; absent fields stay as they are.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`] when the new name is in use, [`Error::Invalid`] when the new parent
    /// would close a cycle.
    pub async fn update_entity(&self, id: Uuid, patch: &EntityPatch) -> Result<Entity, Error> {
        self.submit(
            Method::PATCH,
            &wire::object(PATH, id),
            Some(Json::Object(patch.to_body())),
            Repeat::Unsafe,
            Entity::from_json,
        )
        .await
    }

    /// Archives an entity. Archiving it again changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn archive_entity(&self, id: Uuid) -> Result<Entity, Error> {
        self.submit(Method::POST, &format!("{PATH}/{id}/archive"), None, Repeat::Safe, Entity::from_json).await
    }
}
