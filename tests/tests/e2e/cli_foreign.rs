//! Messages of the command when a server does not answer as an EPR API: tokens, limits, failures, other services.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use serde_json::json;

/// A server that answers every request in the same way; gives its address and the tokens that it has seen.
async fn server(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tokens = Arc::clone(&seen);
    let router = Router::new().fallback(move |request: Request| {
        let token = request.headers().get(header::AUTHORIZATION).map_or("none", |value| value.to_str().unwrap());
        tokens.lock().unwrap().push(token.to_owned());
        let answer = answer();
        async move { answer }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, seen)
}

fn body(status: StatusCode, headers: [(&'static str, &'static str); 1], text: &'static str) -> Response {
    (status, headers, text).into_response()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_becomes_a_sentence() {
    let none = [("x-nothing", "")];
    let reported = async |status: StatusCode, headers: [(&'static str, &'static str); 1], text: &'static str| {
        let (address, _) = server(move || body(status, headers, text)).await;
        let output = Cli::over(&address).run(&["roles", "list"]).await;
        assert_eq!((output.code, output.out.as_str()), (2, ""), "{output:?}");
        output.err
    };
    let message = reported(StatusCode::UNAUTHORIZED, none, r#"{"detail": "Not authenticated"}"#).await;
    assert_eq!(
        message,
        "epr: the API requires a token: write it to a file and give that with --token-file, or set EPR_API_TOKEN\n"
    );
    let message = reported(StatusCode::FORBIDDEN, none, r#"{"detail": "The token lacks roles:read"}"#).await;
    assert_eq!(message, "epr: this token does not allow that: The token lacks roles:read\n");
    let message = reported(StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "3")], r#"{"detail": "busy"}"#).await;
    assert_eq!(message, "epr: the API is unavailable (503: busy): try again in 3 s\n");
    let message = reported(StatusCode::INTERNAL_SERVER_ERROR, [("x-request-id", "r-1")], r#"{"detail": "x"}"#).await;
    assert_eq!(message, "epr: the API failed (500): the log of the service has the details under request id r-1\n");
    let message = reported(
        StatusCode::BAD_REQUEST,
        none,
        r#"{"detail": [{"loc": ["query", "limit"], "msg": "too much", "type": "x"}]}"#,
    )
    .await;
    assert_eq!(message, "epr: limit: too much\n");
    for (status, text) in [
        (StatusCode::OK, "<html>"),
        (StatusCode::OK, "{}"),
        (StatusCode::NOT_FOUND, "nothing here"),
        (StatusCode::OK, "[{}]"),
    ] {
        let message = reported(status, none, text).await;
        assert!(message.contains("answered, but not as an EPR API does: check the address"), "{message}");
    }
    let message = reported(StatusCode::BAD_REQUEST, none, "{\"detail\": \"\\u001b[2Jgone\"}").await;
    assert_eq!(message, "epr: \\u{1b}[2Jgone\n", "a stranger does not write to the terminal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_goes_to_the_service_and_nowhere_else() {
    let (elsewhere, seen_elsewhere) = server(|| body(StatusCode::OK, [("x-nothing", "")], "[]")).await;
    let target = elsewhere.clone();
    let (address, seen) =
        server(move || (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target.clone())]).into_response()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "s3cret-from-file\n").unwrap();
    let cli = Cli::over(&address);
    let from_file = cli.run(&["roles", "list", "--token-file", file.to_str().unwrap()]).await;
    let from_variable = cli.clone().with("EPR_API_TOKEN", "s3cret-from-variable").run(&["roles", "list"]).await;
    for output in [&from_file, &from_variable] {
        assert!(output.code == 2 && output.err.contains("redirects to "), "{output:?}");
        assert!(!format!("{output:?}").contains("s3cret"), "{output:?}");
    }
    assert_eq!(*seen.lock().unwrap(), ["Bearer s3cret-from-file", "Bearer s3cret-from-variable"]);
    assert!(seen_elsewhere.lock().unwrap().is_empty(), "a redirect is not followed");
    let output = cli.run(&["roles", "list", "--token-file", "/no/such/file"]).await;
    assert!(output.code == 2 && output.err.contains("the token file /no/such/file cannot be read"), "{output:?}");
    assert_eq!(cli.run(&["roles", "list", "--token", "s3cret"]).await.code, 2, "a token is no argument");
    let rejected = Cli::over(&server(|| body(StatusCode::UNAUTHORIZED, [("x-nothing", "")], "")).await.0);
    let output = rejected.with("EPR_API_TOKEN", "s3cret").run(&["roles", "list"]).await;
    assert!(output.err.contains("does not accept this token") && !output.err.contains("s3cret"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_service_with_real_tokens() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let minted = async |name: &str, more: &[&str]| {
        let arguments = [&["token", "new", "--name", name][..], more].concat();
        let made = Cli::on(&database.url).json(&arguments).await.remove(0);
        (made["token"].as_str().unwrap().to_owned(), made["entry"].clone())
    };
    let actor = "aaaaaaaa-0000-4000-8000-000000000001";
    let (writer, writer_entry) =
        minted("writer", &["--scopes", "epr:read,epr:write,epr:authorize", "--actor", actor]).await;
    let (reader, reader_entry) = minted("reader", &["--scopes", "epr:read"]).await;
    let list = json!([writer_entry, reader_entry]).to_string();
    let environment =
        [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", &list)];
    let (process, base) = Process::api(&environment).await;
    let nobody = Cli::over(&base);
    let output = nobody.run(&["roles", "list"]).await;
    assert!(output.code == 2 && output.err.contains("the API requires a token: write it to a file"), "{output:?}");
    let output = nobody.clone().with("EPR_API_TOKEN", "epr_wrong").run(&["roles", "list"]).await;
    assert!(output.code == 2 && output.err.contains("the API does not accept this token"), "{output:?}");
    let cli = nobody.clone().with("EPR_API_TOKEN", &writer);
    cli.ok(&["seed"]).await;
    assert_eq!(
        cli.ok(&["check", "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01", "document:download", "spv:Berlin One"]).await,
        "ALLOWED\n"
    );
    let sql = format!("SELECT COUNT(*) FROM audit_logs WHERE actor_id = '{actor}'");
    assert_eq!(database.number(&sql).await, 13, "the ledger names the token's actor");
    let cli = nobody.with("EPR_API_TOKEN", &reader);
    assert_eq!(cli.json(&["roles", "list"]).await.len(), 3);
    let output = cli.run(&["roles", "create", "Another"]).await;
    assert!(output.code == 2 && output.err.starts_with("epr: this token does not allow that"), "{output:?}");
    process.terminate().await;
}
