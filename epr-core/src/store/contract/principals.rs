//! Registered principals: reads, and what transactions do to them and their keys.

use async_trait::async_trait;
use uuid::Uuid;

use super::{Result, RowVisitor};
use crate::domain::{Assignment, EntityType, Principal, PrincipalFilter};
use crate::seal::PrincipalKey;
use crate::store::{Cursor, Page};

/// The identity of a principal: its type and its id.
pub type PrincipalRef<'a> = (&'a str, Uuid);

/// Reads of principals and of their keys. The list is ordered and read as the lists of
/// [`RegistryStore`](super::RegistryStore) are.
#[async_trait]
pub trait PrincipalStore: Send + Sync {
    /// Returns the registered principal with this type and id, erased or not.
    ///
    /// Example: a `user` is not found as `("service", id)`.
    async fn principal(&self, principal: PrincipalRef<'_>) -> Result<Option<Principal>>;

    /// Lists principals that match `filter`, erased ones included.
    ///
    /// Example: a filter by external id compares bytes, so that `a` does not find `A`.
    async fn principals(&self, filter: &PrincipalFilter, page: Page, visit: RowVisitor<'_, Principal>) -> Result<()>;

    /// Returns the last row of [`principals`](Self::principals) that fits into about `bytes` of JSON; `None` when the
    /// whole list fits.
    ///
    /// Example: `principals_end(filter, i64::MAX)` is `None`.
    async fn principals_end(&self, filter: &PrincipalFilter, bytes: i64) -> Result<Option<Cursor>>;

    /// Returns the key under which the personal fields of a principal are sealed in the ledger.
    ///
    /// Example: `None` for a principal without personal fields, and after an erasure.
    async fn principal_key(&self, principal: PrincipalRef<'_>) -> Result<Option<PrincipalKey>>;
}

/// What a transaction does to principals. A call that finds a unique key taken reports it by its return value and
/// leaves the transaction usable, unless noted.
#[async_trait]
pub trait PrincipalTx: Send {
    /// Deletes at most `limit` assignments of a principal and returns them, each with the type of its entity; `None`
    /// for a global one.
    ///
    /// Example: the assignments of another type's principal with the same id stay.
    async fn delete_assignments_of(
        &mut self,
        principal: PrincipalRef<'_>,
        limit: usize,
    ) -> Result<Vec<(Assignment, Option<EntityType>)>>;

    /// Inserts a principal. Its `created_at` is moved on by microseconds while another type's principal with the same
    /// id has it: lists are ordered by both.
    ///
    /// Example: the second principal of a type with the same external id is `ExternalIdTaken`.
    async fn insert_principal(&mut self, principal: &Principal) -> Result<InsertedPrincipal>;

    /// Returns a principal, locked against other writers until the end of the transaction.
    ///
    /// Example: another transaction's `lock_principal` waits for this one to end and returns what it committed.
    async fn lock_principal(&mut self, principal: PrincipalRef<'_>) -> Result<Option<Principal>>;

    /// Returns the principal of a type with this external id, locked as by [`lock_principal`](Self::lock_principal).
    ///
    /// Example: external ids are compared byte for byte: `A` is not found as `a`.
    async fn lock_principal_known_as(&mut self, principal_type: &str, external_id: &str) -> Result<Option<Principal>>;

    /// Returns a principal, and prevents that it is locked until the end of this transaction. Several transactions may
    /// share it. `None` when it is not registered.
    ///
    /// Example: two assignments to one principal are made side by side, and its erasure waits for both.
    async fn share_principal(&mut self, principal: PrincipalRef<'_>) -> Result<Option<Principal>>;

    /// Writes every mutable field of a principal, and the time of its erasure. `false` when another principal of the
    /// type has the external id; the transaction must be dropped then.
    ///
    /// Example: two principals without an external id do not conflict.
    async fn update_principal(&mut self, principal: &Principal) -> Result<bool>;

    /// Returns the key of a principal, as this transaction sees it.
    ///
    /// Example: `None` after [`delete_principal_key`](Self::delete_principal_key), before the commit.
    async fn principal_key(&mut self, principal: PrincipalRef<'_>) -> Result<Option<PrincipalKey>>;

    /// Keeps the key of a registered principal that has none. The caller holds the principal's lock, or has inserted
    /// it.
    ///
    /// Example: the key of an unregistered principal is `MissingReference`.
    async fn insert_principal_key(&mut self, principal: PrincipalRef<'_>, key: &PrincipalKey) -> Result<()>;

    /// Destroys the key of a principal; `false` when it had none.
    ///
    /// Example: the second call returns `false`.
    async fn delete_principal_key(&mut self, principal: PrincipalRef<'_>) -> Result<bool>;
}

/// The outcome of inserting a principal under its unique keys.
#[derive(Debug, Clone, PartialEq)]
pub enum InsertedPrincipal {
    /// The principal is new; as it was stored.
    New(Box<Principal>),
    /// A principal of the type has the id already.
    IdTaken,
    /// A principal of the type has the external id already.
    ExternalIdTaken,
}
