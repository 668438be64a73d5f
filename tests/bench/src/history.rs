//! Checks of the past beside the same checks of the present, and what history costs a change.

use std::time::Instant;

use axum::body::Bytes;
use axum::http::Method;
use epr_core::clock::{Clock as _, SystemClock};
use epr_core::decision::Question;
use epr_core::domain::{Moment, Revision};
use epr_core::store::Store;
use epr_testkit::database::{Database, DatabaseKind};
use hdrhistogram::Histogram;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::json;

use crate::history_world::{self, ACTION, BATCH, ENTITIES, Past, PastQuestion, entity_id};
use crate::http::Connection;
use crate::report::{Aim, Report};
use crate::scale::Scale;
use crate::server::Server;
use crate::world::tidy;

/// The tables of history whose rows changes write.
const TABLES: [&str; 5] =
    ["entity_versions", "role_versions", "role_permission_versions", "assignment_versions", "principal_versions"];

pub(crate) async fn measure(scale: &Scale, rng: &mut StdRng, report: &mut Report) {
    let database = Database::create(DatabaseKind::Postgres).await;
    let store = database.store().await;
    let begun = Instant::now();
    let past = history_world::make(&*store, scale.changes, rng, true).await;
    let rate = count(past.changes) / begun.elapsed().as_secs_f64();
    report.say("history: changes", count(past.changes), "");
    report.say(format!("history: changes appended in batches of {BATCH}"), rate, "/s");
    present_rows(&database).await;
    tidy(&database).await;
    sizes(&database, past.changes, report).await;
    let rounds = if scale.rounds > 1 { 2_000 } else { 50 };
    facts(&*store, &past, rounds, rng, report).await;
    store.close().await;
    checks(&database, &past, rounds, rng, report).await;
    changes(&database, rounds, rng, report).await;
    in_batches(scale, rng, report).await;
}

/// Puts the rows into the registry that are there after the last change.
async fn present_rows(database: &Database) {
    let of_entities = "id, name, type, status, parent_id, attributes, created_at, updated_at";
    let of_roles = "id, name, description, scope_types, is_system, created_at, updated_at";
    let of_assignments = "id, principal_id, principal_type, role_id, entity_id, effective_at, created_at, updated_at";
    let rows = format!(
        "INSERT INTO entities ({of_entities}) SELECT {of_entities} FROM entity_versions WHERE valid_to IS NULL; \
         INSERT INTO roles ({of_roles}) SELECT {of_roles} FROM role_versions WHERE valid_to IS NULL; \
         INSERT INTO permissions (action) VALUES ('{ACTION}') ON CONFLICT DO NOTHING; \
         INSERT INTO role_permissions SELECT r.id, p.id FROM roles r JOIN permissions p ON p.action = '{ACTION}'; \
         INSERT INTO role_assignments ({of_assignments}) SELECT {of_assignments} FROM assignment_versions \
         WHERE valid_to IS NULL"
    );
    database.execute(&rows).await.expect("rows");
}

/// The bytes that a change takes in the ledger and in history, with their indexes.
async fn sizes(database: &Database, changes: usize, report: &mut Report) {
    let size = async |tables: &[&str]| {
        let sum: Vec<String> = tables.iter().map(|table| format!("pg_total_relation_size('{table}')")).collect();
        bytes(database.number(&format!("SELECT {}", sum.join(" + "))).await)
    };
    for table in ["entity_versions", "assignment_versions"] {
        let rows = bytes(database.number(&format!("SELECT COUNT(*) FROM {table}")).await);
        report.say(format!("history: a row of {table}, with indexes"), size(&[table]).await / rows, "bytes");
    }
    let (ledger, history) = (size(&["audit_logs"]).await, size(&TABLES).await);
    report.say("history: a change without its versions (the ledger)", ledger / count(changes), "bytes");
    report.say("history: a change with its versions", (ledger + history) / count(changes), "bytes");
    report.say("history: versions / ledger", history / ledger, "%");
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("a minute at most")
}

fn record(times: &mut Histogram<u64>, begun: Instant) {
    times.saturating_record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
}

#[allow(clippy::cast_precision_loss, reason = "microseconds")]
fn micros(times: &Histogram<u64>, share: f64) -> f64 {
    times.value_at_quantile(share) as f64
}

/// Facts from the store, now and at random revisions, in turn.
async fn facts(store: &dyn Store, past: &Past, rounds: usize, rng: &mut StdRng, report: &mut Report) {
    let present = store.registry_state().await.expect("a state").revision;
    let question =
        |asked: &PastQuestion| Question::new(asked.principal, ACTION.try_into().expect("an action"), asked.resource);
    let now = SystemClock.now();
    let mut current = histogram();
    let mut earlier = histogram();
    // The first tenth fills the caches of the database and is not counted.
    for round in 0..rounds + rounds / 10 {
        let (asked, asked_now) = (past.question(rng), past.question_now(rng));
        let moment = Moment::revision(Revision { sequence: asked.sequence, ..present });
        let begun = Instant::now();
        let of_now = store.facts(&[question(&asked_now)]).await.expect("facts").facts;
        if round >= rounds / 10 {
            record(&mut current, begun);
        }
        let begun = Instant::now();
        let (_, of_then) = store.past_facts(&question(&asked), moment, now).await.expect("facts");
        if round >= rounds / 10 {
            record(&mut earlier, begun);
        }
        assert!(of_now[0].is_some() && of_then.is_some(), "an entity that exists");
    }
    let [p50_now, p50] = [&current, &earlier].map(|times| micros(times, 0.5));
    report.say("history: facts now, p50", p50_now, "µs");
    report.say("history: facts at a random revision, p50", p50, "µs");
    report.aim("history: facts at a random revision / now", p50 / p50_now, "x", Aim::AtMost(2.0));
}

