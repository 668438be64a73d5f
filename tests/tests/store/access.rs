//! Candidates of lists of access, and the keys of page tokens.

use epr_core::domain::{EntityType, JsonObject, PageMoment, Principal, PrincipalStatus};
use epr_core::store::{
    AccessEnd, AccessStart, AccessVisitor, ActionCandidate, ActionsQuery, PrincipalCandidate, PrincipalKey,
    PrincipalsQuery, StoreError,
};
use rstest::rstest;

use crate::support::{Backend, World, assignment, at, decisive_draft, id, principal, role};

/// Collects candidates, and stops after `limit`.
pub(crate) struct Collected<T> {
    pub(crate) start: Option<AccessStart>,
    pub(crate) candidates: Vec<T>,
    limit: usize,
}

impl<T> Collected<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { start: None, candidates: Vec::new(), limit }
    }
}

impl<T: Send> AccessVisitor<T> for Collected<T> {
    fn begin(&mut self, start: AccessStart) -> bool {
        assert!(self.start.replace(start).is_none(), "called once");
        self.limit > 0
    }

    fn candidate(&mut self, candidate: T) -> bool {
        self.candidates.push(candidate);
        self.candidates.len() < self.limit
    }
}

fn query(action: &epr_core::decision::AskedAction, resource: u128) -> PrincipalsQuery<'_> {
    PrincipalsQuery {
        action,
        resource_id: id(resource),
        unregistered: None,
        principal_type: None,
        after: None,
        expected: 10,
        max_candidates: 1000,
        moment: PageMoment::Present,
    }
}

