//! The outbox.

use epr_core::domain::event::{DeliveryState, EventFilter};
use epr_core::store::{Backlog, Completion, Cursor, InsertedEvent, Lease, OutboxCursor, Page, collect_into};
use futures_util::StreamExt as _;
use rstest::rstest;

use crate::support::{Backend, World, at, event, id, page};

fn claim(token: u128, until: i64) -> Lease {
    Lease { token: id(token), until: at(until) }
}

fn outcome(position: i64, state: DeliveryState, next: i64) -> Completion {
    let last_error = (state != DeliveryState::Succeeded).then(|| "the topic is away".to_owned());
    Completion { position, state, attempts: 1, last_error, next_attempt_at: at(next) }
}

/// The ids of the events that a relay may deliver now.
async fn claimed(world: &World, claim: Lease, now: i64, limit: u32) -> Vec<u128> {
    let claimed = world.store.lease_events(claim, at(now), limit, OutboxCursor::default()).await.unwrap();
    claimed.events.iter().map(|one| one.event.id.as_u128()).collect()
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_event_comes_back_as_it_was_written_and_lists_are_newest_first_by_its_time(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let mut events: Vec<_> = (1..=3).map(|n| event(n, Some("k"))).collect();
    events[1].event.delivery_state = DeliveryState::Succeeded;
    events[2].event.source = "others".to_owned();
    world.with_events(&events).await;
    assert_eq!(world.store.event(id(1)).await.unwrap(), Some(events[0].event.clone()));
    assert_eq!(world.store.event(id(9)).await.unwrap(), None);
    let list = async |filter: EventFilter, page: Page| {
        let mut rows = Vec::new();
        world.store.events(&filter, page, &mut collect_into(&mut rows)).await.unwrap();
        rows.iter().map(|row| row.id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(list(EventFilter::default(), page(10)).await, [3, 2, 1]);
    let after = Some(Cursor { created_at: at(3), id: id(3) });
    assert_eq!(list(EventFilter::default(), Page { limit: 1, after }).await, [2]);
    let done = EventFilter { delivery_state: Some(DeliveryState::Succeeded), ..EventFilter::default() };
    assert_eq!(list(done, page(10)).await, [2]);
    let others = EventFilter { source: Some("others".to_owned()), ..EventFilter::default() };
    assert_eq!(list(others, page(10)).await, [3]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_leased_event_is_not_claimed_again_before_its_lease_expires(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_events(&[event(1, None), event(2, None)]).await;
    assert_eq!(claimed(&world, claim(71, 110), 100, 1).await.len(), 1, "the limit holds");
    assert_eq!(claimed(&world, claim(72, 110), 100, 10).await.len(), 1);
    assert!(claimed(&world, claim(73, 119), 109, 10).await.is_empty());
    assert_eq!(claimed(&world, claim(74, 120), 110, 10).await, [1, 2], "in the order in which they were written");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn of_the_events_with_one_key_only_the_first_pending_one_is_claimed(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let positions = world.with_events(&[event(1, Some("k")), event(2, Some("k")), event(3, Some("other"))]).await;
    assert_eq!(claimed(&world, claim(71, 110), 100, 10).await, [1, 3]);
    assert!(claimed(&world, claim(72, 110), 100, 10).await.is_empty(), "leased or not, the first one is first");
    let done = outcome(positions[0], DeliveryState::Succeeded, 0);
    assert!(world.store.complete_events(id(71), at(101), &[done]).await.unwrap(), "a later one is pending");
    assert_eq!(claimed(&world, claim(72, 110), 101, 10).await, [2]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_walk_visits_every_key_and_then_the_events_without_one_and_starts_again(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let keys = [Some("a"), Some("b"), None, Some("a"), None];
    let events: Vec<_> = (1..).zip(keys).map(|(n, key)| event(n, key)).collect();
    world.with_events(&events).await;
    let (mut from, mut seen, mut steps) = (OutboxCursor::default(), Vec::new(), 0);
    loop {
        let step = world.store.lease_events(claim(71, 200), at(100), 1, from).await.unwrap();
        seen.extend(step.events.iter().map(|one| one.event.id.as_u128()));
        (from, steps) = (step.next, steps + 1);
        assert!(steps < 20, "the walk does not end: {seen:?}");
        if step.ended {
            break;
        }
    }
    assert_eq!(seen, [1, 2, 3, 5], "the second event of the key waits for the first");
    assert_eq!(from, OutboxCursor::default());
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_outcome_counts_only_under_the_token_of_the_lease(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let positions = world.with_events(&[event(1, None)]).await;
    claimed(&world, claim(71, 110), 100, 10).await;
    // The lease has expired, and another relay has the event.
    assert_eq!(claimed(&world, claim(72, 200), 110, 10).await, [1]);
    let done = outcome(positions[0], DeliveryState::Succeeded, 0);
    assert!(!world.store.complete_events(id(71), at(111), std::slice::from_ref(&done)).await.unwrap());
    let seen = world.store.event(id(1)).await.unwrap().unwrap();
    assert_eq!((seen.delivery_state, seen.delivery_attempts), (DeliveryState::Pending, 0));
    world.store.complete_events(id(72), at(112), &[done]).await.unwrap();
    let seen = world.store.event(id(1)).await.unwrap().unwrap();
    assert_eq!((seen.delivery_state, seen.delivery_attempts), (DeliveryState::Succeeded, 1));
    assert!(!world.store.any_event_pending().await.unwrap());
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_event_to_retry_is_due_at_its_time_and_a_failed_one_after_it_is_requeued(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let positions = world.with_events(&[event(1, None), event(2, None)]).await;
    claimed(&world, claim(71, 110), 100, 10).await;
    let retry = outcome(positions[0], DeliveryState::Pending, 150);
    let failed = outcome(positions[1], DeliveryState::Failed, 150);
    world.store.complete_events(id(71), at(101), &[retry, failed]).await.unwrap();
    assert!(claimed(&world, claim(72, 110), 149, 10).await.is_empty());
    assert_eq!(claimed(&world, claim(73, 160), 150, 10).await, [1]);
    let seen = world.store.event(id(2)).await.unwrap().unwrap();
    assert_eq!((seen.delivery_attempts, seen.last_error.as_deref()), (1, Some("the topic is away")));
    let backlog = world.store.event_backlog().await.unwrap();
    assert_eq!(backlog, Backlog { pending: 1, failed: 1, oldest_pending: Some(at(1)) });

    assert_eq!(world.store.requeue_events(Some(id(1)), at(151), 10).await.unwrap(), 0, "it has not failed");
    assert_eq!(world.store.requeue_events(None, at(151), 10).await.unwrap(), 1);
    assert_eq!(world.store.event(id(2)).await.unwrap().unwrap().delivery_attempts, 0);
    assert!(world.store.any_event_pending().await.unwrap());
    assert_eq!(claimed(&world, claim(74, 160), 151, 10).await, [2]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn failed_events_are_requeued_in_their_order_and_no_more_than_the_limit(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let positions = world.with_events(&[event(1, None), event(2, None), event(3, None)]).await;
    claimed(&world, claim(71, 110), 100, 10).await;
    let failed: Vec<_> = positions.iter().map(|position| outcome(*position, DeliveryState::Failed, 150)).collect();
    world.store.complete_events(id(71), at(101), &failed).await.unwrap();
    assert_eq!(world.store.requeue_events(None, at(151), 2).await.unwrap(), 2);
    assert_eq!(claimed(&world, claim(72, 160), 151, 10).await, [1, 2]);
    assert_eq!(world.store.requeue_events(None, at(151), 2).await.unwrap(), 1);
    assert_eq!(world.store.requeue_events(None, at(151), 2).await.unwrap(), 0);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_empty_outbox_has_no_backlog(#[case] backend: Backend) {
    let world = World::new(backend).await;
    assert!(!world.store.any_event_pending().await.unwrap());
    let backlog = world.store.event_backlog().await.unwrap();
    assert_eq!(backlog, Backlog { pending: 0, failed: 0, oldest_pending: None });
    assert!(claimed(&world, claim(71, 110), 100, 10).await.is_empty());
}

#[tokio::test]
async fn postgres_signals_an_event_that_another_process_leaves_to_the_relays() {
    let world = World::new(Backend::Postgres).await;
    let other = world.database().store().await;
    let mut signals = other.outbox_signals();
    // A signal may be lost while the listener connects: one more event brings another one.
    let writing = async {
        for n in 1..=100_000 {
            world.with_events(&[event(n, None)]).await;
        }
    };
    tokio::select! {
        signal = signals.next() => assert_eq!(signal, Some(())),
        () = writing => panic!("no signal"),
    }
}

#[tokio::test]
async fn sqlite_has_no_signals() {
    let world = World::new(Backend::Memory).await;
    assert_eq!(world.store.outbox_signals().next().await, None);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_writer_of_an_event_has_its_lease_unless_an_earlier_one_with_the_key_is_pending(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let mut claimed_at_once = Vec::new();
    for n in [1, 2] {
        let leased = epr_core::store::OutboxEvent { lease: Some(claim(70 + n, 500)), ..event(n, Some("k")) };
        let mut tx = world.begin().await;
        let InsertedEvent::New { claimed, .. } = tx.insert_event(&leased).await.unwrap() else { panic!("a new event") };
        tx.commit().await.unwrap();
        claimed_at_once.push(claimed);
    }
    assert_eq!(claimed_at_once, [true, false]);
    assert!(claimed(&world, claim(79, 600), 499, 10).await.is_empty(), "the first one is leased to its writer");
}
