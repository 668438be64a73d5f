//! A library of others behind the bare handler of the bench: `bench-peers cedar|casbin|spicedb WORLD [LIBRARY]` loads a
//! world, prints its address and serves checks until it is killed.
//!
//! It must never measure anything: `bench` in ../src starts it, asks it and compares its answers with EPR's.

mod casbin;
mod cedar;
mod spicedb;
mod world;

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::casbin::Casbin;
use crate::cedar::Cedar;
use crate::spicedb::SpiceDb;
use crate::world::World;

/// The allocator of the service.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A library with a world loaded.
trait Peer: Send + Sync + 'static {
    /// Whether a check can take so long that it would stop the other requests of its thread.
    const BLOCKS: bool = false;

    /// Whether the user may take the action on the resource.
    fn check(&self, user: Uuid, action: &str, resource: Uuid) -> bool;
}

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

async fn answer<P: Peer>(State(peer): State<Arc<P>>, Json(question): Json<Question>) -> Json<Answer> {
    let decide = move || {
        // The principals of the world are users.
        question.principal_type.as_deref().is_none_or(|kind| kind == "user")
            && peer.check(question.user_id, &question.action, question.resource_id)
    };
    let authorized = if P::BLOCKS { tokio::task::spawn_blocking(decide).await.expect("an answer") } else { decide() };
    Json(Answer { authorized })
}

async fn serve(peer: impl Peer) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let router = Router::new().route("/api/v1/authorize", post(answer)).with_state(Arc::new(peer));
    axum::serve(listener, router).await.expect("a server");
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().unwrap_or_else(|| panic!("{what} is missing"));
    let library = next("a library");
    let world = World::read(&next("the file of a world"));
    match library.as_str() {
        "cedar" => serve(Cedar::load(&world)).await,
        "casbin" => serve(Casbin::load(&world).await).await,
        "spicedb" => serve(SpiceDb::load(&world, &next("the file of SpiceDB's library"))).await,
        other => panic!("`{other}` is no library of this program"),
    }
}
