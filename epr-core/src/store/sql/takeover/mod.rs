//! Taking over the tables of an older implementation: same names and columns, other types.
//!
//! The older tables are set aside, the schema is created, and every row is read as text, checked and written again; the
//! ledger is verified entry by entry meanwhile. All of it is one transaction: when any value does not fit, nothing has
//! changed.
//!
//! INVARIANT: a value that is adjusted changes no decision.

pub(super) mod hand_back;
mod ledger;
mod pages;
mod row;

use std::collections::{BTreeMap, HashMap, HashSet};

use sqlx::Row as _;
use uuid::Uuid;

use self::pages::copy_assignments;
use self::row::TextRow;
use super::dialect::{Conn, Row, classify, columns, foreign_table_error, set_aside_table};
use super::{entities, events, history, roles, schema};
use crate::clock::{Clock as _, SystemClock};
use crate::domain::entity::EntityName;
use crate::domain::event::{DeliveryState, Event, ordering_key};
use crate::domain::{Assignment, Entity, EntityStatus, EntityType, NewEntity, Role};
use crate::store::{HistoryReport, InsertedEvent, OutboxEvent, Result, TakeoverReport, hierarchy};

/// The older tables, each before the tables that it refers to, with the columns that are read.
pub(in super::super::super) const TABLES: [(&str, &str); 7] = [
    (
        "platform_events",
        "event_id id event_type source payload context correlation_id occurred_at schema_version delivery_state \
         delivery_attempts last_error created_at updated_at",
    ),
    (
        "audit_logs",
        "sequence previous_hash entry_hash hash_version event_id source action actor_id actor_type entity_id \
         entity_type \
         correlation_id details occurred_at",
    ),
    (
        "role_assignments",
        "id principal_id principal_type role_id entity_id effective_at expires_at created_at updated_at",
    ),
    ("role_permissions", "role_id permission_id"),
    ("permissions", "id action"),
    ("roles", "id name description scope_types is_system created_at updated_at"),
    ("entities", "id name type status parent_id attributes created_at updated_at"),
];

/// Takes the older tables over, in the transaction that the caller has begun and commits only when no problem blocks
/// it.
pub(super) async fn take_over(tx: &mut Conn) -> Result<TakeoverReport> {
    let mut report = TakeoverReport::default();
    let mut known = KnownIds::default();
    let mut found = Vec::new();
    for (table, _) in TABLES {
        if !columns(&mut *tx, table).await?.is_empty() {
            set_aside_table(&mut *tx, table).await?;
            found.push(table);
        }
    }
    schema::apply_all(&mut *tx).await?;
    if found.contains(&"entities") {
        copy_entities(&mut *tx, &mut report, &mut known).await?;
    }
    if found.contains(&"permissions") {
        copy_permissions(&mut *tx, &mut report).await?;
    }
    if found.contains(&"roles") {
        let with_permissions = found.contains(&"role_permissions") && found.contains(&"permissions");
        copy_roles(&mut *tx, with_permissions, &mut report, &mut known).await?;
    }
    if found.contains(&"role_assignments") {
        copy_assignments(&mut *tx, &mut report, &known).await?;
    }
    if found.contains(&"audit_logs") {
        ledger::copy(&mut *tx, &mut report).await?;
    }
    if found.contains(&"platform_events") {
        copy_events(&mut *tx, &mut report).await?;
    }
    sqlx::query("UPDATE ledger_incarnations SET why = 'takeover'").execute(&mut *tx).await.map_err(classify)?;
    if report.blocking == 0 {
        begin_history(&mut *tx).await?;
    }
    // No process has cached a decision on this database yet.
    sqlx::query("DELETE FROM cache_renewals").execute(tx).await.map_err(classify)?;
    Ok(report)
}

/// Replays the older ledger, and writes a baseline for each row of the registry: what happened before cannot be asked.
async fn begin_history(conn: &mut Conn) -> Result<()> {
    let mut report = HistoryReport::default();
    history::advance_to_head(&mut *conn, &mut report).await?;
    history::write_all_baselines(conn, &mut report).await
}

/// The ids that other rows may refer to, of rows that can be taken over and of those that cannot.
#[derive(Default)]
struct KnownIds {
    entities: HashSet<Uuid>,
    roles: HashSet<Uuid>,
    /// The ids of rows that block the takeover.
    blocked: HashSet<Uuid>,
}

