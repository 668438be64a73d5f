//! `epr doctor`: settings with their origin, and every dependency there, missing, and half right.

use epr_testkit::aws::{self, Topic};
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::redis::RedisServer;
use epr_testkit::upstash::{Front, TOKEN};
use serde_json::{Value, json};

/// The finding about `what`: its state, what was seen, what to do.
fn finding(report: &Value, what: &str) -> (String, String, String) {
    let findings = report["findings"].as_array().unwrap();
    let found =
        findings.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("no {what}: {report:#}"));
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    (text("state"), text("seen"), text("advice"))
}

async fn ask(cli: &Cli) -> (i32, Value) {
    let output = cli.run(&["doctor", "--json"]).await;
    (output.code, serde_json::from_str(&output.out).unwrap_or_else(|_| panic!("{output:?}")))
}

fn with_aws(cli: Cli, endpoint: &str) -> Cli {
    aws::environment(endpoint).into_iter().fold(cli, |cli, (name, value)| cli.with(name, value))
}

#[tokio::test]
async fn a_healthy_service_has_no_findings() {
    let (database, topic, endpoint) =
        (Database::create(DatabaseKind::Postgres).await, Topic::create().await, aws::endpoint());
    let url = database.url.replace("postgres://epr@", "postgres://epr:hunter2@");
    let cli = with_aws(Cli::on(&url), &endpoint).with("EPR_DOCUMENT_VAULT_TOPIC_ARN", &topic.arn);
    let queue = topic.queue_with_redrive().await;
    let cli = cli.with("EPR_AUDIT_SQS_URL", &queue);
    cli.ok(&["migrate"]).await;
    let (code, report) = ask(&cli).await;
    assert_eq!((code, &report["healthy"]), (0, &json!(true)), "{report:#}");
    assert!(!report.to_string().contains("hunter2"), "{report}");
    for what in ["settings", "database", "schema", "pool", "events", "topic", "queue"] {
        assert_eq!(finding(&report, what).0, "fine", "{report:#}");
    }
    assert!(finding(&report, "topic").1.ends_with("exists; confirmed subscribers: 1"));
    assert!(finding(&report, "queue").1.ends_with("about 0 waiting; with a dead-letter queue"));
    let text = cli.run(&["doctor"]).await;
    assert!(text.out.ends_with("\nNo errors.\n") && text.out.contains("***"), "{text:?}");
    assert!(
        text.out
            .lines()
            .filter(|line| !line.contains('='))
            .all(|line| line.chars().count() <= 80 || line.contains("arn:") || line.contains("://")),
        "{}",
        text.out
    );
}

#[tokio::test]
async fn the_memory_that_the_registry_needs_is_measured() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let cli = Cli::on(&database.url);
    cli.ok(&["migrate"]).await;
    let found = async |cli: Cli| finding(&ask(&cli).await.1, "graph");
    assert_eq!(found(cli.clone().with("EPR_GRAPH", "off")).await.0, "unused");
    let (state, seen, _) = found(cli.clone()).await;
    assert!(state == "fine" && seen.contains("needs 1 MiB"), "{seen}");
    let large = "INSERT INTO entities (id, name, type, status, attributes, created_at, updated_at) \
                 SELECT '11111111-2222-4333-8444-555555555555', 'large', 'spv', 'active', \
                 '{\"a\":\"' || hex(zeroblob(1000000)) || '\"}', '2026-01-01T00:00:00.000000Z', \
                 '2026-01-01T00:00:00.000000Z'";
    database.execute(large).await.unwrap();
    let (state, seen, advice) = found(cli.clone().with("EPR_GRAPH", "auto").with("EPR_GRAPH_MB", "1")).await;
    assert!(state == "doubtful" && seen.contains("EPR_GRAPH_MB is 1"), "{seen}");
    assert!(advice.contains("raise EPR_GRAPH_MB"), "{advice}");
    assert_eq!(found(cli.with("EPR_GRAPH", "on")).await.0, "fine");
}

