//! `form: "subtrees"` of `POST /api/v1/access/resources`.

use std::sync::Arc;

use epr_core::clock::ManualClock;
use epr_core::domain::Timestamp;
use epr_testkit::api::{Api, id_of};
use epr_testkit::database::{Database, DatabaseKind};
use rstest::rstest;
use serde_json::{Value, json};

const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const PATH: &str = "/api/v1/access/resources";

/// A world whose assignments are created a second apart.
async fn api(kind: DatabaseKind) -> (Api, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-23T17:07:00Z").unwrap()));
    (Api::with_clock(Arc::new(Database::create(kind).await), clock.clone()).await, clock)
}

async fn assign(api: &Api, clock: &ManualClock, body: Value) -> String {
    clock.advance_micros(1_000_000);
    id_of(&api.post("/api/v1/assignments", body).await.expect(201))
}

async fn subtrees(api: &Api, extra: Value) -> Value {
    let mut body = json!({"principal_id": USER, "action": "document:download", "form": "subtrees"});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    api.post(PATH, body).await.expect(200)
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_assignment_is_a_root_with_its_types_and_exclusions(#[case] kind: DatabaseKind) {
    let (api, clock) = api(kind).await;
    let issuer = api.entity("Acme Estates", "issuer", None).await;
    let spv = api.entity("Berlin One", "spv", Some(&issuer)).await;
    let other = api.entity("Berlin Two", "spv", Some(&issuer)).await;
    api.post(&format!("/api/v1/entities/{other}/archive"), json!({})).await.expect(200);
    let reader = api.role("Document reader", &["issuer", "spv"], &["document:download"]).await;
    let auditor = api.role("Auditor", &[], &["document:download"]).await;
    let on_issuer = assign(
        &api,
        &clock,
        json!({"principal_id": USER, "role_id": reader, "entity_id": issuer,
            "expires_at": "2026-12-01T12:00:00Z"}),
    )
    .await;
    let global = assign(&api, &clock, json!({"principal_id": USER, "role_id": auditor})).await;
    assign(
        &api,
        &clock,
        json!({"principal_id": USER, "role_id": auditor, "entity_id": spv,
        "effective_at": "2027-01-01T00:00:00Z"}),
    )
    .await;
    let page = subtrees(&api, json!({})).await;
    assert_eq!(
        page["items"],
        json!([
            {"id": issuer, "type": "issuer", "name": "Acme Estates", "types": ["issuer", "spv"],
             "exclusions": [other], "via": {"assignment_id": on_issuer,
                "role": {"id": reader, "name": "Document reader"},
                "entity": {"id": issuer, "type": "issuer", "name": "Acme Estates"}, "via": "direct",
                "until": "2026-12-01T12:00:00.000000Z"}},
            {"everything": true, "types": [], "exclusions": [other], "via": {"assignment_id": global,
                "role": {"id": auditor, "name": "Auditor"}, "entity": null, "via": "global", "until": null}},
        ])
    );
    assert_eq!((&page["complete"], &page["next"]), (&json!(true), &Value::Null));
    let page = subtrees(&api, json!({"include": ["archived"], "explain": false, "resource_type": "offering"})).await;
    assert_eq!(page["items"], json!([{"everything": true, "types": ["offering"], "exclusions": []}]));
    let page = subtrees(&api, json!({"within": issuer, "explain": false, "resource_type": "spv"})).await;
    let root = |types: Value, exclusions: Value| {
        let name = "Acme Estates";
        json!({"id": issuer, "type": "issuer", "name": name, "types": types, "exclusions": exclusions})
    };
    assert_eq!(page["items"], json!([root(json!(["spv"]), json!([other])), root(json!(["spv"]), json!([other]))]));
    let page = subtrees(&api, json!({"within": issuer, "explain": false})).await;
    let mut all = [issuer.clone(), other.clone()];
    all.sort();
    assert_eq!(page["items"][1], root(json!([]), json!(all)), "the entity itself is not below it");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_reads_the_resource_excludes_single_entities(#[case] kind: DatabaseKind) {
    let (api, clock) = api(kind).await;
    let issuer = api.entity("Acme Estates", "issuer", None).await;
    let mut entities = vec![issuer.clone()];
    for n in 0..6 {
        let spv = api.entity(&format!("Berlin {n}"), "spv", Some(&issuer)).await;
        let attributes = json!({"attributes": {"open": n % 2 == 0}});
        api.patch(&format!("/api/v1/entities/{spv}"), attributes).await.expect(200);
        entities.push(spv);
    }
    let reader = api.role("Document reader", &["issuer", "spv"], &["document:download"]).await;
    let condition = json!({"expression": "resource.attributes.open && context.amount < 10",
        "parameters": {"amount": "int"}});
    assign(&api, &clock, json!({"principal_id": USER, "role_id": reader, "entity_id": issuer, "condition": condition}))
        .await;
    let closed = [&entities[2], &entities[4], &entities[6]];
    let root = |exclusions: Value| {
        let name = "Acme Estates";
        json!({"id": issuer, "type": "issuer", "name": name, "types": ["spv"], "exclusions": exclusions})
    };
    let page = subtrees(&api, json!({"context": {"amount": 1}, "explain": false, "resource_type": "spv"})).await;
    assert_eq!(page["items"], json!([root(json!(closed))]));
    let page = subtrees(&api, json!({"explain": false, "resource_type": "spv"})).await;
    assert_eq!(page["items"], json!([root(json!(entities[1..]))]));
    // Both variants: what is allowed, and what would be with the missing context.
    let page = subtrees(&api, json!({"explain": false, "resource_type": "spv", "include": ["conditional"]})).await;
    let mut conditional = root(json!(closed));
    conditional["conditional"] = json!(true);
    conditional["missing"] = json!(["context.amount"]);
    assert_eq!(page["items"], json!([root(json!(entities[1..])), conditional]));
    // If nothing is missing, the second one would say the same as the first.
    let complete = json!({"context": {"amount": 1}, "explain": false, "resource_type": "spv",
        "include": ["conditional"]});
    assert_eq!(subtrees(&api, complete).await["items"], json!([root(json!(closed))]));

    // Exclusions that do not fit are on the next pages, with the root repeated.
    let (mut body, mut pages) =
        (json!({"context": {"amount": 1}, "explain": false, "resource_type": "spv", "limit": 2}), Vec::new());
    loop {
        let page = subtrees(&api, body.clone()).await;
        pages.push(page["items"].clone());
        if page["complete"] == true {
            break;
        }
        body["next"] = page["next"].clone();
    }
    let mut first = root(json!([closed[0]]));
    first["more_exclusions"] = json!(true);
    assert_eq!(pages, [json!([first]), json!([root(json!([closed[1], closed[2]]))])]);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_reads_no_resource_is_judged_once(#[case] kind: DatabaseKind) {
    let (api, clock) = api(kind).await;
    let issuer = api.entity("Acme Estates", "issuer", None).await;
    let reader = api.role("Document reader", &[], &["document:download"]).await;
    let condition = json!({"expression": "context.amount < 10 && now < timestamp('2026-12-24T00:00:00Z')",
        "parameters": {"amount": "int"}});
    assign(&api, &clock, json!({"principal_id": USER, "role_id": reader, "entity_id": issuer, "condition": condition}))
        .await;
    let allowed = subtrees(&api, json!({"context": {"amount": 1}})).await;
    assert_eq!(allowed["items"][0]["via"]["until"], "2026-12-24T00:00:00.000000Z");
    assert_eq!(subtrees(&api, json!({"context": {"amount": 10}})).await["items"], json!([]));
    assert_eq!(subtrees(&api, json!({})).await["items"], json!([]));
    let conditional = subtrees(&api, json!({"include": ["conditional"]})).await;
    let item = &conditional["items"][0];
    assert_eq!((&item["conditional"], &item["missing"]), (&json!(true), &json!(["context.amount"])));
    assert_eq!(conditional["items"].as_array().unwrap().len(), 1);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_whose_condition_without_the_resource_cannot_hold_is_no_item(#[case] kind: DatabaseKind) {
    let (api, clock) = api(kind).await;
    let issuer = api.entity("Acme Estates", "issuer", None).await;
    let mut closed = Vec::new();
    for n in 0..4 {
        let spv = api.entity(&format!("Berlin {n}"), "spv", Some(&issuer)).await;
        let attributes = json!({"attributes": {"open": n % 2 == 0}});
        api.patch(&format!("/api/v1/entities/{spv}"), attributes).await.expect(200);
        closed.extend((n % 2 == 1).then_some(spv));
    }
    let of_role = json!({"expression": "context.amount < 10", "parameters": {"amount": "int"}});
    let role = json!({"name": "Reader", "scope_types": ["spv", "issuer"], "permissions": ["document:download"],
        "conditions": {"document:download": of_role}});
    let role = id_of(&api.post("/api/v1/roles", role).await.expect(201));
    let own = json!({"expression": "resource.attributes.open && context.n == 1", "parameters": {"n": "int"}});
    let on_issuer = json!({"principal_id": USER, "role_id": role, "entity_id": issuer, "condition": own});
    assign(&api, &clock, on_issuer).await;
    let listed = async |more: Value| {
        let mut body = json!({"resource_type": "spv", "explain": false});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        subtrees(&api, body).await["items"].clone()
    };
    let item = json!({"id": issuer, "type": "issuer", "name": "Acme Estates", "types": ["spv"], "exclusions": closed});
    assert_eq!(listed(json!({"context": {"amount": 1, "n": 1}})).await, json!([item]));
    // It does not hold, or cannot be known to: the entities below are not looked at.
    assert_eq!(listed(json!({"context": {"amount": 10, "n": 1}})).await, json!([]));
    assert_eq!(listed(json!({"context": {"n": 1}})).await, json!([]));
    // With the missing value, the entities would be allowed of which the other condition is true.
    let mut conditional = item;
    conditional["conditional"] = json!(true);
    conditional["missing"] = json!(["context.amount"]);
    let with_conditional = json!({"context": {"n": 1}, "include": ["conditional"]});
    assert_eq!(listed(with_conditional).await, json!([conditional]));
    // A parameter of the wrong type is an error as in a check, whatever the other condition says.
    let wrong = json!({"principal_id": USER, "action": "document:download", "form": "subtrees",
        "context": {"amount": 10, "n": "one"}});
    api.post(PATH, wrong).await.expect(400);
}
