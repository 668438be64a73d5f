//! The outcomes of ingested messages, and what they mean for the queue.

use std::collections::HashSet;
use std::time::Duration;

use super::message::Message;
use super::parse::InvalidMessage;
use crate::store::Appended;

/// The outcome of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IngestOutcome {
    /// The event of the message is a new entry of the ledger.
    Recorded {
        /// The sequence of the entry.
        sequence: i64,
    },
    /// The ledger had the same event already.
    Duplicate {
        /// The sequence of the entry.
        sequence: i64,
    },
    /// The ledger has another event with the same id. The message is kept as a rejection, and left to the queue's
    /// redrive policy.
    Conflict {
        /// The sequence of the other entry.
        sequence: i64,
    },
    /// It is not an audit event. The message is kept as a rejection, and left to the queue's redrive policy.
    Invalid(InvalidMessage),
    /// The database records other events but not this one. The message is kept as a rejection, and left to the queue's
    /// redrive policy.
    Refused {
        /// The database's reason.
        why: String,
    },
    /// Unknown: the database is unavailable or refuses everything. Ingest the message again.
    Retry {
        /// The reason.
        why: String,
        /// Whether the database is unavailable (or overloaded, or read-only), so that waiting helps. Otherwise it
        /// answers with an error that may be its own or the message's.
        unavailable: bool,
    },
}

impl IngestOutcome {
    /// Whether the ledger has the event.
    #[must_use]
    pub fn is_in_ledger(&self) -> bool {
        matches!(self, Self::Recorded { .. } | Self::Duplicate { .. })
    }
}

impl From<Appended> for IngestOutcome {
    fn from(appended: Appended) -> Self {
        match appended {
            Appended::Recorded { sequence, .. } => Self::Recorded { sequence },
            Appended::Duplicate { sequence } => Self::Duplicate { sequence },
            Appended::Conflict { sequence } => Self::Conflict { sequence },
            // Only decisions have a basis.
            Appended::Outdated => unreachable!("an event without a basis"),
        }
    }
}

/// The outcomes of a batch of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// One for each message, in order.
    pub outcomes: Vec<IngestOutcome>,
    /// The time that the ledger took.
    pub commit: Duration,
}

impl Ingested {
    /// Whether each of `messages` may be deleted, in order. A message may be deleted if the ledger has its event,
    /// unless an earlier message of its FIFO group may not: deleting the later one first would let the queue deliver
    /// the rest of the group around the earlier one.
    #[must_use]
    pub fn deletable(&self, messages: &[Message]) -> Vec<bool> {
        let mut blocked: HashSet<&str> = HashSet::new();
        let deletable = messages.iter().zip(&self.outcomes).map(|(message, outcome)| {
            let group = message.group.as_deref();
            let deletable = outcome.is_in_ledger() && !group.is_some_and(|group| blocked.contains(group));
            if !deletable {
                blocked.extend(group);
            }
            deletable
        });
        deletable.collect()
    }

    /// Whether a message must be ingested again ([`crate::Epr::ingest_rest`]).
    #[must_use]
    pub fn retryable(&self) -> bool {
        self.outcomes.iter().any(|outcome| matches!(outcome, IngestOutcome::Retry { .. }))
    }

    /// Whether the database was unavailable for a message.
    #[must_use]
    pub fn database_unavailable(&self) -> bool {
        self.outcomes.iter().any(|outcome| matches!(outcome, IngestOutcome::Retry { unavailable: true, .. }))
    }
}
