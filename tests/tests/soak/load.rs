//! Sixty-four clients mix mutations and checks for a minute: no 5xx, a ledger without a gap, a whole chain.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::audit_verify;
use epr_testkit::process::Process;
use epr_testkit::seed;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::{Client, Method};
use rstest::rstest;
use serde_json::{Value, json};

const CLIENTS: usize = 64;
const LOAD: Duration = Duration::from_mins(1);

struct Shared {
    client: Client,
    base: String,
    entities: Vec<String>,
    roles: Vec<String>,
}

impl Shared {
    async fn send(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let response =
            self.client.request(method, format!("{}{path}", self.base)).json(body).send().await.expect("an answer");
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }

    /// One random call; gives its status.
    async fn step(&self, rng: &mut StdRng, own: &mut Vec<String>) -> u16 {
        let entity = self.entities[rng.random_range(0..self.entities.len())].clone();
        let role = self.roles[rng.random_range(0..self.roles.len())].clone();
        let user = uuid::Uuid::from_u128(rng.random_range(1..50)).to_string();
        match rng.random_range(0..100) {
            0..60 => {
                self.send(
                    Method::POST,
                    "/api/v1/authorize",
                    &json!({"user_id": user, "action": "a:read", "resource_id": entity}),
                )
                .await
                .0
            }
            60..70 => {
                let name = format!("{:x}", rng.random::<u64>());
                self.send(Method::POST, "/api/v1/entities", &json!({"name": name, "type": "spv", "parent_id": entity}))
                    .await
                    .0
            }
            70..80 => {
                let body = json!({"principal_id": user, "role_id": role, "entity_id": entity});
                let (status, made) = self.send(Method::POST, "/api/v1/assignments", &body).await;
                own.extend(made["id"].as_str().map(str::to_owned));
                status
            }
            80..88 => match own.pop() {
                Some(id) => self.send(Method::DELETE, &format!("/api/v1/assignments/{id}"), &Value::Null).await.0,
                None => 200,
            },
            88..93 => {
                let actions = if rng.random() { json!(["a:read"]) } else { json!(["a:read", "a:write"]) };
                self.send(Method::PATCH, &format!("/api/v1/roles/{role}"), &json!({"permissions": actions})).await.0
            }
            93..98 => {
                let parent = self.entities[rng.random_range(0..self.entities.len())].clone();
                self.send(Method::PATCH, &format!("/api/v1/entities/{entity}"), &json!({"parent_id": parent})).await.0
            }
            _ => self.send(Method::POST, &format!("/api/v1/entities/{entity}/archive"), &Value::Null).await.0,
        }
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_of_load_ends_without_5xx_and_with_a_whole_chain(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("a_minute_of_load");
    let database = Database::create(kind).await;
    let environment =
        [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_LOG_LEVEL", "WARNING"), ("EPR_DATABASE_POOL_SIZE", "20")];
    let (process, base) = Process::api_at(&environment).await;
    let mut shared = Shared { client: Client::new(), base, entities: Vec::new(), roles: Vec::new() };
    for n in 0..20 {
        let made = shared
            .send(Method::POST, "/api/v1/entities", &json!({"name": format!("root {n}"), "type": "issuer"}))
            .await
            .1;
        shared.entities.push(made["id"].as_str().unwrap().to_owned());
    }
    for n in 0..5 {
        let made = shared
            .send(Method::POST, "/api/v1/roles", &json!({"name": format!("role {n}"), "permissions": ["a:read"]}))
            .await
            .1;
        shared.roles.push(made["id"].as_str().unwrap().to_owned());
    }
    let shared = std::sync::Arc::new(shared);
    let end = Instant::now() + LOAD;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (shared, mut rng) = (shared.clone(), StdRng::from_rng(&mut rng));
            tokio::spawn(async move {
                let mut counts = BTreeMap::<u16, u64>::new();
                let mut own = Vec::new();
                while Instant::now() < end {
                    *counts.entry(shared.step(&mut rng, &mut own).await).or_default() += 1;
                }
                counts
            })
        })
        .collect();
    let mut counts = BTreeMap::<u16, u64>::new();
    for client in clients {
        for (status, count) in client.await.unwrap() {
            *counts.entry(status).or_default() += count;
        }
    }
    println!("{kind:?}: answers by status in {LOAD:?}: {counts:?}");
    assert!(counts.keys().all(|status| *status < 500), "{counts:?}");
    assert!(counts[&200] > 0 && counts[&201] > 0);
    assert_eq!(process.terminate().await.0.code(), Some(0));
    let (code, report) = audit_verify(&database.url, &[]).await;
    assert_eq!(code, 0, "{report}");
    let entries = database.number("SELECT COUNT(*) FROM audit_logs").await;
    assert_eq!(
        (report["checked"].as_i64(), database.number("SELECT MAX(sequence) FROM audit_logs").await),
        (Some(entries), entries)
    );
    println!("{kind:?}: {entries} ledger entries verified");
}
