//! A provider of OpenID Connect: a discovery document, keys, an authorization endpoint whose user always agrees, and a
//! token endpoint that is as strict as the standards want it: registered address, client secret, PKCE, each code once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use epr_core::clock::{Clock as _, SystemClock};
use reqwest::Url;
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use crate::issuer::{SigningKey, base64url, key_set};

/// The id of the client that the provider knows.
pub const CLIENT_ID: &str = "epr console";
/// The secret of the client.
pub const CLIENT_SECRET: &str = "se:cret ü";

/// The parameters of a request.
type Parameters = BTreeMap<String, String>;
/// What changes the claims of an ID token before it is signed.
type Alteration = Box<dyn Fn(&mut Value) + Send>;

/// A code that was issued.
struct Grant {
    nonce: String,
    challenge: String,
    redirect: String,
}

struct Behaviour {
    issuer: String,
    redirect: String,
    has_secret: bool,
    key: SigningKey,
    /// Signs instead of `key`, which alone is in the set of keys.
    foreign_key: Option<SigningKey>,
    codes: BTreeMap<String, Grant>,
    issued: usize,
    /// Changes the claims.
    alteration: Alteration,
    /// Members that replace those of the discovery document.
    discovery: Value,
    /// The error with which the user is led back.
    error: Option<&'static str>,
    /// The requests of the token endpoint.
    exchanges: usize,
}

type Shared = Arc<Mutex<Behaviour>>;

/// A provider.
pub struct OpenIdProvider {
    /// The issuer.
    pub issuer: String,
    shared: Shared,
    server: tokio::task::JoinHandle<()>,
}

impl OpenIdProvider {
    /// Starts a provider that leads its users back to `redirect`.
    pub async fn start(redirect: &str, has_secret: bool) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let issuer = format!("http://{}", listener.local_addr().expect("its address"));
        let shared = Arc::new(Mutex::new(Behaviour {
            issuer: issuer.clone(),
            redirect: redirect.to_owned(),
            has_secret,
            key: SigningKey::ec256("one"),
            foreign_key: None,
            codes: BTreeMap::new(),
            issued: 0,
            alteration: Box::new(|_| {}),
            discovery: json!({}),
            error: None,
            exchanges: 0,
        }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a server");
        });
        Self { issuer, shared, server }
    }

    fn behaviour(&self) -> std::sync::MutexGuard<'_, Behaviour> {
        self.shared.lock().expect("the behaviour")
    }

    /// Changes the claims of the ID tokens from now on.
    pub fn alter(&self, alteration: impl Fn(&mut Value) + Send + 'static) {
        self.behaviour().alteration = Box::new(alteration);
    }

    /// Signs with a key that the set of keys does not have, or again with its own.
    pub fn sign_with_foreign_key(&self, foreign: bool) {
        self.behaviour().foreign_key = foreign.then(|| SigningKey::ec256("one"));
    }

    /// Replaces members of the discovery document.
    pub fn describe(&self, members: Value) {
        self.behaviour().discovery = members;
    }

    /// Refuses the user with this error from now on.
    pub fn refuse(&self, error: Option<&'static str>) {
        self.behaviour().error = error;
    }

    /// The requests of the token endpoint.
    pub fn exchanges(&self) -> usize {
        self.behaviour().exchanges
    }

    /// Visits the authorization endpoint as a browser does; returns where it leads back, without the scheme and the
    /// host.
    pub async fn visit(&self, address: &str) -> String {
        assert!(address.starts_with(&format!("{}/authorize?", self.issuer)), "{address}");
        let client = reqwest::Client::builder().redirect(Policy::none()).build().expect("a client");
        let answer = client.get(address).send().await.expect("an answer");
        assert_eq!(answer.status(), 303, "{}", answer.text().await.unwrap_or_default());
        let to = answer.headers()[header::LOCATION.as_str()].to_str().expect("text").to_owned();
        let url = Url::parse(&to).expect("a URL");
        format!("{}?{}", url.path(), url.query().unwrap_or_default())
    }
}

impl Drop for OpenIdProvider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn parameters(text: &str) -> Parameters {
    let url = Url::parse(&format!("http://form/?{text}")).expect("a form");
    url.query_pairs().into_owned().collect()
}

