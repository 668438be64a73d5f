//! The decision cache: which checks it answers, and which changes invalidate it.

use std::sync::Arc;

use epr_core::clock::SystemClock;
use epr_core::{Epr, TierState};
use epr_testkit::api::{Api, id_of, until_cached};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::metrics;
use epr_testkit::process::{Process, epr};
use epr_testkit::redis::RedisServer;
use epr_testkit::wait;
use rstest::rstest;
use serde_json::{Value, json};

pub(crate) const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const EVALUATED: &str = "SELECT COUNT(*) FROM audit_logs WHERE action = 'authorization.evaluate'";

const MOMENT: &str = "2026-01-01T00:00:00.000000Z";

/// Someone who may download documents of an SPV.
pub(crate) struct World {
    pub(crate) top: String,
    pub(crate) spv: String,
    pub(crate) role: String,
    pub(crate) assignment: String,
}

impl World {
    pub(crate) async fn create(api: &Api) -> Self {
        let top = api.entity("top", "issuer", None).await;
        let spv = api.entity("spv", "spv", Some(&top)).await;
        let role = api.role("Reader", &[], &["document:download"]).await;
        let body = json!({"principal_id": USER, "role_id": role, "entity_id": top});
        let assignment = id_of(&api.post("/api/v1/assignments", body).await.expect(201));
        Self { top, spv, role, assignment }
    }
}

/// The sum of a metric's samples whose line starts with `name`.
pub(crate) async fn metric(epr: &Epr, name: &str) -> u64 {
    metrics::sum(&epr.metrics_text().await, name)
}

