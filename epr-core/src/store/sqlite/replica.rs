//! Replicas: a file has none.

use super::dialect::Conn;
use crate::store::StoreError;

/// Returns `false`.
pub(super) fn leads_to_replica(_: &Conn) -> bool {
    false
}

/// Returns `false`.
pub(super) fn is_cancelled(_: &StoreError) -> bool {
    false
}

/// Returns `false`.
pub(super) fn is_too_slow(_: &StoreError) -> bool {
    false
}
