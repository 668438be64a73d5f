//! Idempotency keys: the first answers of creations, kept for a day.

use async_trait::async_trait;

use super::{PrincipalRef, Result};
use crate::domain::Timestamp;
use crate::domain::idempotency::{KeptAnswer, KeyState, KeyedRequest};

/// Reads of first answers, and the removal of old ones.
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
    /// Returns what is known of the key of `request` in a call at `now`.
    ///
    /// Example: `Free` a day after the first request, whether its row is still there or not.
    async fn key_state(&self, request: &KeyedRequest, now: Timestamp) -> Result<KeyState>;

    /// Removes answers that are no longer kept at `now`, at most `most` and the oldest first, and returns their number.
    /// Does not wait for others that remove them.
    ///
    /// Example: of 25 answers of which 20 are older than a day, with `most` 15 the oldest 15; the next call removes 5.
    async fn remove_outdated_answers(&self, now: Timestamp, most: u32) -> Result<u64>;
}

/// What a transaction does to idempotency keys.
#[async_trait]
pub trait IdempotencyTx: Send {
    /// Takes the key of `request` for this transaction if it is free, and returns what was known of it. Removes a few
    /// rows that are no longer needed.
    ///
    /// Waits for another transaction that has taken the key. Must be the first call of the transaction: then no one who
    /// has a lock waits for a key.
    ///
    /// Example: of two transactions with the same request, the first one's answer is `Free`; the second waits, and gets
    /// `Answered` when the first has committed and `Free` when it was rolled back.
    async fn take_key(&mut self, request: &KeyedRequest, now: Timestamp) -> Result<KeyState>;

    /// Keeps the answer to `request`, whose key this transaction has taken.
    ///
    /// Example: after the commit, [`IdempotencyStore::key_state`] returns `Answered`.
    async fn keep_answer(&mut self, request: &KeyedRequest, answer: &KeptAnswer) -> Result<()>;

    /// Blanks every answer that is about a principal, and the hashes of the requests.
    ///
    /// Example: after the commit the key of the principal's creation is `Erased`.
    async fn erase_answers(&mut self, principal: PrincipalRef<'_>) -> Result<()>;
}
