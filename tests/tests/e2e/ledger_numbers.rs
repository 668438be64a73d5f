//! Doubles in the middle between two shortest forms: hashed by the contract's rule, and entries of earlier versions,
//! which rounded them up, stay valid.

use axum::body::Body;
use axum::http::Request;
use epr_core::ledger::chain::Draft;
use epr_core::store::Appended;
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::{audit_verify, draft, event};
use epr_testkit::process::epr;
use rstest::rstest;
use serde_json::{Value, json};

use crate::adoption::older_tables;

/// A tie in each of the magnitudes that have some, in their canonical and in their former form.
#[expect(clippy::excessive_precision, reason = "the lint rounds these very ties up")]
const TIES: [(f64, &str, &str); 4] = [
    (1_767_322_800_123_456.25, "1767322800123456.2", "1767322800123456.3"),
    (562_949_953_421_313.25, "562949953421313.2", "562949953421313.3"),
    (-140_737_488_355_329.125, "-140737488355329.12", "-140737488355329.13"),
    (17.0 / 8_388_608.0, "2.0265579223632812e-06", "2.0265579223632813e-06"),
];

fn timed(n: usize) -> Draft {
    draft(&json!({
        "event_id": format!("eeeeeeee-0000-4000-8000-{n:012}"), "source": "vault", "action": "document.uploaded",
        "occurred_at": "2026-01-01T00:00:00Z", "details": {"at": TIES[n % 4].0, "also": [TIES[(n + 1) % 4].0, 0.5]},
    }))
}

fn migration(kind: DatabaseKind) -> &'static str {
    match kind {
        DatabaseKind::Postgres => include_str!("../../../migrations/postgres/0011_former_numbers.sql"),
        DatabaseKind::Sqlite => include_str!("../../../migrations/sqlite/0011_former_numbers.sql"),
    }
}

