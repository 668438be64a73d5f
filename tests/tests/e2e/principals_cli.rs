//! `epr principals …`, and principals in files: the same on both databases and over the API.

use epr_testkit::api::Api;
use epr_testkit::cli::{Cli, normalized};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use rstest::rstest;
use serde_json::{Value, json};

const ADA: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01";

fn object(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What an operator does and sees; the same whatever the command speaks to.
async fn a_day_at_work(cli: &Cli) {
    let create = ["principals", "create", "--id", ADA, "--external-id", "auth0|17", "--display-name", "Ada"];
    let made = cli.ok(&[&create[..], &["--attributes", r#"{"clearance": 3}"#]].concat()).await;
    assert_eq!(
        normalized(&made),
        "\
id           00000000-0000-0000-0000-000000000001
type         user
external id  auth0|17
name         Ada
status       active
attributes   {\"clearance\":3}
created      0000-00-00T00:00:00.000000Z
updated      0000-00-00T00:00:00.000000Z
"
    );
    assert_eq!(cli.ok(&["principals", "get", ADA]).await, made);
    let again = cli.run(&create).await;
    assert_eq!(again.code, 2);
    assert!(again.err.contains(&format!("Principal {ADA} of type 'user' already exists")), "{}", again.err);

    let update = ["principals", "update", ADA, "--no-external-id", "--display-name", "Countess", "--json"];
    let updated = object(&cli.ok(&update).await);
    assert_eq!((&updated["external_id"], &updated["display_name"]), (&json!(null), &json!("Countess")));
    assert_eq!(cli.run(&["principals", "update", ADA]).await.code, 2, "nothing to change");
    let suspended = object(&cli.ok(&["principals", "suspend", ADA, "--json"]).await);
    assert_eq!(suspended["status"], "suspended");
    let listed = cli.ok(&["principals", "list", "--status", "suspended"]).await;
    assert_eq!(listed, format!("{ADA}  user  Countess (suspended)\n"));
    assert_eq!(object(&cli.ok(&["principals", "activate", ADA, "--json"]).await)["status"], "active");

    cli.ok(&["roles", "create", "Reader", "--action", "document:download"]).await;
    let assign = ["assignments", "create", "--principal-external-id", "auth0|18", "Reader", "--everywhere", "--json"];
    let assigned = object(&cli.ok(&assign).await);
    let found = object(&cli.ok(&["principals", "list", "--external-id", "auth0|18", "--json"]).await);
    assert_eq!(assigned["principal_id"], found["id"]);
    let both = ["assignments", "create", ADA, "Reader", "--everywhere", "--principal-external-id", "x"];
    assert_eq!(cli.run(&both).await.code, 2);
    assert_eq!(cli.run(&["assignments", "create", "Reader", "--everywhere"]).await.code, 2, "nobody is named");
    cli.ok(&["assignments", "create", ADA, "Reader", "--everywhere"]).await;

    let unsure = cli.run(&["principals", "erase", ADA]).await;
    assert!(unsure.code == 2 && unsure.err.contains("--yes"), "{}", unsure.err);
    let erased = object(&cli.ok(&["principals", "erase", ADA, "--yes", "--json"]).await);
    assert!(erased["erased_at"].is_string() && erased["display_name"].is_null(), "{erased}");
    assert_eq!(cli.ok(&["assignments", "list", "--principal", ADA]).await, "");
    let refused = cli.run(&["principals", "update", ADA, "--display-name", "Ada"]).await;
    assert!(refused.code == 2 && refused.err.contains("was erased at"), "{}", refused.err);
    assert_eq!(cli.run(&["principals", "get", ADA, "--type", "service"]).await.code, 2);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn principals_are_managed_on_the_database(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    a_day_at_work(&Cli::on(&api.database.url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_of_a_principal_shows_personal_fields_until_it_is_erased() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    let cli = Cli::on(&api.database.url);
    cli.ok(&["principals", "create", "--id", ADA, "--external-id", "auth0|17"]).await;
    cli.ok(&["principals", "create", "--id", ADA, "--type", "service"]).await;
    cli.ok(&["principals", "update", ADA, "--display-name", "Ada", "--no-external-id"]).await;
    let history = ["principals", "history", ADA];
    let shown = |said: &str| -> Vec<String> { normalized(said).lines().map(|line| line.trim().to_owned()).collect() };
    let at = "0000-00-00T00:00:00.000000Z";
    assert_eq!(
        shown(&cli.ok(&history).await),
        [
            &format!("1  {at}  principal.create"),
            "status: \"active\"",
            "external_id: \"auth0|17\"",
            &format!("3  {at}  principal.update"),
            "display_name: \"Ada\"",
            "external_id: null",
        ]
    );
    cli.ok(&["principals", "erase", ADA, "--yes"]).await;
    assert_eq!(
        shown(&cli.ok(&history).await),
        [
            &format!("1  {at}  principal.create"),
            "status: \"active\"",
            "sealed, without a key: [\"external_id\"]",
            &format!("3  {at}  principal.update"),
            "sealed, without a key: [\"display_name\",\"external_id\"]",
            &format!("4  {at}  principal.erase"),
            "assignments_revoked: 0",
        ]
    );
    let entries = cli.ok(&[&history[..], &["--json"]].concat()).await;
    assert_eq!(entries.lines().map(object).filter(|line| line["opened"].is_null()).count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn principals_are_managed_over_the_api() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    a_day_at_work(&Cli::over(&base)).await;
    process.signal("TERM").await;
    process.wait_for_exit().await;
}

/// Principals with every kind of field, one of them erased, and an assignment to each.
async fn hard_world(cli: &Cli) {
    cli.ok(&["roles", "create", "Reader", "--action", "document:download"]).await;
    let hard = r#"{"=cmd()": ["a;=1", {"b": null}], "n": 1.5}"#;
    let create = ["principals", "create", "--id", ADA, "--external-id", "=1;+2", "--display-name", "'quoted"];
    cli.ok(&[&create[..], &["--attributes", hard, "--status", "suspended"]].concat()).await;
    cli.ok(&["principals", "create", "--id", ADA, "--type", "service"]).await;
    let assign = ["assignments", "create", "--principal-external-id", "ben", "Reader", "--everywhere"];
    cli.ok(&assign).await;
    let gone = object(&cli.ok(&["principals", "create", "--external-id", "gone", "--json"]).await);
    cli.ok(&["principals", "erase", gone["id"].as_str().unwrap(), "--yes"]).await;
    cli.ok(&["assignments", "create", ADA, "Reader", "--everywhere"]).await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_with_principals_is_imported_unchanged_and_elsewhere(#[case] kind: DatabaseKind) {
    let (api, there) = (Api::start(kind).await, Api::start(kind).await);
    let here = Cli::on(&api.database.url);
    hard_world(&here).await;
    let entries = api.database.number("SELECT MAX(sequence) FROM audit_logs").await;
    let folder = tempfile::tempdir().unwrap();
    for name in ["all.csv", "all.json"] {
        let file = folder.path().join(name).display().to_string();
        here.ok(&["export", "--output", &file]).await;
        let said = object(&here.ok(&["import", &file, "--json"]).await);
        let same = |unchanged: u64| json!({"created": 0, "changed": 0, "unchanged": unchanged});
        assert_eq!(
            said,
            json!({"done": true, "principals": same(3), "roles": same(1), "assignments": same(2)}),
            "{name}"
        );
        assert_eq!(api.database.number("SELECT MAX(sequence) FROM audit_logs").await, entries);

        // In another installation: created once, with every field.
        let target = Cli::on(&there.database.url);
        target.ok(&["import", &file]).await;
        let fields = async |cli: &Cli| {
            let listed = cli.ok(&["principals", "list", "--json"]).await;
            let mut rows: Vec<_> = listed.lines().map(object).filter(|row| row["erased_at"].is_null()).collect();
            for row in &mut rows {
                for time in ["created_at", "updated_at", "erased_at"] {
                    row.as_object_mut().unwrap().remove(time);
                }
            }
            rows.sort_by_key(Value::to_string);
            rows
        };
        assert_eq!(fields(&target).await, fields(&here).await, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_changes_only_what_it_names_and_cannot_undo_an_erasure() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    let cli = Cli::on(&api.database.url);
    let create = ["principals", "create", "--id", ADA, "--external-id", "ada", "--display-name", "Ada"];
    cli.ok(&create).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("some.json");
    let import = async |records: &[Value], more: &[&str]| {
        let lines: Vec<_> = records.iter().map(Value::to_string).collect();
        std::fs::write(&file, lines.join("\n")).unwrap();
        cli.run(&[&["import", file.to_str().unwrap()], more].concat()).await
    };
    let by_name = json!({"kind": "principal", "external_id": "ada", "status": "suspended"});
    let said = import(&[by_name], &["--json"]).await;
    let counts = json!({"created": 0, "changed": 1, "unchanged": 0});
    assert_eq!((said.code, &object(&said.out)["principals"]), (0, &counts), "{}", said.err);
    let read = object(&cli.ok(&["principals", "get", ADA, "--json"]).await);
    assert_eq!((&read["display_name"], &read["status"]), (&json!("Ada"), &json!("suspended")));

    // A new principal by its external id, with an assignment in the same file; a dry run first.
    let records = [
        json!({"kind": "assignment", "principal_external_id": "ben", "role": "Reader", "entity_type": "everywhere"}),
        json!({"kind": "assignment", "principal_external_id": "cleo", "role": "Reader", "entity_type": "everywhere"}),
        json!({"kind": "role", "name": "Reader", "permissions": ["a:b"]}),
        json!({"kind": "principal", "external_id": "ben", "display_name": "Ben"}),
    ];
    let planned = import(&records, &["--dry-run"]).await;
    assert!(planned.code == 0 && planned.out.contains("1 principal created"), "{planned:?}");
    assert!(!planned.out.contains("Ben"), "a plan names no personal field: {}", planned.out);
    let said = import(&records, &[]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(api.database.number("SELECT COUNT(*) FROM principals").await, 3);
    let again = object(&import(&records, &["--json"]).await.out);
    assert_eq!(again["assignments"], json!({"created": 0, "changed": 0, "unchanged": 2}));

    let twice = import(&[records[3].clone(), records[3].clone()], &[]).await;
    assert!(twice.code == 2 && twice.err.contains("duplicate of line 1"), "{}", twice.err);
    let nameless = import(&[json!({"kind": "principal", "display_name": "x"})], &[]).await;
    assert!(nameless.code == 2 && nameless.err.contains("give principal_id or external_id"), "{}", nameless.err);
    cli.ok(&["principals", "erase", ADA, "--yes"]).await;
    let undo = json!({"kind": "principal", "principal_id": ADA, "display_name": "Ada"});
    let undo = import(&[undo], &[]).await;
    assert!(undo.code == 2 && undo.err.contains("was erased here"), "{}", undo.err);
}
