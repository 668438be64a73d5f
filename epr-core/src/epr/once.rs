//! Creations under an idempotency key: a repeat within a day returns the first answer. Each method delegates to its
//! handler.

use super::Epr;
use crate::call::Call;
use crate::domain::event::{IngestedEvent, NewEvent};
use crate::domain::{
    Assignment, AssignmentRequest, Entity, IdempotencyKey, Json, KeptAnswer, KeyedCreation, KeyedRequest, NewEntity,
    NewPrincipal, NewRole, Once, Principal, Role,
};
use crate::error::Result;
use crate::handlers::{assignment_groups, entities, events, once, principals, roles};

/// Creations that are carried out once.
///
/// With `request: None`, each of them is the method without a key. With a key it has the errors of that method, and one
/// more: `Conflict`, when the key was used for another body within a day, or its answer was erased with a principal.
impl Epr {
    /// The request of `call` for a creation under `key`. A repeat is a request of the same caller for the same creation
    /// with the same key; its `body` has to be the same too.
    ///
    /// # Errors
    /// `Invalid` when the credential of `call` names no caller.
    pub fn keyed_request(
        call: &Call,
        creation: KeyedCreation,
        key: IdempotencyKey,
        body: &Json,
    ) -> Result<KeyedRequest> {
        once::keyed(call, creation, key, body)
    }

    /// The answer to an earlier call with this request, if there was one within a day. The creations look it up too;
    /// here it is found before the input is validated, which may have become invalid since.
    ///
    /// # Errors
    /// `Conflict`, as above.
    pub async fn first_answer(&self, call: &Call, request: &KeyedRequest) -> Result<Option<KeptAnswer>> {
        once::first_answer(&self.engines, call, request).await
    }

    /// [`Epr::create_entity`] at most once for a key.
    ///
    /// # Errors
    /// See above.
    pub async fn create_entity_once(
        &self,
        call: &Call,
        request: Option<&KeyedRequest>,
        new: NewEntity,
    ) -> Result<Once<Entity>> {
        entities::create(&self.engines, call, request, new).await
    }

    /// [`Epr::create_role`] at most once for a key.
    ///
    /// # Errors
    /// See above.
    pub async fn create_role_once(
        &self,
        call: &Call,
        request: Option<&KeyedRequest>,
        new: NewRole,
    ) -> Result<Once<Role>> {
        roles::create(&self.engines, call, request, new).await
    }

    /// [`Epr::assign`] at most once for a key: a repeat does not assign again what was revoked since.
    ///
    /// # Errors
    /// See above.
    pub async fn assign_once(
        &self,
        call: &Call,
        request: Option<&KeyedRequest>,
        new: impl Into<AssignmentRequest>,
    ) -> Result<Once<Assignment>> {
        assignment_groups::assign((&self.engines, &self.assignment_groups), call, request, new.into()).await
    }

    /// [`Epr::create_principal`] at most once for a key.
    ///
    /// # Errors
    /// See above.
    pub async fn create_principal_once(
        &self,
        call: &Call,
        request: Option<&KeyedRequest>,
        new: NewPrincipal,
    ) -> Result<Once<Principal>> {
        principals::create(&self.engines, call, request, new).await
    }

    /// [`Epr::ingest_event`] at most once for a key. The event has the delivery state of the commit, so that every
    /// answer is the same.
    ///
    /// # Errors
    /// See above.
    pub async fn ingest_event_once(
        &self,
        call: &Call,
        request: Option<&KeyedRequest>,
        new: NewEvent,
    ) -> Result<Once<IngestedEvent>> {
        events::ingest(&self.engines, call, request, new).await
    }
}
