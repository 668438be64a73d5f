//! Random registries for the law of lists: windows, entity types, conditions of roles and of assignments on attributes
//! and on the context, suspended and unregistered principals, archived entities, and ids and actions whose order is
//! that of their bytes.
//!
//! Owns the worlds and their random changes. The checks of a world are those of the service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use epr_core::clock::{Clock as _, ManualClock};
use epr_core::decision::{Decision, Explanation, Question};
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::json::object;
use epr_core::domain::{
    Condition, EntityPatch, EntityType, Json, JsonObject, NewAssignment, NewEntity, NewPrincipal, NewRole,
    ParameterType, PrincipalPatch, PrincipalStatus, Revision, RolePatch, Timestamp,
};
use epr_core::settings::{AuditDecisions, CacheSettings};
use epr_core::{Call, Epr, Error};
use epr_testkit::database::{Database, DatabaseKind};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use uuid::Uuid;

/// The actions, whose order by bytes is not the one of any alphabet. The last one is held by no role.
pub(crate) const ACTIONS: [&str; 7] =
    ["doc:read", "doc:read:all", "doc:read-all", "Doc:read", "doc:é", "zzz", "nobody:does"];

/// Types of principals, whose order by bytes is not the one of any alphabet.
const PRINCIPAL_TYPES: [&str; 4] = ["user", "User", "service", "é"];

const ENTITY_TYPES: [EntityType; 3] = [EntityType::Issuer, EntityType::Spv, EntityType::Offering];

/// How many rows a world has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) entities: usize,
    pub(crate) roles: usize,
    pub(crate) principals: usize,
    pub(crate) assignments: usize,
}

impl Size {
    /// A world whose lists have several pages of a few items.
    pub(crate) const SMALL: Self = Self { entities: 12, roles: 6, principals: 18, assignments: 120 };
}

/// A service on a random registry, at a time that only the test moves.
pub(crate) struct World {
    pub(crate) epr: Epr,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) entities: Vec<Uuid>,
    pub(crate) roles: Vec<Uuid>,
    /// Every principal that a check may be about, also those that hold nothing.
    pub(crate) principals: Vec<(Uuid, PrincipalType)>,
    pub(crate) assignments: Vec<Uuid>,
    numbered: usize,
    database: Database,
}

