//! Create an entity and a role, assign it, check. Needs reqwest with `json`, rand, `serde_json`, tokio and uuid.
//! Usage: cargo run -p epr-tests --example check [URL]    `EPR_TOKEN` is sent as bearer token where it is set.

use serde_json::{Value, json};
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

async fn call(path: &str, body: Value) -> Outcome<Value> {
    let base = std::env::args().nth(1).unwrap_or_else(|| "http://localhost:8080".into());
    let mut request = reqwest::Client::new().post(base + path).json(&body);
    if let Ok(token) = std::env::var("EPR_TOKEN") {
        request = request.bearer_auth(token);
    }
    Ok(request.send().await?.error_for_status()?.json().await?)
}

async fn allowed(user: Uuid, action: &str, resource: &Value) -> Outcome<bool> {
    let question = json!({"user_id": user, "action": action, "resource_id": resource});
    Ok(call("/api/v1/authorize", question).await?["authorized"] == true)
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let (user, name) = (Uuid::from_u128(rand::random()), Uuid::from_u128(rand::random()));
    let issuer = call("/api/v1/entities", json!({"name": format!("Acme {name}"), "type": "issuer"})).await?;
    let spv = json!({"name": format!("Berlin {name}"), "type": "spv", "parent_id": issuer["id"]});
    let spv = call("/api/v1/entities", spv).await?;
    let role = json!({"name": format!("Reader {name}"), "permissions": ["document:download"]});
    let role = call("/api/v1/roles", role).await?;
    println!("before: {}", allowed(user, "document:download", &spv["id"]).await?);
    let held = json!({"principal_id": user, "role_id": role["id"], "entity_id": issuer["id"]});
    call("/api/v1/assignments", held).await?;
    println!("after: {}", allowed(user, "document:download", &spv["id"]).await?);
    Ok(())
}
