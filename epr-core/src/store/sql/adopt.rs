//! Taking over the tables of an older implementation: same names and columns, other types.
//!
//! They are set aside, the schema is made anew, and every row is read as text, checked and written again; the ledger
//! is verified entry by entry on the way. All in one transaction: when anything does not fit, nothing has happened.

#[path = "older_row.rs"]
mod older_row;
#[path = "takeover_pages.rs"]
mod takeover_pages;

use sqlx::Row as _;

use self::older_row::{Texts, refused};
use self::takeover_pages::{Progress, copy_assignments};
use super::{Conn, Row, classify, columns, entities, entries, events, not_ours, put_aside, roles, schema};
use crate::clock::{Clock as _, SystemClock};
use crate::domain::event::{Event, ordering_key};
use crate::domain::fields::Choice;
use crate::domain::{AuditEvent, Entity, EntityType, Json, JsonObject, Role};
use crate::ledger::chain::{Draft, Head, Sealed};
use crate::store::{InsertedEvent, OutboxEvent, Result, hierarchy};

/// Children before what they refer to, each with the columns that are read.
pub(super) const TABLES: [(&str, &str); 7] = [
    (
        "platform_events",
        "event_id id event_type source payload context correlation_id occurred_at schema_version delivery_state \
         delivery_attempts last_error created_at updated_at",
    ),
    (
        "audit_logs",
        "sequence previous_hash entry_hash hash_version event_id source action actor_id actor_type entity_id entity_type \
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
/// Ledger entries read and written at a time.
const PAGE: i64 = 1000;

/// Takes them over, in the transaction that the caller has begun and commits.
pub(super) async fn adopt(tx: &mut Conn) -> Result<()> {
    let mut found = Vec::new();
    for (table, _) in TABLES {
        if !columns(&mut *tx, table).await?.is_empty() {
            put_aside(&mut *tx, table).await?;
            found.push(table);
        }
    }
    schema::apply_all(&mut *tx).await?;
    if found.contains(&"entities") {
        copy_entities(&mut *tx).await?;
    }
    if found.contains(&"permissions") {
        copy_permissions(&mut *tx).await?;
    }
    if found.contains(&"roles") {
        copy_roles(&mut *tx, found.contains(&"role_permissions") && found.contains(&"permissions")).await?;
    }
    if found.contains(&"role_assignments") {
        copy_assignments(&mut *tx).await?;
    }
    if found.contains(&"audit_logs") {
        copy_ledger(&mut *tx).await?;
    }
    if found.contains(&"platform_events") {
        copy_events(&mut *tx).await?;
    }
    // No process has cached a decision on this database yet.
    sqlx::query("DELETE FROM cache_renewals").execute(tx).await.map_err(classify)?;
    Ok(())
}

/// Whether there are tables of an older implementation.
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
            return Err(not_ours(conn, table).await);
        }
        found.push(table);
    }
    match found.first() {
        None => Ok(false),
        Some(_) if found.contains(&"entities") || found.contains(&"audit_logs") => Ok(true),
        Some(table) => Err(not_ours(conn, table).await),
    }
}

async fn rows(conn: &mut Conn, sql: &'static str) -> Result<Vec<Row>> {
    sqlx::query(sql).fetch_all(conn).await.map_err(classify)
}