impl World {
    /// A random registry on a new database.
    pub(crate) async fn random(kind: DatabaseKind, rng: &mut StdRng, size: Size) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-06-01T00:00:00Z").unwrap()));
        let database = Database::create(kind).await;
        let epr = Epr::builder()
            .store(database.store().await)
            .clock(clock.clone())
            .cache(CacheSettings::off())
            .audit_decisions(AuditDecisions::Off)
            .start()
            .await
            .unwrap();
        let mut world = Self {
            epr,
            clock,
            entities: Vec::new(),
            roles: Vec::new(),
            principals: Vec::new(),
            assignments: Vec::new(),
            numbered: 0,
            database,
        };
        for _ in 0..size.entities {
            world.create_entity(rng).await;
        }
        for _ in 0..size.entities / 4 {
            world.archive(rng).await;
        }
        for _ in 0..size.roles {
            world.create_role(rng).await;
        }
        for _ in 0..size.principals {
            world.add_principal(rng).await;
        }
        for _ in 0..size.assignments {
            world.assign(rng).await;
        }
        world
    }

    /// Another service on the same registry, whose pages of lists look at no more than this many candidates and expand
    /// no more entities.
    pub(crate) async fn with_bounds(&self, max_candidates: usize, max_expanded: usize) -> Epr {
        let builder = Epr::builder().store(self.database.store().await).clock(self.clock.clone());
        let builder = builder.cache(CacheSettings::off()).audit_decisions(AuditDecisions::Off);
        builder.list_bounds(max_candidates, max_expanded, Duration::MAX).start().await.unwrap()
    }

    /// Another service on the same registry, with this cache.
    pub(crate) async fn with_cache(&self, cache: CacheSettings) -> Epr {
        let builder = Epr::builder().store(self.database.store().await).clock(self.clock.clone());
        builder.cache(cache).audit_decisions(AuditDecisions::Off).start().await.unwrap()
    }

    /// Runs SQL past the service.
    pub(crate) async fn execute(&self, sql: &str) {
        self.database.execute(sql).await.unwrap();
    }

    /// The newest revision of the registry.
    pub(crate) async fn revision(&self) -> Revision {
        let store = self.database.store().await;
        let revision = store.registry_state().await.unwrap().revision;
        store.close().await;
        revision
    }

    fn number(&mut self) -> usize {
        self.numbered += 1;
        self.numbered
    }

    async fn create_entity(&mut self, rng: &mut StdRng) {
        let n = self.number();
        let mut new = NewEntity::new(format!("E{n}").parse().unwrap(), ENTITY_TYPES.choose(rng).unwrap().clone());
        // Most entities are below another one, in a few trees.
        new.parent_id = self.entities.choose(rng).copied().filter(|_| rng.random_bool(0.85));
        new.attributes = attributes(rng);
        new.external_id = rng.random_bool(0.5).then(|| format!("x{n}").parse().unwrap());
        self.entities.push(self.epr.create_entity(&Call::default(), new).await.unwrap().id);
    }

    async fn archive(&mut self, rng: &mut StdRng) {
        let entity = *self.entities.choose(rng).unwrap();
        self.epr.archive_entity(&Call::default(), entity).await.unwrap();
    }

    async fn create_role(&mut self, rng: &mut StdRng) {
        let mut new = NewRole::new(format!("Role {}", self.number()).parse().unwrap());
        let held = ACTIONS.iter().take(ACTIONS.len() - 1).filter(|_| rng.random_bool(0.5));
        new.permissions = held.map(|action| action.parse().unwrap()).collect();
        new.scope_types = ENTITY_TYPES.iter().filter(|_| rng.random_bool(0.15)).cloned().collect();
        new.conditions = conditions(rng, self.clock.now(), &new.permissions);
        self.roles.push(self.epr.create_role(&Call::default(), new).await.unwrap().id);
    }

    /// One more principal: registered or not, with an id at the edges of the order in some cases, and with the id of
    /// another one in others.
    async fn add_principal(&mut self, rng: &mut StdRng) {
        let id = match rng.random_range(0..10) {
            0 => Uuid::nil(),
            1 => Uuid::max(),
            2 | 3 => self.principals.choose(rng).map_or(Uuid::from_u128(1), |(id, _)| *id),
            _ => Uuid::from_u128(rng.random()),
        };
        let kind: PrincipalType = PRINCIPAL_TYPES.choose(rng).unwrap().parse().unwrap();
        if self.principals.contains(&(id, kind.clone())) {
            return;
        }
        self.principals.push((id, kind.clone()));
        if rng.random_bool(0.6) {
            self.register(rng, id, kind).await;
        }
    }

    async fn register(&mut self, rng: &mut StdRng, id: Uuid, kind: PrincipalType) {
        let mut new = NewPrincipal::new().with_id(id).of_type(kind);
        new.attributes = attributes(rng);
        new.external_id = rng.random_bool(0.5).then(|| format!("p{}", self.number()).parse().unwrap());
        new.display_name = rng.random_bool(0.5).then(|| format!("P{}", self.number()).parse().unwrap());
        if rng.random_bool(0.25) {
            new.status = PrincipalStatus::Suspended;
        }
        let _ = self.epr.create_principal(&Call::default(), new).await;
    }

    async fn assign(&mut self, rng: &mut StdRng) {
        let (principal, kind) = self.principals.choose(rng).unwrap().clone();
        let mut new = NewAssignment::new(principal, *self.roles.choose(rng).unwrap()).of_type(kind);
        new.entity_id = rng.random_bool(0.85).then(|| *self.entities.choose(rng).unwrap());
        let (now, start) = (self.clock.now(), rng.random_range(-40..10_i64));
        new.effective_at = Some(now.plus_seconds(start));
        // Some end at this very moment.
        let end = if rng.random_bool(0.1) { 0 } else { rng.random_range(-10..60) };
        new.expires_at = (rng.random_bool(0.5) && end > start).then(|| now.plus_seconds(end));
        new.condition = rng.random_bool(0.3).then(|| condition(rng, now));
        // A role that is not meant for the type of the entity is refused.
        if let Ok(assignment) = self.epr.assign(&Call::default(), new).await {
            self.assignments.push(assignment.id);
        }
    }

    /// One random change of the registry, of any kind.
    pub(crate) async fn change(&mut self, rng: &mut StdRng) {
        let call = Call::default();
        match rng.random_range(0..10) {
            0 => self.create_entity(rng).await,
            1 => self.archive(rng).await,
            2 => self.create_role(rng).await,
            3 => {
                let entity = *self.entities.choose(rng).unwrap();
                let patch = EntityPatch { attributes: Some(attributes(rng)), ..EntityPatch::default() };
                self.epr.update_entity(&call, entity, patch).await.unwrap();
            }
            4 => {
                let role = *self.roles.choose(rng).unwrap();
                let held: Vec<_> = ACTIONS.iter().filter(|_| rng.random_bool(0.5)).collect();
                let held: BTreeSet<_> = held.into_iter().map(|action| action.parse().unwrap()).collect();
                let conditions = conditions(rng, self.clock.now(), &held);
                let patch = RolePatch { permissions: Some(held), conditions: Some(conditions), ..RolePatch::default() };
                self.epr.update_role(&call, role, patch).await.unwrap();
            }
            5 => {
                let (id, kind) = self.principals.choose(rng).unwrap().clone();
                self.register(rng, id, kind.clone()).await;
                let status = if rng.random_bool(0.5) { PrincipalStatus::Suspended } else { PrincipalStatus::Active };
                let patch = PrincipalPatch { status: Some(status), ..PrincipalPatch::default() };
                let _ = self.epr.update_principal(&call, &kind, id, patch).await;
            }
            6 | 7 if !self.assignments.is_empty() => {
                let revoked = self.assignments.swap_remove(rng.random_range(0..self.assignments.len()));
                let _ = self.epr.revoke(&call, revoked).await;
            }
            _ => self.assign(rng).await,
        }
    }

    /// The decision of a check of this question now.
    pub(crate) async fn check(&self, question: &Question, context: &JsonObject) -> Result<Decision, Error> {
        self.epr.check_in_context(&Call::default(), question, context).await
    }

    /// The explanation of a check of this question now.
    pub(crate) async fn explain(&self, question: &Question, context: &JsonObject) -> Result<Explanation, Error> {
        self.epr.explain(&Call::default(), question, context, None).await
    }
}