/// `entity 1 > entity 2`. Role 11 holds `thing:read`, role 12 too but only for issuers, role 13 does not. Principals
/// 101 to 130 have role 11 on entity 1, the even ones also on entity 2, and 200 everywhere; 300 and 301 have the other
/// roles.
async fn world(backend: Backend) -> World {
    let world = World::with_three_entities(backend).await;
    let mut issuers_only = role(12, &["thing:read", "thing:list"]);
    issuers_only.scope_types = vec![EntityType::Issuer];
    world.with_roles(&[role(11, &["thing:read", "thing:write"]), issuers_only, role(13, &["thing:write"])]).await;
    let mut assignments: Vec<_> = (101..=130).map(|n| assignment(1000 + n, n, 11, Some(1))).collect();
    assignments.extend((101..=130).filter(|n| n % 2 == 0).map(|n| assignment(2000 + n, n, 11, Some(2))));
    assignments.push(assignment(3000, 200, 11, None));
    assignments.push(assignment(3001, 300, 12, Some(1)));
    assignments.push(assignment(3002, 301, 13, Some(1)));
    assignments.push(assignment(3003, 302, 11, Some(3)));
    world.with_assignments(&assignments).await;
    world
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn candidates_are_the_principals_with_a_role_that_holds_the_action_in_the_order_of_their_ids(
    #[case] backend: Backend,
) {
    let world = world(backend).await;
    let action = "thing:read".try_into().unwrap();
    world.store.append(&[decisive_draft(1)]).await.unwrap();
    let ada = Principal {
        external_id: Some("ada".to_owned()),
        display_name: Some("Ada".to_owned()),
        status: PrincipalStatus::Suspended,
        ..principal(102)
    };
    world.with_principals(&[ada, Principal { principal_type: "service".to_owned(), ..principal(103) }]).await;
    let mut all = Collected::<PrincipalCandidate>::new(usize::MAX);
    let end = world.store.principal_candidates(&query(&action, 2), &mut all).await.unwrap();
    assert_eq!(end, Some(AccessEnd::Complete));
    let start = all.start.unwrap();
    assert_eq!((start.revision.sequence, start.resource_type), (1, Some(EntityType::Spv)));
    assert_eq!(start.entities.keys().copied().collect::<Vec<_>>(), [id(1), id(2)]);
    assert_eq!(start.roles.into_iter().collect::<Vec<_>>(), [(id(11), "role 11".to_owned())]);
    let ids: Vec<_> = all.candidates.iter().map(|one| one.id.as_u128()).collect();
    assert_eq!(ids, (101..=130).chain([200]).collect::<Vec<_>>());
    for candidate in &all.candidates {
        let (n, facts) = (candidate.id.as_u128(), &candidate.facts);
        let expected = if (101..=130).contains(&n) && n % 2 == 0 { 2 } else { 1 };
        assert_eq!(facts.assignments.len(), expected, "{n}");
        assert!(facts.assignments.iter().all(|one| one.held_action.as_deref() == Some("thing:read")));
        assert!(facts.assigned_entities.contains(&id(2)), "the resource");
        assert_eq!((facts.principal.is_suspended, candidate.registration.is_some()), (n == 102, n == 102));
        assert_eq!(*facts.principal.attributes, JsonObject::new(), "there is no condition");
    }
    let mut none = Collected::<PrincipalCandidate>::new(usize::MAX);
    assert_eq!(world.store.principal_candidates(&query(&action, 99), &mut none).await.unwrap(), None);
    assert!(none.start.is_none(), "an unknown resource");
    let unheld = "thing:sell".try_into().unwrap();
    let end = world.store.principal_candidates(&query(&unheld, 2), &mut none).await.unwrap();
    assert_eq!((end, none.candidates.len()), (Some(AccessEnd::Complete), 0));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_visit_goes_on_after_any_candidate_and_ends_after_the_most(#[case] backend: Backend) {
    let world = world(backend).await;
    let action = "thing:read".try_into().unwrap();
    let whole: Vec<u128> = (101..=130).chain([200]).collect();
    for (max_candidates, limit, expected) in [(1, 99, 1), (7, 99, 1), (7, 3, 10), (1000, 5, 5), (1000, 40, 40)] {
        let (mut ids, mut after): (Vec<u128>, Option<PrincipalKey>) = (Vec::new(), None);
        loop {
            let mut page = Collected::<PrincipalCandidate>::new(limit);
            let query = PrincipalsQuery { after: after.as_ref(), expected, max_candidates, ..query(&action, 2) };
            let end = world.store.principal_candidates(&query, &mut page).await.unwrap().unwrap();
            ids.extend(page.candidates.iter().map(|one| one.id.as_u128()));
            let last = page.candidates.last().map(|one| (one.id, one.principal_type.clone()));
            match end {
                AccessEnd::Complete => break,
                AccessEnd::Stopped => {
                    assert_eq!(page.candidates.len(), limit);
                    after = last;
                }
                AccessEnd::Bounded(key) => {
                    assert_eq!((Some(&key), page.candidates.len()), (last.as_ref(), max_candidates));
                    after = Some(key);
                }
            }
        }
        assert_eq!(ids, whole, "{max_candidates} {limit} {expected}");
    }
    // Principals of another type count among those looked at, and are not visited.
    let mut page = Collected::<PrincipalCandidate>::new(usize::MAX);
    let services = PrincipalsQuery { principal_type: Some("service"), max_candidates: 4, ..query(&action, 2) };
    let end = world.store.principal_candidates(&services, &mut page).await.unwrap();
    assert_eq!((end, page.candidates.len()), (Some(AccessEnd::Bounded((id(104), "user".to_owned()))), 0));
    // A visitor may stop at the start.
    let mut stopped = Collected::<PrincipalCandidate>::new(0);
    let end = world.store.principal_candidates(&query(&action, 2), &mut stopped).await.unwrap();
    assert_eq!((end, stopped.candidates.len()), (Some(AccessEnd::Stopped), 0));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn actions_are_those_of_the_roles_that_reach_the_resource_in_the_order_of_their_bytes(#[case] backend: Backend) {
    let world = world(backend).await;
    world.with_roles(&[role(14, &["Thing:z", "thing:read", "été:é", "thing:a-b", "thing:a:b"])]).await;
    world.with_assignments(&[assignment(4000, 102, 14, Some(2)), assignment(4001, 102, 13, Some(3))]).await;
    let query = ActionsQuery {
        principal_id: id(102),
        principal_type: "user",
        resource_id: id(2),
        unregistered: None,
        after: None,
        max_rows: 1000,
        moment: PageMoment::Present,
    };
    let whole = ["Thing:z", "thing:a-b", "thing:a:b", "thing:read", "thing:write", "été:é"];
    for max_rows in [1, 3, 4, 1000] {
        let (mut actions, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut page = Collected::<ActionCandidate>::new(usize::MAX);
            let query = ActionsQuery { after: after.as_deref(), max_rows, ..query.clone() };
            let end = world.store.action_candidates(&query, &mut page).await.unwrap().unwrap();
            for candidate in page.candidates {
                let held = |role: u128| candidate.facts.assignments.iter().any(|one| one.role_id == id(role));
                assert_eq!(
                    (held(11), held(14)),
                    match candidate.action.as_str() {
                        "thing:read" => (true, true),
                        "thing:write" => (true, false),
                        _ => (false, true),
                    }
                );
                actions.push(candidate.action);
            }
            match end {
                AccessEnd::Bounded(last) => after = Some(last),
                AccessEnd::Complete => break,
                AccessEnd::Stopped => panic!("nothing stopped it"),
            }
        }
        assert_eq!(actions, whole, "{max_rows}");
    }
    let mut page = Collected::<ActionCandidate>::new(2);
    let end = world.store.action_candidates(&query, &mut page).await.unwrap();
    assert_eq!((end, page.candidates.len()), (Some(AccessEnd::Stopped), 2));
    let mut none = Collected::<ActionCandidate>::new(usize::MAX);
    let unknown = ActionsQuery { resource_id: id(99), ..query.clone() };
    assert_eq!(world.store.action_candidates(&unknown, &mut none).await.unwrap(), None);
    let stranger = ActionsQuery { principal_type: "service", ..query };
    let end = world.store.action_candidates(&stranger, &mut none).await.unwrap();
    assert_eq!((end, none.candidates.len()), (Some(AccessEnd::Complete), 0));
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn lists_are_refused_from_a_database_that_lacks_a_registry_change_of_this_process(#[case] backend: Backend) {
    let world = world(backend).await;
    let action = "thing:read".try_into().unwrap();
    world.store.append(&[decisive_draft(1)]).await.unwrap();
    world.database().execute("UPDATE registry_head SET sequence = 0").await.unwrap();
    let mut all = Collected::<PrincipalCandidate>::new(usize::MAX);
    let error = world.store.principal_candidates(&query(&action, 2), &mut all).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)) && all.start.is_none(), "{error}");
    let mut all = Collected::<ActionCandidate>::new(usize::MAX);
    let query = ActionsQuery {
        principal_id: id(102),
        principal_type: "user",
        resource_id: id(2),
        unregistered: None,
        after: None,
        max_rows: 1000,
        moment: PageMoment::Present,
    };
    let error = world.store.action_candidates(&query, &mut all).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)) && all.start.is_none(), "{error}");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn keys_of_tokens_are_numbered_and_the_obsolete_ones_deleted(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let numbers =
        async || -> Vec<i64> { world.store.list_keys().await.unwrap().iter().map(|key| key.number).collect() };
    assert_eq!(numbers().await, Vec::<i64>::new());
    let rotate = async |key: u8, now: i64, unless_after: i64, obsolete: i64| {
        let keys = world.store.rotate_list_key(&[key; 32], at(now), at(unless_after), at(obsolete)).await.unwrap();
        assert_eq!(keys, world.store.list_keys().await.unwrap());
        keys.iter().map(|key| key.number).collect::<Vec<_>>()
    };
    assert_eq!(rotate(1, 100, 0, 0).await, [1]);
    assert_eq!(rotate(2, 150, 99, 0).await, [1], "the newest is young enough");
    assert_eq!(rotate(2, 200, 100, 0).await, [2, 1]);
    assert_eq!(rotate(3, 300, 299, 200).await, [3, 2, 1], "the successor of 1 began at 200, which is not before 200");
    assert_eq!(rotate(4, 400, 399, 201).await, [4, 3, 2]);
    let keys = world.store.list_keys().await.unwrap();
    assert_eq!((keys[0].key, keys[0].started_at), ([4; 32], at(400)));
    assert!(!format!("{keys:?}").contains("4, 4"), "no format shows the bytes");
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn of_rotations_at_once_one_starts_a_key(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let rotations = (0..8_u8).map(|n| {
        let store = world.store.clone();
        tokio::spawn(async move {
            loop {
                match store.rotate_list_key(&[n; 32], at(100), at(50), at(0)).await {
                    Err(StoreError::Contention(_)) => {}
                    keys => return keys.unwrap(),
                }
            }
        })
    });
    let rotations: Vec<_> = rotations.collect();
    let mut seen = Vec::new();
    for rotation in rotations {
        seen.push(rotation.await.unwrap());
    }
    assert!(seen.iter().all(|keys| *keys == seen[0] && keys.len() == 1), "{seen:?}");
}
