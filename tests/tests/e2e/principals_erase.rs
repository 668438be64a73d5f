//! Erasure: after it, no byte of the person's fields is in any table; everything else holds.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::http::Method;
use base64::Engine as _;
use epr_core::authn::token;
use epr_core::clock::SystemClock;
use epr_core::store::collect_into;
use epr_testkit::api::{Api, id_of};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::{Process, epr};
use epr_testkit::wait;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::process::Command;

const ADA: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01";
const BEN: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a02";

/// What only the person's fields contain. Each is also looked for in its escaped and encoded forms.
const MARKERS: [&str; 6] =
    ["Zyxwvut-externäl", "Qponmlk Nämeson", "jihgfed", "cba-valüe", "nested-MÄRK", "second-Näme-9"];

/// Everything in the database, as the database's own tool writes it.
async fn dump(database: &Database) -> String {
    let output = match database.file() {
        Some(file) => Command::new("sqlite3").arg(file).arg(".dump").output().await.unwrap(),
        None => Command::new("pg_dump").arg(&database.url).output().await.unwrap(),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The forms in which a text may be stored: as it is, with the escapes of JSON, in hex, and in base64 at each of the
/// three alignments.
fn forms(marker: &str) -> Vec<String> {
    let mut json = String::new();
    for c in marker.chars() {
        match c {
            ' '..='~' => json.push(c),
            _ => write!(json, "\\u{:04x}", u32::from(c)).unwrap(),
        }
    }
    let mut forms = vec![marker.to_owned(), json.clone(), json.replace('\\', "\\\\"), hex("", marker), hex("", &json)];
    for text in [marker, &json] {
        for before in 0..3_usize {
            let padded = [vec![0; before], text.as_bytes().to_vec()].concat();
            let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(padded);
            // The first and the last characters also depend on the neighbours.
            forms.push(encoded[(before * 8).div_ceil(6)..encoded.len() - 2].to_owned());
        }
    }
    forms
}

/// The bytes of a text in hex, each after `before`.
fn hex(before: &str, text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        write!(all, "{before}{byte:02x}").unwrap();
        all
    })
}

/// The forms of the markers that are in `text`.
fn found(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let all = MARKERS.iter().flat_map(|marker| forms(marker));
    all.filter(|form| text.contains(form.as_str()) || lower.contains(&form.to_lowercase())).collect()
}

/// Ada with every personal field, set and changed, and an assignment on each of two entities and everywhere; Ben beside
/// her, with the same role.
async fn world(api: &Api) -> (String, String) {
    let spv = api.entity("S", "spv", None).await;
    let role = api.role("Reader", &[], &["document:download"]).await;
    let other = api.role("Verifier", &[], &["document:verify"]).await;
    let [external, name, key, value, nested, second] = MARKERS;
    let new = json!({
        "id": ADA, "external_id": external, "display_name": name,
        "attributes": {key: value, "list": [{"deep": nested}]},
    });
    // Under keys: their first answers are kept too.
    let keyed = [("idempotency-key", ADA)];
    api.raw(Method::POST, "/api/v1/principals", &keyed, new.to_string()).await.expect(201);
    let path = format!("/api/v1/principals/{ADA}");
    api.patch(&path, json!({"display_name": second})).await.expect(200);
    api.patch(&path, json!({"attributes": {key: second}})).await.expect(200);
    api.patch(&path, json!({"attributes": {key: value}, "status": "suspended"})).await.expect(200);
    api.patch(&path, json!({"status": "active"})).await.expect(200);
    api.post("/api/v1/principals", json!({"id": BEN, "external_id": "ben"})).await.expect(201);
    let by_name = json!({"principal_external_id": external, "role_id": role, "entity_id": spv});
    api.raw(Method::POST, "/api/v1/assignments", &keyed, by_name.to_string()).await.expect(201);
    for body in [
        json!({"principal_id": ADA, "role_id": other}),
        json!({"principal_id": ADA, "role_id": role, "principal_type": "service"}),
        json!({"principal_id": BEN, "role_id": role, "entity_id": spv}),
    ] {
        api.post("/api/v1/assignments", body).await.expect(201);
    }
    (spv, role)
}

