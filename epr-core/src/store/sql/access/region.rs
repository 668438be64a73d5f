//! The entities of a region of the registry in the order of their ids, in batches, each with its links upwards.
//!
//! Owns the two ways of finding them: expanding subtrees, and reading all entities. Must never know an assignment.

use sqlx::Row as _;
use uuid::Uuid;

use super::super::columns::{read_type, read_word};
use super::super::dialect::{Conn, Id, Row, bind_id, classify, read_id};
use super::super::sources::AsOf;
use super::paths::Paths;
use crate::domain::{EntityStatus, EntityType, Json};
use crate::store::{ResourceSearch, Result, StoreError};

/// The rows of `batch`, and after them the links of all their ancestors: rows without a type. A row without an id has
/// in `total` the number of entities that were expanded.
///
/// Each ancestor is probed once, however many entities are below it. `UNION` in the recursion makes it end even in a
/// cycle, which no write can create.
macro_rules! with_links {
    ($when:tt, $batch:expr, $total:literal) => {
        concat!(
            "WITH RECURSIVE ",
            $batch,
            ", above(id, parent_id) AS ( \
               SELECT e.id, e.parent_id FROM (SELECT DISTINCT parent_id FROM batch) b ",
            join_probing!(entity_source!($when), "e", "e.id = b.parent_id"),
            " UNION \
               SELECT e.id, e.parent_id FROM above a ",
            join_probing!(entity_source!($when), "e", "e.id = a.parent_id"),
            ") \
             SELECT id, parent_id, type, status, CAST(NULL AS bigint) AS total FROM batch \
             UNION ALL SELECT id, parent_id, NULL, NULL, NULL FROM above",
            $total
        )
    };
}

/// The condition that an entity has the status that is wanted: `$wanted` is the word of an [`ArchivedFilter`].
macro_rules! has_wanted_status {
    ($wanted:literal, $status:literal) => {
        concat!("(", $wanted, " = 'included' OR (", $wanted, " = 'only') = (", $status, " = 'archived'))")
    };
}

/// Expands the entities of the list `$1`: they and everything below them, at most `$2` entities, of which the first
/// `$5` after `$3` with a status of `$4` and the type `$6` (any if it is null) are returned.
///
/// The expansion reads one index only; the rows of the entities are read in the order of their ids, up to the last one
/// that is returned.
macro_rules! expand_statement {
    ($when:tt) => {
        with_links!(
            $when,
            concat!(
                "below(id) AS ( \
                   SELECT ",
                uuid_value!("item.value"),
                " FROM ",
                json_items!("$1"),
                " UNION \
                   SELECT e.id FROM below b ",
                join_probing!(entity_source!($when), "e", "e.parent_id = b.id"),
                "), expanded(id) AS MATERIALIZED ( \
                   SELECT id FROM below LIMIT $2 \
                 ), batch AS MATERIALIZED ( \
                   SELECT e.id, e.parent_id, e.type, e.status \
                   FROM (SELECT x.id FROM expanded x WHERE x.id > $3 ORDER BY x.id) f ",
                join_probing!(entity_source!($when), "e", "e.id = f.id"),
                " WHERE ",
                has_wanted_status!("$4", "e.status"),
                " AND (CAST($6 AS TEXT) IS NULL OR e.type = $6) ORDER BY f.id LIMIT $5)"
            ),
            " UNION ALL SELECT NULL, NULL, NULL, NULL, COUNT(*) FROM expanded"
        )
    };
}

/// The first `$2` entities after `$1`, of any status and type: a condition could make it read many more than it
/// returns.
macro_rules! scan_statement {
    ($when:tt) => {
        with_links!(
            $when,
            concat!(
                "batch AS MATERIALIZED (SELECT e.id, e.parent_id, e.type, e.status FROM ",
                entity_source!($when),
                " e WHERE e.id > $1 ORDER BY e.id LIMIT $2)"
            ),
            ""
        )
    };
}

/// The first `$2` entities of the type `$3` after `$1`. Only the index over type and id has the order that is asked
/// for, whatever the planner expects to find.
macro_rules! scan_type_statement {
    ($when:tt) => {
        with_links!(
            $when,
            concat!(
                "batch AS MATERIALIZED (SELECT e.id, e.parent_id, e.type, e.status FROM ",
                entity_source!($when),
                " e WHERE (e.type, e.id) > ($3, $1) AND (e.type, e.id) <= ($3, ",
                uuid_value!("'ffffffff-ffff-ffff-ffff-ffffffffffff'"),
                ") ORDER BY e.type, e.id LIMIT $2)"
            ),
            ""
        )
    };
}

