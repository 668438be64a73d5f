//! The region in a topic's ARN and in a queue's URL wins over `AWS_REGION`, and what a topic cannot carry is refused.

use epr_testkit::api::Api;
use epr_testkit::aws::{clients_in, endpoint, environment};
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use rstest::rstest;
use serde_json::{Value, json};

const REGION: &str = "eu-west-1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_region_of_a_topic_and_of_a_queue_wins() {
    let (sns, sqs) = clients_in(REGION).await;
    let name = format!("epr-{:016x}", rand::random::<u64>());
    let topic = sns.create_topic().name(&name).send().await.unwrap();
    let arn = topic.topic_arn().unwrap();
    assert!(arn.contains(REGION), "{arn}");
    sqs.create_queue().queue_name(&name).send().await.unwrap();
    // As AWS writes it: the server of the tests finds the queue by the path.
    let url = format!("https://sqs.{REGION}.amazonaws.com/123456789012/{name}");

    let (database, endpoint) = (Database::create(DatabaseKind::Sqlite).await, endpoint());
    let mut variables = environment(&endpoint).to_vec();
    assert!(variables.contains(&("AWS_REGION", "us-east-1")));
    variables.extend([
        ("EPR_DATABASE_URL", database.url.as_str()),
        ("EPR_DOCUMENT_VAULT_TOPIC_ARN", arn),
        ("EPR_AUDIT_SQS_URL", &url),
    ]);
    let (process, base) = Process::api(&variables).await;
    let body = json!({"event_type": "a.happened", "source": "vault"});
    let request = reqwest::Client::new().post(format!("{base}/api/v1/events")).json(&body);
    let event: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(event["delivery_state"], "succeeded", "{event}");
    let line = process.log.iter().find(|line| line["message"] == "aws_region_of_resource_used").unwrap();
    assert_eq!(line["extra"]["region"], REGION, "{line}");
    assert_eq!((&line["extra"]["variable"], &line["extra"]["configured"]), (&json!("AWS_REGION"), &json!("us-east-1")));
    process.terminate().await;

    let cli = variables.iter().fold(Cli::on(&database.url), |cli, (name, value)| cli.with(name, value));
    let report: Value = serde_json::from_str(&cli.run(&["doctor", "--json"]).await.out).unwrap();
    for what in ["topic", "queue"] {
        let finding = report["findings"].as_array().unwrap().iter().find(|finding| finding["what"] == what).unwrap();
        assert_ne!(finding["state"], "wrong", "{finding}");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_a_topic_cannot_carry_is_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let send = async |event_type: &str, source: &str| {
        api.post("/api/v1/events", json!({"event_type": event_type, "source": source})).await
    };
    for refused in ["\u{1}", "\u{8}", "\u{b}", "\u{c}", "\u{1b}", "\u{1f}", "\u{fffe}", "\u{ffff}"] {
        let (event_type, source) = (format!("a.b{refused}"), format!("{refused}vault"));
        assert_eq!(send(&event_type, "vault").await.field_errors(), ["body.event_type: string_characters"]);
        assert_eq!(send("a.b", &source).await.field_errors(), ["body.source: string_characters"]);
        let both = send(&event_type, &source).await;
        assert_eq!(both.field_errors(), ["body.event_type: string_characters", "body.source: string_characters"]);
    }
    for carried in ["\t", "\n", "\r", "\u{7f}", "\u{85}", "\u{d7ff}", "\u{e000}", "\u{fdd0}", "\u{fffd}", "\u{1ffff}"] {
        send(&format!("a.b{carried}"), &format!("{carried}vault")).await.expect(201);
    }
    // In a payload an escape carries them.
    let payload = json!({"event_type": "a.b", "source": "vault", "payload": {"name": "\u{fffe}\u{1}"}});
    let event = api.post("/api/v1/events", payload).await.expect(201);
    assert_eq!(event["payload"]["name"], "\u{fffe}\u{1}");
    assert_eq!(api.get("/api/v1/events?limit=200").await.expect(200).as_array().unwrap().len(), 11);
}
