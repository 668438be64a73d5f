//! Databases for the suite, and rows to fill them with.

use std::collections::BTreeMap;
use std::sync::Arc;

use epr_core::decision::Question;
use epr_core::domain::event::{DeliveryState, Event};
use epr_core::domain::{
    Assignment, AuditEvent, Entity, EntityStatus, EntityType, Json, JsonObject, Principal, PrincipalStatus, Role,
    Timestamp,
};
use epr_core::ledger::chain::Draft;
use epr_core::store::postgres::Options;
use epr_core::store::{InsertedEvent, InsertedPrincipal, OutboxEvent, Page, Store, Tx, sqlite};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::statements;
use uuid::Uuid;

/// The database that a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// SQLite in memory: one connection, which no other process can reach.
    Memory,
    /// A SQLite file.
    File,
    /// PostgreSQL.
    Postgres,
}

/// A migrated store, and its database where others can reach it.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    database: Option<Database>,
}

impl World {
    pub(crate) async fn new(backend: Backend) -> Self {
        let kind = match backend {
            Backend::Memory => {
                let store: Arc<dyn Store> = Arc::new(sqlite::open_memory(&Options::default()));
                store.migrate().await.unwrap();
                return Self { store, database: None };
            }
            Backend::File => DatabaseKind::Sqlite,
            Backend::Postgres => DatabaseKind::Postgres,
        };
        statements::record_if_asked();
        let database = Database::create(kind).await;
        Self { store: database.store().await, database: Some(database) }
    }

    /// The database itself, for what another program does to it.
    /// With `entity 1 > entity 2`, and entity 3 beside them.
    pub(crate) async fn with_three_entities(backend: Backend) -> Self {
        let world = Self::new(backend).await;
        world.with_entities(&[entity(1, None), entity(2, Some(1)), entity(3, None)]).await;
        world
    }

    pub(crate) fn database(&self) -> &Database {
        self.database.as_ref().unwrap()
    }

    pub(crate) async fn begin(&self) -> Box<dyn Tx> {
        self.store.begin().await.unwrap()
    }

