//! Assignments of several callers in one transaction: each caller is answered as if its own were alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use epr_core::clock::SystemClock;
use epr_testkit::api::{Answer, Api};
use epr_testkit::aws::{self, Topic};
use epr_testkit::database::{Database, DatabaseKind, LOCK_WAITERS};
use epr_testkit::ledger::audit_verify;
use epr_testkit::process::Process;
use epr_testkit::wait;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The number of transactions that wrote entries of assignments.
const TRANSACTIONS: &str =
    "SELECT COUNT(DISTINCT CAST(xmin AS text)) FROM audit_logs WHERE action = 'role_assignment.create'";

fn principal(n: u128) -> Uuid {
    Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0000 + n)
}

/// A transaction of somebody else that holds the locks of `statement`.
async fn hold(database: &Database, statement: &str) -> PgConnection {
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("BEGIN; {statement}"))).execute(&mut conn).await.unwrap();
    conn
}

async fn release(mut conn: PgConnection) {
    sqlx::raw_sql("COMMIT").execute(&mut conn).await.unwrap();
}

fn assign(api: &Api, body: Value) -> JoinHandle<Answer> {
    let api = api.clone();
    tokio::spawn(async move { api.post("/api/v1/assignments", body).await })
}

/// Waits until so many requests are in progress, and a transaction waits for a lock: what is not in it yet shares the
/// next one.
async fn until_in_progress(database: &Database, requests: f64, metrics: impl AsyncFn() -> String) {
    let in_progress = async || {
        let text = metrics().await;
        let line = text.lines().find_map(|line| line.strip_prefix("epr_http_requests_in_flight "));
        line.expect("the gauge").parse::<f64>().expect("a number") >= requests
    };
    wait::until("requests in progress", in_progress).await;
    database.until_at_least(LOCK_WAITERS, 1).await;
}

async fn metrics(api: &Api) -> String {
    api.text(Request::get("/metrics").body(Body::empty()).unwrap()).await.2
}

/// What a caller is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    New,
    Same,
    UnknownRole,
    UnknownEntity,
    OtherType,
    Erased,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_caller_of_a_group_gets_its_own_answer_and_revision() {
    let api = Api::start(DatabaseKind::Postgres).await;
    let spv = api.entity("S", "spv", None).await;
    let role = api.role("Reader", &[], &["a:do"]).await;
    let of_issuers = api.role("Issuer", &["issuer"], &["a:do"]).await;
    let erased = principal(0xe);
    let registered = json!({"id": erased, "type": "user", "display_name": "Eve"});
    api.post("/api/v1/principals", registered).await.expect(201);
    api.post(&format!("/api/v1/principals/{erased}/erase"), json!({})).await.expect(200);

    let lock = hold(&api.database, "SELECT * FROM audit_chain_head FOR UPDATE").await;
    let kinds = [Kind::New, Kind::Same, Kind::UnknownRole, Kind::UnknownEntity, Kind::OtherType, Kind::Erased];
    let calls: Vec<_> = (0..48)
        .map(|n: u128| {
            let kind = kinds[usize::try_from(n % 6).unwrap()];
            let unknown = json!(Uuid::from_u128(0xdead));
            let body = match kind {
                Kind::New => json!({"principal_id": principal(100 + n), "role_id": role, "entity_id": spv}),
                Kind::Same => json!({"principal_id": principal(1), "role_id": role, "entity_id": spv}),
                Kind::UnknownRole => json!({"principal_id": principal(2), "role_id": unknown}),
                Kind::UnknownEntity => json!({"principal_id": principal(2), "role_id": role, "entity_id": unknown}),
                Kind::OtherType => json!({"principal_id": principal(2), "role_id": of_issuers, "entity_id": spv}),
                Kind::Erased => json!({"principal_id": erased, "role_id": role}),
            };
            (kind, assign(&api, body))
        })
        .collect();
    // The others are refused at once.
    until_in_progress(&api.database, 16.0, async || metrics(&api).await).await;
    release(lock).await;
    let mut answers: BTreeMap<Kind, Vec<Answer>> = BTreeMap::new();
    for (kind, call) in calls {
        answers.entry(kind).or_default().push(call.await.unwrap());
    }
    for (kind, status, sentence) in [
        (Kind::UnknownRole, 404, "Role 00000000-0000-0000-0000-00000000dead not found"),
        (Kind::UnknownEntity, 400, "Entity 00000000-0000-0000-0000-00000000dead not found for assignment"),
        (Kind::OtherType, 400, "Role Issuer cannot be assigned to entity type spv"),
        (Kind::Erased, 409, "was erased at"),
    ] {
        for answer in answers.remove(&kind).unwrap() {
            let body = answer.expect(status).to_string();
            assert!(body.contains(sentence), "{body}");
        }
    }
    let sequence_of = async |id: &str| {
        let entry =
            format!("SELECT sequence FROM audit_logs WHERE CAST(details AS text) LIKE '%\"assignment_id\":\"{id}\"%'");
        api.database.number(&entry).await
    };
    let newest = api.database.number("SELECT MAX(sequence) FROM audit_logs").await;
    let mut first = Vec::new();
    for (kind, all) in answers {
        for answer in all {
            let revision = answer.headers["epr-revision"].to_str().unwrap().to_owned();
            let (_, at) = revision.rsplit_once('.').unwrap();
            let at: i64 = at.parse().unwrap();
            let body = answer.expect(201);
            let id = body["id"].as_str().unwrap().to_owned();
            let entry = sequence_of(&id).await;
            match kind {
                Kind::New => assert_eq!(at, entry, "the revision of its own entry"),
                _ => {
                    assert!(at >= entry && at <= newest, "{entry} {at} {newest}");
                    first.push(id);
                }
            }
        }
    }
    first.dedup();
    assert_eq!(first.len(), 1, "the same key is assigned once");
    assert_eq!(api.database.number("SELECT COUNT(*) FROM role_assignments").await, 9);
    let transactions = api.database.number(TRANSACTIONS).await;
    assert!(transactions < 9, "there were no groups");
    let (code, report) = audit_verify(&api.database.url, &[]).await;
    assert_eq!(code, 0, "{report}");
}

