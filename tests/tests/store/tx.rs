//! Transactions.

use std::collections::BTreeMap;

use epr_core::domain::{Condition, Entity, EntityFilter, EntityType, Incarnation, ParameterType, Revision, Role};
use epr_core::store::{InsertedAssignment, InsertedEvent, PathEnd, StoreError, StoredCheckpoint, collect_into};
use epr_testkit::database::LOCK_WAITERS;
use epr_testkit::ledger::outcome_text;
use rstest::rstest;
use uuid::Uuid;

use crate::support::{
    Backend, World, assignment, at, decisive_draft, draft, entity, event, id, page, principal, registry_draft, role,
};

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn only_a_commit_keeps_what_a_transaction_did(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let mut tx = world.begin().await;
    assert!(tx.insert_entity(&entity(1, None)).await.unwrap());
    assert_eq!(outcome_text(&tx.append(&[draft(None, 1)]).await.unwrap()[0]), "recorded 1");
    drop(tx);
    assert_eq!(world.store.entity(id(1)).await.unwrap(), None);
    let mut tx = world.store.begin().await.unwrap();
    assert!(tx.insert_entity(&entity(1, None)).await.unwrap());
    assert_eq!(outcome_text(&tx.append(&[draft(None, 1)]).await.unwrap()[0]), "recorded 1", "the first one was undone");
    tx.commit().await.unwrap();
    assert_eq!(world.store.entity(id(1)).await.unwrap(), Some(entity(1, None)));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_taken_name_is_false_and_leaves_the_transaction_usable(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let mut tx = world.begin().await;
    assert!(tx.insert_entity(&entity(1, None)).await.unwrap());
    let same_name = epr_core::domain::Entity { name: "entity 1".to_owned(), ..entity(2, None) };
    assert!(!tx.insert_entity(&same_name).await.unwrap());
    let other_type = epr_core::domain::Entity { entity_type: EntityType::Agent, ..same_name };
    assert!(tx.insert_entity(&other_type).await.unwrap(), "a name is unique within its type");
    assert!(tx.insert_role(&role(11, &[])).await.unwrap());
    assert!(!tx.insert_role(&Role { name: "role 11".to_owned(), ..role(12, &[]) }).await.unwrap());
    assert_eq!(tx.entity_type(id(2)).await.unwrap(), Some(EntityType::Agent));
    assert_eq!(tx.entity_type(id(3)).await.unwrap(), None);
    tx.commit().await.unwrap();
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_taken_external_id_is_false_and_can_be_told_from_a_taken_name(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let known = |n, external_id: &str| Entity { external_id: Some(external_id.to_owned()), ..entity(n, None) };
    let mut tx = world.begin().await;
    assert!(tx.insert_entity(&known(1, "x")).await.unwrap());
    assert!(!tx.insert_entity(&known(2, "x")).await.unwrap());
    assert!(tx.external_id_is_taken(&known(2, "x")).await.unwrap());
    assert!(!tx.external_id_is_taken(&known(1, "x")).await.unwrap(), "its own");
    assert!(!tx.external_id_is_taken(&known(2, "X")).await.unwrap());
    assert!(!tx.external_id_is_taken(&entity(2, None)).await.unwrap());
    let other_type = Entity { entity_type: EntityType::Agent, ..known(2, "x") };
    assert!(!tx.external_id_is_taken(&other_type).await.unwrap());
    assert!(tx.insert_entity(&other_type).await.unwrap(), "an external id is unique within its type");
    assert!(tx.insert_entity(&known(3, "y")).await.unwrap() && tx.insert_entity(&entity(4, None)).await.unwrap());
    assert!(tx.insert_entity(&entity(5, None)).await.unwrap(), "any number has none");
    tx.commit().await.unwrap();
    let mut tx = world.begin().await;
    assert!(!tx.update_entity(&known(3, "x")).await.unwrap());
    drop(tx);
    let mut tx = world.begin().await;
    assert!(tx.update_entity(&entity(3, None)).await.unwrap() && tx.update_entity(&known(4, "y")).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(world.store.entity(id(4)).await.unwrap(), Some(known(4, "y")));
    let filter = EntityFilter { external_id: Some("x".parse().unwrap()), ..EntityFilter::default() };
    let mut found = Vec::new();
    world.store.entities(&filter, page(10), &mut collect_into(&mut found)).await.unwrap();
    assert_eq!(found, [Entity { created_at: at(2), updated_at: at(2), ..other_type }, known(1, "x")]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_update_writes_every_mutable_field_and_a_taken_name_is_false(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_entities(&[entity(1, None), entity(2, None)]).await;
    let mut tx = world.begin().await;
    let mut changed = tx.lock_entity(id(2)).await.unwrap().unwrap();
    assert_eq!(tx.lock_entity(id(9)).await.unwrap(), None);
    changed.name = "renamed".to_owned();
    changed.status = epr_core::domain::EntityStatus::Inactive;
    changed.parent_id = Some(id(1));
    changed.updated_at = at(100);
    assert!(tx.update_entity(&changed).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(world.store.entity(id(2)).await.unwrap(), Some(changed.clone()));
    let mut tx = world.begin().await;
    changed.name = "entity 1".to_owned();
    assert!(!tx.update_entity(&changed).await.unwrap());
    drop(tx);
    assert_eq!(world.store.entity(id(2)).await.unwrap().unwrap().name, "renamed");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn paths_are_read_from_the_entity_to_the_root_and_stop_at_the_limit_and_in_a_cycle(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_entities(&[entity(1, None), entity(2, Some(1)), entity(3, Some(2))]).await;
    let mut tx = world.begin().await;
    tx.lock_hierarchy().await.unwrap();
    let path = tx.path_to_root(id(3), 100).await.unwrap();
    assert_eq!((path.ids, path.end), (vec![id(3), id(2), id(1)], PathEnd::Root));
    let cut = tx.path_to_root(id(3), 2).await.unwrap();
    assert_eq!((cut.ids, cut.end), (vec![id(3), id(2)], PathEnd::Cut));
    assert!(tx.path_to_root(id(9), 100).await.unwrap().ids.is_empty());
    assert!(tx.has_levels_below(id(1), 2).await.unwrap());
    assert!(!tx.has_levels_below(id(1), 3).await.unwrap());
    assert!(tx.update_entity(&entity(1, Some(3))).await.unwrap());
    let cycle = tx.path_to_root(id(3), 100).await.unwrap();
    assert_eq!((cycle.ids, cycle.end), (vec![id(3), id(2), id(1)], PathEnd::Cycle(0)));
    assert!(!tx.has_levels_below(id(1), 3).await.unwrap(), "a cycle is not walked through twice");
}

#[tokio::test]
async fn on_postgres_a_move_waits_for_creations_and_creations_do_not_wait_for_each_other() {
    let world = World::new(Backend::Postgres).await;
    let (mut one, mut two) = (world.begin().await, world.begin().await);
    one.share_hierarchy().await.unwrap();
    two.share_hierarchy().await.unwrap();
    let mut moving = world.begin().await;
    let moving = tokio::spawn(async move { moving.lock_hierarchy().await });
    world.database().until(LOCK_WAITERS, 1).await;
    one.commit().await.unwrap();
    assert!(!moving.is_finished());
    two.commit().await.unwrap();
    moving.await.unwrap().unwrap();
}

#[tokio::test]
async fn on_postgres_a_locked_row_is_read_as_the_transaction_waited_for_left_it() {
    let world = World::new(Backend::Postgres).await;
    world.with_entities(&[entity(1, None)]).await;
    world.with_roles(&[role(11, &["a:x"])]).await;
    let mut first = world.begin().await;
    let mut changed = first.lock_entity(id(1)).await.unwrap().unwrap();
    first.lock_role(id(11)).await.unwrap().unwrap();
    changed.name = "renamed".to_owned();
    assert!(first.update_entity(&changed).await.unwrap());
    first.set_role_actions(id(11), &["b:x".to_owned()], &BTreeMap::new(), at(1)).await.unwrap();
    let (mut second, mut third) = (world.begin().await, world.begin().await);
    let entity = tokio::spawn(async move { second.lock_entity(id(1)).await });
    let role = tokio::spawn(async move { third.lock_role(id(11)).await });
    world.database().until(LOCK_WAITERS, 2).await;
    first.commit().await.unwrap();
    assert_eq!(entity.await.unwrap().unwrap().unwrap().name, "renamed");
    assert_eq!(role.await.unwrap().unwrap().unwrap().permissions, ["b:x"]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_role_has_exactly_the_actions_that_were_set_last(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_roles(&[role(11, &["a:x", "b:x"])]).await;
    let mut tx = world.begin().await;
    let actions = ["d:x", "c:x"].map(|action| action.try_into().unwrap());
    tx.ensure_actions(&actions, at(1)).await.unwrap();
    tx.ensure_actions(&actions, at(2)).await.unwrap();
    let mut changed = tx.lock_role(id(11)).await.unwrap().unwrap();
    assert_eq!(changed.permissions, ["a:x", "b:x"]);
    assert_eq!(tx.lock_role(id(9)).await.unwrap(), None);
    tx.set_role_actions(id(11), &["c:x".to_owned(), "b:x".to_owned()], &BTreeMap::new(), at(1)).await.unwrap();
    changed.description = Some("changed".to_owned());
    changed.scope_types = vec![EntityType::Issuer];
    changed.updated_at = at(100);
    tx.update_role(&changed).await.unwrap();
    changed.permissions = vec!["b:x".to_owned(), "c:x".to_owned()];
    assert_eq!(tx.role(id(11)).await.unwrap(), Some(changed.clone()), "as this transaction sees it");
    tx.commit().await.unwrap();
    assert_eq!(world.store.role(id(11)).await.unwrap(), Some(changed));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_action_has_exactly_the_condition_that_was_set_last(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let limit = |amount: i32| {
        Condition::new(format!("context.\u{e4} <= {amount} // \"'\\")).parameter("amount", ParameterType::Int)
    };
    let conditions = |conditions: &[(&str, i32)]| {
        conditions.iter().map(|(action, amount)| ((*action).to_owned(), limit(*amount))).collect::<BTreeMap<_, _>>()
    };
    world
        .with_roles(&[Role { conditions: conditions(&[("a:x", 1), ("b:x", 2)]), ..role(11, &["a:x", "b:x", "c:x"]) }])
        .await;
    let stored = world.store.role(id(11)).await.unwrap().unwrap();
    assert_eq!(stored.conditions, conditions(&[("a:x", 1), ("b:x", 2)]));
    assert_eq!(stored.permissions, ["a:x", "b:x", "c:x"], "with a condition or without");
    let mut tx = world.begin().await;
    let actions = ["b:x", "c:x"].map(str::to_owned);
    tx.set_role_actions(id(11), &actions, &conditions(&[("c:x", 3), ("z:x", 4)]), at(1)).await.unwrap();
    let changed = tx.role(id(11)).await.unwrap().unwrap();
    assert_eq!(changed.conditions, conditions(&[("c:x", 3)]), "of an action that the role does not have, none");
    tx.set_role_actions(id(11), &actions, &BTreeMap::new(), at(1)).await.unwrap();
    assert_eq!(tx.role(id(11)).await.unwrap().unwrap().conditions, BTreeMap::new());
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_assignment_with_the_same_key_is_returned_global_or_not(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_entities(&[entity(1, None)]).await;
    world.with_roles(&[role(2, &[])]).await;
    let mut tx = world.begin().await;
    for (first, second, on) in [(11, 12, None), (13, 14, Some(1))] {
        let made = assignment(first, 7, 2, on);
        assert_eq!(tx.insert_assignment(&made).await.unwrap(), InsertedAssignment::New);
        let again = tx.insert_assignment(&assignment(second, 7, 2, on)).await.unwrap();
        assert_eq!(again, InsertedAssignment::Existing(Box::new(made)));
    }
    let service = epr_core::domain::Assignment { principal_type: "service".to_owned(), ..assignment(15, 7, 2, None) };
    assert_eq!(tx.insert_assignment(&service).await.unwrap(), InsertedAssignment::New, "another principal");
    assert_eq!(tx.delete_assignment(id(15)).await.unwrap(), Some(service));
    assert_eq!(tx.delete_assignment(id(15)).await.unwrap(), None);
    tx.commit().await.unwrap();
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_missing_reference_is_an_error_of_its_own(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let mut tx = world.begin().await;
    let error = tx.insert_assignment(&assignment(11, 7, 2, None)).await.unwrap_err();
    assert!(matches!(error, epr_core::store::StoreError::MissingReference), "{error}");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_ingested_event_is_written_once_for_its_source_and_correlation_id(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let ingested = |n: u128, correlation: Option<&str>| {
        let mut made = event(n, None);
        made.event.ingested = true;
        made.event.correlation_id = correlation.map(str::to_owned);
        made
    };
    let mut tx = world.begin().await;
    let first = ingested(1, Some("c"));
    assert!(matches!(tx.insert_event(&first).await.unwrap(), InsertedEvent::New { claimed: false, .. }));
    let again = tx.insert_event(&ingested(2, Some("c"))).await.unwrap();
    assert_eq!(again, InsertedEvent::Existing(Box::new(first.event)));
    for n in [3, 4] {
        assert!(matches!(tx.insert_event(&ingested(n, None)).await.unwrap(), InsertedEvent::New { .. }));
    }
    tx.commit().await.unwrap();
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn many_events_are_written_in_their_order_and_without_a_lease(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let events: Vec<_> = (1..=450).map(|n| event(n, Some("key"))).collect();
    let mut tx = world.begin().await;
    tx.insert_events(&[]).await.unwrap();
    tx.insert_events(&events).await.unwrap();
    tx.commit().await.unwrap();
    assert!(world.store.any_event_pending().await.unwrap());
    let stored = world.store.event(events[321].event.event_id).await.unwrap().unwrap();
    assert_eq!(stored, events[321].event);
    assert_eq!(world.store.event_backlog().await.unwrap().pending, 450);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_transaction_knows_its_revision(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let mut tx = world.begin().await;
    assert_eq!(tx.revision().await.unwrap().sequence, 0);
    tx.append(&[draft(None, 1), registry_draft(2), decisive_draft(3), draft(None, 4)]).await.unwrap();
    let own = tx.revision().await.unwrap();
    assert_eq!(own.sequence, 3);
    tx.commit().await.unwrap();
    assert_eq!(world.store.registry_state().await.unwrap().revision, own);
    // One that changes nothing has what it found.
    let mut tx = world.begin().await;
    assert_eq!(tx.revision().await.unwrap(), own);
    tx.append(&[draft(None, 5)]).await.unwrap();
    assert_eq!(tx.revision().await.unwrap(), own);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_transaction_knows_which_principals_it_has_invalidated(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_roles(&[role(1, &["thing:read"])]).await;
    let mut tx = world.begin().await;
    tx.insert_assignment(&assignment(11, 7, 1, None)).await.unwrap();
    let seen: Vec<_> = tx.invalidations().await.unwrap().iter().map(|one| one.principal).collect();
    assert_eq!(seen, [Some(id(7))]);
    tx.commit().await.unwrap();
    let mut tx = world.begin().await;
    tx.delete_assignment(id(11)).await.unwrap();
    let seen: Vec<_> = tx.invalidations().await.unwrap().iter().map(|one| one.principal).collect();
    assert_eq!(seen, [Some(id(7))], "only its own");
    drop(tx);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_intact_ledger_has_no_foreign_rows(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.store.append(&[draft(None, 1)]).await.unwrap();
    let mut tx = world.begin().await;
    let rows = tx.set_aside_foreign_rows().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((rows.head, rows.count, rows.sequences), (1, 0, Vec::<String>::new()));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_new_incarnation_begins_with_its_entry_or_not_at_all(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.store.append(&[registry_draft(1), draft(None, 2)]).await.unwrap();
    let before = world.store.registry_state().await.unwrap();
    let next = Incarnation(Uuid::from_u128(0x1234));
    let checkpoint = |size: i64| StoredCheckpoint {
        incarnation: before.revision.incarnation,
        size,
        root: [7; 32],
        note: "note".to_owned(),
        signed_at: at(size),
    };
    assert!(world.store.add_checkpoint(0, &checkpoint(1), &[]).await.unwrap());
    for commits in [false, true] {
        let mut tx = world.begin().await;
        let former = tx.reincarnate(next, at(5)).await.unwrap();
        assert_eq!((former.incarnation, former.head.sequence), (before.revision.incarnation, 2));
        assert_eq!(former.checkpoint, Some(checkpoint(1)));
        assert_eq!(tx.invalidations().await.unwrap().iter().map(|one| one.principal).collect::<Vec<_>>(), [None]);
        tx.append(&[registry_draft(3)]).await.unwrap();
        assert_eq!(tx.revision().await.unwrap(), Revision { incarnation: next, sequence: 3 });
        if commits {
            tx.commit().await.unwrap();
        } else {
            drop(tx);
            assert_eq!(world.store.registry_state().await.unwrap(), before);
        }
    }
    assert_eq!(world.store.registry_state().await.unwrap().revision, Revision { incarnation: next, sequence: 3 });
    let all = world.store.incarnations().await.unwrap();
    let all: Vec<_> = all.iter().map(|one| (one.incarnation, one.first_sequence, one.why.as_str())).collect();
    assert_eq!(all, [(before.revision.incarnation, 1, "migration"), (next, 3, "reincarnate")]);
    assert!(!world.store.add_checkpoint(1, &checkpoint(2), &[]).await.unwrap(), "the incarnation has ended");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_transaction_may_wait_briefly_for_the_locks_of_others(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_principals(&[principal(1)]).await;
    let mut one = world.begin().await;
    one.wait_for_locks(true).await.unwrap();
    one.lock_principal(("user", id(1))).await.unwrap().unwrap();
    if backend == Backend::Postgres {
        let mut two = world.begin().await;
        two.wait_for_locks(true).await.unwrap();
        let refused = two.lock_principal(("user", id(1))).await.unwrap_err();
        assert!(matches!(refused, StoreError::Contention(_)), "{refused:?}");
        drop(two);
        let mut three = world.begin().await;
        three.wait_for_locks(true).await.unwrap();
        three.wait_for_locks(false).await.unwrap();
        let waiting = tokio::spawn(async move { three.lock_principal(("user", id(1))).await });
        world.database().until(LOCK_WAITERS, 1).await;
        // Longer than a brief wait.
        for _ in 0..3 {
            let mut other = world.begin().await;
            other.wait_for_locks(true).await.unwrap();
            other.lock_principal(("user", id(1))).await.unwrap_err();
        }
        one.commit().await.unwrap();
        assert!(waiting.await.unwrap().unwrap().is_some(), "it waited");
        return;
    }
    one.commit().await.unwrap();
}
