//! A topic in memory, for programs that embed the service in their tests.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Message, Outage, PublishOutcome, Publisher};

/// Records what is published, and returns the outcomes that a test queues.
#[derive(Debug, Default)]
pub struct Recording {
    published: Mutex<Vec<Message>>,
    queued: Mutex<Vec<Result<PublishOutcome, Outage>>>,
}

impl Recording {
    /// Everything that was delivered, in order.
    #[must_use]
    pub fn published(&self) -> Vec<Message> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Queues the outcomes of the next messages, in order. Messages after them are delivered.
    pub fn answer_next(&self, outcomes: impl IntoIterator<Item = Result<PublishOutcome, Outage>>) {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner).extend(outcomes);
    }

    fn next_outcome(&self) -> Result<PublishOutcome, Outage> {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        if queued.is_empty() { Ok(PublishOutcome::Delivered) } else { queued.remove(0) }
    }
}

#[async_trait]
impl Publisher for Recording {
    async fn publish(&self, messages: &[Message]) -> Result<Vec<PublishOutcome>, Outage> {
        let mut outcomes = Vec::with_capacity(messages.len());
        for message in messages {
            let outcome = self.next_outcome()?;
            if outcome == PublishOutcome::Delivered {
                self.published.lock().unwrap_or_else(PoisonError::into_inner).push(message.clone());
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }
}
