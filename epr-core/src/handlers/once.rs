//! Creations under an idempotency key: a repeat returns the first answer.
//!
//! The key is taken and the answer kept in the transaction of the creation, so that both exist or neither, whenever the
//! process ends. Must never keep the answer of a creation that failed.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tracing::info;
use uuid::Uuid;

use super::transaction::{Change, ChangeResult, Mutation, commit};
use crate::call::{AnsweredAt, Call};
use crate::domain::fields::{Choice as _, Problem};
use crate::domain::idempotency::{KeptAnswer, KeyState, KeyedCreation, KeyedRequest, Once};
use crate::domain::{Event, IdempotencyKey, Invalid, Json, Timestamp};
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::ledger::canonical;
use crate::store::{Appended, StoreError, Tx};

/// The creation that `call` asks for under `key` with this body.
///
/// # Errors
/// `Invalid` when the credential names no caller: all such callers would share their keys.
pub(crate) fn keyed(call: &Call, creation: KeyedCreation, key: IdempotencyKey, body: &Json) -> Result<KeyedRequest> {
    let caller = match &call.caller {
        None => Uuid::nil(),
        Some(caller) if caller.name().is_empty() => {
            let why = "An idempotency key belongs to its caller, and this credential names none: its `sub` is absent \
                       or empty. Send a token with a `sub`, or leave out the header";
            let problem = Problem::new("caller_unnamed", why);
            return Err(Error::Invalid(Invalid::one("header", Some("Idempotency-Key"), problem)));
        }
        Some(caller) => caller.actor_id(),
    };
    let body_sha256 = Sha256::digest(canonical::text_of(body)).into();
    Ok(KeyedRequest { caller, creation, key, body_sha256 })
}

/// The first answer to `request`, if it was given within a day. That of a change of the registry is answered at the
/// present revision, as a change that changes nothing is; events have no revision.
///
/// # Errors
/// `Conflict` when the key was used for another body, or the principal that the answer is about was erased.
pub(crate) async fn first_answer(engines: &Engines, call: &Call, request: &KeyedRequest) -> Result<Option<KeptAnswer>> {
    let state = engines.store().key_state(request, engines.now()).await?;
    let answer = answer_of(state)?;
    if answer.is_some() {
        if call.answered_at.is_some() && request.creation != KeyedCreation::Event {
            // Read after the answer, so that it is not older than the creation.
            call.set_answered_at(engines.store().registry_state().await?.revision);
        }
        log_repeated(request);
    }
    Ok(answer)
}

fn answer_of(state: KeyState) -> Result<Option<KeptAnswer>> {
    match state {
        KeyState::Free => Ok(None),
        KeyState::Answered(answer) => Ok(Some(answer)),
        KeyState::OtherBody => Err(Error::Conflict(
            "This Idempotency-Key was used for a request with another body in the last 24 hours; use a new key".into(),
        )),
        KeyState::Erased => Err(Error::Conflict(
            "The first request with this Idempotency-Key was about a principal that has been erased since; its answer \
             is gone"
                .into(),
        )),
    }
}

fn log_repeated(request: &KeyedRequest) {
    info!(creation = request.creation.word(), "creation_repeated");
}

/// Applies `mutation` as [`commit`] does; with a `request`, at most once for its key. `answer` makes the answer that is
/// kept.
///
/// # Errors
/// Those of the mutation and of [`first_answer`].
pub(super) async fn commit_once<M: Mutation>(
    engines: &Engines,
    answered_at: Option<&AnsweredAt>,
    request: Option<&KeyedRequest>,
    mutation: &M,
    answer: impl Fn(&M::Done) -> Result<KeptAnswer> + Sync,
) -> Result<Once<M::Done>>
where
    M::Done: Sync,
{
    let Some(request) = request else { return Ok(Once::First(commit(engines, answered_at, mutation).await?)) };
    let done = commit(engines, answered_at, &Keyed { request, mutation, answer, now: engines.now() }).await?;
    if matches!(done, Once::Repeated(_)) {
        log_repeated(request);
    }
    Ok(done)
}

/// The value of a creation without a key.
pub(crate) fn first<T>(once: Once<T>) -> T {
    match once {
        Once::First(value) => value,
        Once::Repeated(_) => unreachable!("a creation without a key is no repeat"),
    }
}

/// An answer with `value` as its body.
pub(super) fn kept(value: &impl Serialize) -> Result<KeptAnswer> {
    let body = serde_json::to_string(value).map_err(|error| Error::Internal(StoreError::Backend(error.into())))?;
    Ok(KeptAnswer { body, duplicate: None, principal: None })
}

/// A mutation under a key.
struct Keyed<'a, M, A> {
    request: &'a KeyedRequest,
    mutation: &'a M,
    answer: A,
    now: Timestamp,
}

impl<M, A> Mutation for Keyed<'_, M, A>
where
    M: Mutation,
    M::Done: Sync,
    A: Fn(&M::Done) -> Result<KeptAnswer> + Sync,
{
    type Done = Once<M::Done>;

    async fn apply(&self, change: &mut Change) -> ChangeResult<Self::Done> {
        match answer_of(change.tx.take_key(self.request, self.now).await?)? {
            Some(answer) => Ok(Once::Repeated(answer)),
            None => Ok(Once::First(self.mutation.apply(change).await?)),
        }
    }

    fn recorded(&self, done: Self::Done, outcomes: &[Appended]) -> Self::Done {
        done.map(|done| self.mutation.recorded(done, outcomes))
    }

    fn found_event(&self, done: Self::Done, first: Event) -> Self::Done {
        done.map(|done| self.mutation.found_event(done, first))
    }

    async fn before_commit(&self, tx: &mut dyn Tx, done: &Self::Done) -> ChangeResult<()> {
        if let Once::First(done) = done {
            self.mutation.before_commit(&mut *tx, done).await?;
            tx.keep_answer(self.request, &(self.answer)(done)?).await?;
        }
        Ok(())
    }
}
