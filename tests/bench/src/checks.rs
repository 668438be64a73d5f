//! The check: warm, cold, audited, shared; how it grows; when a revocation is seen. Everything in turn with its
//! yardstick.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Bytes;
use axum::http::Method;
use epr_core::decision::Question;
use epr_core::settings::{Settings, Source};
use epr_core::{Call, Epr};
use epr_testkit::redis::RedisServer;
use rand::rngs::StdRng;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::bare::{self, Sql};
use crate::http::{Connection, Script};
use crate::load::{CONNECTIONS, Caller, Measurement, at_once, middle, popular};
use crate::report::{Aim, Report};
use crate::scale::Scale;
use crate::server::Server;
use crate::world::{Asked, World};

/// Neither cached nor recorded, by the statement.
const COLD: [(&str, &str); 3] = [("EPR_DECISION_CACHE", "false"), ("EPR_AUDIT_DECISIONS", "off"), ("EPR_GRAPH", "off")];
/// Cached; decisions that are not cached yet are not recorded, so that the ledger does not grow between measurements.
const WARM: [(&str, &str); 1] = [("EPR_AUDIT_DECISIONS", "off")];
/// Cached; answers from the cache are recorded like evaluated ones.
const RECORDED: [(&str, &str); 1] = [("EPR_AUDIT_DECISIONS", "every")];
/// Recorded, not cached, by the statement.
const AUDITED: [(&str, &str); 2] = [("EPR_DECISION_CACHE", "false"), ("EPR_GRAPH", "off")];

/// The service as a library, without HTTP.
struct Library {
    epr: Epr,
    asked: Arc<Vec<Asked>>,
}

impl Caller for Library {
    async fn ask(&mut self, rng: &mut StdRng) -> bool {
        let asked = popular(&self.asked, rng);
        let action = asked.action.as_str().try_into().expect("an action");
        let question = Question::new(asked.principal, action, asked.resource);
        self.epr.check(&Call::default(), &question).await.is_ok_and(|decision| decision.allowed == asked.expected)
    }
}

/// The warm check beside the bare handler.
pub(crate) async fn warm(scale: &Scale, database: &str, asked: &[Asked], report: &mut Report) {
    let script = Script::checks(asked);
    let bare = Server::bare(None).await;
    let idle = Server::cached(database, &WARM).await;
    let server = Server::cached(database, &WARM).await;
    let mut debug = WARM.to_vec();
    debug.push(("EPR_LOG_LEVEL", "DEBUG"));
    let talking = Server::cached(database, &debug).await;
    let mut errors = script.once(&server.address).await + script.once(&talking.address).await;
    let [mut yard, mut seen, mut logged] = [const { Vec::new() }; 3];
    for _ in 0..scale.rounds {
        yard.push(script.any_answer().run(&bare.address, scale.span).await);
        seen.push(script.run(&server.address, scale.span).await);
    }
    // In rounds of its own: the log that it writes would slow down the next measurement.
    for _ in 0..scale.rounds {
        logged.push(script.run(&talking.address, scale.span).await);
    }
    let [yard, seen, logged] = [middle(&yard), middle(&seen), middle(&logged)];
    errors += yard.errors + seen.errors + logged.errors;
    report.say("bare axum handler", yard.rate, "req/s");
    report.say("bare axum handler, p99", yard.millis(0.99), "ms");
    report.say("warm check, in-process tier", seen.rate, "req/s");
    report.say("warm check, p50", seen.millis(0.5), "ms");
    report.say("warm check, p99", seen.millis(0.99), "ms");
    report.aim("warm check / bare axum handler", seen.rate / yard.rate, "%", Aim::AtLeast(0.7));
    report.aim("warm check p99 / bare axum p99", seen.millis(0.99) / yard.millis(0.99), "x", Aim::AtMost(2.0));
    report.say("warm check with a log line each (DEBUG) / without", logged.rate / seen.rate, "%");
    report.aim("idle API, resident", idle.resident().0, "MB", Aim::AtMost(20.0));
    report.say("bare axum handler under the same load, resident", bare.resident().1, "MB");
    report.aim("API under the warm load, most resident", server.resident().1, "MB", Aim::AtMost(80.0));
    report.errors("warm: wrong or failed answers", errors);
    drop([bare, idle, server, talking]);
    recorded(scale, database, &script, report).await;
}

/// The warm check that records every answer, beside the warm check that records none.
async fn recorded(scale: &Scale, database: &str, script: &Script, report: &mut Report) {
    let silent = Server::cached(database, &WARM).await;
    let recording = Server::cached(database, &RECORDED).await;
    let mut errors = script.once(&silent.address).await + script.once(&recording.address).await;
    let [mut unrecorded, mut recorded] = [const { Vec::new() }; 2];
    for _ in 0..scale.rounds {
        unrecorded.push(script.run(&silent.address, scale.span).await);
        recorded.push(script.run(&recording.address, scale.span).await);
    }
    let [unrecorded, recorded] = [middle(&unrecorded), middle(&recorded)];
    errors += unrecorded.errors + recorded.errors;
    report.say("warm check, every answer recorded", recorded.rate, "req/s");
    report.say("warm check, every answer recorded, p50", recorded.millis(0.5), "ms");
    report.say("warm check, every answer recorded / none recorded", recorded.rate / unrecorded.rate, "%");
    report.errors("warm, recorded: wrong or failed answers", errors);
}

