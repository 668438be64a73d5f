//! The explanation of a decision at depth 50, of a principal with 1,000 assignments.

use std::time::Instant;

use axum::body::Bytes;
use axum::http::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::http::Connection;
use crate::report::{Aim, Report};
use crate::scale::Scale;
use crate::server::Server;
use crate::world::World;

const DEPTH: u128 = 50;
const ASSIGNMENTS: usize = 1_000;

/// One caller after the other, each explanation with its entry in the ledger: one principal with an assignment on each
/// level and the others elsewhere, and one whose assignments all are on the path.
pub(crate) async fn explain(scale: &Scale, database: &str, world: &World, report: &mut Report) {
    let (_, action) = world.some_role();
    let chain: Vec<Uuid> = (0..DEPTH).map(|n| Uuid::from_u128(0xdf << 64 | n)).collect();
    let roles: Vec<Uuid> = (0..DEPTH).map(|n| Uuid::from_u128(0xe0 << 64 | n)).collect();
    let [spread, dense] = [0xf4_u128, 0xf5].map(|n| Uuid::from_u128(n << 64 | 1));
    let mut conn = PgConnection::connect(database).await.expect("the database");
    let mut run = async |sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.expect("rows");
    };
    for (n, id) in chain.iter().enumerate() {
        let parent = n.checked_sub(1).map_or_else(|| "NULL".into(), |above| format!("'{}'", chain[above]));
        let values = format!("('{id}', 'explained {n}', 'other', {parent})");
        run(format!("INSERT INTO entities (id, name, type, parent_id) VALUES {values}")).await;
    }
    for (n, id) in roles.iter().enumerate() {
        run(format!(
            "INSERT INTO roles (id, name) VALUES ('{id}', 'explained {n}'); \
             INSERT INTO role_permissions (role_id, permission_id) SELECT '{id}', id FROM permissions \
             WHERE action = '{action}'"
        ))
        .await;
    }
    let assign = |principal: Uuid, role: Uuid, place: Uuid| {
        format!(
            "INSERT INTO role_assignments (id, principal_id, role_id, entity_id, effective_at) \
             VALUES ('{}', '{principal}', '{role}', '{place}', '2026-01-01Z');",
            Uuid::from_u128(rand::random())
        )
    };
    let elsewhere = world.places(ASSIGNMENTS - chain.len()).map(|place| assign(spread, roles[0], place));
    run(chain.iter().map(|place| assign(spread, roles[0], *place)).chain(elsewhere).collect()).await;
    let pairs =
        roles.iter().take(ASSIGNMENTS / chain.len()).flat_map(|role| chain.iter().map(move |place| (role, place)));
    run(pairs.map(|(role, place)| assign(dense, *role, *place)).collect()).await;
    run("ANALYZE".to_owned()).await;

    let server = Server::api(database, &[]).await;
    let mut connection = Connection::to(&server.address).await;
    let rounds = if scale.rounds > 1 { 500 } else { 20 };
    let mut errors = 0;
    for (principal, expected, what) in [
        (spread, chain.len(), "explain p50, depth 50, 1,000 assignments, 50 of them on the path"),
        (dense, ASSIGNMENTS, "explain p50, depth 50, 1,000 assignments on the path"),
    ] {
        let resource = chain[chain.len() - 1];
        let body = json!({"user_id": principal, "action": action, "resource_id": resource}).to_string();
        let mut millis = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let begun = Instant::now();
            let (_, answer) = connection.send(Method::POST, "/api/v1/explain", Bytes::from(body.clone())).await;
            millis.push(begun.elapsed().as_secs_f64() * 1000.0);
            let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
            let listed = answer["assignments"].as_array().map_or(0, Vec::len);
            errors += u64::from(answer["decision"] != true || listed != expected);
        }
        millis.sort_by(f64::total_cmp);
        let p50 = millis[millis.len() / 2];
        if principal == spread {
            report.aim(what, p50, "ms", Aim::AtMost(5.0));
        } else {
            report.say(what, p50, "ms");
        }
    }
    report.errors("explain: wrong or failed answers", errors);
}
