//! `epr audit list` and the export over the API: the same entries on the database and over the API, for every filter.

use epr_core::ingest::{IngestOutcome, Message};
use epr_testkit::api::Api;
use epr_testkit::cli::Cli;
use epr_testkit::database::DatabaseKind;
use epr_testkit::process::Process;
use epr_testkit::seed::rng;
use rand::seq::IndexedRandom as _;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

const ADA: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01";
const BEN: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a02";
const HOSTILE: &str = "=cmd|' /C calc'!A0;\u{1b}[31m\u{202e}";

/// Whether an entry is one that a filter lists.
type Matches = Box<dyn Fn(&Value) -> bool>;

fn time(entry: &Value) -> String {
    entry["occurred_at"].as_str().unwrap().to_owned()
}

/// A ledger with entries of every kind: own and foreign sources, actors, entities, hostile texts.
async fn history(api: &Api) -> String {
    let issuer = api.entity("Acme", "issuer", None).await;
    let role = api.role("Reader", &[], &["document:download"]).await;
    let headers = [("x-actor-id", BEN), ("x-request-id", "order 66")];
    let body = json!({"principal_id": ADA, "role_id": role, "entity_id": issuer}).to_string();
    api.raw(axum::http::Method::POST, "/api/v1/assignments", &headers, body).await.expect(201);
    assert!(api.authorized(ADA, "document:download", &issuer).await);
    for (at, action, id) in [("2020-02-29T12:00:00Z", "kyc.passed", 1), ("2021-06-01T00:00:00.000001Z", HOSTILE, 2)] {
        let id = Uuid::from_u128(id).to_string();
        let event = json!({
            "event_id": id, "source": "kyc", "action": action, "actor_id": BEN, "actor_type": "service",
            "entity_id": issuer, "entity_type": "issuer", "details": {"note": HOSTILE, "amount": 1e-7},
            "occurred_at": at,
        });
        let ingested = api.epr.ingest(&[Message::new(id, event.to_string())]).await;
        assert!(matches!(ingested.outcomes[..], [IngestOutcome::Recorded { .. }]), "{ingested:?}");
    }
    api.entity("Berlin", "spv", Some(&issuer)).await;
    issuer
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_filter_lists_exactly_its_entries_on_the_database_and_over_the_api(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let issuer = history(&api).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &api.database.url)]).await;
    let all = Cli::on(&api.database.url).json(&["audit", "list"]).await;
    assert!(all.len() >= 7 && all.is_sorted_by_key(|entry| -entry["sequence"].as_i64().unwrap()), "newest first");
    let member = |name: &'static str, value: String| Box::new(move |entry: &Value| entry[name] == json!(value));
    let event = all.iter().find(|entry| entry["action"] == "kyc.passed").unwrap()["event_id"].as_str().unwrap();
    let granted = all.iter().find(|entry| entry["action"] == "role_assignment.create").unwrap();
    let assignment = granted["details"]["assignment_id"].as_str().unwrap().to_owned();
    let cases: Vec<(Vec<&str>, Matches)> = vec![
        (vec!["--action", "role_assignment.create"], member("action", "role_assignment.create".into())),
        (vec!["--actor-id", BEN], member("actor_id", BEN.into())),
        (
            vec!["--principal", ADA, "--action", "role_assignment.create"],
            member("action", "role_assignment.create".into()),
        ),
        (vec!["--assignment", &assignment], member("action", "role_assignment.create".into())),
        (vec!["--entity", &issuer], member("entity_id", issuer.clone())),
        (vec!["--entity", "issuer:Acme"], member("entity_id", issuer.clone())),
        (vec!["--entity-type", "spv"], member("entity_type", "spv".into())),
        (vec!["--source", "kyc"], member("source", "kyc".into())),
        (vec!["--correlation-id", "order 66"], member("correlation_id", "order 66".into())),
        (vec!["--event-id", event], member("event_id", event.into())),
        (vec!["--to", "2021-01-01"], Box::new(|entry| time(entry).as_str() < "2021-01-01")),
        (vec!["--from", "2021-01-01", "--to", "2021-12-31"], Box::new(|entry| time(entry).starts_with("2021"))),
        (vec!["--from", "2h"], Box::new(|entry| time(entry).as_str() > "2022")),
        (vec!["--to", "2h"], Box::new(|entry| time(entry).as_str() < "2022")),
        (
            vec!["--from-sequence", "2", "--to-sequence", "4"],
            Box::new(|entry| (2..=4).contains(&entry["sequence"].as_i64().unwrap())),
        ),
        (vec!["--source", "kyc", "--actor-id", ADA], Box::new(|_| false)),
    ];
    for cli in [Cli::on(&api.database.url), Cli::over(&base)] {
        assert_eq!(cli.json(&["audit", "list"]).await, all);
        for (options, matches) in &cases {
            let expected: Vec<_> = all.iter().filter(|entry| matches(entry)).cloned().collect();
            let arguments = [&["audit", "list"], &options[..]].concat();
            assert_eq!(cli.json(&arguments).await, expected, "{options:?}");
            let reversed = cli.json(&[&arguments[..], &["--oldest-first"]].concat()).await;
            assert_eq!(reversed, expected.into_iter().rev().collect::<Vec<_>>(), "{options:?}");
        }
        let none = cli.run(&["audit", "list", "--source", "nobody"]).await;
        assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (0, "", "No entries.\n"));
        for (arguments, sentence) in [
            (&["audit", "list", "--from", "soon"][..], "give a time such as"),
            (&["audit", "list", "--entity", "issuer:Nobody"], "there is no issuer named `Nobody`"),
            (&["audit", "list", "--format", "csv", "--json"], "give either --json or --format"),
            (&["audit", "list", "--format", "xml"], "invalid value 'xml'"),
            (&["audit", "list", "--limit", "0"], "invalid value '0'"),
        ] {
            let output = cli.run(arguments).await;
            assert!(output.code == 2 && output.err.contains(sentence), "{arguments:?}: {output:?}");
        }
    }
    process.terminate().await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_and_csv_are_harmless_and_equal_over_the_api(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    history(&api).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &api.database.url)]).await;
    let all = Cli::on(&api.database.url).json(&["audit", "list"]).await;
    let mut texts = Vec::new();
    for cli in [Cli::on(&api.database.url), Cli::over(&base)] {
        let csv = cli.ok(&["audit", "list", "--format", "csv"]).await;
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        assert_eq!(reader.headers().unwrap().get(0), Some("sequence"));
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), all.len());
        for (row, entry) in rows.iter().zip(&all) {
            assert_eq!(row[0], entry["sequence"].to_string());
            assert_eq!(serde_json::from_str::<Value>(&row[10]).unwrap(), entry["details"], "the same details");
            for part in row.iter().flat_map(|cell| cell.split([';', '\t', '\n', '\r'])) {
                assert!(!part.trim_start_matches(['"', ' ']).starts_with(['=', '+', '-', '@']), "a formula: {part}");
            }
        }
        assert!(csv.contains("'=cmd|"), "the apostrophe keeps a spreadsheet from executing it: {csv}");
        let table = cli.ok(&["audit", "list"]).await;
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        assert!(!table.contains(['\u{1b}', '\u{202e}']) && table.contains("\\u{1b}[31m"), "{table}");
        assert!(table.starts_with(" SEQUENCE  TIME (UTC)           ACTION\n"), "{table}");
        assert!(table.contains("from kyc") && table.contains(&format!("by service {BEN}")), "{table}");
        let json = cli.ok(&["audit", "list", "--json"]).await;
        assert!(!json.contains(['\u{1b}', '\u{202e}']), "{json}");
        texts.push((csv, table, json));
    }
    assert_eq!(texts[0], texts[1]);
    let nothing = Cli::over(&base).ok(&["audit", "list", "--source", "x", "--format", "csv"]).await;
    assert!(nothing.starts_with("sequence,occurred_at,action,") && nothing.lines().count() == 1, "{nothing}");
    process.terminate().await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_are_complete_and_short_ones_say_how_to_go_on(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    for n in 1..=1_101 {
        assert_eq!(api.create_numbered_entity(n).await, 201);
    }
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &api.database.url)]).await;
    let mut rng = rng("long_lists_are_complete_and_short_ones_say_how_to_go_on");
    for cli in [Cli::on(&api.database.url), Cli::over(&base)] {
        let sequences = async |options: &[&str]| {
            let entries = cli.json(&[&["audit", "list"], options].concat()).await;
            entries.iter().map(|entry| entry["sequence"].as_i64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(sequences(&[]).await, (1..=1_101).rev().collect::<Vec<_>>());
        assert_eq!(sequences(&["--oldest-first"]).await, (1..=1_101).collect::<Vec<_>>());
        let limit = [1_usize, 499, 500, 501, 1_000, 1_100, 1_101].choose(&mut rng).copied().unwrap();
        let some = sequences(&["--limit", &limit.to_string()]).await;
        assert_eq!(some, (1..=1_101).rev().take(limit).collect::<Vec<_>>(), "limit {limit}");
        let table = cli.run(&["audit", "list"]).await;
        assert!(table.out.contains("     1101  ") && table.out.contains("     1052  "), "{table:?}");
        assert!(!table.out.contains("     1051  "), "a table has 50 entries: {table:?}");
        assert_eq!(table.err, "More exist: raise --limit, or go on with --to-sequence 1051.\n");
        let table = cli.run(&["audit", "list", "--oldest-first", "--limit", "2"]).await;
        assert_eq!(table.err, "More exist: raise --limit, or go on with --from-sequence 3.\n");
        assert_eq!(cli.run(&["audit", "list", "--limit", "1101"]).await.err, "", "all of them");
    }
    process.terminate().await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_over_the_api_is_that_of_the_database_and_refuses_a_changed_entry(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    history(&api).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &api.database.url)]).await;
    let (database, over) = (Cli::on(&api.database.url), Cli::over(&base));
    for range in [&[][..], &["--start-sequence", "2", "--end-sequence", "5"], &["--start-sequence", "100"]] {
        let arguments = [&["audit", "export"], range].concat();
        assert_eq!(over.run(&arguments).await, database.run(&arguments).await, "{range:?}");
    }
    let beyond = over.run(&["audit", "export", "--end-sequence", "100"]).await;
    assert_eq!(beyond.code, 1, "{beyond:?}");
    let refused = over.run(&["audit", "verify"]).await;
    assert!(refused.code == 2 && refused.err.contains("needs the database"), "{refused:?}");
    assert!(refused.err.contains("epr audit export --url"), "{refused:?}");
    assert!(over.run(&["audit", "rejections"]).await.err.contains("needs the database"));

    api.database.remove_ledger_triggers().await;
    api.database.execute("UPDATE audit_logs SET action = 'forged' WHERE sequence = 3").await.unwrap();
    let changed = over.run(&["audit", "export"]).await;
    assert_eq!((changed.code, changed.out.lines().count()), (2, 2), "{changed:?}");
    assert!(changed.err.contains("entry 3 does not match its hash"), "{changed:?}");
    process.terminate().await;
}
