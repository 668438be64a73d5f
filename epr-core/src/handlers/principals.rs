//! Principals: register, read, change, suspend, erase.
//!
//! Must never write a personal field (`external_id`, `display_name`, `attributes`) into a log, an event, a sentence of
//! an error, or unsealed into the ledger.

use tracing::info;
use uuid::Uuid;

use super::assignment_log::log_revoked;
use super::entities::check_attributes;
use super::once::{commit_once, kept};
use super::transaction::{Change, ChangeResult, Mutation, commit};
use super::{events, principal_entries, record};
use crate::call::Call;
use crate::domain::assignment::PrincipalType;
use crate::domain::{
    Assignment, AuditEntry, EntityType, ExternalId, Json, JsonObject, KeptAnswer, KeyedRequest, NewPrincipal, Once,
    Principal, PrincipalPatch, PrincipalStatus, Timestamp,
};
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::seal::{self, PrincipalKey, SealedPlace};
use crate::store::{InsertedPrincipal, Store, StoreError};

/// The most assignments that one erasure revokes: their entries and events are written in one transaction.
pub const MAX_REVOKED: usize = 50_000;

/// Registers a principal, under an idempotency key at most once.
///
/// # Errors
/// `Conflict` when the id or the external id is taken, or the key was used otherwise.
pub(crate) async fn create(
    engines: &Engines,
    call: &Call,
    request: Option<&KeyedRequest>,
    new: NewPrincipal,
) -> Result<Once<Principal>> {
    check_attributes(&new.attributes)?;
    let wanted = new.into_record(engines.new_id(), engines.now());
    let done = commit_once(
        engines,
        call.answered_at.as_ref(),
        request,
        &CreatePrincipal { engines, call, wanted: &wanted },
        principal_answer,
    )
    .await?;
    Ok(done.map(|principal| {
        log_created(&principal);
        principal
    }))
}

/// The answer that is kept under a key. It has personal fields: [`erase`] erases it.
fn principal_answer(principal: &Principal) -> Result<KeptAnswer> {
    let kind = PrincipalType::new(principal.principal_type.as_str());
    let kind = kind.map_err(|error| Error::Internal(StoreError::Backend(error.into())))?;
    Ok(KeptAnswer { principal: Some((kind, principal.id)), ..kept(principal)? })
}

/// Changes a principal. A patch that changes nothing leaves no trace.
///
/// # Errors
/// `NotFound`; `Conflict` when the new external id is taken, or when the principal was erased and the patch names a
/// personal field.
pub(crate) async fn update(
    engines: &Engines,
    call: &Call,
    (principal_type, id): (&PrincipalType, Uuid),
    patch: PrincipalPatch,
) -> Result<Principal> {
    patch.attributes.as_ref().map_or(Ok(()), check_attributes)?;
    let update = UpdatePrincipal { engines, call, principal_type, id, patch: &patch, now: engines.now() };
    let (changed, principal) = commit(engines, call.answered_at.as_ref(), &update).await?;
    if changed {
        log_updated(&principal);
    }
    Ok(principal)
}

/// Erases the personal fields of a principal and revokes its assignments. Erasing it again changes nothing.
///
/// # Errors
/// `NotFound`; `Refused` when it has more than [`MAX_REVOKED`] assignments.
pub(crate) async fn erase(
    engines: &Engines,
    call: &Call,
    (principal_type, id): (&PrincipalType, Uuid),
) -> Result<Principal> {
    let erase = ErasePrincipal { engines, call, principal_type, id, now: engines.now() };
    let (revoked, principal) = commit(engines, call.answered_at.as_ref(), &erase).await?;
    if let Some(revoked) = revoked {
        for (assignment, _) in &revoked {
            log_revoked(assignment);
        }
        info!(
            principal_id = %id, principal_type = principal.principal_type,
            assignments_revoked = revoked.len(), "principal_erased"
        );
    }
    Ok(principal)
}

pub(super) fn log_created(principal: &Principal) {
    info!(principal_id = %principal.id, principal_type = principal.principal_type, "principal_created");
}

pub(super) fn log_updated(principal: &Principal) {
    info!(principal_id = %principal.id, principal_type = principal.principal_type, "principal_updated");
}

