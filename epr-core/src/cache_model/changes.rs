//! What a change of the model does to the registry.

use std::sync::Mutex;

use uuid::Uuid;

use super::conditions::condition as condition_of;
use super::steps::Change;
use crate::domain::json::object;
use crate::domain::{
    EntityPatch, EntityType, NewAssignment, NewPrincipal, PrincipalPatch, PrincipalStatus, RolePatch, Timestamp,
    assignment::default_principal_type,
};
use crate::{Call, Epr};

pub(super) async fn apply(
    epr: &Epr,
    change: Change,
    now: Timestamp,
    entities: &[Uuid],
    roles: &[Uuid],
    assignments: &Mutex<Vec<Uuid>>,
) {
    let call = Call::default();
    match change {
        Change::Assign { principal, role, place, from, lasts, condition } => {
            let mut new = NewAssignment::new(Uuid::from_u128(u128::from(principal) + 1), roles[usize::from(role)]);
            new.principal_type = default_principal_type();
            new.entity_id = entities.get(usize::from(place)).copied();
            new.condition = condition.map(condition_of);
            let from = now.plus_seconds(from.into());
            new.effective_at = Some(from);
            new.expires_at = lasts.map(|lasts| from.plus_seconds(lasts.into()));
            // Refused when the role is not meant for the place.
            if let Ok(assignment) = epr.assign(&call, new).await {
                assignments.lock().unwrap().push(assignment.id);
            }
        }
        Change::Revoke(which) => {
            let id = {
                let mut assignments = assignments.lock().unwrap();
                let count = assignments.len();
                (count > 0).then(|| assignments.remove(usize::from(which) % count))
            };
            if let Some(id) = id {
                // Not there when it was assigned twice and revoked once.
                let _ = epr.revoke(&call, id).await;
            }
        }
        Change::Permissions { role, read } => {
            let action = if read { "a:read" } else { "a:write" };
            let permissions = Some([action.try_into().unwrap()].into());
            let patch = RolePatch { permissions, ..RolePatch::default() };
            epr.update_role(&call, roles[usize::from(role)], patch).await.unwrap();
        }
        Change::Scope { role, narrow } => {
            let types = if narrow { vec![EntityType::Offering] } else { Vec::new() };
            let patch = RolePatch { scope_types: Some(types), ..RolePatch::default() };
            epr.update_role(&call, roles[usize::from(role)], patch).await.unwrap();
        }
        Change::Parent(parent) => {
            let parent = parent.map(|parent| entities[usize::from(parent)]);
            let patch = EntityPatch { parent_id: Some(parent), ..EntityPatch::default() };
            epr.update_entity(&call, entities[2], patch).await.unwrap();
        }
        Change::Archive(which) => {
            epr.archive_entity(&call, entities[usize::from(which)]).await.unwrap();
        }
        Change::Condition { role, condition } => {
            let conditions = condition.map(|which| ("a:read".parse().unwrap(), condition_of(which)));
            let patch = RolePatch { conditions: Some(conditions.into_iter().collect()), ..RolePatch::default() };
            // Refused when the role does not have the action.
            let _ = epr.update_role(&call, roles[usize::from(role)], patch).await;
        }
        Change::Attributes { entity, open } => {
            let patch = EntityPatch { attributes: Some(object([("open", open.into())])), ..EntityPatch::default() };
            epr.update_entity(&call, entities[usize::from(entity)], patch).await.unwrap();
        }
        Change::Principal { principal, suspended, cleared } => {
            let (id, kind) = (Uuid::from_u128(u128::from(principal) + 1), default_principal_type());
            // Registered by the first change.
            let _ = epr.create_principal(&call, NewPrincipal::new().with_id(id)).await;
            let patch = PrincipalPatch {
                status: Some(if suspended { PrincipalStatus::Suspended } else { PrincipalStatus::Active }),
                attributes: Some(object([("cleared", cleared.into())])),
                ..PrincipalPatch::default()
            };
            epr.update_principal(&call, &kind, id, patch).await.unwrap();
        }
    }
}
