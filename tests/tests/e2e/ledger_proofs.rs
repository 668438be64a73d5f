//! Checkpoints, tiles and proofs over a ledger made by a service, verified by the pure half alone.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use epr_core::CheckpointOutcome;
use epr_core::clock::SystemClock;
use epr_core::ledger::checkpoint::Checkpoint;
use epr_core::ledger::merkle::{Frontier, leaf_hash, verify_consistency};
use epr_core::ledger::note::{Note, VerifierKey};
use epr_core::ledger::proof::InclusionProof;
use epr_core::ledger::tile::{Tile, TileKind, read_entries, read_hashes};
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::draft;
use rstest::rstest;
use serde_json::json;

const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SIGNING: [(&str, &str); 3] =
    [("EPR_LEDGER_ORIGIN", "epr.test/ledger"), ("EPR_LEDGER_KEY", SEED), ("EPR_LEDGER_KEY_PQ", SEED)];

async fn service(kind: DatabaseKind) -> Api {
    Api::with_settings(Arc::new(Database::create(kind).await), Arc::new(SystemClock), &SIGNING).await
}

/// Appends entries until there are `size`.
async fn grow(api: &Api, size: i64) {
    grow_with(api, size, "thing.done").await;
}

async fn grow_with(api: &Api, size: i64, action: &str) {
    let store = api.database.store().await;
    let head = store.registry_state().await.unwrap().head;
    let drafts: Vec<_> = (head..size)
        .map(|n| {
            draft(&json!({
                "event_id": null, "source": "tests", "action": action, "actor_id": null, "actor_type": "service",
                "entity_id": null, "entity_type": null, "correlation_id": null,
                "occurred_at": "2026-01-01T00:00:00Z", "details": {"n": n},
            }))
        })
        .collect();
    for some in drafts.chunks(5000) {
        store.append(some).await.unwrap();
    }
}

async fn bytes(api: &Api, path: &str) -> (u16, Vec<u8>) {
    let request = Request::get(format!("/api/v1/ledger/{path}")).body(Body::empty()).unwrap();
    let (status, _, bytes) = api.bytes(request).await;
    (status, bytes)
}

async fn text(api: &Api, path: &str) -> String {
    let (status, bytes) = bytes(api, path).await;
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(status, 200, "{path}: {text}");
    text
}