/// One whose principal is locked by somebody else keeps none of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_that_waits_for_a_lock_keeps_no_other_waiting() {
    let api = Api::start(DatabaseKind::Postgres).await;
    let role = api.role("Reader", &[], &["a:do"]).await;
    let locked = principal(1);
    api.post("/api/v1/principals", json!({"id": locked, "type": "user"})).await.expect(201);
    let lock = hold(&api.database, &format!("SELECT * FROM principals WHERE id = '{locked}' FOR UPDATE")).await;
    let waiting = assign(&api, json!({"principal_id": locked, "role_id": role}));
    api.database.until_at_least(LOCK_WAITERS, 1).await;
    let all = (0..40).map(|n: u128| {
        let principal = if n % 10 == 5 { locked } else { principal(100 + n) };
        (principal, assign(&api, json!({"principal_id": principal, "role_id": role})))
    });
    let (also_waiting, others): (Vec<_>, Vec<_>) = all.partition(|(principal, _)| *principal == locked);
    for (_, other) in others {
        other.await.unwrap().expect(201);
    }
    assert!(!waiting.is_finished(), "the lock is held");
    release(lock).await;
    let id = waiting.await.unwrap().expect(201)["id"].clone();
    for (_, same) in also_waiting {
        assert_eq!(same.await.unwrap().expect(201)["id"], id);
    }
}

/// A commit that the database refuses because of one assignment makes none of the others fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fails_because_of_one_assignment_concerns_no_other() {
    let api = Api::start(DatabaseKind::Postgres).await;
    let role = api.role("Reader", &[], &["a:do"]).await;
    let refused = principal(5);
    let refuse = format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$; \
         CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON role_assignments DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW WHEN (NEW.principal_id = '{refused}') EXECUTE FUNCTION refuse()"
    );
    api.database.execute(&refuse).await.unwrap();
    let lock = hold(&api.database, "SELECT * FROM audit_chain_head FOR UPDATE").await;
    let calls: Vec<_> = (0..20)
        .map(|n: u128| (principal(n), assign(&api, json!({"principal_id": principal(n), "role_id": role}))))
        .collect();
    until_in_progress(&api.database, 20.0, async || metrics(&api).await).await;
    release(lock).await;
    for (principal, call) in calls {
        let answer = call.await.unwrap();
        if principal == refused {
            assert!(answer.status.is_server_error(), "{answer:?}");
        } else {
            answer.expect(201);
        }
    }
    let entries = "SELECT COUNT(*) FROM audit_logs WHERE action = 'role_assignment.create'";
    let of_refused = format!("SELECT COUNT(*) FROM role_assignments WHERE principal_id = '{refused}'");
    assert_eq!(api.database.number("SELECT COUNT(*) FROM role_assignments").await, 19);
    assert_eq!((api.database.number(&of_refused).await, api.database.number(entries).await), (0, 19));
    let (code, report) = audit_verify(&api.database.url, &[]).await;
    assert_eq!(code, 0, "{report}");
}

