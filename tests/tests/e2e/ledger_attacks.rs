//! Attacks of the one who owns the database and recomputes hashes and head, so that the chain verifies: each is found
//! with a checkpoint that was kept elsewhere, by `epr audit verify` and, without the database, by `epr-verify`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use epr_core::clock::SystemClock;
use epr_core::ledger::chain::Draft;
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::{audit_verify, draft};
use epr_testkit::process::{epr, run};
use rstest::rstest;
use serde_json::json;

const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// The size that the kept checkpoint covers.
const SIZE: usize = 600;

fn entry(n: usize, action: &str) -> Draft {
    draft(&json!({
        "event_id": null, "source": "tests", "action": action, "actor_id": null, "actor_type": "service",
        "entity_id": null, "entity_type": null, "correlation_id": null,
        "occurred_at": "2026-01-01T00:00:00Z", "details": {"n": n},
    }))
}

fn honest() -> Vec<Draft> {
    (1..=SIZE).map(|n| entry(n, "thing.done")).collect()
}

/// A ledger whose newest checkpoint and export an auditor has kept.
struct World {
    api: Api,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(kind: DatabaseKind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let published = folder.path().join("published");
        let environment = [
            ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
            ("EPR_LEDGER_KEY", SEED),
            ("EPR_LEDGER_PUBLISH_URL", published.to_str().unwrap()),
        ];
        let api = Api::with_settings(Arc::new(Database::create(kind).await), Arc::new(SystemClock), &environment).await;
        let world = Self { api, folder };
        let store = world.api.database.store().await;
        store.append(&honest()[..300]).await.unwrap();
        world.api.epr.make_checkpoint().await.unwrap();
        store.append(&honest()[300..]).await.unwrap();
        world.api.epr.make_checkpoint().await.unwrap();
        fs::copy(world.published().join("checkpoint"), world.file("kept")).unwrap();
        fs::write(world.file("keys"), world.api.epr.verifier_keys().await.unwrap().join("\n")).unwrap();
        world.export("old.jsonl").await;
        world.api.database.remove_ledger_triggers().await;
        world.api.database.execute(world.without_triggers()).await.unwrap();
        world
    }

