//! Page tokens of lists of access: authenticated, bound to their request, and accepted for as long as their key is.

use std::sync::Arc;

use epr_core::clock::ManualClock;
use epr_core::domain::Timestamp;
use epr_testkit::api::Api;
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

const PATH: &str = "/api/v1/access/principals";
const DAY: i64 = 86_400_000_000;

/// Five principals that may read one SPV, the first until a day later; returns a request for pages of two of them.
async fn five(kind: DatabaseKind) -> (Api, Arc<ManualClock>, Value) {
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-23T12:00:00Z").unwrap()));
    let api = Api::with_clock(Arc::new(Database::create(kind).await), clock.clone()).await;
    let spv = api.entity("S", "spv", None).await;
    let role = api.role("Reader", &[], &["document:download", "document:verify"]).await;
    for n in 1..=5_u128 {
        let mut body = json!({"principal_id": Uuid::from_u128(n), "role_id": role, "entity_id": spv});
        if n == 3 {
            body["expires_at"] = json!("2026-11-24T00:00:00Z");
        }
        api.post("/api/v1/assignments", body).await.expect(201);
    }
    (api, clock, json!({"action": "document:download", "resource_id": spv, "limit": 2}))
}

/// `body` with other members.
fn with(body: &Value, members: Value) -> Value {
    let mut body = body.clone();
    let Value::Object(members) = members else { panic!("members: {members}") };
    for (name, value) in members {
        body[name] = value;
    }
    body
}

