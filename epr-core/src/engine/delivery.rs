//! Delivery: claims events, publishes them with no transaction open, and records the outcomes.
//!
//! Owns the breaker and the counting of attempts. INVARIANT: an outage of the topic says nothing about an event, so it
//! uses up none of its attempts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use super::backoff::{Backoff, Jitter};
use super::breaker::Breaker;
use super::core::Core;
use super::outbox_walk::{Walk, WalkStep};
use crate::domain::Timestamp;
use crate::domain::event::{DeliveryState, MAX_ERROR_CHARS, MAX_MESSAGE_BYTES};
use crate::error::{Result, chain};
use crate::metrics::AttemptOutcome;
use crate::publish::{BATCH, Message, Outage, PublishOutcome, Publisher};
use crate::store::{Completion, Lease, LeasedEvent, LeasedEvents};

/// The delay before the next attempt on an event that the topic did not take.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_mins(1), Jitter::Full);

type Published = std::result::Result<Vec<PublishOutcome>, Outage>;

/// The way of events to the topic, shared by requests and the relay of a process.
pub(crate) struct Delivery {
    pub(super) core: Arc<Core>,
    pub(super) publisher: Option<Arc<dyn Publisher>>,
    pub(super) breaker: Breaker,
    /// Notified when an event is left to the relay.
    pub(super) left_over: Notify,
    /// Notifies the deliveries of requests that they are cancelled.
    cancelled: Arc<Notify>,
    walk: Mutex<Walk>,
}

impl Delivery {
    /// Events are stored but not published without a `publisher`.
    pub(crate) fn new(core: Arc<Core>, publisher: Option<Arc<dyn Publisher>>) -> Self {
        Self {
            core,
            publisher,
            breaker: Breaker::default(),
            left_over: Notify::new(),
            cancelled: Arc::default(),
            walk: Mutex::default(),
        }
    }

    /// Whether a topic is configured.
    pub(crate) fn publishes(&self) -> bool {
        self.publisher.is_some()
    }

    /// Wakes the relay for an event that this process cannot deliver now.
    pub(crate) fn leave_to_relay(&self) {
        self.left_over.notify_one();
    }

    fn walk(&self) -> MutexGuard<'_, Walk> {
        self.walk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim that this process may hold from now on, for the length of a lease.
    pub(crate) fn new_lease(&self) -> Lease {
        let lease = i64::try_from(self.core.settings.events.lease.as_secs()).unwrap_or(30);
        Lease { token: self.core.new_id(), until: self.core.now().plus_seconds(lease) }
    }

    /// Delivers an event that this process has just written and claimed, with the number of attempts that a request may
    /// make. The relay delivers what is pending after that. It goes on when its caller goes away, because an event must
    /// not stay claimed and undelivered for that.
    pub(crate) async fn deliver_now(self: &Arc<Self>, claim: Lease, claimed: LeasedEvent) {
        let (delivery, cancelled) = (Arc::clone(self), Arc::clone(&self.cancelled).notified_owned());
        let task = tokio::spawn(async move {
            tokio::select! {
                () = delivery.deliver_claimed(claim, claimed) => {}
                () = cancelled => {}
            }
        });
        let _ = task.await;
    }

    /// Cancels the deliveries of requests. Their events stay claimed until the end of the lease, and are delivered
    /// after it; the topic may have taken them already.
    pub(crate) fn cancel(&self) {
        self.cancelled.notify_waiters();
    }

    async fn deliver_claimed(&self, claim: Lease, claimed: LeasedEvent) {
        let Some(publisher) = self.publisher.as_deref() else { return };
        let completion = self.attempt_now(publisher, claim, &claimed).await;
        let pending = completion.state == DeliveryState::Pending;
        let followed = self.complete(claim.token, &[completion]).await.unwrap_or_else(|error| {
            warn!(event_id = %claimed.event.event_id, error = chain(&error), "events_engine_settle_failed");
            true
        });
        if pending || followed {
            self.leave_to_relay();
        }
    }

