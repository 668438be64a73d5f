//! Checks that are answered from the registry in memory, in worlds of several sizes: over HTTP beside the bare handler,
//! in the library on one core, recorded; its memory and its load; when another process sees a revocation.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use epr_core::decision::Question;
use epr_core::settings::{Settings, Source};
use epr_core::{Call, Epr};
use epr_testkit::database::Database;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::http::{Connection, Script};
use crate::load::{CONNECTIONS, Measurement, middle};
use crate::report::{Aim, Report};
use crate::scale::Scale;
use crate::server::{PROCESS_TIMEOUT, Server};
use crate::world::{Asked, World, tidy};

/// Neither cached nor recorded.
pub(crate) const STATEMENT: [(&str, &str); 3] =
    [("EPR_DECISION_CACHE", "false"), ("EPR_AUDIT_DECISIONS", "off"), ("EPR_GRAPH", "off")];
pub(crate) const GRAPH: [(&str, &str); 3] =
    [("EPR_DECISION_CACHE", "false"), ("EPR_AUDIT_DECISIONS", "off"), ("EPR_GRAPH", "on")];
/// Recorded, not cached.
const AUDITED_STATEMENT: [(&str, &str); 2] = [("EPR_DECISION_CACHE", "false"), ("EPR_GRAPH", "off")];
pub(crate) const AUDITED_GRAPH: [(&str, &str); 2] = [("EPR_DECISION_CACHE", "false"), ("EPR_GRAPH", "on")];
/// As a deployment has it.
pub(crate) const WARM: [(&str, &str); 2] = [("EPR_AUDIT_DECISIONS", "off"), ("EPR_GRAPH", "on")];
/// The bare handler logs nothing either.
pub(crate) const NO_LINE: (&str, &str) = ("EPR_LOG_ACCESS", "false");

/// A world on a database of its own.
struct Sized {
    size: usize,
    world: World,
    asked: Vec<Asked>,
    database: Database,
}

pub(crate) async fn measure(scale: &Scale, report: &mut Report) {
    let [few, some, many] = scale.graph_sizes;
    for size in [few, some, many] {
        let sized = prepare(scale, size).await;
        uncached(scale, &sized, report).await;
        if size == some {
            recorded(scale, &sized, report).await;
            alone(scale, &sized, report).await;
            revocation(scale, &sized, report).await;
        }
    }
}

/// A world with as many entities as assignments.
async fn prepare(scale: &Scale, size: usize) -> Sized {
    let scale = Scale { entities: size, assignments: size, principals: (size / 3).max(1), ..*scale };
    let mut rng = StdRng::seed_from_u64(u64::try_from(size).expect("small"));
    let world = World::new(&scale, &mut rng);
    let asked = world.questions(scale.questions, &mut rng);
    let database = world.database().await;
    tidy(&database).await;
    Sized { size, world, asked, database }
}

/// Checks over HTTP beside the bare handler, from memory and by the statement.
async fn uncached(scale: &Scale, sized: &Sized, report: &mut Report) {
    let Sized { size, asked, database, .. } = sized;
    let script = Script::checks(asked);
    let bare = Server::bare(None).await;
    let statement = Server::api(&database.url, &STATEMENT).await;
    let without = statement.resident().0;
    let [silent_graph, silent_warm] = [&GRAPH[..], &WARM].map(|settings| [settings, &[NO_LINE]].concat());
    let (graph, loaded) = Server::with_graph(&database.url, &silent_graph).await;
    let (warm, _) = Server::with_graph(&database.url, &silent_warm).await;
    let with = graph.resident().0;
    let (talking, _) = Server::with_graph(&database.url, &WARM).await;
    let mut errors = 0;
    for server in [&graph, &warm, &talking] {
        errors += script.once(&server.address).await;
    }
    let [mut yard, mut sql, mut memory, mut cached, mut logged] = [const { Vec::new() }; 5];
    for _ in 0..scale.rounds {
        yard.push(script.any_answer().run(&bare.address, scale.span).await);
        sql.push(script.even().run(&statement.address, scale.span).await);
        memory.push(script.even().run(&graph.address, scale.span).await);
        cached.push(script.run(&warm.address, scale.span).await);
        logged.push(script.run(&talking.address, scale.span).await);
    }
    let [yard, sql, memory, cached, logged] = [yard, sql, memory, cached, logged].map(|all| middle(&all));
    errors += yard.errors + sql.errors + memory.errors + cached.errors + logged.errors;
    report.say(format!("bare axum handler, {size}"), yard.rate, "req/s");
    report.say(format!("uncached check by the statement, {size}"), sql.rate, "req/s");
    report.say(format!("uncached check from memory, {size}"), memory.rate, "req/s");
    report.say(format!("warm check, {size}"), cached.rate, "req/s");
    report.say(
        format!("warm check with a log line for each request / without, {size}"),
        logged.rate / cached.rate,
        "%",
    );
    report.say(format!("uncached check from memory / by the statement, {size}"), memory.rate / sql.rate, "x");
    let what = format!("uncached check from memory / bare axum handler, {size}");
    report.aim(what, memory.rate / yard.rate, "%", Aim::AtLeast(0.7));
    let what = format!("uncached check from memory, p99 / bare axum p99, {size}");
    report.aim(what, memory.millis(0.99) / yard.millis(0.99), "x", Aim::AtMost(2.0));
    let what = format!("warm check / bare axum handler, {size}");
    report.aim(what, cached.rate / yard.rate, "%", Aim::AtLeast(0.8));
    report.aim(format!("registry in memory, {size}"), with - without, "MB", Aim::AtMost(300.0));
    report.aim(format!("registry loaded after, {size}"), loaded.as_secs_f64(), "s", Aim::AtMost(8.0));
    report.errors("graph: wrong or failed answers", errors);
}

