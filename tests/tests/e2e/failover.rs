//! A primary, its standby, and a name that leads to one of them: the answers to callers while the standby takes over.
//! INVARIANT, whatever the timing: a process allows nothing after it answered the revocation.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use epr_testkit::postgres_server::PostgresServer;
use epr_testkit::process::{Process, epr};
use epr_testkit::proxy::Proxy;
use epr_testkit::wait;
use futures_util::future::join_all;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

const CALLERS: usize = 8;
/// Between two readings of a value that a test waits for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Every answered change is on both servers.
const SYNCHRONOUS: &str = "synchronous_standby_names = '*'\n";

/// A primary, its standby, and the name under which processes know the one to use.
struct Pair {
    old: PostgresServer,
    new: PostgresServer,
    name: Arc<Proxy>,
    url: String,
}

impl Pair {
    /// Starts both servers, the primary with `settings` in its configuration.
    async fn start(settings: &str) -> Self {
        let (old, new) = tokio::task::spawn_blocking({
            let settings = settings.to_owned();
            move || {
                let old = PostgresServer::create(&[], "");
                let new = PostgresServer::standby_of(&old);
                new.start("");
                old.write("postgresql.auto.conf", &settings);
                old.reload();
                (old, new)
            }
        })
        .await
        .unwrap();
        let name = Proxy::to(&old.address()).await;
        let url = format!("postgres://epr@{}/postgres", name.address);
        let pair = Self { old, new, name, url };
        let followed = "SELECT COUNT(*) FROM pg_stat_replication WHERE state = 'streaming'";
        wait::until_value("a standby that follows", POLL_INTERVAL, || number(&pair.old, followed), |seen| *seen == 1)
            .await;
        pair
    }

    /// A service that knows the database by its name.
    async fn service(&self, environment: &[(&str, &str)]) -> Service {
        Service::start(&self.url, environment).await
    }
}

async fn number(server: &PostgresServer, sql: &'static str) -> i64 {
    let mut conn = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap()
}

/// Waits until the standby has applied everything.
async fn until_applied(pair: &Pair) {
    let behind = "SELECT COUNT(*) FROM pg_stat_replication WHERE replay_lsn < pg_current_wal_lsn()";
    wait::until_value("a standby that has everything", POLL_INTERVAL, || number(&pair.old, behind), |seen| *seen == 0)
        .await;
}

/// A running API.
struct Service {
    base: Arc<str>,
    _process: Process,
}

impl Service {
    async fn start(url: &str, environment: &[(&str, &str)]) -> Self {
        let mut all = vec![
            ("EPR_DATABASE_URL", url),
            ("EPR_DATABASE_POOL_SIZE", "6"),
            ("EPR_REQUEST_TIMEOUT", "5"),
            ("EPR_LOG_LEVEL", "CRITICAL"),
        ];
        all.extend_from_slice(environment);
        let (process, base) = Process::api_at(&all).await;
        Self { base: base.into(), _process: process }
    }

    fn caller(&self) -> Caller {
        Caller { base: Arc::clone(&self.base), http: Client::new() }
    }
}

/// A client of one service.
#[derive(Clone)]
struct Caller {
    base: Arc<str>,
    http: Client,
}

