//! Random histories of a registry, for the tests of history.

use epr_core::domain::assignment::default_principal_type;
use epr_core::domain::json::object;
use epr_core::domain::{
    BulkStep, Condition, EntityPatch, EntityStatus, EntityType, Json, JsonObject, NewAssignment, NewEntity,
    NewPrincipal, NewRole, ParameterType, PrincipalPatch, PrincipalStatus, RolePatch, Timestamp,
};
use epr_core::{Call, Epr};
use rand::Rng as _;
use rand::rngs::StdRng;
use uuid::Uuid;

/// The actions that roles hold.
pub(crate) const ACTIONS: [&str; 3] = ["a:read", "a:write", "a:sign"];

/// The number of principals, registered or not.
pub(crate) const PRINCIPALS: u128 = 5;

/// What a history has made so far.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) entities: Vec<Uuid>,
    pub(crate) roles: Vec<Uuid>,
    pub(crate) assignments: Vec<Uuid>,
    /// Whether principals are never erased: an erasure changes the past.
    pub(crate) keeps_persons: bool,
    /// Distinguishes the names of worlds that share a registry.
    pub(crate) prefix: Option<u64>,
    pub(crate) names: u32,
}

pub(crate) fn principal(rng: &mut StdRng) -> Uuid {
    Uuid::from_u128(rng.random_range(1..=PRINCIPALS))
}

fn pick(rng: &mut StdRng, of: &[Uuid]) -> Option<Uuid> {
    (!of.is_empty()).then(|| of[rng.random_range(0..of.len())])
}

pub(crate) fn condition(rng: &mut StdRng, now: Timestamp) -> Condition {
    match rng.random_range(0..6) {
        0 => Condition::new("context.level >= 2").parameter("level", ParameterType::Int),
        1 => Condition::new("resource.attributes.open"),
        2 => Condition::new("principal.attributes.cleared"),
        3 => Condition::new(format!("now < timestamp('{}')", now.plus_seconds(rng.random_range(0..9)))),
        4 => Condition::new("principal.external_id.startsWith('x')"),
        _ => {
            Condition::new("resource.external_id == 'e1' || context.level == 1").parameter("level", ParameterType::Int)
        }
    }
}

fn attributes(rng: &mut StdRng, name: &str) -> JsonObject {
    object([
        (name, rng.random_bool(0.5).into()),
        ("n", Json::Float(f64::from(rng.random_range(0..4000_u16)) / 8.0)),
        ("text", "ä\u{1f600}\\\"".into()),
    ])
}

fn entity_type(rng: &mut StdRng) -> EntityType {
    [EntityType::Issuer, EntityType::Spv, EntityType::Offering][rng.random_range(0..3)].clone()
}

fn permissions(rng: &mut StdRng) -> Vec<String> {
    ACTIONS.iter().filter(|_| rng.random_bool(0.6)).map(|action| (*action).to_owned()).collect()
}

impl World {
    fn name(&mut self, of: &str) -> String {
        self.names += 1;
        format!("{of} {} {}", self.prefix.map_or(9, |prefix| prefix), self.names)
    }

    /// Makes one random change, which the service may refuse.
    pub(crate) async fn change(&mut self, epr: &Epr, rng: &mut StdRng, now: Timestamp) {
        let call = Call::default();
        match rng.random_range(0..24) {
            0..3 => self.create_entity(epr, rng).await,
            3..7 => self.update_entity(epr, rng).await,
            7 => {
                if let Some(entity) = pick(rng, &self.entities).filter(|_| rng.random_bool(0.4)) {
                    epr.archive_entity(&call, entity).await.unwrap();
                }
            }
            8 => self.create_role(epr, rng, now).await,
            9..11 => {
                if let Some(role) = pick(rng, &self.roles) {
                    let patch = role_patch(rng, now);
                    let _ = epr.update_role(&call, role, patch).await;
                }
            }
            11..17 => {
                if let Some(new) = self.assignment(rng, now)
                    && let Ok(made) = epr.assign(&call, new).await
                {
                    self.assignments.push(made.id);
                }
            }
            17..19 => {
                if let Some(id) = pick(rng, &self.assignments) {
                    let _ = epr.revoke(&call, id).await;
                }
            }
            19 => self.bulk(epr, rng, now).await,
            _ => change_principal(epr, rng, self.keeps_persons).await,
        }
    }

    async fn create_entity(&mut self, epr: &Epr, rng: &mut StdRng) {
        let mut new = NewEntity::new(self.name("entity").parse().unwrap(), entity_type(rng));
        new.parent_id = pick(rng, &self.entities).filter(|_| rng.random_bool(0.8));
        if rng.random_bool(0.3) {
            new = new.known_as(format!("e{}", rng.random_range(0..6)).parse().unwrap());
        }
        new.attributes = attributes(rng, "open");
        if let Ok(entity) = epr.create_entity(&Call::default(), new).await {
            self.entities.push(entity.id);
        }
    }