/// Checks over HTTP, evaluated from the database and recorded, now and at random revisions, in turn.
async fn checks(database: &Database, past: &Past, rounds: usize, rng: &mut StdRng, report: &mut Report) {
    let server = Server::api(&database.url, &[("EPR_DECISION_CACHE", "false"), ("EPR_GRAPH", "off")]).await;
    let mut connection = Connection::to(&server.address).await;
    let present = {
        let store = database.store().await;
        let present = store.registry_state().await.expect("a state").revision;
        store.close().await;
        present
    };
    let mut times: [Histogram<u64>; 3] = std::array::from_fn(|_| histogram());
    let mut errors = 0;
    for round in 0..rounds + rounds / 10 {
        for (kind, times) in times.iter_mut().enumerate() {
            let asked = if kind == 0 { past.question_now(rng) } else { past.question(rng) };
            let mut body = json!({"user_id": asked.principal, "action": ACTION, "resource_id": asked.resource});
            match kind {
                1 => body["revision"] = Revision { sequence: asked.sequence, ..present }.to_string().into(),
                2 => body["at"] = past.time(rng).to_string().into(),
                _ => {}
            }
            let begun = Instant::now();
            let (status, answer) = connection.send(Method::POST, "/api/v1/authorize", body.to_string().into()).await;
            if round >= rounds / 10 {
                record(times, begun);
            }
            let right = if asked.expected { "true" } else { "false" };
            // Which entry a random time names is not known here.
            let is_right = status == 200 && (kind == 2 || String::from_utf8_lossy(&answer).contains(right));
            errors += u64::from(!is_right);
        }
    }
    let [current, by_revision, by_time] = times;
    let millis = |times: &Histogram<u64>, share: f64| micros(times, share) / 1000.0;
    report.say("history: check now, evaluated and recorded, p50", millis(&current, 0.5), "ms");
    report.say("history: check now, p99", millis(&current, 0.99), "ms");
    report.aim("history: check at a random revision, p50", millis(&by_revision, 0.5), "ms", Aim::AtMost(5.0));
    report.say("history: check at a random revision, p99", millis(&by_revision, 0.99), "ms");
    report.aim("history: check at a random time, p50", millis(&by_time, 0.5), "ms", Aim::AtMost(5.0));
    report.say("history: check at a random time, p99", millis(&by_time, 0.99), "ms");
    let ratio = micros(&by_revision, 0.5) / micros(&current, 0.5);
    report.aim("history: check at a random revision / now, p50", ratio, "x", Aim::AtMost(2.0));
    report.errors("history: wrong or failed answers", errors);
}

/// A change over HTTP with its versions, and the same while history is behind, when none are written.
async fn changes(database: &Database, rounds: usize, rng: &mut StdRng, report: &mut Report) {
    let server = Server::api(&database.url, &[]).await;
    let mut connection = Connection::to(&server.address).await;
    let mut p50 = Vec::new();
    let mut errors = 0;
    for statement in ["SELECT 1", "UPDATE history_head SET sequence = sequence - 1"] {
        database.execute(statement).await.expect("the right to update");
        let mut times = histogram();
        for n in 0..rounds {
            let path = format!("/api/v1/entities/{}", entity_id(rng.random_range(0..ENTITIES)));
            let body = json!({"attributes": {"n": n, "text": "some attributes of an entity"}}).to_string();
            let begun = Instant::now();
            let (status, _) = connection.send(Method::PATCH, &path, Bytes::from(body)).await;
            record(&mut times, begun);
            errors += u64::from(status != 200);
        }
        p50.push(micros(&times, 0.5));
    }
    report.say("history: a change of an entity with its versions, p50", p50[0], "µs");
    report.say("history: a change of an entity without, p50", p50[1], "µs");
    report.errors("history: failed changes", errors);
}

/// The time of a change in a batch, with versions and without: what history adds under the ledger's lock.
async fn in_batches(scale: &Scale, rng: &mut StdRng, report: &mut Report) {
    let total = scale.changes / 10;
    let mut each = Vec::new();
    for with_rows in [true, false] {
        let database = Database::create(DatabaseKind::Postgres).await;
        let store = database.store().await;
        let begun = Instant::now();
        history_world::make(&*store, total, rng, with_rows).await;
        each.push(begun.elapsed().as_secs_f64() * 1e6 / count(total));
        store.close().await;
    }
    report.say(format!("history: a change in batches of {BATCH} with its versions"), each[0], "µs");
    report.say(format!("history: a change in batches of {BATCH} without"), each[1], "µs");
}

#[allow(clippy::cast_precision_loss, reason = "a count")]
fn count(number: usize) -> f64 {
    number as f64
}

#[allow(clippy::cast_precision_loss, reason = "bytes")]
fn bytes(number: i64) -> f64 {
    number as f64
}
