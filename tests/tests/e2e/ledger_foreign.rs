//! Rows in the ledger's table that EPR did not write: refused, and led out of when they are there already.

use epr_testkit::api::Api;
use epr_testkit::database::DatabaseKind;
use epr_testkit::process::epr;
use rstest::rstest;
use serde_json::{Value, json};

const COLUMNS: &str = "previous_hash, entry_hash, hash_version, NULL, source, action, actor_id, actor_type, entity_id, \
                       entity_type, \
                       correlation_id, details, occurred_at";

fn foreign(sequence: u32) -> String {
    format!("INSERT INTO audit_logs SELECT {sequence}, {COLUMNS} FROM audit_logs WHERE sequence = 1")
}

/// Inserts with the guard off, as in a database that had such rows before migration 7.
async fn insert_unguarded(api: &Api, sequences: &[u32]) {
    let rows: Vec<_> = sequences.iter().map(|sequence| foreign(*sequence)).collect();
    let (off, on) = match api.database.kind {
        DatabaseKind::Postgres => (
            "ALTER TABLE audit_logs DISABLE TRIGGER audit_logs_appended".to_owned(),
            "ALTER TABLE audit_logs ENABLE TRIGGER audit_logs_appended".to_owned(),
        ),
        DatabaseKind::Sqlite => ("DROP TRIGGER audit_logs_behind_head".to_owned(), String::new()),
    };
    api.database.execute(&format!("{off}; {}; {on}", rows.join("; "))).await.unwrap();
}

async fn set_aside(api: &Api, arguments: &[&str]) -> (i32, Value) {
    let all: Vec<_> = ["ledger", "set-aside", "--json"].into_iter().chain(arguments.iter().copied()).collect();
    let (code, out, err) = epr(&api.database.url, &all).await;
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code} {out}{err}")))
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_rows_are_set_aside_and_kept(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let url = &api.database.url;
    api.entity("S", "spv", None).await;
    let none = (1, json!({"set_aside": false, "rows": null, "finding": null}));
    assert_eq!(set_aside(&api, &[]).await, none);

    insert_unguarded(&api, &[2, 3, 7]).await;
    let refused = json!({"name": "T", "type": "spv"});
    api.post("/api/v1/entities", refused.clone()).await.expect(503);
    api.get("/readyz").await.expect(503);
    let (code, seen) = set_aside(&api, &["--dry-run"]).await;
    assert_eq!((code, &seen["set_aside"]), (0, &json!(false)));
    assert_eq!((&seen["rows"]["count"], &seen["rows"]["sequences"]), (&json!(3), &json!(["2-3", "7"])));
    assert_eq!(api.database.number("SELECT COUNT(*) FROM audit_logs").await, 4);
    assert_eq!(api.database.number("SELECT COUNT(*) FROM audit_logs_set_aside").await, 0);

    let (code, done) = set_aside(&api, &[]).await;
    assert_eq!((code, &done["set_aside"]), (0, &json!(true)));
    assert_eq!(done["rows"], seen["rows"]);
    // The entries are kept, the ledger names them, and the service continues without a restart.
    assert_eq!(api.database.number("SELECT COUNT(*) FROM audit_logs_set_aside").await, 3);
    let entries = api.get("/api/v1/audit/entries?action=ledger.set_aside").await.expect(200);
    let details = &entries[0]["details"];
    assert_eq!((&entries[0]["sequence"], &details["sha256"]), (&json!(2), &seen["rows"]["sha256"]));
    assert_eq!((&details["count"], &details["sequences"]), (&json!(3), &json!(["2-3", "7"])));
    assert!(details["caller"].is_string(), "{details}");
    api.get("/readyz").await.expect(200);
    api.post("/api/v1/entities", refused).await.expect(201);
    let (code, out, err) = epr(url, &["audit", "verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(set_aside(&api, &[]).await, none);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_set_aside_when_the_chain_before_it_does_not_hold(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    for n in 0..3 {
        api.entity(&format!("e{n}"), "spv", None).await;
    }
    insert_unguarded(&api, &[4]).await;
    let off = match api.database.kind {
        DatabaseKind::Postgres => "ALTER TABLE audit_logs DISABLE TRIGGER USER",
        DatabaseKind::Sqlite => "DROP TRIGGER audit_logs_no_update",
    };
    api.database.execute(off).await.unwrap();
    api.database.execute("UPDATE audit_logs SET action = 'forged' WHERE sequence = 2").await.unwrap();
    let (code, report) = set_aside(&api, &[]).await;
    assert_eq!((code, &report["set_aside"], &report["finding"]["sequence"]), (1, &json!(false), &json!(2)));
    assert_eq!(api.database.number("SELECT COUNT(*) FROM audit_logs").await, 4);
    assert_eq!(api.database.number("SELECT COUNT(*) FROM audit_logs_set_aside").await, 0);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_rows_beyond_the_head_of_which_a_copy_is_kept_can_be_deleted(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    api.entity("S", "spv", None).await;
    insert_unguarded(&api, &[2]).await;
    for attempt in ["DELETE FROM audit_logs", "DELETE FROM audit_logs WHERE sequence = 2"] {
        let error = api.database.execute(attempt).await.unwrap_err().to_string();
        assert!(error.contains("DELETE is refused"), "{error}");
    }
    // A copy of an entry of the chain takes nothing from the chain.
    api.database.execute("INSERT INTO audit_logs_set_aside (sequence, entry) VALUES (1, '{}')").await.unwrap();
    assert!(api.database.execute("DELETE FROM audit_logs WHERE sequence = 1").await.is_err());
}