/// The cold check beside the same SQL, audited and not; what the shared tier saves.
pub(crate) async fn cold(scale: &Scale, database: &str, asked: &[Asked], report: &mut Report) {
    let script = Script::checks(asked);
    let redis = RedisServer::start().await;
    let url = redis.url();
    // So little memory that nearly every answer comes from Redis.
    let mut shared = vec![("EPR_REDIS_URL", url.as_str()), ("EPR_DECISION_CACHE_MB", "1"), ("EPR_GRAPH", "off")];
    shared.extend(WARM);
    let (plain, audited) = (Server::api(database, &COLD).await, Server::api(database, &AUDITED).await);
    let shared = Server::cached(database, &shared).await;
    let mut errors = script.once(&shared.address).await;
    let asked = Arc::new(asked.to_vec());
    let (pool, bare) = (bare::pool(database), Server::bare(Some(database)).await);
    let epr = library(database, "10").await;
    let [mut sql, mut inside, mut handler, mut http, mut kept, mut tier] = [const { Vec::new() }; 6];
    for _ in 0..scale.rounds {
        let statement = |_| Sql { pool: pool.clone(), asked: Arc::clone(&asked) };
        sql.push(at_once((0..CONNECTIONS).map(statement).collect(), scale.span).await);
        let check = |_| Library { epr: epr.clone(), asked: Arc::clone(&asked) };
        inside.push(at_once((0..CONNECTIONS).map(check).collect(), scale.span).await);
        handler.push(script.any_answer().run(&bare.address, scale.span).await);
        http.push(script.run(&plain.address, scale.span).await);
        kept.push(script.run(&audited.address, scale.span).await);
        tier.push(script.even().run(&shared.address, scale.span).await);
    }
    let [sql, inside, handler, http, kept, tier] = [sql, inside, handler, http, kept, tier].map(|all| middle(&all));
    errors += [&sql, &inside, &handler, &http, &kept, &tier].iter().map(|measured| measured.errors).sum::<u64>();
    report.say("bare SQL of a check", sql.rate, "/s");
    report.say("bare SQL, p50", sql.millis(0.5), "ms");
    report.say("cold check in the library", inside.rate, "/s");
    report.say("bare axum handler with that SQL", handler.rate, "req/s");
    report.say("cold check over HTTP", http.rate, "req/s");
    report.say("cold check over HTTP, p50", http.millis(0.5), "ms");
    report.say("cold check over HTTP, p99", http.millis(0.99), "ms");
    report.aim("cold check in the library / bare SQL", inside.rate / sql.rate, "%", Aim::AtLeast(0.85));
    report.aim("cold check over HTTP / bare SQL without HTTP", http.rate / sql.rate, "%", Aim::AtLeast(0.85));
    report.say("cold check over HTTP / bare axum handler with that SQL", http.rate / handler.rate, "%");
    report.say("audited cold check over HTTP", kept.rate, "req/s");
    report.aim("audited cold check over HTTP / bare SQL without HTTP", kept.rate / sql.rate, "%", Aim::AtLeast(0.5));
    report.aim("audited cold check / cold check", kept.rate / http.rate, "%", Aim::AtLeast(0.5));
    report.say("check from Redis", tier.rate, "req/s");
    report.say("check from Redis / cold check", tier.rate / http.rate, "x");
    report.errors("cold: wrong or failed answers", errors);
    pool.close().await;
    epr.close().await;
    drop([plain, audited, shared, bare]);
    pools(scale, database, &asked, report).await;
}

/// The rate of the same callers by the size of the pool.
async fn pools(scale: &Scale, database: &str, asked: &Arc<Vec<Asked>>, report: &mut Report) {
    const SIZES: [&str; 4] = ["2", "5", "10", "32"];
    let mut all = Vec::new();
    for size in SIZES {
        all.push((size, library(database, size).await, Vec::new()));
    }
    for _ in 0..scale.rounds {
        for (_, epr, measured) in &mut all {
            let check = |_| Library { epr: epr.clone(), asked: Arc::clone(asked) };
            measured.push(at_once((0..CONNECTIONS).map(check).collect(), scale.span / 2).await);
        }
    }
    for (size, epr, measured) in all {
        report.say(format!("cold check in the library, a pool of {size}"), middle(&measured).rate, "/s");
        epr.close().await;
    }
}

async fn library(database: &str, pool_size: &str) -> Epr {
    let mut all = vec![("EPR_DATABASE_URL", database), ("EPR_DATABASE_POOL_SIZE", pool_size)];
    all.extend(COLD);
    let settings = Settings::from_source(&Source::of(all)).expect("settings");
    let epr = Epr::from_settings(&settings).await.expect("a service");
    epr.start(false).await.expect("a schema");
    epr
}

