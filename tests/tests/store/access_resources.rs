//! Candidates of lists of resources: the same in every way of finding them, and those that a check allows.

use std::collections::BTreeSet;
use std::time::Duration;

use epr_core::decision::{AskedAction, ConditionFacts};
use epr_core::domain::{Entity, EntityStatus, EntityType, PageMoment, PrincipalStatus, Revision, Timestamp};
use epr_core::store::{
    AccessEnd, ResourceCandidate, ResourceSearch, ResourcesEnd, ResourcesPage, ResourcesQuery, Subtree, SubtreeEntity,
    SubtreePosition, SubtreeStep, SubtreeVariant, SubtreeVisitor,
};
use rstest::rstest;
use uuid::Uuid;

use crate::access::Collected;
use crate::support::{Backend, World, assignment, at, entity, id, principal, role};

pub(crate) const NOW: i64 = 1_000;

pub(crate) fn action() -> AskedAction {
    "thing:read".try_into().unwrap()
}

pub(crate) fn query(action: &AskedAction, principal: u128) -> ResourcesQuery<'_> {
    ResourcesQuery {
        principal_id: id(principal),
        principal_type: "user",
        action,
        resource_type: None,
        within: None,
        includes_archived: false,
        includes_conditional: false,
        at: at(NOW),
        max_candidates: 1000,
        max_expanded: 1000,
        max_page_time: Duration::MAX,
        moment: PageMoment::Present,
    }
}

pub(crate) const PAGE: ResourcesPage =
    ResourcesPage { after: None, expected: 10, search: ResourceSearch::Expand, with_names: true };

/// Expanded, read in the order of ids, and the same with the assignments looked up for each entity.
pub(crate) const WAYS: [(ResourceSearch, usize); 3] =
    [(ResourceSearch::Expand, 1000), (ResourceSearch::Scan, 1000), (ResourceSearch::Expand, 0)];

impl Collected<ResourceCandidate> {
    pub(crate) fn ids(&self) -> Vec<Uuid> {
        self.candidates.iter().map(|one| one.id).collect()
    }
}

pub(crate) async fn visit(
    world: &World,
    query: &ResourcesQuery<'_>,
    page: ResourcesPage,
) -> (Collected<ResourceCandidate>, Option<ResourcesEnd>) {
    let mut collected = Collected::new(usize::MAX);
    let end = world.store.resource_candidates(query, page, &mut collected).await.unwrap();
    (collected, end)
}

