//! The incarnation of the ledger, and how far it and the registry have come.

use rstest::rstest;

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
