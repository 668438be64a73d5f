//! Replicas: standbys of the server.

use super::dialect::{Conn, is_stopped};
use crate::store::StoreError;

/// Returns whether this connection is one of the pool of the replica, whose reads verify the server themselves.
pub(super) fn leads_to_replica(conn: &Conn) -> bool {
    conn.is_replica()
}

/// Returns whether a statement met the time limit of the server.
pub(super) fn is_too_slow(error: &StoreError) -> bool {
    is_stopped(error)
}

/// Returns whether a standby ended a statement because replay had to remove what it reads (SQLSTATE 40001, which is a
/// lost transaction elsewhere).
pub(super) fn is_cancelled(error: &StoreError) -> bool {
    matches!(error, StoreError::Contention(_))
}
