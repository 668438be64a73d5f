//! Checkpoints signed by keys in AWS KMS. The server is a stand-in of the test kit with real keys, because moto has
//! neither Ed25519 nor ML-DSA: what these tests show about KMS is that EPR's requests are those that AWS documents.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use epr_core::clock::SystemClock;
use epr_core::ledger::checkpoint::Checkpoint;
use epr_core::ledger::note::{KeyType, Note, VerifierKey};
use epr_core::settings::{Settings, Source};
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::kms::{Kms, Mood};
use epr_testkit::ledger::grow;
use epr_testkit::process::{Process, run};
use epr_testkit::wait;
use rstest::rstest;
use serde_json::Value;

/// The environment of a process whose keys are `ed25519` and `ml_dsa`. `AWS_REGION` is not that of the keys.
fn environment<'a>(kms: &'a Kms, ed25519: &'a str, ml_dsa: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut environment = vec![
        ("AWS_ENDPOINT_URL_KMS", kms.url.as_str()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
        ("EPR_LEDGER_KEY", ed25519),
    ];
    environment.extend(ml_dsa.map(|arn| ("EPR_LEDGER_KEY_PQ", arn)));
    environment
}

async fn service(kms: &Kms, ed25519: &str, ml_dsa: Option<&str>) -> Api {
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    Api::with_settings(database, Arc::new(SystemClock), &environment(kms, ed25519, ml_dsa)).await
}

async fn keys(api: &Api) -> Vec<VerifierKey> {
    api.epr.verifier_keys().await.unwrap().iter().map(|key| key.parse().unwrap()).collect()
}

async fn failure(api: &Api) -> String {
    epr_core::error::chain(&api.epr.make_checkpoint().await.unwrap_err())
}