    /// Attempts to publish one event, and sums the attempts up. Begins none after the lease, when another process may
    /// have delivered the event and later ones: this one may have been stopped for any time.
    async fn attempt_now(&self, publisher: &dyn Publisher, claim: Lease, claimed: &LeasedEvent) -> Completion {
        let message = [Message::of(&claimed.event)];
        let attempts = self.core.settings.events.publish_attempts;
        let mut completion = None;
        for attempt in 1..=attempts {
            if self.breaker.is_open() || self.core.now() >= claim.until {
                break;
            }
            let answer = self.publish(publisher, std::slice::from_ref(claimed), &message).await;
            let is_last = attempt == attempts
                || self.core.now() >= claim.until
                || answer.as_ref().is_err_and(|outage| !outage.retryable);
            if let Err(outage) = &answer
                && is_last
            {
                self.open_breaker(outage, 1);
            }
            let outcome = self.completions(std::slice::from_ref(claimed), &answer).into_iter().next();
            let is_complete = outcome.as_ref().is_some_and(|outcome| outcome.state != DeliveryState::Pending);
            completion = outcome.map(|outcome| add_attempts(completion.take(), outcome));
            if is_complete || is_last {
                break;
            }
        }
        completion.unwrap_or_else(|| self.still_pending(claimed, None))
    }

    /// Claims the next due events of the walk and delivers them.
    pub(super) async fn deliver_due(&self, publisher: &dyn Publisher) -> Result<WalkStep> {
        let claim = self.new_lease();
        let from = self.walk().next.clone();
        // One batch, so that the lease outlasts its delivery.
        let claimed = self.core.store.lease_events(claim, self.core.now(), BATCH, from).await?;
        let LeasedEvents { events: claimed, next, ended } = claimed;
        let step = self.walk().advance(!claimed.is_empty(), next, ended);
        let messages: Vec<_> = claimed.iter().map(|claimed| Message::of(&claimed.event)).collect();
        let (mut rest, mut rest_messages) = (claimed.as_slice(), messages.as_slice());
        while !rest.is_empty() {
            let size = batch_size(rest_messages);
            let (batch, others) = rest.split_at(size);
            let (batch_messages, other_messages) = rest_messages.split_at(size);
            (rest, rest_messages) = (others, other_messages);
            if self.breaker.is_open() || self.core.now() >= claim.until {
                // An outage began with an earlier batch, or the lease is over: these events are returned without an
                // attempt.
                let returned: Vec<_> = batch.iter().map(|event| self.still_pending(event, None)).collect();
                self.complete(claim.token, &returned).await?;
                continue;
            }
            let answer = self.publish(publisher, batch, batch_messages).await;
            if let Err(outage) = &answer {
                self.open_breaker(outage, batch.len());
            }
            self.complete(claim.token, &self.completions(batch, &answer)).await?;
        }
        Ok(step)
    }

    async fn publish(&self, publisher: &dyn Publisher, batch: &[LeasedEvent], messages: &[Message]) -> Published {
        let begun = Instant::now();
        let answer = publisher.publish(messages).await;
        let metrics = &self.core.metrics;
        metrics.called(begun.elapsed());
        let latency_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &answer {
            Ok(outcomes) if outcomes.iter().any(|outcome| !matches!(outcome, PublishOutcome::Failed(_))) => {
                self.breaker.close();
            }
            Ok(_) => {}
            Err(_) => metrics.attempted(AttemptOutcome::outage),
        }
        for (claimed, outcome) in batch.iter().zip(answer.iter().flatten()) {
            let (event_id, event_type) = (claimed.event.event_id, claimed.event.event_type.as_str());
            let attempts = claimed.event.delivery_attempts + 1;
            metrics.attempted(match outcome {
                PublishOutcome::Delivered => AttemptOutcome::delivered,
                PublishOutcome::Refused(_) => AttemptOutcome::refused,
                PublishOutcome::Failed(_) => AttemptOutcome::failed,
            });
            match outcome {
                PublishOutcome::Delivered => {
                    info!(%event_id, event_type, attempts, latency_ms, "events_engine_published");
                }
                PublishOutcome::Refused(why) | PublishOutcome::Failed(why) => {
                    warn!(%event_id, event_type, attempts, latency_ms, error = why, "events_engine_publish_failed");
                }
            }
        }
        answer
    }

