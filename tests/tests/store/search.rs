//! Searches in the names of other systems: every candidate, in the order of the names, within bounds.

use epr_core::decision::{AskedAction, NamedType};
use epr_core::domain::{Entity, Principal};
use epr_core::store::{AccessEnd, ExternalName, SearchCandidate, SearchFor, SearchQuery, SearchStart, SearchVisitor};
use rstest::rstest;
use uuid::Uuid;

use crate::support::{Backend, World, assignment, entity, id, principal, role};

/// Keeps what it is shown, and stops after `most` candidates.
struct Kept {
    start: Option<SearchStart>,
    found: Vec<SearchCandidate>,
    most: usize,
}

impl SearchVisitor for Kept {
    fn begin(&mut self, start: SearchStart) {
        self.start = Some(start);
    }

    fn candidate(&mut self, candidate: &SearchCandidate) -> bool {
        self.found.push(candidate.clone());
        self.found.len() < self.most
    }
}

async fn visit(world: &World, query: &SearchQuery<'_>, most: usize) -> (Kept, AccessEnd<String>) {
    let mut kept = Kept { start: None, found: Vec::new(), most };
    let end = world.store.search(query, &mut kept).await.unwrap();
    (kept, end)
}

fn names(kept: &Kept) -> Vec<&str> {
    kept.found.iter().map(|one| one.name.as_str()).collect()
}

fn name(kind: &str, id: &str) -> ExternalName {
    ExternalName { kind: kind.parse().unwrap(), id: id.parse().unwrap() }
}

/// A root with two entities below it, and principals of which the first five hold a role on the root. The external id
/// of one principal is the UUID of another one, and so for entities.
async fn filled(backend: Backend) -> World {
    let world = World::new(backend).await;
    let known = |n: u128, external_id: &str| Principal { external_id: Some(external_id.to_owned()), ..principal(n) };
    let service = Principal { principal_type: "service".to_owned(), ..known(8, "e") };
    let third = id(3).to_string();
    let all = [known(1, "b"), known(2, "\u{e9}"), principal(3), principal(4), known(5, "Z"), known(6, &third)];
    world.with_principals(&all).await;
    world.with_principals(&[known(7, "nothing"), service]).await;
    let external =
        |n: u128, parent, external_id: &str| Entity { external_id: Some(external_id.to_owned()), ..entity(n, parent) };
    let entities = [external(11, None, "root"), external(12, Some(11), "one"), entity(13, Some(12))];
    world.with_entities(&entities).await;
    world.with_entities(&[external(14, None, &id(13).to_string()), external(15, None, "apart")]).await;
    world.with_roles(&[role(21, &["a:read", "a:write"]), role(22, &["a:other"])]).await;
    for n in 1..=5 {
        world.with_assignments(&[assignment(30 + n, n, 21, Some(11)), assignment(40 + n, n, 22, None)]).await;
    }
    world.with_assignments(&[assignment(50, 9, 21, Some(11))]).await;
    world
}

