//! The HTTP interface inside the test's process: any request goes through the whole router, and typed calls through a
//! client that reaches it on a free port. With `EPR_TEST_OVER=function` requests go through the function for AWS Lambda
//! instead, as events of API Gateway.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use epr_api::Callers;
use epr_client::{Client, Question, RetryPolicy};
use epr_core::authn::Authenticator;
use epr_core::clock::{Clock, SystemClock};
use epr_core::domain::{EntityType, NewEntity, NewRole};
use epr_core::settings::{Settings, Source};
use epr_core::{Epr, TierState};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::OnceCell;
use tower::ServiceExt as _;

use crate::database::{Database, DatabaseKind};
use crate::instances::Instances;
use crate::wait;

/// A service in this process, and a client of its router.
#[derive(Clone)]
pub struct Api {
    service: epr_api::Service,
    /// The function in front of it, in a run over the function.
    function: Option<Arc<Instances>>,
    /// The facade behind the router.
    pub epr: Epr,
    /// The database.
    pub database: Arc<Database>,
    client: Arc<OnceCell<Client>>,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, which must be JSON.
    pub body: Value,
}

impl Answer {
    /// The body; panics when the status is not `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// The path and query of the next page of the list at `path`, if there is one: the `Link` header resolved against
    /// the URL of the request (RFC 3986).
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

    /// Every field error of a 400 as `loc: type`, for example `body.name: missing`.
    #[track_caller]
    #[must_use]
    pub fn field_errors(self) -> Vec<String> {
        let body = self.expect(400);
        let list = body["detail"].as_array().unwrap_or_else(|| panic!("no list of fields: {body}"));
        list.iter()
            .map(|error| {
                assert!(error["msg"].as_str().is_some_and(|msg| !msg.is_empty()), "{error}");
                let loc: Vec<_> = error["loc"].as_array().expect("a loc").iter().map(step).collect();
                format!("{}: {}", loc.join("."), error["type"].as_str().expect("a type"))
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
        Self::with_clock(database, Arc::new(SystemClock)).await
    }

    /// A service on this database with this clock.
    pub async fn with_clock(database: Arc<Database>, clock: Arc<dyn Clock>) -> Self {
        Self::with_settings(database, clock, &[]).await
    }

    /// A service on this database with this clock and further environment variables.
    pub async fn with_settings(database: Arc<Database>, clock: Arc<dyn Clock>, environment: &[(&str, &str)]) -> Self {
        let own = [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_DATABASE_POOL_SIZE", "20")];
        let source = Source::of(own.into_iter().chain(environment.iter().copied()));
        let settings = Settings::from_source(&source).expect("settings");
        let is_over_function = match std::env::var("EPR_TEST_OVER").as_deref() {
            Ok("function") => true,
            Ok(other) => panic!("EPR_TEST_OVER is {other}, which is not `function`"),
            Err(_) => false,
        };
        // A function keeps nothing in memory.
        let settings = if is_over_function { settings.without_cache() } else { settings };
        let epr = Epr::from_settings_at(&settings, Arc::clone(&clock)).await.expect("a service");
        epr.start(true).await.expect("a service that starts");
        until_cached(&epr).await;
        let authenticator = Authenticator::start(&settings.auth, clock).await.expect("an authenticator");
        let authenticator = Arc::new(authenticator);
        let open = settings.auth.open.clone();
        let callers = move || Callers { authenticator: Arc::clone(&authenticator), open: open.clone() };
        let service = epr_api::service(epr.clone(), &settings.http, callers());
        let function = is_over_function.then(|| {
            let (epr, http) = (epr.clone(), settings.http.clone());
            Arc::new(Instances::of(move || epr_api_lambda::Function::over(epr.clone(), &http, callers())))
        });
        Self { service, function, epr, database, client: Arc::default() }
    }

    /// A client of the service, which is served on a free port from the first call on.
    pub async fn client(&self) -> &Client {
        self.client
            .get_or_init(async || {
                let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
                let base = format!("http://{}", listener.local_addr().expect("its address"));
                if let Some(function) = self.function.clone() {
                    let router = axum::Router::new().fallback(async move |request: Request<Body>| {
                        function.respond(&whole(request).await).await.map(Body::from)
                    });
                    tokio::spawn(async move { axum::serve(listener, router).await });
                } else {
                    let service = axum::ServiceExt::<Request<Body>>::into_make_service(self.service.clone());
                    tokio::spawn(async move { axum::serve(listener, service).await });
                }
                Client::builder(base).retries(RetryPolicy::never()).build().expect("a client")
            })
            .await
    }

    /// Creates the entity `entity {n}`; returns the status.
    pub async fn create_numbered_entity(&self, n: u32) -> u16 {
        let body = serde_json::json!({"name": format!("entity {n}"), "type": "spv"});
        self.post("/api/v1/entities", body).await.status.as_u16()
    }

    async fn respond(&self, request: Request<Body>) -> Response<Bytes> {
        let Some(function) = &self.function else {
            let response = self.service.clone().oneshot(request).await.expect("the service never fails");
            let (parts, body) = response.into_parts();
            return Response::from_parts(parts, body.collect().await.expect("a whole body").to_bytes());
        };
        function.respond(&whole(request).await).await
    }

    /// Sends a request, whose response has a JSON body or none.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, bytes) = self.respond(request).await.into_parts();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&bytes)))
        };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request; returns the status, the headers and the body as text.
    pub async fn text(&self, request: Request<Body>) -> (u16, HeaderMap, String) {
        let (status, headers, bytes) = self.bytes(request).await;
        (status, headers, String::from_utf8(bytes).expect("UTF-8"))
    }

    /// Sends a request; returns the status, the headers and the bytes of the body.
    pub async fn bytes(&self, request: Request<Body>) -> (u16, HeaderMap, Vec<u8>) {
        let (parts, bytes) = self.respond(request).await.into_parts();
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

    /// Sends any bytes with any headers; `application/json` unless a content type is among them.
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
            ..NewRole::new(name.try_into().expect("a name")).with_permissions(permissions)
        };
        self.client().await.create_role(&new).await.expect("a role").id.to_string()
    }

    /// Asks whether `user` may do `action` on `resource`.
    pub async fn authorized(&self, user: &str, action: &str, resource: &str) -> bool {
        let question = Question::new(uuid_of(user), action.try_into().expect("an action"), uuid_of(resource));
        self.client().await.authorize(&question).await.expect("a decision")
    }
}

/// The request with its body in one piece, as an event has it.
async fn whole(request: Request<Body>) -> Request<Bytes> {
    let (parts, body) = request.into_parts();
    Request::from_parts(parts, body.collect().await.expect("a whole body").to_bytes())
}

fn uuid_of(text: &str) -> uuid::Uuid {
    text.parse().expect("a UUID")
}

/// Waits until the decision cache is in use: after the start it is bypassed until it has caught up with the changes.
pub async fn until_cached(epr: &Epr) {
    wait::until("a cache in use", async || epr.cache_state().0 != TierState::Bypassed).await;
}

/// The member `id` of a response body.
#[must_use]
pub fn id_of(body: &Value) -> String {
    body["id"].as_str().expect("an id").to_owned()
}
