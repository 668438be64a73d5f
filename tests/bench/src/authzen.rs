//! Batches of AuthZEN with 1,000 items, in the names of another system, one call after the other.

use std::time::Instant;

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::http::Connection;
use crate::report::{Aim, Report};
use crate::scale::Scale;
use crate::server::Server;
use crate::world::World;

/// The items of a batch.
const ITEMS: usize = 1000;
/// Batches of each kind for each round.
const BATCHES: usize = 40;

/// A batch, and the right decisions.
struct Batch {
    body: Bytes,
    expected: Vec<bool>,
}

impl Batch {
    /// The body `request` with the items and the decisions of `items`.
    fn new(mut request: Value, items: Vec<(Value, bool)>) -> Self {
        let (items, expected): (Vec<_>, _) = items.into_iter().unzip();
        request["evaluations"] = items.into();
        Self { body: request.to_string().into(), expected }
    }

    /// Whether the answer has exactly the right decisions.
    fn is_right(&self, status: StatusCode, answer: &[u8]) -> bool {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let decisions = answer["evaluations"].as_array().into_iter().flatten();
        status == StatusCode::OK
            && decisions.map(|one| one["decision"].as_bool()).eq(self.expected.iter().copied().map(Some))
    }
}

pub(crate) async fn measure(
    scale: &Scale,
    database: &str,
    world: &World,
    rng: &mut rand::rngs::StdRng,
    report: &mut Report,
) {
    let mut conn = PgConnection::connect(database).await.expect("the database");
    // Ids of another system for everything: a batch has to find the ids behind 1,000 names.
    // Triggers off: nobody has to hear of it.
    for sql in [
        "SET session_replication_role = replica",
        "UPDATE entities SET external_id = 'e|' || id",
        "VACUUM ANALYZE entities",
    ] {
        sqlx::raw_sql(sql).execute(&mut conn).await.expect("names of entities");
    }
    sqlx::query(
        "INSERT INTO principals (id, type, external_id) SELECT id, 'user', 'u|' || id FROM unnest($1) AS known(id)",
    )
    .bind(world.principals())
    .execute(&mut conn)
    .await
    .expect("names of principals");
    sqlx::raw_sql("ANALYZE principals").execute(&mut conn).await.expect("statistics");
    let subject = |id: uuid::Uuid| json!({"type": "user", "id": format!("u|{id}")});
    let resource = |id: uuid::Uuid, kind: &str| json!({"type": kind, "id": format!("e|{id}")});
    let one = world.questions_of_one(ITEMS, rng);
    let (principal, action) = (one[0].0.principal, one[0].0.action.clone());
    let items = one.iter().map(|(asked, kind)| (json!({"resource": resource(asked.resource, kind)}), asked.expected));
    let page = Batch::new(json!({"subject": subject(principal), "action": {"name": action}}), items.collect());
    let items = world.typed_questions(ITEMS, rng).into_iter().map(|(asked, kind)| {
        let item = json!({"subject": subject(asked.principal), "action": {"name": asked.action},
            "resource": resource(asked.resource, kind)});
        (item, asked.expected)
    });
    let mixed = Batch::new(json!({}), items.collect());
    let mut errors = 0;
    for (what, environment, aim) in [
        ("warm", &[][..], Some(Aim::AtMost(20.0))),
        ("warm, each decision recorded", &[("EPR_AUDIT_DECISIONS", "every")], None),
        ("from the database, each decision recorded", &[("EPR_DECISION_CACHE", "false"), ("EPR_GRAPH", "off")], None),
        (
            "from the database",
            &[("EPR_DECISION_CACHE", "false"), ("EPR_AUDIT_DECISIONS", "off"), ("EPR_GRAPH", "off")],
            None,
        ),
    ] {
        let server = match environment {
            [("EPR_DECISION_CACHE", _), ..] => Server::api(database, environment).await,
            _ => Server::cached(database, environment).await,
        };
        let mut connection = Connection::to(&server.address).await;
        for (batch, kind) in [(&page, "one subject on 1,000 resources"), (&mixed, "1,000 different questions")] {
            let mut millis = Vec::new();
            for n in 0..=BATCHES * scale.rounds {
                let begun = Instant::now();
                let (status, answer) =
                    connection.send(Method::POST, "/access/v1/evaluations", batch.body.clone()).await;
                // The first one fills the cache.
                if n > 0 {
                    millis.push(begun.elapsed().as_secs_f64() * 1000.0);
                }
                errors += u64::from(!batch.is_right(status, &answer));
            }
            millis.sort_by(f64::total_cmp);
            let (name, p50) = (format!("AuthZEN batch, {kind}, {what}, p50"), millis[millis.len() / 2]);
            match aim {
                Some(aim) => report.aim(name, p50, "ms", aim),
                None => report.say(name, p50, "ms"),
            }
        }
    }
    report.errors("AuthZEN: wrong or failed batches", errors);
}
