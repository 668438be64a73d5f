//! The conditions and the contexts of the model.

use crate::domain::json::object;
use crate::domain::{Condition, Json, JsonObject, ParameterType};

/// The number of conditions.
pub(super) const CONDITIONS: u8 = 5;
/// The number of contexts.
pub(super) const CONTEXTS: u8 = 3;

/// A condition on the context, on the resource, on the principal, on the time, and on several of them.
pub(super) fn condition(which: u8) -> Condition {
    match which {
        0 => Condition::new("context.level >= 2").parameter("level", ParameterType::Int),
        1 => Condition::new("resource.attributes.open"),
        2 => Condition::new("principal.attributes.cleared"),
        3 => Condition::new("now < timestamp('2026-01-01T00:00:20Z')"),
        _ => Condition::new("resource.attributes.open && (principal.attributes.cleared || context.level >= 2)")
            .parameter("level", ParameterType::Int),
    }
}

/// No context, a low level, and a high one.
pub(super) fn context(which: u8) -> JsonObject {
    match which {
        0 => JsonObject::new(),
        level => object([("level", Json::Int(level.into()))]),
    }
}
