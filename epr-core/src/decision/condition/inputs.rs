//! The inputs of an evaluation.
//!
//! Owns the inputs and the record of which of them an expression reads. Must never read anything else.

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
    /// The present time.
    pub now: Timestamp,
}

/// A principal or a resource, as an expression sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// The id.
    pub id: Uuid,
    /// The principal type or entity type.
    pub kind: String,
    /// The external id, if there is one.
    pub external_id: Option<String>,
    /// The stored attributes.
    pub attributes: JsonObject,
    /// What the caller states about it; empty for callers that may not.
    pub properties: JsonObject,
    /// Whether the external id and the attributes have been erased since: nobody knows them, and every expression that
    /// reads them misses them.
    pub is_erased: bool,
}

impl Described {
    /// A principal or a resource without external id, attributes and properties.
    #[must_use]
    pub fn new(id: Uuid, kind: impl Into<String>) -> Self {
        let (attributes, properties) = (JsonObject::new(), JsonObject::new());
        Self { id, kind: kind.into(), external_id: None, attributes, properties, is_erased: false }
    }
}