async fn discovery(State(shared): State<Shared>) -> Json<Value> {
    let behaviour = shared.lock().expect("the behaviour");
    let issuer = &behaviour.issuer;
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize?tenant=a%20b"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["plain", "S256"],
    });
    let members = document.as_object_mut().expect("an object");
    members.extend(behaviour.discovery.as_object().expect("an object").clone());
    Json(document)
}

async fn keys(State(shared): State<Shared>) -> String {
    key_set(&[&shared.lock().expect("the behaviour").key])
}

async fn authorize(State(shared): State<Shared>, uri: Uri) -> Response {
    let asked = parameters(uri.query().unwrap_or_default());
    let mut behaviour = shared.lock().expect("the behaviour");
    let text = |name: &str| asked.get(name).cloned().unwrap_or_default();
    for (name, expected) in [
        ("tenant", "a b"),
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("redirect_uri", behaviour.redirect.as_str()),
        ("code_challenge_method", "S256"),
    ] {
        if text(name) != expected {
            return (StatusCode::BAD_REQUEST, format!("{name} is `{}`", text(name))).into_response();
        }
    }
    for (name, least) in [("state", 20), ("nonce", 20), ("code_challenge", 43)] {
        if text(name).len() < least {
            return (StatusCode::BAD_REQUEST, format!("{name} is too short")).into_response();
        }
    }
    if !text("scope").split(' ').any(|scope| scope == "openid") {
        return (StatusCode::BAD_REQUEST, "no openid").into_response();
    }
    let mut answer = vec![("state", text("state")), ("iss", behaviour.issuer.clone())];
    match behaviour.error {
        Some(error) => answer.extend([("error", error.to_owned()), ("error_description", "<b>no</b>".to_owned())]),
        None => {
            behaviour.issued += 1;
            let code = format!("code-{}", behaviour.issued);
            let grant =
                Grant { nonce: text("nonce"), challenge: text("code_challenge"), redirect: text("redirect_uri") };
            behaviour.codes.insert(code.clone(), grant);
            answer.push(("code", code));
        }
    }
    let to = Url::parse_with_params(&behaviour.redirect, &answer).expect("a URL");
    (StatusCode::SEE_OTHER, [(header::LOCATION, String::from(to))]).into_response()
}

async fn token(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let mut behaviour = shared.lock().expect("the behaviour");
    behaviour.exchanges += 1;
    let sent = parameters(&body);
    let text = |name: &str| sent.get(name).map(String::as_str).unwrap_or_default();
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    let is_known = if behaviour.has_secret {
        let encoded = |text: &str| {
            let url = Url::parse_with_params("http://form/", [("x", text)]).expect("a URL");
            url.query().expect("a query").trim_start_matches("x=").to_owned()
        };
        let expected = STANDARD.encode(format!("{}:{}", encoded(CLIENT_ID), encoded(CLIENT_SECRET)));
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let takes_basic = behaviour.discovery.get("token_endpoint_auth_methods_supported").is_none();
        if takes_basic {
            given == Some(format!("Basic {expected}").as_str()) && text("client_secret").is_empty()
        } else {
            text("client_id") == CLIENT_ID && text("client_secret") == CLIENT_SECRET
        }
    } else {
        text("client_id") == CLIENT_ID
    };
    if !is_known {
        return refuse("invalid_client");
    }
    if text("grant_type") != "authorization_code" {
        return refuse("unsupported_grant_type");
    }
    let Some(grant) = behaviour.codes.remove(text("code")) else { return refuse("invalid_grant") };
    let challenge = base64url(digest(&SHA256, text("code_verifier").as_bytes()));
    if challenge != grant.challenge || text("redirect_uri") != grant.redirect {
        return refuse("invalid_grant");
    }
    let now = SystemClock.now().unix_micros() / 1_000_000;
    let mut claims = json!({"iss": behaviour.issuer, "aud": CLIENT_ID, "sub": "ada@id.test", "iat": now,
        "exp": now + 300, "nonce": grant.nonce, "groups": ["Internal audit", "staff"]});
    (behaviour.alteration)(&mut claims);
    let token = behaviour.foreign_key.as_ref().unwrap_or(&behaviour.key).sign(&claims);
    Json(json!({"access_token": "opaque", "token_type": "Bearer", "id_token": token})).into_response()
}
