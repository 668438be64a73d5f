//! Lists of access: first pages, subtrees, a full walk and its memory, and checks beside ten walkers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::Method;
use epr_testkit::seed;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::http::{Connection, Script};
use crate::load::middle;
use crate::report::{Aim, Report};
use crate::scale::Scale;
use crate::server::Server;
use crate::world::{Asked, World, tidy};

/// One entity in this many is archived.
const ARCHIVED_EVERY: usize = 2_000;
/// Callers that walk at once.
const WALKERS: usize = 10;
/// The limit of a page of a walk.
const PAGE: usize = 1_000;

/// A world of its own: the lists are about more entities and assignments than checks are.
pub(crate) async fn measure(scale: &Scale, report: &mut Report) {
    let scale = scale.of_lists();
    let mut rng = seed::rng("bench of lists");
    let world = World::new(&scale, &mut rng);
    let database = world.database().await;
    let (heavy, walker) = (Uuid::from_u128(0xf6 << 64 | 1), Uuid::from_u128(0xf7 << 64 | 1));
    let (role, action) = world.some_role();
    let expected = prepare(&scale, &database.url, &world, role, (heavy, walker)).await;
    tidy(&database).await;
    let asked: Vec<Asked> =
        world.questions(scale.questions, &mut rng).into_iter().filter(|asked| asked.expected).collect();
    let server = Server::api(&database.url, &[]).await;
    let Scale { entities, principals, assignments, .. } = scale;
    report.say("lists of access: entities", count(entities), "");
    report.say("lists of access: assignments", count(assignments), "");
    report.say("lists of access: principals", count(principals), "");
    first_pages(&server, &asked, scale.list_reads, report).await;
    subtrees(&server, heavy, &action, &scale, report).await;
    walk(&server, walker, &action, expected, report).await;
    beside_checks(&scale, &database.url, &asked, (walker, &action), report).await;
}

#[allow(clippy::cast_precision_loss, reason = "a count")]
fn count(number: usize) -> f64 {
    number as f64
}

/// Adds a principal with many assignments and one that reaches whole trees, and archives some entities. Returns the
/// number of entities that the second one reaches.
async fn prepare(scale: &Scale, url: &str, world: &World, role: Uuid, (heavy, walker): (Uuid, Uuid)) -> usize {
    let mut conn = PgConnection::connect(url).await.expect("the database");
    let archived: Vec<Uuid> = world.places(usize::MAX).skip(7).step_by(ARCHIVED_EVERY).collect();
    let trees: Vec<(Uuid, Vec<Uuid>)> = world.trees().collect();
    let step = (trees.len() / scale.walked_trees).max(1);
    let chosen: Vec<&(Uuid, Vec<Uuid>)> = trees.iter().step_by(step).take(scale.walked_trees).collect();
    let places: Vec<Uuid> = world.places(usize::MAX).collect();
    let spread = places.iter().step_by((places.len() / scale.held).max(1)).take(scale.held);
    let assign = |principal: Uuid, place: &Uuid| {
        format!(
            "INSERT INTO role_assignments (id, principal_id, role_id, entity_id, effective_at) \
             VALUES ('{}', '{principal}', '{role}', '{place}', '2026-01-01Z');",
            Uuid::from_u128(rand::random())
        )
    };
    let mut sql: String = spread.map(|place| assign(heavy, place)).collect();
    sql.extend(chosen.iter().map(|(root, _)| assign(walker, root)));
    sql.extend(archived.iter().map(|id| format!("UPDATE entities SET status = 'archived' WHERE id = '{id}';")));
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.expect("rows");
    let reached = chosen.iter().flat_map(|(_, all)| all);
    reached.filter(|id| !archived.contains(id)).count()
}

/// Sends `bodies` one after the other; returns the times of the answers.
async fn times(server: &Server, path: &str, bodies: impl Iterator<Item = Value>) -> Histogram<u64> {
    let mut connection = Connection::to(&server.address).await;
    let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("a minute at most");
    for body in bodies {
        let begun = Instant::now();
        let (status, answer) = connection.send(Method::POST, path, body.to_string().into()).await;
        times.saturating_record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        assert!(status == 200, "{path}: {status} {}", String::from_utf8_lossy(&answer));
    }
    times
}

fn millis(times: &Histogram<u64>, share: f64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "microseconds")]
    let micros = times.value_at_quantile(share) as f64;
    micros / 1000.0
}

async fn first_pages(server: &Server, asked: &[Asked], reads: usize, report: &mut Report) {
    type Body = fn(&Asked) -> Value;
    let bodies: [(&str, Body); 3] = [
        ("principals", |asked| json!({"action": asked.action, "resource_id": asked.resource})),
        ("resources", |asked| json!({"principal_id": asked.principal, "action": asked.action})),
        ("actions", |asked| json!({"principal_id": asked.principal, "resource_id": asked.resource})),
    ];
    for (list, body) in bodies {
        let path = format!("/api/v1/access/{list}");
        let measured = times(server, &path, asked.iter().take(reads).map(body)).await;
        report.aim(format!("first page of access/{list}, p50"), millis(&measured, 0.5), "ms", Aim::AtMost(20.0));
        report.aim(format!("first page of access/{list}, p99"), millis(&measured, 0.99), "ms", Aim::AtMost(100.0));
    }
}

