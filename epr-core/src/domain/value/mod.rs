//! The value types: bounded text, timestamps, JSON and trace ids.
//!
//! Owns the rules that make a single value valid. Must never know a registry type or a caller's request.

mod digits;
pub mod external_id;
pub mod json;
mod json_object;
pub mod revision;
pub mod stated_reason;
pub mod text;
pub mod time;
pub mod topic_text;
pub mod trace;