impl KnownIds {
    /// Returns whether the role or the entity of this assignment blocks the takeover.
    fn refers_to_blocked(&self, assignment: &Assignment) -> bool {
        self.blocked.contains(&assignment.role_id)
            || assignment.entity_id.is_some_and(|entity| self.blocked.contains(&entity))
    }
}

/// Returns whether there are tables of an older implementation.
///
/// # Errors
/// There are tables of these names that are another application's.
pub(super) async fn older_tables(conn: &mut Conn) -> Result<bool> {
    let mut found = Vec::new();
    for (table, needed) in TABLES {
        let columns = columns(&mut *conn, table).await?;
        if columns.is_empty() {
            continue;
        }
        if needed.split(' ').any(|needed| !columns.iter().any(|column| column == needed)) {
            return Err(foreign_table_error(conn, table).await);
        }
        found.push(table);
    }
    match found.first() {
        None => Ok(false),
        Some(_) if found.contains(&"entities") || found.contains(&"audit_logs") => Ok(true),
        Some(table) => Err(foreign_table_error(conn, table).await),
    }
}

async fn rows(conn: &mut Conn, sql: &'static str) -> Result<Vec<Row>> {
    sqlx::query(sql).fetch_all(conn).await.map_err(classify)
}

/// An entity whose fields have the values of a creation that names none of them: what the older table has no column for
/// keeps them.
fn default_entity() -> Entity {
    let name = EntityName::new("-").unwrap_or_else(|_| unreachable!("`-` is within 1 to 255 characters"));
    NewEntity::new(name, EntityType::Other).into_record(Uuid::nil(), SystemClock.now())
}

async fn copy_entities(conn: &mut Conn, report: &mut TakeoverReport, known: &mut KnownIds) -> Result<()> {
    let old = rows(
        conn,
        concat!(
            "SELECT CAST(id AS TEXT) AS id, CAST(name AS TEXT) AS name, CAST(type AS TEXT) AS type, \
             CAST(status AS TEXT) AS status, \
             CAST(parent_id AS TEXT) AS parent_id, CAST(attributes AS TEXT) AS attributes, \
             CAST(created_at AS TEXT) AS created_at, \
             CAST(updated_at AS TEXT) AS updated_at FROM ",
            set_aside!("entities")
        ),
    )
    .await?;
    let mut children = Vec::new();
    for row in &old {
        let mut texts = TextRow::new(row, "entities", "entity")?;
        let mut entity = default_entity();
        entity.id = texts.id("id")?;
        entity.name = texts.bounded_text("name", 255)?;
        entity.entity_type = entity_type(&mut texts)?;
        entity.status = texts.choice("status", EntityStatus::Active)?;
        entity.parent_id = texts.optional_id("parent_id")?;
        entity.attributes = texts.object("attributes")?;
        entity.created_at = texts.time("created_at")?;
        entity.updated_at = texts.time("updated_at")?;
        known.entities.insert(entity.id);
        if entity.name.is_empty() {
            entity.name = format!("unnamed-{}", entity.id);
            texts.adjust("name", "is empty", "taken over as `unnamed-` and its id", "none: names are not asked about");
        }
        // A child may come before its parent: parents are set once all entities exist.
        let parent = entity.parent_id.take();
        // Once a problem blocks the takeover, rows are only checked.
        if report.blocking == 0 && texts.is_usable() && !entities::insert(&mut *conn, &entity).await? {
            texts.block("name", "is the name of another entity of this type", "rename one of the two", "none");
        }
        if !texts.finish(report) {
            known.blocked.insert(entity.id);
        } else if parent.is_some() {
            children.push(Entity { parent_id: parent, ..entity });
        }
    }
    link(conn, &old, children, report, known).await
}

/// Sets the parents of children.
async fn link(
    conn: &mut Conn,
    old: &[Row],
    children: Vec<Entity>,
    report: &mut TakeoverReport,
    known: &KnownIds,
) -> Result<()> {
    for row in old {
        let mut texts = TextRow::new(row, "entities", "entity")?;
        let parent = texts.optional_id("parent_id")?.filter(|parent| !known.entities.contains(parent));
        if texts.is_usable() && parent.is_some() {
            texts.block(
                "parent_id",
                "is the id of no entity",
                "set it to null, or restore the parent",
                "none with null, unless assignments name the missing parent; with the parent restored, \
                 its assignments count",
            );
            texts.finish(report);
        }
    }
    let links = children.iter().map(|entity| (entity.id, entity.parent_id)).collect();
    let cycles: HashMap<String, String> = hierarchy::cycles(&links)
        .iter()
        .filter_map(|cycle| cycle.first().map(|first| (first.to_string(), hierarchy::chain_text(cycle))))
        .collect();
    for row in old.iter().filter(|_| !cycles.is_empty()) {
        let mut texts = TextRow::new(row, "entities", "entity")?;
        let id = texts.id("id")?.to_string();
        if let Some(chain) = cycles.get(&id) {
            let problem = format!("is in a cycle: {chain}; set one of them to null");
            texts.block(
                "parent_id",
                problem,
                "set the parent_id of one of them to null",
                "an assignment on one reaches those below it only",
            );
            texts.finish(report);
        }
    }
    if report.blocking > 0 {
        return Ok(());
    }
    for entity in children {
        entities::update(&mut *conn, &entity).await?;
    }
    Ok(())
}

