//! `EPR-Revision` and `EPR-At-Least`: an answer names the state that it rests on, and rests on the state that its
//! caller names, whichever process gives it.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use epr_core::clock::SystemClock;
use epr_core::domain::Revision;
use epr_testkit::api::{Answer, Api, id_of};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use epr_testkit::proxy::Proxy;
use epr_testkit::redis::RedisServer;
use epr_testkit::wait;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cache::{USER, World};

const CHANGES_SESSION: &str = "omen-epr changes";
const NEWEST: &str = "SELECT MAX(sequence) FROM audit_logs";

fn revision_of(answer: &Answer) -> Option<Revision> {
    let value = answer.headers.get("epr-revision")?;
    Some(value.to_str().unwrap().parse().unwrap())
}

fn check_body(resource: &str) -> Value {
    json!({"user_id": USER, "action": "document:download", "resource_id": resource})
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_names_its_last_entry_and_one_that_changes_nothing_the_present_state(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let mut before = None;
    // The answer's revision, which is that of the newest entry if the call is a change.
    let mut take = async |answer: Answer, changes: bool| {
        assert!(answer.status.is_success(), "{}", answer.body);
        let revision = revision_of(&answer).expect("a revision");
        if changes {
            assert_eq!(revision.sequence, api.database.number(NEWEST).await, "{}", answer.body);
            assert!(before.is_none_or(|before| before < revision), "{}", answer.body);
        } else {
            assert_eq!(Some(revision), before, "{}", answer.body);
        }
        before = Some(revision);
        answer.body
    };
    let entity = take(api.post("/api/v1/entities", json!({"name": "a", "type": "spv"})).await, true).await;
    let entity = format!("/api/v1/entities/{}", id_of(&entity));
    take(api.patch(&entity, json!({"name": "b"})).await, true).await;
    take(api.patch(&entity, json!({"name": "b"})).await, false).await;
    // Two entries.
    take(api.patch(&entity, json!({"name": "c", "status": "archived"})).await, true).await;
    take(api.post(&format!("{entity}/archive"), json!({})).await, false).await;
    let role = json!({"name": "Reader", "permissions": ["document:download"]});
    let role = id_of(&take(api.post("/api/v1/roles", role).await, true).await);
    take(api.patch(&format!("/api/v1/roles/{role}"), json!({"description": "d"})).await, true).await;
    take(api.patch(&format!("/api/v1/roles/{role}"), json!({"description": "d"})).await, false).await;
    let assigned = json!({"principal_id": USER, "role_id": role});
    let assignment = id_of(&take(api.post("/api/v1/assignments", assigned.clone()).await, true).await);
    // An entry that changes no row of the registry is no revision.
    api.post("/api/v1/authorize", check_body(entity.rsplit('/').next().unwrap())).await.expect(200);
    take(api.post("/api/v1/assignments", assigned).await, false).await;
    take(api.delete(&format!("/api/v1/assignments/{assignment}")).await, true).await;
    take(api.post("/api/v1/principals", json!({"id": USER, "display_name": "A"})).await, true).await;
    let principal = format!("/api/v1/principals/{USER}");
    take(api.patch(&principal, json!({"status": "suspended"})).await, true).await;
    take(api.patch(&principal, json!({"status": "suspended"})).await, false).await;
    take(api.post(&format!("{principal}/erase"), json!({})).await, true).await;
    take(api.post(&format!("{principal}/erase"), json!({})).await, false).await;
    // An error has none.
    let taken = api.post("/api/v1/roles", json!({"name": "Reader"})).await;
    assert_eq!((taken.status.as_u16(), revision_of(&taken)), (409, None));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_names_the_state_of_its_facts_cached_or_not(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let world = World::create(&api).await;
    let check = async || revision_of(&api.post("/api/v1/authorize", check_body(&world.spv)).await).unwrap();
    let evaluated = check().await;
    assert_eq!(evaluated.sequence, api.database.number(NEWEST).await - 1, "the entry before that of the decision");
    // Registering an entity changes the registry and no decision: the cached one stays, and says what it rests on.
    let other = api.post("/api/v1/entities", json!({"name": "other", "type": "spv"})).await;
    let newest = revision_of(&other).unwrap();
    assert_eq!(check().await, evaluated);
    let explained = api.post("/api/v1/explain", check_body(&world.spv)).await;
    assert_eq!(revision_of(&explained), Some(newest));
    assert_eq!(explained.body["revision"], newest.to_string());
    // Facts from memory may be of an earlier state, while nothing that concerns them has changed.
    wait::until("facts of the newest state", async || {
        // Another question each time: the answer is cached.
        let body = json!({"principal_id": Uuid::new_v4(), "action": "document:upload", "resource_id": world.spv});
        let seen = revision_of(&api.post("/api/v1/permissions/check", body).await).unwrap();
        assert!(evaluated <= seen && seen <= newest);
        seen == newest
    })
    .await;
    let unknown = api.post("/api/v1/authorize", check_body(USER)).await;
    assert_eq!((unknown.status.as_u16(), revision_of(&unknown)), (404, None));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_names_the_state_of_its_pages_and_a_repeated_creation_the_present_one(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let world = World::create(&api).await;
    let body = json!({"name": "keyed", "type": "spv"}).to_string();
    let key = [("Idempotency-Key", "one")];
    let created = revision_of(&api.raw(Method::POST, "/api/v1/entities", &key, body.clone()).await).unwrap();
    let lists: Vec<_> = readers(&world).into_iter().filter(|(_, path, _)| path.contains("/access/")).collect();
    assert_eq!(lists.len(), 4);
    for (method, path, body) in &lists {
        let page = api.raw(method.clone(), path, &[], body.clone()).await;
        assert_eq!(revision_of(&page), Some(created), "{path}");
        assert_eq!(page.expect(200)["revision"], created.to_string(), "{path}");
    }
    // The entries of the lists change no row of the registry; this one does.
    let other = revision_of(&api.post("/api/v1/entities", json!({"name": "other", "type": "spv"})).await).unwrap();
    let repeated = api.raw(Method::POST, "/api/v1/entities", &key, body).await;
    assert_eq!(repeated.headers["idempotency-replayed"], "true");
    assert_eq!(revision_of(&repeated), Some(other));
    // Events are no state of the registry.
    let event = json!({"event_type": "a.b", "source": "vault", "payload": {}}).to_string();
    for _ in 0..2 {
        let answer = api.raw(Method::POST, "/api/v1/events", &key, event.clone()).await;
        assert_eq!((answer.status.as_u16(), revision_of(&answer)), (201, None));
    }
    // The second page names the revision of the first.
    let first = json!({"principal_id": USER, "action": "document:download", "limit": 1});
    let page = api.post("/api/v1/access/resources", first.clone()).await;
    let mut second = first;
    second["next"] = page.body["next"].clone();
    assert!(second["next"].is_string(), "{}", page.body);
    let page = api.post("/api/v1/access/resources", second).await;
    assert_eq!((page.status.as_u16(), revision_of(&page)), (200, Some(other)), "{}", page.body);
}

/// Every route that takes `EPR-At-Least`.
fn readers(world: &World) -> Vec<(Method, String, String)> {
    let question = check_body(&world.spv).to_string();
    let check = json!({"principal_id": USER, "action": "document:download", "resource_id": world.spv}).to_string();
    let principals = json!({"action": "document:download", "resource_id": world.spv}).to_string();
    let resources = json!({"principal_id": USER, "action": "document:download"});
    let mut subtrees = resources.clone();
    subtrees["form"] = json!("subtrees");
    let actions = json!({"principal_id": USER, "resource_id": world.spv}).to_string();
    let get = |path: String| (Method::GET, path, String::new());
    vec![
        (Method::POST, "/api/v1/authorize".into(), question.clone()),
        (Method::POST, "/api/v1/permissions/check".into(), check),
        (Method::POST, "/api/v1/explain".into(), question),
        (Method::POST, "/api/v1/access/principals".into(), principals),
        (Method::POST, "/api/v1/access/resources".into(), resources.to_string()),
        (Method::POST, "/api/v1/access/resources".into(), subtrees.to_string()),
        (Method::POST, "/api/v1/access/actions".into(), actions),
        get(format!("/api/v1/entities/{}", world.spv)),
        get("/api/v1/entities?type=spv".into()),
        get(format!("/api/v1/roles/{}", world.role)),
        get("/api/v1/roles".into()),
        get(format!("/api/v1/assignments/{}", world.assignment)),
        get("/api/v1/assignments?limit=5".into()),
        get(format!("/api/v1/principals/{USER}")),
        get("/api/v1/principals".into()),
    ]
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_is_malformed_foreign_or_never_reached_is_no_answer(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let settings = [("EPR_REQUEST_TIMEOUT", "1")];
    let api = Api::with_settings(database, Arc::new(SystemClock), &settings).await;
    let world = World::create(&api).await;
    let registered = api.post("/api/v1/principals", json!({"id": USER})).await;
    let newest = revision_of(&registered).unwrap();
    let foreign =
        revision_of(&Api::start(DatabaseKind::Sqlite).await.post("/api/v1/roles", json!({"name": "role"})).await);
    let (newest_text, foreign) = (newest.to_string(), foreign.unwrap().to_string());
    let future = Revision { sequence: newest.sequence + 1_000, ..newest }.to_string();
    for (method, path, body) in readers(&world) {
        let ask = async |headers: &[(&str, &str)]| api.raw(method.clone(), &path, headers, body.clone()).await;
        // Cached by the first, where that is possible.
        for _ in 0..2 {
            assert!(ask(&[("EPR-At-Least", &newest_text)]).await.status.is_success(), "{path}");
        }
        for malformed in ["", "12", &newest_text[1..], "é"] {
            assert_eq!(
                ask(&[("EPR-At-Least", malformed)]).await.field_errors(),
                ["header.EPR-At-Least: revision_parsing"],
                "{path}: {malformed}"
            );
        }
        let twice = ask(&[("EPR-At-Least", &newest_text), ("EPR-At-Least", &newest_text)]).await;
        assert_eq!(twice.field_errors(), ["header.EPR-At-Least: duplicate"], "{path}");
        let other = ask(&[("EPR-At-Least", &foreign)]).await;
        assert!(other.body["detail"].as_str().unwrap().contains("another incarnation"), "{path}");
        assert_eq!((other.status.as_u16(), revision_of(&other)), (409, None), "{path}");
        let unreached = ask(&[("EPR-At-Least", &future)]).await;
        assert!(unreached.headers.contains_key("retry-after"), "{path}");
        let sentence = unreached.body["detail"].as_str().unwrap().to_owned();
        assert!(sentence.contains("has not reached the revision"), "{path}: {sentence}");
        assert_eq!((unreached.status.as_u16(), revision_of(&unreached)), (503, None), "{path}");
    }
    // A caller that waits for a revision gets its answer when the revision is there.
    let next = Revision { sequence: newest.sequence + 1, ..newest }.to_string();
    // Decisions of the loop above may have been recorded meanwhile: the sequence is the next one of the ledger.
    let next = Revision { sequence: api.database.number(NEWEST).await + 1, ..next.parse().unwrap() }.to_string();
    let path = format!("/api/v1/entities/{}", world.spv);
    let headers = [("EPR-At-Least", next.as_str())];
    let waiting = api.raw(Method::GET, &path, &headers, "");
    let changing = api.patch(&path, json!({"name": "renamed"}));
    let (waited, changed) = tokio::join!(waiting, changing);
    assert_eq!(waited.expect(200)["name"], "renamed");
    changed.expect(200);
}

/// One process changes, and hands the revision to a caller of another, which asks at once.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite, false)]
#[case::postgres(DatabaseKind::Postgres, false)]
#[case::postgres_and_redis(DatabaseKind::Postgres, true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_answers_from_the_state_that_a_change_was_answered_with(
    #[case] kind: DatabaseKind,
    #[case] with_redis: bool,
) {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings = if with_redis { vec![("EPR_REDIS_URL", url.as_str())] } else { Vec::new() };
    let database = Arc::new(Database::create(kind).await);
    let one = Api::with_settings(database.clone(), Arc::new(SystemClock), &settings).await;
    let two = Api::with_settings(database.clone(), Arc::new(SystemClock), &settings).await;
    let World { spv, role, mut assignment, .. } = World::create(&one).await;
    let (mut stale, mut cached) = (0, 0);
    for round in 0..60 {
        // Both processes cache the decision of the state before.
        for _ in 0..2 {
            two.post("/api/v1/authorize", check_body(&spv)).await.expect(200);
        }
        let is_allowed = round % 2 == 1;
        let changed = if is_allowed {
            let assigned = json!({"principal_id": USER, "role_id": role});
            let answer = one.post("/api/v1/assignments", assigned).await;
            assignment = id_of(&answer.body);
            answer
        } else {
            one.delete(&format!("/api/v1/assignments/{assignment}")).await
        };
        let revision = revision_of(&changed).unwrap();
        let plain = two.post("/api/v1/authorize", check_body(&spv)).await;
        stale += u32::from(plain.body["authorized"] != is_allowed);
        let (text, body) = (revision.to_string(), check_body(&spv).to_string());
        let headers = [("EPR-At-Least", text.as_str())];
        for _ in 0..2 {
            let answer = two.raw(Method::POST, "/api/v1/authorize", &headers, body.clone()).await;
            assert!(revision_of(&answer).unwrap() >= revision, "round {round}");
            assert_eq!(answer.expect(200)["authorized"], is_allowed, "round {round}");
        }
        let question = json!({"principal_id": USER, "resource_id": spv}).to_string();
        let actions = two.raw(Method::POST, "/api/v1/access/actions", &headers, question).await.expect(200);
        assert_eq!(actions["items"].as_array().unwrap().is_empty(), !is_allowed, "round {round}");
        let explained = two.raw(Method::POST, "/api/v1/explain", &headers, body.clone()).await;
        assert_eq!(explained.expect(200)["decision"], is_allowed, "round {round}");
        let listed = two.raw(Method::GET, "/api/v1/assignments", &headers, "").await.expect(200);
        let held = listed.as_array().unwrap().iter().any(|one| one["id"] == assignment.as_str());
        assert_eq!(held, is_allowed, "round {round}");
        // What was evaluated for the revision answers the next caller that names it.
        let tier = r#"tier="memory""#;
        let before = crate::cache::metric(&two.epr, "epr_decisions_total{").await;
        assert!(before > 0 && two.epr.metrics_text().await.contains(tier));
        cached += u32::from(two.raw(Method::POST, "/api/v1/authorize", &headers, body).await.status.is_success());
    }
    println!("{stale} of 60 answers without the header were older than the change; {cached} repeated");
}

/// The change feed of the second process is silent, which it has not noticed yet: it answers from its cache, and still
/// not when the caller names the revision.
#[rstest]
#[case::memory(false)]
#[case::shared(true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_feed_is_silent_answers_from_the_named_state(#[case] with_redis: bool) {
    let redis = RedisServer::start().await;
    let redis_url = redis.url();
    let database = Arc::new(Database::create(DatabaseKind::Postgres).await);
    // The first process knows nothing of the shared cache, so that only the second one renews it.
    let one = Api::on(database.clone()).await;
    let World { spv, role, mut assignment, .. } = World::create(&one).await;
    let (proxy, url) = Proxy::in_front_of(&database).await;
    let url = format!("{url}?sslmode=disable");
    let mut environment = vec![("EPR_DATABASE_URL", url.as_str())];
    if with_redis {
        environment.push(("EPR_REDIS_URL", redis_url.as_str()));
    }
    let (_two, base) = Process::api(&environment).await;
    let client = reqwest::Client::builder().timeout(Duration::from_mins(1)).build().unwrap();
    let ask = async |revision: Option<Revision>| {
        let mut request = client.post(format!("{base}/api/v1/authorize")).json(&check_body(&spv));
        if let Some(revision) = revision {
            request = request.header("EPR-At-Least", revision.to_string());
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let at: Revision = answer.headers()["epr-revision"].to_str().unwrap().parse().unwrap();
        (answer.json::<Value>().await.unwrap()["authorized"].as_bool().unwrap(), at)
    };
    let dependencies = async || {
        let ready = client.get(format!("{base}/readyz")).send().await.unwrap().json::<Value>().await.unwrap();
        ready["dependencies"].clone()
    };
    let mut is_allowed = true;
    let mut stale = 0;
    for round in 0..20 {
        wait::until("a cache in use", async || {
            let dependencies = dependencies().await;
            let is_used = |cache: &str| dependencies[cache]["status"] == "ok";
            is_used("cache") && (!with_redis || is_used("shared_cache"))
        })
        .await;
        // Cached in every tier of the second process.
        wait::until("the present decision", async || ask(None).await.0 == is_allowed).await;
        ask(None).await;
        proxy.silence_named(CHANGES_SESSION);
        is_allowed = !is_allowed;
        let changed = if is_allowed {
            let assigned = json!({"principal_id": USER, "role_id": role});
            let answer = one.post("/api/v1/assignments", assigned).await;
            assignment = id_of(&answer.body);
            answer
        } else {
            one.delete(&format!("/api/v1/assignments/{assignment}")).await
        };
        let revision = revision_of(&changed).unwrap();
        stale += u32::from(ask(None).await.0 != is_allowed);
        for _ in 0..3 {
            let (allowed, at) = ask(Some(revision)).await;
            assert!(at >= revision, "round {round}: {at} is older than {revision}");
            assert_eq!(allowed, is_allowed, "round {round}");
        }
        proxy.forward_named();
        if stale > 2 {
            break;
        }
    }
    // On a busy machine the process notices first; never in every round.
    assert!(stale > 0, "the cache was never behind: this proves nothing");
}
