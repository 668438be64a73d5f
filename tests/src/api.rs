//! The HTTP interface inside the test's process: any request goes through the whole router, and typed calls through a client
//! that reaches it on a free port.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use epr_api::Callers;
use epr_client::{Client, Question, RetryPolicy};
use epr_core::authn::Authenticator;
use epr_core::clock::{Clock, SystemClock};
use epr_core::domain::fields::Choice as _;
use epr_core::domain::{EntityType, NewEntity, NewRole};
use epr_core::settings::{Settings, Source};
use epr_core::{Epr, TierState};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::OnceCell;
use tower::ServiceExt as _;

use crate::database::{Database, DatabaseKind};
use crate::patience;

/// A service on a fresh database, and the way to call it.
#[derive(Clone)]
pub struct Api {
    service: epr_api::Service,
    /// The service behind it.
    pub epr: Epr,
    /// Its database.
    pub database: Arc<Database>,
    client: Arc<OnceCell<Client>>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, which is JSON or the test fails.
    pub body: Value,
}

impl Answer {
    /// The body, if the status is `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// The path and query of the next page of the list at `path`, if the answer says that there is one: its `Link` resolved
    /// against the URL of the request, as RFC 3986 says.
    #[track_caller]
    #[must_use]
    pub fn next_page(&self, path: &str) -> Option<String> {
        let link = self.headers.get(header::LINK)?.to_str().expect("a `Link` that is text");
        let reference = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
        let reference = reference.unwrap_or_else(|| panic!("no link to a next page: {link}"));
        let asked = reqwest::Url::parse("http://epr.test").and_then(|base| base.join(path)).expect("a path");
        let next = asked.join(reference).expect("a reference");
        Some(format!("{}?{}", next.path(), next.query().unwrap_or_default()))
    }

    /// The `type` of every field error together with its `loc`, as `body.name: missing`.
    #[track_caller]
    #[must_use]
    pub fn faults(self) -> Vec<String> {
        let body = self.expect(400);
        let list = body["detail"].as_array().unwrap_or_else(|| panic!("no list of fields: {body}"));
        list.iter()
            .map(|fault| {
                assert!(fault["msg"].as_str().is_some_and(|msg| !msg.is_empty()), "{fault}");
                let loc: Vec<_> = fault["loc"].as_array().expect("a loc").iter().map(step).collect();
                format!("{}: {}", loc.join("."), fault["type"].as_str().expect("a type"))
            })
            .collect()
    }
}

fn step(step: &Value) -> String {
    step.as_str().map_or_else(|| step.to_string(), str::to_owned)
}

impl Api {
    /// A service on a fresh database of this kind.
    pub async fn start(kind: DatabaseKind) -> Self {
        Self::on(Arc::new(Database::create(kind).await)).await
    }

    /// A service on this database.
    pub async fn on(database: Arc<Database>) -> Self {
        Self::at(database, Arc::new(SystemClock)).await
    }

    /// A service on this database that lives by this clock.
    pub async fn at(database: Arc<Database>, clock: Arc<dyn Clock>) -> Self {
        Self::with(database, clock, &[]).await
    }

    /// The same with more of the environment.
    pub async fn with(database: Arc<Database>, clock: Arc<dyn Clock>, environment: &[(&str, &str)]) -> Self {
        let own = [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_DATABASE_POOL_SIZE", "20")];
        let source = Source::of(own.into_iter().chain(environment.iter().copied()));
        let settings = Settings::from_source(&source).expect("settings");
        let epr = Epr::from_settings_at(&settings, Arc::clone(&clock)).await.expect("a service");
        epr.start(true).await.expect("a service that starts");
        until_cached(&epr).await;
        let authenticator = Authenticator::start(&settings.auth, clock).await.expect("an authenticator");
        let callers = Callers { authenticator: Arc::new(authenticator), open: settings.auth.open.clone() };
        Self { service: epr_api::service(epr.clone(), &settings.http, callers), epr, database, client: Arc::default() }
    }

    /// A client of the service, which is served on a free port from the first call on.
    pub async fn client(&self) -> &Client {
        self.client
            .get_or_init(async || {
                let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
                let base = format!("http://{}", listener.local_addr().expect("its address"));
                let service = axum::ServiceExt::<Request<Body>>::into_make_service(self.service.clone());
                tokio::spawn(async move { axum::serve(listener, service).await });
                Client::builder(base).retries(RetryPolicy::never()).build().expect("a client")
            })
            .await
    }

    /// The status of creating an entity of this number.
    pub async fn entity_named(&self, n: u32) -> u16 {
        let body = serde_json::json!({"name": format!("entity {n}"), "type": "spv"});
        self.post("/api/v1/entities", body).await.status.as_u16()
    }

    /// Sends any request.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.service.clone().oneshot(request).await.expect("the service never fails");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&bytes)))
        };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends any request; gives the status, the headers and the body, whatever it is.
    pub async fn text(&self, request: Request<Body>) -> (u16, HeaderMap, String) {
        let (status, headers, bytes) = self.bytes(request).await;
        (status, headers, String::from_utf8(bytes).expect("UTF-8"))
    }

    /// Any request; status, headers, body as it is.
    pub async fn bytes(&self, request: Request<Body>) -> (u16, HeaderMap, Vec<u8>) {
        let response = self.service.clone().oneshot(request).await.expect("the service never fails");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        (parts.status.as_u16(), parts.headers, bytes.to_vec())
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Request::delete(path).body(Body::empty()).expect("a request")).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.raw(Method::POST, path, &[], body.to_string()).await
    }

    /// PATCH with a JSON body.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.raw(Method::PATCH, path, &[], body.to_string()).await
    }

    /// Any bytes under any headers; `application/json` unless a content type is among them.
    pub async fn raw(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).expect("a request")).await
    }

    /// Creates an entity and returns its id.
    pub async fn entity(&self, name: &str, entity_type: &str, parent: Option<&str>) -> String {
        let entity_type = EntityType::from_word(entity_type).expect("an entity type");
        let new = NewEntity {
            parent_id: parent.map(uuid_of),
            ..NewEntity::new(name.try_into().expect("a name"), entity_type)
        };
        self.client().await.create_entity(&new).await.expect("an entity").id.to_string()
    }

    /// Creates a role and returns its id.
    pub async fn role(&self, name: &str, scope_types: &[&str], permissions: &[&str]) -> String {
        let permissions = permissions.iter().map(|action| (*action).try_into().expect("an action"));
        let scope_types = scope_types.iter().map(|word| EntityType::from_word(word).expect("an entity type"));
        let new = NewRole {
            scope_types: scope_types.collect(),
            ..NewRole::new(name.try_into().expect("a name"), permissions)
        };
        self.client().await.create_role(&new).await.expect("a role").id.to_string()
    }

    /// Asks whether `user` may do `action` on `resource`.
    pub async fn authorized(&self, user: &str, action: &str, resource: &str) -> bool {
        let question = Question::new(uuid_of(user), action.try_into().expect("an action"), uuid_of(resource));
        self.client().await.authorize(&question).await.expect("a decision")
    }
}

fn uuid_of(text: &str) -> uuid::Uuid {
    text.parse().expect("a UUID")
}

/// Waits until the decision cache is in use: right after the start it is still finding out what it missed.
pub async fn until_cached(epr: &Epr) {
    patience::until_so("a cache in use", async || epr.cache_state().0 != TierState::Bypassed).await;
}

/// The `id` of a created thing.
#[must_use]
pub fn id_of(body: &Value) -> String {
    body["id"].as_str().expect("an id").to_owned()
}
