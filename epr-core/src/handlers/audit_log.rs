//! The line `audit_event`: one for each entry, a mirror of the chain outside the database.
//!
//! Must be written after the commit only, and never hold `details`, which may be anything.

use tracing::Level;

use crate::ledger::chain::Draft;
use crate::store::Appended;

/// What the log calls these lines' logger; see `logging.rs`.
const TARGET: &str = "epr_core::audit";

/// A line of `audit_event` at `$level`, if an entry was written.
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

/// Logs the entries that `drafts` have become.
pub(crate) fn entries(drafts: &[Draft], outcomes: &[Appended]) {
    for (draft, outcome) in drafts.iter().zip(outcomes) {
        line!(info, draft, outcome);
    }
}

/// Logs the entries that messages of a queue have become, which are lines of `audit_event_ingested` at INFO: what these say
/// comes from the messages, whose content stays out of the log unless an operator wants to see it.
pub(crate) fn ingested(drafts: &[Draft], outcomes: &[Appended]) {
    for (draft, outcome) in drafts.iter().zip(outcomes) {
        line!(debug, draft, outcome);
    }
}

/// `draft`, if the entry of a decision is to be logged: it is given away before the entry is written.
pub(crate) fn copy_of_decision(draft: &Draft) -> Option<Draft> {
    tracing::enabled!(target: TARGET, Level::DEBUG).then(|| draft.clone())
}

/// Logs the entry of a decision, if there is a copy of it.
pub(crate) fn decision(copy: Option<&Draft>, outcomes: &[Appended]) {
    for (draft, outcome) in copy.iter().zip(outcomes) {
        line!(debug, draft, outcome);
    }
}
