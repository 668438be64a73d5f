//! Traces: `traceparent` is passed on with messages, and spans go where the `OTEL_*` variables say.
//!
//! The collector is a stand-in: a socket that takes OTLP over HTTP and decodes it with the protocol's own messages.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::Request;
use epr_api::Callers;
use epr_core::Epr;
use epr_core::publish::PublishOutcome;
use epr_core::publish::recording::Recording;
use epr_core::settings::{EventSettings, Settings, Source};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::{Process, run};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rstest::rstest;
use serde_json::json;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn traceparent_is_passed_on_also_by_the_relay(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let topic = Arc::new(Recording::default());
    let events = EventSettings { publish_attempts: 1, ..EventSettings::default() };
    let epr = Epr::builder().store(database.store().await).events(events).publisher(topic.clone()).build();
    let settings = Settings::from_source(&Source::of([])).unwrap();
    let service = epr_api::service(epr.clone(), &settings.http, Callers::anyone());
    let send = async |traceparents: &[&str]| {
        let body = json!({"event_type": "a.happened", "source": "vault"}).to_string();
        let mut request = Request::post("/api/v1/events").header("content-type", "application/json");
        for value in traceparents {
            request = request.header("traceparent", *value);
        }
        let answer = service.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 201);
    };
    // Not delivered in the request: the relay does it later, from what is stored.
    topic.answer_next([Ok(PublishOutcome::Failed("not now".into()))]);
    send(&[CALLER]).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let relay = tokio::spawn({
        let epr = epr.clone();
        async move {
            epr.relay(async {
                let _ = stopped.await;
            })
            .await;
        }
    });
    database.until("SELECT COUNT(*) FROM platform_events WHERE delivery_state = 'succeeded'", 1).await;
    drop(stop);
    relay.await.unwrap();
    // Delivered at once. A header that is not a `traceparent`, or two headers, are treated as absent.
    send(&[CALLER]).await;
    send(&["00-nonsense"]).await;
    send(&[CALLER, CALLER]).await;
    let reported: Vec<_> = topic
        .published()
        .iter()
        .map(|message| {
            message.attributes().into_iter().find(|(name, _)| *name == "traceparent").map(|(_, value)| value)
        })
        .collect();
    let caller = Some(CALLER.to_owned());
    assert_eq!(reported.last_chunk().unwrap(), &[caller.clone(), caller, None, None]);
}

/// A collector: its base URL, and what it is sent.
async fn collector() -> (String, mpsc::UnboundedReceiver<ExportTraceServiceRequest>) {
    let (sent, received) = mpsc::unbounded_channel();
    let take = async move |body: Bytes| {
        let request = ExportTraceServiceRequest::decode(body).expect("an export");
        sent.send(request).expect("a test that still looks");
        Bytes::new()
    };
    let router = axum::Router::new().route("/v1/traces", axum::routing::post(take));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (base, received)
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name).and_then(|one| one.value.as_ref());
    match found.and_then(|value| value.value.clone()) {
        Some(Any::StringValue(text)) => text,
        Some(Any::IntValue(number)) => number.to_string(),
        other => panic!("{name} is {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[tokio::test]
async fn spans_go_where_the_variables_say() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (base, mut received) = collector().await;
    let (process, api) = Process::api(&[
        ("EPR_DATABASE_URL", database.url.as_str()),
        // The log's level has nothing to do with it.
        ("EPR_LOG_LEVEL", "INFO"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", base.as_str()),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ])
    .await;
    let client = reqwest::Client::new();
    let unsampled = CALLER.replace("-01", "-00");
    for (path, caller) in [("/api/v1/entities/nonsense?secret=1", CALLER), ("/healthz", unsampled.as_str())] {
        client.get(format!("{api}{path}")).header("traceparent", caller).send().await.unwrap();
    }
    client.get(format!("{api}/api/v1/roles")).send().await.unwrap();
    let (status, log) = process.terminate().await;
    assert_eq!(status.code(), Some(0));
    assert!(!log.iter().any(|line| line.to_string().contains("otel.")), "traces are not in the log");

    let mut spans: Vec<Span> = Vec::new();
    while let Ok(export) = received.try_recv() {
        for of in export.resource_spans {
            let resource = of.resource.expect("a resource").attributes;
            assert_eq!(text(&resource, "service.name"), "omen-epr");
            assert_eq!(text(&resource, "deployment.environment.name"), "test");
            spans.extend(of.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    let span = |name: &str| {
        let mut found = spans.iter().filter(|span| span.name == name);
        let first = found.next().unwrap_or_else(|| panic!("no {name} in {spans:?}"));
        assert!(found.next().is_none());
        first
    };
    let reported = span("GET /api/v1/entities/{id}");
    assert_eq!(
        (hex(&reported.trace_id), hex(&reported.parent_span_id)),
        (TRACE.to_owned(), "00f067aa0ba902b7".to_owned())
    );
    assert_eq!(reported.kind, 2, "a server's");
    assert_eq!(text(&reported.attributes, "http.route"), "/api/v1/entities/{id}");
    assert_eq!(text(&reported.attributes, "http.response.status_code"), "400");
    assert!(!format!("{reported:?}").contains("secret"), "what a caller writes is not exported");
    let root = span("GET /api/v1/roles");
    assert!(root.parent_span_id.is_empty() && hex(&root.trace_id) != TRACE);
    assert!(!spans.iter().any(|span| span.name == "GET /healthz"), "its caller does not record");
}

#[tokio::test]
async fn unsupported_exporter_settings_stop_the_program() {
    let environment =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let (code, _, stderr) = run("epr-api", &environment, &[]).await;
    assert_eq!(code, 2);
    assert_eq!(stderr.trim(), "OTEL_EXPORTER_OTLP_PROTOCOL is `grpc`; allowed: http/protobuf");
}