fn uuid(n: u128) -> String {
    id(n).to_string()
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn candidates_come_in_the_order_of_their_names_wherever_a_page_begins(#[case] backend: Backend) {
    let world = filled(backend).await;
    let (user, spv): (NamedType, NamedType) = ("user".parse().unwrap(), "spv".parse().unwrap());
    let read: AskedAction = "a:read".parse().unwrap();
    let (one, ada) = (name("spv", "one"), name("user", "b"));
    let subjects = SearchFor::Subjects { principal_type: &user, action: &read, resource: &one };
    let resources = SearchFor::Resources { principal: &ada, action: &read, resource_type: &spv };
    let actions = SearchFor::Actions { principal: &ada, resource: &one };
    // With a small bound, the index is read instead of what the assignments reach: more candidates, the same order.
    // The UUID of principal 3 names principal 6, and that of entity 13 names entity 14.
    let (third, fourth, thirteenth) = (uuid(3), uuid(4), uuid(13));
    let few: [&[&str]; 3] =
        [&[&third, &fourth, "Z", "b", "\u{e9}"], &[&thirteenth, "one", "root"], &["a:other", "a:read", "a:write"]];
    let all: [&[&str]; 2] = [&[&third, &fourth, "Z", "b", "nothing", "\u{e9}"], &[&thirteenth, "apart", "one", "root"]];
    let searches = [(subjects, few[0]), (resources, few[1]), (actions, few[2])];
    for (of, expected) in searches {
        let query = SearchQuery { of, after: None, expected: 100, max_candidates: 100 };
        let (kept, end) = visit(&world, &query, usize::MAX).await;
        assert_eq!((names(&kept), end), (expected.to_vec(), AccessEnd::Complete), "{of:?}");
        for (at, after) in expected.iter().enumerate() {
            let (kept, _) = visit(&world, &SearchQuery { after: Some(*after), ..query }, usize::MAX).await;
            assert_eq!(names(&kept), expected[at + 1..], "{of:?} after {after}");
        }
        let (kept, end) = visit(&world, &query, 2).await;
        assert_eq!((names(&kept), end), (expected[..2].to_vec(), AccessEnd::Stopped), "{of:?}");
    }
    for (of, expected) in [(subjects, all[0]), (resources, all[1])] {
        // A page looks at no more than its bound, and the next one begins there.
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let query = SearchQuery { of, after: after.as_deref(), expected: 100, max_candidates: 2 };
            let (kept, end) = visit(&world, &query, usize::MAX).await;
            assert!(kept.found.len() <= 2, "{of:?}: {:?}", names(&kept));
            found.extend(names(&kept).into_iter().map(str::to_owned));
            match end {
                AccessEnd::Bounded(last) => after = Some(last),
                end => break assert_eq!(end, AccessEnd::Complete),
            }
        }
        assert_eq!(found, expected, "{of:?}");
    }
    let query = SearchQuery { of: actions, after: None, expected: 100, max_candidates: 1 };
    let (kept, end) = visit(&world, &query, usize::MAX).await;
    assert!(
        matches!(&end, AccessEnd::Bounded(last) if Some(last) == kept.found.last().map(|one| &one.name)),
        "{end:?}"
    );
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_candidate_has_the_facts_of_its_name(#[case] backend: Backend) {
    let world = filled(backend).await;
    let (user, read): (NamedType, AskedAction) = ("user".parse().unwrap(), "a:read".parse().unwrap());
    let assigned =
        |one: &SearchCandidate| one.facts.assignments.iter().map(|one| one.assignment_id).collect::<Vec<_>>();
    let one = name("spv", "one");
    let of = SearchFor::Subjects { principal_type: &user, action: &read, resource: &one };
    let (kept, _) = visit(&world, &SearchQuery { of, after: None, expected: 1, max_candidates: 100 }, usize::MAX).await;
    let start = kept.start.unwrap();
    assert_eq!((start.principal_id, start.resource_id), (None, Some(id(12))));
    assert_eq!(start.revision, world.store.facts(&[]).await.unwrap().read_at.revision);
    // Principal 6, which has no assignment, has the name that is the UUID of principal 3.
    let third = &kept.found[0];
    assert_eq!((third.question.principal_id, assigned(third)), (id(6), Vec::<Uuid>::new()));
    let b = kept.found.iter().find(|one| one.name == "b").unwrap();
    assert_eq!((b.question.principal_id, b.question.resource_id), (id(1), id(12)));
    let mut ids = assigned(b);
    ids.sort_unstable();
    assert_eq!(ids, [id(31), id(41)]);
    // Only global assignments reach what is not registered.
    let todo = name("todo", "17");
    let of = SearchFor::Subjects { principal_type: &user, action: &"a:other".parse().unwrap(), resource: &todo };
    let (kept, _) = visit(&world, &SearchQuery { of, after: None, expected: 1, max_candidates: 100 }, usize::MAX).await;
    assert_eq!(kept.start.unwrap().resource_id, None);
    let b = kept.found.iter().find(|one| one.name == "b").unwrap();
    assert_eq!((b.question.resource_id, assigned(b)), (Uuid::nil(), vec![id(41)]));
    assert_eq!((b.facts.resource.entity_type.word(), b.facts.resource.external_id.as_deref()), ("todo", Some("17")));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn unknown_names_and_types_have_no_candidates(#[case] backend: Backend) {
    let world = filled(backend).await;
    let kind = |text: &str| text.parse::<NamedType>().unwrap();
    let read: AskedAction = "a:read".parse().unwrap();
    let (one, ada, nobody) = (name("spv", "one"), name("user", "b"), name("user", "nobody"));
    let long = "x".repeat(65);
    let (spaceship, long_type, no_type, spv) = (kind("spaceship"), kind(&long), kind("No type"), kind("spv"));
    let unheard = "a:unheard".parse().unwrap();
    let (long_name, user) = (name(&long, &uuid(1)), kind("user"));
    for of in [
        SearchFor::Subjects { principal_type: &spaceship, action: &read, resource: &one },
        SearchFor::Subjects { principal_type: &long_type, action: &read, resource: &one },
        SearchFor::Subjects { principal_type: &user, action: &unheard, resource: &one },
        SearchFor::Resources { principal: &ada, action: &read, resource_type: &no_type },
        SearchFor::Resources { principal: &ada, action: &unheard, resource_type: &spv },
        SearchFor::Resources { principal: &nobody, action: &read, resource_type: &spv },
        SearchFor::Resources { principal: &long_name, action: &read, resource_type: &spv },
        SearchFor::Actions { principal: &nobody, resource: &one },
        SearchFor::Actions { principal: &long_name, resource: &one },
    ] {
        let query = SearchQuery { of, after: None, expected: 10, max_candidates: 100 };
        let (kept, end) = visit(&world, &query, usize::MAX).await;
        assert_eq!((names(&kept), end), (Vec::new(), AccessEnd::Complete), "{of:?}");
        assert!(kept.start.is_some(), "{of:?}");
    }
}
