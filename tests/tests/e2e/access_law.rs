//! The law of lists: the union of all pages is exactly what checks say yes to, without a duplicate and without a gap,
//! in the order of the ids, for every limit. Over random registries, on both databases.

use std::collections::BTreeMap;

use epr_core::Error;
use epr_core::decision::{Question, Reason};
use epr_core::domain::access::{AccessItem, AccessPage, Include, ListRequest};
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{ActionsRequest, JsonObject, PrincipalsRequest};
use epr_core::{Call, Epr};
use epr_testkit::database::DatabaseKind;
use epr_testkit::seed;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rstest::rstest;
use uuid::Uuid;

use crate::access_world::{ACTIONS, Size, World, context};

/// The fewest items of each kind that are compared, and the most worlds that are searched for them: some worlds allow
/// little.
const ENOUGH: usize = 10;
const WORLDS: usize = 20;
const LISTS: usize = 12;
const LIMITS: [u32; 6] = [1, 2, 3, 7, 100, 1000];

/// A list: what is asked, page by page.
pub(crate) trait List {
    /// The request with these members.
    fn with(&self, list: ListRequest) -> Self;
    /// Asks for one page.
    async fn page(&self, epr: &Epr) -> Result<AccessPage<AccessItem>, Error>;
}

impl List for PrincipalsRequest {
    fn with(&self, list: ListRequest) -> Self {
        Self { list, ..self.clone() }
    }

    async fn page(&self, epr: &Epr) -> Result<AccessPage<AccessItem>, Error> {
        epr.list_principals(&Call::default(), self).await
    }
}

impl List for ActionsRequest {
    fn with(&self, list: ListRequest) -> Self {
        Self { list, ..self.clone() }
    }

    async fn page(&self, epr: &Epr) -> Result<AccessPage<AccessItem>, Error> {
        epr.list_actions(&Call::default(), self).await
    }
}

/// Every item of a list, by pages of the limit of `list`.
pub(crate) async fn walk<L: List>(epr: &Epr, request: &L, list: &ListRequest) -> Result<Vec<AccessItem>, Error> {
    let (mut items, mut next) = (Vec::new(), None);
    loop {
        let page = request.with(ListRequest { next, ..list.clone() }).page(epr).await?;
        assert!(page.items.len() <= usize::try_from(list.limit).unwrap());
        assert_eq!(page.complete, page.next.is_none(), "a page that is not the last one has a token");
        items.extend(page.items);
        next = page.next;
        if next.is_none() {
            return Ok(items);
        }
    }
}

/// An item as the checks have it: whether it is allowed and by which assignment, and whether context is missing.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    assignment: Option<Uuid>,
    until: Option<String>,
    missing: bool,
}

/// What checks say about `questions`, by the key of each; an error if one of them has one.
async fn checked<K: Ord>(
    world: &World,
    questions: Vec<(K, Question)>,
    context: &JsonObject,
) -> Result<BTreeMap<K, Expected>, Error> {
    let mut expected = BTreeMap::new();
    for (key, question) in questions {
        let decision = world.check(&question, context).await?;
        let explanation = world.explain(&question, context).await?;
        let assignment = match decision.reason {
            Reason::Granted { assignment_id, .. } => Some(assignment_id),
            Reason::Denied(_) => None,
        };
        let (until, missing) =
            (explanation.until.map(|until| until.to_string()), explanation.reason == "context_missing");
        expected.insert(key, Expected { assignment, until, missing });
    }
    Ok(expected)
}

/// Compares a list with the checks of every item that could be on it. `key` is the key of a listed item. Returns the
/// number of items; `None` when a check is an error, as the list is then.
async fn compare<L: List, K: Ord + std::fmt::Debug>(
    world: &World,
    (request, lists): (&L, usize),
    context: &JsonObject,
    questions: Vec<(K, Question)>,
    key: impl Fn(&AccessItem) -> K,
) -> Option<usize> {
    let expected = checked(world, questions, context).await;
    for (at, limit) in LIMITS.into_iter().enumerate() {
        // Each limit with and without conditional items, in turn.
        let include = if (at + lists).is_multiple_of(2) { vec![] } else { vec![Include::Conditional] };
        let list = ListRequest { context: context.clone(), limit, include: include.clone(), ..ListRequest::default() };
        let listed = walk(&world.epr, request, &list).await;
        let (expected, listed) = match (&expected, listed) {
            (Ok(expected), Ok(listed)) => (expected, listed),
            (Err(expected), Err(listed)) => {
                assert_eq!(expected.to_string(), listed.to_string());
                continue;
            }
            (expected, listed) => panic!("the checks say {expected:?}, the list says {listed:?}"),
        };
        let wanted = |one: &&Expected| one.assignment.is_some() || (one.missing && !include.is_empty());
        let wanted: Vec<_> = expected.iter().filter(|(_, one)| wanted(one)).collect();
        assert_eq!(
            listed.iter().map(&key).collect::<Vec<_>>().iter().collect::<Vec<_>>(),
            wanted.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
            "limit {limit}, {include:?}"
        );
        for (item, (_, expected)) in listed.iter().zip(wanted) {
            let via = item.via.as_ref().unwrap();
            assert_eq!((item.conditional, !item.missing.is_empty()), (expected.missing, expected.missing));
            assert_eq!(via.until.map(|until| until.to_string()), expected.until, "{item:?}");
            if let Some(assignment) = expected.assignment {
                assert_eq!(via.assignment_id, assignment, "{item:?}");
            }
        }
    }
    let allowed = |expected: BTreeMap<_, Expected>| expected.values().filter(|one| one.assignment.is_some()).count();
    expected.ok().map(allowed)
}

