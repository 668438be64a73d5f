//! `POST /api/v1/access/principals`: who may perform an action on an entity.

use std::sync::Arc;

use epr_core::clock::ManualClock;
use epr_core::domain::Timestamp;
use epr_testkit::api::{Api, id_of};
use epr_testkit::database::{Database, DatabaseKind};
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

const PATH: &str = "/api/v1/access/principals";

/// The principal with this number.
fn user(n: u128) -> String {
    Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0000 | n).to_string()
}

async fn api_at(kind: DatabaseKind, at: &str) -> (Api, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::parse(at).unwrap()));
    (Api::with_clock(Arc::new(Database::create(kind).await), clock.clone()).await, clock)
}

async fn assign(api: &Api, body: Value) -> String {
    id_of(&api.post("/api/v1/assignments", body).await.expect(201))
}

/// The ids of a page, in its order.
pub(crate) fn ids(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(id_of).collect()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_names_those_who_may_and_by_which_assignment(#[case] kind: DatabaseKind) {
    let (api, _) = api_at(kind, "2026-11-23T12:00:00Z").await;
    let issuer = api.entity("Acme Estates", "issuer", None).await;
    let spv = api.entity("Berlin One", "spv", Some(&issuer)).await;
    let other = api.entity("Paris One", "spv", None).await;
    let reader = api.role("Document reader", &[], &["document:download"]).await;
    let issuers = api.role("Issuer reader", &["issuer"], &["document:download"]).await;
    let archivist = api.role("Archivist", &[], &["document:archive"]).await;
    // 1 direct, 2 inherited until a time, 3 everywhere, 4 elsewhere, 5 out of scope, 6 another action, 7 ended,
    // 8 later, 9 as another type.
    let first = assign(&api, json!({"principal_id": user(1), "role_id": reader, "entity_id": spv})).await;
    let second = assign(
        &api,
        json!({"principal_id": user(2), "role_id": reader, "entity_id": issuer,
        "expires_at": "2026-12-01T00:00:00Z"}),
    )
    .await;
    let third = assign(&api, json!({"principal_id": user(3), "role_id": reader})).await;
    assign(&api, json!({"principal_id": user(4), "role_id": reader, "entity_id": other})).await;
    assign(&api, json!({"principal_id": user(5), "role_id": issuers, "entity_id": issuer})).await;
    assign(&api, json!({"principal_id": user(6), "role_id": archivist, "entity_id": spv})).await;
    assign(
        &api,
        json!({"principal_id": user(7), "role_id": reader, "entity_id": spv,
        "effective_at": "2026-01-01T00:00:00Z", "expires_at": "2026-11-23T12:00:00Z"}),
    )
    .await;
    assign(
        &api,
        json!({"principal_id": user(8), "role_id": reader, "entity_id": spv,
        "effective_at": "2026-11-23T12:00:01Z"}),
    )
    .await;
    let ninth = assign(
        &api,
        json!({"principal_id": user(9), "principal_type": "service", "role_id": reader, "entity_id": spv}),
    )
    .await;
    let registered = json!({"id": user(1), "external_id": "auth0|1", "display_name": "Ada"});
    api.post("/api/v1/principals", registered).await.expect(201);
    let body = json!({"action": "document:download", "resource_id": spv});
    let page = api.post(PATH, body.clone()).await.expect(200);
    let revision = page["revision"].as_str().unwrap().to_owned();
    let via = |assignment: &str, entity: Value, via: &str, until: Value| {
        json!({"assignment_id": assignment, "role": {"id": reader, "name": "Document reader"}, "entity": entity,
            "via": via, "until": until})
    };
    let (spv_named, issuer_named) = (
        json!({"id": spv, "type": "spv", "name": "Berlin One"}),
        json!({"id": issuer, "type": "issuer", "name": "Acme Estates"}),
    );
    assert_eq!(
        page,
        json!({
            "items": [
                {"id": user(1), "type": "user", "external_id": "auth0|1", "name": "Ada",
                 "via": via(&first, spv_named.clone(), "direct", json!(null))},
                {"id": user(2), "type": "user",
                 "via": via(&second, issuer_named, "inherited", json!("2026-12-01T00:00:00.000000Z"))},
                {"id": user(3), "type": "user", "via": via(&third, json!(null), "global", json!(null))},
                {"id": user(9), "type": "service", "via": via(&ninth, spv_named, "direct", json!(null))},
            ],
            "complete": true, "next": null, "revision": revision, "as_of": "2026-11-23T12:00:00.000000Z",
        })
    );
    // Only one type; without the assignments.
    let services = json!({"action": "document:download", "resource_id": spv, "principal_type": "service",
        "explain": false});
    let services = api.post(PATH, services).await.expect(200);
    assert_eq!(services["items"], json!([{"id": user(9), "type": "service"}]));
    // The ledger has the question and the numbers, and no item.
    let entries = api.get("/api/v1/audit/entries?action=authorization.list&order=asc").await.expect(200);
    assert_eq!(entries.as_array().unwrap().len(), 2);
    assert_eq!(
        entries[0]["details"],
        json!({
            "kind": "principals", "action": "document:download", "resource_id": spv, "principal_type": null,
            "include": [], "limit": 100, "count": 4, "complete": true, "continued": false, "revision": revision,
            "at": "2026-11-23T12:00:00.000000Z",
            "context_sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        })
    );
    assert_eq!((&entries[0]["entity_id"], &entries[0]["entity_type"]), (&json!(spv), &json!("spv")));
    // An archived entity still answers, and a suspended principal is not listed.
    api.post(&format!("/api/v1/entities/{spv}/archive"), json!({})).await.expect(200);
    api.patch(&format!("/api/v1/principals/{}", user(1)), json!({"status": "suspended"})).await.expect(200);
    let page = api.post(PATH, body).await.expect(200);
    assert_eq!(ids(&page), [user(2), user(3), user(9)]);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_not_valid_names_every_field(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let body = json!({"action": "", "resource_id": 1, "principal_type": "", "context": [], "limit": 0, "next": 5,
        "at": "soon", "revision": 7, "explain": "no", "include": ["everything"]});
    assert_eq!(
        api.post(PATH, body).await.field_errors(),
        [
            "body.action: string_too_short",
            "body.resource_id: uuid_parsing",
            "body.principal_type: string_too_short",
            "body.limit: greater_than_equal",
            "body.include.0: enum",
            "body.context: dict_type",
            "body.next: string_type",
            "body.at: datetime_parsing",
            "body.revision: string_type",
            "body.explain: bool_type",
        ]
    );
    let unknown = json!({"action": "a:do", "resource_id": user(1)});
    assert_eq!(api.post(PATH, unknown).await.expect(404)["detail"], format!("Entity {} not found", user(1)));
    // Unknown members are ignored, as in checks.
    let spv = api.entity("S", "spv", None).await;
    let ignored = json!({"action": "a:do", "resource_id": spv, "colour": "red"});
    let page = api.post(PATH, ignored).await.expect(200);
    assert_eq!((&page["items"], &page["complete"], &page["next"]), (&json!([]), &json!(true), &json!(null)));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_decide_as_in_a_check_and_missing_context_is_listed_when_asked_for(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = api.entity("S", "spv", None).await;
    let role = json!({"name": "Payer", "permissions": ["pay:do"],
        "conditions": {"pay:do": {"expression": "context.amount <= 10", "parameters": {"amount": "int"}}}});
    let role = id_of(&api.post("/api/v1/roles", role).await.expect(201));
    let own = json!({"expression": "principal.attributes.clearance >= 2 && context.country == 'DE'",
        "parameters": {"country": "string"}});
    let plain = assign(&api, json!({"principal_id": user(1), "role_id": role, "entity_id": spv})).await;
    assign(&api, json!({"principal_id": user(2), "role_id": role, "entity_id": spv, "condition": own})).await;
    assign(&api, json!({"principal_id": user(3), "role_id": role, "entity_id": spv, "condition": own})).await;
    for (n, clearance) in [(2, 3), (3, 1)] {
        let registered = json!({"id": user(n), "attributes": {"clearance": clearance}});
        api.post("/api/v1/principals", registered).await.expect(201);
    }
    let ask = async |context: Value, include: Value| {
        let body = json!({"action": "pay:do", "resource_id": spv, "context": context, "include": include});
        api.post(PATH, body).await
    };
    assert_eq!(ids(&ask(json!({}), json!([])).await.expect(200)), Vec::<String>::new());
    assert_eq!(ids(&ask(json!({"amount": 5}), json!([])).await.expect(200)), [user(1)]);
    assert_eq!(ids(&ask(json!({"amount": 5, "country": "DE"}), json!([])).await.expect(200)), [user(1), user(2)]);
    let conditional = ask(json!({}), json!(["conditional"])).await.expect(200);
    assert_eq!(ids(&conditional), [user(1), user(2)], "3 lacks the clearance whatever the context is");
    let item = &conditional["items"][0];
    assert_eq!((&item["conditional"], &item["missing"]), (&json!(true), &json!(["context.amount"])));
    assert_eq!(item["via"]["assignment_id"], json!(plain));
    assert_eq!(conditional["items"][1]["missing"], json!(["context.amount", "context.country"]));
    let allowed = ask(json!({"amount": 5}), json!(["conditional"])).await.expect(200);
    assert_eq!(allowed["items"][0].get("conditional"), None);
    assert_eq!(allowed["items"][1]["missing"], json!(["context.country"]));
    let wrong = ask(json!({"amount": "5"}), json!([])).await.expect(400);
    assert_eq!(wrong["detail"][0]["loc"], json!(["body", "context", "amount"]));
}