async fn copy_entities(conn: &mut Conn) -> Result<()> {
    let old = rows(
        conn,
        concat!(
            "SELECT CAST(id AS TEXT) AS id, CAST(name AS TEXT) AS name, CAST(type AS TEXT) AS type, CAST(status AS TEXT) AS status, \
             CAST(parent_id AS TEXT) AS parent_id, CAST(attributes AS TEXT) AS attributes, CAST(created_at AS TEXT) AS created_at, \
             CAST(updated_at AS TEXT) AS updated_at FROM ",
            set_aside!("entities")
        ),
    )
    .await?;
    let mut children = Vec::new();
    for row in &old {
        let texts = Texts::new(row, "entity")?;
        let mut entity = Entity {
            id: texts.id("id")?,
            name: texts.text("name")?,
            entity_type: texts.choice("type")?,
            status: texts.choice("status")?,
            parent_id: texts.optional_id("parent_id")?,
            attributes: texts.object("attributes")?,
            created_at: texts.time("created_at")?,
            updated_at: texts.time("updated_at")?,
        };
        // A child may come before its parent: links are made once all are there.
        let parent = entity.parent_id.take();
        if !entities::insert(&mut *conn, &entity).await? {
            return Err(texts.fault("name", "stands twice for the same type"));
        }
        if parent.is_some() {
            children.push(Entity { parent_id: parent, ..entity });
        }
    }
    let links = children.iter().map(|entity| (entity.id, entity.parent_id)).collect();
    if let [first, others @ ..] = &*hierarchy::cycles(&links) {
        let more = if others.is_empty() { String::new() } else { format!(" (and {} more cycles)", others.len()) };
        let id = first.first().map(ToString::to_string).unwrap_or_default();
        let why = format!("parent_id: is in a cycle: {}{more}; set one of them to null", hierarchy::chain_text(first));
        return Err(refused("entity", &id, why));
    }
    for entity in children {
        entities::update(&mut *conn, &entity).await?;
    }
    Ok(())
}

/// Also those that no role holds.
async fn copy_permissions(conn: &mut Conn) -> Result<()> {
    let mut actions: Vec<String> =
        sqlx::query_scalar(concat!("SELECT CAST(action AS TEXT) FROM ", set_aside!("permissions")))
            .fetch_all(&mut *conn)
            .await
            .map_err(classify)?;
    actions.sort_unstable();
    let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
    roles::ensure_actions(conn, &actions, SystemClock.now()).await
}

async fn copy_roles(conn: &mut Conn, with_permissions: bool) -> Result<()> {
    let old = rows(
        &mut *conn,
        concat!(
            "SELECT CAST(id AS TEXT) AS id, CAST(name AS TEXT) AS name, CAST(description AS TEXT) AS description, \
             CAST(scope_types AS TEXT) AS scope_types, CAST(is_system AS TEXT) AS is_system, CAST(created_at AS TEXT) AS created_at, \
             CAST(updated_at AS TEXT) AS updated_at FROM ",
            set_aside!("roles")
        ),
    )
    .await?;
    for row in &old {
        let texts = Texts::new(row, "role")?;
        let role = Role {
            id: texts.id("id")?,
            name: texts.text("name")?,
            description: texts.get("description")?,
            scope_types: scope_types(&texts)?,
            is_system: matches!(texts.get("is_system")?.as_deref(), Some("true" | "t" | "1")),
            permissions: if with_permissions { actions(&mut *conn, row).await? } else { Vec::new() },
            created_at: texts.time("created_at")?,
            updated_at: texts.time("updated_at")?,
        };
        if !roles::insert(&mut *conn, &role).await? {
            return Err(texts.fault("name", "stands twice"));
        }
        roles::set_actions(&mut *conn, role.id, &role.permissions, role.created_at).await?;
    }
    Ok(())
}

fn scope_types(texts: &Texts<'_>) -> Result<Vec<EntityType>> {
    let given = texts.get("scope_types")?.unwrap_or_else(|| "[]".into());
    let words: Option<Vec<String>> = serde_json::from_str(&given).map_err(|fault| texts.fault("scope_types", fault))?;
    let words = words.unwrap_or_default();
    let types = words.iter().map(|word| EntityType::from_word(&word.to_lowercase()));
    types.collect::<Option<_>>().ok_or_else(|| texts.fault("scope_types", format!("`{given}` holds an unknown type")))
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
    actions.sort_unstable();
    actions.dedup();
    Ok(actions)
}

