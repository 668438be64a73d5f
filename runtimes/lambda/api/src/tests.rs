//! Answers that differ from those of a server of connections, on a database in memory.

use std::future::pending;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use async_trait::async_trait;
use epr_core::publish::{Message, Outage, PublishOutcome, Publisher};
use epr_core::settings::Source;
use serde_json::json;

use super::*;

fn function_over(epr: Epr) -> Function {
    let settings = Settings::from_source(&Source::of([])).unwrap();
    Function::over(epr, &settings.http, Callers::anyone())
}

async fn function() -> Function {
    function_over(Epr::in_memory().await.unwrap())
}

/// The answer to a request, as JSON.
async fn send(function: &Function, method: &str, target: &str, accept: &str, body: Option<&Value>) -> Value {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let event = json!({
        "rawPath": path, "rawQueryString": query, "body": body.map(Value::to_string),
        "headers": {"content-type": "application/json", "accept": accept},
        "requestContext": {"http": {"method": method}},
    });
    serde_json::to_value(function.handle(event, "invocation", 0).await.unwrap()).unwrap()
}

async fn create(function: &Function, name: &str, attribute: &str) -> Value {
    let entity = json!({"name": name, "type": "spv", "attributes": {"text": attribute}});
    send(function, "POST", "/api/v1/entities", "*/*", Some(&entity)).await
}

fn rows(answer: &Value) -> usize {
    let rows: Vec<Value> = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    rows.len()
}

#[tokio::test]
async fn a_list_that_is_too_long_for_an_answer_has_a_next_page() {
    let function = function().await;
    let text = "x".repeat(900_000);
    for n in 0..5 {
        assert_eq!(create(&function, &format!("entity {n}"), &text).await["statusCode"], 201);
    }
    let first = send(&function, "GET", "/api/v1/entities", "*/*", None).await;
    let link = first["headers"]["link"].as_str().unwrap();
    let query = link.strip_prefix("<?").unwrap().split_once('>').unwrap().0;
    let second = send(&function, "GET", &format!("/api/v1/entities?{query}"), "*/*", None).await;
    assert_eq!((first["statusCode"].as_u64(), second["statusCode"].as_u64()), (Some(200), Some(200)));
    assert_eq!((rows(&first), rows(&second), second["headers"].get("link")), (4, 1, None));
}

#[test]
fn an_answer_that_is_too_large_says_so_and_whether_something_may_have_changed() {
    let origin = Origin { peer: None, request_id: "gateway-1".to_owned() };
    for (method, status, sentence) in [("GET", 400, "ask for less"), ("POST", 500, "The call was made")] {
        let request = Request::builder().method(method).body(Bytes::new()).unwrap();
        let response = Fallback::of(&request, &origin).too_large(7_000_000, MAX_BODY_BYTES);
        let text = std::str::from_utf8(response.body()).unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["x-request-id"], "gateway-1");
        assert!(text.starts_with("{\"detail\":") && text.contains(sentence), "{text}");
    }
}

#[tokio::test]
async fn no_call_waits_for_changes() {
    let function = function().await;
    create(&function, "one", "").await;
    let all = send(&function, "GET", "/api/v1/changes", "*/*", None).await;
    let seen = all["headers"]["epr-revision"].as_str().unwrap();
    let next = format!("/api/v1/changes?after={seen}&wait=30");
    let begun = Instant::now();
    let none = send(&function, "GET", &next, "*/*", None).await;
    assert_eq!(
        (&none["statusCode"], &none["body"], &none["headers"]["epr-revision"]),
        (&json!(200), &json!("[]"), &json!(seen))
    );
    let events = send(&function, "GET", "/api/v1/changes", "text/event-stream", None).await;
    assert!(begun.elapsed() < Duration::from_secs(20));
    let text = events["body"].as_str().unwrap();
    assert!(text.contains(&format!("id: {seen}\n")) && text.contains("event: end\n"), "{text}");
}

/// A topic that never answers, with the numbers of messages on their way and of all of them.
#[derive(Default)]
struct Silent {
    on_their_way: AtomicUsize,
    all: AtomicUsize,
}

struct OnItsWay<'s>(&'s Silent);

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.0.on_their_way.fetch_sub(1, SeqCst);
    }
}

#[async_trait]
impl Publisher for Silent {
    async fn publish(&self, _: &[Message]) -> Result<Vec<PublishOutcome>, Outage> {
        self.on_their_way.fetch_add(1, SeqCst);
        self.all.fetch_add(1, SeqCst);
        let _on_its_way = OnItsWay(self);
        pending().await
    }
}

#[tokio::test]
async fn no_message_is_on_its_way_to_the_topic_when_an_invocation_ends() {
    let topic = Arc::new(Silent::default());
    let epr = Epr::builder().publisher(topic.clone()).start().await.unwrap();
    let deadline = u64::try_from(epr.now().unix_micros()).unwrap() / 1000 + 3000;
    let function = function_over(epr);
    let body = json!({"event_type": "a.happened", "source": "vault", "payload": {}});
    let event = json!({
        "rawPath": "/api/v1/events", "rawQueryString": "", "body": body.to_string(),
        "headers": {"content-type": "application/json"}, "requestContext": {"http": {"method": "POST"}},
    });
    let answer = serde_json::to_value(function.handle(event, "invocation", deadline).await.unwrap()).unwrap();
    assert_eq!(answer["statusCode"], 503, "{answer}");
    assert_eq!((topic.all.load(SeqCst), topic.on_their_way.load(SeqCst)), (1, 0));
}