    /// Inserts entities in their order.
    pub(crate) async fn with_entities(&self, entities: &[Entity]) {
        let mut tx = self.begin().await;
        for entity in entities {
            assert!(tx.insert_entity(entity).await.unwrap());
        }
        tx.invalidations().await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Inserts roles with their actions.
    pub(crate) async fn with_roles(&self, roles: &[Role]) {
        let mut tx = self.begin().await;
        for role in roles {
            assert!(tx.insert_role(role).await.unwrap());
            tx.set_role_actions(role.id, &role.permissions, &role.conditions, at(0)).await.unwrap();
        }
        tx.invalidations().await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Inserts assignments.
    pub(crate) async fn with_assignments(&self, assignments: &[Assignment]) {
        let mut tx = self.begin().await;
        for assignment in assignments {
            tx.insert_assignment(assignment).await.unwrap();
        }
        tx.invalidations().await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Inserts principals.
    pub(crate) async fn with_principals(&self, principals: &[Principal]) {
        let mut tx = self.begin().await;
        for principal in principals {
            let inserted = tx.insert_principal(principal).await.unwrap();
            assert!(matches!(inserted, InsertedPrincipal::New(_)), "{inserted:?}");
        }
        tx.invalidations().await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Writes events into the outbox; returns their positions.
    pub(crate) async fn with_events(&self, events: &[OutboxEvent]) -> Vec<i64> {
        let mut positions = Vec::new();
        for event in events {
            let mut tx = self.begin().await;
            match tx.insert_event(event).await.unwrap() {
                InsertedEvent::New { position, .. } => positions.push(position),
                existing @ InsertedEvent::Existing(_) => panic!("{existing:?}"),
            }
            tx.commit().await.unwrap();
        }
        positions
    }
}

/// The id with this number.
pub(crate) fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// A moment, in seconds after the beginning of 2026.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::parse("2026-01-01T00:00:00Z").unwrap().plus_seconds(second)
}

/// All rows from the newest on.
pub(crate) fn page(limit: u32) -> Page {
    Page { limit, after: None }
}

/// An active SPV, created at second `n`.
pub(crate) fn entity(n: u128, parent: Option<u128>) -> Entity {
    let second = i64::try_from(n).unwrap();
    Entity {
        id: id(n),
        name: format!("entity {n}"),
        entity_type: EntityType::Spv,
        external_id: None,
        status: EntityStatus::Active,
        parent_id: parent.map(id),
        attributes: JsonObject::new(),
        created_at: at(second),
        updated_at: at(second),
    }
}

/// A role for every type, created at second `n`.
pub(crate) fn role(n: u128, actions: &[&str]) -> Role {
    let second = i64::try_from(n).unwrap();
    Role {
        id: id(n),
        name: format!("role {n}"),
        description: None,
        scope_types: Vec::new(),
        is_system: false,
        permissions: actions.iter().map(|action| (*action).to_owned()).collect(),
        conditions: BTreeMap::new(),
        created_at: at(second),
        updated_at: at(second),
    }
}

/// An active user without personal fields, created at second `n`.
pub(crate) fn principal(n: u128) -> Principal {
    let second = i64::try_from(n).unwrap();
    Principal {
        id: id(n),
        principal_type: "user".to_owned(),
        external_id: None,
        display_name: None,
        attributes: JsonObject::new(),
        status: PrincipalStatus::Active,
        created_at: at(second),
        updated_at: at(second),
        erased_at: None,
    }
}

/// An assignment from second 0 on, without an end, created at second `n`.
pub(crate) fn assignment(n: u128, principal: u128, role: u128, entity: Option<u128>) -> Assignment {
    let second = i64::try_from(n).unwrap();
    Assignment {
        id: id(n),
        principal_id: id(principal),
        principal_type: "user".to_owned(),
        role_id: id(role),
        entity_id: entity.map(id),
        effective_at: at(0),
        expires_at: None,
        condition: None,
        created_at: at(second),
        updated_at: at(second),
    }
}

/// A pending event that relays deliver, written at second `n`.
pub(crate) fn event(n: u128, ordering_key: Option<&str>) -> OutboxEvent {
    let second = i64::try_from(n).unwrap();
    OutboxEvent {
        event: Event {
            id: id(n),
            event_id: id(n),
            event_type: "entity.updated".to_owned(),
            source: "tests".to_owned(),
            payload: JsonObject::new(),
            context: JsonObject::new(),
            correlation_id: None,
            occurred_at: at(second),
            schema_version: "v1".to_owned(),
            delivery_state: DeliveryState::Pending,
            delivery_attempts: 0,
            last_error: None,
            created_at: at(second),
            updated_at: at(second),
            traceparent: None,
            ingested: false,
        },
        ordering_key: ordering_key.map(str::to_owned),
        lease: None,
    }
}

/// A ledger entry of another service about the number `n`; with an id, a second one is a duplicate or a conflict.
pub(crate) fn draft(event_id: Option<u128>, n: i64) -> Draft {
    own_draft("tests", "thing.done", event_id, n)
}

/// A ledger entry of EPR itself that changes what decisions depend on.
pub(crate) fn decisive_draft(n: i64) -> Draft {
    own_draft("entity_permissions_core", "role.update", None, n)
}

/// The same, but it states neither a version of a row nor that it makes none.
pub(crate) fn rowless_draft(n: i64) -> Draft {
    stating_nothing("entity_permissions_core", "role.update", None, n)
}

/// A message that claims to be an entry of EPR that changes a role.
pub(crate) fn claiming_draft(n: i64) -> Draft {
    own_draft("entity_permissions_core", "role.update", Some(900), n)
}

/// An entry that changes the registry, and nothing that decisions depend on.
pub(crate) fn registry_draft(n: i64) -> Draft {
    own_draft("entity_permissions_core", "entity.create", None, n)
}

fn own_draft(source: &str, action: &str, event_id: Option<u128>, n: i64) -> Draft {
    stating_nothing(source, action, event_id, n).keeping_rows()
}

fn stating_nothing(source: &str, action: &str, event_id: Option<u128>, n: i64) -> Draft {
    let details = Json::parse(format!("{{\"n\": {n}}}").as_bytes()).unwrap();
    Draft::new(AuditEvent {
        event_id: event_id.map(id),
        source: source.try_into().unwrap(),
        action: action.try_into().unwrap(),
        actor_id: None,
        actor_type: "service".try_into().unwrap(),
        entity_id: None,
        entity_type: None,
        correlation_id: None,
        details: details.as_object().unwrap().clone(),
        occurred_at: at(n),
    })
    .unwrap()
}

/// Whether this principal may `thing:read` this resource.
pub(crate) fn question(principal: u128, resource: u128) -> Question {
    Question::new(id(principal), "thing:read".try_into().unwrap(), id(resource))
}
