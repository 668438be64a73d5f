//! Every route of the router against every kind of credential. The routes are those of the OpenAPI document, which is
//! built with the router: a route without a rule fails here.

use std::collections::BTreeMap;
use std::future::{Future as _, poll_fn};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::task::Poll;

use axum::body::Body;
use axum::http::{Method, Request};
use epr_api::access::{Access, Rule, page, table};
use epr_core::authn::{Scope, token};
use epr_core::clock::{Clock as _, SystemClock};
use epr_core::domain::fields::Choice as _;
use epr_core::domain::named_caller::{CallerKind, NamedCaller};
use epr_core::settings::OpenPath;
use epr_testkit::api::{Answer, Api};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::issuer::{Answers, ISSUER, Issuer, SigningKey, claims};
use serde_json::{Value, json};

/// A body with which every mutation would succeed or get a validation error.
const BODY: &str = "{}";
const ACTOR: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const OTHER: &str = "bbbbbbbb-0000-4000-8000-000000000002";

/// One credential for each scope, and those that should not work.
struct World {
    api: Api,
    tokens: BTreeMap<&'static str, String>,
    expired: String,
    key: SigningKey,
    issuer: Issuer,
}

fn entry(name: &str, token: &str, scopes: &[&str], more: Value) -> Value {
    let mut entry = json!({"name": name, "sha256": token::hex(&token::hash(token).unwrap()), "scopes": scopes});
    let Value::Object(more) = more else { panic!("no object: {more}") };
    entry.as_object_mut().unwrap().extend(more);
    entry
}

impl World {
    async fn new(open: &str) -> Self {
        let key = SigningKey::ec256("k");
        let issuer = Issuer::with(&[&key]).await;
        let expired = token::mint().unwrap();
        let all: Vec<_> = Scope::ALL.iter().map(|scope| scope.word()).filter(|word| *word != "epr:act-as").collect();
        let mut list = vec![entry("expired", &expired, &all, json!({"expires_at": "2020-01-01T00:00:00Z"}))];
        let mut tokens = BTreeMap::new();
        for scope in Scope::ALL {
            let made = token::mint().unwrap();
            list.push(entry(scope.word(), &made, &[scope.word()], json!({"actor_id": ACTOR})));
            tokens.insert(scope.word(), made);
        }
        for (name, scopes) in
            [("none", Vec::new()), ("all", all.clone()), ("proxy", [all, vec!["epr:act-as"]].concat())]
        {
            let made = token::mint().unwrap();
            list.push(entry(name, &made, &scopes, json!({"actor_id": ACTOR})));
            tokens.insert(name, made);
        }
        let list = Value::from(list).to_string();
        let environment = [
            ("EPR_AUTH_MODE", "token,jwt"),
            ("EPR_API_TOKENS", list.as_str()),
            ("EPR_JWT_ISSUER", ISSUER),
            ("EPR_JWT_AUDIENCE", "epr"),
            ("EPR_JWT_JWKS_URL", issuer.url.as_str()),
            ("EPR_OPEN_PATHS", open),
            ("EPR_CORS_ORIGINS", "https://console.test"),
            ("EPR_AUTHZEN_PDP_ID", "https://pdp.test"),
        ];
        let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
        let api = Api::with_settings(database, Arc::new(SystemClock), &environment).await;
        Self { api, tokens, expired, key, issuer }
    }

    async fn call(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, axum::http::HeaderMap, String) {
        let uri = path.replace("{id}", OTHER).replace("{event_id}", OTHER).replace("{file}", "start.js");
        let uri = uri.replace("{tenant}", "tenant-1");
        let mut request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.api.text(request.body(Body::from(BODY)).unwrap()).await
    }

    async fn bearing(&self, method: &Method, path: &str, token: &str) -> (u16, axum::http::HeaderMap, String) {
        self.call(method, path, &[("authorization", &format!("Bearer {token}"))]).await
    }

    fn jwt(&self, change: impl FnOnce(&mut Value)) -> String {
        let now = SystemClock.now().unix_micros() / 1_000_000;
        let mut claims = claims(now, "epr:authorize epr:read epr:write epr:events epr:audit epr:operate");
        change(&mut claims);
        self.key.sign(&claims)
    }
}

