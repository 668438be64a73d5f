//! Authentication as an operator meets it: tokens from the command, a file that changes, an issuer behind TLS, and what
//! the log says and does not say.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use epr_core::authn::{AuthenticationError, Authenticator, CredentialError};
use epr_core::clock::SystemClock;
use epr_core::settings::{Settings, Source};
use epr_testkit::certificate;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::issuer::{ISSUER, Issuer, SigningKey, claims, key_set};
use epr_testkit::process::{Process, epr, free_port, run};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// A token from the command, and its entry.
async fn token(name: &str, more: &[&str]) -> (String, Value) {
    let arguments = [&["token", "new", "--name", name][..], more].concat();
    let (code, out, _) = epr("sqlite:////nowhere/at/all.db", &arguments).await;
    assert_eq!(code, 0);
    let (token, entry) = out.trim().split_once('\n').expect("two lines");
    (token.to_owned(), serde_json::from_str(entry).expect("JSON"))
}

async fn status(base: &str, path: &str, token: &str) -> u16 {
    let client = reqwest::Client::new();
    client.get(format!("{base}{path}")).bearer_auth(token).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_token_is_accepted_until_it_is_removed_from_the_file() {
    let (reader, reader_entry) = token("reader", &["--scopes", "epr:read,epr:operate"]).await;
    let actor = "aaaaaaaa-0000-4000-8000-000000000001";
    let (writer, writer_entry) =
        token("writer", &["--scopes", "epr:write", "--actor", actor, "--expires", "2999-01-01T00:00:00Z"]).await;
    let (past, past_entry) = token("past", &["--scopes", "epr:read", "--expires", "2020-01-01T00:00:00Z"]).await;
    assert_eq!(
        (&writer_entry["actor_id"], &writer_entry["expires_at"], &writer_entry["scopes"]),
        (&json!(actor), &json!("2999-01-01T00:00:00.000000Z"), &json!(["epr:write"]))
    );
    assert!(!writer_entry.to_string().contains(&writer));

    let database = Database::create(DatabaseKind::Sqlite).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.json");
    std::fs::write(&file, json!([writer_entry, past_entry]).to_string()).unwrap();
    let (mut process, base) = Process::api(&[
        ("EPR_DATABASE_URL", &database.url),
        ("EPR_AUTH_MODE", "token"),
        ("EPR_API_TOKENS", &json!([reader_entry]).to_string()),
        ("EPR_API_TOKENS_FILE", file.to_str().unwrap()),
        ("EPR_ENVIRONMENT", "production"),
        ("EPR_LOG_LEVEL", "DEBUG"),
    ])
    .await;
    let entities = "/api/v1/entities";
    assert_eq!(reqwest::get(format!("{base}/healthz")).await.unwrap().status(), 200);
    assert_eq!(reqwest::get(format!("{base}/readyz")).await.unwrap().status(), 200);
    assert_eq!(reqwest::get(format!("{base}{entities}")).await.unwrap().status(), 401);
    assert_eq!(status(&base, entities, &reader).await, 200);
    assert_eq!(status(&base, entities, &past).await, 401);
    assert_eq!(status(&base, entities, &writer).await, 403);
    let line = process.wait_for_log("request_refused").await;
    assert_eq!(line["level"], "WARNING");
    assert_eq!((&line["extra"]["reason"], &line["extra"]["path"]), (&json!("missing"), &json!(entities)));
    let line = process.wait_for_log("request_refused").await;
    assert_eq!(line["extra"]["reason"], "expired");
    let line = process.wait_for_log("request_refused").await;
    assert_eq!((&line["extra"]["caller"], &line["extra"]["needed"]), (&json!("writer"), &json!("epr:read")));

    let made = reqwest::Client::new().post(format!("{base}{entities}")).bearer_auth(&writer);
    assert_eq!(made.json(&json!({"name": "n", "type": "spv"})).send().await.unwrap().status(), 201);
    let line = process.wait_for_log("entity_created").await;
    assert_eq!(line["extra"]["caller"], "writer", "every line says whose credential it was");

    // Rotated without a restart.
    let (next, next_entry) = token("next", &["--scopes", "epr:read"]).await;
    std::fs::write(&file, json!([next_entry]).to_string()).unwrap();
    process.wait_for_log("api_tokens_changed").await;
    assert_eq!(status(&base, entities, &next).await, 200);
    assert_eq!(status(&base, entities, &writer).await, 401);
    assert_eq!(status(&base, entities, &reader).await, 200, "what the environment holds stays");

    let (ended, log) = process.terminate().await;
    assert_eq!(ended.code(), Some(0));
    let log = Value::from(log).to_string();
    assert!(!log.contains("authentication_off"));
    for secret in [&reader, &writer, &past, &next] {
        assert!(!log.contains(&secret[4..]), "a token is in the log");
    }
    for entry in [&reader_entry, &writer_entry] {
        assert!(!log.contains(entry["sha256"].as_str().unwrap()), "a hash is in the log");
    }
}

#[tokio::test]
async fn an_unusable_file_of_tokens_changes_nothing() {
    let (token, entry) = token("only", &["--scopes", "epr:read"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.json");
    std::fs::write(&file, json!([entry]).to_string()).unwrap();
    let source = [("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS_FILE", file.to_str().unwrap())];
    let settings = Settings::from_source(&Source::of(source)).unwrap();
    let door = Authenticator::start(&settings.auth, Arc::new(SystemClock)).await.unwrap();
    let header = format!("Bearer {token}");
    for broken in ["", "[", "{}", &json!([entry, entry]).to_string(), &"x".repeat(2_000_000)] {
        std::fs::write(&file, broken).unwrap();
        door.reread().await;
        assert!(door.authenticate([header.as_bytes()]).await.is_ok(), "{broken:.20}");
    }
    std::fs::remove_file(&file).unwrap();
    door.reread().await;
    assert!(door.authenticate([header.as_bytes()]).await.is_ok());
    // An empty list is one that can be used.
    std::fs::write(&file, "[]").unwrap();
    door.reread().await;
    assert_eq!(
        door.authenticate([header.as_bytes()]).await,
        Err(AuthenticationError::Invalid(CredentialError::UnknownToken))
    );
}

#[tokio::test]
async fn an_unauthenticated_caller_is_refused_before_the_body_is_read() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (process, base) =
        Process::api(&[("EPR_DATABASE_URL", &database.url), ("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", "[]")])
            .await;
    let mut stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    let head = "POST /api/v1/entities HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 401", "and not 100: the body was not asked for");
    drop(stream);
    process.terminate().await;
}

#[tokio::test]
async fn an_incomplete_authentication_setup_does_not_start() {
    for (environment, code, expected) in [
        (&[("EPR_AUTH_MODE", "token")][..], 2, "EPR_API_TOKENS"),
        (&[("EPR_AUTH_MODE", "jwt"), ("EPR_JWT_ISSUER", "x")], 2, "EPR_JWT_AUDIENCE is not set"),
        (&[("EPR_API_TOKENS", "[]")], 2, "does not say `token`"),
        (
            &[("EPR_DATABASE_URL", "sqlite://"), ("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS_FILE", "/nowhere")],
            1,
            "EPR_API_TOKENS_FILE `/nowhere`",
        ),
    ] {
        let (ended, stdout, stderr) = run("epr-api", environment, &[]).await;
        let reported = stderr + &stdout;
        assert_eq!(ended, code, "{reported}");
        assert!(reported.contains(expected), "{reported}");
    }
}

#[tokio::test]
async fn open_access_in_production_is_logged_once_as_a_warning() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let environment = [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_ENVIRONMENT", "production")];
    let (process, base) = Process::api(&environment).await;
    let seen: Vec<_> = process.log.iter().filter(|line| line["message"] == "authentication_off").cloned().collect();
    assert_eq!((seen.len(), &seen[0]["level"]), (1, &json!("WARNING")));
    // Without authentication, any header is accepted.
    assert_eq!(status(&base, "/api/v1/entities", "whatever").await, 200);
    process.terminate().await;
}

/// A web server behind TLS that serves the files of a folder, with a self-signed certificate.
async fn tls_server(folder: &Path) -> (Child, String) {
    let port = free_port();
    certificate::self_signed(folder).await;
    let mut server = Command::new("openssl")
        .args(["s_server", "-WWW", "-cert", "cert.pem", "-key", "key.pem", "-accept", &format!("127.0.0.1:{port}")])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    while lines.next_line().await.unwrap().expect("a server that accepts") != "ACCEPT" {}
    // The server blocks when nobody reads its output.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (server, port)
}

#[tokio::test]
async fn an_issuer_behind_tls_is_trusted_by_its_certificate_only() {
    let key = SigningKey::rsa("r");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.json"), key_set(&[&key])).unwrap();
    let (server, port) = tls_server(folder.path()).await;
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (url, trusted) = (format!("https://localhost:{port}/keys.json"), folder.path().join("cert.pem"));
    let mut environment = vec![
        ("EPR_DATABASE_URL", database.url.as_str()),
        ("EPR_ENVIRONMENT", "production"),
        ("EPR_AUTH_MODE", "jwt"),
        ("EPR_JWT_ISSUER", ISSUER),
        ("EPR_JWT_AUDIENCE", "epr"),
        ("EPR_JWT_JWKS_URL", &url),
    ];
    let (mut process, base) = Process::api(&environment).await;
    let reported = process.log.iter().find(|line| line["message"] == "jwks_refresh_failed").cloned();
    let reported =
        if let Some(reported) = reported { reported } else { process.wait_for_log("jwks_refresh_failed").await };
    assert!(reported["extra"]["error"].as_str().unwrap().contains("certificate"), "{reported}");
    let now = epr_core::clock::Clock::now(&SystemClock).unix_micros() / 1_000_000;
    let token = key.sign(&claims(now, "epr:read"));
    assert_eq!(status(&base, "/api/v1/entities", &token).await, 503, "the caller cannot be authenticated");
    process.terminate().await;

    environment.push(("SSL_CERT_FILE", trusted.to_str().unwrap()));
    let (process, base) = Process::api(&environment).await;
    assert_eq!(status(&base, "/api/v1/entities", &token).await, 200);
    process.terminate().await;
    drop(server);
}

#[tokio::test]
async fn tokens_of_an_issuer_work_beside_configured_tokens() {
    let key = SigningKey::ed("e");
    let issuer = Issuer::with(&[&key]).await;
    let (own, entry) = token("own", &["--scopes", "epr:audit"]).await;
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (process, base) = Process::api(&[
        ("EPR_DATABASE_URL", &database.url),
        ("EPR_AUTH_MODE", "token,jwt"),
        ("EPR_API_TOKENS", &json!([entry]).to_string()),
        ("EPR_JWT_ISSUER", ISSUER),
        ("EPR_JWT_AUDIENCE", "epr"),
        ("EPR_JWT_JWKS_URL", &issuer.url),
    ])
    .await;
    let now = epr_core::clock::Clock::now(&SystemClock).unix_micros() / 1_000_000;
    let jwt = key.sign(&claims(now, "epr:read"));
    assert_eq!(status(&base, "/api/v1/audit/entries", &own).await, 200);
    assert_eq!(status(&base, "/api/v1/entities", &jwt).await, 200);
    assert_eq!(status(&base, "/api/v1/audit/entries", &jwt).await, 403);
    process.terminate().await;
}
