//! The resource of a list with its path to the root.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::Row as _;
use uuid::Uuid;

use super::super::columns::{read_object, read_type};
use super::super::dialect::{Conn, bind_id, classify, read_id};
use super::super::sources::AsOf;
use super::rows::Registered;
use crate::decision::{AssignmentFacts, Facts, PrincipalFacts, ResourceFacts};
use crate::domain::PrincipalStatus;
use crate::domain::access::AccessEntity;
use crate::store::{Result, StoreError};

/// The resource, and the entities on its path to the root, itself included.
pub(in super::super) struct Lineage {
    resource_id: Uuid,
    resource: ResourceFacts,
    pub(in super::super) entities: BTreeMap<Uuid, AccessEntity>,
}

/// `UNION` in the recursion makes it end even in a cycle, which no write can create.
macro_rules! described_lineage {
    ($when:tt) => {
        concat!(
            "WITH RECURSIVE lineage(id, parent_id) AS ( \
               SELECT e.id, e.parent_id",
            from_entity!($when, "e", "$1"),
            " UNION \
               SELECT e.id, e.parent_id FROM lineage l ",
            join_entity!($when, "e", "l.parent_id"),
            ") SELECT e.id, e.type, e.name, CASE WHEN e.id = $1 THEN CAST(e.attributes AS TEXT) END AS attributes, \
               CASE WHEN e.id = $1 THEN e.external_id END AS external_id FROM lineage l ",
            join_entity!($when, "e", "l.id")
        )
    };
}

/// Returns the resource with this id; `None` when it is unknown.
pub(in super::super) async fn lineage(conn: &mut Conn, resource_id: Uuid, when: AsOf) -> Result<Option<Lineage>> {
    let query = match when {
        AsOf::Now => sqlx::query(described_lineage!(now)).bind(bind_id(resource_id)),
        AsOf::Entry(at) => sqlx::query(described_lineage!((at "$2"))).bind(bind_id(resource_id)).bind(at),
    };
    let rows = query.fetch_all(conn).await.map_err(classify)?;
    let (mut entities, mut resource) = (BTreeMap::new(), None);
    for row in &rows {
        let id = row.try_get("id").map(read_id).map_err(classify)?;
        let entity_type = read_type(row.try_get("type").map_err(classify)?)?;
        if let Some(text) = row.try_get::<Option<&str>, _>("attributes").map_err(classify)? {
            resource = Some(ResourceFacts {
                entity_type: entity_type.clone().into(),
                external_id: row.try_get("external_id").map_err(classify)?,
                attributes: read_object("attributes", text)?.into(),
            });
        }
        entities.insert(id, AccessEntity { id, entity_type, name: row.try_get("name").map_err(classify)? });
    }
    match resource {
        Some(resource) => Ok(Some(Lineage { resource_id, resource, entities })),
        None if entities.is_empty() => Ok(None),
        None => Err(StoreError::corrupt("entities", "the resource has no row of its own")),
    }
}

impl Lineage {
    /// A resource that is not registered, which has no path.
    pub(in super::super) fn unregistered(resource: ResourceFacts) -> Self {
        Self { resource_id: Uuid::nil(), resource, entities: BTreeMap::new() }
    }

    /// The facts of the resource as the statement of a check returns them: without attributes and external id unless a
    /// condition may read them.
    pub(in super::super) fn resource(&self, has_conditions: bool) -> ResourceFacts {
        if has_conditions {
            return self.resource.clone();
        }
        let entity_type = self.resource.entity_type.clone();
        ResourceFacts { entity_type, external_id: None, attributes: Arc::default() }
    }

    /// The facts of a question about the resource.
    pub(in super::super) fn facts(&self, registered: Option<&Registered>, assignments: Vec<AssignmentFacts>) -> Facts {
        let has_conditions = assignments.iter().any(|one| !one.conditions.is_empty());
        // A resource that is not registered is no entity.
        let mut assigned_entities: Vec<_> =
            self.entities.keys().copied().filter(|id| *id == self.resource_id).collect();
        for entity in assignments.iter().filter_map(|one| one.entity_id) {
            if !assigned_entities.contains(&entity) {
                assigned_entities.push(entity);
            }
        }
        Facts {
            principal: principal_facts(registered),
            resource: self.resource(has_conditions),
            assigned_entities,
            assignments,
        }
    }
}

pub(super) fn principal_facts(registered: Option<&Registered>) -> PrincipalFacts {
    match registered {
        None => PrincipalFacts::default(),
        Some(Registered { registration, attributes, is_erased }) => PrincipalFacts {
            is_suspended: registration.status == PrincipalStatus::Suspended,
            is_erased: *is_erased,
            external_id: registration.external_id.clone(),
            attributes: Arc::clone(attributes),
        },
    }
}
