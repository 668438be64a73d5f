//! The probe around commits: a test injects one to stop a change between its commit and the invalidation of the cache.

use async_trait::async_trait;

use crate::store::Invalidation;

/// Observes the commit of each change that invalidates decisions. Production injects none.
#[async_trait]
pub(crate) trait CommitProbe: Send + Sync {
    /// Runs before the commit. Returns the renewals that are to be applied after it.
    async fn before_commit(&self, renewals: Vec<Invalidation>) -> Vec<Invalidation>;

    /// Runs between the commit and the invalidation.
    async fn after_commit(&self);
}
