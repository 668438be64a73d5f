//! The question of a check.
//!
//! Owns the question without its context, which varies from call to call and is never part of a key. Must never read a
//! clock, a database or a cache.

use uuid::Uuid;

use crate::domain::Text;
use crate::domain::assignment::{PrincipalType, default_principal_type};

/// A question: may this principal perform this action on this resource?
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The id of the principal.
    pub principal_id: Uuid,
    /// The kind of principal. The same id with another type is another principal.
    pub principal_type: PrincipalType,
    /// The action. An action that no role has is denied, not rejected.
    pub action: AskedAction,
    /// The entity on which the action is carried out.
    pub resource_id: Uuid,
}

/// The action of a question: 1 to 255 characters. The bounds are wider than those of a role's action: an action that no
/// role can have is a question with an answer, not an error.
pub type AskedAction = Text<1, 255>;

impl Question {
    /// A question about a principal of the type `user`.
    #[must_use]
    pub fn new(principal_id: Uuid, action: AskedAction, resource_id: Uuid) -> Self {
        Self { principal_id, principal_type: default_principal_type(), action, resource_id }
    }
}