#[tokio::test]
async fn each_problem_is_reported_with_its_remedy() {
    let (database, endpoint) = (Database::create(DatabaseKind::Postgres).await, aws::endpoint());
    let cli = with_aws(Cli::on(&database.url), &endpoint);
    // An empty database, a topic and a queue that are not there.
    let cli = cli
        .with("EPR_DOCUMENT_VAULT_TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:nowhere")
        .with("EPR_AUDIT_SQS_URL", &format!("{endpoint}/123456789012/nowhere"));
    let (code, report) = ask(&cli).await;
    assert_eq!((code, &report["healthy"]), (1, &json!(false)));
    assert_eq!(
        (finding(&report, "schema").0.as_str(), finding(&report, "schema").2.as_str()),
        ("wrong", "run `epr migrate`")
    );
    let (state, _, advice) = finding(&report, "topic");
    assert_eq!(
        (state.as_str(), advice.as_str()),
        ("wrong", "create the topic, or correct EPR_DOCUMENT_VAULT_TOPIC_ARN")
    );
    let (state, _, advice) = finding(&report, "queue");
    assert_eq!(
        (state.as_str(), advice.as_str()),
        ("wrong", "create the queue, or correct EPR_AUDIT_SQS_URL; AWS_REGION is used where the URL names no region")
    );

    // Half right: a queue that takes bad messages back for ever, a pool that does not fit, events that were given up.
    let topic = Topic::create().await;
    cli.ok(&["migrate"]).await;
    let cli = cli.with("EPR_AUDIT_SQS_URL", topic.queue_url()).with("EPR_DATABASE_POOL_SIZE", "1000");
    database
        .execute(
            "INSERT INTO platform_events (id, event_id, event_type, source, payload, context, occurred_at, \
             schema_version, \
             delivery_state, created_at, updated_at, ingested, next_attempt_at) VALUES (gen_random_uuid(), \
             gen_random_uuid(), \
             'a.b', 'abc', '{}', '{}', now(), 'v1', 'failed', now(), now(), true, now())",
        )
        .await
        .unwrap();
    topic.delete_topic().await;
    let (_, report) = ask(&cli.clone().with("EPR_DOCUMENT_VAULT_TOPIC_ARN", "")).await;
    assert_eq!(report["healthy"], json!(true), "{report:#}");
    assert_eq!(finding(&report, "queue").0, "doubtful");
    assert!(finding(&report, "pool").2.contains("EPR_DATABASE_POOL_SIZE"));
    assert!(finding(&report, "events").2.contains("epr events requeue --all"));
    assert_eq!(finding(&report, "topic").0, "unused");

    // Nothing is reached at all.
    let away = Cli::on("postgres://nobody:hunter2@127.0.0.1:1/none")
        .with("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .with("AWS_ACCESS_KEY_ID", "x")
        .with("AWS_SECRET_ACCESS_KEY", "hunter2")
        .with("EPR_DOCUMENT_VAULT_TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:nowhere");
    let (code, report) = ask(&away).await;
    assert_eq!(code, 1);
    assert!(finding(&report, "database").2.contains("check that the server runs"), "{report:#}");
    assert!(finding(&report, "topic").2.contains("check the network"), "{report:#}");
    assert!(!report.to_string().contains("hunter2"), "{report}");
}

#[tokio::test]
async fn settings_come_with_their_origin() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "EPR_SERVICE_NAME=from-file\nEPR_LOG_LEVEL=DEBUG\n").unwrap();
    let cli = Cli::on("sqlite:///./epr.db").with("EPR_LOG_LEVEL", "ERROR").in_folder(folder.path());
    let (code, report) = ask(&cli).await;
    assert_eq!(code, 1, "there is no database");
    assert!(!folder.path().join("epr.db").exists(), "and doctor makes none");
    let origin = |name: &str| {
        let all = report["settings"].as_array().unwrap();
        let one = all.iter().find(|variable| variable["name"] == name).unwrap();
        (one["origin"].as_str().unwrap().to_owned(), one["value"].clone())
    };
    assert_eq!(origin("EPR_SERVICE_NAME"), ("dot_env".into(), json!("from-file")));
    assert_eq!(origin("EPR_LOG_LEVEL"), ("environment".into(), json!("ERROR")));
    assert_eq!(origin("PORT"), ("default".into(), json!(null)));
    let text = cli.run(&["doctor"]).await.out;
    assert!(text.contains("EPR_SERVICE_NAME=from-file (.env)\n") && text.contains("EPR_LOG_LEVEL=ERROR\n"), "{text}");
    // A setting that does not parse is reported, and so are the others.
    let (code, report) = ask(&cli.with("PORT", "x")).await;
    assert_eq!(code, 1);
    assert_eq!(finding(&report, "settings").1, "PORT is `x`; allowed: a whole number from 0 to 65535");
    std::fs::write(folder.path().join(".env"), "SECRET hunter2\n").unwrap();
    let (code, report) = ask(&Cli::on("sqlite:///./epr.db").in_folder(folder.path())).await;
    assert!(code == 1 && finding(&report, "settings").1.contains("line 1") && !report.to_string().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shared_cache_is_examined() {
    let (database, mut redis) = (Database::create(DatabaseKind::Sqlite).await, RedisServer::start_with_tls().await);
    let cli = Cli::on(&database.url);
    cli.ok(&["migrate"]).await;
    let state = async |cli: Cli| {
        let (code, report) = ask(&cli).await;
        assert!(!report.to_string().contains("hunter2") && !report.to_string().contains(TOKEN), "{report}");
        let (state, seen, advice) = finding(&report, "cache");
        (code, state, format!("{seen} {advice}"))
    };
    let (code, word, _) = state(cli.clone()).await;
    assert_eq!((code, word.as_str()), (0, "unused"));
    let (_, word, seen) = state(cli.clone().with("EPR_DECISION_CACHE", "false")).await;
    assert!(word == "unused" && seen.contains("EPR_DECISION_CACHE"), "{seen}");
    let on_redis = cli.clone().with("EPR_REDIS_URL", &redis.url()).with("EPR_REDIS_TIMEOUT_MS", "5000");
    let (code, word, seen) = state(on_redis.clone()).await;
    assert_eq!((code, word.as_str()), (0, "fine"), "{seen}");
    let front = Front::start(&redis).await;
    let rest = cli.with("EPR_REDIS_URL", &front.url).with("EPR_REDIS_TIMEOUT_MS", "5000");
    let (code, word, seen) = state(rest.clone().with("EPR_REDIS_TOKEN", TOKEN)).await;
    assert_eq!((code, word.as_str()), (0, "fine"), "{seen}");
    assert_eq!(redis.key_count().await, 0, "looking leaves nothing behind");
    let (code, word, seen) = state(rest.with("EPR_REDIS_TOKEN", "hunter2")).await;
    assert_eq!((code, word.as_str()), (1, "wrong"), "{seen}");
    let with_password = redis.url().replace("redis://", "redis://:hunter2@");
    let (code, word, seen) = state(on_redis.clone().with("EPR_REDIS_URL", &with_password)).await;
    assert_eq!((code, word.as_str()), (1, "wrong"), "{seen}");
    let over_tls = on_redis.clone().with("EPR_REDIS_URL", &redis.tls_url());
    let (code, word, seen) = state(over_tls.clone()).await;
    assert!(code == 1 && word == "wrong" && seen.contains("certificate"), "{seen}");
    let (code, word, seen) = state(over_tls.with("SSL_CERT_FILE", redis.certificate().to_str().unwrap())).await;
    assert_eq!((code, word.as_str()), (0, "fine"), "{seen}");
    redis.kill().await;
    let (code, word, seen) = state(on_redis).await;
    assert_eq!((code, word.as_str()), (1, "wrong"), "{seen}");
    assert!(seen.contains("check that it runs"), "{seen}");
}
