//! Delivering events: claim, publish with no transaction open, write down the verdicts.
//!
//! Owns the breaker and the counting of attempts. An outage of the whole topic says nothing about any event and uses
//! up no attempt of it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use crate::domain::event::{DeliveryState, MAX_ERROR_CHARS, MAX_MESSAGE_BYTES};
use crate::engine::Engines;
use crate::error::Result;
use crate::metrics::AttemptOutcome as Outcome;
use crate::publish::{BATCH, Message, Outage, PublishOutcome as Verdict, Publisher};
use crate::store::{Claim, Claimed, ClaimedEvents, OutboxCursor, Settlement};

/// The first wait after a failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// The longest time for which the breaker stays open before the topic is tried again.
const LONGEST_OUTAGE_WAIT: Duration = Duration::from_secs(15);

/// What deliveries share within a process.
#[derive(Default)]
pub(crate) struct Outbox {
    breaker: Mutex<Breaker>,
    /// Rung when an event was left for the relay.
    pub(crate) left_over: Notify,
    walk: Mutex<Walk>,
}

/// The walk of this process's relay over the pending events.
struct Walk {
    next: OutboxCursor,
    /// Whether nothing has been claimed since its start.
    nothing_claimed: bool,
    started: Instant,
}

impl Default for Walk {
    fn default() -> Self {
        Self { next: OutboxCursor::default(), nothing_claimed: true, started: Instant::now() }
    }
}

impl Walk {
    fn advance(&mut self, claimed: bool, next: OutboxCursor, ended: bool) -> Step {
        self.next = next;
        self.nothing_claimed &= !claimed;
        if !ended {
            return Step::More;
        }
        let walk = std::mem::take(self);
        if walk.nothing_claimed { Step::NothingDue { walked_for: walk.started.elapsed() } } else { Step::More }
    }
}

/// What a step of the relay found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It delivered, or there is more to look at.
    More,
    /// Nothing was due in a whole walk, which took this long.
    NothingDue { walked_for: Duration },
}

#[derive(Default)]
struct Breaker {
    failures: u32,
    closed_at: Option<Instant>,
}

