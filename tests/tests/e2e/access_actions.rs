//! `POST /api/v1/access/actions`: what a principal may do on an entity.

use epr_testkit::api::{Api, id_of};
use epr_testkit::database::DatabaseKind;
use rstest::rstest;
use serde_json::{Value, json};

use crate::access_principals::ids;

const PATH: &str = "/api/v1/access/actions";
const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_names_the_actions_of_every_role_that_reaches_the_resource(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let issuer = api.entity("Acme", "issuer", None).await;
    let spv = api.entity("Berlin", "spv", Some(&issuer)).await;
    let reader = api.role("Reader", &[], &["doc:read", "doc:list"]).await;
    let writer = api.role("Writer", &["spv"], &["doc:write", "doc:read", "Doc:write"]).await;
    let agent = api.role("Agent", &["agent"], &["doc:sell"]).await;
    let assign = async |body: Value| id_of(&api.post("/api/v1/assignments", body).await.expect(201));
    let global = assign(json!({"principal_id": USER, "role_id": reader})).await;
    let direct = assign(json!({"principal_id": USER, "role_id": writer, "entity_id": spv})).await;
    assign(json!({"principal_id": USER, "role_id": agent})).await;
    let body = json!({"principal_id": USER, "resource_id": spv});
    let page = api.post(PATH, body.clone()).await.expect(200);
    assert_eq!(ids(&page), ["Doc:write", "doc:list", "doc:read", "doc:write"]);
    assert_eq!((&page["complete"], &page["next"]), (&json!(true), &json!(null)));
    assert_eq!(
        page["items"][0],
        json!({"id": "Doc:write", "via": {"assignment_id": direct, "role": {"id": writer, "name": "Writer"},
            "entity": {"id": spv, "type": "spv", "name": "Berlin"}, "via": "direct", "until": null}})
    );
    assert_eq!(page["items"][1]["via"]["assignment_id"], json!(global));
    // On the issuer, the role for SPVs does not apply.
    let above = json!({"principal_id": USER, "resource_id": issuer, "explain": false});
    let above = api.post(PATH, above).await.expect(200);
    assert_eq!(above["items"], json!([{"id": "doc:list"}, {"id": "doc:read"}]));
    // Page by page.
    let (mut all, mut next) = (Vec::new(), Value::Null);
    loop {
        let mut body = body.clone();
        (body["limit"], body["next"]) = (json!(1), next);
        let page = api.post(PATH, body).await.expect(200);
        all.extend(ids(&page));
        next = page["next"].clone();
        if page["complete"] == json!(true) {
            break;
        }
    }
    assert_eq!(all, ids(&page));
    // Another type of principal and a suspended one hold nothing.
    let service = json!({"principal_id": USER, "principal_type": "service", "resource_id": spv});
    assert_eq!(api.post(PATH, service).await.expect(200)["items"], json!([]));
    api.post("/api/v1/principals", json!({"id": USER, "status": "suspended"})).await.expect(201);
    let suspended = api.post(PATH, body).await.expect(200);
    assert_eq!((&suspended["items"], &suspended["complete"]), (&json!([]), &json!(true)));
    let entries = api.get("/api/v1/audit/entries?action=authorization.list&order=asc&limit=1").await.expect(200);
    let details = &entries[0]["details"];
    assert_eq!((&details["kind"], &details["principal_id"]), (&json!("actions"), &json!(USER)));
    assert_eq!((&details["count"], &details["principal_type"]), (&json!(4), &json!("user")));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_action_has_the_condition_of_its_role(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = api.entity("S", "spv", None).await;
    let role = json!({"name": "Payer", "permissions": ["pay:small", "pay:large", "pay:view"], "conditions": {
        "pay:small": {"expression": "context.amount <= 10", "parameters": {"amount": "int"}},
        "pay:large": {"expression": "context.amount > 10", "parameters": {"amount": "int"}}}});
    let role = id_of(&api.post("/api/v1/roles", role).await.expect(201));
    let held = json!({"principal_id": USER, "role_id": role, "entity_id": spv});
    api.post("/api/v1/assignments", held).await.expect(201);
    let ask = async |context: Value, include: Value| {
        let body = json!({"principal_id": USER, "resource_id": spv, "context": context, "include": include});
        api.post(PATH, body).await
    };
    assert_eq!(ids(&ask(json!({"amount": 5}), json!([])).await.expect(200)), ["pay:small", "pay:view"]);
    assert_eq!(ids(&ask(json!({"amount": 50}), json!([])).await.expect(200)), ["pay:large", "pay:view"]);
    assert_eq!(ids(&ask(json!({}), json!([])).await.expect(200)), ["pay:view"]);
    let conditional = ask(json!({}), json!(["conditional"])).await.expect(200);
    assert_eq!(ids(&conditional), ["pay:large", "pay:small", "pay:view"]);
    assert_eq!(conditional["items"][0]["missing"], json!(["context.amount"]));
    assert_eq!(ask(json!({"amount": "5"}), json!([])).await.field_errors(), ["body.context.amount: parameter_type"]);
    let unknown = json!({"principal_id": USER, "resource_id": USER});
    assert_eq!(api.post(PATH, unknown).await.expect(404)["detail"], format!("Entity {USER} not found"));
    assert_eq!(
        api.post(PATH, json!({})).await.field_errors(),
        ["body.principal_id: missing", "body.resource_id: missing"]
    );
}
