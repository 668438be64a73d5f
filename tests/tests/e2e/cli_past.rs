//! `epr entities|roles|assignments|principals get|list --at TIME` and `--revision REVISION`, on the database and over
//! the API.

use epr_testkit::api::{Api, id_of};
use epr_testkit::cli::Cli;
use epr_testkit::database::DatabaseKind;
use epr_testkit::wait::next_millisecond;
use rstest::rstest;
use serde_json::{Value, json};

const ADA: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11";

/// The ids of what was made.
struct Made {
    entity: String,
    role: String,
    assignment: String,
}

/// Every get and list at a moment at which nothing had been changed yet.
async fn as_it_was(cli: &Cli, moment: [&str; 2], made: &Made) {
    let ask = async |arguments: &[&str]| cli.json(&[arguments, &moment].concat()).await;
    let one = async |arguments: &[&str]| {
        let rows = ask(arguments).await;
        assert_eq!(rows.len(), 1, "{arguments:?} {moment:?}: {rows:?}");
        rows[0].clone()
    };
    for entity in ["spv:Berlin", &made.entity] {
        let shown = one(&["entities", "get", entity]).await;
        assert_eq!((&shown["name"], &shown["status"]), (&json!("Berlin"), &json!("active")));
    }
    assert_eq!(one(&["entities", "list", "--type", "spv"]).await["name"], "Berlin");
    assert_eq!(one(&["entities", "list", "--below", "issuer:Acme"]).await["id"], made.entity.as_str());
    for role in ["Reader", &made.role] {
        assert_eq!(one(&["roles", "get", role]).await["permissions"], json!(["document:read"]));
    }
    assert_eq!(one(&["roles", "list"]).await["description"], Value::Null);
    let shown = [
        one(&["assignments", "list", "--principal", ADA, "--role", "Reader", "--entity", "spv:Berlin"]).await,
        one(&["assignments", "list", "--in-force", "true"]).await,
        one(&["assignments", "get", &made.assignment]).await,
    ];
    for assignment in shown {
        assert_eq!(id_of(&assignment), made.assignment);
        assert_eq!((&assignment["role_name"], &assignment["entity_name"]), (&json!("Reader"), &json!("Berlin")));
    }
    assert_eq!(one(&["principals", "get", ADA]).await["status"], "active");
    assert_eq!(one(&["principals", "list", "--status", "active"]).await["id"], ADA);
    assert!(ask(&["principals", "list", "--status", "suspended"]).await.is_empty());
    let text = cli.ok(&[&["assignments", "list"][..], &moment].concat()).await;
    assert!(text.contains("Reader on spv:Berlin"), "{text}");
    let text = cli.ok(&[&["entities", "get", "spv:Berlin"][..], &moment].concat()).await;
    assert!(text.contains("issuer:Acme"), "{text}");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_registry_commands_show_it_as_it_was(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let base = api.client().await.base_url().to_string();
    let issuer = api.entity("Acme", "issuer", None).await;
    let entity = api.entity("Berlin", "spv", Some(&issuer)).await;
    let role = api.role("Reader", &[], &["document:read"]).await;
    api.post("/api/v1/principals", json!({"id": ADA, "display_name": "Ada"})).await.expect(201);
    let held = json!({"principal_id": ADA, "role_id": role, "entity_id": entity});
    let answer = api.post("/api/v1/assignments", held).await;
    let revision = answer.headers["epr-revision"].to_str().unwrap().to_owned();
    let assignment = id_of(&answer.expect(201));
    next_millisecond().await;
    let at = api.epr.now().to_string();
    next_millisecond().await;

    api.patch(&format!("/api/v1/entities/{entity}"), json!({"name": "Munich"})).await.expect(200);
    api.post(&format!("/api/v1/entities/{entity}/archive"), json!({})).await.expect(200);
    let changed = json!({"description": "changed", "permissions": ["document:write"]});
    api.patch(&format!("/api/v1/roles/{role}"), changed).await.expect(200);
    api.delete(&format!("/api/v1/assignments/{assignment}")).await.expect(200);
    api.patch(&format!("/api/v1/principals/{ADA}"), json!({"status": "suspended"})).await.expect(200);
    let made = Made { entity, role, assignment };
    for cli in [Cli::on(&api.database.url), Cli::over(&base)] {
        for moment in [["--at", &at], ["--revision", &revision]] {
            as_it_was(&cli, moment, &made).await;
        }
        // Now, and before there was anything.
        assert_eq!(cli.run(&["entities", "get", "spv:Berlin"]).await.code, 2);
        assert!(cli.ok(&["assignments", "list"]).await.is_empty());
        let early = cli.run(&["entities", "list", "--at", "2001-01-01"]).await;
        assert!(early.code == 2 && early.err.contains("no history before its first revision"), "{early:?}");
        let missing = cli.run(&["entities", "get", "spv:Munich", "--at", &at]).await;
        assert!(missing.code == 2 && missing.err.contains("there was no spv named `Munich`"), "{missing:?}");
    }
    // Every read of the past is in the ledger.
    let reviews = "/api/v1/audit/entries?action=authorization.review&limit=1";
    assert_eq!(api.get(reviews).await.expect(200).as_array().unwrap().len(), 1);
}
