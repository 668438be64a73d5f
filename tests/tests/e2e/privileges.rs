//! A PostgreSQL role with exactly the documented privileges runs everything; without one of them, doctor names it.

use std::path::Path;

use epr_core::Epr;
use epr_core::ingest::Message;
use epr_core::settings::{Settings, Source};
use epr_core::store::grants::{TABLES, statements};
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind, postgres_server};
use epr_testkit::process::{Process, epr};
use serde_json::{Value, json};

const USER: &str = "bbbbbbbb-0000-4000-8000-000000000002";

/// A migrated database, and a role that was granted what `epr grants` prints, with the URL it connects by.
async fn granted() -> (Database, String, String) {
    let database = Database::create(DatabaseKind::Postgres).await;
    Cli::on(&database.url).ok(&["migrate"]).await;
    let name = database.url.rsplit('/').next().unwrap().to_owned();
    let role = format!("{name}_service");
    let (code, sql, err) = epr("sqlite:////nowhere/at/all.db", &["grants", "--role", &role]).await;
    assert_eq!((code, sql.clone()), (0, statements(&role, "public")), "{err}");
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'service'; {sql}")).await.unwrap();
    let server = postgres_server();
    let host = server.rsplit('@').next().unwrap().trim_start_matches("postgres://").to_owned();
    let url = format!("postgres://{role}:service@{host}/{name}");
    (database, role, url)
}

