//! The keys of page tokens: made when they are first needed, and renewed in time.

use super::token::TokenKey;
use crate::domain::Timestamp;
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::store::{ListKey, StoreError};

/// The age at which a key is succeeded by a new one.
const KEY_DAYS: i64 = 30;
/// How long the tokens of a key are accepted after its successor began.
const ACCEPTED_DAYS: i64 = 1;
const DAY_SECONDS: i64 = 86_400;

/// The accepted keys, the newest first. There is at least one.
pub(crate) struct TokenKeys(Vec<ListKey>);

impl TokenKeys {
    /// Reads the keys; starts a new one if there is none or the newest is too old.
    pub(crate) async fn current(engines: &Engines) -> Result<Self> {
        let now = engines.now();
        let keys = engines.store().list_keys().await?;
        let renewal = now.plus_seconds(-KEY_DAYS * DAY_SECONDS);
        let keys = match keys.first() {
            Some(newest) if newest.started_at > renewal => keys,
            _ => start_key(engines, now, (renewal, obsolete_before(now))).await?,
        };
        Ok(Self(accepted(keys, now)))
    }

    /// The key of new tokens.
    pub(crate) fn newest(&self) -> Result<TokenKey<'_>> {
        let newest = self.0.first().ok_or_else(|| Error::from(StoreError::corrupt("list_keys", "there is no key")))?;
        Ok(token_key(newest))
    }

    /// The accepted key with this number.
    pub(crate) fn get(&self, number: i64) -> Option<TokenKey<'_>> {
        self.0.iter().find(|key| key.number == number).map(token_key)
    }
}

fn token_key(key: &ListKey) -> TokenKey<'_> {
    TokenKey { number: key.number, bytes: &key.key }
}

/// The newest key, and those whose successors began less than a day ago.
fn accepted(keys: Vec<ListKey>, now: Timestamp) -> Vec<ListKey> {
    let obsolete = obsolete_before(now);
    let mut successor: Option<Timestamp> = None;
    keys.into_iter().take_while(|key| successor.replace(key.started_at).is_none_or(|began| began >= obsolete)).collect()
}

/// What becomes of the tokens of the present key when a new one is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OldTokens {
    /// They are accepted for one more day.
    AcceptForADay,
    /// They are refused from now on.
    Refuse,
}

/// Starts a new key. Returns its number.
pub(crate) async fn rotate(engines: &Engines, old: OldTokens) -> Result<i64> {
    let now = engines.now();
    // No key is younger than that, so that a new one is always started.
    let later = now.plus_seconds(KEY_DAYS * DAY_SECONDS);
    let obsolete = if old == OldTokens::Refuse { later } else { obsolete_before(now) };
    let keys = start_key(engines, now, (later, obsolete)).await?;
    keys.first().map(|key| key.number).ok_or_else(|| StoreError::corrupt("list_keys", "there is no key").into())
}

/// The time before which the successor of a key has begun that is no longer accepted.
fn obsolete_before(now: Timestamp) -> Timestamp {
    now.plus_seconds(-ACCEPTED_DAYS * DAY_SECONDS)
}

/// Starts a key unless the newest one started after `unless_after`; deletes those whose successors started before
/// `obsolete`.
async fn start_key(
    engines: &Engines,
    now: Timestamp,
    (unless_after, obsolete): (Timestamp, Timestamp),
) -> Result<Vec<ListKey>> {
    let mut key = [0; 32];
    let unavailable = |_| StoreError::Backend("the operating system returned no random bytes for a key".into());
    getrandom::fill(&mut key).map_err(unavailable)?;
    let mut retry = crate::engine::contention::ContentionRetry::begin();
    loop {
        match engines.store().rotate_list_key(&key, now, unless_after, obsolete).await {
            Err(StoreError::Contention(_)) if retry.next_attempt().is_some() => {}
            outcome => return Ok(outcome?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_accepted_until_a_day_after_its_successor_began() {
        let now = Timestamp::parse("2026-11-29T12:00:00Z").unwrap();
        let key = |number, days: i64, seconds: i64| ListKey {
            number,
            key: [0; 32],
            started_at: now.plus_seconds(-days * DAY_SECONDS - seconds),
        };
        let numbers = |keys: Vec<ListKey>| accepted(keys, now).iter().map(|key| key.number).collect::<Vec<_>>();
        assert_eq!(numbers(vec![key(1, 300, 0)]), [1], "the newest is always accepted");
        assert_eq!(numbers(vec![key(2, 1, 0), key(1, 31, 0)]), [2, 1]);
        assert_eq!(numbers(vec![key(2, 1, 1), key(1, 31, 0)]), [2]);
        assert_eq!(numbers(vec![key(3, 0, 5), key(2, 0, 9), key(1, 2, 0)]), [3, 2, 1]);
        assert_eq!(numbers(vec![key(3, 0, 5), key(2, 2, 0), key(1, 9, 0)]), [3, 2]);
    }
}
