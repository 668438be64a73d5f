//! Archives that lost bundles, that several processes write, or whose manifests are not those of the ledger.

use std::fs;
use std::path::PathBuf;

use async_trait::async_trait;
use epr_core::ledger::archive::{Manifest, hex, read_hex};
use epr_core::ledger::checkpoint::Checkpoint;
use epr_core::ledger::merkle::{consistency_ranges, node_hash};
use epr_core::publish::ledger_target::{LedgerFolder, LedgerTarget, Put, TargetError};
use epr_core::settings::Source;
use epr_core::signing::LedgerKeys;
use epr_testkit::database::DatabaseKind;
use epr_testkit::ledger::grow;

use crate::archive_world::{SEED, World, copy, files, options};

/// The path of the manifest of a bundle below the place of the archive.
async fn manifest(world: &World, number: usize) -> PathBuf {
    PathBuf::from(world.incarnation().await).join(format!("archive/{:019}/manifest.json", number * 256 + 1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundles_that_are_missing_before_others_are_found_and_written_again() {
    let world = World::new(DatabaseKind::Sqlite).await;
    world.publish(2_600).await;
    world.archive("whole").await.unwrap();
    let whole = files(&world.place("whole"));
    for (case, missing) in [&[0][..], &[4], &[4, 5], &[1, 2, 3, 4, 5, 6, 7, 8], &[2, 7]].into_iter().enumerate() {
        let name = format!("gap-{case}");
        copy(&world.place("whole"), &world.place(&name));
        for number in missing {
            fs::remove_file(world.place(&name).join(manifest(&world, *number).await)).unwrap();
        }
        let found = world.finding(&name).await;
        let expected = format!("{}: it is missing, but entry", manifest(&world, missing[0]).await.display());
        assert!(found.starts_with(&expected), "{found}");
        let archived = world.archive(&name).await.unwrap();
        let (written, before) = (u64::try_from(missing.len()).unwrap(), 10 - u64::try_from(missing.len()).unwrap());
        assert_eq!((archived.bundles_before, archived.bundles_written, archived.archived_to), (before, written, 2_560));
        assert_eq!(files(&world.place(&name)), whole, "{missing:?}");
    }
    // With its folder, and with everything after it.
    copy(&world.place("whole"), &world.place("folder"));
    let folder = world.place("folder").join(manifest(&world, 3).await);
    fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    let (target, published) = (world.target("folder"), world.published());
    let early = epr_core::ArchiveOptions { to_sequence: Some(512), ..options(&target, &published) };
    let archived = world.api.epr.archive_ledger(&early, &mut |_, _| {}).await.unwrap();
    assert_eq!((archived.bundles_written, archived.archived_to), (0, 768), "what is archived ends before the gap");
    assert_eq!(world.archive("folder").await.unwrap().archived_to, 2_560);
    assert_eq!(files(&world.place("folder")), whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_archive_at_once_write_one_archive() {
    let world = World::new(DatabaseKind::Sqlite).await;
    world.publish(1_300).await;
    let other = world.beside(SEED).await;
    copy(&world.place("published"), &other.place("published"));
    // The other one knows a later checkpoint.
    other.publish(1_500).await;
    let (target, here, there) = (world.target("archive"), world.published(), other.published());
    let one = options(&target, &here);
    let two = options(&target, &there);
    let archive = async |world: &World, options| world.api.epr.archive_ledger(options, &mut |_, _| {}).await;
    let (one, two) = tokio::join!(archive(&world, &one), archive(&other, &two));
    assert_eq!((one.unwrap().archived_to, two.unwrap().archived_to), (1_280, 1_280));
    copy(&other.place("published"), &world.place("published"));
    let found = world.check("archive").await;
    assert!(found.valid && found.bundles == 5 && found.signatures == 5, "{found:?}");
    assert_eq!(files(&world.place("archive")).len(), 16);
}

/// The place of publication, where another process publishes more before each time that the checkpoint is read.
struct Growing<'a>(LedgerFolder, &'a World);

#[async_trait]
impl LedgerTarget for Growing<'_> {
    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, TargetError> {
        let head = self.1.api.database.number("SELECT count(*) FROM audit_logs").await;
        self.1.publish(head + 300).await;
        self.0.read(path).await
    }

    async fn read_at_most(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TargetError> {
        self.0.read_at_most(path, limit).await
    }

    async fn put_new(&self, path: &str, content: &[u8]) -> Result<Put, TargetError> {
        self.0.put_new(path, content).await
    }

    async fn replace(&self, path: &str, content: &[u8]) -> Result<(), TargetError> {
        self.0.replace(path, content).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_is_published_meanwhile_is_not_inconsistent() {
    let world = World::new(DatabaseKind::Sqlite).await;
    world.publish(300).await;
    let (target, published) = (world.target("archive"), Growing(world.published(), &world));
    let archived = world.api.epr.archive_ledger(&options(&target, &published), &mut |_, _| {}).await.unwrap();
    assert_eq!((archived.published, archived.archived_to), (600, 512));
}

/// A note of the world's key over this root.
async fn signed(origin: &str, size: u64, root: [u8; 32]) -> String {
    let aws = epr_core::Settings::from_source(&Source::of([])).unwrap().aws;
    let keys = LedgerKeys::read_ed25519(SEED, &aws).unwrap();
    keys.sign(&Checkpoint::new(origin, size, root).unwrap(), 0).await.unwrap().to_string()
}

/// Changes the manifest of a bundle in a copy of the archive.
async fn with_manifest(world: &World, name: &str, number: usize, change: impl FnOnce(&mut Manifest)) {
    copy(&world.place("archive"), &world.place(name));
    let path = world.place(name).join(manifest(world, number).await);
    let mut changed = Manifest::read(&fs::read(&path).unwrap()).unwrap();
    change(&mut changed);
    fs::write(path, changed.to_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_checkpoint_that_contradicts_the_entries_is_found_wherever_it_is() {
    let world = World::new(DatabaseKind::Sqlite).await;
    world.publish(700).await;
    world.archive("archive").await.unwrap();
    let path = world.place("archive").join(manifest(&world, 0).await);
    let origin = Manifest::read(&fs::read(path).unwrap()).unwrap().origin;
    // A checkpoint whose tree begins with the bundle, and goes on with other entries.
    for (number, size, why) in [
        (0, 300, "the first 300 entries have another root than a checkpoint over them"),
        (0, 700, "its checkpoint of 700 entries has another root than that of a bundle before it"),
        (1, 600, "a manifest has a checkpoint of 600 entries with another root than the database"),
        (1, 900, "a manifest has a checkpoint of 900 entries, but the newest of the database has 700"),
    ] {
        let name = format!("forged-{size}");
        with_manifest(&world, &name, number, |_| {}).await;
        let path = world.place(&name).join(manifest(&world, number).await);
        let root = read_hex(&Manifest::read(&fs::read(path).unwrap()).unwrap().root).unwrap();
        let last = u64::try_from((number + 1) * 256).unwrap();
        let path = vec![[7; 32]; consistency_ranges(last, size).unwrap().len()];
        let note = signed(&origin, size, path.iter().fold(root, |root, other| node_hash(&root, other))).await;
        with_manifest(&world, &name, number, |manifest| {
            (manifest.checkpoint, manifest.consistency) = (note, path.iter().map(|hash| hex(hash)).collect());
        })
        .await;
        let found = world.finding(&name).await;
        assert!(found.contains(why), "{found}");
        world.archive("archive").await.unwrap();
        let refused = world.archive(&name).await.unwrap_err().to_string();
        assert!(refused.ends_with("its checkpoint is not one of this ledger"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_is_not_of_this_ledger_is_named_by_the_next_run() {
    let world = World::new(DatabaseKind::Sqlite).await;
    world.publish(700).await;
    world.archive("archive").await.unwrap();
    grow(&world.api, 900).await;
    world.publish(900).await;
    let hash = "1".repeat(64);
    for (case, why) in
        ["the database has other roots or hashes", "the database has other roots or hashes", "no valid signature"]
            .into_iter()
            .enumerate()
    {
        let name = format!("changed-{case}");
        with_manifest(&world, &name, 1, |manifest| match case {
            0 => manifest.entry_hash.clone_from(&hash),
            1 => manifest.previous_hash.clone_from(&hash),
            _ => {
                let (text, signature) = manifest.checkpoint.split_once("\n\n").unwrap();
                let signature = signature.replacen("ledger/", "other/", 1);
                manifest.checkpoint = format!("{text}\n\n{signature}");
            }
        })
        .await;
        let refused = world.archive(&name).await.unwrap_err().to_string();
        let path = manifest(&world, 1).await;
        assert!(refused.contains(&format!("{}: ", path.display())) && refused.contains(why), "{refused}");
        assert!(!world.place(&name).join(manifest(&world, 2).await).exists(), "nothing was written after it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_without_end_is_not_read_to_its_end() {
    let world = World::new(DatabaseKind::Sqlite).await;
    world.publish(300).await;
    world.archive("archive").await.unwrap();
    let mut cases = 0;
    for path in files(&world.place("archive")).into_keys() {
        cases += 1;
        let name = format!("endless-{cases}");
        copy(&world.place("archive"), &world.place(&name));
        let file = world.place(&name).join(&path);
        // 1 TiB, of which the file system stores nothing.
        fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
        let found = world.finding(&name).await;
        assert!(found.starts_with(&path) && found.contains("it has more than"), "{found}");
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        let refused = world.try_check(&name, None, &[]).await.unwrap_err().to_string();
        assert!(refused.contains("it is not a regular file"), "{refused}");
    }
    assert_eq!(cases, 4);
}