async fn verified_checkpoint(api: &Api) -> Checkpoint {
    let note: Note = text(api, "checkpoint").await.parse().unwrap();
    let keys = text(api, "key").await;
    let keys: Vec<VerifierKey> = keys.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(keys.len(), 2);
    let [one, two] = [&keys[0], &keys[1]].map(|key| Checkpoint::verified(&note, key).unwrap().0);
    assert_eq!(one, two);
    one
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_has_the_root_the_tiles_and_the_proofs_of_its_entries(#[case] kind: DatabaseKind) {
    let api = service(kind).await;
    assert_eq!(bytes(&api, "checkpoint").await.0, 404);
    assert_eq!(api.epr.make_checkpoint().await.unwrap(), Some(CheckpointOutcome::Unchanged));
    let mut older: Option<Checkpoint> = None;
    for size in [1_u64, 2, 255, 256, 257, 512, 600] {
        grow(&api, i64::try_from(size).unwrap()).await;
        let made = api.epr.make_checkpoint().await.unwrap();
        assert_eq!(made, Some(CheckpointOutcome::Signed(i64::try_from(size).unwrap())));
        assert_eq!(api.epr.make_checkpoint().await.unwrap(), Some(CheckpointOutcome::Unchanged));
        let checkpoint = verified_checkpoint(&api).await;
        assert_eq!(checkpoint.size, size);
        assert!(checkpoint.origin().starts_with("epr.test/ledger/"));

        // From the bundles to the root.
        let mut frontier = Frontier::new();
        for tile in Tile::grown(0, size) {
            let (status, found) = bytes(&api, &tile.to_string()).await;
            assert_eq!(status, 200, "{size}: {tile}");
            match tile.kind {
                TileKind::Entries => {
                    let entries = read_entries(&found, tile.width).unwrap();
                    for data in entries {
                        frontier.push(leaf_hash(data), |_, _| {});
                    }
                }
                TileKind::Hashes { .. } => {
                    assert_eq!(read_hashes(&found, tile.width).unwrap().len(), usize::from(tile.width));
                }
            }
        }
        assert_eq!(frontier.root(), checkpoint.root, "{size}");
        // Widths of earlier sizes are served, later ones and the width of a full tile are not.
        assert_eq!(bytes(&api, "tile/entries/000.p/1").await.0, 200);
        let beyond = Tile::in_log(TileKind::Hashes { level: 0 }, 0, size + 1).unwrap();
        assert_eq!(bytes(&api, &beyond.to_string()).await.0, if size < 256 { 404 } else { 200 });
        assert_eq!(bytes(&api, "tile/0/x001/000").await.0, 404);
        assert_eq!(bytes(&api, "tile/0/0").await.0, 404);

        // Proofs of the first, the last and one in the middle; none of the next.
        for sequence in [1, size.div_ceil(2), size] {
            let proof: InclusionProof = text(&api, &format!("proof/{sequence}")).await.parse().unwrap();
            let canonical = String::from_utf8(proof.extra.clone().unwrap()).unwrap();
            let entry: serde_json::Value = serde_json::from_str(&canonical).unwrap();
            assert_eq!((&entry["sequence"], proof.index), (&json!(sequence), sequence - 1));
            let hash = digest(&SHA256, format!("{}{canonical}", entry["previous_hash"].as_str().unwrap()).as_bytes());
            let key: VerifierKey = text(&api, "key").await.lines().next().unwrap().parse().unwrap();
            assert_eq!(proof.verify(hash.as_ref(), &key).unwrap(), checkpoint);
            assert!(proof.verify(digest(&SHA256, b"another entry").as_ref(), &key).is_err());
        }
        for sequence in [0, -1, i64::try_from(size).unwrap() + 1] {
            assert_eq!(bytes(&api, &format!("proof/{sequence}")).await.0, 404);
        }

        if let Some(older) = older.replace(checkpoint.clone()) {
            let found = api.get(&format!("/api/v1/ledger/consistency?from={}", older.size)).await.expect(200);
            let hashes = found["hashes"].as_array().unwrap().iter();
            let hashes: Vec<[u8; 32]> =
                hashes.map(|hash| STANDARD.decode(hash.as_str().unwrap()).unwrap().try_into().unwrap()).collect();
            verify_consistency((older.size, &older.root), (size, &checkpoint.root), &hashes).unwrap();
        }
    }
    api.get("/api/v1/ledger/consistency?from=2&to=601").await.expect(400);
    api.get("/api/v1/ledger/consistency?from=3&to=2").await.expect(400);
    api.get("/api/v1/ledger/consistency").await.expect(400);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shorter_or_different_ledger_is_never_signed(#[case] kind: DatabaseKind) {
    let api = service(kind).await;
    let other = Api::with_settings(Arc::clone(&api.database), Arc::new(SystemClock), &SIGNING).await;
    grow(&api, 300).await;
    api.epr.make_checkpoint().await.unwrap();
    api.database.remove_ledger_triggers().await;
    let refused = async |api: &Api, why: &str| {
        let error = api.epr.make_checkpoint().await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        let ready = api.get("/readyz").await.expect(200);
        assert_eq!(ready["dependencies"]["ledger"]["status"], "inconsistent");
        let (_, _, metrics) = api.text(Request::get("/metrics").body(Body::empty()).unwrap()).await;
        assert!(metrics.contains("epr_ledger_consistent 0"), "{metrics}");
    };
    assert_eq!(other.get("/readyz").await.expect(200)["dependencies"]["ledger"]["status"], "ok");
    // The tail is cut, and the head moved back.
    api.database
        .execute(
            "CREATE TABLE cut AS SELECT * FROM audit_logs WHERE sequence > 290; \
             DELETE FROM audit_logs WHERE sequence > 290; \
             UPDATE audit_chain_head SET sequence = 290, \
             entry_hash = (SELECT l.entry_hash FROM audit_logs l WHERE l.sequence = 290)",
        )
        .await
        .unwrap();
    refused(&other, "300 entries was signed, but the ledger has only 290").await;
    // Another tail in its place.
    grow_with(&api, 310, "thing.forged").await;
    refused(&other, "no longer have the root").await;
    refused(&api, "no longer have the root").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signers_in_several_processes_sign_one_sequence_of_checkpoints() {
    let first = service(DatabaseKind::Postgres).await;
    let second = Api::with_settings(Arc::clone(&first.database), Arc::new(SystemClock), &SIGNING).await;
    for round in 1..=20 {
        grow(&first, round * 40).await;
        let made = tokio::join!(first.epr.make_checkpoint(), second.epr.make_checkpoint());
        let made = [made.0.unwrap().unwrap(), made.1.unwrap().unwrap()];
        let signed = made.iter().filter(|outcome| matches!(outcome, CheckpointOutcome::Signed(_))).count();
        assert_eq!(signed, 1, "{made:?}");
    }
    assert_eq!(first.database.number("SELECT COUNT(*) FROM audit_checkpoints").await, 20);
}
