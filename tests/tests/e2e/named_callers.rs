//! Entries of callers that give no actor: the ledger names the credential or the operating system's user.

use epr_core::domain::named_caller::{CallerKind, NamedCaller};
use epr_testkit::api::Api;
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::{Process, epr};
use rstest::rstest;
use serde_json::{Value, json};

const ACTOR: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const USER: &str = "bbbbbbbb-0000-4000-8000-000000000002";

/// The content of every entry, oldest first.
async fn entries(url: &str) -> Vec<Value> {
    let (code, out, err) = epr(url, &["audit", "export"]).await;
    assert_eq!(code, 0, "{err}");
    let line = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
    out.lines().map(|text| serde_json::from_str(line(text)["canonical"].as_str().unwrap()).unwrap()).collect()
}

fn actor(entry: &Value) -> (&Value, &Value, &Value) {
    (&entry["actor_type"], &entry["actor_id"], &entry["details"]["caller"])
}

fn derived(kind: CallerKind, name: &str) -> Value {
    NamedCaller::new(kind, name).actor_id().to_string().into()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_by_the_command_names_user_and_host(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let url = &api.database.url;
    let cli = Cli::on(url);
    cli.ok(&["entities", "create", "spv", "Unnamed"]).await;
    cli.ok(&["entities", "create", "spv", "Named", "--actor", ACTOR]).await;
    cli.clone().with("EPR_ACTOR_ID", ACTOR).ok(&["entities", "archive", "spv:Unnamed"]).await;
    cli.run(&["check", USER, "document:download", "spv:Named"]).await;
    cli.run(&["check", USER, "document:download", "spv:Named", "--actor", ACTOR]).await;
    let entries = entries(url).await;
    let (kind, id, caller) = actor(&entries[0]);
    let name = caller.as_str().unwrap().to_owned();
    assert!(name.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty()), "{name}");
    assert_eq!((kind, id), (&json!("cli"), &derived(CallerKind::Cli, &name)));
    // Nothing changes where an actor is given.
    for entry in [&entries[1], &entries[2], &entries[4]] {
        assert_eq!(actor(entry), (&json!("user"), &json!(ACTOR), &Value::Null), "{entry}");
    }
    // The actor of a decision is the principal when no other one is named.
    assert_eq!(actor(&entries[3]), (&json!("user"), &json!(USER), &json!(name)));
    let of_user = api.get(&format!("/api/v1/audit/entries?actor_id={USER}")).await.expect(200);
    assert_eq!(of_user.as_array().unwrap().len(), 1, "{of_user}");
    assert_eq!(epr(url, &["audit", "verify"]).await.0, 0);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_principal_is_the_actor_of_a_decision_without_authentication(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let entity = api.entity("e", "spv", None).await;
    let question = json!({"principal_id": USER, "principal_type": "robot", "action": "a:b", "resource_id": entity});
    api.post("/api/v1/permissions/check", question).await.expect(200);
    let entries = entries(&api.database.url).await;
    assert_eq!(actor(&entries[0]), (&json!("user"), &Value::Null, &Value::Null), "a change stays as it was");
    assert_eq!(actor(&entries[1]), (&json!("robot"), &json!(USER), &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_without_an_actor_is_recorded_by_its_name() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let cli = Cli::on(&database.url);
    let scopes = ["--scopes", "epr:read,epr:write,epr:authorize,epr:act-as"];
    let output = cli.run(&[&["token", "new", "--json", "--name", "vault"][..], &scopes].concat()).await;
    let id = derived(CallerKind::Token, "vault");
    let id = id.as_str().unwrap();
    assert!(output.err.starts_with("warning: without --actor the ledger records this token by its name: `vault`, "));
    assert!(output.err.contains(&format!("--actor {id}")), "{}", output.err);
    let silent = cli.run(&[&["token", "new", "--json", "--name", "x", "--actor", ACTOR][..], &scopes].concat()).await;
    assert_eq!(silent.err, "", "no warning with an actor");
    let made: Value = serde_json::from_str(&output.out).unwrap();
    let list = json!([made["entry"]]).to_string();
    let environment =
        [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", &list)];
    let (process, base) = Process::api(&environment).await;
    let over = Cli::over(&base).with("EPR_API_TOKEN", made["token"].as_str().unwrap());
    over.ok(&["roles", "create", "Reader"]).await;
    over.ok(&["roles", "create", "Writer", "--actor", ACTOR]).await;
    over.ok(&["entities", "create", "spv", "One"]).await;
    over.run(&["check", USER, "document:download", "spv:One"]).await;
    process.terminate().await;
    let entries = entries(&database.url).await;
    let credential = (&json!("credential"), &json!(id), &json!("vault"));
    assert_eq!(actor(&entries[0]), credential);
    assert_eq!(actor(&entries[1]), (&json!("user"), &json!(ACTOR), &Value::Null));
    assert_eq!(actor(&entries[2]), credential);
    assert_eq!(actor(&entries[3]), (&json!("user"), &json!(USER), &json!("vault")));
}