    fn without_triggers(&self) -> &'static str {
        match self.api.database.kind {
            DatabaseKind::Postgres => {
                "ALTER TABLE audit_tiles DISABLE TRIGGER USER; ALTER TABLE audit_checkpoints DISABLE TRIGGER USER"
            }
            DatabaseKind::Sqlite => {
                "DROP TRIGGER audit_tiles_no_update; DROP TRIGGER audit_tiles_no_delete; \
                 DROP TRIGGER audit_checkpoints_no_delete; DROP TRIGGER audit_checkpoints_no_update"
            }
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    fn published(&self) -> PathBuf {
        let mut incarnations = fs::read_dir(self.file("published")).unwrap();
        incarnations.next().unwrap().unwrap().path()
    }

    async fn export(&self, name: &str) {
        let (code, _, error) = epr(&self.api.database.url, &["audit", "export", "--output", &self.text(name)]).await;
        assert_eq!(code, 0, "{error}");
    }

    /// Replaces the ledger by another one whose chain is intact.
    async fn rewrite(&self, entries: &[Draft]) {
        self.api
            .database
            .execute(
                "DELETE FROM audit_logs; UPDATE audit_chain_head SET sequence = 0, \
                 entry_hash = '0000000000000000000000000000000000000000000000000000000000000000'",
            )
            .await
            .unwrap();
        self.api.database.store().await.append(entries).await.unwrap();
    }

    /// What `epr audit verify` finds with the kept checkpoint.
    async fn verify(&self) -> (i32, String) {
        let (code, report) = audit_verify(&self.api.database.url, &["--checkpoint", &self.text("kept")]).await;
        (code, report["finding"]["kind"].as_str().unwrap_or("nothing").to_owned())
    }

    /// Asserts that `epr audit verify` finds this with the kept checkpoint.
    async fn assert_found(&self, attack: &str, sentence: &str) {
        let arguments = ["audit", "verify", "--checkpoint", &self.text("kept")];
        let (code, out, error) = epr(&self.api.database.url, &arguments).await;
        assert!(code == 1 && out.contains(sentence), "{attack}: {out}{error}");
    }

    /// Publishes what the database has at a new place, and returns what `epr-verify` says of it with the kept
    /// checkpoint.
    async fn verify_published_again(&self, name: &str) -> (i32, String) {
        let (code, _, error) = epr(&self.api.database.url, &["audit", "publish", "--to", &self.text(name)]).await;
        assert_eq!(code, 0, "{error}");
        let place = fs::read_dir(self.file(name)).unwrap().next().unwrap().unwrap().path();
        self.epr_verify(&["published", place.to_str().unwrap(), "--checkpoint", &self.text("kept")]).await
    }

    async fn epr_verify(&self, arguments: &[&str]) -> (i32, String) {
        let (code, out, error) = run("epr-verify", &[], &[arguments, &["--key", &self.text("keys")]].concat()).await;
        (code, out + &error)
    }

    /// What `epr-verify` finds in a new export.
    async fn verify_export(&self) -> (i32, String) {
        self.export("new.jsonl").await;
        self.epr_verify(&["export", &self.text("new.jsonl"), "--checkpoint", &self.text("kept")]).await
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_was_rewritten_is_found_with_a_kept_checkpoint(#[case] kind: DatabaseKind) {
    let world = World::new(kind).await;
    assert_eq!(world.verify().await, (0, "nothing".into()));
    let (code, said) = world.verify_export().await;
    assert!(code == 0 && said.starts_with("AGREES: 600 entries"), "{said}");

    let (mut changed, mut removed, mut swapped) = (honest(), honest(), honest());
    changed[122] = entry(123, "forged");
    removed.remove(122);
    swapped.swap(122, 400);
    let from_the_middle: Vec<_> =
        honest()[..450].iter().cloned().chain((451..=SIZE + 50).map(|n| entry(n, "forged"))).collect();
    let mut longer = removed.clone();
    longer.push(entry(SIZE, "forged"));
    // An older backup, which goes on differently.
    let restored: Vec<_> =
        honest()[..300].iter().cloned().chain((301..=700).map(|n| entry(n, "after the restore"))).collect();
    let database = &world.api.database;
    let kept_tables = "CREATE TABLE tiles AS SELECT * FROM audit_tiles; \
                       CREATE TABLE checkpoints AS SELECT * FROM audit_checkpoints";
    database.execute(kept_tables).await.unwrap();
    let tail =
        |next: usize| format!("missing tail: a checkpoint covers 600 entries, but the ledger ends before entry {next}");
    let tile = |number: u32| format!("changed tile: tile {number} of level 0 differs from the entries");
    let rewritten = "rewritten: the entries up to 600 have another root than the checkpoint over them".to_owned();
    let (root, cut) = ("the first 600 entries have another root than the checkpoint over them", "the tail is missing");
    // With the sentences of `epr audit verify`, also when tiles and checkpoints are gone, and of `epr-verify`.
    for (attack, entries, expected, without_tree, said) in [
        ("one entry changed", changed, tile(0), rewritten.clone(), root),
        ("one entry removed", removed, tile(0), tail(600), cut),
        ("one removed, another appended", longer, tile(0), rewritten.clone(), root),
        ("two entries swapped", swapped, tile(0), rewritten.clone(), root),
        ("the tail cut", honest()[..590].to_vec(), tail(591), tail(591), cut),
        ("everything rewritten from the middle", from_the_middle, tile(1), rewritten.clone(), root),
        ("an old backup restored", honest()[..300].to_vec(), tail(301), tail(301), cut),
        ("an old backup restored, which has gone on", restored, tile(1), rewritten, root),
    ] {
        world.rewrite(&entries).await;
        // The chain alone says that all is well.
        let last = entries.len().to_string();
        assert_eq!(audit_verify(&world.api.database.url, &["--start-sequence", "2"]).await.0, 0, "{attack}");
        world.assert_found(attack, &expected).await;
        let (code, found) = world.verify_export().await;
        assert!(code == 1 && found.starts_with("DISAGREES at the level root: "), "{attack}: {found}");
        assert!(found.contains(said), "{attack} ({last} entries): {found}");
        // One who also removes what the database has of the tree gains nothing.
        database.execute("DELETE FROM audit_tiles; DELETE FROM audit_checkpoints").await.unwrap();
        world.assert_found(attack, &without_tree).await;
        let back = "INSERT INTO audit_tiles SELECT * FROM tiles; \
                    INSERT INTO audit_checkpoints SELECT * FROM checkpoints ORDER BY size";
        database.execute(back).await.unwrap();
        // An export that was kept, or one hash, suffices without any checkpoint.
        let (code, report) =
            audit_verify(&world.api.database.url, &["--start-sequence", "2", "--against", &world.text("old.jsonl")])
                .await;
        let kind = report["finding"]["kind"].as_str().unwrap_or("nothing");
        assert!(code == 1 && ["rewritten", "shorter_than_kept"].contains(&kind), "{attack}: {report}");
    }
    world.rewrite(&honest()).await;
    assert_eq!(world.verify().await, (0, "nothing".into()), "what was put back agrees again");
    let hash = "ab".repeat(32);
    let (code, report) =
        audit_verify(&world.api.database.url, &["--start-sequence", "2", "--expect", &format!("7:{hash}")]).await;
    assert_eq!((code, &report["finding"]["kind"]), (1, &json!("rewritten")));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_tiles_and_missing_checkpoints_are_found(#[case] kind: DatabaseKind) {
    let world = World::new(kind).await;
    let database = &world.api.database;
    let zeros = match kind {
        DatabaseKind::Postgres => "decode(repeat('00', 8192), 'hex')",
        DatabaseKind::Sqlite => "zeroblob(8192)",
    };
    database.execute("CREATE TABLE tiles AS SELECT * FROM audit_tiles").await.unwrap();
    database.execute(&format!("UPDATE audit_tiles SET hashes = {zeros} WHERE number = 1")).await.unwrap();
    world.assert_found("a tile changed", "changed tile: tile 1 of level 0 differs from the entries").await;
    let (code, said) = world.verify_published_again("with-a-changed-tile").await;
    assert!(code == 1 && said.contains("at the level tile: tile/0/001 differs from the entries"), "{said}");
    let back = "DELETE FROM audit_tiles; INSERT INTO audit_tiles SELECT * FROM tiles";
    database.execute("DELETE FROM audit_tiles WHERE number = 0").await.unwrap();
    assert_eq!(world.verify().await, (1, "missing_tile".into()));
    database.execute(back).await.unwrap();
    assert_eq!(world.verify().await, (0, "nothing".into()));

    database.execute("CREATE TABLE checkpoints AS SELECT * FROM audit_checkpoints").await.unwrap();
    database.execute("DELETE FROM audit_checkpoints WHERE size = 600").await.unwrap();
    let sentence = "missing checkpoint: one of 600 entries was kept elsewhere, but is not stored any more";
    world.assert_found("a checkpoint deleted", sentence).await;
    let (code, said) = world.verify_published_again("without-a-checkpoint").await;
    let sentence = "at the level consistency: a checkpoint of 600 entries is known, but only 300 are published: \
                    the tail is missing";
    assert!(code == 1 && said.contains(sentence), "{said}");
    // The process that signed it, and one that starts later, refuse to go on.
    let error = world.api.epr.make_checkpoint().await.unwrap_err().to_string();
    assert!(error.contains("which this process has seen, is gone"), "{error}");
    let published = world.text("published");
    let environment = [
        ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
        ("EPR_LEDGER_KEY", SEED),
        ("EPR_LEDGER_PUBLISH_URL", published.as_str()),
    ];
    let later = Api::with_settings(Arc::clone(&world.api.database), Arc::new(SystemClock), &environment).await;
    let error = later.epr.make_checkpoint().await.unwrap_err().to_string();
    assert!(error.contains("a checkpoint of 600 entries is published"), "{error}");
    database
        .execute(
            "DELETE FROM audit_checkpoints; INSERT INTO audit_checkpoints SELECT * FROM checkpoints WHERE size = 300",
        )
        .await
        .unwrap();
    database.execute("UPDATE audit_checkpoints SET note = 'nonsense'").await.unwrap();
    assert_eq!(world.verify().await, (1, "wrong_checkpoint".into()));
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_ledger_is_verified_without_the_database_and_every_change_names_its_level() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let published = world.published();
    let place = published.to_str().unwrap();
    let (kept, old) = (world.text("kept"), world.text("old.jsonl"));
    let verify = async |arguments: &[&str]| world.epr_verify(&[&["published", place], arguments].concat()).await;
    let (code, said) = verify(&["--checkpoint", &kept, "--export", &old]).await;
    assert!(code == 0 && said.starts_with("AGREES: 600 entries, tiles and root of epr.test/ledger/"), "{said}");
    let first = published.join("checkpoints/0000000000000000300");
    let both = ["consistency", first.to_str().unwrap(), &kept, "--published", place];
    let (code, said) = world.epr_verify(&both).await;
    assert!(code == 0 && said.contains("the ledger of 600 entries begins with that of 300"), "{said}");

    for (file, at, level) in [
        ("tile/entries/001", 40, "tile"),
        ("tile/entries/002.p/88", 40, "tile"),
        ("tile/0/000", 17, "tile"),
        ("tile/0/002.p/88", 17, "tile"),
        ("tile/1/000.p/2", 40, "tile"),
    ] {
        let file = published.join(file);
        flip(&file, at);
        let (code, said) = verify(&[]).await;
        assert!(code == 1 && said.contains(&format!("at the level {level}")), "{}: {said}", file.display());
        flip(&file, at);
        fs::rename(&file, file.with_extension("away")).unwrap();
        assert_eq!(verify(&[]).await.0, 1, "{} is missing", file.display());
        fs::rename(file.with_extension("away"), &file).unwrap();
    }
    // A fork that the same key has signed, with its own tiles.
    let fork = World::new(DatabaseKind::Sqlite).await;
    let incarnation = published.file_name().unwrap().to_str().unwrap();
    let own = fork.published();
    let sql = format!(
        "UPDATE registry_head SET incarnation = '{incarnation}'; \
         UPDATE ledger_incarnations SET incarnation = '{incarnation}'"
    );
    fork.api.database.execute(&sql).await.unwrap();
    let mut entries = honest();
    entries[10] = entry(11, "forged");
    fork.rewrite(&entries).await;
    fs::remove_dir_all(own).unwrap();
    let environment = [("EPR_LEDGER_ORIGIN", "epr.test/ledger"), ("EPR_LEDGER_KEY", SEED)];
    let forking = Api::with_settings(Arc::clone(&fork.api.database), Arc::new(SystemClock), &environment).await;
    forking.epr.make_checkpoint().await.unwrap();
    let (code, _, error) = epr(&fork.api.database.url, &["audit", "publish", "--to", &fork.text("published")]).await;
    assert_eq!(code, 0, "{error}");
    let forked = fork.published();
    let (code, said) = world.epr_verify(&["published", forked.to_str().unwrap()]).await;
    assert_eq!(code, 0, "alone the fork verifies: {said}");
    let (code, said) = world.epr_verify(&["published", forked.to_str().unwrap(), "--checkpoint", &kept]).await;
    let sentence = "at the level consistency: the first 600 entries have another root than the known checkpoint";
    assert!(code == 1 && said.contains(sentence), "{said}");
    let (code, out, error) = epr(&fork.api.database.url, &["audit", "verify", "--checkpoint", &kept]).await;
    let sentence = "rewritten: the entries up to 600 have another root than the checkpoint over them";
    assert!(code == 1 && out.contains(sentence), "{out}{error}");
    // Nor can the fork be published over the other one.
    let (code, _, error) = epr(&fork.api.database.url, &["audit", "publish", "--to", &world.text("published")]).await;
    assert!(code != 0 && error.contains("another root than the published checkpoint"), "{error}");
    // Another key, another signature.
    flip(&published.join("checkpoint"), 60);
    assert_ne!(verify(&[]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_file_is_verified_without_the_database() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let file = world.text("proof");
    let (code, _, error) = epr(&world.api.database.url, &["audit", "prove", "123", "--output", &file]).await;
    assert_eq!(code, 0, "{error}");
    let (code, said) = world.epr_verify(&["proof", &file]).await;
    assert!(code == 0 && said.starts_with("AGREES: entry 123 is among the 600"), "{said}");
    assert!(said.contains("\"sequence\":123,"), "{said}");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("index 122", "index 121", 1)).unwrap();
    let (code, said) = world.epr_verify(&["proof", &file]).await;
    assert!(code == 1 && said.contains("level entry"), "{said}");
    let (code, _, _) = epr(&world.api.database.url, &["audit", "prove", "601"]).await;
    assert_ne!(code, 0);
}
