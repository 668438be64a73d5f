//! The input of callers: reading it field by field, and describing it in the OpenAPI document.
//!
//! Owns the readers of single values and the shape of validation errors. Must never know what a field is for.

pub mod fields;
pub(crate) mod nearest;
pub(crate) mod schema;