pub(super) struct CreatePrincipal<'a> {
    pub(super) engines: &'a Engines,
    pub(super) call: &'a Call,
    pub(super) wanted: &'a Principal,
}

impl Mutation for CreatePrincipal<'_> {
    type Done = Principal;

    async fn apply(&self, change: &mut Change) -> ChangeResult<Principal> {
        match register(self.engines, self.call, change, self.wanted).await? {
            InsertedPrincipal::New(principal) => Ok(*principal),
            InsertedPrincipal::IdTaken => {
                let Principal { id, principal_type, .. } = self.wanted;
                Err(Error::Conflict(format!("Principal {id} of type '{principal_type}' already exists")).into())
            }
            InsertedPrincipal::ExternalIdTaken => Err(external_id_taken(&self.wanted.principal_type).into()),
        }
    }
}

/// Inserts a principal, with its entry and, when it is suspended from the start, its event.
async fn register(
    engines: &Engines,
    call: &Call,
    change: &mut Change,
    wanted: &Principal,
) -> ChangeResult<InsertedPrincipal> {
    let inserted = change.tx.insert_principal(wanted).await?;
    if let InsertedPrincipal::New(principal) = &inserted {
        let personal = principal_entries::personal_fields(principal);
        let key = if personal.is_empty() { None } else { Some(key_of(change, principal).await?) };
        change.record(principal_entries::created(call, principal, key.as_ref())?);
        if principal.status == PrincipalStatus::Suspended {
            change.emit(events::principal_status_changed(engines, call, principal));
        }
    }
    Ok(inserted)
}

/// The principal of this type that another system knows as `external_id`; registers one when there is none. The
/// principal, and whether it is new.
///
/// INVARIANT: the principal is locked, so that it cannot be erased before this transaction ends.
pub(super) async fn known_as(
    engines: &Engines,
    call: &Call,
    change: &mut Change,
    (principal_type, external_id): (&PrincipalType, &ExternalId),
    now: Timestamp,
) -> ChangeResult<(Principal, bool)> {
    let (kind, external) = (principal_type.as_str(), external_id.as_str());
    if let Some(found) = change.tx.lock_principal_known_as(kind, external).await? {
        return Ok((found, false));
    }
    let new = NewPrincipal::new().of_type(principal_type.clone()).known_as(external_id.clone());
    let wanted = new.into_record(engines.new_id(), now);
    if let InsertedPrincipal::New(principal) = register(engines, call, change, &wanted).await? {
        return Ok((*principal, true));
    }
    // Another transaction registered it meanwhile.
    let found = change.tx.lock_principal_known_as(kind, external).await?;
    let released = || StoreError::Contention("the external id was released at the same moment".into());
    Ok((found.ok_or_else(released)?, false))
}

/// The key of a principal, which is made when its first personal field enters the ledger.
async fn key_of(change: &mut Change, principal: &Principal) -> ChangeResult<PrincipalKey> {
    let identity = (principal.principal_type.as_str(), principal.id);
    if let Some(key) = change.tx.principal_key(identity).await? {
        return Ok(key);
    }
    let key = PrincipalKey::generate().map_err(principal_entries::unsealable)?;
    change.tx.insert_principal_key(identity, &key).await?;
    Ok(key)
}

pub(super) struct UpdatePrincipal<'a> {
    pub(super) engines: &'a Engines,
    pub(super) call: &'a Call,
    pub(super) principal_type: &'a PrincipalType,
    pub(super) id: Uuid,
    pub(super) patch: &'a PrincipalPatch,
    pub(super) now: Timestamp,
}