/// Recorded checks that are not cached, from memory and by the statement.
async fn recorded(scale: &Scale, sized: &Sized, report: &mut Report) {
    let script = Script::checks(&sized.asked).even();
    let statement = Server::api(&sized.database.url, &AUDITED_STATEMENT).await;
    let (graph, _) = Server::with_graph(&sized.database.url, &AUDITED_GRAPH).await;
    let [mut sql, mut memory] = [const { Vec::new() }; 2];
    for _ in 0..scale.rounds {
        sql.push(script.run(&statement.address, scale.span).await);
        memory.push(script.run(&graph.address, scale.span).await);
    }
    let [sql, memory] = [sql, memory].map(|all: Vec<Measurement>| middle(&all));
    report.say(format!("recorded check by the statement, {CONNECTIONS} connections"), sql.rate, "req/s");
    report.say(format!("recorded check from memory, {CONNECTIONS} connections"), memory.rate, "req/s");
    report.say("recorded check from memory / by the statement", memory.rate / sql.rate, "x");
    report.errors("recorded: wrong or failed answers", sql.errors + memory.errors);
}

/// The library on one core: one question after the other.
async fn alone(scale: &Scale, sized: &Sized, report: &mut Report) {
    let Sized { world, asked, database, .. } = sized;
    let deep = deepen(&database.url, world).await;
    let mut all = vec![("EPR_DATABASE_URL", database.url.as_str())];
    all.extend(GRAPH);
    let settings = Settings::from_source(&Source::of(all)).expect("settings");
    let epr = Epr::from_settings(&settings).await.expect("a service");
    epr.start(false).await.expect("a schema");
    while epr.graph_state().word() != "ok" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut errors = 0;
    let mut rates = Vec::new();
    let mut times = Vec::new();
    for _ in 0..scale.rounds {
        let (rate, wrong) = rate(&epr, asked, scale.span).await;
        rates.push(rate);
        errors += wrong;
        let began = Instant::now();
        while began.elapsed() < scale.span {
            let each = Instant::now();
            errors += u64::from(!is_right(&epr, &deep).await);
            times.push(each.elapsed());
        }
    }
    rates.sort_by(f64::total_cmp);
    times.sort_unstable();
    report.aim("decisions in the library, one after the other", rates[rates.len() / 2], "/s", Aim::AtLeast(1e6));
    let deep = times[times.len() / 2].as_secs_f64() * 1e6;
    report.aim("decision in the library at depth 50, p50", deep, "µs", Aim::AtMost(10.0));
    report.errors("library: wrong or failed answers", errors);
    epr.close().await;
}

async fn rate(epr: &Epr, asked: &[Asked], span: Duration) -> (f64, u64) {
    let began = Instant::now();
    let (mut count, mut wrong) = (0.0, 0);
    while began.elapsed() < span {
        for one in asked {
            wrong += u64::from(!is_right(epr, one).await);
            count += 1.0;
        }
    }
    (count / began.elapsed().as_secs_f64(), wrong)
}

