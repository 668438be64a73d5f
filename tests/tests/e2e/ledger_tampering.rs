//! Someone with the database changes the ledger, its triggers off: every change is found, at the right entry.

use epr_core::ledger::chain::Draft;
use epr_testkit::api::Api;
use epr_testkit::database::DatabaseKind;
use epr_testkit::ledger::{all_entries, audit_verify, draft};
use rstest::rstest;
use serde_json::{Value, json};

/// The entry that is tampered with.
const VICTIM: i64 = 3;
/// The last entry.
const LAST: i64 = 6;

fn rich(n: i64, action: &str) -> Draft {
    draft(&json!({
        "event_id": format!("eeeeeeee-0000-4000-8000-00000000000{n}"), "source": "issuer-service", "action": action,
        "actor_id": format!("abcdefab-0000-4000-8000-00000000000{n}"), "actor_type": "service",
        "entity_id": format!("fedcbafe-0000-4000-8000-00000000000{n}"), "entity_type": "document",
            "correlation_id": "req-1",
        "occurred_at": "2026-01-01T00:00:00.123456Z",
        "details": {"a": 1, "b": 1.5, "c": "Zoë \u{1F600} \n", "d": [1, 2], "e": null, "f": true},
    }))
}

/// A statement that puts another action into an entry, and the hash that belongs to it.
async fn forged(api: &Api, sequence: i64) -> String {
    let seen = all_entries(&*api.database.store().await).await;
    let before = &seen[usize::try_from(sequence).unwrap() - 2].entry_hash;
    let hash = rich(sequence, "forged").hash_at(sequence, before);
    format!("UPDATE audit_logs SET action = 'forged', entry_hash = '{hash}' WHERE sequence = {sequence}")
}

async fn ledger(kind: DatabaseKind) -> Api {
    let api = Api::start(kind).await;
    let store = api.database.store().await;
    let mut tx = store.begin().await.unwrap();
    tx.append(&(1..=LAST).map(|n| rich(n, "document.uploaded")).collect::<Vec<_>>()).await.unwrap();
    tx.commit().await.unwrap();
    api.database.remove_ledger_triggers().await;
    api.database.execute("CREATE TABLE whole AS SELECT * FROM audit_logs").await.unwrap();
    api.database.execute("CREATE TABLE whole_head AS SELECT * FROM audit_chain_head").await.unwrap();
    api
}

async fn restore(api: &Api) {
    for sql in [
        "DELETE FROM audit_logs",
        "INSERT INTO audit_logs SELECT * FROM whole",
        "DELETE FROM audit_chain_head",
        "INSERT INTO audit_chain_head SELECT * FROM whole_head",
    ] {
        api.database.execute(sql).await.unwrap();
    }
}

/// Runs `sql`, expects the verdict, and puts everything back.
async fn found(api: &Api, sql: &str, kind: &str, sequence: i64) {
    api.database.execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let (code, report) = audit_verify(&api.database.url, &[]).await;
    assert_eq!(
        (code, &report["finding"]["kind"], &report["finding"]["sequence"]),
        (1, &json!(kind), &json!(sequence)),
        "{sql}: {report}"
    );
    assert_eq!(report["valid"], json!(false));
    restore(api).await;
}

