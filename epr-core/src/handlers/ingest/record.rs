//! Records the events of messages, and keeps the messages that cannot become entries as rejections.
//!
//! Must never log a body, nor report a message as recorded whose event the ledger does not have.

use std::time::{Duration, Instant};

use super::message::Message;
use super::outcome::{IngestOutcome, Ingested};
use super::parse::read;
use super::report;
use crate::domain::Timestamp;
use crate::domain::audit::{Rejection, RejectionKind};
use crate::engine::Engines;
use crate::error::chain;
use crate::handlers::audit_log;
use crate::ledger::chain::Draft;

/// The deadline for keeping rejections.
const REJECTIONS_TIMEOUT: Duration = Duration::from_secs(10);

/// Records the events in `messages` in one transaction, together with those of other callers. A message that cannot
/// become an entry is kept in `audit_rejections` and does not affect the others. Every message has an outcome.
pub(crate) async fn ingest(engines: &Engines, messages: &[Message]) -> Ingested {
    let ingested = ingest_once(engines, messages).await;
    report::log(messages, messages.len(), &ingested, engines.now());
    ingested
}

/// Ingests again the messages of a batch whose outcome is a retry, and no others.
pub(crate) async fn ingest_rest(engines: &Engines, messages: &[Message], ingested: &mut Ingested) {
    let open = |(_, outcome): &(&Message, &IngestOutcome)| matches!(outcome, IngestOutcome::Retry { .. });
    let rest: Vec<Message> =
        messages.iter().zip(&ingested.outcomes).filter(open).map(|(message, _)| message.clone()).collect();
    let again = ingest_once(engines, &rest).await;
    // They have been counted as received before.
    report::log(&rest, 0, &again, engines.now());
    let open = ingested.outcomes.iter_mut().filter(|outcome| matches!(outcome, IngestOutcome::Retry { .. }));
    for (outcome, found) in open.zip(again.outcomes) {
        *outcome = found;
    }
    ingested.commit += again.commit;
}

async fn ingest_once(engines: &Engines, messages: &[Message]) -> Ingested {
    let now = engines.now();
    let mut drafts = Vec::with_capacity(messages.len());
    let mut outcomes: Vec<Option<IngestOutcome>> = Vec::with_capacity(messages.len());
    for message in messages {
        outcomes.push(match read(message, now) {
            Ok(draft) => {
                drafts.push(draft);
                None
            }
            Err(invalid) => Some(IngestOutcome::Invalid(invalid)),
        });
    }
    let begun = Instant::now();
    let mut recorded = record_all(engines, drafts).await.into_iter();
    let commit = begun.elapsed();
    let lost = || IngestOutcome::Retry { why: "the ledger gave no outcome".into(), unavailable: false };
    let outcomes = outcomes.into_iter().map(|known| known.or_else(|| recorded.next()).unwrap_or_else(lost));
    let ingested = Ingested { outcomes: outcomes.collect(), commit };
    keep_rejections(engines, messages, &ingested, now).await;
    ingested
}

/// Records all drafts in one transaction. When the database refuses it, records each half by itself, and so on, to find
/// the draft that it refuses.
async fn record_all(engines: &Engines, drafts: Vec<Draft>) -> Vec<IngestOutcome> {
    let mut found: Vec<Result<IngestOutcome, String>> = Vec::with_capacity(drafts.len());
    // The parts that are not recorded yet, the next one last.
    let mut parts = vec![drafts];
    while let Some(mut part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        match engines.ledger.record(part.clone()).await {
            Ok(appended) => {
                audit_log::ingested(&part, &appended);
                found.extend(appended.into_iter().map(|appended| Ok(IngestOutcome::from(appended))));
            }
            Err(error) if !error.may_be_about_one() => {
                // The other parts would fail alike.
                let left = part.len() + parts.iter().map(Vec::len).sum::<usize>();
                let unavailable = IngestOutcome::Retry { why: chain(&error), unavailable: true };
                found.extend(std::iter::repeat_with(|| Ok(unavailable.clone())).take(left));
                break;
            }
            Err(error) if part.len() == 1 => found.push(Err(chain(&error))),
            Err(_) => {
                let second = part.split_off(part.len() / 2);
                parts.push(second);
                parts.push(part);
            }
        }
    }
    // The error itself does not say whether it is about the entry. A database that records others of the batch refuses
    // this one; a database that records none is itself the problem. A duplicate proves nothing, because nothing is
    // written for it.
    let records = found.iter().flatten().any(|outcome| matches!(outcome, IngestOutcome::Recorded { .. }));
    let unrecorded =
        |why| if records { IngestOutcome::Refused { why } } else { IngestOutcome::Retry { why, unavailable: false } };
    found.into_iter().map(|outcome| outcome.unwrap_or_else(unrecorded)).collect()
}

/// Keeps the messages that cannot become entries as rejections, for the operator. They stay in the queue too, so that a
/// failure here is repaired by the next delivery.
async fn keep_rejections(engines: &Engines, messages: &[Message], ingested: &Ingested, now: Timestamp) {
    let rejections: Vec<_> = messages
        .iter()
        .zip(&ingested.outcomes)
        .filter_map(|(message, outcome)| {
            let (kind, reason) = match outcome {
                IngestOutcome::Invalid(invalid) => (RejectionKind::Invalid, invalid.to_string()),
                IngestOutcome::Conflict { sequence } => {
                    (RejectionKind::Conflict, format!("entry {sequence} has the same event id and other content"))
                }
                IngestOutcome::Refused { why } => (RejectionKind::Refused, why.clone()),
                IngestOutcome::Recorded { .. } | IngestOutcome::Duplicate { .. } | IngestOutcome::Retry { .. } => {
                    return None;
                }
            };
            Some(Rejection::new(&message.message_id, kind, &reason, &message.body))
        })
        .collect();
    if rejections.is_empty() {
        return;
    }
    let kept = tokio::time::timeout(REJECTIONS_TIMEOUT, engines.store().keep_rejections(&rejections, now)).await;
    if let Err(why) =
        kept.map_or_else(|_| Err("the database does not answer".into()), |kept| kept.map_err(|f| chain(&f)))
    {
        report::not_kept(rejections.len(), &why);
    }
}
