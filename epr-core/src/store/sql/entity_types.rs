//! Statements about the entity types in use.

use std::collections::BTreeMap;

use super::columns::{read_type, read_types};
use super::dialect::{Conn, classify};
use crate::domain::{EntityType, EntityTypeUse, EntityTypes};
use crate::store::Result;

/// The types of entities. Each costs one probe of an index, however many entities there are: one index leaves archived
/// entities out, the other has no others.
const OF_ENTITIES: &str = "\
    WITH RECURSIVE listed(type) AS ( \
      SELECT MIN(e.type) FROM entities e WHERE e.status <> 'archived' \
      UNION ALL \
      SELECT (SELECT MIN(e.type) FROM entities e WHERE e.status <> 'archived' AND e.type > listed.type) \
      FROM listed WHERE listed.type IS NOT NULL \
    ), archived(type) AS ( \
      SELECT MIN(e.type) FROM entities e WHERE e.status = 'archived' \
      UNION ALL \
      SELECT (SELECT MIN(e.type) FROM entities e WHERE e.status = 'archived' AND e.type > archived.type) \
      FROM archived WHERE archived.type IS NOT NULL \
    ) \
    SELECT type FROM listed WHERE type IS NOT NULL UNION SELECT type FROM archived WHERE type IS NOT NULL";

/// The different lists of scope types, each with the number of its roles.
const OF_ROLES: &str = "\
    SELECT list, COUNT(*) FROM (SELECT CAST(scope_types AS TEXT) AS list FROM roles) AS lists GROUP BY list";

/// Returns the types in use that are not among `types`, in the order of their words.
pub(super) async fn unaccepted(conn: &mut Conn, types: &EntityTypes) -> Result<Vec<EntityTypeUse>> {
    let mut uses: BTreeMap<EntityType, EntityTypeUse> = BTreeMap::new();
    let of_entities: Vec<String> = sqlx::query_scalar(OF_ENTITIES).fetch_all(&mut *conn).await.map_err(classify)?;
    for word in &of_entities {
        let entity_type = read_type(word)?;
        if !types.contains(&entity_type) {
            let entities: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM entities WHERE type = $1")
                .bind(word.as_str())
                .fetch_one(&mut *conn)
                .await
                .map_err(classify)?;
            uses.entry(entity_type.clone()).or_insert_with(|| EntityTypeUse::of(entity_type)).entities = entities;
        }
    }
    let lists: Vec<(String, i64)> = sqlx::query_as(OF_ROLES).fetch_all(conn).await.map_err(classify)?;
    for (list, roles) in lists {
        for entity_type in read_types(&list)?.into_iter().filter(|one| !types.contains(one)) {
            uses.entry(entity_type.clone()).or_insert_with(|| EntityTypeUse::of(entity_type)).roles += roles;
        }
    }
    Ok(uses.into_values().collect())
}
