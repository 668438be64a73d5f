//! Checks of the past, and what history costs a change.

use std::time::Instant;

use axum::body::Bytes;
use axum::http::Method;
use epr_core::domain::{Assignment, Entity, EntityType, NewAssignment, NewEntity, NewRole, Revision, Timestamp};
use epr_core::history::{RegistryRow, RowKey, RowVersion};
use epr_core::ledger::chain::Draft;
use epr_core::store::{Appended, Store};
use epr_testkit::database::{Database, DatabaseKind};
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::json;
use uuid::Uuid;

use crate::http::Connection;
use crate::report::{Aim, Report};
use crate::scale::Scale;
use crate::server::Server;

/// Changes in one transaction while the history is made.
const BATCH: usize = 1_000;
/// Entities whose assignments and names change.
const ENTITIES: u128 = 20_000;
/// Principals that hold assignments.
const PRINCIPALS: u128 = 5_000;

pub(crate) async fn measure(scale: &Scale, rng: &mut StdRng, report: &mut Report) {
    let database = Database::create(DatabaseKind::Postgres).await;
    let store = database.store().await;
    let begun = Instant::now();
    let changes = make(&*store, scale.changes, rng).await;
    let rate = ratio(changes.len(), 1) / begun.elapsed().as_secs_f64();
    report.say(format!("history: {} changes appended in batches of {BATCH}", changes.len()), rate, "/s");
    let present = store.registry_state().await.expect("a state").revision;
    store.close().await;
    // The registry as it is after the last change.
    let columns = "id, name, type, status, parent_id, attributes, created_at, updated_at";
    let of_assignments = "id, principal_id, principal_type, role_id, entity_id, effective_at, created_at, updated_at";
    let rows = format!(
        "INSERT INTO entities ({columns}) SELECT {columns} FROM entity_versions WHERE valid_to IS NULL; \
         INSERT INTO roles (id, name) SELECT id, name FROM role_versions; \
         INSERT INTO permissions (action) VALUES ('a:read') ON CONFLICT DO NOTHING; \
         INSERT INTO role_permissions SELECT r.id, p.id FROM roles r JOIN permissions p ON p.action = 'a:read'; \
         INSERT INTO role_assignments ({of_assignments}) SELECT {of_assignments} FROM assignment_versions \
         WHERE valid_to IS NULL ON CONFLICT DO NOTHING"
    );
    database.execute(&rows).await.expect("rows");
    database.execute("VACUUM (ANALYZE)").await.expect("statistics");
    sizes(&database, report).await;

    let server = Server::api(&database.url, &[("EPR_DECISION_CACHE", "false")]).await;
    let mut connection = Connection::to(&server.address).await;
    let rounds = if scale.rounds > 1 { 2_000 } else { 50 };
    let mut errors = 0;
    for (what, newest) in [("check now, evaluated and recorded, p50", true), ("check at a random revision, p50", false)]
    {
        let mut millis = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let (sequence, principal, entity) = changes[rng.random_range(0..changes.len())];
            let mut body = json!({"user_id": principal, "action": "a:read", "resource_id": entity});
            if !newest {
                body["revision"] = Revision { sequence, ..present }.to_string().into();
            }
            let begun = Instant::now();
            let (status, _) = connection.send(Method::POST, "/api/v1/authorize", body.to_string().into()).await;
            millis.push(begun.elapsed().as_secs_f64() * 1000.0);
            errors += u64::from(status != 200);
        }
        millis.sort_by(f64::total_cmp);
        let p50 = millis[millis.len() / 2];
        if newest {
            report.say(format!("history: {what}"), p50, "ms");
        } else {
            report.aim(format!("history: {what}"), p50, "ms", Aim::AtMost(5.0));
            report.say("history: check at a random revision, p99", millis[millis.len() * 99 / 100], "ms");
        }
    }
    // A change with its versions, and the same while history is behind, when none are written.
    for (what, statement) in
        [("with its versions", "SELECT 1"), ("without", "UPDATE history_head SET sequence = sequence - 1")]
    {
        database.execute(statement).await.expect("the right to update");
        let mut millis = Vec::with_capacity(rounds);
        for n in 0..rounds {
            let path = format!("/api/v1/entities/{}", Uuid::from_u128(1 + rng.random_range(0..ENTITIES)));
            let body = json!({"attributes": {"n": n, "text": "some attributes of an entity"}}).to_string();
            let begun = Instant::now();
            let (status, _) = connection.send(Method::PATCH, &path, Bytes::from(body)).await;
            millis.push(begun.elapsed().as_secs_f64() * 1000.0);
            errors += u64::from(status != 200);
        }
        millis.sort_by(f64::total_cmp);
        report.say(format!("history: a change of an entity {what}, p50"), millis[millis.len() / 2], "ms");
    }
    report.errors("history: failed answers", errors);
}

