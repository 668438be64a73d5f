//! Checkpoints of the ledger and the tiles of its tree.

use epr_core::domain::Incarnation;
use epr_core::store::{Cosignature, Store, StoredCheckpoint, StoredTile};
use rstest::rstest;

use crate::support::{Backend, World, at, draft};

async fn incarnation(store: &dyn Store) -> Incarnation {
    store.registry_state().await.unwrap().revision.incarnation
}

fn checkpoint(incarnation: Incarnation, size: i64) -> StoredCheckpoint {
    let root = [u8::try_from(size).unwrap(); 32];
    StoredCheckpoint { incarnation, size, root, note: format!("note {size}"), signed_at: at(size) }
}

fn tile(level: u8, number: i64) -> StoredTile {
    let fill = u8::try_from(number).unwrap() + level * 100;
    StoredTile { level, number, root: [fill; 32], hashes: vec![fill; 8192] }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_checkpoint_follows_only_the_one_that_its_signer_has_seen(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let store = &*world.store;
    let now = incarnation(store).await;
    assert_eq!(store.last_checkpoint(now).await.unwrap(), None);
    let (first, second) = (checkpoint(now, 3), checkpoint(now, 5));
    assert!(store.add_checkpoint(0, &first, &[]).await.unwrap());
    assert!(!store.add_checkpoint(0, &second, &[tile(0, 0)]).await.unwrap(), "another signer came first");
    assert_eq!(store.tile_count(now, 0).await.unwrap(), 0, "nothing was appended");
    assert!(store.add_checkpoint(3, &second, &[tile(0, 0)]).await.unwrap());
    assert_eq!(store.last_checkpoint(now).await.unwrap().as_ref(), Some(&second));
    assert_eq!(store.checkpoints(now, 0, 10).await.unwrap(), [first.clone(), second.clone()]);
    let times = [(3, first.signed_at), (5, second.signed_at)];
    assert_eq!(store.signing_times(now, 0, 10).await.unwrap(), times);
    assert_eq!(store.signing_times(now, 3, 10).await.unwrap(), times[1..]);
    assert_eq!(store.signing_times(now, 0, 1).await.unwrap(), times[..1]);
    assert_eq!(store.checkpoints(now, 3, 10).await.unwrap(), [second]);
    assert_eq!(store.checkpoints(now, 0, 1).await.unwrap(), [first]);
    assert_eq!(store.last_checkpoint(Incarnation(uuid::Uuid::nil())).await.unwrap(), None);

    assert_eq!(store.cosignatures(now, 5).await.unwrap(), []);
    let cosignature = |witness: &str, second| Cosignature {
        witness: witness.to_owned(),
        line: format!("line {second}"),
        received_at: at(second),
    };
    for (witness, second) in [("two", 1), ("one", 2), ("two", 3)] {
        store.add_cosignature(now, 5, &cosignature(witness, second)).await.unwrap();
    }
    assert_eq!(store.cosignatures(now, 5).await.unwrap(), [cosignature("one", 2), cosignature("two", 1)]);
    assert_eq!(store.cosignatures(now, 3).await.unwrap(), []);
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_signers_at_once_one_appends(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let other = world.database().store().await;
    let now = incarnation(&*world.store).await;
    for round in 0..20 {
        let (one, two) = (checkpoint(now, round * 2 + 1), checkpoint(now, round * 2 + 2));
        let previous = world.store.last_checkpoint(now).await.unwrap().map_or(0, |last| last.size);
        let outcomes =
            tokio::join!(world.store.add_checkpoint(previous, &one, &[]), other.add_checkpoint(previous, &two, &[]));
        assert_ne!(outcomes.0.unwrap(), outcomes.1.unwrap(), "round {round}");
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn tiles_are_read_by_level_and_number(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let store = &*world.store;
    let now = incarnation(store).await;
    let tiles = [tile(0, 0), tile(0, 1), tile(0, 2), tile(1, 0)];
    store.add_tiles(now, &tiles).await.unwrap();
    let other = StoredTile { root: [9; 32], ..tile(0, 1) };
    store.add_tiles(now, &[other]).await.unwrap();
    assert_eq!((store.tile_count(now, 0).await.unwrap(), store.tile_count(now, 1).await.unwrap()), (3, 1));
    assert_eq!(store.tiles(now, 0, 1, 10).await.unwrap(), tiles[1..3]);
    assert_eq!(store.tiles(now, 0, 0, 1).await.unwrap(), tiles[..1]);
    assert_eq!(store.tile_roots(now, 0, 1, 9).await.unwrap(), [[1; 32], [2; 32]]);
    assert_eq!(store.tile_roots(now, 0, 0, 1).await.unwrap(), [[0; 32]]);
    assert_eq!(store.tile_count(Incarnation(uuid::Uuid::nil()), 0).await.unwrap(), 0);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_hashes_of_entries_link_to_each_other(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.store.append(&(1..=5).map(|n| draft(None, n)).collect::<Vec<_>>()).await.unwrap();
    let all = world.store.entry_hashes(1, 9).await.unwrap();
    assert_eq!(all.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(all.windows(2).all(|pair| pair[1].previous_hash == pair[0].entry_hash));
    assert_eq!(world.store.entry_hashes(2, 3).await.unwrap(), all[1..3]);
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_database_refuses_every_other_change_of_checkpoints_and_tiles(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let now = incarnation(&*world.store).await;
    assert!(world.store.add_checkpoint(0, &checkpoint(now, 4), &[tile(0, 0)]).await.unwrap());
    let smaller = "INSERT INTO audit_checkpoints (incarnation, size, root, note, signed_at) \
                   SELECT incarnation, 3, root, note, signed_at FROM audit_checkpoints";
    for sql in [
        "UPDATE audit_checkpoints SET note = ''",
        "DELETE FROM audit_checkpoints",
        "UPDATE audit_tiles SET number = 7",
        "DELETE FROM audit_tiles",
        smaller,
        &smaller.replace("3,", "4,"),
    ] {
        let error = world.database().execute(sql).await.unwrap_err().to_string();
        assert!(error.contains("append-only") || error.contains("checkpoint of"), "{sql}: {error}");
    }
    assert_eq!(world.store.checkpoints(now, 0, 9).await.unwrap().len(), 1);
}
