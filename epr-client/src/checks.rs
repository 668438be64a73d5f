//! `/api/v1/authorize` and `/api/v1/permissions/check`: the same check under two sets of field names.

use epr_core::decision::Question;
use epr_core::domain::Json;
use epr_core::domain::json::object;
use reqwest::Method;

use crate::client::Client;
use crate::error::Error;
use crate::retry::Repeat;
use crate::wire;

impl Client {
    /// Asks whether the principal may do the action on the resource.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the resource does not exist. No error is a decision: treat each as denied or try again.
    pub async fn authorize(&self, question: &Question) -> Result<bool, Error> {
        let body = Some(write(question, "user_id"));
        let read = |json: &Json| wire::truth(json, "authorized");
        self.submit(Method::POST, "api/v1/authorize", body, Repeat::Safe, read).await
    }

    /// Checks as [`authorize`](Self::authorize) does, by `/api/v1/permissions/check`.
    ///
    /// # Errors
    /// Those of [`authorize`](Self::authorize).
    pub async fn check(&self, question: &Question) -> Result<bool, Error> {
        let body = Some(write(question, "principal_id"));
        let read = |json: &Json| wire::truth(json, "allowed");
        self.submit(Method::POST, "api/v1/permissions/check", body, Repeat::Safe, read).await
    }
}

/// `principal` is the name of the member for the principal's id.
fn write(question: &Question, principal: &'static str) -> Json {
    Json::Object(object([
        (principal, question.principal_id.into()),
        ("principal_type", question.principal_type.as_str().into()),
        ("action", question.action.as_str().into()),
        ("resource_id", question.resource_id.into()),
    ]))
}
