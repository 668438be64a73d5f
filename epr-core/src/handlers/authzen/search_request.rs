//! Reads the bodies of AuthZEN searches.
//!
//! Owns which members each of the three endpoints requires, and which it ignores. Must never ask the registry.

use sha2::{Digest as _, Sha256};

use super::request::{NamedAction, NamedEntity, action, context, entity, object};
use crate::decision::NamedType;
use crate::domain::fields::{self, Fields, Problem, Reading};
use crate::domain::input::declare::words;
use crate::domain::json::object as json_object;
use crate::domain::{Invalid, Json, JsonObject};
use crate::ledger::canonical;
use crate::store::ExternalName;

use serde::Serialize;

/// The most results of one page, and the number of a page for which the caller states no limit.
pub const MAX_RESULTS: u32 = 1000;
/// The most characters of a token.
const MAX_TOKEN_CHARS: usize = 4096;

words! {
    /// What a search looks for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
    pub enum SearchKind: "kind of search" {
        /// Subjects that may perform an action on a resource.
        Subject = "subject",
        /// Resources on which a subject may perform an action.
        Resource = "resource",
        /// Actions that a subject may perform on a resource.
        Action = "action",
    }
}

/// The question of a search. What is looked for has a type and no id; properties stated about it are ignored.
#[derive(Debug, Clone, PartialEq)]
pub enum SearchQuestion {
    /// Subjects of a type.
    Subjects {
        /// The type.
        subject_type: NamedType,
        /// The action that they may perform.
        action: NamedAction,
        /// The resource.
        resource: NamedEntity,
    },
    /// Resources of a type.
    Resources {
        /// The subject.
        subject: NamedEntity,
        /// The action.
        action: NamedAction,
        /// The type.
        resource_type: NamedType,
    },
    /// Actions.
    Actions {
        /// The subject.
        subject: NamedEntity,
        /// The resource.
        resource: NamedEntity,
    },
}

/// A search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// The question.
    pub question: SearchQuestion,
    /// The data that conditions read under `context`.
    pub context: JsonObject,
    /// The most results of a page, if the caller states it.
    pub limit: Option<u32>,
    /// The token of the page; `None` for the first one.
    pub token: Option<String>,
}

impl SearchQuestion {
    /// What is looked for.
    #[must_use]
    pub fn kind(&self) -> SearchKind {
        match self {
            Self::Subjects { .. } => SearchKind::Subject,
            Self::Resources { .. } => SearchKind::Resource,
            Self::Actions { .. } => SearchKind::Action,
        }
    }
}

impl SearchRequest {
    /// Reads the body of a search. Unknown members, and members about what is looked for, are ignored.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(kind: SearchKind, body: &Json) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        let question = match kind {
            SearchKind::Subject => {
                let subject_type = fields.required("subject", type_only);
                let action = fields.required("action", action);
                let resource = fields.required("resource", entity);
                let all = subject_type.zip(action).zip(resource);
                all.map(|((subject_type, action), resource)| SearchQuestion::Subjects {
                    subject_type,
                    action,
                    resource,
                })
            }
            SearchKind::Resource => {
                let subject = fields.required("subject", entity);
                let action = fields.required("action", action);
                let resource_type = fields.required("resource", type_only);
                let all = subject.zip(action).zip(resource_type);
                all.map(|((subject, action), resource_type)| SearchQuestion::Resources {
                    subject,
                    action,
                    resource_type,
                })
            }
            SearchKind::Action => {
                let (subject, resource) = (fields.required("subject", entity), fields.required("resource", entity));
                subject.zip(resource).map(|(subject, resource)| SearchQuestion::Actions { subject, resource })
            }
        };
        let context = fields.optional("context", context).unwrap_or_default();
        let (limit, token) = fields.optional("page", page).unwrap_or_default();
        fields.finish(question.map(|question| Self { question, context, limit, token }))
    }

    /// The hash of everything that the pages of the search have in common.
    #[must_use]
    pub(super) fn hash(&self) -> [u8; 32] {
        let named = |name: &ExternalName| {
            Json::Object(json_object([("type", name.kind.as_str().into()), ("id", name.id.as_str().into())]))
        };
        let of_entity =
            |entity: &NamedEntity| Json::List(vec![named(&entity.name), Json::Object(entity.properties.clone())]);
        let of_action = |action: &NamedAction| {
            Json::List(vec![action.name.as_str().into(), Json::Object(action.properties.clone())])
        };
        let parts = match &self.question {
            SearchQuestion::Subjects { subject_type, action, resource } => {
                vec![subject_type.as_str().into(), of_action(action), of_entity(resource)]
            }
            SearchQuestion::Resources { subject, action, resource_type } => {
                vec![of_entity(subject), of_action(action), resource_type.as_str().into()]
            }
            SearchQuestion::Actions { subject, resource } => vec![of_entity(subject), of_entity(resource)],
        };
        // The name of the endpoint keeps tokens of other lists out.
        let endpoint = format!("authzen search {}", self.question.kind());
        let parts = [vec![endpoint.into()], parts, vec![Json::Object(self.context.clone())]].concat();
        Sha256::digest(canonical::text_of(&Json::List(parts))).into()
    }
}

/// The type of what is looked for. Its id and its properties are ignored, whatever they are.
fn type_only(value: &Json) -> Reading<NamedType> {
    let mut fields = object(value)?;
    let kind = fields.required("type", fields::text);
    fields.finish_nested(kind)
}

/// The limit and the token of a page. A limit of 0 states no limit, and an empty token none.
fn page(value: &Json) -> Reading<(Option<u32>, Option<String>)> {
    let mut fields = object(value)?;
    let limit = fields.optional("limit", limit).filter(|limit| *limit > 0);
    let token = fields.filled("token", token);
    fields.finish_nested(Some((limit, token)))
}

fn limit(value: &Json) -> Reading<u32> {
    match value {
        Json::Int(number) if *number >= 0 => Ok(u32::try_from(*number).unwrap_or(u32::MAX).min(MAX_RESULTS)),
        Json::UInt(_) => Ok(MAX_RESULTS),
        _ => Err(vec![Problem::new("int_parsing", "Input should be a whole number, 0 or more")]),
    }
}

fn token(value: &Json) -> Reading<String> {
    match value.as_text() {
        Some(text) if text.len() <= MAX_TOKEN_CHARS => Ok(text.to_owned()),
        Some(_) => Err(vec![Problem::new("page_token", "This is not a token of this service")]),
        None => Err(vec![Problem::new("string_type", "Input should be a valid string")]),
    }
}
