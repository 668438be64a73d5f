//! `epr check|entities|roles|assignments|seed`: the same on both databases and over the API, at 80 columns.

use epr_testkit::api::Api;
use epr_testkit::cli::{Cli, normalized};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use rstest::rstest;
use serde_json::json;

const ADA: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01";
const BEN: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a02";

/// Runs an operator's commands and checks their output, which is equal on the database and over the API.
async fn a_day_at_work(cli: &Cli, api: bool) {
    let seed = cli.ok(&["seed"]).await;
    assert!(seed.lines().all(|line| line.chars().count() <= 80), "{seed}");
    assert_eq!(normalized(&cli.ok(&["seed"]).await), normalized(&seed), "seeding again finds what is there");
    assert_eq!(
        normalized(&cli.ok(&["entities", "list"]).await),
        "\
ID                                    TYPE      NAME
00000000-0000-0000-0000-000000000001  investor  Delta Pension Fund
00000000-0000-0000-0000-000000000002  spv       Hamburg Two
00000000-0000-0000-0000-000000000003  issuer    Nordhaus
00000000-0000-0000-0000-000000000004  offering  Berlin One Series A
00000000-0000-0000-0000-000000000005  spv       Berlin One
00000000-0000-0000-0000-000000000006  issuer    Acme Estates
"
    );
    assert_eq!(
        normalized(&cli.ok(&["assignments", "list"]).await),
        "\
00000000-0000-0000-0000-000000000001  Compliance officer everywhere
  user 00000000-0000-0000-0000-000000000002  in force
00000000-0000-0000-0000-000000000003  SPV manager on spv:Berlin One
  user 00000000-0000-0000-0000-000000000004  until 0000-00-00 00:00 UTC
00000000-0000-0000-0000-000000000005  Document reader on issuer:Acme Estates
  user 00000000-0000-0000-0000-000000000006  in force
"
    );
    assert_eq!(
        normalized(&cli.ok(&["roles", "list"]).await),
        "\
00000000-0000-0000-0000-000000000001  Compliance officer
  document:download, document:verify
00000000-0000-0000-0000-000000000002  SPV manager
  for spv: document:archive, document:download, document:upload
00000000-0000-0000-0000-000000000003  Document reader
  document:download
"
    );
    assert_eq!(
        normalized(&cli.ok(&["entities", "show", "spv:Berlin One"]).await),
        "\
id          00000000-0000-0000-0000-000000000001
type        spv
name        Berlin One
status      active
parent      00000000-0000-0000-0000-000000000002 issuer:Acme Estates
attributes  {}
created     0000-00-00T00:00:00.000000Z
updated     0000-00-00T00:00:00.000000Z
"
    );

    // The three answers of a check.
    let granted = cli.run(&["check", ADA, "document:download", "spv:Berlin One"]).await;
    let reported = if api {
        ""
    } else {
        "assignment  00000000-0000-0000-0000-000000000001\n\
         role        Document reader\n\
         reason      the assignment is on an ancestor of the entity\n"
    };
    assert_eq!((granted.code, normalized(&granted.out)), (0, format!("ALLOWED\n{reported}")));
    let denied = cli.run(&["check", ADA, "document:upload", "spv:Berlin One"]).await;
    let reported = if api { "" } else { "reason  no role that the principal holds there has the action\n" };
    assert_eq!((denied.code, denied.out), (1, format!("DENIED\n{reported}")));
    let unknown = cli.run(&["check", ADA, "document:upload", "00000000-0000-4000-8000-000000000000"]).await;
    assert_eq!((unknown.code, unknown.out.as_str()), (2, ""));
    assert_eq!(unknown.err, "epr: Entity 00000000-0000-4000-8000-000000000000 not found\n");
    let reason = if api { json!(null) } else { json!({"code": "action_not_held"}) };
    let denied = cli.run(&["check", ADA, "document:upload", "spv:Berlin One", "--json"]).await;
    assert_eq!(
        (denied.code, serde_json::from_str(&denied.out).ok()),
        (1, Some(json!({"allowed": false, "reason": reason})))
    );

    // Changes, in the name of somebody.
    let cli = cli.clone().with("EPR_ACTOR_ID", BEN);
    let made = cli
        .json(&["entities", "create", "spv", "Cologne", "--parent", "issuer:Nordhaus", "--attributes", "{\"n\": 1e2}"])
        .await;
    assert_eq!((&made[0]["name"], &made[0]["attributes"]), (&json!("Cologne"), &json!({"n": 100.0})));
    cli.ok(&["entities", "update", "spv:Cologne", "--name", "Köln", "--no-parent"]).await;
    let shown = cli.json(&["entities", "show", "spv:Köln"]).await;
    assert_eq!(shown[0]["parent_id"], json!(null));
    cli.ok(&["roles", "create", "Verifier", "--action", "document:verify", "--for", "spv"]).await;
    let role = cli
        .json(&[
            "roles",
            "update",
            "Verifier",
            "--add-action",
            "a:b",
            "--remove-action",
            "document:verify",
            "--for-all",
        ])
        .await;
    assert_eq!((&role[0]["permissions"], &role[0]["scope_types"]), (&json!(["a:b"]), &json!([])));
    let held = cli
        .json(&["assignments", "create", ADA, "Verifier", "--on", "spv:Köln", "--until", "2999-01-01T00:00:00Z"])
        .await;
    assert_eq!((&held[0]["role_name"], &held[0]["entity_name"]), (&json!("Verifier"), &json!("Köln")));
    let again = cli.run(&["assignments", "create", ADA, "Verifier", "--on", "spv:Köln"]).await;
    assert!(again.code == 0 && again.err.contains("with another window"), "{again:?}");
    let id = held[0]["id"].as_str().unwrap();
    assert!(cli.ok(&["assignments", "show", id]).await.contains("until 2999-01-01 00:00 UTC"));
    assert_eq!(cli.ok(&["assignments", "revoke", id]).await, format!("Assignment {id} is revoked.\n"));
    let gone = cli.run(&["assignments", "revoke", id]).await;
    assert_eq!((gone.code, gone.err), (2, format!("epr: Assignment {id} not found\n")));
    assert!(cli.ok(&["entities", "archive", "spv:Köln"]).await.contains("status      archived"));

    // Invalid input is reported field by field, and a name in use is named.
    let taken = cli.run(&["roles", "create", "Verifier"]).await;
    assert_eq!((taken.code, taken.err.as_str()), (2, "epr: Role 'Verifier' already exists\n"));
    let refused = cli.run(&["assignments", "create", ADA, "SPV manager", "--on", "issuer:Nordhaus"]).await;
    assert_eq!(refused.err, "epr: Role SPV manager cannot be assigned to entity type issuer\n");
    let backwards =
        cli.run(&["assignments", "create", ADA, "Verifier", "--everywhere", "--until", "2001-01-01T00:00:00Z"]).await;
    assert_eq!(
        (backwards.code, backwards.err.as_str()),
        (2, "epr: expires_at: expires_at should be after effective_at\n")
    );

    // Nothing is cut short without a word.
    let some = cli.run(&["entities", "list", "--limit", "2"]).await;
    assert_eq!((some.out.lines().count(), some.err.as_str()), (3, "More exist: raise --limit to see them.\n"));
    let all = cli.run(&["entities", "list", "--limit", "6"]).await;
    assert_eq!((all.out.lines().count(), all.err.as_str()), (7, ""));
    let none = cli.run(&["entities", "list", "--type", "agent"]).await;
    assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (0, "", "No entities.\n"));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_registry_commands_work_on_the_database(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    a_day_at_work(&Cli::on(&api.database.url), false).await;
    let entries = api.get(&format!("/api/v1/audit/entries?actor_id={BEN}")).await.expect(200);
    assert_eq!(entries.as_array().unwrap().len(), 7, "every change is in the ledger under its actor: {entries}");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_registry_commands_work_over_the_api(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &api.database.url)]).await;
    a_day_at_work(&Cli::over(&base), true).await;
    let entries = api.get(&format!("/api/v1/audit/entries?actor_id={BEN}")).await.expect(200);
    assert_eq!(entries.as_array().unwrap().len(), 7, "every change is in the ledger under its actor: {entries}");
    process.terminate().await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_follow_the_pages_of_the_api(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    api.database.execute(&many(1100)).await.unwrap();
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &api.database.url)]).await;
    for cli in [Cli::on(&api.database.url), Cli::over(&base)] {
        let seen = cli.json(&["entities", "list", "--type", "spv"]).await;
        assert_eq!(seen.len(), 1100);
        let ids: std::collections::HashSet<_> = seen.iter().map(|entity| entity["id"].to_string()).collect();
        assert_eq!(ids.len(), 1100);
        // A reader that has seen enough is no error.
        let output = cli.run(&["entities", "show", "spv:n 7"]).await;
        assert_eq!(output.code, 0, "{output:?}");
    }
    process.terminate().await;
}

