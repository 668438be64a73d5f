//! The log line `audit_event`: one for each entry, a copy of the chain outside the database.
//!
//! Must be written after the commit only, and must never contain `details`, which may hold anything.

use tracing::Level;

use crate::ledger::chain::Draft;
use crate::store::Appended;

/// The logger of these lines, by the contract.
const TARGET: &str = "epr_core::audit";

/// Logs `audit_event` at `$level` if an entry was written.
macro_rules! line {
    ($level:ident, $draft:expr, $outcome:expr) => {
        if let Appended::Recorded { sequence, previous_hash, entry_hash } = $outcome {
            let event = $draft.event();
            let id = |id: Option<uuid::Uuid>| id.map(tracing::field::display);
            tracing::$level!(
                target: TARGET,
                sequence,
                entry_hash = entry_hash.as_str(),
                previous_hash = previous_hash.as_str(),
                source = event.source.as_str(),
                action = event.action.as_str(),
                actor_id = id(event.actor_id),
                actor_type = event.actor_type.as_str(),
                entity_id = id(event.entity_id),
                entity_type = event.entity_type.as_ref().map(crate::domain::Text::as_str),
                event_id = id(event.event_id),
                "audit_event"
            );
        }
    };
}

/// Logs the entry of `draft`.
pub(crate) fn entry(draft: &Draft, outcome: &Appended) {
    line!(info, draft, outcome);
}

/// Logs the entries of messages from a queue, at DEBUG: these lines contain parts of the messages, which the log has
/// only if an operator asks for them. At INFO there is `audit_event_ingested`.
pub(crate) fn ingested(drafts: &[Draft], outcomes: &[Appended]) {
    for (draft, outcome) in drafts.iter().zip(outcomes) {
        line!(debug, draft, outcome);
    }
}

/// A copy of `draft` if the entry of a decision will be logged: the draft is moved before the entry is written.
pub(crate) fn copy_of_decision(draft: &Draft) -> Option<Draft> {
    tracing::enabled!(target: TARGET, Level::DEBUG).then(|| draft.clone())
}

/// Logs the entries of several decisions, if there are copies of them.
pub(crate) fn decisions(copies: &[Draft], outcomes: &[Appended]) {
    for (draft, outcome) in copies.iter().zip(outcomes) {
        line!(debug, draft, outcome);
    }
}

/// Logs the entry of a decision, if there is a copy of it.
pub(crate) fn decision(copy: Option<&Draft>, outcomes: &[Appended]) {
    for (draft, outcome) in copy.iter().zip(outcomes) {
        line!(debug, draft, outcome);
    }
}