async fn dropped(database: &Database, role: &str) {
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test]
async fn every_table_is_in_the_list_and_the_page_shows_it() {
    let database = Database::create(DatabaseKind::Postgres).await;
    Cli::on(&database.url).ok(&["migrate"]).await;
    let names: Vec<_> = TABLES.iter().map(|(name, _)| format!("'{name}'")).collect();
    let others = format!(
        "SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ({})",
        names.join(", ")
    );
    assert_eq!(database.number(&others).await, 0, "a table of the migrations is not in the list of privileges");
    let known =
        format!("SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public' AND tablename IN ({})", names.join(", "));
    assert_eq!(database.number(&known).await, i64::try_from(TABLES.len()).unwrap());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/AUDIT.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(&statements("epr_service", "public")), "docs/AUDIT.md shows what `epr grants` prints");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_service_runs_with_the_listed_privileges() {
    let (database, role, url) = granted().await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &url), ("RUN_MIGRATIONS", "false")]).await;
    let client = reqwest::Client::new();
    let send = async |method: reqwest::Method, path: &str, body: Value, status: u16| -> Value {
        let request = client.request(method.clone(), format!("{base}{path}")).json(&body);
        let answer = request.send().await.unwrap();
        let seen = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        assert_eq!(seen, status, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap()
    };
    let (post, patch) = (reqwest::Method::POST, reqwest::Method::PATCH);
    let root = send(post.clone(), "/api/v1/entities", json!({"name": "A", "type": "issuer"}), 201).await;
    let below = send(post.clone(), "/api/v1/entities", json!({"name": "B", "type": "spv"}), 201).await;
    let (root, below) = (root["id"].as_str().unwrap(), below["id"].as_str().unwrap());
    send(patch.clone(), &format!("/api/v1/entities/{below}"), json!({"parent_id": root}), 200).await;
    let role_id = send(post.clone(), "/api/v1/roles", json!({"name": "Reader", "permissions": ["x:read"]}), 201).await;
    let role_id = role_id["id"].as_str().unwrap();
    send(patch.clone(), &format!("/api/v1/roles/{role_id}"), json!({"permissions": ["x:read", "y:write"]}), 200).await;
    let assignment = json!({"principal_id": USER, "role_id": role_id, "entity_id": root});
    let held = send(post.clone(), "/api/v1/assignments", assignment, 201).await;
    let question = json!({"user_id": USER, "action": "y:write", "resource_id": below});
    for _ in 0..2 {
        let answer = send(post.clone(), "/api/v1/authorize", question.clone(), 200).await;
        assert_eq!(answer, json!({"authorized": true}));
    }
    let gone = format!("/api/v1/assignments/{}", held["id"].as_str().unwrap());
    send(reqwest::Method::DELETE, &gone, json!({}), 200).await;
    assert_eq!(send(post.clone(), "/api/v1/authorize", question, 200).await, json!({"authorized": false}));
    send(post.clone(), &format!("/api/v1/entities/{below}/archive"), json!({}), 200).await;
    let event = json!({"event_type": "a.b", "source": "test", "correlation_id": "1"});
    send(post.clone(), "/api/v1/events", event.clone(), 201).await;
    send(post.clone(), "/api/v1/events", event, 201).await;
    for list in ["entities", "roles", "assignments", "events", "audit/entries"] {
        let answer = client.get(format!("{base}/api/v1/{list}")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{list}");
    }
    let ready = async || {
        let answer = client.get(format!("{base}/readyz")).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["dependencies"]["database"]["status"].clone())
    };
    assert_eq!(ready().await, (200, json!("ok")));
    database.execute(&format!("REVOKE INSERT ON audit_logs FROM {role}")).await.unwrap();
    assert_eq!(ready().await, (503, json!("missing_privileges")));
    database.execute(&format!("GRANT INSERT ON audit_logs TO {role}")).await.unwrap();
    assert_eq!(ready().await, (200, json!("ok")));
    assert_eq!(client.get(format!("{base}/metrics")).send().await.unwrap().status(), 200);
    process.terminate().await;

    // The worker, by the library: an entry, a repeat, a message that is none, again.
    let source = Source::of([("EPR_DATABASE_URL", url.as_str()), ("RUN_MIGRATIONS", "false")]);
    let service = Epr::from_settings(&Settings::from_source(&source).unwrap()).await.unwrap();
    service.start(false).await.unwrap();
    let body = json!({"source": "vault", "action": "read", "event_id": "00000000-0000-4000-8000-000000000001"});
    for text in [body.to_string(), body.to_string(), "nonsense".into(), "nonsense".into()] {
        let ingested = service.ingest(&[Message::new("00000000-0000-4000-8000-00000000000a", text)]).await;
        assert_eq!(ingested.outcomes.len(), 1);
    }
    service.close().await;
    assert_eq!(database.number("SELECT times_seen FROM audit_rejections").await, 2);

    let cli = Cli::on(&url).with("RUN_MIGRATIONS", "false");
    for arguments in [
        &["audit", "verify"][..],
        &["audit", "export"],
        &["audit", "rejections"],
        &["report", "expiring"],
        &["report", "unheld-roles"],
        &["export"],
        &["seed"],
        &["doctor"],
    ] {
        let output = cli.run(arguments).await;
        assert_eq!(output.code, 0, "{arguments:?}: {output:?}");
    }
    dropped(&database, &role).await;
}

#[tokio::test]
async fn doctor_names_what_is_missing() {
    let (database, role, url) = granted().await;
    let source = Source::of([("EPR_DATABASE_URL", url.as_str()), ("RUN_MIGRATIONS", "false")]);
    let service = Epr::from_settings(&Settings::from_source(&source).unwrap()).await.unwrap();
    assert_eq!(service.missing_privileges().await.unwrap(), Vec::<String>::new());
    for (table, privileges) in TABLES {
        for privilege in *privileges {
            database.execute(&format!("REVOKE {privilege} ON {table} FROM {role}")).await.unwrap();
            assert_eq!(service.missing_privileges().await.unwrap(), [format!("{privilege} on {table}")]);
            database.execute(&format!("GRANT {privilege} ON {table} TO {role}")).await.unwrap();
        }
    }
    service.close().await;
    database.execute(&format!("REVOKE INSERT ON audit_logs FROM {role}")).await.unwrap();
    let output = Cli::on(&url).run(&["doctor"]).await;
    assert_eq!(output.code, 1, "{output:?}");
    let shown = output.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains("ERROR: the database user lacks INSERT on audit_logs"), "{}", output.out);
    assert!(shown.contains("epr grants --role"), "{}", output.out);
    dropped(&database, &role).await;
}