/// So many entities, behind the service's back.
fn many(count: usize) -> String {
    let moment = "2026-01-01T00:00:00.000000Z";
    let row = |n| format!("('00000000-0000-4000-8000-{:012}', 'n {n}', 'spv', '{moment}', '{moment}')", n + 1);
    let rows: Vec<_> = (0..count).map(row).collect();
    format!("INSERT INTO entities (id, name, type, created_at, updated_at) VALUES {}", rows.join(", "))
}

#[tokio::test]
async fn failures_are_reported_with_their_cause() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Cli::on("sqlite:///./data/epr.db").in_folder(folder.path());
    let output = missing.run(&["entities", "list"]).await;
    assert_eq!(
        (output.code, output.err.as_str()),
        (2, "epr: there is no database at ./data/epr.db: run `epr migrate` to create it, or set EPR_DATABASE_URL\n")
    );
    assert!(!folder.path().join("data").exists(), "looking makes no file");
    let output = Cli::on("sqlite:///:memory:").run(&["entities", "list"]).await;
    assert!(output.code == 2 && output.err.contains("a database in memory"), "{output:?}");
    let empty = Database::create(DatabaseKind::Postgres).await;
    let output = Cli::on(&empty.url).run(&["roles", "list"]).await;
    assert!(output.code == 2 && output.err.contains("run `epr migrate`"), "{output:?}");
    let output = Cli::on(&empty.url).with("EPR_ENVIRONMENT", "production").run(&["migrate"]).await;
    assert_eq!(output.code, 0);
    let production = Cli::on(&empty.url).with("EPR_ENVIRONMENT", "production");
    let output = production.run(&["seed"]).await;
    assert!(output.code == 2 && output.err.contains("--yes"), "{output:?}");
    let output = production.run(&["seed", "--yes"]).await;
    assert_eq!(output.code, 0, "{output:?}");
    let output = production.run(&["entities", "archive", "spv:Hamburg Two"]).await;
    assert!(output.err.contains("EPR_DOCUMENT_VAULT_TOPIC_ARN is not set here"), "{output:?}");

    let nobody = Cli::over("http://127.0.0.1:1");
    let output = nobody.run(&["entities", "list"]).await;
    assert!(
        output.code == 2 && output.err.contains("cannot be reached") && output.err.contains("check the address"),
        "{output:?}"
    );
    for command in [&["ledger", "set-aside"][..], &["doctor"], &["migrate"], &["audit", "verify"], &["events", "list"]]
    {
        let output = nobody.run(command).await;
        assert!(
            output.code == 2 && output.err.contains("needs the database and cannot work over the API"),
            "{output:?}"
        );
    }
    for url in ["ftp://x", "nonsense", "http://h/?token=x", "http://user:pass@h/"] {
        assert_eq!(Cli::over(url).run(&["roles", "list"]).await.code, 2, "{url}");
    }
    let output = Cli::on(&empty.url).with("EPR_ACTOR_ID", "me").run(&["roles", "list"]).await;
    assert_eq!((output.code, output.err.as_str()), (2, "epr: EPR_ACTOR_ID is `me`; allowed: a UUID\n"));
}
