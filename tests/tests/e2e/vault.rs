//! A document vault in both of its versions, end to end: API and worker as processes, SNS and SQS by moto, PostgreSQL.
//!
//! The vault is a stand-in that makes the calls of the real one. The older version asks `/authorize` and sends its
//! audit events through the topic; the newer one asks `/permissions/check` and posts them to `/events`. Both act on
//! every message that has flat `entity_id` and `entity_type`.

use std::collections::BTreeMap;

use epr_testkit::aws::{self, Topic};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::audit_verify;
use epr_testkit::process::Process;
use epr_testkit::queue::{AuditQueue, MessageForm};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Older,
    Newer,
}

struct Vault<'a> {
    version: Version,
    /// EPR's address as the vault's settings have it: with a slash at its end.
    base: String,
    queue: &'a AuditQueue,
    http: reqwest::Client,
    /// The entity of each document that is not archived.
    documents: BTreeMap<String, String>,
}

impl<'a> Vault<'a> {
    fn new(version: Version, base: &str, queue: &'a AuditQueue) -> Self {
        Self { version, base: format!("{base}/"), queue, http: reqwest::Client::new(), documents: BTreeMap::new() }
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let answer = self.http.post(format!("{}{path}", self.base)).json(body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn may(&self, user: &str, action: &str, entity: &str) -> bool {
        let (path, who, answer) = match self.version {
            Version::Older => ("/api/v1/authorize", "user_id", "authorized"),
            Version::Newer => ("/api/v1/permissions/check", "principal_id", "allowed"),
        };
        let (status, body) = self.post(path, &json!({who: user, "action": action, "resource_id": entity})).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body[answer].as_bool().unwrap()
    }

    /// Checks whether the user may upload; then stores the document and publishes the event.
    async fn upload(&mut self, user: &str, entity: &str, name: &str) -> bool {
        if !self.may(user, "document:upload", entity).await {
            return false;
        }
        self.documents.insert(name.to_owned(), entity.to_owned());
        let document = Uuid::from_u128(rand::random());
        let payload = json!({"document_id": document, "filename": name, "entity_id": entity, "entity_type": "spv"});
        let context = json!({"actor_id": user, "actor_type": "user", "entity_id": document, "entity_type": "document"});
        let mut event = json!({"event_type": "document.uploaded", "source": "document_vault", "payload": payload,
            "correlation_id": name});
        if self.version == Version::Newer {
            event["context"] = context.clone();
        }
        let (status, body) = self.post("/api/v1/events", &event).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        if self.version == Version::Older {
            let mut audit = json!({"source": "document_vault", "action": "document.uploaded", "details": payload});
            audit.as_object_mut().unwrap().extend(context.as_object().unwrap().clone());
            self.queue.put(MessageForm::Enveloped, &[audit.to_string()]).await;
        }
        true
    }

    fn take(&mut self, message: &Value) {
        if let (Some(entity), Some(_)) = (message["entity_id"].as_str(), message["entity_type"].as_str()) {
            self.documents.retain(|_, place| place != entity);
        }
    }

    fn has(&self, names: &[&str]) -> bool {
        self.documents.keys().map(String::as_str).eq(names.iter().copied())
    }
}

#[tokio::test]
async fn both_versions_of_the_vault_work_as_with_the_older_service() {
    let (topic, queue, endpoint) = (Topic::create().await, AuditQueue::create(3).await, aws::endpoint());
    let database = Database::create(DatabaseKind::Postgres).await;
    let mut environment = vec![
        ("EPR_DATABASE_URL", database.url.as_str()),
        ("EPR_DOCUMENT_VAULT_TOPIC_ARN", topic.arn.as_str()),
        ("EPR_AUDIT_SQS_URL", queue.url.as_str()),
    ];
    environment.extend(aws::environment(&endpoint));
    let (api, base) = Process::api(&environment).await;
    let worker = Process::start("epr-audit-worker", &environment);

    let mut older = Vault::new(Version::Older, &base, &queue);
    let mut newer = Vault::new(Version::Newer, &base, &queue);
    let made = async |path: &str, body: Value| {
        let (status, body) = older.post(path, &body).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        body["id"].as_str().unwrap().to_owned()
    };
    let issuer = made("/api/v1/entities", json!({"name": "Acme", "type": "issuer"})).await;
    let one = made("/api/v1/entities", json!({"name": "Berlin One", "type": "spv", "parent_id": issuer})).await;
    let two = made("/api/v1/entities", json!({"name": "Hamburg Two", "type": "spv", "parent_id": issuer})).await;
    let permissions = ["document:upload", "document:download"];
    let role = made("/api/v1/roles", json!({"name": "Uploader", "permissions": permissions})).await;
    let (ada, eve) = (Uuid::from_u128(rand::random()).to_string(), Uuid::from_u128(rand::random()).to_string());
    let held = json!({"principal_id": ada, "role_id": role, "entity_id": issuer});
    let assignment = made("/api/v1/assignments", held).await;

    assert!(older.upload(&ada, &one, "one.pdf").await && newer.upload(&ada, &two, "two.pdf").await);
    assert!(!older.upload(&eve, &one, "three.pdf").await && !newer.upload(&eve, &two, "three.pdf").await);

    // Both vaults receive every upload, and archive nothing.
    let delivered = "SELECT COUNT(*) FROM platform_events WHERE delivery_state = 'succeeded'";
    // The assignment's event is one of them.
    database.until(delivered, 3).await;
    for message in topic.drain().await {
        older.take(&message.body);
        newer.take(&message.body);
    }
    assert!(older.has(&["one.pdf"]) && newer.has(&["two.pdf"]));

    // The consumers archive the documents of an entity that EPR archives.
    let (status, _) = older.post(&format!("/api/v1/entities/{one}/archive"), &json!({})).await;
    assert_eq!(status, StatusCode::OK);
    database.until(delivered, 4).await;
    for message in topic.drain().await {
        older.take(&message.body);
        newer.take(&message.body);
    }
    assert!(older.has(&[]) && newer.has(&["two.pdf"]));

    // A revoked role is gone for both.
    let revoked = older.http.delete(format!("{base}/api/v1/assignments/{assignment}")).send().await.unwrap();
    assert_eq!(revoked.status(), StatusCode::OK);
    assert!(!older.may(&ada, "document:download", &two).await && !newer.may(&ada, "document:download", &two).await);

    // Each upload is in the ledger once, with who did it to what, whichever way it came.
    let uploads = format!(
        "SELECT COUNT(*) FROM audit_logs WHERE source = 'document_vault' AND action = 'document.uploaded' \
         AND actor_id = '{ada}' AND entity_type = 'document'"
    );
    database.until(&uploads, 2).await;
    assert_eq!(worker.terminate().await.0.code(), Some(0));
    assert_eq!(api.terminate().await.0.code(), Some(0));
    let (code, report) = audit_verify(&database.url, &[]).await;
    assert_eq!(code, 0, "{report}");
}