/// Waits until the shared cache is in use.
pub(crate) async fn until_up(epr: &Epr) {
    let up = async || epr.cache_state().1.is_some_and(|(_, state)| state == TierState::Ok);
    wait::until("a shared cache in use", up).await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_check_is_answered_from_the_cache_and_not_recorded(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let world = World::create(&api).await;
    for _ in 0..5 {
        assert!(api.authorized(USER, "document:download", &world.spv).await);
        assert!(!api.authorized(USER, "document:upload", &world.spv).await);
    }
    // The ledger has the evaluated decision and not the cached one.
    assert_eq!(api.database.number(EVALUATED).await, 2);
    assert_eq!(metric(&api.epr, r#"epr_decisions_total{outcome="allowed",tier="memory"}"#).await, 4);
    assert_eq!(metric(&api.epr, r#"epr_decisions_total{outcome="denied",tier="memory"}"#).await, 4);
    assert_eq!(metric(&api.epr, "epr_decision_cache_entries").await, 2);
    // The principal's type is part of who it is.
    let body =
        json!({"user_id": USER, "action": "document:download", "resource_id": world.spv, "principal_type": "service"});
    assert_eq!(api.post("/api/v1/authorize", body).await.expect(200), json!({"authorized": false}));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entity_that_does_not_exist_is_not_cached(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let id = "11111111-2222-4333-8444-555555555555";
    let asked = json!({"user_id": USER, "action": "a:b", "resource_id": id});
    api.post("/api/v1/authorize", asked.clone()).await.expect(404);
    let insert = format!(
        "INSERT INTO entities (id, name, type, created_at, updated_at) \
         VALUES ('{id}', 'n', 'spv', '{MOMENT}', '{MOMENT}')"
    );
    api.database.execute(&insert).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(api.post("/api/v1/authorize", asked).await.expect(200), json!({"authorized": false}));
}

/// Changes by a SQL shell: only the database notifies the service.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_made_directly_in_the_database_invalidate(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let world = World::create(&api).await;
    let World { top, spv, role, assignment } = &world;
    let may = async || api.authorized(USER, "document:download", spv).await;
    let changes = [
        format!("UPDATE entities SET parent_id = NULL WHERE id = '{spv}'"),
        format!("UPDATE entities SET parent_id = '{top}' WHERE id = '{spv}'"),
        format!("UPDATE roles SET scope_types = '[\"issuer\"]' WHERE id = '{role}'"),
        format!("UPDATE roles SET scope_types = '[]' WHERE id = '{role}'"),
        "UPDATE permissions SET action = 'other:one' WHERE action = 'document:download'".into(),
        "UPDATE permissions SET action = 'document:download' WHERE action = 'other:one'".into(),
        format!("UPDATE role_assignments SET principal_id = '{top}' WHERE id = '{assignment}'"),
        format!("UPDATE role_assignments SET principal_id = '{USER}' WHERE id = '{assignment}'"),
        format!("DELETE FROM role_permissions WHERE role_id = '{role}'"),
        format!(
            "INSERT INTO role_permissions (role_id, permission_id) \
             SELECT '{role}', id FROM permissions WHERE action = 'document:download'"
        ),
        format!("DELETE FROM role_assignments WHERE id = '{assignment}'"),
    ];
    let mut expected = true;
    for change in changes {
        assert_eq!((may().await, may().await), (expected, expected), "before {change}");
        api.database.execute(&change).await.unwrap_or_else(|error| panic!("{change}: {error}"));
        expected = !expected;
        wait::until(&change, async || may().await == expected).await;
    }
    // A change on which no decision depends invalidates nothing.
    let renewals = api.database.number("SELECT COUNT(*) FROM cache_renewals").await;
    api.post(&format!("/api/v1/entities/{spv}/archive"), json!({})).await.expect(200);
    api.patch(&format!("/api/v1/roles/{role}"), json!({"description": "d"})).await.expect(200);
    api.patch(&format!("/api/v1/entities/{spv}"), json!({"name": "other"})).await.expect(200);
    api.entity("new", "spv", Some(top)).await;
    assert_eq!(api.database.number("SELECT COUNT(*) FROM cache_renewals").await, renewals);
    // Conditions read attributes and external ids.
    api.patch(&format!("/api/v1/entities/{spv}"), json!({"attributes": {"a": 1}})).await.expect(200);
    api.patch(&format!("/api/v1/entities/{spv}"), json!({"external_id": "x"})).await.expect(200);
    let about_entity = format!("SELECT COUNT(*) FROM cache_renewals WHERE principal_id = '{spv}'");
    assert_eq!(api.database.number(&about_entity).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_feed_bypasses_the_cache_until_it_is_back_and_cleared() {
    let api = Api::start(DatabaseKind::Postgres).await;
    let world = World::create(&api).await;
    assert!(api.authorized(USER, "document:download", &world.spv).await);
    assert!(api.authorized(USER, "document:download", &world.spv).await);
    assert_eq!(api.database.number(EVALUATED).await, 1);
    // The line comes back, but cannot find out which database it is on: it does not begin while this lasts.
    api.database.execute("ALTER TABLE cache_namespace RENAME TO cache_namespace_away").await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'omen-epr changes'";
    api.database.execute(cut).await.unwrap();
    wait::until("a cut line", async || api.epr.cache_state().0 == TierState::Bypassed).await;
    // Not ready for the table that is missing; the cache says how it is.
    assert_eq!(api.get("/readyz").await.expect(503)["dependencies"]["cache"]["status"], "bypassed");
    // Evaluated, each time.
    let entries = api.get("/api/v1/audit/entries?action=authorization.evaluate").await.expect(200);
    for _ in 0..3 {
        assert!(api.authorized(USER, "document:download", &world.spv).await);
    }
    let now = api.get("/api/v1/audit/entries?action=authorization.evaluate").await.expect(200);
    assert_eq!(now.as_array().unwrap().len(), entries.as_array().unwrap().len() + 3);
    api.database.execute("ALTER TABLE cache_namespace_away RENAME TO cache_namespace").await.unwrap();
    until_cached(&api.epr).await;
    // It was cleared.
    assert!(api.authorized(USER, "document:download", &world.spv).await);
    assert_eq!(api.database.number(EVALUATED).await, 5);
    assert!(api.authorized(USER, "document:download", &world.spv).await);
    assert_eq!(api.database.number(EVALUATED).await, 5);
}

/// A file that several processes share: what one changes, the others see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_on_one_file_invalidate_each_other() {
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let (one, two) = (Api::on(database.clone()).await, Api::on(database.clone()).await);
    let world = World::create(&one).await;
    let at_two = async || two.authorized(USER, "document:download", &world.spv).await;
    wait::until("allowed at the other process", &at_two).await;
    one.delete(&format!("/api/v1/assignments/{}", world.assignment)).await.expect(200);
    assert!(!one.authorized(USER, "document:download", &world.spv).await);
    wait::until("denied at the other process", async || !at_two().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_databases_on_one_redis_do_not_read_each_others_answers() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    // What is not stored in time is not stored at all. The shared cache is asked where the registry is not in memory.
    let settings = [("EPR_REDIS_URL", url.as_str()), ("EPR_REDIS_TIMEOUT_MS", "5000"), ("EPR_GRAPH", "off")];
    let (one, two) = (
        Arc::new(Database::create(DatabaseKind::Sqlite).await),
        Arc::new(Database::create(DatabaseKind::Sqlite).await),
    );
    let (one, two) = (
        Api::with_settings(one, Arc::new(SystemClock), &settings).await,
        Api::with_settings(two, Arc::new(SystemClock), &settings).await,
    );
    until_up(&one.epr).await;
    until_up(&two.epr).await;
    let world = World::create(&one).await;
    assert!(one.authorized(USER, "document:download", &world.spv).await);
    wait::until("a stored decision", async || redis.key_count().await >= 3).await;
    let copy = format!(
        "INSERT INTO entities (id, name, type, created_at, updated_at) VALUES ('{}', 'spv', 'spv', '{MOMENT}', \
         '{MOMENT}')",
        world.spv
    );
    two.database.execute(&copy).await.unwrap();
    assert!(!two.authorized(USER, "document:download", &world.spv).await);
}

/// Keys outlive the process that stored them. The next process to start applies the invalidations that the old one
/// missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_no_process_renewed_is_renewed_later() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    // What is not stored in time is not stored at all. The shared cache is asked where the registry is not in memory.
    let settings = [("EPR_REDIS_URL", url.as_str()), ("EPR_REDIS_TIMEOUT_MS", "5000"), ("EPR_GRAPH", "off")];
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let before = Api::with_settings(database.clone(), Arc::new(SystemClock), &settings).await;
    until_up(&before.epr).await;
    let world = World::create(&before).await;
    assert!(before.authorized(USER, "document:download", &world.spv).await);
    wait::until("a stored decision", async || redis.key_count().await >= 3).await;
    // The process applies the pending invalidations of its own changes, and logs that it did.
    database.until("SELECT COUNT(*) FROM cache_renewals", 0).await;
    before.epr.close().await;
    // A process that starts trusts no shared decision from before its start, because it may have missed changes.
    let next = Api::with_settings(database.clone(), Arc::new(SystemClock), &settings).await;
    until_up(&next.epr).await;
    assert!(next.authorized(USER, "document:download", &world.spv).await);
    assert_eq!(metric(&next.epr, r#"epr_decisions_total{outcome="allowed",tier="evaluated"}"#).await, 1);
    next.epr.close().await;
    // This is the state that a process leaves when it dies after its commit: the change without its invalidation.
    let revoke = format!("DELETE FROM role_assignments WHERE id = '{}'", world.assignment);
    database.execute(&revoke).await.unwrap();
    let last = Api::with_settings(database.clone(), Arc::new(SystemClock), &settings).await;
    until_up(&last.epr).await;
    assert!(!last.authorized(USER, "document:download", &world.spv).await);
    database.until("SELECT COUNT(*) FROM cache_renewals", 0).await;
}

#[tokio::test]
async fn hits_are_logged_under_the_contracts_word() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (mut process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url), ("EPR_LOG_LEVEL", "DEBUG")]).await;
    let client = reqwest::Client::new();
    let send = async |path: &str, body: Value| {
        client.post(format!("{base}{path}")).json(&body).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let ready = async || reqwest::get(format!("{base}/readyz")).await.unwrap().json::<Value>().await.unwrap();
    wait::until("a cache in use", async || ready().await["dependencies"]["cache"]["status"] == "ok").await;
    let spv = send("/api/v1/entities", json!({"name": "n", "type": "spv"})).await;
    let asked = json!({"user_id": USER, "action": "a:read", "resource_id": spv["id"]});
    send("/api/v1/authorize", asked.clone()).await;
    send("/api/v1/authorize", asked).await;
    process.wait_for_log("authorization_denied").await;
    let hit = process.wait_for_log("authorization_cache_hit").await;
    assert_eq!((hit["extra"]["allowed"].as_bool(), hit["extra"]["principal_id"].as_str()), (Some(false), Some(USER)));
    let (code, reported, _) = epr(&database.url, &["audit", "verify"]).await;
    assert_eq!(code, 0, "{reported}");
}