/// The router's routes, as its document has them.
fn routes() -> Vec<(Method, String)> {
    let document: Value = serde_json::from_str(&epr_api::document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(|method| (method.to_uppercase().parse().unwrap(), path.clone()))
    });
    all.collect()
}

/// The template of the router as the document has it.
fn documented(path: &str) -> String {
    path.replace("{*", "{")
}

/// Building the table builds the router.
static TABLE: LazyLock<Vec<Access>> = LazyLock::new(table);

fn rule(method: &Method, path: &str) -> Rule {
    let found = TABLE.iter().find(|access| access.method == *method && documented(&access.path) == path);
    found.unwrap_or_else(|| panic!("{method} {path} has no rule")).rule
}

#[test]
fn the_table_has_every_route_and_no_other() {
    let mut routes = routes();
    for (method, path) in &routes {
        rule(method, path);
    }
    let mut ruled: Vec<_> = TABLE.iter().map(|access| (access.method.clone(), documented(&access.path))).collect();
    let name = |(method, path): &(Method, String)| format!("{path} {method}");
    routes.sort_by_key(name);
    ruled.sort_by_key(name);
    assert_eq!(routes, ruled);
}

/// The page is checked in, so that a review sees every change of a rule.
#[test]
fn the_access_page_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ACCESS.md");
    if std::env::var_os("EPR_TEST_REWRITE").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap();
    assert_eq!(checked_in, page(), "docs/ACCESS.md differs: the page says how to generate it; read the difference");
    assert_eq!(checked_in.lines().filter(|line| line.contains("| `/")).count(), TABLE.len());
}

