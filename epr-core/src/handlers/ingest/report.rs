//! The log lines of ingestion: one for each event, a warning for each rejected message, and the counts of each batch.
//! Must never log a body, or any part of one.

use tracing::{debug, error, info, warn};

use super::message::Message;
use super::outcome::{IngestOutcome, Ingested};
use crate::domain::Timestamp;

/// Logs under the logger that the contract names.
macro_rules! say {
    ($level:ident, $($what:tt)*) => { $level!(target: "audit_consumer", $($what)*) };
}

/// The numbers of messages by outcome.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    recorded: usize,
    duplicates: usize,
    conflicts: usize,
    invalid: usize,
    failures: usize,
}

impl Counts {
    fn of(outcomes: &[IngestOutcome]) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            *match outcome {
                IngestOutcome::Recorded { .. } => &mut counts.recorded,
                IngestOutcome::Duplicate { .. } => &mut counts.duplicates,
                IngestOutcome::Conflict { .. } => &mut counts.conflicts,
                IngestOutcome::Invalid(_) => &mut counts.invalid,
                IngestOutcome::Refused { .. } | IngestOutcome::Retry { .. } => &mut counts.failures,
            } += 1;
        }
        counts
    }
}

/// Logs a batch, of which `received` messages are new.
pub(super) fn log(messages: &[Message], received: usize, ingested: &Ingested, now: Timestamp) {
    if messages.is_empty() {
        return;
    }
    for (message, outcome) in messages.iter().zip(&ingested.outcomes) {
        let message_id = &message.message_id;
        match outcome {
            IngestOutcome::Recorded { sequence } => say!(info, message_id, sequence, "audit_event_ingested"),
            IngestOutcome::Duplicate { sequence } => say!(debug, message_id, sequence, "audit_event_duplicate"),
            IngestOutcome::Conflict { sequence } => {
                say!(warn, message_id, sequence, kind = "conflict", "audit_event_rejected");
            }
            IngestOutcome::Invalid(error) => {
                say!(warn, message_id, kind = "invalid", place = error.location(), "audit_event_rejected");
            }
            IngestOutcome::Refused { .. } => say!(warn, message_id, kind = "refused", "audit_event_rejected"),
            // Logged once, below: the reason is the same for all of them.
            IngestOutcome::Retry { .. } => {}
        }
    }
    let Counts { recorded, duplicates, conflicts, invalid, failures } = Counts::of(&ingested.outcomes);
    let oldest = messages.iter().filter_map(|message| message.sent_at).min();
    let oldest_age_ms = oldest.map(|sent| ((now.unix_micros() - sent.unix_micros()) / 1000).max(0));
    let commit_ms = u64::try_from(ingested.commit.as_millis()).unwrap_or(u64::MAX);
    say!(
        info,
        received,
        recorded,
        duplicates,
        conflicts,
        invalid,
        failures,
        commit_ms,
        oldest_age_ms,
        "audit_batch_ingested"
    );
    let why = ingested.outcomes.iter().find_map(|outcome| match outcome {
        IngestOutcome::Retry { why, .. } => Some(why),
        _ => None,
    });
    if let Some(why) = why {
        say!(warn, error = why, "audit_batch_not_recorded");
    }
}

pub(super) fn not_kept(count: usize, why: &str) {
    say!(error, count, error = why, "audit_rejections_not_kept");
}
