//! The API within 512 MiB, what the documented task leaves to it, while callers do everything that takes memory at
//! once: large answers, slow readers, large bodies, bodies and heads that never end, idle connections. It goes on
//! answering checks, does not end, and gives the memory back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use epr_testkit::cgroup::Cgroup;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::metrics;
use epr_testkit::process::Process;
use epr_testkit::seed;
use epr_testkit::wait;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Client;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LIMIT_MIB: u64 = 512;
/// More than `EPR_MAX_CONNECTIONS`, so that connections are closed to make room all the time.
const IDLE: usize = 500;
/// The memory of the registry.
const GRAPH_BYTES: &str = "epr_graph_memory_bytes";
const ENTITIES: &str = "/api/v1/entities";

/// The duration of the test: `EPR_TEST_SOAK_SECONDS`, 45 s without.
fn duration() -> Duration {
    let given = std::env::var("EPR_TEST_SOAK_SECONDS").ok();
    Duration::from_secs(given.map_or(45, |text| text.parse().expect("EPR_TEST_SOAK_SECONDS: a number of seconds")))
}

struct World {
    base: String,
    address: String,
    over: AtomicBool,
    checks: AtomicU64,
    bodies: AtomicU64,
    question: serde_json::Value,
}

impl World {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// Writes `text`, and waits for a while that is not the same twice. The service may close the connection at any
    /// time.
    async fn write_and_wait(&self, stream: &mut TcpStream, text: &[u8], wait: Duration) {
        let _ = stream.write_all(text).await;
        let mut byte = [0];
        let _ = tokio::time::timeout(wait, stream.read(&mut byte)).await;
    }
}

/// Checks in a thread of their own: beside hundreds of other callers they would be sent so late after they connect that
/// the service takes them for silent.
fn check_in_a_thread(world: Arc<World>) -> std::thread::JoinHandle<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || runtime.block_on(check(world)))
}