/// The first `$2` archived entities after `$1`, by the index of them.
macro_rules! scan_archived_statement {
    ($when:tt) => {
        with_links!(
            $when,
            concat!(
                "batch AS MATERIALIZED (SELECT e.id, e.parent_id, e.type, e.status FROM ",
                entity_source!($when),
                " e WHERE e.status = 'archived' AND e.id > $1 ORDER BY e.id LIMIT $2)"
            ),
            ""
        )
    };
}

/// The entities of the list `$1` with their links.
macro_rules! listed_statement {
    ($when:tt) => {
        with_links!(
            $when,
            concat!(
                "batch AS MATERIALIZED (SELECT e.id, e.parent_id, e.type, e.status FROM ",
                json_items!("$1"),
                " ",
                join_probing!(entity_source!($when), "e", concat!("e.id = ", uuid_value!("item.value"))),
                ")"
            ),
            ""
        )
    };
}

pub(in super::super::super) const EXPAND: &str = expand_statement!(now);
pub(in super::super::super) const SCAN: &str = scan_statement!(now);
pub(in super::super::super) const SCAN_TYPE: &str = scan_type_statement!(now);
pub(in super::super::super) const SCAN_ARCHIVED: &str = scan_archived_statement!(now);
const LISTED: &str = listed_statement!(now);

/// The statements of the past.
const PAST_EXPAND: &str = expand_statement!((at "$7"));
const PAST_SCAN: &str = scan_statement!((at "$3"));
pub(in super::super::super) const PAST_SCAN_TYPE: &str = scan_type_statement!((at "$4"));
const PAST_SCAN_ARCHIVED: &str = scan_archived_statement!((at "$3"));
const PAST_LISTED: &str = listed_statement!((at "$2"));

/// The most entities that are read at a time.
const MAX_BATCH: usize = 8192;

/// Which entities are wanted by their status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArchivedFilter {
    /// Those that are not archived.
    LeftOut,
    /// All.
    Included,
    /// Those that are archived.
    Only,
}

impl ArchivedFilter {
    fn word(self) -> &'static str {
        match self {
            Self::LeftOut => "left out",
            Self::Included => "included",
            Self::Only => "only",
        }
    }

    fn wants(self, is_archived: bool) -> bool {
        match self {
            Self::LeftOut => !is_archived,
            Self::Included => true,
            Self::Only => is_archived,
        }
    }
}

/// An entity of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RegionEntity {
    pub(super) id: Uuid,
    pub(super) parent_id: Option<Uuid>,
    pub(super) entity_type: EntityType,
    pub(super) is_archived: bool,
}

/// The entities that are read.
pub(super) struct Region {
    pub(super) when: AsOf,
    /// Only they and the entities below them are wanted; all entities if `None`.
    pub(super) roots: Option<Vec<Uuid>>,
    pub(super) archived: ArchivedFilter,
    /// Only entities of this type; of every type if `None`.
    pub(super) entity_type: Option<EntityType>,
    /// The way in which entities are found. A scan also returns entities outside the region.
    pub(super) search: ResourceSearch,
    /// The most entities that are expanded.
    pub(super) max_expanded: usize,
    /// The last entity that was read.
    pub(super) after: Uuid,
    /// The number of entities that the next batch reads.
    pub(super) size: usize,
    /// The number of entities that may still be looked at.
    pub(super) left: usize,
    /// The number of entities that the last batch expanded to find those that it returned.
    pub(super) expanded: usize,
}

/// Some entities of a region, ordered by id.
pub(super) struct Batch {
    pub(super) entities: Vec<RegionEntity>,
    /// `true` if none follow.
    pub(super) is_last: bool,
}

impl Region {
    /// Reads the next batch, and adds the links of the entities above it to `paths`. Must not be
    /// called when nothing is left to look at.
    pub(super) async fn next(&mut self, conn: &mut Conn, paths: &mut Paths) -> Result<Batch> {
        let size = self.size.min(self.left).clamp(1, MAX_BATCH);
        self.size = self.size.saturating_mul(4);
        self.expanded = 0;
        if self.search == ResourceSearch::Expand {
            if let Some(batch) = self.expand(&mut *conn, paths, size).await? {
                self.left = self.left.saturating_sub(batch.entities.len());
                return Ok(batch);
            }
            self.search = ResourceSearch::Scan;
        }
        self.scan(conn, paths, size).await
    }