impl Mutation for UpdatePrincipal<'_> {
    /// Whether anything changed, and the principal.
    type Done = (bool, Principal);

    async fn apply(&self, change: &mut Change) -> ChangeResult<(bool, Principal)> {
        let identity = (self.principal_type.as_str(), self.id);
        let before = change.tx.lock_principal(identity).await?.ok_or_else(|| not_found(self.id))?;
        if let Some(at) = before.erased_at.filter(|_| self.patch.is_personal()) {
            return Err(erased(self.id, at).into());
        }
        let mut after = self.patch.apply(&before);
        if after == before {
            return Ok((false, before));
        }
        after.updated_at = self.now;
        // Looked up before: PostgreSQL writes the value of a violated unique key into its log.
        if let Some(external_id) = after.external_id.as_ref().filter(|_| after.external_id != before.external_id)
            && change.tx.lock_principal_known_as(&after.principal_type, external_id).await?.is_some()
        {
            return Err(external_id_taken(&after.principal_type).into());
        }
        if !change.tx.update_principal(&after).await? {
            return Err(external_id_taken(&after.principal_type).into());
        }
        let changes = after.changes_since(&before);
        let key = if principal_entries::is_personal(&changes) { Some(key_of(change, &after).await?) } else { None };
        change.record(principal_entries::updated(self.call, &after, changes, key.as_ref())?);
        if after.status != before.status {
            change.emit(events::principal_status_changed(self.engines, self.call, &after));
        }
        Ok((true, after))
    }
}

struct ErasePrincipal<'a> {
    engines: &'a Engines,
    call: &'a Call,
    principal_type: &'a PrincipalType,
    id: Uuid,
    now: Timestamp,
}

impl Mutation for ErasePrincipal<'_> {
    /// The assignments that were revoked, `None` when the principal had been erased before; and the principal.
    type Done = (Option<Vec<(Assignment, Option<EntityType>)>>, Principal);

    async fn apply(&self, change: &mut Change) -> ChangeResult<Self::Done> {
        let Self { engines, call, now, .. } = *self;
        let identity = (self.principal_type.as_str(), self.id);
        let before = change.tx.lock_principal(identity).await?.ok_or_else(|| not_found(self.id))?;
        if before.erased_at.is_some() {
            return Ok((None, before));
        }
        let revoked = change.tx.delete_assignments_of(identity, MAX_REVOKED + 1).await?;
        if revoked.len() > MAX_REVOKED {
            return Err(too_many_assignments(self.id).into());
        }
        for (assignment, on_type) in &revoked {
            change.record(record::revoked(call, now, assignment, on_type.as_ref())?);
            change.emit(events::assignment_changed(engines, call, now, assignment, "revoked"));
        }
        change.tx.delete_principal_key(identity).await?;
        change.tx.erase_answers(identity).await?;
        let after = Principal {
            external_id: None,
            display_name: None,
            attributes: JsonObject::new(),
            updated_at: now,
            erased_at: Some(now),
            ..before
        };
        if !change.tx.update_principal(&after).await? {
            return Err(external_id_taken(&after.principal_type).into());
        }
        change.record(principal_entries::erased(call, &after, revoked.len())?);
        Ok((Some(revoked), after))
    }
}

/// Opens the personal fields in an entry of a principal.
pub(crate) async fn unsealed(store: &dyn Store, entry: &AuditEntry) -> Result<Option<JsonObject>> {
    let Ok(Json::Object(details)) = Json::parse(entry.details.0.as_bytes()) else { return Ok(None) };
    let text = |name| details.get(name).and_then(Json::as_text);
    let (Some(sealed), Some(principal_type), Some(id)) = (text("sealed"), text("principal_type"), entry.entity_id)
    else {
        return Ok(None);
    };
    let key = store.principal_key((principal_type, id)).await?;
    let place = SealedPlace { action: &entry.action, occurred_at: entry.occurred_at, principal_type, principal_id: id };
    // What another program wrote under these names is not sealed by this key.
    Ok(key.and_then(|key| seal::unseal(&key, &place, sealed).ok()))
}

pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound(format!("Principal {id} not found"))
}

/// The sentence lacks the external id: errors are logged.
fn external_id_taken(principal_type: &str) -> Error {
    Error::Conflict(format!("The external id belongs to another principal of type '{principal_type}'"))
}

fn erased(id: Uuid, at: Timestamp) -> Error {
    Error::Conflict(format!(
        "Principal {id} was erased at {at}: its external_id, display_name and attributes cannot be set again; \
         register the person under a new id"
    ))
}

fn too_many_assignments(id: Uuid) -> Error {
    Error::Refused(format!(
        "Principal {id} has more than {MAX_REVOKED} assignments; revoke some of them first, then erase it"
    ))
}