fn attributes(rng: &mut StdRng) -> JsonObject {
    match rng.random_range(0..3) {
        0 => JsonObject::new(),
        _ => object([("level", Json::Int(rng.random_range(0..4))), ("open", rng.random_bool(0.5).into())]),
    }
}

/// A context for a list: empty, complete, partial, or in one case of eight of the wrong type.
pub(crate) fn context(rng: &mut StdRng) -> JsonObject {
    match rng.random_range(0..8) {
        0 => JsonObject::new(),
        1 => object([("n", "two".into())]),
        2 | 3 => object([("n", Json::Int(rng.random_range(0..8)))]),
        _ => object([("n", Json::Int(rng.random_range(0..8))), ("flag", rng.random_bool(0.5).into())]),
    }
}

fn condition(rng: &mut StdRng, now: Timestamp) -> Condition {
    let expression = match rng.random_range(0..12) {
        0 => "context.n <= 5".to_owned(),
        1 => "context.n > 5 || context.flag".to_owned(),
        2 => "12 / context.n >= 3".to_owned(),
        3 => "principal.attributes.level >= 1".to_owned(),
        4 => "resource.attributes.open || principal.attributes.level > resource.attributes.level".to_owned(),
        5 => format!("now < timestamp('{}')", now.plus_seconds(rng.random_range(-5..30))),
        6 => "has(principal.attributes.level) && action.name != 'zzz'".to_owned(),
        // What only callers of AuthZEN can state.
        7 => "principal.effective.level >= 2".to_owned(),
        8 => "resource.properties.open || resource.effective.level == 3".to_owned(),
        9 => "!has(action.properties.level) || action.properties.level > 1".to_owned(),
        10 => "resource.type == 'spv' && resource.external_id.startsWith('x1')".to_owned(),
        _ => "principal.type == 'user' || principal.external_id.startsWith('p1')".to_owned(),
    };
    Condition::new(expression).parameter("n", ParameterType::Int).parameter("flag", ParameterType::Bool)
}

fn conditions<A: Clone + Ord>(rng: &mut StdRng, now: Timestamp, held: &BTreeSet<A>) -> BTreeMap<A, Condition> {
    let conditional: Vec<_> = held.iter().filter(|_| rng.random_bool(0.25)).cloned().collect();
    conditional.into_iter().map(|action| (action, condition(rng, now))).collect()
}