impl Caller {
    async fn send(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let answer =
            self.http.request(method, format!("{}{path}", self.base)).json(body).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// Sends a POST, again for as long as the answer is a 503.
    async fn post(&self, path: &str, body: Value) -> Value {
        loop {
            let (status, answer) = self.send(Method::POST, path, &body).await;
            match status {
                503 => tokio::time::sleep(POLL_INTERVAL).await,
                200 | 201 => return answer,
                _ => panic!("{path}: {status} {answer}"),
            }
        }
    }

    /// Revokes an assignment, again until the service confirms it.
    async fn revoke(&self, assignment: &str) {
        loop {
            let path = format!("/api/v1/assignments/{assignment}");
            match self.send(Method::DELETE, &path, &Value::Null).await.0 {
                503 => tokio::time::sleep(POLL_INTERVAL).await,
                // An earlier attempt took effect although its answer did not arrive.
                200 | 404 => return,
                status => panic!("{path}: {status}"),
            }
        }
    }

    /// The decision, or `None` when the service answers 503.
    async fn authorized(&self, user: &str, entity: &str) -> Option<bool> {
        let asked = json!({"user_id": user, "action": "a:read", "resource_id": entity});
        match self.send(Method::POST, "/api/v1/authorize", &asked).await {
            (200, answer) => answer["authorized"].as_bool(),
            (503, _) => None,
            (status, answer) => panic!("{status} {answer}"),
        }
    }

    async fn is_ready(&self) -> bool {
        self.http.get(format!("{}/readyz", self.base)).send().await.unwrap().status() == 200
    }
}

/// An entity and a role for it.
async fn setup(caller: &Caller) -> (String, String) {
    let entity = caller.post("/api/v1/entities", json!({"name": "S", "type": "spv"})).await;
    let role = caller.post("/api/v1/roles", json!({"name": "Reader", "permissions": ["a:read"]})).await;
    let id = |body: &Value| body["id"].as_str().unwrap().to_owned();
    (id(&entity), id(&role))
}

fn user(n: usize) -> String {
    format!("aaaaaaaa-0000-4000-8000-{n:012}")
}

async fn grant(caller: &Caller, user: &str, role: &str, entity: &str) -> String {
    let new = json!({"principal_id": user, "role_id": role, "entity_id": entity});
    caller.post("/api/v1/assignments", new).await["id"].as_str().unwrap().to_owned()
}

/// Grants, checks, revokes and checks for one principal, again and again. `done` counts the rounds.
async fn work(
    caller: Caller,
    n: usize,
    (role, entity): (String, String),
    done: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) {
    let user = user(n);
    while !stop.load(SeqCst) {
        let held = grant(&caller, &user, &role, &entity).await;
        caller.authorized(&user, &entity).await;
        caller.authorized(&user, &entity).await;
        caller.revoke(&held).await;
        for _ in 0..3 {
            let authorized = caller.authorized(&user, &entity).await;
            assert_ne!(authorized, Some(true), "{user} is allowed after the revocation of {held} was answered");
        }
        done.fetch_add(1, SeqCst);
    }
}

/// The ledger of a server, replayed: no decision is allowed by an assignment that is not in force at that point.
async fn verify(server: &PostgresServer) {
    let (code, out, err) = epr(&server.url(), &["audit", "verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let mut conn = PgConnection::connect(&server.url()).await.unwrap();
    let rows: Vec<(String, Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT action, details->>'assignment_id', details->>'authorized' FROM audit_logs ORDER BY sequence",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    let (mut held, mut allowed) = (HashSet::new(), 0);
    for (action, assignment, authorized) in rows {
        match &*action {
            "role_assignment.create" => assert!(held.insert(assignment)),
            "role_assignment.delete" => assert!(held.remove(&assignment)),
            "authorization.evaluate" if authorized.as_deref() == Some("true") => {
                assert!(held.contains(&assignment), "allowed by {assignment:?}, which is not in force");
                allowed += 1;
            }
            _ => {}
        }
    }
    assert!(allowed > 0);
}

/// The standby takes over while the old primary runs on: its connections stay open, its commits are never confirmed.
async fn promotion_under_load(environment: &[(&str, &str)]) {
    let pair = Pair::start(SYNCHRONOUS).await;
    let service = pair.service(environment).await;
    let known = setup(&service.caller()).await;
    let (known, done, stop) = ((known.1, known.0), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| tokio::spawn(work(service.caller(), n, known.clone(), done.clone(), stop.clone())))
        .collect();
    let more = async |rounds| {
        let target = done.load(SeqCst) + rounds;
        wait::until_value("rounds that succeed", POLL_INTERVAL, async || done.load(SeqCst), |done| *done >= target)
            .await;
    };
    more(3 * CALLERS).await;
    let promoted = Instant::now();
    pair.new.promote();
    pair.name.redirect_to(&pair.new.address());
    let flipped = Instant::now();
    more(3 * CALLERS).await;
    println!("promotion took {:?}; rounds succeed {:?} after the name changed", flipped - promoted, flipped.elapsed());
    assert!(service.caller().is_ready().await);
    stop.store(true, SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    // Everything is on the new one, and the old one takes no part in it.
    let known = "SELECT COUNT(*) FROM audit_logs";
    assert!(number(&pair.new, known).await > number(&pair.old, known).await);
    if !environment.contains(&("EPR_AUDIT_DECISIONS", "off")) {
        verify(&pair.new).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_allow_follows_a_revocation_over_a_promotion_with_cache_and_records() {
    promotion_under_load(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_allow_follows_a_revocation_over_a_promotion_without_cache_and_records() {
    promotion_under_load(&[("EPR_DECISION_CACHE", "false"), ("EPR_AUDIT_DECISIONS", "off")]).await;
}

/// The old primary is stopped, comes back as a standby of the new one, and the name leads to it for a while longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_answers_nothing_after_a_planned_switchover() {
    let pair = Pair::start(SYNCHRONOUS).await;
    // Each call below runs into this deadline, because the service keeps looking for a primary until then.
    let service = pair.service(&[("EPR_REQUEST_TIMEOUT", "2")]).await;
    let caller = service.caller();
    let (entity, role) = setup(&caller).await;
    let held = grant(&caller, &user(1), &role, &entity).await;
    let allowed = loop {
        if let Some(allowed) = caller.authorized(&user(1), &entity).await {
            break allowed;
        }
    };
    assert!(allowed);

    tokio::task::block_in_place(|| {
        pair.old.stop();
        pair.new.promote();
        pair.old.start_as_standby_of(&pair.new);
    });
    // Another process uses the new one already.
    let other = Service::start(&pair.new.url(), &[]).await;
    other.caller().revoke(&held).await;
    // Five callers on six connections: each call has a connection of its own to try.
    let calls_find_no_primary = async || {
        assert_eq!(caller.authorized(&user(1), &entity).await, None);
        assert!(!caller.is_ready().await);
        let path = format!("/api/v1/entities/{entity}");
        assert_eq!(caller.send(Method::GET, &path, &Value::Null).await.0, 503);
    };
    for _ in 0..2 {
        join_all((0..5).map(|_| calls_find_no_primary())).await;
    }
    pair.name.redirect_to(&pair.new.address());
    let flipped = Instant::now();
    wait::until("ready again", async || caller.is_ready().await).await;
    assert_eq!(caller.authorized(&user(1), &entity).await, Some(false));
    println!("answers {:?} after the name changed", flipped.elapsed());
}

/// Both servers accept changes. A process that is connected to the old one detects that the name leads elsewhere, and
/// does not return when the name does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_leaves_an_old_primary_that_goes_on_and_does_not_return() {
    let pair = Pair::start("").await;
    let service = pair.service(&[]).await;
    let caller = service.caller();
    let (entity, role) = setup(&caller).await;
    let held = grant(&caller, &user(1), &role, &entity).await;
    assert_eq!(caller.authorized(&user(1), &entity).await, Some(true));
    until_applied(&pair).await;

    tokio::task::block_in_place(|| pair.new.promote());
    pair.name.redirect_to(&pair.new.address());
    let flipped = Instant::now();
    let other = Service::start(&pair.new.url(), &[]).await;
    other.caller().revoke(&held).await;
    wait::until_value(
        "a denial",
        POLL_INTERVAL,
        async || caller.authorized(&user(1), &entity).await,
        |authorized| *authorized == Some(false),
    )
    .await;
    println!("the revocation elsewhere shows {:?} after the name changed", flipped.elapsed());

    // The old primary still has the assignment.
    pair.name.redirect_to(&pair.old.address());
    let before = number(&pair.old, "SELECT COUNT(*) FROM audit_logs").await;
    let stop = Instant::now() + Duration::from_secs(5);
    while Instant::now() < stop {
        assert_ne!(caller.authorized(&user(1), &entity).await, Some(true));
        let fresh = caller.authorized(&user(2), &entity).await;
        assert_ne!(fresh, Some(true));
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    assert_eq!(number(&pair.old, "SELECT COUNT(*) FROM audit_logs").await, before, "the old one was written");
    verify(&pair.new).await;
}
