//! The incarnation of the ledger, and how far it and the registry have come.

use epr_core::domain::{Change, Incarnation, NotAskable, Revision};
use epr_core::store::{Result, StoreError, collect_into};
use rstest::rstest;
use uuid::Uuid;

use crate::support::{Backend, World, decisive_draft, draft, question, registry_draft};

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_revision_moves_with_the_registry_and_the_head_with_every_entry(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let state = async || {
        let state = world.store.registry_state().await.unwrap();
        (state.revision.sequence, state.head)
    };
    assert_eq!(state().await, (0, 0));
    for (drafts, expected) in [
        (vec![draft(None, 1)], (0, 1)),
        (vec![registry_draft(2)], (2, 2)),
        (vec![decisive_draft(3), registry_draft(4), draft(None, 5)], (4, 5)),
        (vec![registry_draft(6), decisive_draft(7)], (7, 7)),
        (vec![draft(None, 8)], (7, 8)),
    ] {
        world.store.append(&drafts).await.unwrap();
        assert_eq!(state().await, expected);
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_newest_revision_is_what_this_process_has_read_or_committed(#[case] backend: Backend) {
    let world = World::new(backend).await;
    assert_eq!(world.store.newest_revision(), None);
    let first = world.store.registry_state().await.unwrap().revision;
    assert_eq!(world.store.newest_revision(), Some(first));
    let mut tx = world.begin().await;
    tx.append(&[registry_draft(1), draft(None, 2)]).await.unwrap();
    assert_eq!(world.store.newest_revision(), Some(first), "not committed");
    tx.commit().await.unwrap();
    let committed = world.store.newest_revision().unwrap();
    assert_eq!((committed.incarnation, committed.sequence), (first.incarnation, 1));
    if !matches!(backend, Backend::Memory) {
        let other = world.database().store().await;
        other.append(&[registry_draft(3)]).await.unwrap();
        assert_eq!(world.store.newest_revision(), Some(committed));
        world.store.facts(&[question(7, 2)]).await.unwrap();
        assert_eq!(world.store.newest_revision(), other.newest_revision());
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_new_database_has_one_incarnation_and_no_two_databases_have_the_same(#[case] backend: Backend) {
    let (world, other) = (World::new(backend).await, World::new(backend).await);
    let all = world.store.incarnations().await.unwrap();
    assert_eq!(all.iter().map(|one| (one.first_sequence, one.why.as_str())).collect::<Vec<_>>(), [(1, "migration")]);
    let state = world.store.registry_state().await.unwrap();
    assert_eq!(all[0].incarnation, state.revision.incarnation);
    let other = other.store.registry_state().await.unwrap();
    assert_ne!(state.revision.incarnation, other.revision.incarnation);
    assert_eq!(state.revision.partial_cmp(&other.revision), None);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn changes_are_the_entries_of_the_registry_after_a_revision(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let read = async |after: Option<Revision>, limit| -> Result<(Vec<i64>, Revision)> {
        let mut changes: Vec<Change> = Vec::new();
        let registry = world.store.changes(after, limit, &mut collect_into(&mut changes)).await?;
        for change in &changes {
            assert_eq!(change.revision, Revision { sequence: change.entry.sequence, ..registry });
        }
        Ok((changes.iter().map(|change| change.entry.sequence).collect(), registry))
    };
    let (none, empty) = read(None, 10).await.unwrap();
    assert_eq!((none, empty.sequence), (vec![], 0));
    let drafts = [draft(None, 1), registry_draft(2), decisive_draft(3), draft(None, 4), registry_draft(5)];
    world.store.append(&[&drafts[..], &[draft(None, 6)]].concat()).await.unwrap();
    let at = |sequence| Some(Revision { sequence, ..empty });
    for (after, limit, expected) in [
        (None, 10, &[2, 3, 5][..]),
        (at(0), 2, &[2, 3]),
        (at(1), 10, &[2, 3, 5]),
        (at(2), 10, &[3, 5]),
        (at(4), 10, &[5]),
        (at(5), 10, &[]),
        (at(6), 10, &[]),
        (None, 0, &[]),
    ] {
        let (found, registry) = read(after, limit).await.unwrap();
        assert_eq!((&found[..], registry.sequence), (expected, 5), "{after:?}");
    }
    // A visitor that says `false` gets no more.
    let mut seen = 0;
    world
        .store
        .changes(None, 10, &mut |_| {
            seen += 1;
            false
        })
        .await
        .unwrap();
    assert_eq!(seen, 1);
    let refused = |outcome: Result<_>| match outcome {
        Err(StoreError::NotAskable(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(read(at(7), 10).await), NotAskable::Unreached { present: at(5).unwrap() });
    let foreign = Revision { incarnation: Incarnation(Uuid::from_u128(7)), sequence: 1 };
    assert_eq!(refused(read(Some(foreign), 10).await), NotAskable::OtherIncarnation { present: at(5).unwrap() });
}
