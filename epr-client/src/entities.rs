//! `/api/v1/entities`

use epr_core::domain::fields::{self, Choice as _, Fields};
use epr_core::domain::json::object;
use epr_core::domain::{Entity, EntityFilter, EntityPatch, Invalid, Json, JsonObject, NewEntity};
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
    /// [`Error::Conflict`] when another entity of the type has the name, [`Error::Invalid`] when the parent does not
    /// exist.
    pub async fn create_entity(&self, new: &NewEntity) -> Result<Entity, Error> {
        self.submit(Method::POST, PATH, Some(write(new)), Repeat::Unsafe, read).await
    }

    /// Reads an entity, an archived one included.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn entity(&self, id: Uuid) -> Result<Entity, Error> {
        self.get(&wire::object(PATH, id), read).await
    }

    /// Lists entities, newest first, without the archived ones.
    pub fn entities(&self, filter: &EntityFilter) -> List<Entity> {
        let types = filter.types.iter().map(|entity_type| ("type", entity_type.word().to_owned()));
        List::new(self, PATH, types.chain(wire::parameter("parent_id", filter.parent_id)), 500, read)
    }

    /// Changes an entity; absent fields stay as they are.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`] when the new name is in use, [`Error::Invalid`] when the new parent
    /// would close a cycle.
    pub async fn update_entity(&self, id: Uuid, patch: &EntityPatch) -> Result<Entity, Error> {
        self.submit(Method::PATCH, &wire::object(PATH, id), Some(write_patch(patch)), Repeat::Unsafe, read).await
    }

    /// Archives an entity. Archiving it again changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn archive_entity(&self, id: Uuid) -> Result<Entity, Error> {
        self.submit(Method::POST, &format!("{PATH}/{id}/archive"), None, Repeat::Safe, read).await
    }
}

fn write(new: &NewEntity) -> Json {
    Json::Object(object([
        ("name", new.name.as_str().into()),
        ("type", new.entity_type.word().into()),
        ("status", new.status.word().into()),
        ("parent_id", new.parent_id.into()),
        ("attributes", new.attributes.clone().into()),
    ]))
}

fn write_patch(patch: &EntityPatch) -> Json {
    let mut body = JsonObject::new();
    if let Some(name) = &patch.name {
        body.insert("name".into(), name.as_str().into());
    }
    if let Some(status) = patch.status {
        body.insert("status".into(), status.word().into());
    }
    if let Some(parent_id) = patch.parent_id {
        body.insert("parent_id".into(), parent_id.into());
    }
    if let Some(attributes) = &patch.attributes {
        body.insert("attributes".into(), attributes.clone().into());
    }
    Json::Object(body)
}

fn read(json: &Json) -> Result<Entity, Invalid> {
    let mut fields = Fields::of_body(json)?;
    let id = fields.required("id", fields::uuid);
    let name = fields.required("name", wire::text);
    let entity_type = fields.required("type", fields::choice);
    let status = fields.required("status", fields::choice);
    let parent_id = fields.required("parent_id", fields::nullable(fields::uuid));
    let attributes = fields.required("attributes", fields::object);
    let created_at = fields.required("created_at", fields::timestamp);
    let updated_at = fields.required("updated_at", fields::timestamp);
    let build = || {
        Some(Entity {
            id: id?,
            name: name?,
            entity_type: entity_type?,
            status: status?,
            parent_id: parent_id?,
            attributes: attributes?,
            created_at: created_at?,
            updated_at: updated_at?,
        })
    };
    let build = build();
    fields.finish(build)
}