impl Outbox {
    /// How long the topic is to be left alone; `None` when it may be used.
    pub(crate) fn open_for(&self) -> Option<Duration> {
        let breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        breaker.closed_at.map(|at| at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    fn walk(&self) -> MutexGuard<'_, Walk> {
        self.walk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable(&self) {
        *self.breaker.lock().unwrap_or_else(PoisonError::into_inner) = Breaker::default();
    }

    /// Opens for a while, longer each time; `spread` is from 0 to 1.
    fn outage(&self, spread: f64) {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        breaker.failures = breaker.failures.saturating_add(1);
        let longest = wait(breaker.failures).min(LONGEST_OUTAGE_WAIT);
        breaker.closed_at = Some(Instant::now() + FIRST_WAIT.min(longest) / 2 + longest.mul_f64(spread / 2.0));
    }
}

/// The longest wait before the attempt after `failures` ones.
fn wait(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(LONGEST_WAIT)
}

impl Engines {
    /// A claim for whoever calls this, from now on.
    pub(crate) fn new_claim(&self) -> Claim {
        let lease = i64::try_from(self.events().lease.as_secs()).unwrap_or(30);
        Claim { token: self.new_id(), until: self.now().plus_seconds(lease) }
    }

    /// Delivers an event that this process has just written and claimed, with the attempts that a request may take.
    /// What is not delivered by then is the relay's. Never fails: the event is kept whatever happens.
    pub(crate) async fn deliver_now(&self, claim: Claim, claimed: Claimed) {
        let Some(publisher) = self.publisher() else { return };
        let message = [Message::of(&claimed.event)];
        let mut settlement = None;
        for attempt in 1..=self.events().publish_attempts {
            if self.outbox().open_for().is_some() {
                break;
            }
            let verdicts = self.hand_over(publisher, std::slice::from_ref(&claimed), &message).await;
            let last = attempt == self.events().publish_attempts;
            let again = verdicts.as_ref().map_or_else(|outage| outage.retryable, |_| true);
            if let Err(outage) = &verdicts
                && (last || !again)
            {
                self.open_breaker(outage, 1);
            }
            let outcome = self.settlements(std::slice::from_ref(&claimed), &verdicts).into_iter().next();
            let done = outcome.as_ref().is_some_and(|outcome| outcome.state != DeliveryState::Pending);
            settlement = outcome.map(|outcome| add(settlement.take(), outcome));
            if done || last || !again {
                break;
            }
        }
        let settlement = settlement.unwrap_or_else(|| self.left_to_the_relay(&claimed, None));
        let pending = settlement.state == DeliveryState::Pending;
        let waiting = self.settle(claim.token, &[settlement]).await.unwrap_or_else(|fault| {
            warn!(event_id = %claimed.event.event_id, error = crate::error::chain(&fault), "events_engine_settle_failed");
            true
        });
        if pending || waiting {
            self.outbox().left_over.notify_one();
        }
    }

    /// Claims what is due and delivers it.
    pub(crate) async fn deliver_due(&self, publisher: &dyn Publisher) -> Result<Step> {
        let claim = self.new_claim();
        let from = self.outbox().walk().next.clone();
        // One call's worth, so that the lease outlasts what is done under it.
        let ClaimedEvents { events: claimed, next, ended } =
            self.store().claim_events(claim, self.now(), BATCH, from).await?;
        let step = self.outbox().walk().advance(!claimed.is_empty(), next, ended);
        let messages: Vec<_> = claimed.iter().map(|claimed| Message::of(&claimed.event)).collect();
        let (mut rest, mut rest_messages) = (claimed.as_slice(), messages.as_slice());
        while !rest.is_empty() {
            let size = batch_size(rest_messages);
            let (batch, others) = rest.split_at(size);
            let (batch_messages, other_messages) = rest_messages.split_at(size);
            (rest, rest_messages) = (others, other_messages);
            if self.outbox().open_for().is_some() {
                // The topic went away while earlier ones were on their way: give these back as they are.
                let back: Vec<_> = batch.iter().map(|event| self.left_to_the_relay(event, None)).collect();
                self.settle(claim.token, &back).await?;
                continue;
            }
            let verdicts = self.hand_over(publisher, batch, batch_messages).await;
            if let Err(outage) = &verdicts {
                self.open_breaker(outage, batch.len());
            }
            let settlements = self.settlements(batch, &verdicts);
            self.settle(claim.token, &settlements).await?;
        }
        Ok(step)
    }

    async fn hand_over(
        &self,
        publisher: &dyn Publisher,
        batch: &[Claimed],
        messages: &[Message],
    ) -> std::result::Result<Vec<Verdict>, Outage> {
        let begun = Instant::now();
        let verdicts = publisher.publish(messages).await;
        let metrics = self.metrics();
        metrics.called(begun.elapsed());
        let latency_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &verdicts {
            Ok(verdicts) if verdicts.iter().any(|verdict| !matches!(verdict, Verdict::Failed(_))) => {
                self.outbox().usable();
            }
            Ok(_) => {}
            Err(_) => metrics.attempted(Outcome::outage),
        }
        for (claimed, verdict) in batch.iter().zip(verdicts.iter().flatten()) {
            let (event_id, event_type) = (claimed.event.event_id, claimed.event.event_type.as_str());
            let attempts = claimed.event.delivery_attempts + 1;
            metrics.attempted(match verdict {
                Verdict::Delivered => Outcome::delivered,
                Verdict::Refused(_) => Outcome::refused,
                Verdict::Failed(_) => Outcome::failed,
            });
            match verdict {
                Verdict::Delivered => info!(%event_id, event_type, attempts, latency_ms, "events_engine_published"),
                Verdict::Refused(why) | Verdict::Failed(why) => {
                    warn!(%event_id, event_type, attempts, latency_ms, error = why, "events_engine_publish_failed");
                }
            }
        }
        verdicts
    }

    fn open_breaker(&self, outage: &Outage, events: usize) {
        self.outbox().outage(self.spread());
        warn!(events, error = %outage, "events_engine_publish_failed");
    }

    fn settlements(&self, batch: &[Claimed], verdicts: &std::result::Result<Vec<Verdict>, Outage>) -> Vec<Settlement> {
        match verdicts {
            Err(outage) => batch.iter().map(|claimed| self.left_to_the_relay(claimed, Some(outage))).collect(),
            Ok(verdicts) => {
                batch.iter().zip(verdicts).map(|(claimed, verdict)| self.settlement(claimed, verdict)).collect()
            }
        }
    }

    fn settlement(&self, claimed: &Claimed, verdict: &Verdict) -> Settlement {
        let attempts = claimed.event.delivery_attempts + 1;
        let (state, last_error, wait_for) = match verdict {
            Verdict::Delivered => (DeliveryState::Succeeded, None, Duration::ZERO),
            Verdict::Refused(why) => (DeliveryState::Failed, Some(why), Duration::ZERO),
            Verdict::Failed(why) if attempts >= self.events().max_attempts => {
                (DeliveryState::Failed, Some(why), Duration::ZERO)
            }
            Verdict::Failed(why) => {
                let longest = wait(u32::try_from(attempts).unwrap_or(1));
                (DeliveryState::Pending, Some(why), longest.mul_f64(self.spread()))
            }
        };
        let micros = i64::try_from(wait_for.as_micros()).unwrap_or(0);
        let next = crate::domain::Timestamp::from_unix_micros(self.now().unix_micros().saturating_add(micros));
        Settlement {
            position: claimed.position,
            state,
            attempts: 1,
            last_error: last_error.map(|why| why.chars().take(MAX_ERROR_CHARS).collect()),
            next_attempt_at: next.unwrap_or_else(|_| self.now()),
        }
    }

    /// Nothing was learnt about the event: it stays due, and no attempt is counted.
    fn left_to_the_relay(&self, claimed: &Claimed, outage: Option<&Outage>) -> Settlement {
        let last_error = outage.map(|outage| outage.to_string().chars().take(MAX_ERROR_CHARS).collect());
        Settlement {
            position: claimed.position,
            state: DeliveryState::Pending,
            attempts: 0,
            last_error: last_error.or_else(|| claimed.event.last_error.clone()),
            next_attempt_at: self.now(),
        }
    }

    /// `true` when others were waiting for these.
    async fn settle(&self, token: Uuid, settlements: &[Settlement]) -> Result<bool> {
        Ok(self.store().settle_events(token, self.now(), settlements).await?)
    }
}

/// Two attempts on one event in a row, as one result.
fn add(before: Option<Settlement>, next: Settlement) -> Settlement {
    let earlier = before.map_or(0, |before| before.attempts);
    Settlement { attempts: next.attempts + earlier, ..next }
}

/// How many of the first messages fit one call, by count and by bytes; at least one.
fn batch_size(messages: &[Message]) -> usize {
    let mut bytes = 0;
    let fits = messages.iter().take(BATCH as usize).take_while(|message| {
        bytes += message.bytes();
        bytes <= MAX_MESSAGE_BYTES
    });
    fits.count().max(1)
}
