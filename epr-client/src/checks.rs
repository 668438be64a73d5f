//! `/api/v1/authorize` and `/api/v1/permissions/check`, the same check under two sets of field names,
//! `/api/v1/authorize/batch`, and `/api/v1/explain`.

use epr_core::CheckItem;
use epr_core::decision::{Explanation, Question};
use epr_core::domain::fields::{self, Fields, Problem, Reading};
use epr_core::domain::json::object;
use epr_core::domain::{Invalid, Json, JsonObject, Moment};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};

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

    /// Asks the same about a moment of the past, or about a time to come. The decision is recorded as a review.
    ///
    /// # Errors
    /// Those of [`authorize_in_context`](Self::authorize_in_context); [`Error::Invalid`] or [`Error::Conflict`] when
    /// the moment cannot be asked.
    pub async fn authorize_at(
        &self,
        question: &Question,
        context: &JsonObject,
        moment: impl Into<Moment>,
    ) -> Result<bool, Error> {
        let body = Some(at_moment(write(question, context, "user_id"), moment.into()));
        let read = |json: &Json| wire::truth(json, "authorized");
        self.submit(Method::POST, "api/v1/authorize", body, Repeat::Safe, read).await
    }

    /// Asks many questions in one call, of any principals: at most 1,000. The answers are in the order of the
    /// questions. A question whose resource does not exist, or whose context has a parameter of a condition with
    /// another type than the declared one, has the error of [`authorize`](Self::authorize_in_context); the others are
    /// decided.
    ///
    /// # Errors
    /// Of the whole call: [`Error::Invalid`] when there is no question or there are too many, or a context is larger
    /// than 64 KiB. No error is a decision.
    pub async fn authorize_batch(&self, checks: &[CheckItem]) -> Result<Vec<Result<bool, Error>>, Error> {
        let items = checks.iter().map(|CheckItem { question, context }| write(question, context, "user_id"));
        let body = object([("checks", Json::List(items.collect()))]).into();
        let read = |json: &Json| {
            let decisions = read_decisions(json)?;
            if decisions.len() != checks.len() {
                let msg = format!("{} decisions about {} checks", decisions.len(), checks.len());
                return Err(Invalid::one("body", Some("decisions"), Problem::new("length", msg)));
            }
            Ok(decisions)
        };
        self.submit(Method::POST, "api/v1/authorize/batch", Some(body), Repeat::Safe, read).await
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

    /// Explains the decision of a check at a moment, the present one when it is `None`: everything that it rests on, by
    /// name. The token needs the scope `epr:explain`.
    ///
    /// # Errors
    /// Those of [`authorize_in_context`](Self::authorize_in_context).
    pub async fn explain(
        &self,
        question: &Question,
        context: &JsonObject,
        moment: impl Into<Moment>,
    ) -> Result<Explanation, Error> {
        let body = at_moment(write(question, context, "user_id"), moment.into());
        self.submit(Method::POST, "api/v1/explain", Some(body), Repeat::Safe, Explanation::from_json).await
    }
}

fn read_decisions(json: &Json) -> Result<Vec<Result<bool, Error>>, Invalid> {
    let mut fields = Fields::of_body(json)?;
    let decisions = fields.required("decisions", fields::list(read_decision));
    fields.finish(decisions)
}

/// One decision of a batch, or the error that the check would have alone.
fn read_decision(json: &Json) -> Reading<Result<bool, Error>> {
    let Json::Object(members) = json else { return Err(vec![Problem::new("dict_type", "no object")]) };
    let mut fields = Fields::new("body", members);
    let authorized = fields.required("authorized", fields::boolean);
    let error = fields.optional("error", read_error);
    fields.finish_nested(authorized.map(|authorized| error.map_or(Ok(authorized), Err)))
}

fn read_error(json: &Json) -> Reading<Error> {
    let Json::Object(members) = json else { return Err(vec![Problem::new("dict_type", "no object")]) };
    let mut fields = Fields::new("body", members);
    let status = fields.required("status", fields::whole_number(400, 599));
    let detail = members.get("detail").cloned().unwrap_or(Json::Null);
    let status = status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
    let body = Json::from(object([("detail", detail)])).to_string();
    fields.finish_nested(status.map(|status| Error::from_answer(status, &HeaderMap::new(), body.as_bytes())))
}

/// Adds the members of `moment` to a body.
fn at_moment(mut body: Json, moment: Moment) -> Json {
    if let Json::Object(members) = &mut body {
        let given =
            [("at", moment.at.map(|at| at.to_string())), ("revision", moment.revision.map(|one| one.to_string()))];
        for (name, value) in given {
            if let Some(value) = value {
                members.insert(name.to_owned(), value.into());
            }
        }
    }
    body
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
