//! Registered principals and their keys.

use epr_core::domain::json::object;
use epr_core::domain::{AssignmentFilter, Json, Principal, PrincipalFilter, PrincipalStatus};
use epr_core::seal::PrincipalKey;
use epr_core::store::{Cursor, InsertedPrincipal, Page, StoreError, collect_into};
use epr_testkit::database::LOCK_WAITERS;
use rstest::rstest;

use crate::support::{Backend, World, assignment, at, entity, id, page, principal, role};

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_principal_is_found_by_its_type_and_id_with_every_field(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let full = Principal {
        external_id: Some("auth0|17".to_owned()),
        display_name: Some("Ada".to_owned()),
        attributes: object([("clearance", Json::Int(3))]),
        status: PrincipalStatus::Suspended,
        ..principal(1)
    };
    world.with_principals(&[full.clone(), principal(2)]).await;
    assert_eq!(world.store.principal(("user", id(1))).await.unwrap(), Some(full));
    assert_eq!(world.store.principal(("user", id(2))).await.unwrap(), Some(principal(2)));
    assert_eq!(world.store.principal(("service", id(1))).await.unwrap(), None, "another type is another principal");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_taken_id_or_external_id_is_named_and_leaves_the_transaction_usable(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let named = |n: u128, external_id: &str| Principal { external_id: Some(external_id.to_owned()), ..principal(n) };
    let mut tx = world.begin().await;
    let first = named(1, "ada");
    assert_eq!(tx.insert_principal(&first).await.unwrap(), InsertedPrincipal::New(Box::new(first.clone())));
    assert_eq!(tx.insert_principal(&named(1, "other")).await.unwrap(), InsertedPrincipal::IdTaken);
    assert_eq!(tx.insert_principal(&named(2, "ada")).await.unwrap(), InsertedPrincipal::ExternalIdTaken);
    let service = Principal { principal_type: "service".to_owned(), ..named(3, "ada") };
    assert_eq!(tx.insert_principal(&service).await.unwrap(), InsertedPrincipal::New(Box::new(service)));
    for (n, external_id) in [(4, "Ada"), (5, "ada "), (6, "ad\u{e4}"), (7, "ada\u{308}")] {
        let other = named(n, external_id);
        assert_eq!(
            tx.insert_principal(&other).await.unwrap(),
            InsertedPrincipal::New(Box::new(other)),
            "bytes are compared"
        );
    }
    assert_eq!(tx.lock_principal_known_as("user", "ada").await.unwrap(), Some(first));
    assert_eq!(tx.lock_principal_known_as("user", "ADA").await.unwrap(), None);
    tx.commit().await.unwrap();
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn principals_of_one_id_and_moment_are_each_listed_once(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let mut tx = world.begin().await;
    for kind in ["user", "service", "group"] {
        let same = Principal { principal_type: kind.to_owned(), created_at: at(9), ..principal(1) };
        assert!(matches!(tx.insert_principal(&same).await.unwrap(), InsertedPrincipal::New(_)));
    }
    tx.invalidations().await.unwrap();
    tx.commit().await.unwrap();
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let mut rows = Vec::new();
        let next = Page { limit: 1, after };
        world.store.principals(&PrincipalFilter::default(), next, &mut collect_into(&mut rows)).await.unwrap();
        let Some(last) = rows.last() else { break };
        after = Some(Cursor { created_at: last.created_at, id: last.id });
        seen.extend(rows.into_iter().map(|row| row.principal_type));
    }
    assert_eq!(seen, ["group", "service", "user"], "newest first");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn principals_are_listed_newest_first_by_type_status_and_external_id(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let mut all: Vec<_> = (1..=4).map(principal).collect();
    all[1].status = PrincipalStatus::Suspended;
    all[2].principal_type = "service".to_owned();
    all[3].external_id = Some("ada".to_owned());
    world.with_principals(&all).await;
    let list = async |filter: PrincipalFilter| {
        let mut rows = Vec::new();
        world.store.principals(&filter, page(10), &mut collect_into(&mut rows)).await.unwrap();
        rows.iter().map(|row| row.id.as_u128()).collect::<Vec<_>>()
    };
    let none = PrincipalFilter::default;
    assert_eq!(list(none()).await, [4, 3, 2, 1]);
    assert_eq!(list(PrincipalFilter { principal_type: Some("user".parse().unwrap()), ..none() }).await, [4, 2, 1]);
    assert_eq!(list(PrincipalFilter { status: Some(PrincipalStatus::Suspended), ..none() }).await, [2]);
    assert_eq!(list(PrincipalFilter { external_id: Some("ada".parse().unwrap()), ..none() }).await, [4]);
    assert_eq!(world.store.principals_end(&none(), i64::MAX).await.unwrap(), None);
    let end = world.store.principals_end(&none(), 500).await.unwrap().unwrap();
    assert_eq!(end.id, id(3), "the first that exceeds the bytes");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_update_writes_every_mutable_field_and_a_taken_external_id_is_false(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let taken = Principal { external_id: Some("ada".to_owned()), ..principal(2) };
    world.with_principals(&[principal(1), taken]).await;
    let mut tx = world.begin().await;
    assert_eq!(tx.lock_principal(("user", id(9))).await.unwrap(), None);
    let mut changed = tx.lock_principal(("user", id(1))).await.unwrap().unwrap();
    changed.external_id = Some("ben".to_owned());
    changed.display_name = Some(String::new());
    changed.attributes = object([("a", true.into())]);
    changed.status = PrincipalStatus::Suspended;
    (changed.updated_at, changed.erased_at) = (at(100), Some(at(100)));
    assert!(tx.update_principal(&changed).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(world.store.principal(("user", id(1))).await.unwrap(), Some(changed.clone()));
    let mut tx = world.begin().await;
    assert!(!tx.update_principal(&Principal { external_id: Some("ada".to_owned()), ..changed.clone() }).await.unwrap());
    drop(tx);
    assert_eq!(world.store.principal(("user", id(1))).await.unwrap(), Some(changed));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_key_is_kept_until_it_is_destroyed(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_principals(&[principal(1)]).await;
    let (one, key) = (("user", id(1)), PrincipalKey::generate().unwrap());
    let mut tx = world.begin().await;
    assert_eq!(tx.principal_key(one).await.unwrap(), None);
    tx.insert_principal_key(one, &key).await.unwrap();
    assert_eq!(tx.principal_key(one).await.unwrap(), Some(key.clone()), "as this transaction sees it");
    tx.commit().await.unwrap();
    assert_eq!(world.store.principal_key(one).await.unwrap(), Some(key.clone()));
    let mut tx = world.begin().await;
    assert!(tx.delete_principal_key(one).await.unwrap());
    assert!(!tx.delete_principal_key(one).await.unwrap());
    assert_eq!(tx.principal_key(one).await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(world.store.principal_key(one).await.unwrap(), None);
    let mut tx = world.begin().await;
    let unregistered = tx.insert_principal_key(("user", id(9)), &key).await.unwrap_err();
    assert!(matches!(unregistered, StoreError::MissingReference), "{unregistered}");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_assignments_of_one_principal_are_deleted_up_to_a_limit_with_the_types_of_their_entities(
    #[case] backend: Backend,
) {
    let world = World::new(backend).await;
    let entity = entity(1, None);
    world.with_entities(std::slice::from_ref(&entity)).await;
    world.with_roles(&[role(2, &[]), role(3, &[])]).await;
    let service = epr_core::domain::Assignment { principal_type: "service".to_owned(), ..assignment(14, 7, 2, None) };
    let mine = [assignment(11, 7, 2, Some(1)), assignment(12, 7, 2, None), assignment(13, 7, 3, None)];
    world.with_assignments(&mine).await;
    world.with_assignments(&[service, assignment(15, 8, 2, None)]).await;
    let mut tx = world.begin().await;
    let first = tx.delete_assignments_of(("user", id(7)), 2).await.unwrap();
    assert_eq!(first.len(), 2, "at most the limit");
    let mut deleted = tx.delete_assignments_of(("user", id(7)), 100).await.unwrap();
    deleted.extend(first);
    deleted.sort_by_key(|(assignment, _)| assignment.id);
    let expected = [Some(entity.entity_type), None, None];
    assert_eq!(deleted, mine.into_iter().zip(expected).collect::<Vec<_>>());
    let invalidated = tx.invalidations().await.unwrap();
    assert!(!invalidated.is_empty() && invalidated.iter().all(|one| one.principal == Some(id(7))), "{invalidated:?}");
    tx.commit().await.unwrap();
    let mut left = Vec::new();
    world
        .store
        .assignments(&AssignmentFilter::default(), at(500), page(10), &mut collect_into(&mut left))
        .await
        .unwrap();
    assert_eq!(left.iter().map(|one| one.id.as_u128()).collect::<Vec<_>>(), [15, 14]);
}

/// Every change of a principal, by whatever program, is an invalidation of its decisions.
#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn every_change_of_a_principal_invalidates_its_decisions(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let statements = [
        format!(
            "INSERT INTO principals (type, id, created_at, updated_at) VALUES ('user', '{}', \
             '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z')",
            id(7)
        ),
        "UPDATE principals SET status = 'suspended'".to_owned(),
        "UPDATE principals SET attributes = '{\"a\":1}'".to_owned(),
        "DELETE FROM principals".to_owned(),
    ];
    let renewals = format!("SELECT COUNT(*) FROM cache_renewals WHERE principal_id = '{}'", id(7));
    for (at, statement) in statements.iter().enumerate() {
        world.database().execute(statement).await.unwrap();
        let seen = world.database().number(&renewals).await;
        assert_eq!(seen, i64::try_from(at).unwrap() + 1, "{statement}");
    }
}

#[tokio::test]
async fn on_postgres_an_erasure_waits_for_assignments_and_assignments_do_not_wait_for_each_other() {
    let world = World::new(Backend::Postgres).await;
    world.with_principals(&[principal(1)]).await;
    let (mut one, mut two) = (world.begin().await, world.begin().await);
    one.share_principal(("user", id(1))).await.unwrap();
    two.share_principal(("user", id(1))).await.unwrap();
    two.share_principal(("user", id(9))).await.unwrap();
    let mut erasing = world.begin().await;
    let erasing = tokio::spawn(async move { erasing.lock_principal(("user", id(1))).await });
    world.database().until(LOCK_WAITERS, 1).await;
    one.commit().await.unwrap();
    assert!(!erasing.is_finished());
    two.commit().await.unwrap();
    assert!(erasing.await.unwrap().unwrap().is_some());
}