/// Measures the growth of the time with the depth of the tree and with the assignments of one principal.
pub(crate) async fn growth(scale: &Scale, database: &str, world: &World, report: &mut Report) {
    let (role, action) = world.some_role();
    let [few, deep, many] = [0xf1_u128, 0xf2, 0xf3].map(|n| Uuid::from_u128(n << 64 | 1));
    let chain: Vec<Uuid> = (0..50).map(|n| Uuid::from_u128(0xde << 64 | n)).collect();
    let mut conn = PgConnection::connect(database).await.expect("the database");
    let mut run = async |sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.expect("rows");
    };
    let mut above = None;
    for (n, id) in chain.iter().enumerate() {
        let parent = above.map_or_else(|| "NULL".into(), |id: Uuid| format!("'{id}'"));
        run(format!("INSERT INTO entities (id, name, type, parent_id) VALUES ('{id}', 'deep {n}', 'other', {parent})"))
            .await;
        above = Some(*id);
    }
    let assign = |principal: Uuid, place: Uuid| {
        format!(
            "INSERT INTO role_assignments (id, principal_id, role_id, entity_id, effective_at) \
             VALUES ('{}', '{principal}', '{role}', '{place}', '2026-01-01Z');",
            Uuid::from_u128(rand::random())
        )
    };
    let root = world.some_root();
    run(assign(few, root)).await;
    run(assign(deep, chain[0])).await;
    let all: String = world.places(scale.many).map(|place| assign(many, place)).collect();
    run(all).await;
    run("ANALYZE".to_owned()).await;

    let server = Server::api(database, &COLD).await;
    let cases = [(few, root), (deep, chain[chain.len() - 1]), (many, root)];
    let scripts = cases.map(|(principal, resource)| {
        Script::checks(&[Asked { principal, action: action.clone(), resource, expected: true }])
    });
    let mut measured = [const { Vec::<Measurement>::new() }; 3];
    for _ in 0..scale.rounds {
        for (script, all) in scripts.iter().zip(&mut measured) {
            all.push(script.run(&server.address, scale.span / 2).await);
        }
    }
    let [few, deep, many] = measured.map(|all| middle(&all));
    let errors = few.errors + deep.errors + many.errors;
    report.say("cold p50, depth 1, 1 assignment", few.millis(0.5), "ms");
    report.aim("cold p50, depth 50 / depth 1", deep.millis(0.5) / few.millis(0.5), "x", Aim::AtMost(3.0));
    let what = format!("cold p50, {} assignments / 1", scale.many);
    report.aim(what, many.millis(0.5) / few.millis(0.5), "x", Aim::AtMost(3.0));
    report.errors("growth: wrong or failed answers", errors);
}

/// Grants and revokes, while others ask; counts answers by the same process that are no longer right.
pub(crate) async fn revocation(scale: &Scale, database: &str, world: &World, asked: &[Asked], report: &mut Report) {
    let server = Server::cached(database, &WARM).await;
    let script = Script::checks(asked);
    let rounds = if scale.rounds > 1 { 500 } else { 20 };
    let done = AtomicBool::new(false);
    let load = async {
        let mut errors = 0;
        while !done.load(Ordering::SeqCst) {
            errors += script.run(&server.address, scale.span / 10).await.errors;
        }
        errors
    };
    let changes = async {
        let mut connection = Connection::to(&server.address).await;
        let (role, action) = world.some_role();
        let (principal, resource) = (Uuid::from_u128(0xfe << 64 | 1), world.some_root());
        let body: Bytes = Asked { principal, action, resource, expected: true }.body().into();
        let grant = json!({ "principal_id": principal, "role_id": role, "entity_id": resource }).to_string();
        let mut old = 0;
        for _ in 0..rounds {
            let (_, assignment) = connection.send(Method::POST, "/api/v1/assignments", grant.clone().into()).await;
            let assignment: serde_json::Value = serde_json::from_slice(&assignment).expect("an assignment");
            // Evaluated, then from the cache.
            for _ in 0..2 {
                let (_, answer) = connection.send(Method::POST, "/api/v1/authorize", body.clone()).await;
                old += u64::from(*answer != br#"{"authorized":true}"#[..]);
            }
            let path = format!("/api/v1/assignments/{}", assignment["id"].as_str().expect("an id"));
            connection.send(Method::DELETE, &path, Bytes::new()).await;
            let (_, answer) = connection.send(Method::POST, "/api/v1/authorize", body.clone()).await;
            old += u64::from(*answer != br#"{"authorized":false}"#[..]);
        }
        done.store(true, Ordering::SeqCst);
        old
    };
    let (errors, old) = tokio::join!(load, changes);
    report.say("grants and revocations under load", f64::from(rounds), "");
    report.errors("old answers by the process that changed it", old);
    report.errors("revocation: wrong or failed answers to the others", errors);
}
