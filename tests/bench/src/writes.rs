//! Changes of the registry: new assignments per second with 1, 8 and 32 clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{Method, StatusCode};
use rand::rngs::StdRng;
use serde_json::json;
use uuid::Uuid;

use crate::http::Connection;
use crate::load::{Caller, at_once, middle};
use crate::report::Report;
use crate::scale::Scale;
use crate::server::Server;
use crate::world::World;

const CLIENTS: [usize; 3] = [1, 8, 32];

/// A client that assigns a role to a new principal, again and again.
struct Assigning {
    connection: Connection,
    role: Uuid,
    entities: Arc<Vec<Uuid>>,
    /// The principals so far, of all clients in all rounds: their random numbers repeat from round to round.
    principals: Arc<AtomicU64>,
}

impl Caller for Assigning {
    async fn ask(&mut self, rng: &mut StdRng) -> bool {
        use rand::Rng as _;
        let entity = self.entities[rng.random_range(0..self.entities.len())];
        let principal = Uuid::from_u64_pair(0xa551_0000_0000_4000, self.principals.fetch_add(1, Ordering::Relaxed));
        let body = json!({"principal_id": principal, "role_id": self.role, "entity_id": entity}).to_string();
        let (status, _) = self.connection.send(Method::POST, "/api/v1/assignments", body.into()).await;
        status == StatusCode::CREATED
    }
}

pub(crate) async fn measure(scale: &Scale, database: &str, world: &World, report: &mut Report) {
    let server = Server::cached(database, &[]).await;
    let (role, _) = world.some_role();
    let entities = Arc::new(world.places(1000).collect::<Vec<_>>());
    let principals = Arc::new(AtomicU64::new(0));
    let mut measured = [const { Vec::new() }; CLIENTS.len()];
    for _ in 0..scale.rounds {
        for (clients, all) in CLIENTS.iter().zip(&mut measured) {
            let mut callers = Vec::with_capacity(*clients);
            for _ in 0..*clients {
                let connection = Connection::to(&server.address).await;
                let (entities, principals) = (Arc::clone(&entities), Arc::clone(&principals));
                callers.push(Assigning { connection, role, entities, principals });
            }
            all.push(at_once(callers, scale.span).await);
        }
    }
    let measured = measured.map(|all| middle(&all));
    let mut errors = 0;
    for (clients, one) in CLIENTS.iter().zip(&measured) {
        report.say(format!("new assignments, {clients} clients"), one.rate, "/s");
        report.say(format!("new assignment, {clients} clients, p50"), one.millis(0.5), "ms");
        errors += one.errors;
    }
    let [single, .., many] = &measured;
    report.say("new assignments, 32 clients / 1 client", many.rate / single.rate, "x");
    report.errors("writes: failed answers", errors);
}
