//! `/api/v1/authorize` and `/api/v1/permissions/check`, the same check under two sets of field names, and
//! `/api/v1/explain`.

use epr_core::decision::{Explanation, Question};
use epr_core::domain::json::object;
use epr_core::domain::{Json, JsonObject, Timestamp};
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
        self.authorize_in_context(question, &JsonObject::new()).await
    }

    /// Asks whether the principal may do the action on the resource in a context, which conditions read.
    ///
    /// # Errors
    /// Those of [`authorize`](Self::authorize); [`Error::Invalid`] when the context is larger than 64 KiB, or has a
    /// parameter of a condition with another type than the declared one.
    pub async fn authorize_in_context(&self, question: &Question, context: &JsonObject) -> Result<bool, Error> {
        let body = Some(write(question, context, "user_id"));
        let read = |json: &Json| wire::truth(json, "authorized");
        self.submit(Method::POST, "api/v1/authorize", body, Repeat::Safe, read).await
    }

    /// Checks as [`authorize`](Self::authorize) does, by `/api/v1/permissions/check`.
    ///
    /// # Errors
    /// Those of [`authorize`](Self::authorize).
    pub async fn check(&self, question: &Question) -> Result<bool, Error> {
        self.check_in_context(question, &JsonObject::new()).await
    }

    /// The same check as [`authorize_in_context`](Self::authorize_in_context), by `/api/v1/permissions/check`.
    ///
    /// # Errors
    /// Those of [`authorize_in_context`](Self::authorize_in_context).
    pub async fn check_in_context(&self, question: &Question, context: &JsonObject) -> Result<bool, Error> {
        let body = Some(write(question, context, "principal_id"));
        let read = |json: &Json| wire::truth(json, "allowed");
        self.submit(Method::POST, "api/v1/permissions/check", body, Repeat::Safe, read).await
    }

    /// Explains the decision of a check: everything that it rests on, by name. Windows and `now` are compared with
    /// `at`, the present time when it is `None`. The token needs the scope `epr:explain`.
    ///
    /// # Errors
    /// Those of [`authorize_in_context`](Self::authorize_in_context).
    pub async fn explain(
        &self,
        question: &Question,
        context: &JsonObject,
        at: Option<Timestamp>,
    ) -> Result<Explanation, Error> {
        let mut body = write(question, context, "user_id");
        if let (Json::Object(members), Some(at)) = (&mut body, at) {
            members.insert("at".to_owned(), at.to_string().into());
        }
        self.submit(Method::POST, "api/v1/explain", Some(body), Repeat::Safe, Explanation::from_json).await
    }
}

/// `principal` is the name of the member for the principal's id.
fn write(question: &Question, context: &JsonObject, principal: &'static str) -> Json {
    let mut members = object([
        (principal, question.principal_id.into()),
        ("principal_type", question.principal_type.as_str().into()),
        ("action", question.action.as_str().into()),
        ("resource_id", question.resource_id.into()),
    ]);
    if !context.is_empty() {
        members.insert("context".to_owned(), context.clone().into());
    }
    members.into()
}