/// Events keep their state; what is pending is the relay's.
async fn copy_events(conn: &mut Conn) -> Result<()> {
    let old = rows(
        &mut *conn,
        concat!(
            "SELECT CAST(event_id AS TEXT) AS event_id, CAST(id AS TEXT) AS id, CAST(event_type AS TEXT) AS event_type, \
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
        let texts = Texts::new(row, "event")?;
        let attempts = texts.get("delivery_attempts")?.unwrap_or_else(|| "0".into());
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
            delivery_state: texts.choice("delivery_state")?,
            delivery_attempts: attempts.parse().map_err(|fault| texts.fault("delivery_attempts", fault))?,
            last_error: texts.get("last_error")?,
            created_at: texts.time("created_at")?,
            updated_at: texts.time("updated_at")?,
            traceparent: None,
            // The older table does not say which events were its own. Taken as another service's: without flat fields, no
            // consumer acts on one that was forged.
            ingested: true,
        };
        let ordering_key = ordering_key(&event.payload);
        let outgoing = OutboxEvent { event, ordering_key, lease: None };
        if let InsertedEvent::Existing(other) = events::insert(&mut *conn, &outgoing).await? {
            return Err(texts.fault("correlation_id", format!("stands also with event {}", other.event_id)));
        }
    }
    Ok(())
}

async fn copy_ledger(conn: &mut Conn) -> Result<()> {
    let mut head = Head::genesis();
    let (mut former_numbers, mut former_numbers_up_to) = (0_u64, 0);
    let count = concat!("SELECT COUNT(*) FROM ", set_aside!("audit_logs"));
    let mut progress = Progress::begin(&mut *conn, "audit_logs", count).await?;
    loop {
        let before = head.clone();
        let page = sqlx::query(concat!(
            "SELECT CAST(sequence AS TEXT) AS sequence, CAST(previous_hash AS TEXT) AS previous_hash, \
             CAST(entry_hash AS TEXT) AS entry_hash, CAST(hash_version AS TEXT) AS hash_version, \
             CAST(event_id AS TEXT) AS event_id, CAST(source AS TEXT) AS source, CAST(action AS TEXT) AS action, \
             CAST(actor_id AS TEXT) AS actor_id, CAST(actor_type AS TEXT) AS actor_type, \
             CAST(entity_id AS TEXT) AS entity_id, CAST(entity_type AS TEXT) AS entity_type, \
             CAST(correlation_id AS TEXT) AS correlation_id, CAST(details AS TEXT) AS details, \
             CAST(occurred_at AS TEXT) AS occurred_at FROM ",
            set_aside!("audit_logs"),
            " o WHERE o.sequence > $1 ORDER BY o.sequence LIMIT $2"
        ))
        .bind(head.sequence)
        .bind(PAGE)
        .fetch_all(&mut *conn)
        .await
        .map_err(classify)?;
        let mut kept = Vec::with_capacity(page.len());
        for row in &page {
            let entry = OldEntry::read(row, head.sequence + 1, &head.entry_hash)?;
            head.sequence += 1;
            head.entry_hash.clone_from(&entry.entry_hash);
            if entry.former_numbers {
                (former_numbers, former_numbers_up_to) = (former_numbers + 1, entry.sequence);
            }
            kept.push(entry);
        }
        let sealed: Vec<Sealed<'_>> = kept.iter().map(OldEntry::sealed).collect();
        if sealed.is_empty() {
            break;
        }
        if !entries::extend(&mut *conn, &before, &sealed, &head).await? {
            return Err(refused("ledger", "as a whole", "the new ledger is not empty"));
        }
        progress.add(sealed.len());
    }
    progress.report();
    let count: i64 = sqlx::query_scalar(count).fetch_one(&mut *conn).await.map_err(classify)?;
    if count != head.sequence {
        let last = head.sequence;
        let why =
            format!("{count} rows are there, {last} of them in the chain: some have no place, or one that is taken");
        return Err(refused("ledger", "as a whole", why));
    }
    if former_numbers > 0 {
        tracing::warn!(entries = former_numbers, up_to = former_numbers_up_to, "ledger_former_numbers");
        sqlx::query("UPDATE audit_chain_head SET former_numbers_up_to = $1 WHERE id = 1")
            .bind(former_numbers_up_to)
            .execute(&mut *conn)
            .await
            .map_err(classify)?;
    }
    Ok(())
}

