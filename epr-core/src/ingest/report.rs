//! What ingestion says in the log: a line for each event, a warning for each message that is none, and the figures of each
//! batch. Never a body, nor anything out of one.

use tracing::{debug, error, info, warn};

use super::{Ingested, Message, Outcome};
use crate::domain::Timestamp;

/// The logger of everything here, by the contract.
macro_rules! say {
    ($level:ident, $($what:tt)*) => { $level!(target: "audit_consumer", $($what)*) };
}

/// How many messages of a batch had which outcome.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    recorded: usize,
    duplicates: usize,
    conflicts: usize,
    invalid: usize,
    failures: usize,
}

impl Counts {
    fn of(outcomes: &[Outcome]) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            *match outcome {
                Outcome::Recorded { .. } => &mut counts.recorded,
                Outcome::Duplicate { .. } => &mut counts.duplicates,
                Outcome::Conflict { .. } => &mut counts.conflicts,
                Outcome::Invalid(_) => &mut counts.invalid,
                Outcome::Refused { .. } | Outcome::Retry { .. } => &mut counts.failures,
            } += 1;
        }
        counts
    }
}

/// `received`: how many of them are new.
pub(super) fn log(messages: &[Message], received: usize, ingested: &Ingested, now: Timestamp) {
    if messages.is_empty() {
        return;
    }
    for (message, outcome) in messages.iter().zip(&ingested.outcomes) {
        let message_id = &message.message_id;
        match outcome {
            Outcome::Recorded { sequence } => say!(info, message_id, sequence, "audit_event_ingested"),
            Outcome::Duplicate { sequence } => say!(debug, message_id, sequence, "audit_event_duplicate"),
            Outcome::Conflict { sequence } => {
                say!(warn, message_id, sequence, kind = "conflict", "audit_event_rejected");
            }
            Outcome::Invalid(unfit) => {
                say!(warn, message_id, kind = "invalid", place = unfit.place(), "audit_event_rejected");
            }
            Outcome::Refused { .. } => say!(warn, message_id, kind = "refused", "audit_event_rejected"),
            // Reported once, below: it is the same for all of them.
            Outcome::Retry { .. } => {}
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
        Outcome::Retry { why, .. } => Some(why),
        _ => None,
    });
    if let Some(why) = why {
        say!(warn, error = why, "audit_batch_not_recorded");
    }
}

pub(super) fn not_kept(count: usize, why: &str) {
    say!(error, count, error = why, "audit_rejections_not_kept");
}
