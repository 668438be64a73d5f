//! `docs/METRICS.md` describes every metric, and the dashboard queries existing ones only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use axum::body::Body;
use axum::http::{Method, Request};
use epr_testkit::api::Api;
use epr_testkit::database::DatabaseKind;
use rstest::rstest;
use serde_json::{Value, json};

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

async fn scrape(api: &Api) -> String {
    let (status, headers, text) = api.text(Request::get("/metrics").body(Body::empty()).unwrap()).await;
    assert_eq!(status, 200);
    assert!(headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    text
}

/// Name and type of every metric.
fn families(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines.map(|line| line.split_once(' ').unwrap()).map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// The value of the line that begins so, without its fraction.
fn value(text: &str, line: &str) -> i64 {
    let found = text.lines().find_map(|each| each.strip_prefix(line)).unwrap_or_else(|| panic!("no {line} in {text}"));
    found.trim().split('.').next().unwrap().parse().unwrap()
}

/// A little of everything, so that every metric has a value.
async fn traffic(api: &Api) {
    let user = "aaaaaaaa-0000-4000-8000-000000000001";
    let spv = api.entity("n", "spv", None).await;
    let role = api.role("Reader", &[], &["a:read"]).await;
    assert!(!api.authorized(user, "a:read", &spv).await);
    api.post("/api/v1/assignments", json!({"principal_id": user, "role_id": role})).await.expect(201);
    assert!(api.authorized(user, "a:read", &spv).await);
    assert!(api.authorized(user, "a:read", &spv).await);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_decisions_and_the_ledger_are_counted(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    traffic(&api).await;
    api.get("/api/v1/entities/nonsense").await.expect(400);
    api.get("/no/such/path").await.expect(404);
    api.raw(Method::from_bytes(b"BREW").unwrap(), "/healthz", &[], "").await.expect(405);
    let text = scrape(&api).await;
    assert_eq!(value(&text, "epr_http_requests_total{route=\"/api/v1/authorize\",method=\"POST\",status=\"200\"}"), 3);
    assert_eq!(
        value(&text, "epr_http_requests_total{route=\"/api/v1/entities/{id}\",method=\"GET\",status=\"400\"}"),
        1
    );
    assert_eq!(value(&text, "epr_http_requests_total{route=\"unknown\",method=\"GET\",status=\"404\"}"), 1);
    assert_eq!(value(&text, "epr_http_requests_total{route=\"/healthz\",method=\"other\",status=\"405\"}"), 1);
    assert_eq!(value(&text, "epr_http_request_duration_seconds_count{route=\"/api/v1/authorize\",method=\"POST\"}"), 3);
    assert_eq!(value(&text, "epr_http_requests_in_flight"), 1, "the one that asks");
    let decided = |outcome: &str| {
        let lines = text
            .lines()
            .filter(|line| line.starts_with("epr_decisions_total") && line.contains(&format!("outcome=\"{outcome}\"")));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<i64>().unwrap()).sum::<i64>()
    };
    assert_eq!((decided("allowed"), decided("denied")), (2, 1));
    let entries = api.database.number("SELECT COUNT(*) FROM audit_logs").await;
    assert_eq!(value(&text, "epr_ledger_entries_total"), entries);
    assert!(value(&text, "epr_ledger_batch_entries_count") >= 1);
    assert_eq!(value(&text, "epr_ledger_append_wait_seconds_count"), value(&text, "epr_ledger_batch_entries_sum"));
    assert!(value(&text, "process_start_time_seconds") > 1_700_000_000);
    assert!(text.contains(&format!("epr_build_info{{version=\"{}\"", env!("CARGO_PKG_VERSION"))));
    let pools = if api.database.kind == DatabaseKind::Sqlite { vec!["read", "write"] } else { vec!["all"] };
    for pool in pools {
        assert!(value(&text, &format!("epr_database_connections{{pool=\"{pool}\"}}")) >= 1);
        assert!(value(&text, &format!("epr_database_acquires_total{{pool=\"{pool}\"}}")) >= 1);
    }
}

#[tokio::test]
async fn nothing_that_a_caller_writes_becomes_a_label() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    for n in 0..50 {
        let uri = format!("/x{n}?y={n}");
        api.raw(Method::from_bytes(format!("M{n}").as_bytes()).unwrap(), &uri, &[], "").await.expect(404);
    }
    let text = scrape(&api).await;
    assert_eq!(value(&text, "epr_http_requests_total{route=\"unknown\",method=\"other\",status=\"404\"}"), 50);
}

/// Figures that exist only in other programs or with other settings than those of this test.
const ELSEWHERE: [&str; 2] = ["epr_event_publish_attempts", "epr_requests_refused"];

#[tokio::test]
async fn the_table_lists_every_metric() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    traffic(&api).await;
    // The answer to one scrape is counted for the next.
    scrape(&api).await;
    let mut there = families(&scrape(&api).await);
    for name in ELSEWHERE {
        there.insert(name.into(), "counter".into());
    }
    // A file has no clock of its own to compare with.
    there.insert("epr_clock_offset_seconds".into(), "gauge".into());
    // Only with a key for checkpoints, which `ledger_proofs` has.
    for name in ["consistent", "checkpoint_entries", "checkpoint_age_seconds", "published_entries", "cosigned_entries"]
    {
        there.insert(format!("epr_ledger_{name}"), "gauge".into());
    }
    // Only with a replica, which `replica` has.
    there.insert("epr_database_reads".into(), "counter".into());
    let document = file("docs/METRICS.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeMap<String, String> = rows
        .map(|row| {
            let (name, rest) = row.split_once("` | ").expect("a name and a type");
            (name.to_owned(), rest.split(" | ").next().unwrap().to_owned())
        })
        .collect();
    assert_eq!(documented, there, "docs/METRICS.md and /metrics differ");
}

#[tokio::test]
async fn the_dashboard_queries_existing_metrics_only() {
    let document = file("docs/METRICS.md");
    let documented: BTreeSet<&str> =
        document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let dashboard: Value = serde_json::from_str(&file("infra/grafana/epr.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut asked = 0;
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap_or_else(|| panic!("{} asks for nothing", panel["title"]));
        for expression in targets.iter().map(|target| target["expr"].as_str().unwrap()) {
            let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let names: Vec<_> = words.filter(|word| word.starts_with("epr_") || word.starts_with("process_")).collect();
            assert!(!names.is_empty(), "{expression}");
            for name in names {
                let suffixes = ["", "_total", "_bucket", "_sum", "_count", "_info"];
                let known = suffixes
                    .iter()
                    .any(|suffix| name.strip_suffix(suffix).is_some_and(|base| documented.contains(base)));
                assert!(known, "the dashboard asks for {name}, which is not in docs/METRICS.md");
                asked += 1;
            }
        }
    }
    assert!(asked > 15, "{asked}");
}

#[test]
fn the_alerting_rules_are_those_of_the_page() {
    let page = file("docs/METRICS.md");
    let (_, alerts) = page.split_once("## Alerts").unwrap();
    let (alerts, _) = alerts.split_once("## Traces").unwrap();
    // The condition is the first code of the last column.
    let rows = alerts.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Meaning"));
    let mut described: Vec<&str> =
        rows.map(|row| row.rsplit(" | `").next().unwrap().split('`').next().unwrap()).collect();
    let rules = file("infra/prometheus/alerts.yaml");
    let mut rules: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    described.sort_unstable();
    rules.sort_unstable();
    assert_eq!(rules, described);
    assert!(rules.len() > 10, "{}", rules.len());
}
