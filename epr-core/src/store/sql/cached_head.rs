//! The optimistic head: where this process last left the chain, so that appends need one statement.
//!
//! Entries are appended after the head that this process remembers: one statement moves the head if it is unchanged and
//! no event of theirs is stored, and inserts the entries only if it moved. INVARIANT: the comparison happens under the
//! lock of the head's row; a remembered head that is out of date costs a second attempt and never forks the chain.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

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

    /// Notes that an optimistic append failed: the head had moved, or an event was stored.
    pub(super) fn note_failure(&self) {
        self.memory().locked_appends_left = LOCKED_APPENDS_AFTER_FAILURE;
    }
}

/// Returns whether `drafts` need nothing else under the lock: a decision may be outdated, a change of the registry
/// moves the head of history, and the second of two entries with one event id is not written.
fn can_append_optimistically(head: &NewHead, drafts: &[Draft]) -> bool {
    let is_newest = |basis| basis == head.decisive_sequence;
    let mut events = HashSet::new();
    let is_first = |event: Uuid| events.insert(event);
    drafts.iter().all(|draft| draft.basis().is_none_or(is_newest) && !draft.changes_registry())
        && drafts.iter().filter_map(Draft::event_id).all(is_first)
}

/// Appends `drafts` after `head` by one statement, which is a transaction of its own, and moves `head`. Returns `None`
/// when the chain does not end there any more, or an event of theirs is stored; nothing was written then.
pub(super) async fn append_after_cached_head(
    conn: &mut Conn,
    head: &mut NewHead,
    drafts: &[Draft],
) -> Result<Option<Vec<Appended>>> {
    let before = head.head.clone();
    let sealed = seal(&mut head.head, drafts);
    let has_events = drafts.iter().any(|draft| draft.event_id().is_some());
    let written = match has_events {
        _ if sealed.is_empty() => Ok(false),
        true => entries::insert_unknown_events(conn, &before, &sealed, &head.head).await,
        false => entries::insert(conn, &before, &sealed, &head.head).await,
    };
    if !written.map_err(row_beyond_head)? {
        return Ok(None);
    }
    head.note(&sealed);
    Ok(Some(sealed.iter().map(recorded).collect()))
}
