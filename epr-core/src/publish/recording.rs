//! A topic in memory, for programs that embed the service in their tests.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Message, Outage, Publisher, Verdict};

/// Keeps what is published, and can be told to fail.
#[derive(Debug, Default)]
pub struct Recording {
    published: Mutex<Vec<Message>>,
    next: Mutex<Vec<Result<Verdict, Outage>>>,
}

impl Recording {
    /// Everything that was delivered, in order.
    #[must_use]
    pub fn published(&self) -> Vec<Message> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What happens to the next messages, first to last; after them everything is delivered again.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Result<Verdict, Outage>>) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.extend(answers);
    }

    fn verdict(&self) -> Result<Verdict, Outage> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_empty() { Ok(Verdict::Delivered) } else { next.remove(0) }
    }
}

#[async_trait]
impl Publisher for Recording {
    async fn publish(&self, messages: &[Message]) -> Result<Vec<Verdict>, Outage> {
        let mut verdicts = Vec::with_capacity(messages.len());
        for message in messages {
            let verdict = self.verdict()?;
            if verdict == Verdict::Delivered {
                self.published.lock().unwrap_or_else(PoisonError::into_inner).push(message.clone());
            }
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }
}
