//! The hashes that stand in the ledger for what callers of other systems send about persons: names of what is not
//! registered, and stated properties.
//!
//! Owns the key in this process. Nothing can be removed from the ledger, and few names are hard to guess: a hash
//! without a key would tell any reader of the ledger whether a guess is right. Must never log what it hashes.

use ring::hmac;
use tokio::sync::OnceCell;

use super::contention::ContentionRetry;
use crate::domain::Json;
use crate::error::Result;
use crate::ledger::canonical;
use crate::store::{Store, StoreError};

/// What is hashed before the text itself: a key must never authenticate anything else.
const PURPOSE: &[u8] = b"epr-ledger-name\0";

/// The key of an installation, read when it is first needed.
#[derive(Default)]
pub(crate) struct NameHashes(OnceCell<NameKey>);

/// The key.
pub(crate) struct NameKey(hmac::Key);

impl NameHashes {
    /// The key; the first process of an installation makes it.
    ///
    /// # Errors
    /// The database is unavailable.
    pub(crate) async fn key(&self, store: &dyn Store) -> Result<&NameKey> {
        let read = async || {
            let mut proposed = [0; 32];
            let unavailable = |_| StoreError::Backend("the operating system returned no random bytes for a key".into());
            getrandom::fill(&mut proposed).map_err(unavailable)?;
            let mut retry = ContentionRetry::begin();
            loop {
                match store.ledger_name_key(&proposed).await {
                    Err(StoreError::Contention(_)) if retry.next_attempt().is_some() => {}
                    key => return Ok(NameKey::new(&key?)),
                }
            }
        };
        self.0.get_or_try_init(read).await
    }
}

impl NameKey {
    fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The HMAC-SHA256 of the canonical text of `json`, in hex.
    pub(crate) fn hash(&self, json: &Json) -> String {
        let mut text = PURPOSE.to_vec();
        text.extend(canonical::text_of(json).as_bytes());
        canonical::hex(hmac::sign(&self.0, &text).as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_its_key_and_its_text() {
        let (one, other) = (NameKey::new(&[1; 32]), NameKey::new(&[2; 32]));
        let hash = one.hash(&"ada".into());
        assert_eq!(hash, one.hash(&"ada".into()));
        assert_eq!(hash.len(), 64);
        assert!(hash != other.hash(&"ada".into()) && hash != one.hash(&"Ada".into()));
    }
}
