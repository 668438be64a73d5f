//! Taking over the tables of the older implementation by `epr migrate`.

use std::fmt::Write as _;

use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::audit_verify;
use epr_testkit::process::epr;
use rstest::rstest;
use serde_json::{Value, json};

const VECTORS: &str = include_str!("../../vectors/audit_chain_v1.json");

fn quoted(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        other => format!("'{}'", other.to_string().replace('\'', "''")),
    }
}

/// The older implementation's tables, with the vectors as its ledger.
pub(crate) fn older_tables(kind: DatabaseKind, with_zone: bool) -> String {
    let (id, json, time) = match kind {
        DatabaseKind::Postgres => ("uuid", "jsonb", if with_zone { "timestamptz" } else { "timestamp" }),
        DatabaseKind::Sqlite => ("CHAR(32)", "JSON", "DATETIME"),
    };
    let mut sql = format!(
        "CREATE TABLE entities (id {id} PRIMARY KEY, name VARCHAR(255) NOT NULL, type VARCHAR(16) NOT NULL, \
         status VARCHAR(16) NOT NULL, \
           parent_id {id}, attributes {json}, created_at {time} NOT NULL, updated_at {time} NOT NULL, \
           CONSTRAINT uq_entities_name_type UNIQUE (name, type));
         CREATE TABLE roles (id {id} PRIMARY KEY, name VARCHAR(120) UNIQUE, description VARCHAR(512), \
         scope_types {json}, is_system BOOLEAN, \
           created_at {time} NOT NULL, updated_at {time} NOT NULL);
         CREATE TABLE permissions (id {id} PRIMARY KEY, action VARCHAR(255) UNIQUE);
         CREATE TABLE role_permissions (role_id {id} REFERENCES roles (id), \
         permission_id {id} REFERENCES permissions (id), PRIMARY KEY (role_id, permission_id));
         CREATE TABLE role_assignments (id {id} PRIMARY KEY, principal_id {id} NOT NULL, \
         principal_type VARCHAR(64) NOT NULL, role_id {id} NOT NULL REFERENCES roles (id), \
           entity_id {id} REFERENCES entities (id), effective_at {time} NOT NULL, expires_at {time}, \
           created_at {time} NOT NULL, updated_at {time} NOT NULL);
         CREATE INDEX ix_role_assignments_role ON role_assignments (role_id);
         CREATE TABLE audit_logs (id {id}, sequence BIGINT NOT NULL UNIQUE, previous_hash VARCHAR(64), \
         entry_hash VARCHAR(64), hash_version INTEGER, event_id {id} UNIQUE, \
           source VARCHAR(128), action VARCHAR(120), actor_id {id}, actor_type VARCHAR(64), entity_id {id}, \
           entity_type VARCHAR(64), correlation_id VARCHAR(120), \
           details {json}, occurred_at {time});
         CREATE INDEX ix_audit_logs_action ON audit_logs (action);"
    );
    let old = |id: &str| if kind == DatabaseKind::Sqlite { id.replace('-', "") } else { id.to_owned() };
    let (parent, child, role, permission) = (
        old("11111111-0000-4000-8000-000000000001"),
        old("00000000-0000-4000-8000-000000000002"),
        old("33333333-0000-4000-8000-000000000003"),
        old("44444444-0000-4000-8000-000000000004"),
    );
    let at = "'2024-05-06 07:08:09.5'";
    let _ = write!(
        sql,
        "INSERT INTO entities VALUES ('{parent}', 'Parent', 'ISSUER', 'ACTIVE', NULL, '{{\"k\": 1.5}}', {at}, {at});
         INSERT INTO entities VALUES ('{child}', 'Child', 'spv', 'archived', '{parent}', NULL, {at}, {at});
         INSERT INTO roles VALUES ('{role}', 'Reader', NULL, '[\"spv\", \"issuer\"]', FALSE, {at}, {at});
         INSERT INTO permissions VALUES ('{permission}', 'document:download');
         INSERT INTO role_permissions VALUES ('{role}', '{permission}');
         INSERT INTO role_assignments VALUES ('{child}', '{permission}', 'user', '{role}', '{parent}', {at}, NULL, \
         {at}, {at});
         INSERT INTO role_assignments VALUES ('{parent}', '{permission}', 'service', '{role}', NULL, {at}, NULL, {at}, \
         {at});
         INSERT INTO role_assignments VALUES ('{role}', '{permission}', 'service', '{role}', NULL, {at}, NULL, {at}, \
         {at});"
    );
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for entry in vectors["entries"].as_array().unwrap() {
        let reported: Value = serde_json::from_str(entry["canonical"].as_str().unwrap()).unwrap();
        let id = |name: &str| quoted(&reported[name].as_str().map_or(Value::Null, |id| old(id).into()));
        let at = reported["occurred_at"].as_str().unwrap();
        let at = if kind == DatabaseKind::Sqlite || !with_zone {
            at.trim_end_matches("+00:00").replace('T', " ")
        } else {
            at.to_owned()
        };
        let _ = write!(
            sql,
            "INSERT INTO audit_logs VALUES (NULL, {}, {}, {}, 1, {}, {}, {}, {}, {}, {}, {}, {}, {}, '{at}');",
            entry["sequence"],
            quoted(&entry["previous_hash"]),
            quoted(&entry["entry_hash"]),
            id("event_id"),
            quoted(&reported["source"]),
            quoted(&reported["action"]),
            id("actor_id"),
            quoted(&reported["actor_type"]),
            id("entity_id"),
            quoted(&reported["entity_type"]),
            quoted(&reported["correlation_id"]),
            quoted(&reported["details"]),
        );
    }
    sql
}

