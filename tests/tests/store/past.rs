//! Rows and lists of past states of the registry.

use epr_core::domain::{AssignmentFilter, Entity, EntityFilter, Moment, NotAskable, PrincipalFilter, Revision};
use epr_core::history::{RegistryRow, RowKey, RowVersion};
use epr_core::store::{Page, RegistryList, StoreError, collect_into};
use rstest::rstest;

use crate::support::{Backend, World, assignment, at, decisive_draft, entity, id, page, principal, role};

/// Entities 1 > 2 (entries 1, 2), role 11 and an assignment (3, 4), a principal (5), entity 2 renamed (6), the
/// assignment revoked (7).
async fn world(backend: Backend) -> World {
    let world = World::new(backend).await;
    let renamed = Entity { name: "renamed".to_owned(), ..entity(2, Some(1)) };
    let drafts = [
        decisive_draft(1).with_row(RowVersion::created(entity(1, None))),
        decisive_draft(2).with_row(RowVersion::created(entity(2, Some(1)))),
        decisive_draft(3).with_row(RowVersion::created(role(11, &["thing:read"]))),
        decisive_draft(4).with_row(RowVersion::created(assignment(21, 7, 11, Some(1)))),
        decisive_draft(5).with_row(RowVersion::created(principal(7))),
        decisive_draft(6).with_row(RegistryRow::from(renamed).into()),
        decisive_draft(7).with_row(RowVersion::ended(RowKey::Assignment(id(21)))),
    ];
    for draft in drafts {
        world.store.append(&[draft]).await.unwrap();
    }
    world
}

async fn after(world: &World, sequence: i64) -> Moment {
    let present = world.store.registry_state().await.unwrap().revision;
    Moment::revision(Revision { sequence, ..present })
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_row_is_the_version_of_that_state(#[case] backend: Backend) {
    let world = world(backend).await;
    let row = async |key: RowKey, sequence: i64| {
        let (past, row) = world.store.past_row(&key, after(&world, sequence).await, at(100)).await.unwrap();
        assert_eq!((past.revision.sequence, past.at), (sequence, at(sequence)));
        row
    };
    let second = RowKey::Entity(id(2));
    assert_eq!(row(second.clone(), 1).await, None);
    for (sequence, name) in [(2, "entity 2"), (5, "entity 2"), (6, "renamed"), (7, "renamed")] {
        let Some(RegistryRow::Entity(found)) = row(second.clone(), sequence).await else { panic!("{sequence}") };
        assert_eq!((found.name.as_str(), found.parent_id), (name, Some(id(1))));
    }
    let held = RowKey::Assignment(id(21));
    assert_eq!(row(held.clone(), 3).await, None);
    assert_eq!(row(held.clone(), 6).await, Some(assignment(21, 7, 11, Some(1)).into()));
    assert_eq!(row(held, 7).await, None);
    assert_eq!(row(RowKey::Role(id(11)), 3).await, Some(role(11, &["thing:read"]).into()));
    assert_eq!(row(RowKey::Principal("user".into(), id(7)), 5).await, Some(principal(7).into()));
    assert_eq!(row(RowKey::Principal("service".into(), id(7)), 5).await, None);
    let unreached = world.store.past_row(&RowKey::Role(id(11)), after(&world, 8).await, at(100)).await;
    assert!(matches!(unreached, Err(StoreError::NotAskable(NotAskable::Unreached { .. }))), "{unreached:?}");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_list_has_the_rows_of_that_state_newest_first(#[case] backend: Backend) {
    let world = world(backend).await;
    let keys = async |list: RegistryList<'_>, sequence: i64, page: Page| {
        let (mut rows, moment) = (Vec::new(), after(&world, sequence).await);
        let past = world.store.past_rows(list, (moment, at(100)), page, &mut collect_into(&mut rows)).await.unwrap();
        assert_eq!(past.revision.sequence, sequence);
        rows.iter().map(RegistryRow::key).collect::<Vec<_>>()
    };
    let [first, second] = [1, 2].map(|n| RowKey::Entity(id(n)));
    let (all, whole) = (EntityFilter::default(), page(10));
    assert_eq!(keys(RegistryList::Entities(&all), 1, whole).await, std::slice::from_ref(&first));
    assert_eq!(keys(RegistryList::Entities(&all), 7, whole).await, [second.clone(), first.clone()]);
    assert_eq!(keys(RegistryList::Entities(&all), 7, page(1)).await, std::slice::from_ref(&second));
    for filter in [
        EntityFilter { parent_id: Some(id(1)), ..EntityFilter::default() },
        EntityFilter { ancestor_id: Some(id(1)), ..EntityFilter::default() },
        EntityFilter { name: Some("renamed".parse().unwrap()), ..EntityFilter::default() },
    ] {
        assert_eq!(keys(RegistryList::Entities(&filter), 6, whole).await, std::slice::from_ref(&second), "{filter:?}");
        let before = keys(RegistryList::Entities(&filter), 5, whole).await;
        assert_eq!(before.len(), usize::from(filter.name.is_none()), "{filter:?}");
    }
    assert_eq!(keys(RegistryList::Roles, 2, whole).await, []);
    assert_eq!(keys(RegistryList::Roles, 3, whole).await, [RowKey::Role(id(11))]);
    let held = AssignmentFilter { principal_id: Some(id(7)), ..AssignmentFilter::default() };
    let counts = [(3, 0), (4, 1), (6, 1), (7, 0)];
    for (sequence, count) in counts {
        assert_eq!(keys(RegistryList::Assignments(&held), sequence, whole).await.len(), count, "{sequence}");
    }
    let known = PrincipalFilter::default();
    assert_eq!(keys(RegistryList::Principals(&known), 4, whole).await, []);
    assert_eq!(keys(RegistryList::Principals(&known), 5, whole).await, [RowKey::Principal("user".into(), id(7))]);
}