/// An entry of the older ledger that was found to be whole.
struct OldEntry {
    sequence: i64,
    previous_hash: String,
    entry_hash: String,
    draft: Draft,
    /// Whether a number is in the form of an earlier version of this program.
    former_numbers: bool,
}

impl OldEntry {
    fn sealed(&self) -> Sealed<'_> {
        Sealed {
            event: &self.draft,
            sequence: self.sequence,
            previous_hash: self.previous_hash.clone(),
            entry_hash: self.entry_hash.clone(),
        }
    }

    /// Reads the row that should be entry `sequence` behind an entry with the hash `last_hash`.
    fn read(row: &Row, sequence: i64, last_hash: &str) -> Result<Self> {
        let texts = Texts::new(row, "ledger entry")?;
        if texts.name != sequence.to_string() {
            return Err(refused(
                "ledger entry",
                &sequence.to_string(),
                format!("is missing, the next one is {}", texts.name),
            ));
        }
        let (previous_hash, entry_hash) = (texts.text("previous_hash")?, texts.text("entry_hash")?);
        if previous_hash != last_hash {
            return Err(texts.fault("previous_hash", format!("is {previous_hash}, the entry before has {last_hash}")));
        }
        if texts.text("hash_version")? != "1" {
            return Err(texts.fault("hash_version", "is not 1"));
        }
        let details = texts.get("details")?.unwrap_or_else(|| "{}".into());
        let mut why = String::new();
        // jsonb writes a large double as an integer: when the entry does not verify as it stands, it may as one.
        for reading in [details.clone(), large_integers_as_doubles(&details)] {
            let details = match Json::parse(reading.as_bytes()) {
                Ok(Json::Object(details)) => details,
                Ok(_) => return Err(texts.fault("details", "are no JSON object")),
                Err(fault) => {
                    why = format!("cannot be kept exactly: {fault}");
                    continue;
                }
            };
            why = format!("do not have the hash {entry_hash}, nor do the other columns");
            let draft = Draft::new(event(&texts, details)?).map_err(|fault| texts.fault("details", fault))?;
            let former = draft.with_former_numbers();
            for (draft, former_numbers) in
                [Some((draft, false)), former.map(|former| (former, true))].into_iter().flatten()
            {
                if draft.hash_at(sequence, &previous_hash) == entry_hash {
                    return Ok(Self { sequence, previous_hash, entry_hash, draft, former_numbers });
                }
            }
        }
        Err(texts.fault("details", why))
    }
}

fn event(texts: &Texts<'_>, details: JsonObject) -> Result<AuditEvent> {
    let optional = |column: &str| texts.get(column);
    Ok(AuditEvent {
        event_id: texts.optional_id("event_id")?,
        source: texts.bounded("source", texts.text("source")?)?,
        action: texts.bounded("action", texts.text("action")?)?,
        actor_id: texts.optional_id("actor_id")?,
        actor_type: texts.bounded("actor_type", texts.text("actor_type")?)?,
        entity_id: texts.optional_id("entity_id")?,
        entity_type: optional("entity_type")?.map(|text| texts.bounded("entity_type", text)).transpose()?,
        correlation_id: optional("correlation_id")?.map(|text| texts.bounded("correlation_id", text)).transpose()?,
        details,
        occurred_at: texts.time("occurred_at")?,
    })
}

/// The same JSON with `.0` behind every integer of 17 digits or more.
fn large_integers_as_doubles(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 16);
    let (mut in_text, mut escaped) = (false, false);
    let mut number = String::new();
    for c in json.chars().chain(['\n']) {
        if !in_text
            && (c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E') && (c == '-' || !number.is_empty()))
        {
            number.push(c);
            continue;
        }
        out.push_str(&number);
        if number.trim_start_matches('-').len() >= 17
            && number.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit())
        {
            out.push_str(".0");
        }
        number.clear();
        out.push(c);
        match c {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            _ => {}
        }
    }
    out
}
