//! The result of a storage call, and how lists are received.

use crate::store::StoreError;

/// The result of a storage call.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Receives the rows of a list one at a time; returns `false` to stop.
pub type RowVisitor<'a, T> = &'a mut (dyn FnMut(T) -> bool + Send);

/// A [`RowVisitor`] that collects every row.
///
/// Example: `store.roles(page, &mut collect_into(&mut roles))` fills `roles`.
pub fn collect_into<T: Send>(rows: &mut Vec<T>) -> impl FnMut(T) -> bool + Send {
    |row| {
        rows.push(row);
        true
    }
}