    fn open_breaker(&self, outage: &Outage, events: usize) {
        // Failures of events that were on their way side by side are one outage.
        if !self.breaker.is_open() {
            self.breaker.open(&*self.core.random);
        }
        warn!(events, error = %outage, "events_engine_publish_failed");
    }

    fn completions(&self, batch: &[LeasedEvent], answer: &Published) -> Vec<Completion> {
        match answer {
            Err(outage) => batch.iter().map(|claimed| self.still_pending(claimed, Some(outage))).collect(),
            Ok(outcomes) => {
                batch.iter().zip(outcomes).map(|(claimed, outcome)| self.completion(claimed, outcome)).collect()
            }
        }
    }

    fn completion(&self, claimed: &LeasedEvent, outcome: &PublishOutcome) -> Completion {
        let attempts = claimed.event.delivery_attempts + 1;
        let max_attempts = self.core.settings.events.max_attempts;
        let (state, last_error, delay) = match outcome {
            PublishOutcome::Delivered => (DeliveryState::Succeeded, None, Duration::ZERO),
            PublishOutcome::Refused(why) => (DeliveryState::Failed, Some(why), Duration::ZERO),
            PublishOutcome::Failed(why) if attempts >= max_attempts => {
                (DeliveryState::Failed, Some(why), Duration::ZERO)
            }
            PublishOutcome::Failed(why) => {
                let failures = u32::try_from(attempts).unwrap_or(1);
                (DeliveryState::Pending, Some(why), RETRY.delay(failures, &*self.core.random))
            }
        };
        let (now, micros) = (self.core.now(), i64::try_from(delay.as_micros()).unwrap_or(0));
        Completion {
            position: claimed.position,
            state,
            attempts: 1,
            last_error: last_error.map(|why| why.chars().take(MAX_ERROR_CHARS).collect()),
            next_attempt_at: Timestamp::from_unix_micros(now.unix_micros().saturating_add(micros)).unwrap_or(now),
        }
    }

    /// Nothing is known about the event: it stays due, and no attempt is counted.
    fn still_pending(&self, claimed: &LeasedEvent, outage: Option<&Outage>) -> Completion {
        let last_error = outage.map(|outage| outage.to_string().chars().take(MAX_ERROR_CHARS).collect());
        Completion {
            position: claimed.position,
            state: DeliveryState::Pending,
            attempts: 0,
            last_error: last_error.or_else(|| claimed.event.last_error.clone()),
            next_attempt_at: self.core.now(),
        }
    }

    /// Records the outcomes. Returns whether later events with the same keys are pending.
    async fn complete(&self, token: Uuid, completions: &[Completion]) -> Result<bool> {
        Ok(self.core.store.complete_events(token, self.core.now(), completions).await?)
    }
}

/// The outcome of several attempts on one event: the last one, with the attempts of all of them.
fn add_attempts(before: Option<Completion>, next: Completion) -> Completion {
    let earlier = before.map_or(0, |before| before.attempts);
    Completion { attempts: next.attempts + earlier, ..next }
}

/// The number of the first messages that fit into one call, by number and by bytes; at least one.
fn batch_size(messages: &[Message]) -> usize {
    let mut bytes = 0;
    let fits = messages.iter().take(BATCH as usize).take_while(|message| {
        bytes += message.bytes();
        bytes <= MAX_MESSAGE_BYTES
    });
    fits.count().max(1)
}
