//! The inputs of an evaluation.
//!
//! Owns the inputs and the record of which of them an expression reads. Must never read anything else.
//!
//! INVARIANT: what the caller of one question sends (context, properties) is borrowed for the evaluation and part of no
//! type that is kept, so that no cache can hold it.

use std::sync::Arc;

use uuid::Uuid;

use crate::domain::{JsonObject, Timestamp};

/// The inputs that an expression reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each of which a caller asks for by its name")]
pub struct Reads {
    /// A parameter.
    pub context: bool,
    /// The present time.
    pub now: bool,
    /// The external id of the principal.
    pub principal_external_id: bool,
    /// The stored attributes of the principal, also as a part of `effective`.
    pub principal_attributes: bool,
    /// The properties that the caller states about the principal, also as a part of `effective`.
    pub principal_properties: bool,
    /// The id or the type of the resource.
    pub resource_identity: bool,
    /// The external id of the resource.
    pub resource_external_id: bool,
    /// The stored attributes of the resource, also as a part of `effective`.
    pub resource_attributes: bool,
    /// The properties that the caller states about the resource, also as a part of `effective`.
    pub resource_properties: bool,
    /// The properties that the caller states about the action.
    pub action_properties: bool,
}

impl Reads {
    /// Whether the outcome can differ from one resource to another.
    #[must_use]
    pub fn resource(&self) -> bool {
        self.resource_identity || self.resource_external_id || self.resource_attributes || self.resource_properties
    }
}

/// The values that an evaluation can read.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The context of the question.
    pub context: &'a JsonObject,
    /// The principal of the question.
    pub principal: &'a Described,
    /// The resource of the question.
    pub resource: &'a Described,
    /// The action of the question.
    pub action: &'a str,
    /// What the caller states about these three.
    pub properties: Properties<'a>,
    /// The present time.
    pub now: Timestamp,
}

static EMPTY: JsonObject = JsonObject::new();

/// What a caller states about the parts of its question; empty for callers that may not state anything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Properties<'a> {
    /// About the principal.
    pub principal: &'a JsonObject,
    /// About the resource.
    pub resource: &'a JsonObject,
    /// About the action.
    pub action: &'a JsonObject,
}

impl Properties<'static> {
    /// No properties.
    pub const NONE: Self = Self { principal: &EMPTY, resource: &EMPTY, action: &EMPTY };
}

impl Properties<'_> {
    /// Whether nothing is stated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.principal.is_empty() && self.resource.is_empty() && self.action.is_empty()
    }
}

/// What the caller of one question sends beside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sent<'a> {
    /// What conditions can read under `context`.
    pub context: &'a JsonObject,
    /// What conditions can read under `properties`, and as a part of `effective`.
    pub properties: Properties<'a>,
}

/// A context without properties.
impl<'a> From<&'a JsonObject> for Sent<'a> {
    fn from(context: &'a JsonObject) -> Self {
        Self { context, properties: Properties::NONE }
    }
}

/// A principal or a resource as it is stored, as an expression sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// The id; `None` for a resource that is not registered, whose id conditions find missing.
    pub id: Option<Uuid>,
    /// The principal type or entity type.
    pub kind: String,
    /// The external id, if there is one.
    pub external_id: Option<String>,
    /// The stored attributes.
    pub attributes: Arc<JsonObject>,
    /// Whether the external id and the attributes have been erased since: nobody knows them, and every expression that
    /// reads them misses them.
    pub is_erased: bool,
}

impl Described {
    /// A principal or a resource without external id and attributes.
    #[must_use]
    pub fn new(id: Uuid, kind: impl Into<String>) -> Self {
        Self { id: Some(id), kind: kind.into(), external_id: None, attributes: Arc::default(), is_erased: false }
    }
}
