//! Audit events from the queue into the ledger, each exactly once.
//!
//! Owns what becomes of a message; knows no queue. A runtime fetches messages, calls [`Epr::ingest`] and acknowledges by
//! [`Ingested::settled`]: poller and Lambda function differ in nothing else. Must never log a body, nor call a message
//! settled whose event does not stand in the ledger.

mod message;
mod report;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::domain::Timestamp;
use crate::domain::audit::{Rejection, RejectionKind};
use crate::engine::Engines;
use crate::error::chain;
use crate::handlers::audit_log;
use crate::ledger::chain::Draft;
use crate::store::Appended;

pub use message::{Unfit, read};

/// How long the note about what was rejected may take.
const NOTE: Duration = Duration::from_secs(10);

/// A message as the queue hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The queue's id of it: the idempotency key of an event that has none of its own.
    pub message_id: String,
    /// The text as it came.
    pub body: String,
    /// The group within which a FIFO queue keeps the order.
    pub group: Option<String>,
    /// When it was put into the queue, if that is known.
    pub sent_at: Option<Timestamp>,
}

impl Message {
    /// A message of a standard queue.
    #[must_use]
    pub fn new(message_id: impl Into<String>, body: impl Into<String>) -> Self {
        Self { message_id: message_id.into(), body: body.into(), group: None, sent_at: None }
    }
}

/// The moment that a queue's `SentTimestamp` tells: milliseconds since 1970, as text.
#[must_use]
pub fn sent_at(timestamp: &str) -> Option<Timestamp> {
    let millis = timestamp.parse::<i64>().ok()?;
    Timestamp::from_unix_micros(millis.saturating_mul(1000)).ok()
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its event stands in the ledger now.
    Recorded {
        /// The place.
        sequence: i64,
    },
    /// The same event stood there before.
    Duplicate {
        /// The place.
        sequence: i64,
    },
    /// Another event with the same id stands there. Kept aside; the message stays for the queue's redrive policy.
    Conflict {
        /// The other's place.
        sequence: i64,
    },
    /// It is no audit event. Kept aside; the message stays for the queue's redrive policy.
    Invalid(Unfit),
    /// The database takes others, but not this one. Kept aside; the message stays for the queue's redrive policy.
    Refused {
        /// What the database says.
        why: String,
    },
    /// Nothing was found out about it: the database is away or at fault. Try again.
    Retry {
        /// What is wrong.
        why: String,
        /// Whether the database is away (or busy beyond patience, or takes no writes): waiting helps. Otherwise it answers with
        /// a fault that may be its own or the message's.
        away: bool,
    },
}

impl Outcome {
    /// Whether the event stands in the ledger, so that the message may be deleted.
    #[must_use]
    pub fn stands(&self) -> bool {
        matches!(self, Self::Recorded { .. } | Self::Duplicate { .. })
    }
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// One for each message, in their order.
    pub outcomes: Vec<Outcome>,
    /// How long the ledger took.
    pub commit: Duration,
}

impl Ingested {
    /// Whether each of `messages` may be deleted, in their order. One whose event stands in the ledger may, unless an
    /// earlier one of its FIFO group may not: a queue that gets the later one back before the earlier one is settled
    /// would hand out the rest of the group around it.
    #[must_use]
    pub fn settled(&self, messages: &[Message]) -> Vec<bool> {
        let mut held: HashSet<&str> = HashSet::new();
        let judged = messages.iter().zip(&self.outcomes).map(|(message, outcome)| {
            let group = message.group.as_deref();
            let settled = outcome.stands() && !group.is_some_and(|group| held.contains(group));
            if !settled {
                held.extend(group);
            }
            settled
        });
        judged.collect()
    }

    /// Whether trying again makes sense ([`Epr::ingest_rest`]): something in it met a database that is away or at fault.
    #[must_use]
    pub fn retryable(&self) -> bool {
        self.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Retry { .. }))
    }

    /// Whether something in it met a database that is away.
    #[must_use]
    pub fn met_no_database(&self) -> bool {
        self.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Retry { away: true, .. }))
    }
}

/// Records the events in `messages`, all in one transaction, together with whatever other callers bring. What cannot
/// become an entry is kept in `audit_rejections` and does not take its neighbours with it. Never fails as a whole: each
/// message has its outcome. May be called again with the same messages at any time.
pub(crate) async fn ingest(engines: &Engines, messages: &[Message]) -> Ingested {
    let ingested = ingest_once(engines, messages).await;
    report::log(messages, messages.len(), &ingested, engines.now());
    ingested
}

