//! Idempotency keys: taken once, kept with the change, blanked by an erasure, removed after a day.

use std::time::Duration;

use epr_core::domain::event::Duplicate;
use epr_core::domain::idempotency::{KEPT_SECONDS, KeyState};
use epr_core::domain::{KeptAnswer, KeyedCreation, KeyedRequest};
use rstest::rstest;

use crate::support::{Backend, World, at, entity, id};

fn request(key: &str, body: u8) -> KeyedRequest {
    KeyedRequest { caller: id(1), creation: KeyedCreation::Entity, key: key.parse().unwrap(), body_sha256: [body; 32] }
}

fn answer(principal: Option<(&str, u128)>) -> KeptAnswer {
    let principal = principal.map(|(kind, n)| (kind.parse().unwrap(), id(n)));
    KeptAnswer { body: "{\"id\":\"ä\"}".into(), duplicate: Some(Duplicate::Different), principal }
}

impl World {
    async fn take_and_keep(&self, request: &KeyedRequest, second: i64, answer: &KeptAnswer) {
        let mut tx = self.begin().await;
        assert_eq!(tx.take_key(request, at(second)).await.unwrap(), KeyState::Free);
        tx.keep_answer(request, answer).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn state(&self, request: &KeyedRequest, second: i64) -> KeyState {
        let state = self.store.key_state(request, at(second)).await.unwrap();
        let mut tx = self.begin().await;
        assert_eq!(tx.take_key(request, at(second)).await.unwrap(), state, "both look-ups say the same");
        state
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_key_is_answered_for_the_same_caller_creation_and_body_only(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let (first, kept) = (request("k", 7), answer(Some(("service", 9))));
    assert_eq!(world.state(&first, 0).await, KeyState::Free);
    world.take_and_keep(&first, 0, &kept).await;
    assert_eq!(world.state(&first, 5).await, KeyState::Answered(kept));
    assert_eq!(world.state(&request("k", 8), 5).await, KeyState::OtherBody);
    assert_eq!(world.state(&request("K", 7), 5).await, KeyState::Free, "keys are case-sensitive");
    let other_caller = KeyedRequest { caller: id(2), ..first.clone() };
    let other_creation = KeyedRequest { creation: KeyedCreation::Role, ..first };
    assert_eq!(world.state(&other_caller, 5).await, KeyState::Free);
    assert_eq!(world.state(&other_creation, 5).await, KeyState::Free);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_key_is_free_again_after_a_day_and_old_rows_are_removed_by_later_creations(#[case] backend: Backend) {
    let world = World::new(backend).await;
    for n in 0..25 {
        world.take_and_keep(&request(&format!("old {n}").replace(' ', "-"), 1), n, &answer(None)).await;
    }
    let (first, day) = (request("old-0", 1), KEPT_SECONDS);
    assert!(matches!(world.state(&first, day).await, KeyState::Answered(_)), "to the second");
    assert_eq!(world.state(&first, day + 1).await, KeyState::Free, "whether its row is there or not");
    // The same key again, with another body, takes over the row.
    world.take_and_keep(&request("old-0", 2), day + 100, &answer(None)).await;
    assert!(matches!(world.state(&request("old-0", 2), day + 100).await, KeyState::Answered(_)));
    assert_eq!(world.state(&first, day + 100).await, KeyState::OtherBody);
    if backend != Backend::Memory {
        let rows = "SELECT COUNT(*) FROM idempotency_keys";
        let mut left = vec![world.database().number(rows).await];
        for n in 0..2 {
            world.take_and_keep(&request(&format!("new-{n}"), 1), day + 100, &answer(None)).await;
            left.push(world.database().number(rows).await);
        }
        assert_eq!(left, [15, 6, 3], "each creation adds one and removes ten, until only new ones are left");
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_oldest_answers_that_are_no_longer_kept_are_removed(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let kept = |n: i64| request(&format!("k-{n}"), 1);
    for n in 0..25 {
        world.take_and_keep(&kept(n), n, &answer(None)).await;
    }
    // The first twenty are older than a day.
    let now = KEPT_SECONDS + 20;
    for (most, removed) in [(15, 15), (15, 5), (15, 0)] {
        assert_eq!(world.store.remove_outdated_answers(at(now), most).await.unwrap(), removed);
    }
    for n in 20..25 {
        assert!(matches!(world.state(&kept(n), n).await, KeyState::Answered(_)), "{n}");
    }
    assert_eq!(world.state(&kept(19), 19).await, KeyState::Free, "its row is gone");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_key_is_kept_with_its_change_or_not_at_all(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let first = request("k", 1);
    let mut tx = world.begin().await;
    assert_eq!(tx.take_key(&first, at(0)).await.unwrap(), KeyState::Free);
    assert!(tx.insert_entity(&entity(1, None)).await.unwrap());
    tx.keep_answer(&first, &answer(None)).await.unwrap();
    drop(tx);
    assert_eq!(world.state(&first, 0).await, KeyState::Free);
    assert_eq!(world.store.entity(id(1)).await.unwrap(), None);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_erasure_blanks_the_answers_about_the_principal(#[case] backend: Backend) {
    let world = World::new(backend).await;
    for (key, about) in [("a", Some(("user", 7))), ("b", Some(("service", 7))), ("c", None)] {
        world.take_and_keep(&request(key, 1), 0, &answer(about)).await;
    }
    let mut tx = world.begin().await;
    tx.erase_answers(("user", id(7))).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.state(&request("a", 1), 1).await, KeyState::Erased);
    assert_eq!(world.state(&request("a", 2), 1).await, KeyState::Erased);
    for key in ["b", "c"] {
        assert!(matches!(world.state(&request(key, 1), 1).await, KeyState::Answered(_)), "{key}");
    }
    if backend != Backend::Memory {
        let left = "SELECT COUNT(*) FROM idempotency_keys WHERE answer IS NOT NULL OR body_sha256 IS NOT NULL";
        assert_eq!(world.database().number(left).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_request_waits_for_the_first_on_postgres() {
    let world = World::new(Backend::Postgres).await;
    for (key, commits) in [("committed", true), ("rolled-back", false)] {
        let first = request(key, 1);
        let mut tx = world.begin().await;
        assert_eq!(tx.take_key(&first, at(0)).await.unwrap(), KeyState::Free);
        let (store, again) = (std::sync::Arc::clone(&world.store), first.clone());
        let second = tokio::spawn(async move {
            let mut tx = store.begin().await.unwrap();
            tx.take_key(&again, at(1)).await.unwrap()
        });
        let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                       AND wait_event_type = 'Lock'";
        epr_testkit::wait::until("a transaction that waits", async || world.database().number(waiting).await == 1)
            .await;
        let kept = answer(None);
        tx.keep_answer(&first, &kept).await.unwrap();
        if commits {
            tx.commit().await.unwrap();
        } else {
            drop(tx);
        }
        let expected = if commits { KeyState::Answered(kept) } else { KeyState::Free };
        assert_eq!(tokio::time::timeout(Duration::from_secs(20), second).await.unwrap().unwrap(), expected, "{key}");
    }
}