#[rstest]
#[case::ed25519_alone(false)]
#[case::with_ml_dsa(true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_signed_by_every_key_in_kms(#[case] hybrid: bool) {
    let kms = Kms::start(1).await;
    let (ed25519, ml_dsa) = (Kms::ed25519(), Kms::ml_dsa());
    let api = service(&kms, &ed25519, hybrid.then_some(&ml_dsa)).await;
    assert_eq!(kms.take(), Vec::<String>::new(), "nothing is asked before a key is needed");
    for size in [10, 20] {
        grow(&api, size).await;
        api.epr.make_checkpoint().await.unwrap();
    }
    let expected = if hybrid {
        &["GetPublicKey ed25519", "GetPublicKey ml-dsa-44", "Sign ed25519", "Sign ml-dsa-44"][..]
    } else {
        &["GetPublicKey ed25519", "Sign ed25519"]
    };
    let asked = kms.take();
    assert_eq!(&asked[..expected.len()], expected);
    assert!(!asked[expected.len()..].iter().any(|one| one.starts_with("GetPublicKey")), "{asked:?}");

    let note: Note = api.epr.newest_checkpoint().await.unwrap().note.parse().unwrap();
    let keys = keys(&api).await;
    let kinds: Vec<_> = keys.iter().map(VerifierKey::kind).collect();
    assert_eq!(kinds, if hybrid { vec![KeyType::Ed25519, KeyType::MlDsa44] } else { vec![KeyType::Ed25519] });
    for key in &keys {
        assert_eq!(Checkpoint::verified(&note, key).unwrap().0.size, 20);
    }
    // By the command, which reads the public keys itself.
    let mut environment = environment(&kms, &ed25519, hybrid.then_some(&ml_dsa));
    environment.push(("EPR_DATABASE_URL", &api.database.url));
    let (code, out, error) = run("epr", &environment, &["audit", "verify"]).await;
    assert!(code == 0 && out.contains("2 stored checkpoints have the signatures of EPR_LEDGER_KEY"), "{out}{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_kms_leaves_the_checkpoint_unsigned_and_is_tried_again() {
    let kms = Kms::start(2).await;
    let api = service(&kms, &Kms::ed25519(), None).await;
    grow(&api, 10).await;
    let ledger = async || api.get("/readyz").await.expect(200)["dependencies"]["ledger"]["status"].clone();
    // Before the public key is known, and afterwards.
    for size in [10, 20] {
        for (mood, why) in [
            (Mood::Refuses(400, "AccessDeniedException"), "AccessDeniedException"),
            (Mood::Refuses(400, "KMSInvalidStateException"), "KMSInvalidStateException"),
            (Mood::Refuses(400, "DisabledException"), "DisabledException"),
        ] {
            kms.set(mood);
            let error = failure(&api).await;
            assert!(error.contains(why) && error.contains(&Kms::ed25519()), "{error}");
            assert_eq!(ledger().await, "failing");
        }
        // Appends go on.
        grow(&api, size + 1).await;
        kms.set(Mood::Works);
        api.epr.make_checkpoint().await.unwrap();
        assert_eq!(api.epr.newest_checkpoint().await.unwrap().size, size + 1);
        assert_eq!(ledger().await, "ok");
        grow(&api, size + 10).await;
    }
    kms.set(Mood::SignsOther);
    let error = failure(&api).await;
    assert!(error.contains("a signature that its public key does not verify"), "{error}");
    let (_, _, metrics) = api.text(Request::get("/metrics").body(Body::empty()).unwrap()).await;
    assert!(metrics.contains("epr_ledger_checkpoint_failures_total{step=\"sign\"} 7\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_kms_is_retried_within_its_deadline() {
    let kms = Kms::start(3).await;
    let api = service(&kms, &Kms::ed25519(), None).await;
    kms.set(Mood::Refuses(500, "KMSInternalException"));
    grow(&api, 10).await;
    let error = failure(&api).await;
    assert!(error.contains("KMSInternalException"), "{error}");
    assert_eq!(kms.take(), ["GetPublicKey ed25519"; 3]);
}

#[rstest]
#[case::another_kind(Kms::ml_dsa(), "its key spec is ML_DSA_44; expected ECC_NIST_EDWARDS25519 for SIGN_VERIFY")]
#[case::unknown(Kms::ed25519() + "-deleted", "NotFoundException")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_process_says_what_is_wrong_with_its_key(#[case] arn: String, #[case] why: &str) {
    let kms = Kms::start(4).await;
    let database = Database::create(DatabaseKind::Sqlite).await;
    let mut environment = environment(&kms, &arn, None);
    // The first attempt may be logged before the process listens.
    environment.extend([("EPR_DATABASE_URL", database.url.as_str()), ("EPR_LEDGER_CHECKPOINT_INTERVAL", "1")]);
    let (mut process, base) = Process::api(&environment).await;
    // At the start, while the ledger is empty.
    let line = process.wait_for_log("ledger_checkpoint_failed").await;
    assert!(line["extra"]["error"].as_str().unwrap().contains(why), "{line}");
    let ready: Value = reqwest::get(format!("{base}/readyz")).await.unwrap().json().await.unwrap();
    assert_eq!((&ready["status"], &ready["dependencies"]["ledger"]["status"]), (&"ready".into(), &"failing".into()));
    process.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_kms_delays_no_append() {
    let kms = Kms::start(5).await;
    let api = service(&kms, &Kms::ed25519(), None).await;
    kms.set(Mood::Silent);
    let signer = tokio::spawn({
        let epr = api.epr.clone();
        async move { epr.make_checkpoint().await }
    });
    wait::until("the request to KMS", async || !kms.take().is_empty()).await;
    grow(&api, 100).await;
    api.create_numbered_entity(1).await;
    assert!(!signer.is_finished(), "KMS has not answered yet");
    assert_eq!(api.database.number("SELECT sequence FROM audit_chain_head").await, 101);
    signer.abort();
}

#[test]
fn settings_that_name_no_key_of_kms_are_refused() {
    for (key, pq, why) in [
        ("arn:aws:kms:eu-central-1:123456789012:alias/ledger", None, "EPR_LEDGER_KEY is `***`: expected the ARN"),
        ("arn:aws:kms:eu-central-1:123456789012:key/1", Some("arn:aws:kms:1"), "EPR_LEDGER_KEY_PQ: expected the ARN"),
    ] {
        let variables = [("EPR_LEDGER_ORIGIN", "epr.test/ledger"), ("EPR_LEDGER_KEY", key)];
        let source = Source::of(variables.into_iter().chain(pq.map(|pq| ("EPR_LEDGER_KEY_PQ", pq))));
        let error = Settings::from_source(&source).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
