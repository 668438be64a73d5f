//! The yardsticks: a bare axum handler for the same JSON, and the same SQL without a service.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use epr_core::store::postgres;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::load::{Caller, popular};
use crate::world::Asked;

#[derive(Deserialize)]
struct Question {
    user_id: Uuid,
    action: String,
    resource_id: Uuid,
    principal_type: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    authorized: bool,
}

async fn answer(Json(question): Json<Question>) -> Json<Answer> {
    // Something that depends on all of it, so that none of it can be left out.
    let kind = question.principal_type.as_deref().unwrap_or("user");
    Json(Answer { authorized: question.user_id != question.resource_id && question.action != kind })
}

/// Answers after the statement of a check.
async fn answer_from(State(pool): State<sqlx::PgPool>, Json(question): Json<Question>) -> Json<Answer> {
    let kind = question.principal_type.as_deref().unwrap_or("user");
    let rows = rows(&pool, question.resource_id, question.user_id, kind, &question.action).await.expect("rows");
    Json(Answer { authorized: rows > 1 })
}

async fn rows(pool: &sqlx::PgPool, resource: Uuid, principal: Uuid, kind: &str, action: &str) -> sqlx::Result<usize> {
    let query = sqlx::query(postgres::CHECK).bind(resource).bind(principal).bind(kind).bind(action);
    Ok(query.fetch_all(pool).await?.len())
}

/// A connection pool with the service's settings.
pub(crate) fn pool(database: &str) -> sqlx::PgPool {
    postgres::bare_pool(database, &postgres::Options::default()).expect("a pool")
}

/// Serves until it is killed, with a database or without; prints its address first. A process of its own, as the
/// service is.
pub(crate) async fn serve(database: Option<&str>) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let router = match database {
        None => Router::new().route("/api/v1/authorize", post(answer)),
        Some(database) => Router::new().route("/api/v1/authorize", post(answer_from)).with_state(pool(database)),
    };
    axum::serve(listener, router).await.expect("a server");
}

/// The statement behind every check, on a pool like the service's.
pub(crate) struct Sql {
    pub(crate) pool: sqlx::PgPool,
    pub(crate) asked: Arc<Vec<Asked>>,
}

impl Caller for Sql {
    async fn ask(&mut self, rng: &mut StdRng) -> bool {
        let asked = popular(&self.asked, rng);
        rows(&self.pool, asked.resource, asked.principal, "user", &asked.action).await.is_ok_and(|rows| rows > 0)
    }
}
