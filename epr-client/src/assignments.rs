//! `/api/v1/assignments`

use epr_core::domain::fields::{self, Fields};
use epr_core::domain::json::object;
use epr_core::domain::{Assignment, AssignmentFilter, Invalid, Json, NewAssignment};
use reqwest::Method;
use uuid::Uuid;

use crate::client::Client;
use crate::error::Error;
use crate::list::List;
use crate::retry::Repeat;
use crate::transport::Request;
use crate::wire;

const PATH: &str = "api/v1/assignments";

impl Client {
    /// Assigns a role. The same principal, type, role and entity again returns the existing assignment.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the role does not exist, [`Error::Invalid`] when the entity does not exist or the
    /// role is not meant for its type.
    pub async fn assign(&self, new: &NewAssignment) -> Result<Assignment, Error> {
        self.submit(Method::POST, PATH, Some(write(new)), Repeat::Safe, read).await
    }

    /// Lists assignments, newest first.
    pub fn assignments(&self, filter: &AssignmentFilter) -> List<Assignment> {
        let principal_id = wire::parameter("principal_id", filter.principal_id);
        let entity_id = wire::parameter("entity_id", filter.entity_id);
        List::new(self, PATH, principal_id.into_iter().chain(entity_id), 500, read)
    }

    /// Revokes an assignment.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none: it was revoked before, or never existed.
    pub async fn revoke(&self, id: Uuid) -> Result<(), Error> {
        let url = self.at(&wire::object(PATH, id));
        // Repeated after it was carried out, it would answer that there is none.
        self.send(Request { method: Method::DELETE, url, body: None, repeat: Repeat::Unsafe }).await.map(|_| ())
    }
}

fn write(new: &NewAssignment) -> Json {
    let mut body = object([
        ("principal_id", new.principal_id.into()),
        ("principal_type", new.principal_type.as_str().into()),
        ("role_id", new.role_id.into()),
        ("entity_id", new.entity_id.into()),
        ("expires_at", new.expires_at.map(|end| end.to_string()).into()),
    ]);
    if let Some(start) = new.effective_at {
        body.insert("effective_at".into(), start.to_string().into());
    }
    Json::Object(body)
}

fn read(json: &Json) -> Result<Assignment, Invalid> {
    let mut fields = Fields::of_body(json)?;
    let id = fields.required("id", fields::uuid);
    let principal_id = fields.required("principal_id", fields::uuid);
    let principal_type = fields.required("principal_type", wire::text);
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
            principal_type: principal_type?,
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