/// Compares one random list of principals with the checks.
async fn compare_principals(world: &World, rng: &mut StdRng, lists: usize) -> Option<usize> {
    let context = context(rng);
    let kind = world.principals.choose(rng).filter(|_| rng.random_bool(0.25)).map(|(_, kind)| kind.clone());
    let request = PrincipalsRequest {
        action: ACTIONS.choose(rng).unwrap().parse().unwrap(),
        resource_id: *world.entities.choose(rng).unwrap(),
        principal_type: kind.clone(),
        list: ListRequest::default(),
    };
    let question = |(id, principal_type): &(Uuid, PrincipalType)| Question {
        principal_id: *id,
        principal_type: principal_type.clone(),
        action: request.action.clone(),
        resource_id: request.resource_id,
    };
    let questions = world.principals.iter().filter(|(_, one)| kind.as_ref().is_none_or(|kind| one == kind));
    let questions = questions.map(|one| ((one.0, one.1.as_str().to_owned()), question(one))).collect();
    let key = |item: &AccessItem| (item.id.parse().unwrap(), item.kind.clone().unwrap());
    compare(world, (&request, lists), &context, questions, key).await
}

/// Compares one random list of actions with the checks.
async fn compare_actions(world: &World, rng: &mut StdRng, lists: usize) -> Option<usize> {
    let context = context(rng);
    let (principal_id, principal_type) = world.principals.choose(rng).unwrap().clone();
    let request = ActionsRequest {
        principal_id,
        principal_type,
        resource_id: *world.entities.choose(rng).unwrap(),
        list: ListRequest::default(),
    };
    let question = |action: &str| Question {
        principal_id,
        principal_type: request.principal_type.clone(),
        action: action.parse().unwrap(),
        resource_id: request.resource_id,
    };
    let questions = ACTIONS.iter().map(|action| ((*action).to_owned(), question(action))).collect();
    compare(world, (&request, lists), &context, questions, |item| item.id.clone()).await
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_of_a_list_are_exactly_what_checks_say_yes_to(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("the_pages_of_a_list_are_exactly_what_checks_say_yes_to");
    let (mut items, mut refused) = ([0; 2], 0);
    for number in 1..=WORLDS {
        let mut world = World::random(kind, &mut rng, Size::SMALL).await;
        for lists in 0..LISTS {
            let mut found = vec![(0, compare_principals(&world, &mut rng, lists).await)];
            for _ in 0..3 {
                found.push((1, compare_actions(&world, &mut rng, lists).await));
            }
            for (at, found) in found {
                match found {
                    Some(found) => items[at] += found,
                    None => refused += 1,
                }
            }
            // Also at the moments at which windows start and end, and after changes.
            world.clock.advance_micros(rng.random_range(0..3) * 1_000_000);
            for _ in 0..4 {
                world.change(&mut rng).await;
            }
        }
        world.epr.close().await;
        if number > 1 && items.iter().all(|items| *items >= ENOUGH) {
            println!("{items:?} items of principals and of actions in {number} worlds, {refused} refused");
            return;
        }
    }
    panic!("{items:?} items of principals and of actions in {WORLDS} worlds: too few to compare");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_goes_on_at_the_revision_of_its_first_page(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("a_list_goes_on_at_the_revision_of_its_first_page");
    let mut world = World::random(kind, &mut rng, Size::SMALL).await;
    let (mut changed, mut gone_on) = (0, 0);
    while changed < 12 || gone_on < 3 {
        let request = PrincipalsRequest {
            action: ACTIONS.choose(&mut rng).unwrap().parse().unwrap(),
            resource_id: *world.entities.choose(&mut rng).unwrap(),
            principal_type: None,
            list: ListRequest::default(),
        };
        let list = ListRequest { limit: 1, ..ListRequest::default() };
        // One page: only the walk under test needs many.
        let whole = match walk(&world.epr, &request, &ListRequest { limit: 1000, ..list.clone() }).await {
            Ok(items) => items,
            Err(error) => panic!("{error}"),
        };
        let first = request.with(list.clone()).page(&world.epr).await.unwrap();
        let Some(next) = first.next else {
            world.change(&mut rng).await;
            continue;
        };
        let second = request.with(ListRequest { next: Some(next), ..list });
        let is_changed = rng.random_bool(0.7);
        let revision = first.revision.clone();
        if is_changed {
            world.change(&mut rng).await;
        }
        // A change that changes nothing leaves the revision as it is.
        let now = request.with(ListRequest::default()).page(&world.epr).await.unwrap().revision;
        let page = second.page(&world.epr).await.unwrap();
        assert_eq!((&page.revision, page.as_of), (&revision, first.as_of));
        assert_eq!(page.items, whole[1..2]);
        if now == revision { gone_on += 1 } else { changed += 1 }
    }
    world.epr.close().await;
}
