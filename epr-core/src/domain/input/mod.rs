//! The input of callers: reading it field by field, describing it in the OpenAPI document, and the declarations from
//! which both follow.
//!
//! Owns the readers of single values and the shape of validation errors. Must never know what a field is for.

pub mod accepted;
pub(crate) mod declare;
pub(crate) mod declare_answer;
pub mod fields;
pub(crate) mod nearest;
pub mod query;
pub(crate) mod schema;
pub mod value;