async fn every_route_against_every_credential(open: &str, opened: &[OpenPath]) {
    let world = World::new(open).await;
    let others = SigningKey::ec256("k");
    for (method, path) in routes() {
        let name = format!("{method} {path}");
        let needed = match rule(&method, &path) {
            Rule::Open => None,
            Rule::OpenIf(path, _) if opened.contains(&path) => None,
            Rule::OpenIf(_, scope) | Rule::Requires(scope) => Some([scope; 2]),
            Rule::RequiresBoth(one, other) => Some([one, other]),
        };
        let Some(needed) = needed else {
            // The identifier in the settings has no tenant, and there is no key that signs checkpoints.
            let answer = if path == "/redoc" {
                307
            } else if path.ends_with("{tenant}") || path.starts_with("/api/v1/ledger/") {
                404
            } else {
                200
            };
            let (status, headers, _) = world.call(&method, &path, &[]).await;
            assert_eq!((status, headers.get("www-authenticate")), (answer, None), "{name}");
            // An open path does not read a credential.
            assert_eq!(world.call(&method, &path, &[("authorization", "Basic x")]).await.0, answer, "{name}");
            continue;
        };

        let (status, headers, body) = world.call(&method, &path, &[]).await;
        assert_eq!((status, body.as_str()), (401, r#"{"detail":"A bearer token is required"}"#), "{name}");
        assert_eq!(headers["www-authenticate"], "Bearer realm=\"epr\"", "{name}");

        let words = needed.map(Scope::word).join(" ");
        let unknown = token::mint().unwrap();
        let invalid: [(&str, String); 10] = [
            ("garbage", "garbage".into()),
            ("a token that is not registered", unknown),
            ("an expired token", world.expired.clone()),
            ("the hash of a token", token::hex(&token::hash(&world.tokens["all"]).unwrap())),
            ("a token of the wrong length", format!("{}x", world.tokens["all"])),
            ("an expired JWT", world.jwt(|claims| claims["exp"] = 1.into())),
            ("a JWT for somebody else", world.jwt(|claims| claims["aud"] = "vault".into())),
            ("a JWT of somebody else", world.jwt(|claims| claims["iss"] = "https://evil.test".into())),
            ("a JWT from the future", world.jwt(|claims| claims["nbf"] = 9_999_999_999_i64.into())),
            ("a JWT by another key", others.sign(&claims(SystemClock.now().unix_micros() / 1_000_000, &words))),
        ];
        for (what, token) in invalid {
            let (status, headers, body) = world.bearing(&method, &path, &token).await;
            assert_eq!(
                (status, body.as_str()),
                (401, r#"{"detail":"The bearer token is not valid"}"#),
                "{name}: {what}"
            );
            assert_eq!(headers["www-authenticate"], "Bearer realm=\"epr\", error=\"invalid_token\"", "{name}: {what}");
        }

        // Every scope alone that is not enough, and then what is required. The first scope that is lacking is named.
        let lacking = |held: &str| needed.iter().map(|scope| scope.word()).find(|word| *word != held);
        let alone = Scope::ALL.iter().map(|scope| scope.word()).chain(["none"]);
        let mut insufficient: Vec<_> =
            alone.filter_map(|name| Some((lacking(name)?, world.tokens[name].clone()))).collect();
        insufficient.push((needed[0].word(), world.jwt(|claims| claims["scope"] = "openid".into())));
        for (lacking, token) in insufficient {
            let (status, headers, body) = world.bearing(&method, &path, &token).await;
            assert_eq!(status, 403, "{name}");
            assert_eq!(body, format!(r#"{{"detail":"The bearer token lacks the scope {lacking}"}}"#), "{name}");
            let challenge = format!("Bearer realm=\"epr\", error=\"insufficient_scope\", scope=\"{lacking}\"");
            assert_eq!(headers["www-authenticate"], challenge.as_str(), "{name}");
        }
        let opaque = if lacking(needed[0].word()).is_none() { needed[0].word() } else { "all" };
        let own = world.jwt(|claims| claims["scope"] = words.as_str().into());
        for token in [world.tokens[opaque].clone(), own] {
            let (status, _, body) = world.bearing(&method, &path, &token).await;
            assert!(![401, 403, 405, 500, 503].contains(&status), "{name}: {status} {body}");
        }
        // HEAD is GET.
        if method == Method::GET {
            assert_eq!(world.call(&Method::HEAD, &path, &[]).await.0, 401, "HEAD {path}");
        }
        // Acting in another's name is a right of its own; one's own name is not another's.
        let bearer = format!("Bearer {}", world.tokens["all"]);
        let claimed =
            |token: &str, actor: &str| [("authorization", token.to_owned()), ("x-actor-id", actor.to_owned())];
        let as_other = claimed(&bearer, OTHER);
        let (status, _, body) =
            world.call(&method, &path, &as_other.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
        assert_eq!(
            (status, body.as_str()),
            (403, r#"{"detail":"The bearer token lacks the scope epr:act-as"}"#),
            "{name}"
        );
        let as_self = claimed(&bearer, &ACTOR.to_uppercase());
        let (status, ..) =
            world.call(&method, &path, &as_self.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
        assert_ne!(status, 403, "{name}");
    }
    assert_eq!(world.issuer.fetched(), 1, "all that, and the issuer was asked once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_requires_its_scope_when_nothing_is_open() {
    every_route_against_every_credential("none", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_that_can_be_open_is_open_when_it_is_set() {
    let all: Vec<_> = OpenPath::ALL.iter().map(|path| path.word()).collect();
    every_route_against_every_credential(&all.join(","), OpenPath::ALL).await;
}

#[tokio::test]
async fn unauthenticated_callers_do_not_learn_which_paths_exist() {
    let world = World::new("none").await;
    for (method, path) in
        [(Method::GET, "/nope"), (Method::GET, "/"), (Method::PUT, "/api/v1/entities"), (Method::TRACE, "/healthz")]
    {
        assert_eq!(world.call(&method, path, &[]).await.0, 401, "{method} {path}");
    }
    let known = &world.tokens["none"];
    let (status, _, body) = world.bearing(&Method::GET, "/nope", known).await;
    assert_eq!((status, body.as_str()), (404, r#"{"detail":"Not Found"}"#));
    let (status, headers, body) = world.bearing(&Method::PUT, "/api/v1/entities", known).await;
    assert_eq!((status, body.as_str()), (405, r#"{"detail":"Method Not Allowed"}"#));
    assert_eq!(headers["allow"], "POST,GET,HEAD");
}

#[tokio::test]
async fn preflight_requests_need_no_credential() {
    let world = World::new("none").await;
    let preflight = [
        ("origin", "https://console.test"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let (status, headers, _) = world.call(&Method::OPTIONS, "/api/v1/entities", &preflight).await;
    assert_eq!((status, &headers["access-control-allow-origin"]), (200, &"https://console.test".parse().unwrap()));
    assert_eq!(headers["access-control-allow-headers"], "authorization,content-type");
    let (status, headers, _) =
        world.call(&Method::GET, "/api/v1/entities", &[("origin", "https://console.test")]).await;
    assert_eq!((status, &headers["access-control-allow-origin"]), (401, &"https://console.test".parse().unwrap()));
    let (_, headers, _) = world.call(&Method::GET, "/api/v1/entities", &[("origin", "https://evil.test")]).await;
    assert!(!headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_request_that_waits_for_the_issuer_holds_no_permit() {
    let issuer = Issuer::start(Answers::Never).await;
    let own = token::mint().unwrap();
    let list = json!([entry("own", &own, &["epr:read"], json!({}))]).to_string();
    let environment = [
        ("EPR_AUTH_MODE", "token,jwt"),
        ("EPR_API_TOKENS", list.as_str()),
        ("EPR_JWT_ISSUER", ISSUER),
        ("EPR_JWT_AUDIENCE", "epr"),
        ("EPR_JWT_JWKS_URL", issuer.url.as_str()),
        ("EPR_MAX_CONCURRENCY", "1"),
    ];
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let api = Api::with_settings(database, Arc::new(SystemClock), &environment).await;
    let send = async |token: &str| {
        let header = format!("Bearer {token}");
        api.raw(Method::GET, "/api/v1/entities", &[("authorization", &header)], "").await.status.as_u16()
    };
    let jwt = SigningKey::ed("e").sign(&claims(0, "epr:read"));
    let mut waiting = Box::pin(send(&jwt));
    assert!(poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await.is_pending());
    assert_eq!(send(&own).await, 200, "the only place is free");
    assert_eq!(waiting.await, 503);
}

fn detail(answer: &Answer) -> &str {
    answer.body["detail"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn malformed_authorization_headers_are_refused() {
    let world = World::new("none").await;
    let token = &world.tokens["epr:read"];
    let send = async |values: &[String]| {
        let mut request = Request::get("/api/v1/entities");
        for value in values {
            request = request.header("authorization", value);
        }
        world.api.send(request.body(Body::empty()).unwrap()).await
    };
    for fine in
        [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER   {token}"), format!("Bearer {token} ")]
    {
        assert_eq!(send(std::slice::from_ref(&fine)).await.status, 200, "{fine}");
    }
    for odd in [
        vec![String::new()],
        vec!["Bearer".into()],
        vec!["Bearer ".into()],
        vec![token.clone()],
        vec![format!("Bearer\t{token}")],
        vec![format!("Basic {token}")],
        vec![format!("Bearer {token}, Bearer {token}")],
        vec![format!("Bearer {}", token.to_lowercase())],
        vec![format!("Bearer {token}{}", "a".repeat(20_000))],
    ] {
        let answer = send(&odd).await;
        assert_eq!((answer.status.as_u16(), detail(&answer)), (401, "The bearer token is not valid"), "{odd:?}");
    }
    for first in ["Basic x".to_owned(), format!("Bearer {token}")] {
        assert_eq!(send(&[first, format!("Bearer {token}")]).await.field_errors(), ["header.Authorization: duplicate"]);
    }
}

#[tokio::test]
async fn the_ledger_names_the_credentials_actor() {
    let world = World::new("none").await;
    let create = async |name: &str, headers: &[(&str, &str)]| {
        let body = json!({"name": name, "type": "spv"}).to_string();
        world.api.raw(Method::POST, "/api/v1/entities", headers, body).await
    };
    let (own, proxy, jwt) = (
        format!("Bearer {}", world.tokens["all"]),
        format!("Bearer {}", world.tokens["proxy"]),
        format!("Bearer {}", world.jwt(|claims| claims["sub"] = OTHER.into())),
    );
    create("own", &[("authorization", &own)]).await.expect(201);
    create("jwt", &[("authorization", &jwt)]).await.expect(201);
    create("proxy", &[("authorization", &proxy), ("x-actor-id", OTHER)]).await.expect(201);
    create("proxy itself", &[("authorization", &proxy)]).await.expect(201);
    create("not allowed", &[("authorization", &own), ("x-actor-id", OTHER)]).await.expect(403);
    let malformed = create("malformed", &[("authorization", &proxy), ("x-actor-id", "nobody")]).await;
    assert_eq!(malformed.field_errors(), ["header.X-Actor-Id: uuid_parsing"]);
    let asked = [("authorization", own.as_str())];
    let entries = world.api.raw(Method::GET, "/api/v1/audit/entries?order=asc", &asked, "").await.expect(200);
    let reported: Vec<_> =
        entries.as_array().unwrap().iter().map(|entry| entry["actor_id"].as_str().unwrap()).collect();
    assert_eq!(reported, [ACTOR, OTHER, OTHER, ACTOR], "and no entry for what was refused");
    // Refusals are counted.
    let (_, _, text) = world.bearing(&Method::GET, "/metrics", &world.tokens["epr:operate"]).await;
    assert!(text.contains("epr_requests_refused_total{reason=\"scope\"} 1"), "{text}");
}

#[tokio::test]
async fn the_ledger_names_a_credential_that_has_no_actor() {
    let world = World::new("none").await;
    let nameless = format!("Bearer {}", world.jwt(|claims| claims["sub"] = "not-a-uuid".into()));
    let body = json!({"name": "by jwt", "type": "spv"}).to_string();
    let headers = [("authorization", nameless.as_str())];
    let entity = world.api.raw(Method::POST, "/api/v1/entities", &headers, body).await.expect(201);
    let question = json!({"user_id": OTHER, "action": "document:download", "resource_id": entity["id"]}).to_string();
    world.api.raw(Method::POST, "/api/v1/authorize", &headers, question).await.expect(200);
    let entries = world.api.raw(Method::GET, "/api/v1/audit/entries?order=asc", &headers, "").await.expect(200);
    let actor = |at: usize| {
        let entry = &entries[at];
        (entry["actor_type"].clone(), entry["actor_id"].clone(), entry["details"]["caller"].clone())
    };
    let derived = NamedCaller::new(CallerKind::Jwt, "not-a-uuid").actor_id().to_string();
    assert_eq!(actor(0), (json!("credential"), json!(derived), json!("not-a-uuid")));
    // A decision's actor is the principal, and the credential is recorded beside it.
    assert_eq!(actor(1), (json!("user"), json!(OTHER), json!("not-a-uuid")));
}

#[tokio::test]
async fn checks_ignore_a_bad_actor_and_refuse_anothers() {
    let world = World::new("none").await;
    let (bearer, body) = (format!("Bearer {}", world.tokens["all"]), json!({"name": "Berlin One", "type": "spv"}));
    let created =
        world.api.raw(Method::POST, "/api/v1/entities", &[("authorization", &bearer)], body.to_string()).await;
    let entity = epr_testkit::api::id_of(&created.expect(201));
    let ask = async |token: &str, actors: &[&str]| {
        let bearer = format!("Bearer {}", world.tokens[token]);
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(actors.iter().map(|actor| ("x-actor-id", *actor)));
        let question = json!({"user_id": OTHER, "action": "document:download", "resource_id": entity}).to_string();
        world.api.raw(Method::POST, "/api/v1/authorize", &headers, question).await.status.as_u16()
    };
    for ignored in [&["nobody"][..], &[""], &[ACTOR, ACTOR], &["", ACTOR]] {
        assert_eq!((ask("all", ignored).await, ask("proxy", ignored).await), (200, 200), "{ignored:?}");
    }
    for others in [&[OTHER][..], &[ACTOR, OTHER], &[OTHER, ACTOR], &["", OTHER]] {
        assert_eq!((ask("all", others).await, ask("proxy", others).await), (403, 200), "{others:?}");
    }
}