    async fn update_entity(&mut self, epr: &Epr, rng: &mut StdRng) {
        let Some(entity) = pick(rng, &self.entities) else { return };
        let mut patch = EntityPatch::default();
        match rng.random_range(0..6) {
            0 => patch.name = Some(self.name("renamed").parse().unwrap()),
            1 | 2 => patch.parent_id = Some(pick(rng, &self.entities).filter(|_| rng.random_bool(0.8))),
            3 => patch.attributes = Some(attributes(rng, "open")),
            4 => {
                let id = rng.random_bool(0.7).then(|| format!("e{}", rng.random_range(0..6)).parse().unwrap());
                patch.external_id = Some(id);
            }
            _ => {
                let all = [EntityStatus::Active, EntityStatus::Inactive, EntityStatus::Archived];
                patch.status = Some(all[rng.random_range(0..3)]);
            }
        }
        let _ = epr.update_entity(&Call::default(), entity, patch).await;
    }

    async fn create_role(&mut self, epr: &Epr, rng: &mut StdRng, now: Timestamp) {
        let mut new = NewRole::new(self.name("role").parse().unwrap());
        for action in permissions(rng) {
            new = new.permission(action.parse().unwrap());
        }
        if let Some(action) = new.permissions.first().cloned().filter(|_| rng.random_bool(0.3)) {
            new.conditions.insert(action, condition(rng, now));
        }
        if let Ok(role) = epr.create_role(&Call::default(), new).await {
            self.roles.push(role.id);
        }
    }

    fn assignment(&self, rng: &mut StdRng, now: Timestamp) -> Option<NewAssignment> {
        let mut new = NewAssignment::new(principal(rng), pick(rng, &self.roles)?);
        new.entity_id = pick(rng, &self.entities).filter(|_| rng.random_bool(0.85));
        new.effective_at = rng.random_bool(0.5).then(|| now.plus_seconds(rng.random_range(-9..5)));
        new.expires_at = rng.random_bool(0.4).then(|| now.plus_seconds(rng.random_range(5..60)));
        new.condition = rng.random_bool(0.3).then(|| condition(rng, now));
        Some(new)
    }

    /// Several changes in one transaction, of one row among them.
    async fn bulk(&mut self, epr: &Epr, rng: &mut StdRng, now: Timestamp) {
        let mut steps = Vec::new();
        if let Some(role) = pick(rng, &self.roles) {
            for _ in 0..2 {
                steps.push(BulkStep::UpdateRole(role, role_patch(rng, now)));
            }
        }
        if let Some(new) = self.assignment(rng, now) {
            steps.push(BulkStep::Assign(new.into()));
        }
        if let Some((id, new)) = pick(rng, &self.assignments).zip(self.assignment(rng, now)) {
            steps.push(BulkStep::Reassign(id, new));
        }
        let id = principal(rng);
        let patch = PrincipalPatch { status: Some(PrincipalStatus::Active), ..PrincipalPatch::default() };
        steps.push(BulkStep::CreatePrincipal(NewPrincipal::new().with_id(Uuid::from_u128(rng.random()))));
        if rng.random_bool(0.3) {
            steps.push(BulkStep::UpdatePrincipal(default_principal_type(), id, patch));
        }
        let _ = epr.apply_all(&Call::default(), &steps).await;
    }
}

fn role_patch(rng: &mut StdRng, now: Timestamp) -> RolePatch {
    let mut patch = RolePatch::default();
    if rng.random_bool(0.5) {
        patch.permissions = Some(permissions(rng).iter().map(|action| action.parse().unwrap()).collect());
    }
    if rng.random_bool(0.3) {
        let action = ACTIONS[rng.random_range(0..3)].parse().unwrap();
        let conditions = rng.random_bool(0.7).then(|| (action, condition(rng, now)));
        patch.conditions = Some(conditions.into_iter().collect());
    }
    if rng.random_bool(0.3) {
        patch.scope_types = Some((0..rng.random_range(0..3)).map(|_| entity_type(rng)).collect());
    }
    if rng.random_bool(0.2) {
        patch.description = Some(Some(format!("text {}", rng.random_range(0..9)).parse().unwrap()));
    }
    patch
}

async fn change_principal(epr: &Epr, rng: &mut StdRng, keeps_persons: bool) {
    let (call, kind, id) = (Call::default(), default_principal_type(), principal(rng));
    if rng.random_bool(0.5) {
        let mut new = NewPrincipal::new().with_id(id);
        if rng.random_bool(0.5) {
            new = new.known_as(format!("x{}", rng.random_range(0..9)).parse().unwrap());
        }
        let _ = epr.create_principal(&call, new).await;
        return;
    }
    if !keeps_persons && rng.random_bool(0.08) {
        let _ = epr.erase_principal(&call, &kind, id).await;
        return;
    }
    let mut patch = PrincipalPatch::default();
    match rng.random_range(0..4) {
        0 => {
            let suspended = rng.random_bool(0.4);
            patch.status = Some(if suspended { PrincipalStatus::Suspended } else { PrincipalStatus::Active });
        }
        1 => {
            let id = rng.random_bool(0.7).then(|| format!("x{}", rng.random_range(0..9)).parse().unwrap());
            patch.external_id = Some(id);
        }
        2 => patch.display_name = Some(Some("Ada".parse().unwrap())),
        _ => patch.attributes = Some(attributes(rng, "cleared")),
    }
    let _ = epr.update_principal(&call, &kind, id, patch).await;
}