/// A ledger with `count` entries of an earlier version, after the upgrade.
async fn upgraded(api: &Api, count: usize) {
    let former: Vec<Draft> = (0..count).map(|n| timed(n).with_former_numbers().expect("a tie")).collect();
    api.database.store().await.append(&former).await.unwrap();
    api.database.execute("ALTER TABLE audit_chain_head DROP COLUMN former_numbers_up_to").await.unwrap();
    api.database.execute(migration(api.database.kind)).await.unwrap();
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_an_earlier_version_still_verify(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    upgraded(&api, 3).await;
    let url = &api.database.url;
    let (code, out, err) = epr(url, &["audit", "verify"]).await;
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "The chain holds: 3 entries, 1 to 3.\nEntries with a number in the form of earlier versions: 3. \
            Their hashes are correct; that form is accepted up to entry 3.\n"
        ),
        "{err}"
    );
    let (code, report) = audit_verify(url, &["--start-sequence", "2"]).await;
    assert_eq!((code, &report["former_numbers"]), (0, &json!({"entries": 2, "accepted_up_to": 3})));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_an_earlier_version_recorded_is_a_repeat(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    upgraded(&api, 3).await;
    let store = api.database.store().await;
    assert_eq!(store.append(&[timed(1)]).await.unwrap(), [Appended::Duplicate { sequence: 2 }]);
    let mut other = json!({"event_id": "eeeeeeee-0000-4000-8000-000000000001", "source": "vault",
        "action": "document.uploaded",
            "occurred_at": "2026-01-01T00:00:00Z"});
    other["details"] = json!({"at": TIES[1].0 + 0.125, "also": [TIES[2].0, 0.5]});
    assert_eq!(store.append(&[draft(&other)]).await.unwrap(), [Appended::Conflict { sequence: 2 }]);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_entries_have_the_contracts_form(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    upgraded(&api, 1).await;
    let store = api.database.store().await;
    for n in 1..5 {
        store.append(&[timed(n)]).await.unwrap();
    }
    for (tie, canonical, former) in TIES {
        assert_eq!(tie.to_bits(), canonical.parse::<f64>().unwrap().to_bits());
        let holding = |form: &str| {
            format!("SELECT COUNT(*) FROM audit_logs WHERE sequence > 1 AND CAST(details AS TEXT) LIKE '%:{form}%'")
        };
        assert_eq!(api.database.number(&holding(canonical)).await, 1);
        assert_eq!(api.database.number(&holding(former)).await, 0);
    }
    assert_eq!(
        audit_verify(&api.database.url, &[]).await.1["former_numbers"],
        json!({"entries": 1, "accepted_up_to": 1})
    );
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_former_form_after_the_upgrade_is_a_finding(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    upgraded(&api, 1).await;
    let (url, store) = (&api.database.url, api.database.store().await);
    store.append(&[timed(1).with_former_numbers().unwrap()]).await.unwrap();
    let (code, report) = audit_verify(url, &[]).await;
    assert_eq!((code, &report["finding"]), (1, &json!({"kind": "former_number", "sequence": 2, "up_to": 1})));
    // A process of the earlier version that still ran: the operator says so.
    assert_eq!(audit_verify(url, &["--former-numbers-to", "2"]).await.0, 0);
    // A new database accepts none.
    let fresh = Database::create(api.database.kind).await;
    fresh.store().await.append(&[timed(1).with_former_numbers().unwrap()]).await.unwrap();
    assert_eq!(audit_verify(&fresh.url, &[]).await.1["finding"]["kind"], "former_number");
}

/// An older ledger in which an entry was hashed with the former form, between others that were not.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn a_ledger_with_former_numbers_is_taken_over(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    if let Some(file) = database.file() {
        std::fs::write(file, "").unwrap();
    }
    database.execute(&older_tables(kind, true)).await.unwrap();
    let vectors: Value = serde_json::from_str(include_str!("../../vectors/audit_chain_v1.json")).unwrap();
    let mut previous = vectors["entries"][39]["entry_hash"].as_str().unwrap().to_owned();
    // Beyond the bounds of new input: integers, depth, size, and numbers whose kind jsonb loses.
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(300), "]".repeat(300));
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(1_500_000));
    let integers = r#"{"big":123456789012345678901234567890,"double":1e+22,"integer":10000000000000000000000}"#;
    let beyond = [deep.as_str(), large.as_str(), integers].map(|details| {
        Draft::recorded(event(&json!({"action": "a", "occurred_at": "2026-01-01T00:00:00Z"})), details.into())
    });
    let drafts = [timed(1), timed(2).with_former_numbers().unwrap(), timed(3)];
    for (sequence, draft) in drafts.iter().chain(&beyond).enumerate() {
        let sequence = 41 + i64::try_from(sequence).unwrap();
        let hash = draft.hash_at(sequence, &previous);
        let details = draft.details();
        let key = draft.event_id().map_or_else(|| "NULL".into(), |key| format!("'{key}'"));
        let (source, action) = (&draft.event().source, &draft.event().action);
        let sql = format!(
            "INSERT INTO audit_logs VALUES (NULL, {sequence}, '{previous}', '{hash}', 1, {key}, '{source}', \
             '{action}', NULL, 'user', \
             NULL, NULL, NULL, '{details}', '2026-01-01 00:00:00')"
        );
        database.execute(&sql).await.unwrap();
        previous = hash;
    }
    let (code, out, err) = epr(&database.url, &["migrate"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let (code, report) = audit_verify(&database.url, &[]).await;
    // 46 entries, and 5 that state the rows of the registry that no entry explains.
    assert_eq!((code, &report["checked"]), (0, &json!(51)), "{report}");
    assert_eq!(report["former_numbers"], json!({"entries": 1, "accepted_up_to": 42}));
    // Readers see the text that was hashed.
    let api = Api::on(database.into()).await;
    let entries =
        api.text(Request::get("/api/v1/audit/entries?from_sequence=44&order=asc").body(Body::empty()).unwrap()).await.2;
    assert!(entries.contains(&deep) && entries.contains(&large) && entries.contains(integers));
}