async fn is_right(epr: &Epr, asked: &Asked) -> bool {
    let action = asked.action.as_str().try_into().expect("an action");
    let question = Question::new(asked.principal, action, asked.resource);
    epr.check(&Call::default(), &question).await.is_ok_and(|decision| decision.allowed == asked.expected)
}

/// A chain of 50 entities with one assignment at its top: the question about its lowest entity.
async fn deepen(database: &str, world: &World) -> Asked {
    let (role, action) = world.some_role();
    let principal = Uuid::from_u128(0xf5 << 64 | 1);
    let mut conn = PgConnection::connect(database).await.expect("the database");
    let id = |n: u128| Uuid::from_u128(0xdf << 64 | n);
    let mut sql = String::new();
    for n in 0..50 {
        let parent = if n == 0 { "NULL".into() } else { format!("'{}'", id(n - 1)) };
        // Writing into a string does not fail.
        let _ = write!(
            sql,
            "INSERT INTO entities (id, name, type, parent_id) VALUES ('{}', 'deep {n}', 'other', {parent});",
            id(n)
        );
    }
    let _ = write!(
        sql,
        "INSERT INTO role_assignments (id, principal_id, role_id, entity_id, effective_at) \
         VALUES ('{}', '{principal}', '{role}', '{}', '2026-01-01Z');",
        Uuid::from_u128(0xf6 << 64 | 1),
        id(0)
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.expect("rows");
    Asked { principal, action, resource: id(49), expected: true }
}

/// The time from the answer to a revocation until another process denies, while that one answers others.
async fn revocation(scale: &Scale, sized: &Sized, report: &mut Report) {
    let Sized { world, asked, database, .. } = sized;
    let rounds = if scale.rounds > 1 { 1_000 } else { 20 };
    let (changing, _) = Server::with_graph(&database.url, &WARM).await;
    let (asking, _) = Server::with_graph(&database.url, &WARM).await;
    let script = Script::checks(asked);
    let done = Arc::new(AtomicBool::new(false));
    let load = {
        let (script, address, span, done) = (script, asking.address.clone(), scale.span / 4, Arc::clone(&done));
        tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                script.run(&address, span).await;
            }
        })
    };
    let (mut changes, mut checks) = (Connection::to(&changing.address).await, Connection::to(&asking.address).await);
    let (role, action) = world.some_role();
    let (principal, resource) = (Uuid::from_u128(0xfd << 64 | 1), world.some_root());
    let body: Bytes = Asked { principal, action, resource, expected: true }.body().into();
    let grant = json!({ "principal_id": principal, "role_id": role, "entity_id": resource }).to_string();
    let mut times = Vec::new();
    for _ in 0..rounds {
        let (status, assignment) = changes.send(Method::POST, "/api/v1/assignments", grant.clone().into()).await;
        assert_eq!(status, StatusCode::CREATED);
        let assignment: serde_json::Value = serde_json::from_slice(&assignment).expect("an assignment");
        until(&mut checks, &body, true).await;
        let path = format!("/api/v1/assignments/{}", assignment["id"].as_str().expect("an id"));
        changes.send(Method::DELETE, &path, Bytes::new()).await;
        times.push(until(&mut checks, &body, false).await);
    }
    done.store(true, Ordering::SeqCst);
    load.await.expect("the load");
    times.sort_unstable();
    let millis = |at: usize| times[at].as_secs_f64() * 1e3;
    report.aim("revocation until another process denies, median", millis(times.len() / 2), "ms", Aim::AtMost(3.0));
    report.aim(format!("… worst of {rounds}"), millis(times.len() - 1), "ms", Aim::AtMost(50.0));
}

/// Asks until the answer is `wanted`; returns the time that it took.
async fn until(connection: &mut Connection, body: &Bytes, wanted: bool) -> Duration {
    let began = Instant::now();
    let wanted = format!(r#"{{"authorized":{wanted}}}"#);
    loop {
        let (_, answer) = connection.send(Method::POST, "/api/v1/authorize", body.clone()).await;
        if *answer == *wanted.as_bytes() {
            return began.elapsed();
        }
        assert!(began.elapsed() < PROCESS_TIMEOUT, "no right answer within a minute");
    }
}
