//! The types of the registry, the ledger and the outbox, and the rules that make their values valid.
//!
//! Owns types and validation. Must never do I/O, read a clock or know a database.

pub mod access;
pub mod assignment;
pub mod assignment_request;
pub mod audit;
pub mod browser_session;
pub mod change;
pub mod condition;
pub mod entity;
pub mod entity_type;
pub mod event;
pub mod idempotency;
pub mod input;
pub mod moment;
pub mod named_caller;
pub mod principal;
pub mod report;
pub mod role;
pub mod subtree;
pub mod value;

pub use access::{AccessItem, AccessPage, AccessVia, ActionsRequest, ListRequest, PrincipalsRequest, ResourcesRequest};
pub use assignment::{Assignment, AssignmentFilter, InForce, NewAssignment};
pub use assignment_request::AssignmentRequest;
pub use audit::{AuditEntry, AuditEvent, AuditFilter, AuditPage};
pub use change::Change;
pub use condition::{Condition, ParameterType};
pub use entity::{Entity, EntityFilter, EntityPatch, EntityStatus, NewEntity};
pub use entity_type::{EntityType, EntityTypes};
pub use event::{DeliveryState, Event, EventFilter, NewEvent};
pub use idempotency::{IdempotencyKey, KeptAnswer, KeyedCreation, KeyedRequest, Once};
pub use input::fields::{self, FieldError, Invalid};
pub use input::query;
use input::schema;
pub use moment::{Moment, NotAskable, PageMoment, PastMoment};
pub use principal::{NewPrincipal, Principal, PrincipalFilter, PrincipalPatch, PrincipalStatus};
pub use report::{
    AssignmentScan, Branch, BulkStep, ConditionHolder, EntityTypeUse, Granted, NamedAssignment, Orphan, Reach,
    RegistryCounts, StoredCondition, UnheldRole,
};
pub use role::{NewRole, Role, RolePatch};
pub use value::external_id::{self, ExternalId};
pub use value::json::{self, Json, JsonObject};
pub use value::revision::{self, Incarnation, Revision};
pub use value::stated_reason::{self, StatedReason};
pub use value::text::{self, Text};
pub use value::time::{self, Timestamp};
pub use value::topic_text;
pub use value::trace::{self, TraceParent};
