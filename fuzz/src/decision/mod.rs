//! The language of conditions.

#[path = "../../../epr-core/src/decision/condition/mod.rs"]
pub mod condition;