/// The lines about an entry have the request of its caller.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lines_of_a_group_name_the_requests_of_its_callers() {
    let database = Arc::new(Database::create(DatabaseKind::Postgres).await);
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", database.url.as_str())]).await;
    let client = reqwest::Client::new();
    let post = |path: &str, request: &str, body: &Value| {
        let url = format!("{base}/api/v1/{path}");
        let sent = client.post(url).header("content-type", "application/json").header("x-request-id", request);
        let sent = sent.body(body.to_string()).send();
        async move { serde_json::from_str::<Value>(&sent.await.unwrap().text().await.unwrap()).unwrap() }
    };
    let role = post("roles", "role", &json!({"name": "Reader", "permissions": ["a:do"]})).await["id"].clone();
    let lock = hold(&database, "SELECT * FROM audit_chain_head FOR UPDATE").await;
    let calls: Vec<_> = (0..20)
        .map(|n: u128| {
            let request = format!("request-{n}");
            let body = json!({"principal_id": principal(n), "role_id": role});
            tokio::spawn(post("assignments", &request, &body))
        })
        .collect();
    let metrics = async || reqwest::get(format!("{base}/metrics")).await.unwrap().text().await.unwrap();
    until_in_progress(&database, 20.0, metrics).await;
    release(lock).await;
    let mut made = BTreeMap::new();
    for (n, call) in calls.into_iter().enumerate() {
        made.insert(format!("request-{n}"), call.await.unwrap()["id"].clone());
    }
    assert!(database.number(TRANSACTIONS).await < 20, "there were no groups");
    let (_, log) = process.terminate().await;
    for (request, id) in made {
        let own: Vec<_> = log.iter().filter(|line| line["extra"]["request_id"] == request.as_str()).collect();
        let of = |message: &str| own.iter().filter(|line| line["message"] == message).count();
        assert_eq!((of("audit_event"), of("events_engine_publish_skipped")), (1, 1), "{request} {id} {own:#?}");
        let assigned = own.iter().find(|line| line["message"] == "role_assigned").expect("a line about it");
        assert_eq!(assigned["extra"]["assignment_id"], id);
    }
}

/// The events of a group are delivered, each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_of_a_group_are_published_once() {
    let (topic, endpoint) = (Topic::create().await, aws::endpoint());
    let database = Arc::new(Database::create(DatabaseKind::Postgres).await);
    let mut settings = vec![("EPR_DOCUMENT_VAULT_TOPIC_ARN", topic.arn.as_str())];
    settings.extend(aws::environment(&endpoint));
    let api = Api::with_settings(database, Arc::new(SystemClock), &settings).await;
    let role = api.role("Reader", &[], &["a:do"]).await;
    topic.drain().await;
    let lock = hold(&api.database, "SELECT * FROM audit_chain_head FOR UPDATE").await;
    let calls: Vec<_> =
        (0..20).map(|n: u128| assign(&api, json!({"principal_id": principal(n), "role_id": role}))).collect();
    until_in_progress(&api.database, 20.0, async || metrics(&api).await).await;
    release(lock).await;
    let mut made = BTreeSet::new();
    for call in calls {
        made.insert(call.await.unwrap().expect(201)["principal_id"].to_string());
    }
    assert!(api.database.number(TRANSACTIONS).await < 20, "there were no groups");
    let pending = "SELECT COUNT(*) FROM platform_events WHERE delivery_state <> 'succeeded'";
    assert_eq!(api.database.number(pending).await, 0, "a caller is answered when its event is delivered");
    let published = topic.drain().await;
    let named: BTreeSet<_> =
        published.iter().map(|message| message.body["payload"]["principal_id"].to_string()).collect();
    assert_eq!((published.len(), named), (20, made));
}