/// Copies every action, including those that no role holds.
async fn copy_permissions(conn: &mut Conn, report: &mut TakeoverReport) -> Result<()> {
    let old = rows(
        &mut *conn,
        concat!("SELECT CAST(id AS TEXT) AS id, CAST(action AS TEXT) AS action FROM ", set_aside!("permissions")),
    )
    .await?;
    let mut actions = Vec::with_capacity(old.len());
    for row in &old {
        let mut texts = TextRow::new(row, "permissions", "permission")?;
        let action = texts.bounded_text("action", 255)?;
        if action.chars().count() < SHORTEST_ACTION {
            texts.adjust(
                "action",
                "has fewer than 3 characters",
                "left out, also of the roles that hold it",
                "none: a check about such an action is a 400",
            );
        } else {
            actions.push(action);
        }
        texts.finish(report);
    }
    if report.blocking > 0 {
        return Ok(());
    }
    actions.sort_unstable();
    let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
    roles::ensure_actions(conn, &actions, SystemClock.now()).await
}

/// The least number of characters of an action.
const SHORTEST_ACTION: usize = 3;

async fn copy_roles(
    conn: &mut Conn,
    with_permissions: bool,
    report: &mut TakeoverReport,
    known: &mut KnownIds,
) -> Result<()> {
    let old = rows(
        &mut *conn,
        concat!(
            "SELECT CAST(id AS TEXT) AS id, CAST(name AS TEXT) AS name, CAST(description AS TEXT) AS description, \
             CAST(scope_types AS TEXT) AS scope_types, CAST(is_system AS TEXT) AS is_system, \
             CAST(created_at AS TEXT) AS created_at, \
             CAST(updated_at AS TEXT) AS updated_at FROM ",
            set_aside!("roles")
        ),
    )
    .await?;
    for row in &old {
        let mut texts = TextRow::new(row, "roles", "role")?;
        let mut role = Role {
            id: texts.id("id")?,
            name: texts.bounded_text("name", 120)?,
            description: texts.optional_text("description", 512)?,
            scope_types: scope_types(&mut texts)?,
            is_system: matches!(texts.get("is_system")?.as_deref(), Some("true" | "t" | "1")),
            permissions: if with_permissions { actions(&mut *conn, row).await? } else { Vec::new() },
            conditions: BTreeMap::new(),
            created_at: texts.time("created_at")?,
            updated_at: texts.time("updated_at")?,
        };
        known.roles.insert(role.id);
        if role.name.chars().count() < 3 {
            role.name = format!("{}-{}", role.name, role.id);
            texts.adjust(
                "name",
                "has fewer than 3 characters",
                "taken over with its id behind it",
                "none: names are not asked about",
            );
        }
        if report.blocking == 0 && texts.is_usable() {
            if roles::insert(&mut *conn, &role).await? {
                let (actions, conditions) = (&role.permissions, &role.conditions);
                roles::set_actions(&mut *conn, role.id, actions, conditions, role.created_at).await?;
            } else {
                texts.block("name", "is the name of another role", "rename one of the two", "none");
            }
        }
        if !texts.finish(report) {
            known.blocked.insert(role.id);
        }
    }
    Ok(())
}

/// The older service knew the built-in types and no others.
fn entity_type(texts: &mut TextRow<'_>) -> Result<EntityType> {
    let words = EntityType::BUILT_IN;
    let known = words.iter().map(EntityType::word);
    let found = texts.known_word("type", known)?;
    Ok(found.and_then(|word| EntityType::built_in(&word)).unwrap_or(EntityType::Other))
}

