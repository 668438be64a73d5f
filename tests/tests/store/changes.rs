//! The change feed.

use std::sync::{Arc, Mutex};

use epr_core::store::{FeedEvent, Store};
use epr_testkit::wait;
use rstest::rstest;
use tokio::task::JoinHandle;

use crate::support::{Backend, World, assignment, decisive_draft, id, role};

/// The events of a feed, and the task that follows it.
fn follow(store: &Arc<dyn Store>) -> (Arc<Mutex<Vec<FeedEvent>>>, JoinHandle<()>) {
    let events: Arc<Mutex<Vec<FeedEvent>>> = Arc::default();
    let (store, seen) = (Arc::clone(store), Arc::clone(&events));
    let report = move |event| seen.lock().unwrap().push(event);
    (events, tokio::spawn(async move { store.follow_changes(&report).await }))
}

async fn until_some(what: &str, events: &Mutex<Vec<FeedEvent>>, is: impl Fn(&FeedEvent) -> bool) {
    wait::until(what, async || events.lock().unwrap().iter().any(&is)).await;
}

#[tokio::test]
async fn a_database_in_memory_has_no_other_process_and_its_feed_ends() {
    let world = World::new(Backend::Memory).await;
    let (events, following) = follow(&world.store);
    following.await.unwrap();
    assert_eq!(*events.lock().unwrap(), [FeedEvent::SingleProcess]);
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_another_process_is_reported_after_the_feed_is_connected(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_roles(&[role(1, &["thing:read"])]).await;
    let other = world.database().store().await;
    let (events, following) = follow(&other);
    until_some("connected", &events, |event| matches!(event, FeedEvent::Connected { .. })).await;
    world.with_assignments(&[assignment(11, 7, 1, None)]).await;
    until_some(
        "changed",
        &events,
        |event| matches!(event, FeedEvent::Changed(invalidation) if invalidation.principal == Some(id(7))),
    )
    .await;
    until_some("a heartbeat", &events, |event| matches!(event, FeedEvent::Heartbeat(_))).await;
    assert!(!events.lock().unwrap().contains(&FeedEvent::Disconnected));
    following.abort();
}

/// INVARIANT: a revision is reported after every invalidation up to it.
#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revision_is_reported_after_the_changes_up_to_it(#[case] backend: Backend) {
    const WRITERS: u128 = 3;
    const CHANGES: u128 = 25;
    let world = World::new(backend).await;
    world.with_roles(&[role(1, &["thing:read"])]).await;
    let (events, following) = follow(&world.database().store().await);
    until_some("connected", &events, |event| matches!(event, FeedEvent::Reached(_))).await;
    // The principal of each change, by its sequence.
    let made: Arc<Mutex<Vec<(i64, u128)>>> = Arc::default();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (store, made) = (world.database().store().await, Arc::clone(&made));
        writers.spawn(async move {
            for n in 0..CHANGES {
                let principal = 1_000 + writer * CHANGES + n;
                let mut tx = store.begin().await.unwrap();
                tx.insert_assignment(&assignment(principal, principal, 1, None)).await.unwrap();
                tx.invalidations().await.unwrap();
                tx.append(&[decisive_draft(1)]).await.unwrap();
                let revision = tx.revision().await.unwrap();
                made.lock().unwrap().push((revision.sequence, principal));
                tx.commit().await.unwrap();
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let newest = world.store.registry_state().await.unwrap().revision;
    until_some("the newest revision", &events, |event| *event == FeedEvent::Reached(newest)).await;
    following.abort();
    let (events, made) = (events.lock().unwrap(), made.lock().unwrap());
    for (sequence, principal) in made.iter() {
        let reached = |event: &FeedEvent| matches!(event, FeedEvent::Reached(to) if to.sequence >= *sequence);
        let changed = |event: &FeedEvent| match event {
            FeedEvent::Changed(invalidation) => invalidation.principal.is_none_or(|one| one == id(*principal)),
            _ => false,
        };
        let (reached, changed) = (events.iter().position(reached).unwrap(), events.iter().position(changed).unwrap());
        assert!(changed < reached, "principal {principal}, entry {sequence}");
    }
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidation_is_pending_until_it_is_marked_as_applied(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_roles(&[role(1, &["thing:read"])]).await;
    let mut tx = world.begin().await;
    tx.insert_assignment(&assignment(11, 7, 1, None)).await.unwrap();
    let [invalidation] = tx.invalidations().await.unwrap()[..] else { panic!("one invalidation") };
    tx.commit().await.unwrap();
    let pending = async || {
        let (events, following) = follow(&world.store);
        until_some("connected", &events, |event| matches!(event, FeedEvent::Connected { .. })).await;
        following.abort();
        let events = events.lock().unwrap();
        let FeedEvent::Connected { pending, .. } = &events[0] else { panic!("{events:?}") };
        pending.clone()
    };
    assert!(pending().await.contains(&invalidation));
    world.store.mark_applied(&[]).await.unwrap();
    assert!(pending().await.contains(&invalidation));
    world.store.mark_applied(&[invalidation.id]).await.unwrap();
    assert!(!pending().await.contains(&invalidation));
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn invalidations_older_than_any_cache_entry_are_purged(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_roles(&[role(1, &["thing:read"])]).await;
    world.with_assignments(&[assignment(11, 7, 1, None), assignment(12, 8, 1, None)]).await;
    assert_eq!(world.store.purge_invalidations().await.unwrap(), 0, "none is old");
    let age = match backend {
        Backend::Postgres => "written_at - interval '26 hours'",
        _ => "written_at - 26 * 3600",
    };
    let aged = format!("UPDATE cache_renewals SET written_at = {age} WHERE principal_id IS NOT NULL");
    world.database().execute(&aged).await.unwrap();
    let old = world.database().number("SELECT COUNT(*) FROM cache_renewals WHERE principal_id IS NOT NULL").await;
    assert!(old > 0);
    assert_eq!(world.store.purge_invalidations().await.unwrap(), u64::try_from(old).unwrap());
}
