//! A tour of the API over HTTP: whether a service does what callers need most.

use serde_json::{Value, json};
use uuid::Uuid;

/// Sends `body` to a path of the API; returns the status and the answer.
pub async fn post(base: &str, path: &str, body: Value) -> (u16, Value) {
    let sent = reqwest::Client::new().post(format!("{base}/api/v1{path}")).json(&body).send().await.unwrap();
    (sent.status().as_u16(), sent.json().await.unwrap())
}

/// Creates, grants, checks, revokes and checks again, with names and a principal that belong to `n`.
pub async fn tour(base: &str, n: u64) {
    let entity = post(base, "/entities", json!({"name": format!("Café {n}"), "type": "spv"})).await;
    assert_eq!(entity.0, 201, "{entity:?}");
    let role = post(base, "/roles", json!({"name": format!("role {n}"), "permissions": ["document:download"]})).await;
    assert_eq!(role.0, 201, "{role:?}");
    let user = Uuid::from_u128(u128::from(n) + 1).to_string();
    let grant = json!({"principal_id": user, "role_id": role.1["id"], "entity_id": entity.1["id"]});
    let grant = post(base, "/assignments", grant).await;
    assert_eq!(grant.0, 201, "{grant:?}");
    let check = json!({"user_id": user, "action": "document:download", "resource_id": entity.1["id"]});
    assert_eq!(post(base, "/authorize", check.clone()).await, (200, json!({"authorized": true})));
    let url = format!("{base}/api/v1/assignments/{}", grant.1["id"].as_str().unwrap());
    assert_eq!(reqwest::Client::new().delete(url).send().await.unwrap().status(), 200);
    assert_eq!(post(base, "/authorize", check).await, (200, json!({"authorized": false})));
}