/// `1 > 2 > 3`, `1 > 4`, `5 > 6`, and `7` alone; 4 is an issuer, 6 is archived.
async fn small_world(backend: Backend) -> World {
    let world = World::new(backend).await;
    let parents = [(1, None), (2, Some(1)), (3, Some(2)), (4, Some(1)), (5, None), (6, Some(5)), (7, None)];
    let mut entities: Vec<Entity> = parents.into_iter().map(|(n, parent)| entity(n, parent)).collect();
    entities[3].entity_type = EntityType::Issuer;
    entities[5].status = EntityStatus::Archived;
    entities[5].external_id = Some("six".to_owned());
    world.with_entities(&entities).await;
    world.with_roles(&[role(11, &["thing:read"]), role(12, &["thing:write"])]).await;
    world
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn entities_below_overlapping_assignments_are_visited_once_in_the_order_of_their_ids(#[case] backend: Backend) {
    let world = small_world(backend).await;
    world
        .with_assignments(&[
            assignment(21, 31, 11, Some(1)),
            assignment(22, 31, 11, Some(2)),
            assignment(23, 31, 12, Some(7)),
            assignment(24, 31, 11, Some(5)),
            assignment(25, 32, 11, Some(7)),
        ])
        .await;
    let action = action();
    for (search, max_expanded) in WAYS {
        let case = format!("{search:?} {max_expanded}");
        let query = ResourcesQuery { max_expanded, ..query(&action, 31) };
        let (found, end) = visit(&world, &query, ResourcesPage { search, ..PAGE }).await;
        assert_eq!(found.ids(), [1, 2, 3, 4, 5].map(id), "{case}");
        assert_eq!(end.unwrap().end, AccessEnd::Complete, "{case}");
        let third = &found.candidates[2];
        let held: BTreeSet<_> = third.facts.assignments.iter().map(|one| one.assignment_id).collect();
        assert_eq!((held, third.name.as_str()), ([21, 22].map(id).into(), "entity 3"), "{case}");
        assert_eq!(third.names.entities[&id(2)].name, "entity 2", "{case}");
        assert_eq!(third.names.roles[&id(11)], "role 11", "{case}");

        let archived = ResourcesQuery { includes_archived: true, ..query };
        let (found, _) = visit(&world, &archived, ResourcesPage { search, ..PAGE }).await;
        assert_eq!(found.ids(), [1, 2, 3, 4, 5, 6].map(id), "{case}");
        assert_eq!(found.candidates[5].external_id.as_deref(), Some("six"), "{case}");
        for (kind, expected) in
            [(EntityType::Issuer, &[4][..]), (EntityType::Spv, &[1, 2, 3, 5]), (EntityType::Agent, &[])]
        {
            let typed = ResourcesQuery { resource_type: Some(&kind), ..query };
            let (found, _) = visit(&world, &typed, ResourcesPage { search, ..PAGE }).await;
            assert_eq!(found.ids(), expected.iter().map(|n| id(*n)).collect::<Vec<_>>(), "{case} {kind:?}");
        }
    }
    let unknown = ResourcesQuery { within: Some(id(99)), ..query(&action, 31) };
    let (found, end) = visit(&world, &unknown, PAGE).await;
    assert!(found.start.is_none() && end.is_none());
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_limited_list_has_what_is_strictly_below_whether_the_assignment_is_above_or_below(#[case] backend: Backend) {
    let world = small_world(backend).await;
    world
        .with_assignments(&[
            assignment(21, 31, 11, Some(1)),
            assignment(22, 32, 11, Some(3)),
            assignment(23, 33, 11, None),
            assignment(24, 34, 11, Some(2)),
            assignment(25, 34, 11, Some(7)),
        ])
        .await;
    let action = action();
    for (search, max_expanded) in WAYS {
        for (principal, within, expected) in [
            (31, 1, &[2, 3, 4][..]),
            (31, 2, &[3]),
            (31, 3, &[]),
            (31, 5, &[]),
            (32, 1, &[3]),
            (32, 2, &[3]),
            (32, 3, &[]),
            (33, 1, &[2, 3, 4]),
            (34, 2, &[3]),
            (34, 1, &[2, 3]),
            (35, 1, &[]),
        ] {
            let query = ResourcesQuery { within: Some(id(within)), max_expanded, ..query(&action, principal) };
            let (found, end) = visit(&world, &query, ResourcesPage { search, ..PAGE }).await;
            let case = format!("{search:?} {max_expanded}: {principal} within {within}");
            assert_eq!(found.ids(), expected.iter().map(|n| id(*n)).collect::<Vec<_>>(), "{case}");
            assert_eq!(end.unwrap().end, AccessEnd::Complete, "{case}");
        }
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_visit_ends_after_the_most_candidates_or_its_time_and_continues_behind_them(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let entities: Vec<Entity> = (1..=60).map(|n| entity(n, (n % 20 != 1).then(|| n - 1))).collect();
    world.with_entities(&entities).await;
    world.with_roles(&[role(11, &["thing:read"])]).await;
    world.with_assignments(&[assignment(21, 31, 11, Some(5)), assignment(22, 31, 11, Some(50))]).await;
    let expected: Vec<Uuid> = (5..=20).chain(50..=60).map(id).collect();
    let action = action();
    for (search, max_expanded) in WAYS {
        let bounds = [1, 7, 60, 61, 1000].map(|most| (most, Duration::MAX));
        for (max_candidates, max_page_time) in bounds.into_iter().chain([(1000, Duration::ZERO)]) {
            for expected_number in [1, 4, 500] {
                let (mut page, mut all, mut visits) =
                    (ResourcesPage { search, expected: expected_number, ..PAGE }, Vec::new(), 0);
                loop {
                    visits += 1;
                    assert!(visits < 200, "it does not end");
                    let query = ResourcesQuery { max_candidates, max_expanded, max_page_time, ..query(&action, 31) };
                    let (found, end) = visit(&world, &query, page).await;
                    all.extend(found.ids());
                    let ResourcesEnd { end, search } = end.unwrap();
                    match end {
                        AccessEnd::Bounded(last) => {
                            assert!(Some(last) > page.after, "{last} {page:?}");
                            page = ResourcesPage { after: Some(last), search, ..page };
                        }
                        AccessEnd::Complete => break,
                        AccessEnd::Stopped => panic!("nothing stopped it"),
                    }
                }
                assert_eq!(all, expected, "{search:?} {max_expanded} {max_candidates} {expected_number}");
                if max_page_time.is_zero() && max_expanded > 0 && search == ResourceSearch::Expand {
                    assert_eq!(visits > 1, expected_number < 500, "a page ends after the first batch");
                }
            }
        }
        // A visitor that stops is not called again, and says where it stopped.
        let mut stopping = Collected::new(3);
        let query = ResourcesQuery { max_expanded, ..query(&action, 31) };
        let end = world.store.resource_candidates(&query, ResourcesPage { search, ..PAGE }, &mut stopping).await;
        assert_eq!((end.unwrap().unwrap().end, stopping.ids()), (AccessEnd::Stopped, expected[..3].to_vec()));
    }
    // Subtrees that are too large are not expanded, and the next page need not try.
    let query = ResourcesQuery { max_expanded: 26, ..query(&action, 31) };
    let (found, end) = visit(&world, &query, PAGE).await;
    assert_eq!((found.ids(), end.unwrap().search), (expected.clone(), ResourceSearch::Scan));
    let query = ResourcesQuery { max_expanded: 27, ..query };
    assert_eq!(visit(&world, &query, PAGE).await.1.unwrap().search, ResourceSearch::Expand);
}

/// Collects the subtrees and what they except, and asks for every entity of those whose condition reads the resource.
#[derive(Default)]
pub(crate) struct Subtrees {
    pub(crate) shown: Vec<(Subtree, Vec<SubtreeEntity>)>,
    /// The entities that are taken before it stops.
    limit: Option<usize>,
}

impl SubtreeVisitor for Subtrees {
    fn begin(&mut self, _: Revision, _: Option<Timestamp>) -> bool {
        true
    }

    fn subtree(&mut self, subtree: Subtree) -> SubtreeStep {
        let reads_resource = subtree.assignment.conditions.iter().any(ConditionFacts::reads_resource);
        self.shown.push((subtree, Vec::new()));
        if reads_resource { SubtreeStep::Each } else { SubtreeStep::LeftOut }
    }

    fn entity(&mut self, entity: SubtreeEntity) -> bool {
        let taken: usize = self.shown.iter().map(|(_, entities)| entities.len()).sum();
        if self.limit.is_some_and(|limit| taken >= limit) {
            return false;
        }
        self.shown.last_mut().unwrap().1.push(entity);
        true
    }
}

impl Subtrees {
    /// The number of each assignment, its root, and what is left out below it.
    fn summary(&self) -> Vec<(u128, Option<u128>, Vec<u128>)> {
        let number = |id: Uuid| id.as_u128();
        let one = |(subtree, entities): &(Subtree, Vec<SubtreeEntity>)| {
            let root = subtree.root.as_ref().map(|root| number(root.id));
            let left_out = entities.iter().filter(|one| one.is_left_out).map(|one| number(one.id)).collect();
            (number(subtree.assignment.assignment_id), root, left_out)
        };
        self.shown.iter().map(one).collect()
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn subtrees_come_in_the_order_of_their_assignments_without_archived_entities(#[case] backend: Backend) {
    let world = small_world(backend).await;
    let mut future = assignment(26, 31, 11, Some(7));
    future.effective_at = at(NOW + 3600);
    let mut ended = assignment(27, 31, 11, Some(7));
    (ended.principal_id, ended.expires_at) = (id(31), Some(at(NOW - 500)));
    ended.entity_id = Some(id(3));
    world
        .with_assignments(&[
            assignment(24, 31, 11, None),
            assignment(23, 31, 11, Some(5)),
            assignment(22, 31, 12, Some(7)),
            assignment(21, 31, 11, Some(2)),
            future,
            ended,
        ])
        .await;
    let action = action();
    let visit = async |query: ResourcesQuery<'_>| {
        let mut found = Subtrees::default();
        let end = world.store.subtrees(&query, None, &mut found).await.unwrap();
        assert_eq!(end, Some(AccessEnd::Complete));
        found.summary()
    };
    for max_expanded in [0, 1, 1000] {
        let query = ResourcesQuery { max_expanded, ..query(&action, 31) };
        let all = [(21, Some(2), vec![]), (23, Some(5), vec![6]), (24, None, vec![6])];
        assert_eq!(visit(query).await, all, "{max_expanded}");
        let whole = ResourcesQuery { includes_archived: true, ..query };
        assert_eq!(visit(whole).await, [(21, Some(2), vec![]), (23, Some(5), vec![]), (24, None, vec![])]);
        let issuers = ResourcesQuery { resource_type: Some(&EntityType::Issuer), ..query };
        assert_eq!(visit(issuers).await, [(21, Some(2), vec![]), (23, Some(5), vec![]), (24, None, vec![])]);
        // Below an entity, it is the root, without itself.
        let below = ResourcesQuery { within: Some(id(5)), ..query };
        assert_eq!(visit(below).await, [(23, Some(5), vec![5, 6]), (24, Some(5), vec![5, 6])], "{max_expanded}");
        let below = ResourcesQuery { within: Some(id(1)), ..query };
        assert_eq!(visit(below).await, [(21, Some(2), vec![]), (24, Some(1), vec![1])], "{max_expanded}");
    }
    let mut found = Subtrees::default();
    let unknown = ResourcesQuery { within: Some(id(99)), ..query(&action, 31) };
    assert_eq!(world.store.subtrees(&unknown, None, &mut found).await.unwrap(), None);
    // A visit continues behind a position: an assignment, or an entity of its subtree.
    for (entity_id, expected) in
        [(None, vec![(24, None, vec![6])]), (Some(id(5)), vec![(23, Some(5), vec![6]), (24, None, vec![6])])]
    {
        let mut found = Subtrees::default();
        let after =
            SubtreePosition { created_at: at(23), assignment_id: id(23), variant: SubtreeVariant::Allowed, entity_id };
        world.store.subtrees(&query(&action, 31), Some(after), &mut found).await.unwrap();
        assert_eq!(found.summary(), expected);
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_suspended_principal_has_neither_candidates_nor_subtrees(#[case] backend: Backend) {
    let world = small_world(backend).await;
    let mut suspended = principal(31);
    suspended.status = PrincipalStatus::Suspended;
    world.with_principals(&[suspended]).await;
    world.with_assignments(&[assignment(21, 31, 11, Some(1))]).await;
    let action = action();
    let (found, end) = visit(&world, &query(&action, 31), PAGE).await;
    assert!(found.start.is_some());
    assert_eq!((found.ids(), end.unwrap().end), (vec![], AccessEnd::Complete));
    let mut subtrees = Subtrees::default();
    let end = world.store.subtrees(&query(&action, 31), None, &mut subtrees).await.unwrap();
    assert_eq!((end, subtrees.summary()), (Some(AccessEnd::Complete), vec![]));
}