    /// Returns `None` when the subtrees have too many entities.
    async fn expand(&mut self, conn: &mut Conn, paths: &mut Paths, size: usize) -> Result<Option<Batch>> {
        let Some(roots) = &self.roots else { return Ok(None) };
        let mut query = sqlx::query(if self.when == AsOf::Now { EXPAND } else { PAST_EXPAND })
            .bind(ids_text(roots))
            .bind(bound(self.max_expanded.saturating_add(1)))
            .bind(bind_id(self.after))
            .bind(self.archived.word())
            .bind(bound(size))
            .bind(self.entity_type.as_ref().map(|one| one.word().to_owned()));
        if let AsOf::Entry(at) = self.when {
            query = query.bind(at);
        }
        let rows = query.fetch_all(conn).await.map_err(classify)?;
        let Rows { entities, total } = Rows::read(&rows, paths)?;
        self.expanded = total.unwrap_or_default();
        if total.is_none_or(|total| total > self.max_expanded) {
            return Ok(None);
        }
        self.after = entities.last().map_or(self.after, |one| one.id);
        let is_last = entities.len() < size;
        Ok(Some(Batch { entities, is_last }))
    }

    async fn scan(&mut self, conn: &mut Conn, paths: &mut Paths, size: usize) -> Result<Batch> {
        let (after, most) = (bind_id(self.after), bound(size));
        let query = match (self.when, self.archived, &self.entity_type) {
            (AsOf::Now, ArchivedFilter::Only, _) => sqlx::query(SCAN_ARCHIVED).bind(after).bind(most),
            (AsOf::Now, _, Some(entity_type)) => sqlx::query(SCAN_TYPE).bind(after).bind(most).bind(entity_type.word()),
            (AsOf::Now, _, None) => sqlx::query(SCAN).bind(after).bind(most),
            (AsOf::Entry(at), ArchivedFilter::Only, _) => {
                sqlx::query(PAST_SCAN_ARCHIVED).bind(after).bind(most).bind(at)
            }
            (AsOf::Entry(at), _, Some(entity_type)) => {
                sqlx::query(PAST_SCAN_TYPE).bind(after).bind(most).bind(entity_type.word()).bind(at)
            }
            (AsOf::Entry(at), _, None) => sqlx::query(PAST_SCAN).bind(after).bind(most).bind(at),
        };
        let rows = query.fetch_all(conn).await.map_err(classify)?;
        let Rows { mut entities, .. } = Rows::read(&rows, paths)?;
        let is_last = entities.len() < size;
        self.left = self.left.saturating_sub(entities.len());
        self.after = entities.last().map_or(self.after, |one| one.id);
        let wanted_type = self.entity_type.as_ref();
        entities.retain(|one| {
            self.archived.wants(one.is_archived) && wanted_type.is_none_or(|wanted| *wanted == one.entity_type)
        });
        Ok(Batch { entities, is_last })
    }
}

/// Returns those of `ids` that exist, and adds their links and those of their ancestors to `paths`.
pub(super) async fn listed(conn: &mut Conn, ids: &[Uuid], paths: &mut Paths, when: AsOf) -> Result<Vec<RegionEntity>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let query = match when {
        AsOf::Now => sqlx::query(LISTED).bind(ids_text(ids)),
        AsOf::Entry(at) => sqlx::query(PAST_LISTED).bind(ids_text(ids)).bind(at),
    };
    let rows = query.fetch_all(conn).await.map_err(classify)?;
    let entities = Rows::read(&rows, paths)?.entities;
    for one in &entities {
        paths.link(one.id, one.parent_id);
    }
    Ok(entities)
}

/// Ids as a JSON list.
pub(in super::super) fn ids_text(ids: &[Uuid]) -> String {
    Json::List(ids.iter().map(|id| id.to_string().into()).collect()).to_string()
}

/// A number of rows as it is bound.
pub(in super::super) fn bound(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// The rows of a statement with links.
struct Rows {
    entities: Vec<RegionEntity>,
    total: Option<usize>,
}

impl Rows {
    fn read(rows: &[Row], paths: &mut Paths) -> Result<Self> {
        let mut read = Self { entities: Vec::with_capacity(rows.len()), total: None };
        for row in rows {
            let Some(id) = row.try_get::<Option<Id>, _>("id").map_err(classify)?.map(read_id) else {
                let total: Option<i64> = row.try_get("total").map_err(classify)?;
                let total = total.and_then(|total| usize::try_from(total).ok());
                read.total = Some(total.ok_or_else(|| StoreError::corrupt("entities", "a row without an id"))?);
                continue;
            };
            let parent_id = row.try_get::<Option<Id>, _>("parent_id").map_err(classify)?.map(read_id);
            let Some(word) = row.try_get::<Option<&str>, _>("type").map_err(classify)? else {
                paths.link(id, parent_id);
                continue;
            };
            let status: EntityStatus = read_word(row.try_get("status").map_err(classify)?)?;
            let is_archived = status == EntityStatus::Archived;
            read.entities.push(RegionEntity { id, parent_id, entity_type: read_type(word)?, is_archived });
        }
        read.entities.sort_unstable_by_key(|one| one.id);
        Ok(read)
    }
}
