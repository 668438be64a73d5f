//! Verifiers that EPR's authors did not write, over ledgers made by a service: Go's x/mod/sumdb, Python, two crates.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use epr_core::clock::SystemClock;
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::draft;
use serde_json::json;
use tokio::process::Command;

use crate::foreign_crates;

const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn repository(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).to_str().unwrap().to_owned()
}

async fn python(arguments: &[&str]) -> Output {
    Command::new("python3").args(arguments).output().await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_python_and_crates_accept_what_a_service_publishes_at_every_edge() {
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let published = text("published");
    let environment = [
        ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
        ("EPR_LEDGER_KEY", SEED),
        ("EPR_LEDGER_KEY_PQ", SEED),
        ("EPR_LEDGER_PUBLISH_URL", published.as_str()),
    ];
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let api = Api::with_settings(database, Arc::new(SystemClock), &environment).await;
    let keys = api.epr.verifier_keys().await.unwrap();
    std::fs::write(text("keys"), keys.join("\n")).unwrap();
    // Compiled once.
    let program = text("verify");
    let built = Command::new("go")
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOCACHE", text("go-cache"))
        .args(["build", "-o", &program, &repository("tests/foreign/verify.go")])
        .output()
        .await
        .expect("Go");
    assert!(built.status.success(), "{}", said(&built));

    let store = api.database.store().await;
    for size in [1_i64, 255, 256, 257, 65_537] {
        let head = store.registry_state().await.unwrap().head;
        let drafts: Vec<_> = (head..size)
            .map(|n| {
                draft(&json!({
                    "event_id": null, "source": "tests", "action": "thing.done", "actor_id": null,
                    "actor_type": "service", "entity_id": null, "entity_type": null, "correlation_id": null,
                    "occurred_at": "2026-01-01T00:00:00Z", "details": {"n": n, "text": "Zo\u{eb} \u{1F600}"},
                }))
            })
            .collect();
        for some in drafts.chunks(5000) {
            store.append(some).await.unwrap();
        }
        api.epr.make_checkpoint().await.unwrap();
        let incarnation = store.registry_state().await.unwrap().revision.incarnation;
        let place = format!("{published}/{incarnation}");
        let output = Command::new(&program).args([&place, &text("keys")]).output().await.unwrap();
        assert!(output.status.success() && said(&output) == format!("{size} entries hold\n"), "{}", said(&output));

        let verified = foreign_crates::verified_size(Path::new(&place), &keys);
        assert_eq!(i64::try_from(verified), Ok(size));

        let proof = api.epr.prove_entry(size.div_euclid(2) + 1).await.unwrap().to_string();
        std::fs::write(text("proof"), &proof).unwrap();
        let script = repository("docs/verify_proof.py");
        let output = python(&[&script, &text("proof"), &text("keys")]).await;
        // Ed25519 and ML-DSA-44.
        let agrees = said(&output).starts_with("AGREES") && said(&output).contains("(2 signatures)");
        assert!(output.status.success() && agrees, "{}", said(&output));
        let index = size.div_euclid(2);
        for (from, to, reason) in [
            (format!("index {index}"), "index 9999999", "the text is that of entry"),
            ("\n\n\u{2014}".to_owned(), "\nmore\n\n\u{2014}", "a checkpoint has three lines"),
        ] {
            std::fs::write(text("proof"), proof.replacen(&from, to, 1)).unwrap();
            let output = python(&[&script, &text("proof"), &text("keys")]).await;
            assert!(said(&output).starts_with("DISAGREES") && said(&output).contains(reason), "{}", said(&output));
        }
    }
}
