//! Tests of the language: what it accepts, what it rejects with which sentence, and what an evaluation ends with.

mod conformance;
mod cost;
mod language;
mod page;
mod properties;
mod random;
mod rejections;

use uuid::Uuid;

use super::{Compiled, Described, Evaluation, Inputs, Outcome, Properties};
use crate::domain::input::value::Value as _;
use crate::domain::{Condition, Json, JsonObject, Timestamp};

/// The inputs of a test, owned.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) context: JsonObject,
    pub(super) principal: Described,
    pub(super) resource: Described,
    /// What is stated about the principal, the resource and the action.
    pub(super) properties: [JsonObject; 3],
    pub(super) now: Timestamp,
}

impl World {
    /// A world with a principal and a resource that have some attributes.
    pub(super) fn new() -> Self {
        let mut principal = Described::new(Uuid::from_u128(0xa), "user");
        principal.external_id = Some("emp-7".into());
        let attributes = members(
            r#"{"clearance":3,"name":"Ada","tags":["a","b"],"office":{"city":"Berlin"},"none":null,"rate":0.5,
                "t":"2026-03-01T12:00:00.000001Z"}"#,
        );
        principal.attributes = attributes.into();
        let mut resource = Described::new(Uuid::from_u128(0xb), "spv");
        let attributes =
            members(r#"{"owner":"00000000-0000-0000-0000-00000000000a","level":2,"big":18446744073709551615}"#);
        resource.attributes = attributes.into();
        let now = Timestamp::parse("2026-03-01T12:00:00Z").unwrap();
        let properties = [members(r#"{"clearance":5,"device":"phone"}"#), JsonObject::new(), JsonObject::new()];
        Self { context: JsonObject::new(), principal, resource, properties, now }
    }

    pub(super) fn with_context(mut self, context: &str) -> Self {
        self.context = members(context);
        self
    }

    pub(super) fn inputs(&self) -> Inputs<'_> {
        let [principal, resource, action] = &self.properties;
        Inputs {
            context: &self.context,
            principal: &self.principal,
            resource: &self.resource,
            action: "document:download",
            properties: Properties { principal, resource, action },
            now: self.now,
        }
    }

    pub(super) fn evaluate(&self, condition: &Condition) -> Evaluation {
        Compiled::new(condition)
            .unwrap_or_else(|error| panic!("{}: {error}", condition.expression))
            .evaluate(&self.inputs())
    }
}

pub(super) fn members(text: &str) -> JsonObject {
    let Json::Object(members) = Json::parse(text.as_bytes()).unwrap() else { panic!("{text} is no object") };
    members
}

/// A condition from its expression and the JSON of its parameters.
pub(super) fn condition(expression: &str, parameters: &str) -> Condition {
    let mut body = members("{}");
    body.insert("expression".into(), expression.into());
    body.insert("parameters".into(), Json::Object(members(parameters)));
    Condition::read(&Json::Object(body)).unwrap()
}

/// The outcome of an expression without parameters, in the usual world, as a short text.
pub(super) fn outcome(expression: &str) -> String {
    shown(&World::new().evaluate(&condition(expression, "{}")).outcome)
}

/// An outcome as the conformance file writes it.
pub(super) fn shown(outcome: &Outcome) -> String {
    use crate::domain::fields::Choice as _;
    match outcome {
        Outcome::True => "true".into(),
        Outcome::False => "false".into(),
        Outcome::Missing(names) => {
            format!("missing {}", names.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
        }
        Outcome::Error(error) => format!("error {}", error.kind.word()),
        Outcome::WrongType(parameters) => {
            let shown: Vec<_> = parameters.iter().map(|(name, expected)| format!(" {name} {expected}")).collect();
            format!("wrong_type{}", shown.concat())
        }
    }
}