/// Every check gets its decision, on a connection of its own.
async fn check(world: Arc<World>) {
    let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
    while world.goes_on() {
        let call = client.post(format!("{}/api/v1/authorize", world.base)).json(&world.question);
        let answer = call.send().await.expect("a check is answered");
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert_eq!((status.as_u16(), body.as_str()), (200, r#"{"authorized":true}"#));
        world.checks.fetch_add(1, Ordering::Relaxed);
    }
}

async fn read_lists(world: Arc<World>, path: &'static str) {
    let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
    while world.goes_on() {
        // On a slow machine a caller that sends late is at times the connection that makes room.
        if let Ok(answer) = client.get(format!("{}{path}", world.base)).send().await {
            assert!(matches!(answer.status().as_u16(), 200 | 503), "{}", answer.status());
            let _ = answer.bytes().await;
        }
    }
}

async fn read_slowly(world: Arc<World>, mut rng: StdRng) {
    while world.goes_on() {
        let mut stream = world.connect().await;
        let limit = if rng.random() { "?limit=1000" } else { "" };
        let _ = stream.write_all(format!("GET {ENTITIES}{limit} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
        let mut buffer = vec![0; 4 << 10];
        for _ in 0..rng.random_range(5..50) {
            if !matches!(stream.read(&mut buffer).await, Ok(1..)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Documents that are as large as they may be: of few values, and of many. None is stored: the name is missing.
async fn send_large_bodies(world: Arc<World>, many: bool) {
    let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let text = if many { vec!["{\"\":0}"; 49_000].join(",") } else { format!("\"{}\"", "a".repeat(1_000_000)) };
    let body = format!("{{\"type\": \"spv\", \"attributes\": {{\"x\": [{text}]}}}}");
    while world.goes_on() {
        let call = client.post(format!("{}{ENTITIES}", world.base)).body(body.clone());
        // On a slow machine a body that arrives is at times the connection that makes room.
        if let Ok(answer) = call.send().await {
            assert!(matches!(answer.status().as_u16(), 400 | 503), "{}", answer.status());
            world.bodies.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn send_half(world: Arc<World>, mut rng: StdRng) {
    let head = format!("POST {ENTITIES} HTTP/1.1\r\nhost: x\r\n");
    let body = "a".repeat(1 << 20);
    while world.goes_on() {
        let text = match rng.random_range(0..4) {
            0 => head.clone(),
            1 => format!("{head}transfer-encoding: chunked\r\n\r\nfffff\r\n{}", &body[..rng.random_range(1..1 << 20)]),
            _ => format!("{head}content-length: 1048576\r\n\r\n{}", &body[1..]),
        };
        let mut stream = world.connect().await;
        world.write_and_wait(&mut stream, text.as_bytes(), Duration::from_millis(rng.random_range(100..8000))).await;
    }
}

async fn say_nothing(world: Arc<World>, mut rng: StdRng) {
    while world.goes_on() {
        let mut stream = world.connect().await;
        world.write_and_wait(&mut stream, b"", Duration::from_millis(rng.random_range(1000..20_000))).await;
    }
}

async fn start(database: &Database) -> (Option<Cgroup>, Process, String) {
    let group = Cgroup::with_memory(LIMIT_MIB << 20);
    if group.is_none() {
        println!(
            "no memory control group can be made here: the most resident memory is compared with the limit instead"
        );
    }
    let enter = group.as_ref().map_or_else(|| "true".to_owned(), Cgroup::enter);
    let environment = [
        ("EPR_DATABASE_URL", database.url.as_str()),
        ("EPR_MAX_CONNECTIONS", "400"),
        ("EPR_BODY_TIMEOUT", "5"),
        ("EPR_HEADER_TIMEOUT", "5"),
        ("EPR_AUDIT_DECISIONS", "off"),
    ];
    let (process, base) = Process::api_limited(&enter, &environment).await;
    (group, process, base)
}

async fn fill(database: &Database, base: &str) -> serde_json::Value {
    let large = "INSERT INTO entities (id, name, type, status, attributes, created_at, \
     updated_at) SELECT gen_random_uuid(), \
                 'n' || n, 'spv', 'active', json_build_object('x', repeat('a', 1000000)), now(), now() \
                 FROM generate_series(1, 70) n";
    database.execute(large).await.unwrap();
    let client = Client::new();
    let make = async |path: &str, body: serde_json::Value| {
        let made = client.post(format!("{base}{path}")).json(&body).send().await.unwrap();
        assert_eq!(made.status(), 201);
        made.json::<serde_json::Value>().await.unwrap()["id"].clone()
    };
    let entity = make(ENTITIES, json!({"name": "small", "type": "spv"})).await;
    let role = make("/api/v1/roles", json!({"name": "reader", "permissions": ["a:read"]})).await;
    let user = "00000000-0000-4000-8000-000000000001";
    make("/api/v1/assignments", json!({"principal_id": user, "role_id": role, "entity_id": entity})).await;
    json!({"user_id": user, "action": "a:read", "resource_id": entity})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_of_every_kind_at_once_stays_within_512_mib() {
    let mut rng = seed::rng("everything_that_takes_memory_at_once");
    let database = Database::create(DatabaseKind::Postgres).await;
    let (_group, process, base) = start(&database).await;
    let question = fill(&database, &base).await;
    // The registry in memory holds the large attributes too.
    wait::until_value(
        "a registry in memory with every entity",
        Duration::from_millis(50),
        async || {
            metrics::sum(&reqwest::get(format!("{base}/metrics")).await.unwrap().text().await.unwrap(), GRAPH_BYTES)
        },
        |bytes| *bytes > 70_000_000,
    )
    .await;
    let before = process.memory_kib();
    let address = base.trim_start_matches("http://").to_owned();
    let (over, checks, bodies) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let world = Arc::new(World { base, address, over, checks, bodies, question });
    let mut callers = tokio::task::JoinSet::new();
    let next = |rng: &mut StdRng| (Arc::clone(&world), StdRng::from_rng(rng));
    let checking = [(); 2].map(|()| check_in_a_thread(Arc::clone(&world)));
    for path in [ENTITIES, "/api/v1/entities?limit=1000", "/api/v1/audit/entries"] {
        callers.spawn(read_lists(Arc::clone(&world), path));
    }
    for n in 0..30 {
        let (world, rng) = next(&mut rng);
        callers.spawn(read_slowly(Arc::clone(&world), rng));
        if n < 3 {
            callers.spawn(send_large_bodies(world, n == 0));
        }
    }
    for _ in 0..100 {
        let (world, rng) = next(&mut rng);
        callers.spawn(send_half(world, rng));
    }
    for _ in 0..IDLE {
        let (world, rng) = next(&mut rng);
        callers.spawn(say_nothing(world, rng));
    }
    let end = tokio::time::Instant::now() + duration();
    while tokio::time::Instant::now() < end {
        // A caller that ends has met something that it must not.
        if let Ok(Some(ended)) = tokio::time::timeout(Duration::from_secs(1), callers.join_next()).await {
            ended.unwrap();
            panic!("a caller ended");
        }
        assert!(checking.iter().all(|thread| !thread.is_finished()), "a check was not answered");
    }
    world.over.store(true, Ordering::Relaxed);
    for thread in checking {
        thread.join().unwrap();
    }
    callers.abort_all();
    while let Some(ended) = callers.join_next().await {
        assert!(ended.map_or_else(|error| error.is_cancelled(), |()| true), "a caller met something that it must not");
    }
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (checks, bodies, peak) = (count(&world.checks), count(&world.bodies), process.peak_memory_kib());
    println!("{checks} checks, {bodies} large bodies; memory in MiB: {} before, {} at most", before >> 10, peak >> 10);
    assert!(checks > 0 && bodies > 0);
    assert!(peak < LIMIT_MIB << 10, "{peak} KiB");
    let back = before + (64 << 10);
    wait::until_value(
        "memory that is given back",
        Duration::from_millis(200),
        async || process.memory_kib(),
        |memory| *memory < back,
    )
    .await;
    println!("{} MiB after", process.memory_kib() >> 10);
    assert_eq!(process.terminate().await.0.code(), Some(0));
}
