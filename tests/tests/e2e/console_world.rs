//! A service with the console and credentials, and a small registry, for the tests of the console.

use std::sync::Arc;

use epr_core::authn::token;
use epr_testkit::browser::Browser;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use serde_json::{Value, json};

/// Everything but changes.
pub const AUDITOR: [&str; 6] = ["epr:read", "epr:audit", "epr:list", "epr:explain", "epr:events", "epr:operate"];
pub const OPERATOR_ID: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// The entry of a token with these scopes, and the token.
pub fn credential(name: &str, scopes: &[&str], more: &Value) -> (Value, String) {
    let made = token::mint().unwrap();
    let mut entry = json!({"name": name, "sha256": token::hex(&token::hash(&made).unwrap()), "scopes": scopes});
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    (entry, made)
}

/// A service, its credentials, and a registry.
pub struct World {
    pub process: Process,
    pub base: String,
    pub database: Arc<Database>,
    pub auditor: String,
    pub reader: String,
    pub operator: String,
    /// For each scope of a page, a token that has every other.
    pub lacking: Vec<(&'static str, String)>,
    pub acme: String,
    pub berlin: String,
    pub ada: String,
    pub role: String,
    pub assignment: String,
    environment: Vec<(String, String)>,
}

impl World {
    /// A service on a fresh database of this kind.
    pub async fn new(kind: DatabaseKind) -> Self {
        Self::with(kind, &[]).await
    }

    /// A service with further variables.
    pub async fn with(kind: DatabaseKind, more: &[(&str, &str)]) -> Self {
        let database = Arc::new(Database::create(kind).await);
        let (auditor_entry, auditor) = credential("auditor", &AUDITOR, &json!({}));
        let (reader_entry, reader) = credential("reader", &["epr:read"], &json!({}));
        let all = [&AUDITOR[..], &["epr:write", "epr:authorize"]].concat();
        let (operator_entry, operator) = credential("operator", &all, &json!({"actor_id": OPERATOR_ID}));
        let (mut tokens, mut lacking) = (vec![auditor_entry, reader_entry, operator_entry], Vec::new());
        for scope in AUDITOR.into_iter().chain(["epr:write"]) {
            let others: Vec<_> = all.iter().copied().filter(|other| *other != scope).collect();
            let (entry, token) = credential(&format!("without {scope}"), &others, &json!({}));
            tokens.push(entry);
            lacking.push((scope, token));
        }
        let tokens = json!(tokens).to_string();
        let own = [
            ("EPR_DATABASE_URL", database.url.as_str()),
            ("EPR_AUTH_MODE", "token"),
            ("EPR_API_TOKENS", tokens.as_str()),
            ("EPR_CONSOLE", "on"),
            ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
            ("EPR_LEDGER_KEY", SEED),
        ];
        let environment = [&own[..], more].concat();
        let (process, base) = Process::api(&environment).await;
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut world = Self {
            process,
            base,
            database,
            auditor,
            reader,
            operator,
            lacking,
            acme: String::new(),
            berlin: String::new(),
            ada: String::new(),
            role: String::new(),
            assignment: String::new(),
            environment,
        };
        world.fill().await;
        world
    }

    /// A further process of the same deployment, and its address.
    pub async fn another_process(&self) -> (Process, String) {
        self.another_process_with(&[]).await
    }

    /// A further process with other values of some variables.
    pub async fn another_process_with(&self, more: &[(&str, &str)]) -> (Process, String) {
        let own = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own = own.filter(|(name, _)| more.iter().all(|(other, _)| other != name));
        Process::api(&own.chain(more.iter().copied()).collect::<Vec<_>>()).await
    }

    async fn fill(&mut self) {
        let acme = self.create("/api/v1/entities", &json!({"name": "Acme Estates", "type": "issuer"})).await;
        let berlin = json!({"name": "Berlin One", "type": "spv", "parent_id": acme, "external_id": "crm:4711",
            "attributes": {"isin": "DE000A1EWWW0"}});
        let berlin = self.create("/api/v1/entities", &berlin).await;
        let ada = json!({"external_id": "auth0|ada", "display_name": "Ada Lovelace"});
        let ada = self.create("/api/v1/principals", &ada).await;
        let role = json!({"name": "Document reader", "permissions": ["document:download", "document:print"],
            "conditions": {"document:print": {"expression": "context.pages <= 10", "parameters": {"pages": "int"}}}});
        let role = self.create("/api/v1/roles", &role).await;
        let held = json!({"principal_id": ada, "role_id": role, "entity_id": acme,
            "effective_at": "2026-01-01T00:00:00Z", "expires_at": "2099-01-01T00:00:00Z"});
        let assignment = self.create("/api/v1/assignments", &held).await;
        let everywhere = json!({"principal_id": OPERATOR_ID, "role_id": role});
        self.create("/api/v1/assignments", &everywhere).await;
        let patch = json!({"permissions": ["document:download", "document:print", "document:verify"]});
        self.call(reqwest::Method::PATCH, &format!("/api/v1/roles/{role}"), &patch).await;
        let question = json!({"user_id": ada, "action": "document:shred", "resource_id": berlin});
        self.call(reqwest::Method::POST, "/api/v1/authorize", &question).await;
        (self.acme, self.berlin, self.ada) = (acme, berlin, ada);
        (self.role, self.assignment) = (role, assignment);
    }

    /// Calls the API as the operator.
    pub async fn call(&self, method: reqwest::Method, path: &str, body: &Value) -> Value {
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.base));
        let request = request.bearer_auth(&self.operator).header("content-type", "application/json");
        let request = request.header("epr-reason", "ticket 42").body(body.to_string());
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Creates something as the operator; returns its id.
    pub async fn create(&self, path: &str, body: &Value) -> String {
        self.call(reqwest::Method::POST, path, body).await["id"].as_str().unwrap().to_owned()
    }

    /// A browser in which this token is logged in.
    pub async fn browser(&self, token: &str) -> Browser {
        let browser = Browser::new(&self.base);
        assert_eq!(browser.log_in(token).await.status, 303);
        browser
    }
}