fn set(column: &str, expression: &str) -> String {
    format!("UPDATE audit_logs SET {column} = {expression} WHERE sequence = {VICTIM}")
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_found(#[case] kind: DatabaseKind) {
    let api = ledger(kind).await;
    assert_eq!(audit_verify(&api.database.url, &[]).await.0, 0);

    // Every column: another value, and none where there can be none.
    let id = |n: u32| format!("'abcdefab-0000-4000-8000-0000000000{n:02}'");
    let (other_time, json) = match kind {
        DatabaseKind::Postgres => ("occurred_at + interval '1 microsecond'", "CAST($ AS json)"),
        DatabaseKind::Sqlite => ("'2026-01-01T00:00:00.123457Z'", "$"),
    };
    let content: Vec<(&str, String)> = vec![
        ("hash_version", "2".into()),
        ("event_id", id(77)),
        ("event_id", "NULL".into()),
        ("source", "'issuer-servicf'".into()),
        ("source", "'issuer-service '".into()),
        ("action", "'Document.uploaded'".into()),
        ("action", "''".into()),
        ("actor_id", id(78)),
        ("actor_id", "NULL".into()),
        ("actor_type", "'user'".into()),
        ("entity_id", id(79)),
        ("entity_id", "NULL".into()),
        ("entity_type", "NULL".into()),
        ("entity_type", "'d\u{f6}cument'".into()),
        ("correlation_id", "'req-2'".into()),
        ("correlation_id", "NULL".into()),
        ("occurred_at", other_time.into()),
    ];
    for (column, value) in &content {
        found(&api, &set(column, value), "changed_content", VICTIM).await;
    }
    // The details, one class of bytes at a time: digit, fraction, exponent, letter case, escape, space, order, literal,
    // key, structure.
    let whole = r#"{"a":1,"b":1.5,"c":"Zo\u00eb \ud83d\ude00 \n","d":[1,2],"e":null,"f":true}"#;
    for (from, to) in [
        ("\"a\":1", "\"a\":2"),
        ("1.5", "1.50"),
        ("1.5", "15e-1"),
        ("Zo", "zo"),
        ("\\u00eb", "\\u00EB"),
        ("\\u00eb", "ë"),
        ("\\n", "\\u000a"),
        (" \\ud83d", "\\ud83d"),
        ("{\"a\":1,", "{ \"a\":1,"),
        ("\"a\":1,\"b\":1.5", "\"b\":1.5,\"a\":1"),
        ("null", "false"),
        ("true", "1"),
        ("\"d\"", "\"D\""),
        ("[1,2]", "[2,1]"),
        ("[1,2]", "[1,2,{}]"),
        (",\"f\":true", ""),
        ("\"a\":1", "\"a\":1,\"a\":1"),
        ("\"a\":1", "\"a\":-1"),
    ] {
        let changed = whole.replacen(from, to, 1);
        assert_ne!(changed, whole);
        found(&api, &set("details", &json.replace('$', &format!("'{changed}'"))), "changed_content", VICTIM).await;
    }
    // The hashes themselves, and the place.
    let flip =
        |column: &str| format!("CASE WHEN substr({column}, 1, 1) = '0' THEN '1' ELSE '0' END || substr({column}, 2)");
    found(&api, &set("entry_hash", &flip("entry_hash")), "changed_content", VICTIM).await;
    found(&api, &set("entry_hash", "upper(entry_hash)"), "changed_content", VICTIM).await;
    found(&api, &set("previous_hash", &flip("previous_hash")), "broken_link", VICTIM).await;
    found(&api, &set("sequence", "99"), "gap", VICTIM).await;
    found(&api, &format!("DELETE FROM audit_logs WHERE sequence = {VICTIM}"), "gap", VICTIM).await;
    found(&api, "DELETE FROM audit_logs WHERE sequence = 1", "gap", 1).await;
    // An entry that was replaced by another whole one, hash and all: what follows does not name it.
    found(&api, &forged(&api, VICTIM).await, "broken_link", VICTIM + 1).await;
    found(&api, &forged(&api, LAST).await, "foreign_head", LAST).await;
    // A row where no entry can be, with the checks off as well.
    let unchecked = match kind {
        DatabaseKind::Postgres => "ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_sequence_check;",
        DatabaseKind::Sqlite => "PRAGMA ignore_check_constraints = 1;",
    };
    let columns = "previous_hash, entry_hash, hash_version, NULL, source, action, actor_id, actor_type, entity_id, \
     entity_type, correlation_id, details, occurred_at";
    found(
        &api,
        &format!("{unchecked} INSERT INTO audit_logs SELECT -7, {columns} FROM audit_logs WHERE sequence = 1"),
        "stray",
        -7,
    )
    .await;
    if kind == DatabaseKind::Postgres {
        // Moments that only PostgreSQL can hold.
        for at in ["'infinity'", "'-infinity'", "'99999-01-01'", "'0001-01-01 BC'"] {
            found(&api, &set("occurred_at", at), "unreadable", VICTIM).await;
        }
        found(
            &api,
            &format!("{}; DELETE FROM audit_logs WHERE sequence = 2", set("occurred_at", "'infinity'")),
            "gap",
            2,
        )
        .await;
    }
    // The end.
    found(&api, &format!("DELETE FROM audit_logs WHERE sequence >= {LAST}"), "missing_tail", LAST).await;
    found(&api, "DELETE FROM audit_logs", "missing_tail", 1).await;
    found(&api, "UPDATE audit_chain_head SET sequence = 9", "missing_tail", LAST + 1).await;
    found(&api, "UPDATE audit_chain_head SET sequence = 4", "foreign_head", LAST).await;
    found(&api, &format!("UPDATE audit_chain_head SET entry_hash = {}", flip("entry_hash")), "foreign_head", LAST)
        .await;
    found(&api, "DELETE FROM audit_chain_head", "foreign_head", LAST).await;

    if kind == DatabaseKind::Sqlite {
        // Only SQLite can store these: other spellings of the same value, and values of another type.
        for (column, value) in [
            ("event_id", "upper(event_id)"),
            ("actor_id", "replace(actor_id, '-', '')"),
            ("source", "CAST(source AS BLOB)"),
            ("hash_version", "'one'"),
        ] {
            let kind = if column == "source" || column == "hash_version" { "unreadable" } else { "changed_content" };
            found(&api, &set(column, value), kind, VICTIM).await;
        }
        for at in [
            "'2026-01-01 00:00:00.123456Z'",
            "'2026-01-01T00:00:00.123456+00:00'",
            "'2026-01-01T01:00:00.123456+01:00'",
            "'soon'",
        ] {
            found(&api, &set("occurred_at", at), "unreadable", VICTIM).await;
        }
    }
    let (code, report) = audit_verify(&api.database.url, &[]).await;
    assert_eq!((code, &report["checked"]), (0, &Value::from(LAST)));
}
