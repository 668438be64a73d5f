//! The registry's vocabulary: entities, roles, assignments, and the rules that make a value of them valid.
//!
//! Owns types and validation. Must never do I/O, read a clock or know a database.

pub mod assignment;
pub mod audit;
pub mod entity;
pub mod event;
pub mod fields;
pub mod json;
mod json_object;
pub mod named_caller;
pub(crate) mod nearest;
pub mod report;
pub mod role;
mod schema;
pub mod text;
pub mod time;
pub mod topic_text;
pub mod trace;

pub use assignment::{Assignment, AssignmentFilter, NewAssignment};
pub use audit::{AuditEntry, AuditEvent, AuditFilter, AuditPage};
pub use entity::{Entity, EntityFilter, EntityPatch, EntityStatus, EntityType, NewEntity};
pub use event::{DeliveryState, Event, EventFilter, NewEvent};
pub use fields::{FieldError, Invalid};
pub use json::{Json, JsonObject};
pub use report::{AssignmentScan, BulkStep, NamedAssignment, Orphan, UnheldRole};
pub use role::{NewRole, Role, RolePatch};
pub use text::Text;
pub use time::Timestamp;
pub use trace::TraceParent;