/// INVARIANT: a list that named types never becomes empty, which would mean every type.
fn scope_types(texts: &mut TextRow<'_>) -> Result<Vec<EntityType>> {
    let given = texts.get("scope_types")?.unwrap_or_else(|| "[]".into());
    let words: Option<Vec<String>> = match serde_json::from_str(&given) {
        Ok(words) => words,
        Err(error) => {
            texts.block("scope_types", error, "correct the list", "as the corrected list says");
            None
        }
    };
    let words = words.unwrap_or_default();
    let types: Vec<EntityType> = words.iter().filter_map(|word| EntityType::built_in(&word.to_lowercase())).collect();
    match (types.len() == words.len(), types.is_empty()) {
        (true, _) => {}
        (false, false) => {
            let remedy = "taken over without the unknown types";
            texts.adjust("scope_types", "holds an unknown type", remedy, "none: no entity is of such a type");
        }
        (false, true) => texts.block(
            "scope_types",
            "holds unknown types only",
            "name a known type, or take the role's assignments away",
            "an empty list would grant the role on every type",
        ),
    }
    Ok(types)
}

async fn actions(conn: &mut Conn, role: &Row) -> Result<Vec<String>> {
    let id: String = role.try_get("id").map_err(classify)?;
    let mut actions: Vec<String> = sqlx::query_scalar(concat!(
        "SELECT CAST(p.action AS TEXT) FROM ",
        set_aside!("role_permissions"),
        " rp JOIN ",
        set_aside!("permissions"),
        " p ON p.id = rp.permission_id WHERE CAST(rp.role_id AS TEXT) = $1"
    ))
    .bind(id)
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    actions.retain(|action| action.chars().count() >= SHORTEST_ACTION);
    actions.sort_unstable();
    actions.dedup();
    Ok(actions)
}

/// Copies events with their state; the relay delivers those that are pending.
async fn copy_events(conn: &mut Conn, report: &mut TakeoverReport) -> Result<()> {
    let old = rows(
        &mut *conn,
        concat!(
            "SELECT CAST(event_id AS TEXT) AS event_id, CAST(id AS TEXT) AS id, \
             CAST(event_type AS TEXT) AS event_type, \
             CAST(source AS TEXT) AS source, CAST(payload AS TEXT) AS payload, CAST(context AS TEXT) AS context, \
             CAST(correlation_id AS TEXT) AS correlation_id, CAST(occurred_at AS TEXT) AS occurred_at, \
             CAST(schema_version AS TEXT) AS schema_version, CAST(delivery_state AS TEXT) AS delivery_state, \
             CAST(delivery_attempts AS TEXT) AS delivery_attempts, CAST(last_error AS TEXT) AS last_error, \
             CAST(created_at AS TEXT) AS created_at, CAST(updated_at AS TEXT) AS updated_at FROM ",
            set_aside!("platform_events"),
            " o ORDER BY o.created_at"
        ),
    )
    .await?;
    for row in &old {
        let mut texts = TextRow::new(row, "platform_events", "event")?;
        let attempts = texts.get("delivery_attempts")?.unwrap_or_else(|| "0".into());
        let attempts: i32 = attempts.parse().unwrap_or_else(|error: std::num::ParseIntError| {
            texts.block("delivery_attempts", error, "set it to 0", "none");
            0
        });
        let event = Event {
            id: texts.id("id")?,
            event_id: texts.id("event_id")?,
            event_type: texts.text("event_type")?,
            source: texts.text("source")?,
            payload: texts.object("payload")?,
            context: texts.object("context")?,
            correlation_id: texts.get("correlation_id")?,
            occurred_at: texts.time("occurred_at")?,
            schema_version: texts.get("schema_version")?.unwrap_or_else(|| "v1".into()),
            delivery_state: texts.choice("delivery_state", DeliveryState::Pending)?,
            delivery_attempts: attempts,
            last_error: texts.get("last_error")?,
            created_at: texts.time("created_at")?,
            updated_at: texts.time("updated_at")?,
            traceparent: None,
            // The older table does not record which events were its own. They are treated as another service's: without
            // flat fields, no consumer acts on a forged one.
            ingested: true,
        };
        let ordering_key = ordering_key(&event.payload);
        let outgoing = OutboxEvent { event, ordering_key, lease: None };
        if report.blocking == 0
            && texts.is_usable()
            && let InsertedEvent::Existing(other) = events::insert(&mut *conn, &outgoing).await?
        {
            let problem = format!("stands also with event {} of this source", other.event_id);
            texts.block("correlation_id", problem, "set that of one of the two to null", "none");
        }
        texts.finish(report);
    }
    Ok(())
}