/// Makes a history of `total` changes: entities in a tree four deep that are renamed, and assignments that come and go.
/// Returns the sequence of each assignment with its principal and its entity.
async fn make(store: &dyn Store, total: usize, rng: &mut StdRng) -> Vec<(i64, Uuid, Uuid)> {
    let now = Timestamp::parse("2026-01-01T00:00:00Z").expect("a time");
    let role = NewRole::new("Reader".parse().expect("a name")).permission("a:read".parse().expect("an action"));
    let role = role.into_record(Uuid::from_u128(7), now);
    let mut drafts = vec![draft("role.create", now).with_row(RowVersion::created(role.clone()))];
    let (mut made, mut held): (Vec<(i64, Uuid, Uuid)>, Vec<Assignment>) = (Vec::new(), Vec::new());
    let mut of_batch = vec![None];
    for n in 0..total {
        let at = now.plus_seconds(i64::try_from(n).expect("a count"));
        let number = u128::try_from(n).expect("a count");
        let (version, action, about) = if number < ENTITIES {
            (RowVersion::created(entity(number, at)), "entity.create", None)
        } else {
            match rng.random_range(0..4) {
                0 => {
                    let renamed = RegistryRow::from(entity(rng.random_range(0..ENTITIES), at));
                    (renamed.into(), "entity.update", None)
                }
                1 if held.len() > 1_000 => {
                    let ended = held.swap_remove(rng.random_range(0..held.len()));
                    (RowVersion::ended(RowKey::Assignment(ended.id)), "role_assignment.delete", None)
                }
                _ => {
                    let (principal, on) = (rng.random_range(0..PRINCIPALS), rng.random_range(0..ENTITIES));
                    let new = NewAssignment::new(Uuid::from_u128(principal + 1), role.id).on(Uuid::from_u128(on + 1));
                    let assignment = new.into_record(Uuid::from_u128(rng.random()), at);
                    held.push(assignment.clone());
                    let about = (assignment.principal_id, Uuid::from_u128(on + 1));
                    (RowVersion::created(assignment), "role_assignment.create", Some(about))
                }
            }
        };
        drafts.push(draft(action, at).with_row(version));
        of_batch.push(about);
        if drafts.len() == BATCH || n + 1 == total {
            let mut tx = store.begin().await.expect("a transaction");
            let appended = tx.append(&drafts).await.expect("entries");
            tx.commit().await.expect("a commit");
            for (appended, about) in appended.iter().zip(&of_batch) {
                if let (Appended::Recorded { sequence, .. }, Some((principal, entity))) = (appended, about) {
                    made.push((*sequence, *principal, *entity));
                }
            }
            drafts.clear();
            of_batch.clear();
        }
    }
    made
}

/// Entity `n` of a tree four deep, as it is at `at`.
fn entity(n: u128, at: Timestamp) -> Entity {
    let new = NewEntity::new(format!("entity {n} {at}").parse().expect("a name"), EntityType::Spv);
    let parent_id = (!n.is_multiple_of(4)).then(|| Uuid::from_u128(n));
    Entity { parent_id, ..new.into_record(Uuid::from_u128(n + 1), at) }
}

fn draft(action: &'static str, at: Timestamp) -> Draft {
    Draft::new(epr_core::domain::AuditEvent {
        event_id: None,
        source: "entity_permissions_core".try_into().expect("a source"),
        action: action.try_into().expect("an action"),
        actor_id: None,
        actor_type: "user".try_into().expect("a type"),
        entity_id: None,
        entity_type: None,
        correlation_id: None,
        details: epr_core::domain::json::object([("changes", "of the size of an entry of its kind".into())]),
        occurred_at: at,
    })
    .expect("a draft")
}

/// The bytes that the tables of history and the ledger take for a change, with their indexes.
async fn sizes(database: &Database, report: &mut Report) {
    for (what, tables) in [
        ("entity_versions", "'entity_versions'"),
        ("assignment_versions", "'assignment_versions'"),
        ("audit_logs", "'audit_logs'"),
    ] {
        let bytes = database.number(&format!("SELECT pg_total_relation_size({tables})")).await;
        let rows = database.number(&format!("SELECT COUNT(*) FROM {what}")).await;
        let each = ratio(usize::try_from(bytes).expect("bytes"), usize::try_from(rows).expect("rows"));
        report.say(format!("history: bytes for a row of {what}, with indexes"), each, "bytes");
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts and bytes")]
fn ratio(of: usize, by: usize) -> f64 {
    of as f64 / by.max(1) as f64
}
