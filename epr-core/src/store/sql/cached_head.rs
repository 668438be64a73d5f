//! The optimistic head: where this process last left the chain, so that appends without a key need one statement.
//!
//! Entries without an `event_id` cannot be duplicates, so they need no look-up under the ledger's lock. They are
//! appended after the head that this process remembers: one statement moves the head if it is unchanged and inserts the
//! entries only if it moved. INVARIANT: the comparison happens under the lock of the head's row; a remembered head that
//! is out of date costs a second attempt and never forks the chain.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::dialect::{Conn, entries};
use super::ledger::{NewHead, recorded, row_beyond_head};
use crate::ledger::chain::{Draft, seal};
use crate::store::{Appended, Result};

/// The number of appends that take the lock after an optimistic one has failed. A failed attempt waits for the ledger's
/// lock and flushes the disk under it, and another process that writes now is likely to go on writing.
const LOCKED_APPENDS_AFTER_FAILURE: u32 = 16;

/// The remembered head.
#[derive(Default)]
pub(super) struct CachedHead(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    /// The head after an append of this process. May be out of date.
    head: Option<NewHead>,
    /// Appends until a head is remembered again.
    locked_appends_left: u32,
}

impl CachedHead {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the remembered head out if `drafts` can be appended after it. No other append can use it meanwhile.
    pub(super) fn take_for(&self, drafts: &[Draft]) -> Option<NewHead> {
        if !entries::SUPPORTS_OPTIMISTIC_APPEND {
            return None;
        }
        self.memory().head.take().filter(|head| can_append_optimistically(head, drafts))
    }

    /// Remembers the head after an optimistic append was committed.
    pub(super) fn set(&self, head: NewHead) {
        self.memory().head = Some(head);
    }

    /// Remembers the head after an append under the lock was committed, unless a failure was too recent.
    pub(super) fn offer(&self, head: NewHead) {
        let mut memory = self.memory();
        match memory.locked_appends_left.checked_sub(1) {
            Some(left) => memory.locked_appends_left = left,
            None => memory.head = Some(head),
        }
    }

    /// Notes that an optimistic append failed because the head had moved.
    pub(super) fn note_failure(&self) {
        self.memory().locked_appends_left = LOCKED_APPENDS_AFTER_FAILURE;
    }
}

/// Returns whether `drafts` need no look-up under the lock: an event with an id may have been recorded before, a
/// decision may be outdated, and a change of the registry moves the head of history.
fn can_append_optimistically(head: &NewHead, drafts: &[Draft]) -> bool {
    let is_newest = |basis| basis == head.decisive_sequence;
    drafts
        .iter()
        .all(|draft| draft.event_id().is_none() && draft.basis().is_none_or(is_newest) && !draft.changes_registry())
}

/// Appends `drafts` after `head` by one statement, which is a transaction of its own, and moves `head`. Returns `None`
/// when the chain does not end there any more; nothing was written then.
pub(super) async fn append_after_cached_head(
    conn: &mut Conn,
    head: &mut NewHead,
    drafts: &[Draft],
) -> Result<Option<Vec<Appended>>> {
    let before = head.head.clone();
    let sealed = seal(&mut head.head, drafts);
    if sealed.is_empty() || !entries::insert(conn, &before, &sealed, &head.head).await.map_err(row_beyond_head)? {
        return Ok(None);
    }
    head.note(&sealed);
    Ok(Some(sealed.iter().map(recorded).collect()))
}
