//! Reading what the API answers, as strictly as it reads what it is sent.

use epr_core::domain::fields::{self, Fields};
use epr_core::domain::{Assignment, Entity, Invalid, Json, Role, Text};

type AnyText = Text<0, 1024>;

pub(super) fn entity(json: &Json) -> Result<Entity, Invalid> {
    let mut fields = Fields::of_body(json)?;
    let id = fields.required("id", fields::uuid);
    let name: Option<AnyText> = fields.required("name", fields::text);
    let entity_type = fields.required("type", fields::choice);
    let status = fields.required("status", fields::choice);
    let parent_id = fields.required("parent_id", fields::nullable(fields::uuid));
    let attributes = fields.required("attributes", fields::object);
    let created_at = fields.required("created_at", fields::timestamp);
    let updated_at = fields.required("updated_at", fields::timestamp);
    let build = || {
        Some(Entity {
            id: id?,
            name: name?.into_string(),
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

pub(super) fn role(json: &Json) -> Result<Role, Invalid> {
    let mut fields = Fields::of_body(json)?;
    let id = fields.required("id", fields::uuid);
    let name: Option<AnyText> = fields.required("name", fields::text);
    let description: Option<Option<AnyText>> = fields.required("description", fields::nullable(fields::text));
    let scope_types = fields.required("scope_types", fields::list(fields::choice));
    let is_system = fields.required("is_system", fields::boolean);
    let permissions: Option<Vec<AnyText>> = fields.required("permissions", fields::list(fields::text));
    let created_at = fields.required("created_at", fields::timestamp);
    let updated_at = fields.required("updated_at", fields::timestamp);
    let build = || {
        Some(Role {
            id: id?,
            name: name?.into_string(),
            description: description?.map(Text::into_string),
            scope_types: scope_types?,
            is_system: is_system?,
            permissions: permissions?.into_iter().map(Text::into_string).collect(),
            created_at: created_at?,
            updated_at: updated_at?,
        })
    };
    let build = build();
    fields.finish(build)
}

pub(super) fn assignment(json: &Json) -> Result<Assignment, Invalid> {
    let mut fields = Fields::of_body(json)?;
    let id = fields.required("id", fields::uuid);
    let principal_id = fields.required("principal_id", fields::uuid);
    let principal_type: Option<AnyText> = fields.required("principal_type", fields::text);
    let role_id = fields.required("role_id", fields::uuid);
    let entity_id = fields.required("entity_id", fields::nullable(fields::uuid));
    let effective_at = fields.required("effective_at", fields::timestamp);
    let expires_at = fields.required("expires_at", fields::nullable(fields::timestamp));
    let created_at = fields.required("created_at", fields::timestamp);
    let updated_at = fields.required("updated_at", fields::timestamp);
    let build = || {
        Some(Assignment {
            id: id?,
            principal_id: principal_id?,
            principal_type: principal_type?.into_string(),
            role_id: role_id?,
            entity_id: entity_id?,
            effective_at: effective_at?,
            expires_at: expires_at?,
            created_at: created_at?,
            updated_at: updated_at?,
        })
    };
    let build = build();
    fields.finish(build)
}