/// Tries again what has to be tried again of a batch, and nothing else.
pub(crate) async fn ingest_rest(engines: &Engines, messages: &[Message], ingested: &mut Ingested) {
    let open = |(_, outcome): &(&Message, &Outcome)| matches!(outcome, Outcome::Retry { .. });
    let rest: Vec<Message> =
        messages.iter().zip(&ingested.outcomes).filter(open).map(|(message, _)| message.clone()).collect();
    let again = ingest_once(engines, &rest).await;
    // They were received once.
    report::log(&rest, 0, &again, engines.now());
    let open = ingested.outcomes.iter_mut().filter(|outcome| matches!(outcome, Outcome::Retry { .. }));
    for (outcome, found) in open.zip(again.outcomes) {
        *outcome = found;
    }
    ingested.commit += again.commit;
}

async fn ingest_once(engines: &Engines, messages: &[Message]) -> Ingested {
    let now = engines.now();
    let mut drafts = Vec::with_capacity(messages.len());
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(messages.len());
    for message in messages {
        outcomes.push(match read(message, now) {
            Ok(draft) => {
                drafts.push(draft);
                None
            }
            Err(unfit) => Some(Outcome::Invalid(unfit)),
        });
    }
    let begun = Instant::now();
    let mut recorded = record_all(engines, drafts).await.into_iter();
    let commit = begun.elapsed();
    let lost = || Outcome::Retry { why: "the ledger gave no outcome".into(), away: false };
    let outcomes = outcomes.into_iter().map(|known| known.or_else(|| recorded.next()).unwrap_or_else(lost));
    let ingested = Ingested { outcomes: outcomes.collect(), commit };
    keep_rejections(engines, messages, &ingested, now).await;
    ingested
}

/// All drafts in one transaction. When the database refuses that, in halves, and those in halves, to find out which
/// of them it is.
async fn record_all(engines: &Engines, drafts: Vec<Draft>) -> Vec<Outcome> {
    let mut found: Vec<std::result::Result<Outcome, String>> = Vec::with_capacity(drafts.len());
    // The parts still to be recorded, the next one last.
    let mut parts = vec![drafts];
    while let Some(mut part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        match engines.ledger.record(part.clone()).await {
            Ok(appended) => {
                audit_log::ingested(&part, &appended);
                found.extend(appended.into_iter().map(|appended| Ok(Outcome::from(appended))));
            }
            Err(fault) if !fault.may_be_about_one() => {
                // Nothing more to be found out now.
                let left = part.len() + parts.iter().map(Vec::len).sum::<usize>();
                let away = Outcome::Retry { why: chain(&fault), away: true };
                found.extend(std::iter::repeat_with(|| Ok(away.clone())).take(left));
                break;
            }
            Err(fault) if part.len() == 1 => found.push(Err(chain(&fault))),
            Err(_) => {
                let second = part.split_off(part.len() / 2);
                parts.push(second);
                parts.push(part);
            }
        }
    }
    // Whether a fault is about an entry cannot be told from the fault: a database that records others of the batch has
    // something against this one, and one that records none is itself at fault. A duplicate proves nothing, because
    // nothing is written for it.
    let records = found.iter().flatten().any(|outcome| matches!(outcome, Outcome::Recorded { .. }));
    let judge = |why| if records { Outcome::Refused { why } } else { Outcome::Retry { why, away: false } };
    found.into_iter().map(|outcome| outcome.unwrap_or_else(judge)).collect()
}

/// Keeps what did not become an entry, for whoever looks after it. The messages themselves stay in the queue, so a
/// failure here loses nothing but the note, and the note is made again with the next delivery.
async fn keep_rejections(engines: &Engines, messages: &[Message], ingested: &Ingested, now: Timestamp) {
    let rejections: Vec<_> = messages
        .iter()
        .zip(&ingested.outcomes)
        .filter_map(|(message, outcome)| {
            let (kind, reason) = match outcome {
                Outcome::Invalid(unfit) => (RejectionKind::Invalid, unfit.to_string()),
                Outcome::Conflict { sequence } => {
                    (RejectionKind::Conflict, format!("entry {sequence} has the same event id and other content"))
                }
                Outcome::Refused { why } => (RejectionKind::Refused, why.clone()),
                Outcome::Recorded { .. } | Outcome::Duplicate { .. } | Outcome::Retry { .. } => return None,
            };
            Some(Rejection::new(&message.message_id, kind, &reason, &message.body))
        })
        .collect();
    if rejections.is_empty() {
        return;
    }
    let kept = tokio::time::timeout(NOTE, engines.store().keep_rejections(&rejections, now)).await;
    if let Err(why) =
        kept.map_or_else(|_| Err("the database does not answer".into()), |kept| kept.map_err(|f| chain(&f)))
    {
        report::not_kept(rejections.len(), &why);
    }
}

impl From<Appended> for Outcome {
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
