//! Dropped entries whose archive is in a bucket of S3: every reader across the border, and errors without the bucket.

use epr_core::authn::token;
use epr_testkit::aws;
use epr_testkit::database::DatabaseKind;
use epr_testkit::process::run;
use epr_testkit::s3_front::Front;
use serde_json::json;

use crate::archive_world::SEED;
use crate::ledger_drop::archived;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_crosses_the_border_into_a_bucket_and_none_answers_with_less_without_it() {
    let (s3, bucket) = (aws::s3().await, format!("dropped-{:08x}", rand::random::<u32>()));
    s3.create_bucket().bucket(&bucket).send().await.unwrap();
    let world = archived(DatabaseKind::Sqlite).await;
    let (endpoint, place, published) = (aws::endpoint(), format!("s3://{bucket}/audit"), world.place("published"));
    let own = [
        ("EPR_DATABASE_URL", world.api.database.url.as_str()),
        ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
        ("EPR_LEDGER_KEY", SEED),
        ("EPR_LEDGER_PUBLISH_URL", published.to_str().unwrap()),
        ("EPR_LEDGER_ARCHIVE_URL", place.as_str()),
        ("EPR_LEDGER_RETENTION_DAYS", "1"),
    ];
    let environment = [&aws::environment(&endpoint)[..], &own].concat();
    for (arguments, expected) in [
        (
            &["audit", "archive", "--to", &place, "--bundle-entries", "256"][..],
            "The entries 1 to 768 are archived at s3://",
        ),
        (
            &["audit", "drop", "--yes", "--to-sequence", "600"],
            "Dropped the entries 1 to 512 from the database: 511 rows",
        ),
        (&["audit", "verify"], "The chain holds: 802 entries, 1 to 802."),
        (&["audit", "prove", "300"], "epr.test/ledger"),
    ] {
        let (code, out, error) = run("epr", &environment, arguments).await;
        assert!(code == 0 && out.contains(expected), "{arguments:?}: {out}{error}");
    }
    let list = ["audit", "list", "--oldest-first", "--from-sequence", "250", "--to-sequence", "519", "--json"];
    for (arguments, lines) in [(&list[..], 270), (&["audit", "export"], 802)] {
        let (code, out, error) = run("epr", &environment, arguments).await;
        assert_eq!((code, out.lines().count()), (0, lines), "{arguments:?}: {error}");
    }

    // A caller without the right to read the ledger causes no request to the bucket.
    let front = Front::start(&endpoint).await;
    let [reader, auditor] = [(); 2].map(|()| token::mint().unwrap());
    let tokens = [(&reader, "epr:read"), (&auditor, "epr:audit")].map(
        |(made, scope)| json!({"name": scope, "sha256": token::hex(&token::hash(made).unwrap()), "scopes": [scope]}),
    );
    let tokens = json!(tokens).to_string();
    let guarded = [("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", tokens.as_str())];
    let api = world.reader(&place, &[&aws::environment(&front.url)[..], &guarded].concat()).await;
    let paths = [
        "/api/v1/audit/entries?order=asc",
        "/api/v1/audit/entries?from_sequence=300&to_sequence=301",
        "/api/v1/ledger/proof/300",
    ];
    let ask = async |token: &str, path: &str| {
        let authorization = format!("Bearer {token}");
        api.raw(axum::http::Method::GET, path, &[("authorization", &authorization)], "").await
    };
    for path in paths {
        ask(&reader, path).await.expect(403);
    }
    assert!(front.take().is_empty(), "the archive was read before the rights");
    let answer = ask(&auditor, paths[1]).await.expect(200);
    assert_eq!((answer.as_array().unwrap().len(), front.take().len()), (2, 3), "the format, a manifest, a file");

    // The bucket is gone.
    let objects = s3.list_objects_v2().bucket(&bucket).send().await.unwrap();
    for key in objects.contents().iter().filter_map(|object| object.key()) {
        s3.delete_object().bucket(&bucket).key(key).send().await.unwrap();
    }
    s3.delete_bucket().bucket(&bucket).send().await.unwrap();
    for arguments in [&["audit", "verify"][..], &["audit", "export"], &["audit", "prove", "300"], &list] {
        let (code, _, error) = run("epr", &environment, arguments).await;
        assert!(code == 2 && error.contains("The archive of EPR_LEDGER_ARCHIVE_URL cannot be read"), "{error}");
        assert!(error.contains("NoSuchBucket"), "{error}");
    }
    let api = world.reader(&place, &aws::environment(&endpoint)).await;
    for path in paths {
        let answer = api.get(path).await.expect(503);
        assert!(answer["detail"].as_str().unwrap().contains("cannot be read"), "{path}: {answer}");
    }
    api.get("/api/v1/audit/entries?from_sequence=513").await.expect(200);
}
