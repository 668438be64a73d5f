//! `EPR-Reason`, `--reason` and `EPR_REQUIRE_REASON`: why a change was made is in the ledger and in reports.

use std::sync::Arc;

use axum::http::Method;
use epr_client::Client;
use epr_client::domain::{NewAssignment, StatedReason};
use epr_core::clock::SystemClock;
use epr_testkit::api::{Api, id_of};
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

const USER: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01";

async fn change(api: &Api, method: Method, path: &str, body: &Value, reason: &str) -> Value {
    let status = if method == Method::POST && !path.ends_with("archive") { 201 } else { 200 };
    api.raw(method, path, &[("epr-reason", reason)], body.to_string()).await.expect(status)
}

/// The action and the stated reason of every entry, oldest first.
async fn reasons(api: &Api) -> Vec<(String, Value)> {
    let entries = api.get("/api/v1/audit/entries?order=asc").await.expect(200);
    let of = |entry: &Value| (entry["action"].as_str().unwrap().to_owned(), entry["details"]["stated_reason"].clone());
    entries.as_array().unwrap().iter().map(of).collect()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_the_registry_records_the_stated_reason(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let entity = change(&api, Method::POST, "/api/v1/entities", &json!({"name": "S", "type": "spv"}), "r1").await;
    let path = format!("/api/v1/entities/{}", id_of(&entity));
    change(&api, Method::PATCH, &path, &json!({"name": "T"}), "Prüfung €").await;
    let role = json!({"name": "Reader", "permissions": ["a:b"]});
    let role = change(&api, Method::POST, "/api/v1/roles", &role, "UTF-8''100%25%20%E2%82%AC").await;
    let role_path = format!("/api/v1/roles/{}", id_of(&role));
    change(&api, Method::PATCH, &role_path, &json!({"description": "Reads"}), "  100% sure  ").await;
    let grant = json!({"principal_id": USER, "role_id": id_of(&role), "entity_id": id_of(&entity)});
    let held = change(&api, Method::POST, "/api/v1/assignments", &grant, "r5").await;
    let held = format!("/api/v1/assignments/{}", id_of(&held));
    change(&api, Method::DELETE, &held, &json!({}), "r6").await;
    change(&api, Method::POST, &format!("{path}/archive"), &json!({}), &"ü".repeat(512)).await;
    api.patch(&path, json!({"status": "active"})).await.expect(200);
    let expected = [
        ("entity.create", json!("r1")),
        ("entity.update", json!("Prüfung €")),
        ("role.create", json!("100% €")),
        ("role.update", json!("100% sure")),
        ("role_assignment.create", json!("r5")),
        ("role_assignment.delete", json!("r6")),
        ("entity.archive", json!("ü".repeat(512))),
        ("entity.update", Value::Null),
    ];
    assert_eq!(reasons(&api).await, expected.map(|(action, reason)| (action.to_owned(), reason)));
    // A check states no reason: the header is not read.
    let question = json!({"user_id": USER, "action": "a:b", "resource_id": id_of(&entity)}).to_string();
    let headers = [("epr-reason", "r"), ("epr-reason", "s")];
    api.raw(Method::POST, "/api/v1/authorize", &headers, question).await.expect(200);
    assert_eq!(reasons(&api).await.last().unwrap(), &("authorization.evaluate".to_owned(), Value::Null));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_reason_is_refused_with_every_other_error(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let long = "ü".repeat(513);
    for (value, kind) in [
        ("", "string_too_short"),
        ("   ", "string_too_short"),
        ("a\tb", "string_characters"),
        ("UTF-8''a%0Ab", "string_characters"),
        ("UTF-8''%ff", "string_unicode"),
        ("UTF-8''%2", "string_unicode"),
        (&long, "string_too_long"),
    ] {
        refuses(&api, &[value], kind).await;
    }
    assert_eq!(reasons(&api).await, []);
}

/// A change with these values of `EPR-Reason` is refused with this error of it, and with every other one.
async fn refuses(api: &Api, values: &[&str], kind: &str) {
    let mut headers: Vec<_> = values.iter().map(|value| ("epr-reason", *value)).collect();
    headers.push(("x-actor-id", "nobody"));
    let body = json!({"name": "", "type": "spv"}).to_string();
    let errors = api.raw(Method::POST, "/api/v1/entities", &headers, body).await.field_errors();
    let expected =
        ["header.X-Actor-Id: uuid_parsing", &format!("header.EPR-Reason: {kind}"), "body.name: string_too_short"];
    assert_eq!(errors, expected, "{values:?}");
}

#[tokio::test]
async fn a_reason_is_given_once() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    refuses(&api, &["a", "a"], "duplicate").await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_needs_a_reason_where_the_settings_say_so(#[case] kind: DatabaseKind) {
    let required = ("EPR_REQUIRE_REASON", "assignments");
    let database = Arc::new(Database::create(kind).await);
    let api = Api::with_settings(Arc::clone(&database), Arc::new(SystemClock), &[required]).await;
    let role = api.role("Reader", &[], &["a:b"]).await;
    let grant = json!({"principal_id": USER, "role_id": role});
    let refused = api.post("/api/v1/assignments", grant.clone()).await.expect(400);
    assert_eq!(refused["detail"][0]["loc"], json!(["header", "EPR-Reason"]));
    assert_eq!(refused["detail"][0]["type"], "missing");
    let errors = api.post("/api/v1/assignments", json!({"role_id": role})).await.field_errors();
    assert_eq!(errors, ["header.EPR-Reason: missing", "body.principal_id: missing"]);
    let held = change(&api, Method::POST, "/api/v1/assignments", &grant, "onboarding").await;
    let again = api.post("/api/v1/assignments", grant).await.field_errors();
    assert_eq!(again, ["header.EPR-Reason: missing"], "an existing assignment is no exception");
    // A revocation needs none: nothing may stand in its way.
    api.delete(&format!("/api/v1/assignments/{}", id_of(&held))).await.expect(200);

    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url), required]).await;
    let client = Client::builder(&base).build().unwrap();
    let new = NewAssignment::new(Uuid::from_u128(7), role.parse().unwrap());
    assert!(client.assign(&new).await.is_err());
    let reason: StatedReason = "Prüfung €".parse().unwrap();
    client.with_reason(&reason).assign(&new).await.unwrap();
    assert_eq!(reasons(&api).await.last().unwrap().1, "Prüfung €");
    for (n, cli) in [(1, Cli::on(&database.url).with(required.0, required.1)), (2, Cli::over(&base))] {
        let user = Uuid::from_u128(100 + n).to_string();
        let grant = ["assignments", "create", &user, "Reader", "--everywhere"];
        let refused = cli.run(&grant).await;
        assert!(refused.code == 2 && refused.err.contains("--reason"), "{refused:?}");
        cli.ok(&[&grant[..], &["--reason", "Ticket 4711 – Müller"]].concat()).await;
        assert_eq!(reasons(&api).await.last().unwrap().1, "Ticket 4711 – Müller");
        // An import grants too.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("grants.json").display().to_string();
        let user = Uuid::from_u128(200 + n);
        let record = json!({"kind": "assignment", "principal_id": user, "role": "Reader", "entity_type": "everywhere"});
        std::fs::write(&file, format!("{record}\n")).unwrap();
        let before = reasons(&api).await.len();
        let refused = cli.run(&["import", &file]).await;
        assert!(refused.code == 2 && refused.err.contains("--reason"), "{refused:?}");
        assert_eq!(reasons(&api).await.len(), before, "nothing was granted");
        cli.ok(&["import", &file, "--reason", "from the old list"]).await;
        assert_eq!(reasons(&api).await.last().unwrap().1, "from the old list");
        let wrong = cli.run(&[&grant[..], &["--reason", "a\nb"]].concat()).await;
        assert!(wrong.code == 2 && wrong.err.contains("control characters"), "{wrong:?}");
    }
    drop(process);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_show_who_granted_an_assignment_when_and_why(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let cli = Cli::on(&api.database.url);
    let role = api.role("Reader", &[], &["a:b"]).await;
    cli.ok(&["assignments", "create", USER, "Reader", "--everywhere", "--reason", "Audit 2026"]).await;
    let (other, actor) = (Uuid::from_u128(9).to_string(), Uuid::from_u128(5).to_string());
    let body = json!({"principal_id": other, "role_id": role}).to_string();
    let held = api.raw(Method::POST, "/api/v1/assignments", &[("x-actor-id", &actor)], body).await.expect(201);
    let global = cli.json(&["report", "global-roles"]).await;
    let by = |user: &str| global.iter().find(|row| row["principal_id"] == *user).unwrap()["granted"].clone();
    let (first, second) = (by(USER), by(&other));
    assert_eq!(first["stated_reason"], "Audit 2026");
    assert!(first["caller"].as_str().is_some_and(|caller| caller.contains('@')), "{first}");
    assert_eq!(
        (&second["actor_id"], &second["caller"], &second["at"]),
        (&json!(actor), &Value::Null, &held["created_at"])
    );
    let entry = api.get(&format!("/api/v1/audit/entries?from_sequence={0}&to_sequence={0}", second["sequence"])).await;
    assert_eq!(entry.expect(200)[0]["details"]["assignment_id"], held["id"]);
    let text = cli.ok(&["report", "global-roles"]).await;
    assert!(text.contains(": Audit 2026") && text.contains(&format!("by user {}", &actor[..20])), "{text}");
    let shown = cli.ok(&["assignments", "show", &id_of(&held)]).await;
    assert!(shown.contains("granted"), "{shown}");
}
