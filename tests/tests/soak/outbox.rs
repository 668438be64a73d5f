//! A thousand entities are archived by sixteen clients, while the topic is taken away and brought back and the API is
//! killed with -9 ten times: in the end the queue has every event, those of one entity in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use epr_testkit::aws::{self, Topic};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::audit_verify;
use epr_testkit::process::Process;
use epr_testkit::seed;
use rand::Rng as _;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::{Mutex, Notify, RwLock};

const ENTITIES: usize = 1000;
const CLIENTS: usize = 16;
const KILLS: usize = 10;

/// One entity's way: a role is assigned on it, then it is archived. A step that was not answered is taken again.
struct Story {
    entity: String,
    steps: usize,
}

struct World {
    client: Client,
    base: RwLock<String>,
    stories: Mutex<Vec<Story>>,
    done: AtomicUsize,
    role: String,
}

impl World {
    async fn send(&self, method: Method, path: &str, body: &Value) -> Option<(u16, Value)> {
        let base = self.base.read().await.clone();
        let answer = self.client.request(method, format!("{base}{path}")).json(body).send().await.ok()?;
        Some((answer.status().as_u16(), answer.json().await.ok()?))
    }

    /// Takes the next step of a story; `false` when the service was not there to answer.
    async fn step(&self, story: &mut Story) -> bool {
        let answer = match story.steps {
            0 => {
                let body = json!({"principal_id": story.entity, "role_id": self.role, "entity_id": story.entity});
                self.send(Method::POST, "/api/v1/assignments", &body).await
            }
            _ => self.send(Method::POST, &format!("/api/v1/entities/{}/archive", story.entity), &Value::Null).await,
        };
        let Some((status, body)) = answer else { return false };
        assert!(matches!((story.steps, status), (0, 201) | (1, 200)), "step {}: {status} {body}", story.steps);
        story.steps += 1;
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost() {
    let mut rng = seed::rng("no_event_is_lost");
    let database = Database::create(DatabaseKind::Postgres).await;
    let (mut topic, endpoint) = (Topic::create().await, aws::endpoint());
    let arn = topic.arn.clone();
    let mut environment = vec![
        ("EPR_DATABASE_URL", database.url.as_str()),
        ("EPR_DOCUMENT_VAULT_TOPIC_ARN", arn.as_str()),
        ("EPR_LOG_LEVEL", "ERROR"),
        ("EPR_EVENT_POLL_MS", "200"),
        ("EPR_EVENT_LEASE", "10"),
    ];
    environment.extend(aws::environment(&endpoint));
    let (mut process, base) = Process::api_at(&environment).await;
    let client = Client::new();
    let create = async |path: &str, body: Value| {
        let made =
            client.post(format!("{base}{path}")).json(&body).send().await.unwrap().json::<Value>().await.unwrap();
        made["id"].as_str().unwrap().to_owned()
    };
    let role = create("/api/v1/roles", json!({"name": "Reader"})).await;
    let mut stories = Vec::new();
    for n in 0..ENTITIES {
        let entity = create("/api/v1/entities", json!({"name": format!("e{n}"), "type": "spv"})).await;
        stories.push(Story { entity, steps: 0 });
    }
    let entities: Vec<_> = stories.iter().map(|story| story.entity.clone()).collect();
    let world = Arc::new(World {
        client: client.clone(),
        base: RwLock::new(base.clone()),
        stories: Mutex::new(stories),
        done: AtomicUsize::new(0),
        role,
    });
    let progress = Arc::new(Notify::new());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (world, progress) = (world.clone(), progress.clone());
            tokio::spawn(async move {
                loop {
                    let Some(mut story) = world.stories.lock().await.pop() else { return };
                    while story.steps < 2 {
                        if !world.step(&mut story).await {
                            // The service is being started again.
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                    world.done.fetch_add(1, Ordering::SeqCst);
                    progress.notify_one();
                }
            })
        })
        .collect();
    for kill in 1..=KILLS {
        let target = ENTITIES * kill / (KILLS + 1) + rng.random_range(0..20);
        while world.done.load(Ordering::SeqCst) < target {
            progress.notified().await;
        }
        process.signal("KILL").await;
        process.wait_for_exit().await;
        // Away in every second round. It comes back while no process runs: what is published to a topic without its
        // subscription reaches no queue, and no sender could know.
        if kill % 2 == 1 {
            topic.delete_topic().await;
        } else {
            topic.create_topic().await;
        }
        let (next, base) = Process::api_at(&environment).await;
        process = next;
        *world.base.write().await = base;
    }
    for client in clients {
        client.await.unwrap();
    }
    database.until("SELECT COUNT(*) FROM platform_events WHERE delivery_state = 'pending'", 0).await;
    process.terminate().await;

    assert_eq!(database.number("SELECT COUNT(*) FROM platform_events WHERE delivery_state <> 'succeeded'").await, 0);
    assert_eq!(audit_verify(&database.url, &[]).await.0, 0);
    let received = topic.drain().await;
    let mut bodies: HashMap<String, &Value> = HashMap::new();
    let mut reported: HashMap<&str, Vec<&str>> = HashMap::new();
    for message in &received {
        let id = message.body["event_id"].as_str().unwrap().to_owned();
        match bodies.insert(id, &message.body) {
            Some(before) => assert_eq!(before, &message.body, "the same id, the same event"),
            None => {
                let what = message.body["payload"]["change"].as_str().unwrap_or("archived");
                reported.entry(message.body["entity_id"].as_str().unwrap()).or_default().push(what);
            }
        }
    }
    for entity in &entities {
        assert_eq!(reported.get(entity.as_str()).map(Vec::as_slice), Some(&["created", "archived"][..]), "{entity}");
    }
    println!(
        "{} events, {} deliveries, {KILLS} kills, {} outages of the topic",
        bodies.len(),
        received.len(),
        KILLS / 2
    );
    assert_eq!(bodies.len(), ENTITIES * 2);
}
