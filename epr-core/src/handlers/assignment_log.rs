//! The log lines of assignments that were made and revoked.
//!
//! Must never name a personal field of a principal.

use tracing::info;

use crate::domain::Assignment;

pub(super) fn log_assigned(assignment: &Assignment) {
    info!(
        assignment_id = %assignment.id,
        principal_id = %assignment.principal_id,
        principal_type = assignment.principal_type,
        role_id = %assignment.role_id,
        entity_id = assignment.entity_id.map(tracing::field::display),
        "role_assigned"
    );
}

pub(super) fn log_revoked(assignment: &Assignment) {
    info!(
        assignment_id = %assignment.id,
        principal_id = %assignment.principal_id,
        role_id = %assignment.role_id,
        "role_assignment_revoked"
    );
}
