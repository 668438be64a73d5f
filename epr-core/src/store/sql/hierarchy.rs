//! Statements that traverse the hierarchy of entities.
//!
//! Must never loop: in a cycle, `UNION` finds no new row.

use std::collections::HashMap;

use sqlx::Row as _;
use uuid::Uuid;

use super::dialect::{Conn, Id, Pool, Row, begin_snapshot, bind_id, classify, read_id};
use crate::store::Result;
use crate::store::hierarchy::{self, HierarchyState, MAX_LEVELS, PathToRoot};

/// The number of entities that are named as examples.
const EXAMPLES: i64 = 5;
/// The most entities without a root that are read to find cycles.
const MAX_ROOTLESS: i64 = 100_000;

/// Every entity with a path to a root, with its level from 1.
macro_rules! reached {
    () => {
        concat!(
            "WITH RECURSIVE reached(id, level) AS ( \
               SELECT id, 1 FROM entities WHERE parent_id IS NULL \
               UNION ALL \
               SELECT e.id, r.level + 1 FROM reached r ",
            join_probing!("entities", "e", "e.parent_id = r.id"),
            ") "
        )
    };
}

fn read_link(row: &Row) -> Result<(Uuid, Option<Uuid>)> {
    let parent: Option<Id> = row.try_get("parent_id").map_err(classify)?;
    Ok((row.try_get("id").map(read_id).map_err(classify)?, parent.map(read_id)))
}

/// Returns an entity with its ancestors, at most `limit` rows.
pub(super) async fn path_to_root(conn: &mut Conn, entity: Uuid, limit: usize) -> Result<PathToRoot> {
    let rows = sqlx::query(concat!(
        "WITH RECURSIVE path(id, parent_id) AS ( \
           SELECT id, parent_id FROM entities WHERE id = $1 \
           UNION \
           SELECT e.id, e.parent_id FROM path p ",
        join_probing!("entities", "e", "e.id = p.parent_id"),
        ") SELECT id, parent_id FROM path LIMIT $2"
    ))
    .bind(bind_id(entity))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    let links = rows.iter().map(read_link).collect::<Result<HashMap<_, _>>>()?;
    Ok(PathToRoot::new(entity, &links, rows.len() >= limit))
}

/// Returns whether the entity has a descendant `levels` levels below itself.
pub(super) async fn has_levels_below(conn: &mut Conn, entity: Uuid, levels: usize) -> Result<bool> {
    // The traversal excludes the entity itself, which would be a cycle.
    let found: Option<i32> = sqlx::query_scalar(concat!(
        "WITH RECURSIVE below(id, distance) AS ( \
           SELECT id, 0 FROM entities WHERE id = $1 \
           UNION \
           SELECT e.id, b.distance + 1 FROM below b ",
        join_probing!("entities", "e", "e.parent_id = b.id AND e.id <> $1 AND b.distance < $2"),
        ") SELECT distance FROM below WHERE distance = $2 LIMIT 1"
    ))
    .bind(bind_id(entity))
    .bind(i32::try_from(levels).unwrap_or(i32::MAX))
    .fetch_optional(conn)
    .await
    .map_err(classify)?;
    Ok(found.is_some())
}

/// Finds entities that are too deep, and cycles. Reads all entities.
pub(super) async fn state(pool: &Pool) -> Result<HierarchyState> {
    let mut snapshot = begin_snapshot(pool).await?;
    let max_levels = i64::try_from(MAX_LEVELS).unwrap_or(i64::MAX);
    let row = sqlx::query(concat!(
        reached!(),
        "SELECT COUNT(*) AS reached, CAST(COALESCE(MAX(level), 0) AS bigint) AS levels, \
           COUNT(*) FILTER (WHERE level > $1) AS too_deep, (SELECT COUNT(*) FROM entities) AS entities FROM reached"
    ))
    .bind(max_levels)
    .fetch_one(&mut *snapshot)
    .await
    .map_err(classify)?;
    let number = |column: &str| row.try_get::<i64, _>(column).map_err(classify);
    let mut state = HierarchyState {
        too_deep: number("too_deep")?,
        levels: number("levels")?,
        rootless: number("entities")? - number("reached")?,
        ..HierarchyState::default()
    };
    if state.too_deep > 0 {
        let ids: Vec<Id> = sqlx::query_scalar(concat!(reached!(), "SELECT id FROM reached WHERE level = $1 LIMIT $2"))
            .bind(max_levels + 1)
            .bind(EXAMPLES)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(classify)?;
        state.examples = ids.into_iter().map(read_id).collect();
    }
    if state.rootless > 0 {
        let rows = sqlx::query(concat!(
            reached!(),
            "SELECT e.id, e.parent_id FROM entities e LEFT JOIN reached r ON r.id = e.id WHERE r.id IS NULL LIMIT $1"
        ))
        .bind(MAX_ROOTLESS)
        .fetch_all(&mut *snapshot)
        .await
        .map_err(classify)?;
        let links = rows.iter().map(read_link).collect::<Result<HashMap<_, _>>>()?;
        state.cycles = hierarchy::cycles(&links);
    }
    Ok(state)
}