async fn subtrees(server: &Server, principal: Uuid, action: &str, scale: &Scale, report: &mut Report) {
    let body = json!({"principal_id": principal, "action": action, "form": "subtrees", "limit": PAGE});
    let measured = times(server, "/api/v1/access/resources", std::iter::repeat_n(body, scale.list_reads / 5)).await;
    let what = format!("subtrees of {} assignments, p50", scale.held);
    report.aim(what, millis(&measured, 0.5), "ms", Aim::AtMost(20.0));
    report.say("the same, p99", millis(&measured, 0.99), "ms");
}

/// Walks a list once; returns the number of items.
async fn walk_once(address: &str, principal: Uuid, action: &str, until: &AtomicBool) -> usize {
    let mut connection = Connection::to(address).await;
    let mut body = json!({"principal_id": principal, "action": action, "limit": PAGE});
    let mut items = 0;
    loop {
        let (status, page) = connection.send(Method::POST, "/api/v1/access/resources", body.to_string().into()).await;
        // More callers than lists may have at a time are told to come back.
        if status == 503 && !until.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        assert!(status == 200 || until.load(Ordering::SeqCst), "{status} {}", String::from_utf8_lossy(&page));
        let (listed, next) = read_page(&page);
        items += listed;
        match next {
            Some(next) if !until.load(Ordering::SeqCst) => body["next"] = next.into(),
            _ => return items,
        }
    }
}

/// The number of items of a page, and its token, without parsing the items.
fn read_page(page: &Bytes) -> (usize, Option<String>) {
    let text = String::from_utf8_lossy(page);
    let next = text.rsplit_once(r#""next":""#).and_then(|(_, rest)| rest.split_once('"')).map(|(next, _)| next.into());
    // Each item names one assignment.
    (text.matches(r#""assignment_id":""#).count(), next)
}

async fn walk(server: &Server, principal: Uuid, action: &str, expected: usize, report: &mut Report) {
    let never = AtomicBool::new(false);
    let before = server.resident();
    let begun = Instant::now();
    let items = walk_once(&server.address, principal, action, &never).await;
    let seconds = begun.elapsed().as_secs_f64();
    let first = server.resident();
    report.say("items of a full walk", count(items), "");
    report.aim("full walk in pages of 1000", count(items) / seconds, "items/s", Aim::AtLeast(20_000.0));
    walk_once(&server.address, principal, action, &never).await;
    let after = server.resident();
    report.say("API before the walk, resident", before.0, "MB");
    report.say("API after the first walk, resident", first.0, "MB");
    report.aim("growth of the API by a second walk, most resident", after.1 - first.1, "MB", Aim::AtMost(4.0));
    report.errors("walk: missing or additional items", u64::from(items != expected));
}

/// Checks alone and beside ten callers that walk, in turn.
async fn beside_checks(
    scale: &Scale,
    database: &str,
    asked: &[Asked],
    (principal, action): (Uuid, &str),
    report: &mut Report,
) {
    let script = Script::checks(asked);
    for (what, environment) in [
        ("warm", [("EPR_AUDIT_DECISIONS", "off"), ("EPR_DECISION_CACHE", "true")]),
        ("cold", [("EPR_AUDIT_DECISIONS", "off"), ("EPR_DECISION_CACHE", "false")]),
    ] {
        let (server, mut errors) = if what == "warm" {
            let server = Server::cached(database, &environment).await;
            let errors = script.once(&server.address).await;
            (server, errors)
        } else {
            (Server::api(database, &environment).await, 0)
        };
        let [mut alone, mut beside] = [const { Vec::new() }; 2];
        let mut walked = 0;
        for _ in 0..scale.rounds {
            alone.push(script.run(&server.address, scale.span).await);
            let done = Arc::new(AtomicBool::new(false));
            let walkers: Vec<_> = (0..WALKERS)
                .map(|_| {
                    let (address, action, done) = (server.address.clone(), action.to_owned(), Arc::clone(&done));
                    tokio::spawn(async move {
                        let mut items = 0;
                        while !done.load(Ordering::SeqCst) {
                            items += walk_once(&address, principal, &action, &done).await;
                        }
                        items
                    })
                })
                .collect();
            beside.push(script.run(&server.address, scale.span).await);
            done.store(true, Ordering::SeqCst);
            for walker in walkers {
                walked += walker.await.expect("a walker");
            }
        }
        let [alone, beside] = [middle(&alone), middle(&beside)];
        errors += alone.errors + beside.errors;
        let seconds = scale.span.as_secs_f64() * count(scale.rounds);
        report.say(format!("{what} check alone"), alone.rate, "req/s");
        report.say(format!("{what} check beside {WALKERS} walkers"), beside.rate, "req/s");
        report.say(format!("{WALKERS} walkers beside {what} checks"), count(walked) / seconds, "items/s");
        report.aim(
            format!("{what} check beside {WALKERS} walkers / alone"),
            beside.rate / alone.rate,
            "%",
            Aim::AtLeast(0.8),
        );
        report.errors(&format!("{what} checks beside walkers: wrong or failed answers"), errors);
    }
}
