//! Log lines that operators and alarms of the older service rest on: their names, fields and loggers.

use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use serde_json::{Value, json};

const USER: &str = "aaaaaaaa-0000-4000-8000-00000000000a";

async fn post(base: &str, path: &str, body: &Value) -> Value {
    let client = reqwest::Client::new();
    let request = client.post(format!("{base}{path}")).header("content-type", "application/json");
    let answer = request.header("x-actor-id", USER).body(body.to_string()).send().await.expect("an answer");
    serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON")
}

/// Creates an entity, asks about it, hands an event in, and gives the whole log.
async fn log_of(database: &Database, variables: &[(&str, &str)]) -> Vec<Value> {
    let environment = [&[("EPR_DATABASE_URL", database.url.as_str())], variables].concat();
    let (process, base) = Process::api(&environment).await;
    let spv = post(&base, "/api/v1/entities", &json!({"name": "S", "type": "spv"})).await;
    let role = post(&base, "/api/v1/roles", &json!({"name": "Reader", "permissions": ["a:read"]})).await;
    assert!(role["id"].is_string());
    let question = json!({"user_id": USER, "action": "a:read", "resource_id": spv["id"]});
    assert_eq!(post(&base, "/api/v1/authorize", &question).await, json!({"authorized": false}));
    let event = json!({"event_type": "document.uploaded", "source": "vault", "payload": {}, "context":
        {"actor_id": USER, "actor_type": "user", "entity_id": spv["id"], "entity_type": "spv"}});
    post(&base, "/api/v1/events", &event).await;
    process.terminate().await.1
}

fn lines<'a>(log: &'a [Value], message: &str) -> Vec<&'a Value> {
    log.iter().filter(|line| line["message"] == message).collect()
}

#[tokio::test]
async fn audit_events_are_a_mirror_of_the_chain() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let log = log_of(&database, &[("EPR_LOG_LEVEL", "DEBUG")]).await;
    let mirrored = lines(&log, "audit_event");
    let actions: Vec<_> = mirrored.iter().map(|line| line["extra"]["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["entity.create", "role.create", "authorization.evaluate", "document.uploaded"]);
    let mut previous = "0".repeat(64);
    for (sequence, line) in (1..).zip(&mirrored) {
        let extra = &line["extra"];
        assert_eq!((&extra["sequence"], &extra["previous_hash"]), (&json!(sequence), &json!(previous)));
        previous = extra["entry_hash"].as_str().unwrap().to_owned();
        let is_decision = extra["action"] == "authorization.evaluate";
        assert_eq!(line["level"], if is_decision { "DEBUG" } else { "INFO" });
        assert_eq!(line["logger"], "entity_permissions_core.audit");
        assert_eq!((&extra["actor_id"], &extra["actor_type"]), (&json!(USER), &json!("user")));
    }
    let last = &mirrored[3]["extra"];
    assert_eq!((&last["source"], &last["entity_type"]), (&json!("vault"), &json!("spv")));
    assert_eq!(last["event_id"], lines(&log, "events_ingested")[0]["extra"]["event_id"]);
    let stored = format!("SELECT COUNT(*) FROM audit_logs WHERE sequence = 4 AND entry_hash = '{previous}'");
    assert_eq!(database.number(&stored).await, 1);
}

#[tokio::test]
async fn names_of_the_older_service_stay() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let log = log_of(&database, &[]).await;
    let decision = lines(&log, "authorization_denied")[0];
    assert_eq!(decision["extra"]["user_id"], USER);
    assert_eq!(decision["extra"]["principal_id"], USER);
    for (message, logger) in [
        ("authorization_denied", "entity_permissions_core.authorization"),
        ("entity_created", "entity_permissions_core.entities"),
        ("role_created", "entity_permissions_core.roles"),
        ("events_ingested", "entity_permissions_core.events"),
        ("http_request", "entity_permissions_core.access"),
    ] {
        assert_eq!(lines(&log, message)[0]["logger"], logger, "{message}");
    }
    // No line for the entry of a decision at INFO.
    assert!(lines(&log, "audit_event").iter().all(|line| line["extra"]["action"] != "authorization.evaluate"));
    let access = lines(&log, "http_request");
    let reported: Vec<_> = access
        .iter()
        .map(|line| (&line["extra"]["method"], &line["extra"]["path"], &line["extra"]["status"]))
        .collect();
    assert!(reported.contains(&(&json!("POST"), &json!("/api/v1/authorize"), &json!(200))), "{reported:?}");
    assert!(
        access.iter().all(|line| line["extra"]["request_id"].is_string() && line["extra"]["duration_ms"].is_number())
    );
}

#[tokio::test]
async fn access_and_adjusted_settings_are_logged() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let log = log_of(&database, &[("EPR_LOG_ACCESS", "off"), ("ENV", "qa-2")]).await;
    assert_eq!(lines(&log, "http_request").len(), 0);
    let adjusted = lines(&log, "setting_adjusted");
    assert_eq!(adjusted.len(), 1);
    assert!(adjusted[0]["extra"]["setting"].as_str().unwrap().starts_with("ENV is `qa-2`"), "{adjusted:?}");
}
