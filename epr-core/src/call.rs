//! `Call`: the caller of a use case and the context of the call.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::domain::audit::CorrelationId;
use crate::domain::named_caller::NamedCaller;
use crate::domain::{Revision, StatedReason, TraceParent};
use crate::error::{Error, Result};
use crate::store::{NeededState, ReadNeed, position_of};

/// The caller and the context of one call. The ledger records both with every change that the call makes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// The actor, if the caller named one.
    pub actor_id: Option<Uuid>,
    /// The credential or the operating system's user behind the call. It is the actor when `actor_id` names none.
    pub caller: Option<NamedCaller>,
    /// The caller's id for a group of calls that belong together, if it sent one.
    pub correlation_id: Option<CorrelationId>,
    /// Why the caller makes a change, if it says so (`EPR-Reason`). The entries of the change have it as
    /// `details.stated_reason`; checks ignore it.
    pub stated_reason: Option<StatedReason>,
    /// The trace that this call is part of, if any. Events that the call causes carry it.
    pub traceparent: Option<TraceParent>,
    /// The state that the answer has to rest on, if the caller knows one (`EPR-At-Least`). Changes ignore it: they are
    /// made to the newest state.
    pub at_least: Option<AtLeast>,
    /// Receives the revision of the answer, if the caller wants to know it (`EPR-Revision`).
    pub answered_at: Option<AnsweredAt>,
}

/// A state that an answer has to rest on, or a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtLeast {
    /// The state.
    pub revision: Revision,
    /// How long to wait for a database that has not reached it.
    pub within: Duration,
}

/// Receives the revision of an answer: of a change that of its last ledger entry, of a decision that of its facts. The
/// last answer of a call counts; a call that failed leaves it as it was.
#[derive(Debug, Clone, Default)]
pub struct AnsweredAt(Arc<Mutex<Option<Revision>>>);

impl AnsweredAt {
    /// The revision of the answer, if there was an answer.
    #[must_use]
    pub fn get(&self) -> Option<Revision> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, revision: Revision) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(revision);
    }
}

impl PartialEq for AnsweredAt {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for AnsweredAt {}

impl Call {
    /// Checks that facts of `revision` are of the incarnation that the caller asked for.
    ///
    /// # Errors
    /// `Conflict` when they are not.
    pub(crate) fn confirm_incarnation(&self, revision: Revision) -> Result<()> {
        match self.at_least {
            Some(wanted) if wanted.revision.incarnation != revision.incarnation => Err(other_incarnation()),
            _ => Ok(()),
        }
    }

    /// Returns the state that a read of this call needs from a replica. `cursor` is the encoded cursor of the page that
    /// it continues.
    #[must_use]
    pub fn read_need(&self, cursor: Option<&str>) -> ReadNeed {
        let revision = self.at_least.map(|at_least| at_least.revision);
        match cursor.map(position_of) {
            Some(None) => ReadNeed::Primary,
            position => ReadNeed::State(NeededState { revision, position: position.flatten().unwrap_or(0) }),
        }
    }

    /// Reports the revision of the answer.
    pub(crate) fn set_answered_at(&self, revision: Revision) {
        if let Some(answered_at) = &self.answered_at {
            answered_at.set(revision);
        }
    }
}

/// The error of a call that names a revision of another incarnation.
pub(crate) fn other_incarnation() -> Error {
    Error::Conflict(
        "The revision belongs to another incarnation of this ledger, which was taken over or restored since; read the \
         state that you rely on again"
            .to_owned(),
    )
}