async fn ids(api: &Api, body: Value) -> Vec<String> {
    let page = api.post(PATH, body).await.expect(200);
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

fn numbered(ns: &[u128]) -> Vec<String> {
    ns.iter().map(|n| Uuid::from_u128(*n).to_string()).collect()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_continues_the_request_of_the_first_page_and_no_other(#[case] kind: DatabaseKind) {
    let (api, clock, body) = five(kind).await;
    let first = api.post(PATH, body.clone()).await.expect(200);
    assert_eq!((&first["complete"], first["items"].as_array().unwrap().len()), (&json!(false), 2));
    // The time of the first page is the time of every page: 3 has no access any more.
    clock.advance_micros(DAY);
    let next = with(&body, json!({"next": first["next"]}));
    let second = api.post(PATH, next.clone()).await.expect(200);
    assert_eq!((&second["as_of"], &second["revision"]), (&first["as_of"], &first["revision"]));
    assert_eq!(second["items"][0]["id"], json!(Uuid::from_u128(3)));
    assert_eq!(ids(&api, with(&body, json!({"limit": 9}))).await, numbered(&[1, 2, 4, 5]), "a new list has a new time");
    // The same page again, and the last one.
    assert_eq!(ids(&api, next.clone()).await, numbered(&[3, 4]));
    let last = api.post(PATH, with(&body, json!({"next": second["next"]}))).await.expect(200);
    assert_eq!(
        (&last["complete"], &last["next"], last["items"].as_array().unwrap().len()),
        (&json!(true), &json!(null), 1)
    );
    // Spellings and unknown members make no difference.
    let upper = body["resource_id"].as_str().unwrap().to_uppercase();
    let same = json!({"resource_id": upper, "include": [], "explain": true, "context": {}, "colour": "red"});
    assert_eq!(ids(&api, with(&next, same)).await, numbered(&[3, 4]));
    for other in [
        json!({"action": "document:verify"}),
        json!({"resource_id": api.entity("T", "spv", None).await}),
        json!({"principal_type": "user"}),
        json!({"context": {"n": 1}}),
        json!({"limit": 3}),
        json!({"explain": false}),
        json!({"include": ["conditional"]}),
    ] {
        let answer = api.post(PATH, with(&next, other.clone())).await;
        assert_eq!(answer.field_errors(), ["body.next: page_token"], "{other}");
    }
    let actions =
        json!({"principal_id": Uuid::from_u128(1), "resource_id": body["resource_id"], "next": first["next"]});
    assert_eq!(api.post("/api/v1/access/actions", actions).await.field_errors(), ["body.next: page_token"]);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_altered_or_foreign_token_is_refused(#[case] kind: DatabaseKind) {
    let (api, _, body) = five(kind).await;
    let token = api.post(PATH, body.clone()).await.expect(200)["next"].as_str().unwrap().to_owned();
    assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')), "{token}");
    let refused = async |token: &str| {
        let answer = api.post(PATH, with(&body, json!({"next": token}))).await;
        assert_eq!(answer.field_errors(), ["body.next: page_token"], "{token}");
    };
    for at in 0..token.len() {
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        let mut altered = token.clone();
        altered.replace_range(at..=at, other);
        refused(&altered).await;
    }
    for odd in ["", "A", "%", "é", &token[1..], &token[..token.len() - 1], &format!("{token}="), &"A".repeat(5000)] {
        refused(odd).await;
    }
    let (other, _, _) = five(kind).await;
    let foreign = other.post(PATH, with(&body, json!({"next": token}))).await;
    assert_eq!(foreign.field_errors(), ["body.next: page_token"], "another database has other keys");
    // A process of the same service accepts it.
    let again = Api::on(Arc::clone(&api.database)).await;
    assert_eq!(ids(&again, with(&body, json!({"next": token}))).await, numbered(&[3, 4]));
    // After a restore the ledger has another incarnation.
    let other = "UPDATE registry_head SET incarnation = '00000000-0000-4000-8000-000000000001'";
    api.database.execute(other).await.unwrap();
    let gone = api.post(PATH, with(&body, json!({"next": token}))).await.expect(400);
    assert!(gone["detail"][0]["msg"].as_str().unwrap().contains("incarnation"), "{gone}");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_accepted_until_a_day_after_its_key_was_succeeded(#[case] kind: DatabaseKind) {
    let (api, clock, body) = five(kind).await;
    let keys = async || api.database.number("SELECT COUNT(*) FROM list_keys").await;
    assert_eq!(keys().await, 0, "no key before the first list");
    let token = api.post(PATH, body.clone()).await.expect(200)["next"].clone();
    let next = with(&body, json!({"next": token}));
    assert_eq!(ids(&api, next.clone()).await, numbered(&[3, 4]));
    assert_eq!(keys().await, 1);
    assert_eq!(api.epr.rotate_list_key().await.unwrap(), 2);
    clock.advance_micros(DAY);
    assert_eq!(ids(&api, next.clone()).await, numbered(&[3, 4]));
    clock.advance_micros(1);
    assert_eq!(api.post(PATH, next).await.field_errors(), ["body.next: page_token"]);
    // A key lasts for 30 days, and its successor deletes the one before.
    clock.advance_micros(28 * DAY);
    let old = api.post(PATH, body.clone()).await.expect(200)["next"].clone();
    assert_eq!(keys().await, 2, "29 days old");
    clock.advance_micros(DAY);
    api.post(PATH, body.clone()).await.expect(200);
    assert_eq!(api.database.number("SELECT MAX(number) FROM list_keys").await, 3);
    assert_eq!(api.database.number("SELECT MIN(number) FROM list_keys").await, 2);
    let next = with(&body, json!({"next": old}));
    assert_eq!(ids(&api, next.clone()).await, numbered(&[4, 5]), "3 has no access any more");
    // Keys that are revoked are accepted no longer.
    assert_eq!((api.epr.revoke_list_keys().await.unwrap(), keys().await), (4, 1));
    assert_eq!(api.post(PATH, next).await.field_errors(), ["body.next: page_token"]);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_starts_a_new_key(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let cli = Cli::on(&api.database.url);
    for number in 1..=2 {
        let json = cli.run(&["access", "rotate-key", "--json"]).await;
        assert_eq!(json.code, 0, "{json:?}");
        assert_eq!(serde_json::from_str::<Value>(&json.out).unwrap(), json!({"key": number}));
    }
    let text = cli.run(&["access", "rotate-key"]).await;
    assert_eq!((text.code, text.out.lines().count()), (0, 1), "{text:?}");
    let revoked = cli.run(&["access", "rotate-key", "--revoke"]).await;
    assert!(revoked.code == 0 && revoked.out.contains("refused"), "{revoked:?}");
    assert_eq!(api.database.number("SELECT COUNT(*) FROM list_keys").await, 1);
    let over = Cli::over(&api.client().await.base_url().to_string()).run(&["access", "rotate-key"]).await;
    assert_eq!(over.code, 2, "it needs the database: {over:?}");
}
