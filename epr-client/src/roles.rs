//! `/api/v1/roles`

use epr_core::domain::fields::{self, Fields};
use epr_core::domain::json::object;
use epr_core::domain::role::Action;
use epr_core::domain::{Invalid, Json, JsonObject, NewRole, Role, RolePatch};
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
        self.submit(Method::POST, PATH, Some(write(new)), Repeat::Unsafe, read).await
    }

    /// Reads a role.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn role(&self, id: Uuid) -> Result<Role, Error> {
        self.get(&wire::object(PATH, id), read).await
    }

    /// Lists roles, newest first.
    pub fn roles(&self) -> List<Role> {
        List::new(self, PATH, [], 500, read)
    }

    /// Changes a role; absent fields stay as they are. A description can be emptied but not removed: the service takes
    /// `null` for no change, and this client sends an empty text instead.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn update_role(&self, id: Uuid, patch: &RolePatch) -> Result<Role, Error> {
        self.submit(Method::PATCH, &wire::object(PATH, id), Some(write_patch(patch)), Repeat::Unsafe, read).await
    }
}

fn write(new: &NewRole) -> Json {
    Json::Object(object([
        ("name", new.name.as_str().into()),
        ("description", new.description.as_ref().map(|text| text.as_str().to_owned()).into()),
        ("scope_types", wire::types(&new.scope_types)),
        ("permissions", new.permissions.iter().map(Action::as_str).collect::<Vec<_>>().into()),
        ("is_system", new.is_system.into()),
    ]))
}

fn write_patch(patch: &RolePatch) -> Json {
    let mut body = JsonObject::new();
    if let Some(description) = &patch.description {
        let text = description.as_ref().map_or_else(String::new, |text| text.as_str().to_owned());
        body.insert("description".into(), text.into());
    }
    if let Some(types) = &patch.scope_types {
        body.insert("scope_types".into(), wire::types(types));
    }
    if let Some(permissions) = &patch.permissions {
        let actions: Vec<_> = permissions.iter().map(Action::as_str).collect();
        body.insert("permissions".into(), actions.into());
    }
    Json::Object(body)
}

fn read(json: &Json) -> Result<Role, Invalid> {
    let mut fields = Fields::of_body(json)?;
    let id = fields.required("id", fields::uuid);
    let name = fields.required("name", wire::text);
    let description = fields.required("description", wire::nullable_text);
    let scope_types = fields.required("scope_types", fields::list(fields::choice));
    let is_system = fields.required("is_system", fields::boolean);
    let permissions = fields.required("permissions", fields::list(wire::text));
    let created_at = fields.required("created_at", fields::timestamp);
    let updated_at = fields.required("updated_at", fields::timestamp);
    let build = || {
        Some(Role {
            id: id?,
            name: name?,
            description: description?,
            scope_types: scope_types?,
            is_system: is_system?,
            permissions: permissions?,
            created_at: created_at?,
            updated_at: updated_at?,
        })
    };
    let build = build();
    fields.finish(build)
}
