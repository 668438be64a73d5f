//! The answers of the function, on a database in memory.

use super::*;

fn event(records: &serde_json::Value) -> SqsEvent {
    serde_json::from_value(serde_json::json!({ "Records": records })).unwrap()
}

async fn failures(records: serde_json::Value) -> Vec<String> {
    let function = Function::new(Epr::in_memory().await.unwrap(), true);
    let response = function.handle(event(&records), 0).await.unwrap();
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

fn record(id: &str, body: &str, group: Option<&str>) -> serde_json::Value {
    let mut attributes = serde_json::json!({"SentTimestamp": "1700000000000"});
    if let Some(group) = group {
        attributes["MessageGroupId"] = group.into();
    }
    serde_json::json!({"messageId": id, "receiptHandle": "r", "body": body, "attributes": attributes})
}

const GOOD: &str = r#"{"source": "s", "action": "a"}"#;

#[tokio::test]
async fn failures_are_named_once_and_neighbours_pass() {
    let records = serde_json::json!([
        record("m1", GOOD, None),
        record("m2", "no event", None),
        record("m2", "no event", None),
        record("m3", GOOD, None),
    ]);
    assert_eq!(failures(records).await, ["m2"]);
}

#[tokio::test]
async fn after_a_failure_the_rest_of_its_group_comes_again() {
    let records = serde_json::json!([
        record("a1", GOOD, Some("a")),
        record("a2", "{}", Some("a")),
        record("b1", GOOD, Some("b")),
        record("a3", GOOD, Some("a")),
        record("b2", GOOD, Some("b")),
    ]);
    assert_eq!(failures(records).await, ["a2", "a3"]);
}

#[tokio::test]
async fn a_failure_without_a_name_is_everyones() {
    let function = Function::new(Epr::in_memory().await.unwrap(), true);
    let outcome = function.handle(event(&serde_json::json!([{"body": "{}"}])), 0).await;
    assert!(outcome.is_err());
    let fine = function.handle(event(&serde_json::json!([])), 0).await.unwrap();
    assert!(fine.batch_item_failures.is_empty());
}