async fn erase(api: &Api, id: &str) -> Value {
    api.post(&format!("/api/v1/principals/{id}/erase"), json!({})).await.expect(200)
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_erasure_no_byte_of_the_persons_fields_is_in_any_table(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (spv, _) = world(&api).await;
    assert!(api.authorized(ADA, "document:download", &spv).await);
    let before = found(&dump(&api.database).await);
    assert!(!before.is_empty(), "the markers are in the table of principals before, so that they can be found");

    let erased = erase(&api, ADA).await;
    assert_eq!(
        (&erased["external_id"], &erased["display_name"], &erased["attributes"], &erased["status"]),
        (&json!(null), &json!(null), &json!({}), &json!("active"))
    );
    assert!(erased["erased_at"].is_string() && erased["erased_at"] == erased["updated_at"], "{erased}");
    assert_eq!(found(&dump(&api.database).await), Vec::<String>::new());
    assert_eq!(api.database.number("SELECT COUNT(*) FROM principal_keys").await, 1, "only Ben's key is left");

    // A repeat of her registration is refused: it neither answers with her fields nor registers her again.
    let [external, name, key, value, nested, _] = MARKERS;
    let new = json!({
        "id": ADA, "external_id": external, "display_name": name,
        "attributes": {key: value, "list": [{"deep": nested}]},
    });
    let again = api.raw(Method::POST, "/api/v1/principals", &[("idempotency-key", ADA)], new.to_string()).await;
    assert!(again.expect(409)["detail"].as_str().unwrap().contains("has been erased since"));
    let hashes = "SELECT COUNT(*) FROM idempotency_keys WHERE body_sha256 IS NOT NULL";
    assert_eq!(api.database.number(hashes).await, 0, "a hash of her fields could be guessed");

    // Ada holds nothing more; others keep what they hold.
    assert!(!api.authorized(ADA, "document:download", &spv).await);
    assert!(!api.authorized(ADA, "document:verify", &spv).await);
    assert!(api.authorized(BEN, "document:download", &spv).await);
    let left = api.get(&format!("/api/v1/assignments?principal_id={ADA}")).await.expect(200);
    assert_eq!(left.as_array().unwrap().iter().map(|row| &row["principal_type"]).collect::<Vec<_>>(), ["service"]);

    // Nothing that the ledger says can be opened.
    let page = epr_core::domain::AuditPage { limit: 100, after: None, ascending: true };
    let mut entries = Vec::new();
    let all = epr_core::domain::AuditFilter::default();
    api.epr.show_audit_entries(&all, page, &mut collect_into(&mut entries)).await.unwrap();
    let sealed: Vec<_> = entries.iter().filter(|entry| entry.details.0.contains("\"sealed\"")).collect();
    assert_eq!(sealed.len(), 5, "the creation and three changes of Ada, and the creation of Ben");
    for entry in sealed {
        let opened = api.epr.unsealed(entry).await.unwrap();
        assert_eq!(opened.is_some(), entry.entity_id.unwrap().to_string() == BEN);
    }
    let ended = entries.iter().filter(|entry| entry.action == "role_assignment.delete").count();
    let erasure: Vec<_> = entries.iter().filter(|entry| entry.action == "principal.erase").collect();
    assert_eq!((ended, erasure.len()), (2, 1));
    assert!(erasure[0].details.0.contains("\"assignments_revoked\":2"), "{}", erasure[0].details.0);

    // The chain and an export verify as before.
    assert_eq!(epr(&api.database.url, &["audit", "verify"]).await.0, 0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.jsonl");
    assert_eq!(epr(&api.database.url, &["audit", "export", "--output", file.to_str().unwrap()]).await.0, 0);
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/verify_export.py");
    let output = Command::new("python3").arg(&script).arg(&file).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(found(&std::fs::read_to_string(&file).unwrap()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_vacuum_the_file_has_no_byte_of_it_either() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    world(&api).await;
    erase(&api, ADA).await;
    api.epr.close().await;
    // As docs/PRINCIPALS.md says.
    let file = api.database.file().unwrap();
    let statements = "PRAGMA wal_checkpoint(TRUNCATE); VACUUM; PRAGMA wal_checkpoint(TRUNCATE);";
    let output = Command::new("sqlite3").arg(&file).arg(statements).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    for entry in std::fs::read_dir(file.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        // Every byte as the character of its value would tear umlauts: the text is looked at as far as it is UTF-8.
        assert_eq!(found(&String::from_utf8_lossy(&bytes)), Vec::<String>::new(), "{}", path.display());
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_is_final_and_erasing_again_changes_nothing(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (spv, role) = world(&api).await;
    let erased = erase(&api, ADA).await;
    let entries = "SELECT COUNT(*) FROM audit_logs";
    let before = api.database.number(entries).await;
    assert_eq!(erase(&api, ADA).await, erased);
    assert_eq!(api.database.number(entries).await, before);

    let path = format!("/api/v1/principals/{ADA}");
    for patch in [
        json!({"display_name": "Ada"}),
        json!({"external_id": null}),
        json!({"attributes": {}}),
        json!({"status": "suspended", "attributes": {"a": 1}}),
    ] {
        let refused = api.patch(&path, patch.clone()).await.expect(409);
        assert!(refused["detail"].as_str().unwrap().contains("was erased at"), "{patch}: {refused}");
    }
    assert_eq!(api.get(&path).await.expect(200), erased);
    assert_eq!(api.patch(&path, json!({"status": "suspended"})).await.expect(200)["status"], "suspended");
    // The external id is free: the person is another principal from now on.
    let again = json!({"principal_external_id": MARKERS[0], "role_id": role, "entity_id": spv});
    let again = api.post("/api/v1/assignments", again).await.expect(201);
    assert_ne!(again["principal_id"], ADA);
    api.post("/api/v1/principals", json!({"id": ADA})).await.expect(409);
    // A principal without personal fields and without assignments can be erased too.
    let bare = id_of(&api.post("/api/v1/principals", json!({})).await.expect(201));
    assert!(erase(&api, &bare).await["erased_at"].is_string());
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_of_ten_thousand_assignments_is_one_transaction(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let role = api.role("Reader", &[], &["document:download"]).await;
    api.post("/api/v1/principals", json!({"id": ADA, "display_name": "Ada"})).await.expect(201);
    let (at, hex) = (
        "'2026-01-01T00:00:00.000000Z'",
        match kind {
            DatabaseKind::Postgres => "CAST(lpad(to_hex(i), 32, '0') AS uuid)",
            DatabaseKind::Sqlite => "printf('%08x-0000-4000-8000-000000000000', i)",
        },
    );
    let many = format!(
        "INSERT INTO entities (id, name, type, status, attributes, created_at, updated_at) \
           WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
           SELECT {hex}, 'entity ' || i, 'spv', 'active', '{{}}', {at}, {at} FROM n; \
         INSERT INTO role_assignments (id, principal_id, principal_type, role_id, entity_id, effective_at, created_at, \
           updated_at) SELECT e.id, '{ADA}', 'user', '{role}', e.id, {at}, {at}, {at} FROM entities e"
    );
    api.database.execute(&many).await.unwrap();
    let began = std::time::Instant::now();
    erase(&api, ADA).await;
    println!("{kind:?}: 10,000 assignments in {:?}", began.elapsed());
    for (what, sql) in [
        ("assignments", "SELECT 10000 - COUNT(*) FROM role_assignments"),
        ("entries", "SELECT COUNT(*) FROM audit_logs WHERE action = 'role_assignment.delete'"),
        ("types", "SELECT COUNT(*) FROM audit_logs WHERE action = 'role_assignment.delete' AND entity_type = 'spv'"),
        ("events", "SELECT COUNT(*) FROM platform_events WHERE event_type = 'role.assignment.changed'"),
    ] {
        assert_eq!(api.database.number(sql).await, 10_000, "{what}");
    }
    assert_eq!(epr(&api.database.url, &["audit", "verify"]).await.0, 0);
}

/// A statement that fails at the end of the transaction takes everything back with it.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_fails_at_its_last_step_has_changed_nothing(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (spv, _) = world(&api).await;
    let refuse = match kind {
        DatabaseKind::Postgres => {
            "CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$; \
             CREATE TRIGGER refused BEFORE INSERT ON platform_events FOR EACH ROW EXECUTE FUNCTION refused()"
        }
        DatabaseKind::Sqlite => {
            "CREATE TRIGGER refused BEFORE INSERT ON platform_events BEGIN SELECT RAISE(ABORT, 'refused'); END"
        }
    };
    api.database.execute(refuse).await.unwrap();
    let before = api.get(&format!("/api/v1/principals/{ADA}")).await.expect(200);
    let entries = api.database.number("SELECT COUNT(*) FROM audit_logs").await;
    let failed = api.post(&format!("/api/v1/principals/{ADA}/erase"), json!({})).await;
    assert_eq!(failed.status, 500, "{}", failed.body);
    assert_eq!(api.database.number("SELECT COUNT(*) FROM audit_logs").await, entries);
    assert_eq!(api.get(&format!("/api/v1/principals/{ADA}")).await.expect(200), before);
    assert_eq!(api.database.number("SELECT COUNT(*) FROM principal_keys").await, 2);
    assert!(api.authorized(ADA, "document:download", &spv).await);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_forgets_an_erased_principal(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let (api, other) = (Api::on(Arc::clone(&database)).await, Api::on(database).await);
    let (spv, _) = world(&api).await;
    for _ in 0..2 {
        assert!(other.authorized(ADA, "document:download", &spv).await, "decided, and then from its cache");
    }
    erase(&api, ADA).await;
    wait::until("the other process denies", async || !other.authorized(ADA, "document:download", &spv).await).await;
}

#[tokio::test]
async fn an_erasure_requires_both_scopes() {
    let tokens: Vec<_> = [vec!["epr:write"], vec!["epr:erase"], vec!["epr:write", "epr:erase"]]
        .into_iter()
        .map(|scopes| (token::mint().unwrap(), scopes))
        .collect();
    let list: Vec<_> = tokens
        .iter()
        .map(|(token, scopes)| {
            let name = scopes.join("+");
            json!({"name": name, "sha256": token::hex(&token::hash(token).unwrap()), "scopes": scopes})
        })
        .collect();
    let list = Value::from(list).to_string();
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let environment = [("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", list.as_str())];
    let api = Api::with_settings(database, Arc::new(SystemClock), &environment).await;
    let send = async |token: &str, path: &str, body: Value| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        api.raw(axum::http::Method::POST, path, &headers, body.to_string()).await
    };
    let [(write, _), (erase, _), (both, _)] = &tokens[..] else { panic!() };
    send(write, "/api/v1/principals", json!({"id": ADA, "display_name": "Ada"})).await.expect(201);
    let path = format!("/api/v1/principals/{ADA}/erase");
    let lacks = |scope| json!({"detail": format!("The bearer token lacks the scope {scope}")});
    assert_eq!(send(write, &path, json!({})).await.expect(403), lacks("epr:erase"));
    assert_eq!(send(erase, &path, json!({})).await.expect(403), lacks("epr:write"));
    assert_eq!(send(both, &path, json!({})).await.expect(200)["display_name"], json!(null));
}

/// Log lines at the most detailed level, with every statement, of a service that writes, refuses, lists and erases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_personal_field_is_in_a_log() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let environment =
        [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_LOG_LEVEL", "DEBUG"), ("EPR_SQL_ECHO", "true")];
    let (process, base) = Process::api(&environment).await;
    let http = reqwest::Client::new();
    let [external, name, key, value, nested, second] = MARKERS;
    let new = json!({"external_id": external, "display_name": name, "attributes": {key: value, "x": [nested]}});
    let post = async |body: &Value| {
        let answer = http.post(format!("{base}/api/v1/principals")).body(body.to_string());
        answer.header("content-type", "application/json").send().await.unwrap()
    };
    let made: Value = serde_json::from_str(&post(&new).await.text().await.unwrap()).unwrap();
    assert_eq!(post(&new).await.status(), 409);
    assert_eq!(post(&json!({"external_id": external, "id": name, second: 1})).await.status(), 400);
    let url = format!("{base}/api/v1/principals/{}", id_of(&made));
    let patch = http.patch(&url).body(json!({"display_name": second}).to_string());
    assert_eq!(patch.header("content-type", "application/json").send().await.unwrap().status(), 200);
    let encoded = hex("%", external);
    let list = http.get(format!("{base}/api/v1/principals?external_id={encoded}"));
    assert_eq!(list.send().await.unwrap().status(), 200);
    assert_eq!(http.post(format!("{url}/erase")).send().await.unwrap().status(), 200);
    let (_, lines) = process.terminate().await;
    for word in ["principal_created", "principal_updated", "principal_erased"] {
        assert!(lines.iter().any(|line| line["message"] == word), "{word}");
    }
    for line in &lines {
        let text = line.to_string();
        assert_eq!(found(&text), Vec::<String>::new(), "{text}");
        assert!(!text.contains(&encoded) && !text.contains("Zyxwvut"), "{text}");
    }
}
