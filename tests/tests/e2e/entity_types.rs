//! `EPR_ENTITY_TYPES`: the added types are accepted wherever a type is, others nowhere, and none in use can be removed.

use std::sync::Arc;

use epr_client::domain::{EntityFilter, EntityType, NewEntity, NewRole};
use epr_core::clock::SystemClock;
use epr_core::{Call, Epr};
use epr_testkit::api::{Api, id_of};
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use rstest::rstest;
use serde_json::json;

const TYPES: (&str, &str) = ("EPR_ENTITY_TYPES", " fund, real_estate.unit ,,spv");

async fn with_types(database: Arc<Database>) -> Api {
    Api::with_settings(database, Arc::new(SystemClock), &[TYPES]).await
}

fn sentence(added: &str) -> String {
    format!("Input should be one of 'issuer', 'spv', 'offering', 'investor', 'agent', 'other'{added}")
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_added_type_is_accepted_wherever_a_type_is(#[case] kind: DatabaseKind) {
    let api = with_types(Arc::new(Database::create(kind).await)).await;
    let fund = api.post("/api/v1/entities", json!({"name": "Growth", "type": "fund"})).await.expect(201);
    assert_eq!(fund["type"], "fund");
    let unit = json!({"name": "Flat 3", "type": "real_estate.unit", "parent_id": fund["id"]});
    let unit = api.post("/api/v1/entities", unit).await.expect(201);
    api.entity("Growth", "spv", None).await;
    let taken = api.post("/api/v1/entities", json!({"name": "Growth", "type": "fund"})).await.expect(409);
    assert_eq!(taken["detail"], "Entity 'Growth' of type 'fund' already exists");
    let listed = api.get("/api/v1/entities?type=fund&type=real_estate.unit").await.expect(200);
    assert_eq!(listed, json!([unit, fund]));
    // A role for the type is granted on it, below another type, and nowhere else.
    let role = json!({"name": "Reader", "scope_types": ["real_estate.unit", "spv"], "permissions": ["unit:read"]});
    let role = api.post("/api/v1/roles", role).await.expect(201);
    assert_eq!(role["scope_types"], json!(["real_estate.unit", "spv"]));
    let user = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01";
    let on =
        |entity: &serde_json::Value| json!({"principal_id": user, "role_id": role["id"], "entity_id": entity["id"]});
    let unfit = api.post("/api/v1/assignments", on(&fund)).await.expect(400);
    assert_eq!(unfit["detail"], "Role Reader cannot be assigned to entity type fund");
    api.post("/api/v1/assignments", on(&unit)).await.expect(201);
    let asked = json!({"user_id": user, "action": "unit:read", "resource_id": unit["id"]});
    assert_eq!(api.post("/api/v1/authorize", asked.clone()).await.expect(200), json!({"authorized": true}));
    let path = format!("/api/v1/roles/{}", id_of(&role));
    let narrowed = api.patch(&path, json!({"scope_types": ["fund", "fund"]})).await.expect(200);
    assert_eq!(narrowed["scope_types"], json!(["fund"]), "a repeated type counts once");
    assert_eq!(api.post("/api/v1/authorize", asked).await.expect(200), json!({"authorized": false}));
    let entry = api.get("/api/v1/audit/entries?entity_type=fund&action=entity.create").await.expect(200);
    assert_eq!((&entry[0]["entity_type"], &entry[0]["details"]["type"]), (&json!("fund"), &json!("fund")));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_other_type_is_refused_with_the_accepted_ones(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let (plain, added) = (Api::on(Arc::clone(&database)).await, with_types(database).await);
    let role = added.post("/api/v1/roles", json!({"name": "Reader"})).await.expect(201);
    let role = format!("/api/v1/roles/{}", id_of(&role));
    for (api, list, words) in [
        (&plain, "", ["fund", "Fund", "a b", ""]),
        (&added, ", 'fund', 'real_estate.unit'", ["ship", "Fund", "everywhere", ""]),
    ] {
        for word in words {
            let said =
                api.post("/api/v1/entities", json!({"name": "", "type": word, "status": "no"})).await.expect(400);
            let fields: Vec<_> = said["detail"].as_array().unwrap().iter().map(|error| &error["loc"][1]).collect();
            assert_eq!(fields, ["name", "type", "status"], "every failing field, in their order");
            let error = json!({"loc": ["body", "type"], "msg": sentence(list), "type": "enum"});
            assert_eq!(said["detail"][1], error, "{word}");
            let scoped = json!({"name": "Other", "scope_types": ["spv", word]});
            let error = json!([{"loc": ["body", "scope_types", 1], "msg": sentence(list), "type": "enum"}]);
            assert_eq!(api.post("/api/v1/roles", scoped).await.expect(400)["detail"], error, "{word}");
            let patched = api.patch(&role, json!({"scope_types": ["spv", word]})).await.expect(400);
            assert_eq!(patched["detail"], error, "{word}");
        }
        let listed = api.get("/api/v1/entities?type=spv&type=ship").await.expect(400);
        let error = json!([{"loc": ["query", "type", 1], "msg": sentence(list), "type": "enum"}]);
        assert_eq!(listed["detail"], error);
    }
}

#[tokio::test]
async fn a_program_that_embeds_the_service_is_told_the_same() {
    let epr = Epr::in_memory().await.unwrap();
    let fund: EntityType = "fund".parse().unwrap();
    let call = Call::default();
    let refused = epr.create_entity(&call, NewEntity::new("Growth".parse().unwrap(), fund.clone())).await.unwrap_err();
    let epr_core::Error::Invalid(invalid) = refused else { panic!("{refused}") };
    assert_eq!(serde_json::to_value(&invalid.0).unwrap()[0]["msg"], sentence(""));
    let role = NewRole::new("Reader".parse().unwrap()).scope(fund);
    assert!(matches!(epr.create_role(&call, role).await, Err(epr_core::Error::Invalid(_))));
    assert_eq!(
        epr.entities(&EntityFilter::default(), &epr_core::store::Page { limit: 9, after: None }).await.unwrap(),
        []
    );
    epr.close().await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_in_use_cannot_be_removed(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let api = with_types(Arc::clone(&database)).await;
    for name in ["One", "Two"] {
        let made = api.post("/api/v1/entities", json!({"name": name, "type": "fund"})).await.expect(201);
        api.post(&format!("/api/v1/entities/{}/archive", id_of(&made)), json!({})).await.expect(200);
    }
    api.post("/api/v1/roles", json!({"name": "Reader", "scope_types": ["real_estate.unit", "fund"]})).await.expect(201);
    drop(api);
    let sentence = "EPR_ENTITY_TYPES lacks types that the database uses: `fund` (2 entities, 1 role), \
                    `real_estate.unit` (0 entities, 1 role); add them to it again";
    for program in ["epr-api", "epr-audit-worker"] {
        let url = database.url.as_str();
        let settings = [
            ("EPR_DATABASE_URL", url),
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("EPR_AUDIT_SQS_URL", "http://127.0.0.1:1/000000000000/none"),
        ];
        let (status, log) = Process::start(program, &settings).wait_for_exit().await;
        let said = serde_json::to_string(&log).unwrap();
        assert!(!status.success() && said.contains(sentence), "{program}: {status} {said}");
    }
    let cli = Cli::on(&database.url);
    let report = cli.run(&["doctor"]).await;
    assert!(report.code == 1 && normal(&report.out).contains(sentence), "{}", report.out);
    let accepting = cli.with(TYPES.0, TYPES.1).run(&["doctor"]).await;
    assert!(!accepting.out.contains("EPR_ENTITY_TYPES lacks"), "{}", accepting.out);
    let (process, _) = Process::api(&[("EPR_DATABASE_URL", &database.url), TYPES]).await;
    drop(process);
}

fn normal(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_works_with_added_types(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let api = with_types(Arc::clone(&database)).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url), TYPES]).await;
    for (at, cli) in [("db", Cli::on(&database.url).with(TYPES.0, TYPES.1)), ("api", Cli::over(&base))] {
        cli.ok(&["entities", "create", "fund", &format!("Growth {at}")]).await;
        let shown = cli.ok(&["entities", "show", &format!("fund:Growth {at}")]).await;
        assert!(shown.contains("type        fund"), "{shown}");
        assert!(cli.ok(&["entities", "list", "--type", "fund"]).await.contains(&format!("Growth {at}")));
        let role = format!("Fund reader {at}");
        cli.ok(&["roles", "create", &role, "--for", "fund", "--action", "fund:read"]).await;
        let refused = cli.run(&["entities", "create", "ship", "Aurora"]).await;
        assert!(refused.code == 2 && normal(&refused.err).contains("'fund', 'real_estate.unit'"), "{refused:?}");
        let refused = cli.run(&["roles", "update", &role, "--for", "ship"]).await;
        assert!(refused.code == 2 && normal(&refused.err).contains("'fund', 'real_estate.unit'"), "{refused:?}");
        let wrong = cli.run(&["entities", "create", "Fund", "Aurora"]).await;
        assert!(wrong.code == 2 && wrong.err.contains("`Fund` is not an entity type"), "{wrong:?}");
        // Everything that was exported can be imported, on the same type.
        let user = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01";
        cli.ok(&["assignments", "create", user, &role, "--on", &format!("fund:Growth {at}")]).await;
        let folder = tempfile::tempdir().unwrap();
        for file in ["registry.jsonl", "registry.csv"] {
            let file = folder.path().join(file).display().to_string();
            cli.ok(&["export", "--output", &file]).await;
            assert!(std::fs::read_to_string(&file).unwrap().contains("fund"), "{file}");
            let done = cli.run(&["import", &file, "--json"]).await;
            assert!(done.code == 0 && done.out.contains(r#""roles":{"changed":0,"created":0,"#), "{done:?}");
        }
    }
    drop((process, api));
}
