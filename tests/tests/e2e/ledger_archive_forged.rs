//! Archives beside a ledger that was rewritten, other keys and checkpoints, and manifests that were changed with their
//! files.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use epr_core::ArchiveOptions;
use epr_core::ledger::archive::{ArchivedFile, Manifest};
use epr_core::ledger::note::VerifierKey;
use epr_testkit::database::DatabaseKind;
use epr_testkit::ledger::draft;
use serde_json::json;

use crate::archive_world::{SEED, World, copy, files, options};

const OTHER_SEED: &str = "1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100";
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The database without the triggers that keep what was signed.
async fn without_triggers(world: &World) {
    world.api.database.remove_ledger_triggers().await;
    let sql = "DROP TRIGGER audit_tiles_no_update; DROP TRIGGER audit_tiles_no_delete; \
               DROP TRIGGER audit_checkpoints_no_delete; DROP TRIGGER audit_checkpoints_no_update";
    world.api.database.execute(sql).await.unwrap();
}

/// Replaces the ledger by one whose entry 300 is another one, with an intact chain.
async fn rewrite(world: &World, size: i64) {
    let reset = format!("DELETE FROM audit_logs; UPDATE audit_chain_head SET sequence = 0, entry_hash = '{ZEROS}'");
    world.api.database.execute(&reset).await.unwrap();
    let entry = |n: i64| {
        draft(&json!({
            "event_id": null, "source": "tests", "action": if n == 299 { "thing.forged" } else { "thing.done" },
            "actor_id": null, "actor_type": "service", "entity_id": null, "entity_type": null,
            "correlation_id": null, "occurred_at": "2026-01-01T00:00:00Z", "details": {"n": n},
        }))
    };
    world.api.database.store().await.append(&(0..size).map(entry).collect::<Vec<_>>()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewritten_ledger_is_neither_archived_nor_taken_for_the_archived_one() {
    let world = World::new(DatabaseKind::Sqlite).await;
    world.publish(768).await;
    world.archive("archive").await.unwrap();
    without_triggers(&world).await;
    rewrite(&world, 768).await;
    let found = world.finding("archive").await;
    assert!(found.contains("entries-0000000000000000257.jsonl.gz: entry 300 has the hash"), "{found}");
    let refused = world.archive("late").await.unwrap_err().to_string();
    let expected = "The entries 257 to 512 are not archived: entry 300 has another hash than its tile in the database";
    assert!(refused.starts_with(expected), "{refused}");
    assert_eq!(files(&world.place("late")).keys().filter(|path| path.ends_with("manifest.json")).count(), 1);

    // Its owner removes what was signed, signs again with the same key, and archives it elsewhere.
    world.api.database.execute("DELETE FROM audit_tiles; DELETE FROM audit_checkpoints").await.unwrap();
    let fork = world.beside(SEED).await;
    fork.publish(768).await;
    fork.archive("fork").await.unwrap();
    assert!(fork.check("fork").await.valid);
    copy(&world.place("archive"), &fork.place("archive"));
    let refused = fork.archive("archive").await.unwrap_err().to_string();
    assert!(refused.contains("its checkpoint is not one of this ledger"), "{refused}");
    // A bundle of the former ledger after those of the other one.
    copy(&fork.place("fork"), &fork.place("mixed"));
    let last = format!("{}/archive/0000000000000000513", fork.incarnation().await);
    copy(&world.place("archive").join(&last), &fork.place("mixed").join(&last));
    let found = fork.finding("mixed").await;
    assert!(found.ends_with("513/manifest.json: it does not follow the bundle before it"), "{found}");
    // The checkpoint of the former ledger is what is published.
    copy(&world.place("published"), &fork.place("published"));
    let found = fork.finding("fork").await;
    assert!(
        found.contains("checkpoint: the first 768 entries have another root than the published checkpoint"),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_of_another_key_or_time_is_refused_and_found() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let checkpoint = world.place("published").join(world.incarnation().await).join("checkpoint");
    world.publish(300).await;
    let early = fs::read(&checkpoint).unwrap();
    world.publish(700).await;
    world.archive("archive").await.unwrap();

    let other = world.beside(OTHER_SEED).await;
    for place in ["archive", "published"] {
        copy(&world.place(place), &other.place(place));
    }
    let found = other.finding("archive").await;
    assert!(found.contains("its checkpoint has no valid signature of EPR_LEDGER_KEY or of a former key"), "{found}");
    let refused = other.archive("late").await.unwrap_err().to_string();
    assert_eq!(refused, "The published checkpoint has no valid signature of EPR_LEDGER_KEY or of a former key");
    // Where the former key is known, the other one took its place.
    let keys = world.api.epr.verifier_keys().await.unwrap();
    let former: Vec<VerifierKey> = keys.iter().map(|key| key.parse().unwrap()).collect();
    let found = other.try_check("archive", None, &former).await.unwrap();
    assert!(found.valid && found.signatures == 2, "{found:?}");
    let (target, published) = (other.target("archive"), other.published());
    let options = ArchiveOptions { former_keys: &former, ..options(&target, &published) };
    assert_eq!(other.api.epr.archive_ledger(&options, &mut |_, _| {}).await.unwrap().archived_to, 512);

    // What is published covers less than what is archived, or is no checkpoint, or is not there.
    fs::write(&checkpoint, early).unwrap();
    let refused = world.archive("archive").await.unwrap_err().to_string();
    assert!(refused.contains("257/manifest.json is archived, but the published checkpoint covers"), "{refused}");
    let found = world.finding("archive").await;
    assert!(found.contains("the published checkpoint covers 300 entries, but 512 are archived"), "{found}");
    without_triggers(&world).await;
    world.api.database.execute("DELETE FROM audit_checkpoints WHERE size = 300").await.unwrap();
    let refused = world.archive("late").await.unwrap_err().to_string();
    assert_eq!(refused, "The published checkpoint of 300 entries is not one that this database has signed");
    assert!(!world.place("late").exists(), "nothing was begun");
    fs::write(&checkpoint, "nothing").unwrap();
    let found = world.finding("archive").await;
    assert!(found.contains("checkpoint is published, but is not a checkpoint"), "{found}");
    fs::remove_file(&checkpoint).unwrap();
    let found = world.finding("archive").await;
    assert!(
        found.ends_with("checkpoint: it is not published, although only published entries are archived"),
        "{found}"
    );
}

fn gzip(lines: &[&str]) -> Vec<u8> {
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    let mut child = Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    output.stdout
}

/// A change of a manifest.
type Change<'a> = &'a dyn Fn(&mut Manifest);

/// What is found, the entries, the tiles if they are others, and the change of the manifest.
type Case<'a> = (&'a str, Vec<u8>, Option<Vec<u8>>, Change<'a>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_changed_together_with_their_manifest_are_found() {
    let world = World::new(DatabaseKind::Sqlite).await;
    world.publish(700).await;
    world.archive("whole").await.unwrap();
    let folder = format!("{}/archive/0000000000000000257", world.incarnation().await);
    let name = "entries-0000000000000000257.jsonl.gz";
    let packed = world.place("whole").join(&folder).join(name);
    let output = Command::new("gzip").arg("-dc").arg(&packed).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 256);
    let hash = "1".repeat(64);
    let keep: Change<'_> = &|_| {};
    let cases: [Case<'_>; 12] = [
        ("", gzip(&lines), None, keep),
        ("entry 512 is in none of its files", gzip(&lines[..255]), None, keep),
        ("entry 258 is there in place of entry 257", gzip(&lines[1..]), None, keep),
        ("it has no entry", gzip(&[]), None, keep),
        ("its hashes differ from the entries", gzip(&lines), Some(vec![7; 8_192]), keep),
        ("another root or another last hash", gzip(&lines), None, &|manifest| manifest.entry_hash.clone_from(&hash)),
        ("its root does not lead to its checkpoint", gzip(&lines), None, &|manifest| manifest.root.clone_from(&hash)),
        ("does not lead to its checkpoint", gzip(&lines), None, &|manifest| manifest.root_before.clone_from(&hash)),
        ("it does not follow", gzip(&lines), None, &|manifest| manifest.previous_hash.clone_from(&hash)),
        ("of the ledger epr.test/other", gzip(&lines), None, &|manifest| manifest.origin = "epr.test/other".into()),
        ("is not a file of the format", gzip(&lines), None, &|manifest| manifest.format = "tar".into()),
        ("its files are not entries in their order", gzip(&lines), None, &|manifest| manifest.files.reverse()),
    ];
    for (case, (expected, entries, tiles, change)) in cases.into_iter().enumerate() {
        let place = format!("changed-{case}");
        copy(&world.place("whole"), &world.place(&place));
        let bundle = world.place(&place).join(&folder);
        let mut manifest = Manifest::read(&fs::read(bundle.join("manifest.json")).unwrap()).unwrap();
        let tiles = tiles.unwrap_or_else(|| fs::read(bundle.join("tiles")).unwrap());
        manifest.files = vec![ArchivedFile::of(name, &entries), ArchivedFile::of("tiles", &tiles)];
        change(&mut manifest);
        fs::write(bundle.join(name), entries).unwrap();
        fs::write(bundle.join("tiles"), tiles).unwrap();
        fs::write(bundle.join("manifest.json"), manifest.to_bytes()).unwrap();
        if expected.is_empty() {
            assert!(world.check(&place).await.valid, "compressed by another program");
        } else {
            let found = world.finding(&place).await;
            assert!(found.contains(expected), "{expected}: {found}");
        }
    }
}
