//! Paths as callers join them: runs of slashes and trailing slashes reach the same route under the same rule, and
//! nothing that is encoded or climbs does.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request};
use epr_api::access::{Rule, table};
use epr_core::authn::{Scope, token};
use epr_core::clock::SystemClock;
use epr_core::domain::fields::Choice as _;
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use serde_json::json;

const ID: &str = "bbbbbbbb-0000-4000-8000-000000000002";

/// Other spellings of one path.
fn spellings(path: &str) -> Vec<String> {
    vec![
        format!("/{path}"),
        format!("{path}/"),
        format!("//{path}//"),
        path.replace('/', "//"),
        format!("{}///", path.replace('/', "///")),
        format!("{path}/?limit=1"),
    ]
}

/// Spellings that a server behind a lenient proxy could take for the same path, and this one does not.
fn bypasses(path: &str) -> Vec<String> {
    vec![
        path.replacen('/', "/%2f", 1),
        format!("{path}%2f"),
        format!("{path}%2F%2F"),
        path.replacen('/', "/./", 1),
        path.replacen('/', "/%2e/", 1),
        format!("/x/..{path}"),
        format!("/healthz/..{path}"),
        format!("/healthz//%2e%2e{path}"),
        format!("/healthz/..%2f{}", path.trim_start_matches('/')),
        format!("{path}/."),
        format!("{path};a=b"),
        format!("{path}\\"),
    ]
}

async fn with_tokens() -> (Api, impl Fn(Scope) -> String) {
    let made: Vec<_> = Scope::ALL.iter().map(|scope| (*scope, token::mint().unwrap())).collect();
    let entry = |(scope, made): &(Scope, String)| {
        let hash = token::hex(&token::hash(made).unwrap());
        json!({"name": scope.word(), "sha256": hash, "scopes": [scope.word()]})
    };
    let list = serde_json::Value::from(made.iter().map(entry).collect::<Vec<_>>()).to_string();
    let environment = [("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", list.as_str()), ("EPR_OPEN_PATHS", "none")];
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let api = Api::with_settings(database, Arc::new(SystemClock), &environment).await;
    let bearer = move |wanted: Scope| {
        let (_, token) = made.iter().find(|(scope, _)| *scope == wanted).unwrap();
        format!("Bearer {token}")
    };
    (api, bearer)
}

async fn status(api: &Api, method: &Method, path: &str, bearer: Option<&str>) -> u16 {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some(bearer) = bearer {
        request = request.header("authorization", bearer);
    }
    api.text(request.body(Body::from("{}")).unwrap()).await.0
}

#[tokio::test]
async fn every_spelling_of_a_route_has_its_rule() {
    let (api, bearer) = with_tokens().await;
    for access in table() {
        let path = access.path.replace("{id}", ID).replace("{event_id}", ID);
        let needed = match access.rule {
            Rule::Open => None,
            // With one of two scopes every spelling is refused alike.
            Rule::OpenIf(_, scope) | Rule::Requires(scope) | Rule::RequiresBoth(scope, _) => Some(scope),
        };
        let right = needed.map(&bearer);
        let wrong = bearer(if needed == Some(Scope::Read) { Scope::Write } else { Scope::Read });
        let plain = status(&api, &access.method, &path, right.as_deref()).await;
        for spelling in spellings(&path) {
            let name = format!("{} {spelling}", access.method);
            assert_eq!(status(&api, &access.method, &spelling, right.as_deref()).await, plain, "{name}");
            if needed.is_some() {
                assert_eq!(status(&api, &access.method, &spelling, None).await, 401, "{name}");
                assert_eq!(status(&api, &access.method, &spelling, Some(&wrong)).await, 403, "{name}");
            }
        }
        for spelling in bypasses(&path) {
            let name = format!("{} {spelling}", access.method);
            assert_eq!(status(&api, &access.method, &spelling, None).await, 401, "{name}");
            // With a valid credential: no such path, or a value that is no id; never the route itself.
            let found = status(&api, &access.method, &spelling, right.as_deref().or(Some(&wrong))).await;
            assert!([400, 403, 404, 405].contains(&found), "{name}: {found}");
        }
    }
}

#[tokio::test]
async fn metrics_know_the_route_of_every_spelling() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    let question = json!({"principal_id": ID, "action": "document:download", "resource_id": ID});
    for path in ["//api/v1/permissions/check", "/api/v1/permissions/check/", "/api//v1///permissions/check//"] {
        let answer = api.post(path, question.clone()).await.expect(404);
        assert_eq!(answer["detail"], format!("Entity {ID} not found"), "{path} is the check");
    }
    api.post("/api/v1/entities/", json!({"name": "n", "type": "spv"})).await.expect(201);
    let (_, _, text) = api.text(Request::get("//metrics/").body(Body::empty()).unwrap()).await;
    let counted = "epr_http_requests_total{route=\"/api/v1/permissions/check\",method=\"POST\",status=\"404\"} 3";
    assert!(text.contains(counted), "{text}");
    assert!(!text.contains("route=\"unknown\""), "{text}");
}

#[tokio::test]
async fn the_next_page_is_a_reference_that_resolves_behind_any_prefix() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    for name in ["one", "two", "three"] {
        api.role(name, &[], &[]).await;
    }
    for path in ["/api/v1/roles?limit=2", "//api/v1/roles/?limit=2"] {
        let page = api.get(path).await;
        let link = page.headers["link"].to_str().unwrap();
        assert!(link.starts_with("<?limit=2&cursor="), "{link}");
        // A caller behind a proxy that strips `/epr` resolves the reference against this address.
        let asked = reqwest::Url::parse(&format!("https://proxy.test/epr{path}")).unwrap();
        let next = asked.join(&link[1..link.find('>').unwrap()]).unwrap();
        assert_eq!(next.path(), asked.path());
        let inside = next.path().strip_prefix("/epr").unwrap();
        let rest = api.get(&format!("{inside}?{}", next.query().unwrap())).await.expect(200);
        assert_eq!(rest.as_array().unwrap().len(), 1);
    }
}
