//! The warm check of assignments with conditions, whose residual is cached, beside that of assignments without.

use std::fmt::Write as _;

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::http::Script;
use crate::load::middle;
use crate::report::{Aim, Report};
use crate::scale::Scale;
use crate::server::Server;
use crate::world::World;

/// Cached; decisions that are not cached yet are not recorded, so that the ledger does not grow between measurements.
const WARM: [(&str, &str); 1] = [("EPR_AUDIT_DECISIONS", "off")];
/// Different questions of each kind.
const QUESTIONS: u128 = 1000;

/// The conditions of the three assignments of a principal, of which the last is true.
fn conditions() -> [String; 3] {
    let amount = json!({"amount": "int"});
    [
        json!({"expression": "context.amount <= 1000 && resource.attributes.country == 'DE'", "parameters": amount}),
        json!({"expression": "principal.type == 'service' || resource.attributes.country == 'FR'", "parameters": {}}),
        json!({
            "expression": "context.amount <= 10000 && now < timestamp('2999-01-01T00:00:00Z')", "parameters": amount
        }),
    ]
    .map(|condition| condition.to_string())
}

/// The principal of a question; half of them have conditions.
fn principal(n: u128, conditional: bool) -> Uuid {
    Uuid::from_u128(if conditional { 0xc1 } else { 0xc0 } << 64 | n)
}

pub(crate) async fn measure(scale: &Scale, database: &str, world: &World, report: &mut Report) {
    let (role, action) = world.some_role();
    let chain: Vec<Uuid> = (0..3).map(|n| Uuid::from_u128(0xce << 64 | n)).collect();
    load(database, role, &chain).await;
    let script = |conditional: bool| {
        let body = |n| {
            let mut body = json!({"user_id": principal(n, conditional), "action": action, "resource_id": chain[2]});
            if conditional {
                body["context"] = json!({"amount": 9000});
            }
            (body.to_string().into(), &b"true"[..])
        };
        Script::authorize((0..QUESTIONS).map(body).collect())
    };
    let [plain, conditional] = [script(false), script(true)];
    let server = Server::cached(database, &WARM).await;
    let mut errors = plain.once(&server.address).await + conditional.once(&server.address).await;
    let [mut without, mut with] = [const { Vec::new() }; 2];
    for _ in 0..scale.rounds {
        without.push(plain.run(&server.address, scale.span).await);
        with.push(conditional.run(&server.address, scale.span).await);
    }
    let [without, with] = [middle(&without), middle(&with)];
    errors += without.errors + with.errors;
    report.say("warm check, three assignments", without.rate, "req/s");
    report.say("warm check, three conditional assignments (residual)", with.rate, "req/s");
    report.say("warm check, three conditional assignments, p99", with.millis(0.99), "ms");
    let what = "warm check, three conditional assignments / three assignments";
    report.aim(what, with.rate / without.rate, "%", Aim::AtLeast(0.6));
    report.errors("conditions: wrong or failed answers", errors);
}

/// A chain of three entities, and principals with an assignment on each, with and without conditions.
async fn load(database: &str, role: Uuid, chain: &[Uuid]) {
    let mut sql = String::new();
    let mut above = "NULL".to_owned();
    for (n, id) in chain.iter().enumerate() {
        let _ = write!(
            sql,
            "INSERT INTO entities (id, name, type, parent_id, attributes) \
             VALUES ('{id}', 'conditions {n}', 'other', {above}, '{{\"country\":\"DE\",\"ref\":{n}}}');"
        );
        above = format!("'{id}'");
    }
    for (entity, condition) in chain.iter().zip(conditions()) {
        for (first, condition) in [
            (principal(0, false), "NULL".to_owned()),
            (principal(0, true), format!("'{}'", condition.replace('\'', "''"))),
        ] {
            let start = first.simple().to_string();
            let start = start.split_at(16).0;
            let _ = write!(
                sql,
                "INSERT INTO role_assignments (id, principal_id, role_id, entity_id, effective_at, condition) \
                 SELECT gen_random_uuid(), CAST('{start}' || lpad(to_hex(n), 16, '0') AS uuid), '{role}', '{entity}', \
                        '2026-01-01Z', {condition} FROM generate_series(0, {}) n;",
                QUESTIONS - 1
            );
        }
    }
    sql += "ANALYZE role_assignments;";
    let mut conn = PgConnection::connect(database).await.expect("the database");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.expect("rows");
}
