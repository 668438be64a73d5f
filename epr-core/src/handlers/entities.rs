//! Entities: create, read, change, archive.

use tracing::info;
use uuid::Uuid;

use super::once::{commit_once, kept};
use super::transaction::{Change, ChangeResult, Mutation, commit};
use super::{events, record};
use crate::call::Call;
use crate::domain::fields::object_problem;
use crate::domain::{
    Entity, EntityPatch, EntityStatus, EntityType, JsonObject, KeyedRequest, NewEntity, Once, Timestamp,
};
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::store::{MAX_LEVELS, MAX_WALK, PathEnd, PathToRoot, chain_text};

/// Registers an entity, under an idempotency key at most once.
///
/// # Errors
/// `Conflict` when `(name, type)` or `(external_id, type)` is taken, or the key was used otherwise; `Refused` when the
/// parent does not exist or is on the last level.
pub(crate) async fn create(
    engines: &Engines,
    call: &Call,
    request: Option<&KeyedRequest>,
    new: NewEntity,
) -> Result<Once<Entity>> {
    check_type(engines, &new.entity_type)?;
    check_attributes(&new.attributes)?;
    let entity = new.into_record(engines.new_id(), engines.now());
    let done =
        commit_once(engines, call.answered_at.as_ref(), request, &CreateEntity { call, entity: &entity }, |()| {
            kept(&entity)
        })
        .await?;
    Ok(done.map(|()| {
        info!(entity_id = %entity.id, entity_type = entity.entity_type.word(), "entity_created");
        entity
    }))
}

/// Changes an entity. A patch that changes nothing leaves no trace.
///
/// # Errors
/// `NotFound`; `Conflict` when the new name or external id is taken; `Refused` when the new parent does not exist,
/// would close a cycle, or would make the hierarchy too deep.
pub(crate) async fn update(engines: &Engines, call: &Call, id: Uuid, patch: EntityPatch) -> Result<Entity> {
    patch.attributes.as_ref().map_or(Ok(()), check_attributes)?;
    let (before, after) =
        commit(engines, call.answered_at.as_ref(), &UpdateEntity { engines, call, id, patch, now: engines.now() })
            .await?;
    if after != before {
        info!(entity_id = %id, "entity_updated");
        if became_archived(&before, &after) {
            info!(entity_id = %id, "entity_archived");
        }
    }
    Ok(after)
}

/// Archives an entity softly. Archiving twice changes nothing.
///
/// # Errors
/// `NotFound`.
pub(crate) async fn archive(engines: &Engines, call: &Call, id: Uuid) -> Result<Entity> {
    let (changed, entity) =
        commit(engines, call.answered_at.as_ref(), &ArchiveEntity { engines, call, id, now: engines.now() }).await?;
    if changed {
        info!(entity_id = %id, entity_type = entity.entity_type.word(), "entity_archived");
    }
    Ok(entity)
}

struct CreateEntity<'a> {
    call: &'a Call,
    entity: &'a Entity,
}

impl Mutation for CreateEntity<'_> {
    type Done = ();

    async fn apply(&self, change: &mut Change) -> ChangeResult<()> {
        let entity = self.entity;
        if let Some(parent) = entity.parent_id {
            change.tx.share_hierarchy().await?;
            let above = change.tx.path_to_root(parent, MAX_LEVELS + 1).await?;
            if levels_above(parent, &above)? >= MAX_LEVELS {
                return Err(too_deep(parent, "it is on the last level already").into());
            }
        }
        if !change.tx.insert_entity(entity).await? {
            let taken = if change.tx.external_id_is_taken(entity).await? { external_id_taken } else { name_taken };
            return Err(taken(entity).into());
        }
        change.record(record::entity_created(self.call, entity)?);
        Ok(())
    }
}

struct UpdateEntity<'a> {
    engines: &'a Engines,
    call: &'a Call,
    id: Uuid,
    patch: EntityPatch,
    now: Timestamp,
}

impl Mutation for UpdateEntity<'_> {
    /// Before and after; equal when nothing changed.
    type Done = (Entity, Entity);

    async fn apply(&self, change: &mut Change) -> ChangeResult<(Entity, Entity)> {
        if matches!(self.patch.parent_id, Some(Some(_))) {
            change.tx.lock_hierarchy().await?;
        }
        let before = change.tx.lock_entity(self.id).await?.ok_or_else(|| not_found(self.id))?;
        let mut after = self.patch.apply(&before);
        if after == before {
            return Ok((before, after));
        }
        after.updated_at = self.now;
        if let Some(parent) = after.parent_id
            && after.parent_id != before.parent_id
        {
            refuse_parent(change, self.id, parent).await?;
        }
        // Before the update: on PostgreSQL one that fails leaves a transaction that cannot be asked.
        if after.external_id != before.external_id && change.tx.external_id_is_taken(&after).await? {
            return Err(external_id_taken(&after).into());
        }
        if !change.tx.update_entity(&after).await? {
            return Err(lost_key(&before, &after).into());
        }
        change.record(record::entity_updated(self.call, &before, &after)?);
        if became_archived(&before, &after) {
            change.record(record::entity_archived(self.call, &after)?);
            change.emit(events::entity_archived(self.engines, self.call, &after));
        }
        Ok((before, after))
    }
}

