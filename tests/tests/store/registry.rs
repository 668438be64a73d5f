//! Reading the registry.

use std::collections::BTreeMap;

use epr_core::domain::entity::EntityName;
use epr_core::domain::{
    Assignment, AssignmentFilter, AssignmentScan, Condition, ConditionHolder, Entity, EntityFilter, EntityStatus,
    EntityType, EntityTypeUse, EntityTypes, Reach, RegistryCounts, Role,
};
use epr_core::store::{Cursor, Page, collect_into};
use rstest::rstest;

use crate::support::{Backend, World, assignment, at, entity, id, page, principal, role};

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_entity_is_found_by_its_id_and_by_its_name_archived_or_not(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let archived = epr_core::domain::Entity { status: EntityStatus::Archived, ..entity(1, None) };
    world.with_entities(std::slice::from_ref(&archived)).await;
    assert_eq!(world.store.entity(id(1)).await.unwrap(), Some(archived.clone()));
    assert_eq!(world.store.entity(id(2)).await.unwrap(), None);
    assert_eq!(world.store.entity_named(&EntityType::Spv, "entity 1").await.unwrap(), Some(archived));
    assert_eq!(world.store.entity_named(&EntityType::Agent, "entity 1").await.unwrap(), None, "another type");
    assert_eq!(world.store.entity_named(&EntityType::Spv, "Entity 1").await.unwrap(), None, "case-sensitive");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn entities_are_listed_newest_first_without_the_archived_and_continue_after_a_cursor(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let mut all: Vec<_> = (1..=5).map(|n| entity(n, None)).collect();
    all[2].status = EntityStatus::Archived;
    all[3].entity_type = EntityType::Agent;
    all[4].parent_id = Some(id(1));
    world.with_entities(&all).await;
    let list = async |filter: EntityFilter, page: Page| {
        let mut rows = Vec::new();
        world.store.entities(&filter, page, &mut collect_into(&mut rows)).await.unwrap();
        rows.iter().map(|row| row.id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(list(EntityFilter::default(), page(10)).await, [5, 4, 2, 1]);
    assert_eq!(list(EntityFilter::default(), page(2)).await, [5, 4]);
    let after = Some(Cursor { created_at: at(4), id: id(4) });
    assert_eq!(list(EntityFilter::default(), Page { limit: 10, after }).await, [2, 1]);
    let agents = EntityFilter { types: vec![EntityType::Agent], ..EntityFilter::default() };
    assert_eq!(list(agents, page(10)).await, [4]);
    let children = EntityFilter { parent_id: Some(id(1)), ..EntityFilter::default() };
    assert_eq!(list(children, page(10)).await, [5]);
    let mut seen = 0;
    let mut stop = |_| {
        seen += 1;
        false
    };
    world.store.entities(&EntityFilter::default(), page(10), &mut stop).await.unwrap();
    assert_eq!(seen, 1, "a visitor that returns false sees no other row");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn rows_of_the_same_moment_are_each_listed_once(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let all: Vec<_> = (1..=7).map(|n| epr_core::domain::Entity { created_at: at(0), ..entity(n, None) }).collect();
    world.with_entities(&all).await;
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let mut rows = Vec::new();
        let next = Page { limit: 2, after };
        world.store.entities(&EntityFilter::default(), next, &mut collect_into(&mut rows)).await.unwrap();
        let Some(last) = rows.last() else { break };
        after = Some(Cursor { created_at: last.created_at, id: last.id });
        seen.extend(rows.iter().map(|row| row.id.as_u128()));
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_list_that_fits_has_no_end_and_another_ends_at_a_row_that_others_follow(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_entities(&(1..=4).map(|n| entity(n, None)).collect::<Vec<_>>()).await;
    world.with_roles(&(11..=14).map(|n| role(n, &["thing:read"])).collect::<Vec<_>>()).await;
    world.with_assignments(&(21..=24).map(|n| assignment(n, n, 11, None)).collect::<Vec<_>>()).await;
    let store = &world.store;
    let (entities, assignments) = (EntityFilter::default(), AssignmentFilter::default());
    assert_eq!(store.entities_end(&entities, i64::MAX).await.unwrap(), None);
    assert_eq!(store.roles_end(i64::MAX).await.unwrap(), None);
    assert_eq!(store.assignments_end(&assignments, at(500), i64::MAX).await.unwrap(), None);
    let none = AssignmentFilter { principal_id: Some(id(99)), ..AssignmentFilter::default() };
    assert_eq!(store.assignments_end(&none, at(500), 1).await.unwrap(), None, "an empty list fits");
    // One byte is exceeded by the first row, which the others follow.
    assert_eq!(store.entities_end(&entities, 1).await.unwrap(), Some(Cursor { created_at: at(4), id: id(4) }));
    assert_eq!(store.roles_end(1).await.unwrap(), Some(Cursor { created_at: at(14), id: id(14) }));
    let end = store.assignments_end(&assignments, at(500), 1).await.unwrap();
    assert_eq!(end, Some(Cursor { created_at: at(24), id: id(24) }));
    // An entity without attributes counts for more than 300 bytes: the second one exceeds 400.
    assert_eq!(store.entities_end(&entities, 400).await.unwrap(), Some(Cursor { created_at: at(3), id: id(3) }));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn roles_have_their_actions_in_order_and_are_found_by_id_and_name(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let mut expected = role(1, &["b:x", "a:x"]);
    expected.scope_types = vec![EntityType::Spv, EntityType::Issuer];
    world.with_roles(&[expected.clone(), role(2, &[])]).await;
    expected.permissions = vec!["a:x".to_owned(), "b:x".to_owned()];
    assert_eq!(world.store.role(id(1)).await.unwrap(), Some(expected.clone()));
    assert_eq!(world.store.role(id(3)).await.unwrap(), None);
    assert_eq!(world.store.role_named("role 1").await.unwrap(), Some(expected.clone()));
    assert_eq!(world.store.role_named("Role 1").await.unwrap(), None, "case-sensitive");
    let mut roles = Vec::new();
    world.store.roles(page(10), &mut collect_into(&mut roles)).await.unwrap();
    assert_eq!(roles, [role(2, &[]), expected]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn assignments_are_listed_in_force_or_not_by_principal_and_by_entity(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_entities(&[entity(1, None)]).await;
    world.with_roles(&[role(2, &["thing:read"]), role(3, &["thing:read"])]).await;
    let mut expired = assignment(12, 7, 3, None);
    expired.expires_at = Some(at(1));
    let all = [assignment(11, 7, 2, Some(1)), expired, assignment(13, 8, 2, None)];
    world.with_assignments(&all).await;
    let list = async |filter: AssignmentFilter| {
        let mut rows = Vec::new();
        world.store.assignments(&filter, at(500), page(10), &mut collect_into(&mut rows)).await.unwrap();
        rows
    };
    let [first, second, third] = all;
    assert_eq!(list(AssignmentFilter::default()).await, [third, second.clone(), first.clone()]);
    let of_seven = AssignmentFilter { principal_id: Some(id(7)), ..AssignmentFilter::default() };
    assert_eq!(list(of_seven).await, [second, first.clone()]);
    let on_one = AssignmentFilter { entity_id: Some(id(1)), ..AssignmentFilter::default() };
    assert_eq!(list(on_one).await, [first], "global assignments are not on the entity");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_assignment_is_found_by_its_id_in_force_or_not_until_it_is_revoked(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_roles(&[role(2, &["thing:read"])]).await;
    let mut expired = assignment(12, 7, 2, None);
    expired.expires_at = Some(at(1));
    world.with_assignments(std::slice::from_ref(&expired)).await;
    assert_eq!(world.store.assignment(id(12)).await.unwrap(), Some(expired));
    assert_eq!(world.store.assignment(id(2)).await.unwrap(), None, "the id of a role");
    let mut tx = world.begin().await;
    tx.delete_assignment(id(12)).await.unwrap();
    tx.invalidations().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.store.assignment(id(12)).await.unwrap(), None);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn each_scan_of_assignments_visits_its_own_in_its_own_order(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_entities(&[entity(1, None)]).await;
    world.with_roles(&[role(2, &["thing:read"])]).await;
    let window = |n: u128, from: i64, to: Option<i64>| {
        let mut made = assignment(n, n, 2, if n == 11 { Some(1) } else { None });
        (made.effective_at, made.expires_at) = (at(from), to.map(at));
        made
    };
    // Created at their numbers: 14 had ended before it was made, 116 by a clock that is ahead.
    let all = [
        window(11, 0, None),
        window(12, 0, Some(200)),
        window(13, 0, Some(150)),
        window(14, 0, Some(5)),
        window(15, 300, None),
        window(116, 110, None),
    ];
    world.with_assignments(&all).await;
    let ids = |rows: &[epr_core::domain::NamedAssignment]| {
        rows.iter().map(|row| row.assignment.id.as_u128()).collect::<Vec<_>>()
    };
    let scan = async |scan: AssignmentScan| {
        let mut rows = Vec::new();
        world.store.scan_assignments(&scan, None, &mut collect_into(&mut rows)).await.unwrap();
        for most in 0..=rows.len() {
            let mut first = Vec::new();
            let limit = u32::try_from(most).ok();
            world.store.scan_assignments(&scan, limit, &mut collect_into(&mut first)).await.unwrap();
            assert_eq!(ids(&first), ids(&rows[..most]), "{scan:?}");
        }
        rows
    };
    let now = at(100);
    assert_eq!(
        ids(&scan(AssignmentScan::Listed { filter: AssignmentFilter::default(), now }).await),
        [116, 15, 14, 13, 12, 11]
    );
    assert_eq!(ids(&scan(AssignmentScan::Expiring { now, until: at(200) }).await), [13, 12], "the end is included");
    assert_eq!(ids(&scan(AssignmentScan::Expiring { now: at(150), until: at(200) }).await), [12], "the start is not");
    assert_eq!(ids(&scan(AssignmentScan::NeverEffective { now }).await), [14, 116, 15]);
    assert_eq!(ids(&scan(AssignmentScan::Global { now }).await), [12, 13, 15, 116]);
    let one = scan(AssignmentScan::One(id(11))).await;
    assert_eq!(ids(&one), [11]);
    assert_eq!((&*one[0].role_name, one[0].entity_type.clone()), ("role 2", Some(EntityType::Spv)));
    assert_eq!(one[0].entity_name.as_deref(), Some("entity 1"));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_role_is_unheld_when_no_assignment_is_in_force_or_begins_later(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_roles(&[role(1, &[]), role(2, &[]), role(3, &[]), role(4, &[])]).await;
    let mut ended = assignment(11, 7, 1, None);
    ended.expires_at = Some(at(100));
    let mut later = assignment(12, 7, 2, None);
    later.effective_at = at(500);
    world.with_assignments(&[ended, later, assignment(13, 7, 3, None)]).await;
    let mut unheld = Vec::new();
    world.store.scan_unheld_roles(at(100), &mut collect_into(&mut unheld)).await.unwrap();
    let seen: Vec<_> =
        unheld.iter().map(|row| (row.role.id.as_u128(), row.ended_assignments, row.last_ended_at)).collect();
    assert_eq!(seen, [(1, 1, Some(at(100))), (4, 0, None)], "the window excludes its end");
    let mut before = Vec::new();
    world.store.scan_unheld_roles(at(99), &mut collect_into(&mut before)).await.unwrap();
    assert_eq!(before.iter().map(|row| row.role.id.as_u128()).collect::<Vec<_>>(), [4]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_orphan_is_an_entity_in_use_below_an_archived_one(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let mut all = [entity(1, None), entity(2, Some(1)), entity(3, Some(2)), entity(4, Some(1))];
    all[0].status = EntityStatus::Archived;
    all[3].status = EntityStatus::Archived;
    world.with_entities(&all).await;
    let mut orphans = Vec::new();
    world.store.scan_orphans(&mut collect_into(&mut orphans)).await.unwrap();
    let seen: Vec<_> =
        orphans.iter().map(|row| (row.entity.id.as_u128(), &*row.parent_name, row.parent_type.clone())).collect();
    assert_eq!(seen, [(2, "entity 1", EntityType::Spv)]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn conditions_are_scanned_as_they_are_stored_each_with_what_has_it(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let condition = Condition::new("true");
    let conditions = BTreeMap::from([("b:x".to_owned(), condition.clone())]);
    world.with_roles(&[Role { conditions, ..role(11, &["a:x", "b:x"]) }]).await;
    let conditional = Assignment { condition: Some(condition), ..assignment(21, 31, 11, None) };
    world.with_assignments(&[conditional.clone(), assignment(22, 32, 11, None)]).await;
    let listed = AssignmentScan::One(id(21));
    let mut named = Vec::new();
    world.store.scan_assignments(&listed, None, &mut collect_into(&mut named)).await.unwrap();
    assert_eq!(named[0].assignment, conditional);
    let mut scanned = Vec::new();
    world.store.scan_conditions(&mut collect_into(&mut scanned)).await.unwrap();
    let action = ConditionHolder::Role { id: id(11), name: "role 11".to_owned(), action: "b:x".to_owned() };
    let holders: Vec<_> = scanned.iter().map(|one| one.holder.clone()).collect();
    assert_eq!(holders, [ConditionHolder::Assignment(id(21)), action]);
    assert!(scanned.iter().all(|one| one.text == r#"{"expression":"true","parameters":{}}"#), "{scanned:?}");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_state_of_the_hierarchy_counts_levels_and_finds_cycles(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_entities(&[entity(1, None), entity(2, Some(1)), entity(3, Some(2))]).await;
    let state = world.store.hierarchy().await.unwrap();
    assert_eq!((state.levels, state.too_deep, state.rootless), (3, 0, 0));
    assert!(state.cycles.is_empty());
    // No handler would write this; tables that were restored may contain it.
    let mut tx = world.begin().await;
    assert!(tx.update_entity(&entity(1, Some(3))).await.unwrap());
    tx.commit().await.unwrap();
    let state = world.store.hierarchy().await.unwrap();
    assert_eq!((state.levels, state.rootless), (0, 3));
    assert_eq!(state.cycles, [vec![id(1), id(3), id(2), id(1)]]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn types_in_use_that_are_not_accepted_are_returned_with_the_numbers_of_their_rows(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let none: &[EntityTypeUse] = &[];
    assert_eq!(world.store.unaccepted_types(&EntityTypes::default()).await.unwrap(), none);
    let typed = |n, word: &str| Entity { entity_type: word.parse().unwrap(), ..entity(n, None) };
    let archived = |entity| Entity { status: EntityStatus::Archived, ..entity };
    world
        .with_entities(&[typed(1, "fund"), typed(2, "spv"), archived(typed(3, "fund")), archived(typed(4, "a.b"))])
        .await;
    let types = |words: &[&str]| words.iter().map(|word| word.parse().unwrap()).collect();
    let with = |n, words: &[&str]| Role { scope_types: types(words), ..role(n, &[]) };
    world.with_roles(&[with(1, &["spv", "fund"]), with(2, &["ship", "fund"]), with(3, &[]), with(4, &["spv"])]).await;
    let used = |word: &str, entities, roles| EntityTypeUse { entity_type: word.parse().unwrap(), entities, roles };
    let seen = world.store.unaccepted_types(&EntityTypes::default()).await.unwrap();
    assert_eq!(seen, [used("a.b", 1, 0), used("fund", 2, 2), used("ship", 0, 1)]);
    let accepted = EntityTypes::with(["fund", "ship"].map(|word| word.parse().unwrap()));
    assert_eq!(world.store.unaccepted_types(&accepted).await.unwrap(), [used("a.b", 1, 0)]);
    assert_eq!(world.store.entity(id(1)).await.unwrap().unwrap().entity_type.word(), "fund");
    assert_eq!(world.store.role(id(2)).await.unwrap().unwrap().scope_types, types(&["ship", "fund"]) as Vec<_>);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_level_of_the_tree_has_its_entities_newest_first_and_says_which_go_on(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let archived = |entity| Entity { status: EntityStatus::Archived, ..entity };
    world
        .with_entities(&[
            entity(1, None),
            entity(2, None),
            archived(entity(3, None)),
            entity(4, Some(1)),
            entity(5, Some(4)),
            archived(entity(6, Some(2))),
            entity(7, Some(1)),
            entity(8, Some(1)),
        ])
        .await;
    let level = async |parent: Option<u128>, page: Page| {
        let mut rows = Vec::new();
        world.store.branches(parent.map(id), page, &mut collect_into(&mut rows)).await.unwrap();
        rows.iter().map(|row| (row.entity.id.as_u128(), row.has_children)).collect::<Vec<_>>()
    };
    assert_eq!(level(None, page(10)).await, [(2, false), (1, true)], "what is archived does not count");
    assert_eq!(level(Some(1), page(10)).await, [(8, false), (7, false), (4, true)]);
    assert_eq!(level(Some(1), page(2)).await, [(8, false), (7, false)]);
    let after = Some(Cursor { created_at: at(7), id: id(7) });
    assert_eq!(level(Some(1), Page { limit: 10, after }).await, [(4, true)]);
    let after = Some(Cursor { created_at: at(2), id: id(2) });
    assert_eq!(level(None, Page { limit: 10, after }).await, [(1, true)]);
    assert_eq!(level(Some(99), page(10)).await, [], "there is no such entity");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_assignments_around_an_entity_are_here_inherited_and_below(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world
        .with_entities(&[
            entity(1, None),
            entity(2, Some(1)),
            entity(3, Some(2)),
            entity(4, Some(3)),
            entity(5, Some(1)),
        ])
        .await;
    world.with_roles(&[role(9, &["thing:read"])]).await;
    world
        .with_assignments(&[
            assignment(11, 7, 9, Some(1)),
            assignment(12, 7, 9, Some(2)),
            assignment(13, 7, 9, Some(3)),
            assignment(14, 7, 9, Some(4)),
            assignment(15, 7, 9, Some(5)),
            assignment(16, 7, 9, None),
            assignment(17, 8, 9, Some(3)),
            assignment(18, 8, 9, Some(1)),
        ])
        .await;
    let around = async |entity: u128, reach: Reach, page: Page| {
        let mut rows = Vec::new();
        world.store.assignments_around(id(entity), reach, page, &mut collect_into(&mut rows)).await.unwrap();
        assert!(rows.iter().all(|row| row.role_name == "role 9"));
        rows.iter().map(|row| row.assignment.id.as_u128()).collect::<Vec<_>>()
    };
    let all = page(10);
    assert_eq!(around(2, Reach::Here, all).await, [12]);
    assert_eq!(around(3, Reach::Here, all).await, [17, 13]);
    assert_eq!(around(3, Reach::Inherited, all).await, [18, 16, 12, 11], "global ones too, none of a sibling");
    assert_eq!(around(1, Reach::Inherited, all).await, [16]);
    assert_eq!(around(2, Reach::Below, all).await, [17, 14, 13]);
    assert_eq!(around(1, Reach::Below, all).await, [17, 15, 14, 13, 12], "no global one");
    assert_eq!(around(4, Reach::Below, all).await, []);
    for (reach, first, rest) in
        [(Reach::Inherited, [18, 16], &[12, 11][..]), (Reach::Below, [17, 14], &[13][..]), (Reach::Here, [17, 13], &[])]
    {
        let entity = if reach == Reach::Below { 2 } else { 3 };
        assert_eq!(around(entity, reach, page(2)).await, first, "{reach:?}");
        let second = i64::try_from(first[1]).unwrap();
        let after = Some(Cursor { created_at: at(second), id: id(first[1]) });
        assert_eq!(around(entity, reach, Page { limit: 10, after }).await, rest, "{reach:?}");
    }
    for reach in [Reach::Here, Reach::Inherited, Reach::Below] {
        assert_eq!(around(99, reach, all).await, [], "there is no such entity");
    }
    // No handler would write this cycle; tables that were restored may contain it.
    let mut tx = world.begin().await;
    assert!(tx.update_entity(&entity(1, Some(3))).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(around(2, Reach::Inherited, all).await, [18, 17, 16, 13, 11], "an entity is not above itself");
    assert_eq!(around(2, Reach::Below, all).await, [18, 17, 15, 14, 13, 11], "or below itself");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_objects_of_the_registry_are_counted_up_to_a_limit(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let none = RegistryCounts { entities: 0, principals: 0, roles: 0, assignments: 0 };
    assert_eq!(world.store.registry_counts(10).await.unwrap(), none);
    let archived = Entity { status: EntityStatus::Archived, ..entity(3, None) };
    world.with_entities(&[entity(1, None), entity(2, None), archived]).await;
    world.with_principals(&[principal(7)]).await;
    world.with_roles(&[role(4, &[]), role(5, &[]), role(6, &[])]).await;
    world.with_assignments(&[assignment(11, 7, 4, None), assignment(12, 7, 5, None), assignment(13, 7, 6, None)]).await;
    let counted = RegistryCounts { entities: 2, principals: 1, roles: 3, assignments: 3 };
    assert_eq!(world.store.registry_counts(10).await.unwrap(), counted);
    let limited = RegistryCounts { entities: 2, principals: 1, roles: 2, assignments: 2 };
    assert_eq!(world.store.registry_counts(2).await.unwrap(), limited);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn entities_are_found_by_the_beginning_of_their_names_in_byte_order(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let names = ["Berlin Two", "Berlin One", "berlin", "Berlin Ten", "Berlin", "Bern", "Berlin %"];
    let mut all: Vec<_> =
        names.iter().zip(1..).map(|(name, n)| Entity { name: (*name).into(), ..entity(n, None) }).collect();
    all[3].status = EntityStatus::Archived;
    world.with_entities(&all).await;
    let found = async |prefix: &str, most| {
        let filter = EntityFilter { name_prefix: Some(EntityName::new(prefix).unwrap()), ..EntityFilter::default() };
        let found = world.store.entities_by_name(&filter, most).await.unwrap();
        found.into_iter().map(|one| one.name).collect::<Vec<_>>()
    };
    assert_eq!(found("Berlin", 10).await, ["Berlin", "Berlin %", "Berlin One", "Berlin Two"]);
    assert_eq!(found("Berlin", 2).await, ["Berlin", "Berlin %"]);
    assert_eq!(found("Berlin %", 10).await, ["Berlin %"], "no sign has a meaning");
    assert!(found("C", 10).await.is_empty());
}
