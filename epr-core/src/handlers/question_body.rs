//! Reads the body of a check: the decision itself knows no JSON.

use crate::decision::Question;
use crate::domain::assignment::default_principal_type;
use crate::domain::fields::{self, Fields};
use crate::domain::{Invalid, Json};

impl Question {
    /// Reads the body of a check; `principal` is the name of the member that holds the principal's id.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json, principal: &'static str) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        let principal_id = fields.required(principal, fields::uuid);
        let action = fields.required("action", fields::text);
        let resource_id = fields.required("resource_id", fields::uuid);
        let principal_type = fields.given("principal_type", fields::text).unwrap_or_else(default_principal_type);
        let build = principal_id.zip(action).zip(resource_id).map(|((principal_id, action), resource_id)| Self {
            principal_id,
            principal_type,
            action,
            resource_id,
        });
        fields.finish(build)
    }
}