struct ArchiveEntity<'a> {
    engines: &'a Engines,
    call: &'a Call,
    id: Uuid,
    now: Timestamp,
}

impl Mutation for ArchiveEntity<'_> {
    /// Whether it was not archived before, and the entity as it is now.
    type Done = (bool, Entity);

    async fn apply(&self, change: &mut Change) -> ChangeResult<(bool, Entity)> {
        let before = change.tx.lock_entity(self.id).await?.ok_or_else(|| not_found(self.id))?;
        if before.status == EntityStatus::Archived {
            return Ok((false, before));
        }
        let after = Entity { status: EntityStatus::Archived, updated_at: self.now, ..before };
        if !change.tx.update_entity(&after).await? {
            return Err(name_taken(&after).into());
        }
        change.record(record::entity_archived(self.call, &after)?.with_row(record::changed(after.clone())));
        change.emit(events::entity_archived(self.engines, self.call, &after));
        Ok((true, after))
    }
}

/// Checks the attributes of an entity or a principal. Behind HTTP they have been checked; a program that embeds the
/// service may bring anything.
pub(super) fn check_attributes(attributes: &JsonObject) -> Result<()> {
    object_problem(attributes).map_or(Ok(()), |problem| Err(Error::field("attributes", problem)))
}

/// Behind HTTP it has been checked; a program that embeds the service may bring any type.
fn check_type(engines: &Engines, entity_type: &EntityType) -> Result<()> {
    let problem = engines.core.settings.entity_types.problem_of(entity_type);
    problem.map_or(Ok(()), |problem| Err(Error::field("type", problem)))
}

fn became_archived(before: &Entity, after: &Entity) -> bool {
    before.status != EntityStatus::Archived && after.status == EntityStatus::Archived
}

/// Refuses a new parent that would close a cycle or make the hierarchy too deep.
///
/// INVARIANT: the hierarchy lock is held, so no other transaction can add a link of the same cycle unseen.
async fn refuse_parent(change: &mut Change, id: Uuid, parent: Uuid) -> ChangeResult<()> {
    let above = change.tx.path_to_root(parent, MAX_WALK).await?;
    if let Some(at) = above.ids.iter().position(|ancestor| *ancestor == id) {
        let chain: Vec<Uuid> = std::iter::once(id).chain(above.ids.into_iter().take(at + 1)).collect();
        return Err(Error::Refused(format!("Parent {parent} would close a cycle: {}", chain_text(&chain))).into());
    }
    let level = levels_above(parent, &above)? + 1;
    // A subtree that is too deep already, or is in a cycle, may be moved to a better position.
    let before = change.tx.path_to_root(id, MAX_WALK).await?;
    if before.levels().is_none_or(|before| level <= before) {
        return Ok(());
    }
    let Some(most) = MAX_LEVELS.checked_sub(level) else {
        return Err(too_deep(parent, &format!("it is on level {}", level - 1)).into());
    };
    if change.tx.has_levels_below(id, most + 1).await? {
        let why = format!("it is on level {}, and {id} has more than {most} levels below itself", level - 1);
        return Err(too_deep(parent, &why).into());
    }
    Ok(())
}

/// The level of a parent: how many levels there are from it to the root.
fn levels_above(parent: Uuid, above: &PathToRoot) -> Result<usize> {
    if above.ids.is_empty() {
        return Err(unknown_parent(parent));
    }
    match (above.end, above.cycle()) {
        (PathEnd::Root, _) => Ok(above.ids.len()),
        (PathEnd::Cycle(_), Some(cycle)) => {
            let chain = chain_text(&cycle);
            let sentence =
                format!("Parent {parent} is in or below a cycle: {chain}; detach one of these entities first");
            Err(Error::Refused(sentence))
        }
        _ => Err(too_deep(parent, &format!("it has more than {} levels above itself", above.ids.len() - 1))),
    }
}

fn too_deep(parent: Uuid, why: &str) -> Error {
    Error::Refused(format!("Parent {parent} would make the hierarchy deeper than {MAX_LEVELS} levels: {why}"))
}

pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound(format!("Entity {id} not found"))
}

fn unknown_parent(id: Uuid) -> Error {
    Error::Refused(format!("Parent entity {id} not found"))
}

fn name_taken(entity: &Entity) -> Error {
    Error::Conflict(format!("Entity '{}' of type '{}' already exists", entity.name, entity.entity_type))
}

fn external_id_taken(entity: &Entity) -> Error {
    let external_id = entity.external_id.as_deref().unwrap_or_default();
    let entity_type = &entity.entity_type;
    Error::Conflict(format!("Entity with external_id '{external_id}' of type '{entity_type}' already exists"))
}

/// An update found a key taken that was free when the transaction looked: the new external id, if the name stays.
fn lost_key(before: &Entity, after: &Entity) -> Error {
    if after.name == before.name { external_id_taken(after) } else { name_taken(after) }
}