async fn migrate(database: &Database) -> (i32, String) {
    let (code, out, err) = epr(&database.url, &["migrate"]).await;
    (code, if code == 0 { out } else { err })
}

async fn is_taken_over(kind: DatabaseKind, with_zone: bool) {
    let database = Database::create(kind).await;
    if let Some(file) = database.file() {
        std::fs::write(file, "").unwrap();
    }
    database.execute(&older_tables(kind, with_zone)).await.unwrap();
    let (code, output) = migrate(&database).await;
    assert_eq!(code, 0, "{output}");
    // A baseline for each row of the registry follows the older entries, once.
    assert_eq!(migrate(&database).await.0, 0);
    let rows = "SELECT (SELECT COUNT(*) FROM entities) + (SELECT COUNT(*) FROM roles) \
                + (SELECT COUNT(*) FROM role_assignments)";
    let baselines = database.number(rows).await;
    let written = "SELECT COUNT(*) FROM audit_logs WHERE sequence > 40 AND action IN \
                   ('entity.baseline', 'role.baseline', 'role_assignment.baseline')";
    assert!(baselines > 3 && database.number(written).await == baselines, "{baselines}");
    let (code, report) = audit_verify(&database.url, &[]).await;
    assert_eq!((code, &report["checked"]), (0, &json!(40 + baselines)), "{report}");
    let versions = "SELECT (SELECT COUNT(*) FROM entity_versions WHERE valid_from > 40 AND valid_to IS NULL) \
                    + (SELECT COUNT(*) FROM role_versions WHERE valid_from > 40 AND valid_to IS NULL) \
                    + (SELECT COUNT(*) FROM assignment_versions WHERE valid_from > 40 AND valid_to IS NULL)";
    assert_eq!(database.number(versions).await, baselines);
    assert_eq!(database.number("SELECT began FROM history_head").await, 40 + baselines);

    // The registry is taken over, and the chain continues.
    let api = Api::on(database.into()).await;
    let parent = api.get("/api/v1/entities/11111111-0000-4000-8000-000000000001").await.expect(200);
    assert_eq!(
        (&parent["type"], &parent["created_at"], &parent["attributes"]),
        (&json!("issuer"), &json!("2024-05-06T07:08:09.500000Z"), &json!({"k": 1.5}))
    );
    let child = api.get("/api/v1/entities/00000000-0000-4000-8000-000000000002").await.expect(200);
    assert_eq!((&child["parent_id"], &child["status"]), (&parent["id"], &json!("archived")));
    assert!(
        api.authorized("44444444-0000-4000-8000-000000000004", "document:download", child["id"].as_str().unwrap())
            .await
    );
    assert_eq!(
        api.get("/api/v1/assignments").await.expect(200).as_array().unwrap().len(),
        2,
        "the global one stood twice"
    );
    let (code, report) = audit_verify(&api.database.url, &[]).await;
    assert_eq!((code, &report["checked"]), (0, &json!(41 + baselines)));
    let entry = api.get("/api/v1/audit/entries?to_sequence=40&limit=1").await.expect(200);
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(entry[0]["entry_hash"], vectors["entries"][39]["entry_hash"]);
}

#[tokio::test]
async fn a_postgres_ledger_with_zones_is_taken_over() {
    is_taken_over(DatabaseKind::Postgres, true).await;
}

#[tokio::test]
async fn a_postgres_ledger_without_zones_is_taken_over() {
    is_taken_over(DatabaseKind::Postgres, false).await;
}

#[tokio::test]
async fn a_sqlite_ledger_is_taken_over() {
    is_taken_over(DatabaseKind::Sqlite, false).await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn a_broken_ledger_is_left_alone(#[case] kind: DatabaseKind) {
    for (damage, named) in [
        ("UPDATE audit_logs SET action = 'forged' WHERE sequence = 17", "ledger entry 17"),
        ("DELETE FROM audit_logs WHERE sequence = 23", "ledger entry 23"),
        ("UPDATE audit_logs SET previous_hash = entry_hash WHERE sequence = 5", "ledger entry 5"),
    ] {
        let database = Database::create(kind).await;
        if let Some(file) = database.file() {
            std::fs::write(file, "").unwrap();
        }
        database.execute(&older_tables(kind, true)).await.unwrap();
        database.execute(damage).await.unwrap();
        let rows = database.number("SELECT COUNT(*) FROM audit_logs").await;
        let (code, output) = migrate(&database).await;
        assert_eq!(code, 2);
        assert!(output.contains("nothing was changed") && output.contains(named), "{output}");
        assert_eq!(database.number("SELECT COUNT(*) FROM audit_logs").await, rows);
        assert_eq!(database.number("SELECT COUNT(*) FROM role_assignments").await, 3);
        assert!(database.execute("SELECT 1 FROM audit_chain_head").await.is_err(), "no table was made");
        assert!(database.execute("SELECT 1 FROM _sqlx_migrations").await.is_err(), "no table was made");
    }
}
