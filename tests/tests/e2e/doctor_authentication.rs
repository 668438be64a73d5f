//! Doctor reads the files of tokens and keys, and production without authentication is reported everywhere.

use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::issuer::{SigningKey, key_set};
use epr_testkit::process::Process;
use serde_json::{Value, json};

async fn finding(cli: &Cli, what: &str) -> (String, String) {
    let output = cli.run(&["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&output.out).unwrap_or_else(|_| panic!("{output:?}"));
    let one = report["findings"].as_array().unwrap().iter().find(|finding| finding["what"] == what);
    let one = one.unwrap_or_else(|| panic!("no {what} in {report:#}"));
    assert_eq!(output.code, i32::from(report["healthy"] == json!(false)));
    (one["state"].as_str().unwrap().to_owned(), one["seen"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn doctor_opens_the_files_of_tokens_and_keys() {
    let (database, folder) = (Database::create(DatabaseKind::Sqlite).await, tempfile::tempdir().unwrap());
    Cli::on(&database.url).ok(&["migrate"]).await;
    let file = folder.path().join("tokens.json");
    let path = file.to_str().unwrap();
    let cli = Cli::on(&database.url).with("EPR_AUTH_MODE", "token").with("EPR_API_TOKENS_FILE", path);
    assert_eq!(
        finding(&cli, "tokens").await,
        ("wrong".into(), format!("{path}: it cannot be read: No such file or directory (os error 2)"))
    );
    for (text, expected) in
        [("nonsense", "not valid JSON"), ("{}", "it should be a JSON list of objects"), ("[{\"name\": \"a\"}]", "[0]")]
    {
        std::fs::write(&file, text).unwrap();
        let (state, seen) = finding(&cli, "tokens").await;
        assert!(state == "wrong" && seen.contains(expected), "{seen}");
        // Each reason once.
        assert_eq!(seen.matches(expected).count(), 1, "{seen}");
    }
    std::fs::write(&file, "[]").unwrap();
    assert_eq!(finding(&cli, "tokens").await.0, "doubtful");
    let entry = json!([{"name": "a", "sha256": "ab".repeat(32), "scopes": ["epr:read"]}]);
    std::fs::write(&file, entry.to_string()).unwrap();
    let (state, seen) = finding(&cli, "tokens").await;
    assert!(state == "fine" && seen.contains("1 token") && !seen.contains("abab"), "{seen}");

    let keys = folder.path().join("keys.json");
    let cli = Cli::on(&database.url)
        .with("EPR_AUTH_MODE", "jwt")
        .with("EPR_JWT_ISSUER", "https://issuer.test")
        .with("EPR_JWT_AUDIENCE", "epr")
        .with("EPR_JWT_JWKS_FILE", keys.to_str().unwrap());
    assert_eq!(finding(&cli, "keys").await.0, "wrong");
    std::fs::write(&keys, "{\"keys\": []}").unwrap();
    let (state, seen) = finding(&cli, "keys").await;
    assert!(state == "wrong" && seen.contains("keys.json"), "{seen}");
    std::fs::write(&keys, key_set(&[&SigningKey::ed("e")])).unwrap();
    assert_eq!(finding(&cli, "keys").await.0, "fine");
}

#[tokio::test]
async fn production_without_authentication_settings_is_reported() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    Cli::on(&database.url).ok(&["migrate"]).await;
    for (environment, mode, reported) in
        [("production", None, true), ("production", Some("none"), false), ("staging", None, false)]
    {
        let mut variables = vec![("EPR_DATABASE_URL", database.url.as_str()), ("EPR_ENVIRONMENT", environment)];
        variables.extend(mode.map(|mode| ("EPR_AUTH_MODE", mode)));
        let (process, base) = Process::api(&variables).await;
        let lines = process.log.iter().filter(|line| line["message"] == "authentication_off").count();
        assert_eq!(lines, usize::from(reported), "{variables:?}");
        let ready: Value = reqwest::get(format!("{base}/readyz")).await.unwrap().json().await.unwrap();
        assert_eq!(ready.get("authentication"), reported.then(|| json!("off")).as_ref(), "{variables:?}");
        assert_eq!(ready["status"], "ready");
        // The service reports it and serves nevertheless: older deployments continue to work.
        assert_eq!(reqwest::get(format!("{base}/api/v1/entities")).await.unwrap().status(), 200);
        process.terminate().await;
        let cli = variables.iter().fold(Cli::on(&database.url), |cli, (name, value)| cli.with(name, value));
        let (state, seen) = finding(&cli, "auth").await;
        assert_eq!(state, if reported { "wrong" } else { "unused" }, "{seen}");
    }
}
