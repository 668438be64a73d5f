//! Reading facts, and recording decisions made from them.

use epr_core::store::{Appended, FactsRead};
use rstest::rstest;

use crate::support::{Backend, World, assignment, decisive_draft, draft, entity, id, question, role};

/// `entity 1 > entity 2`, and a role with `thing:read` on entity 1 for principal 7.
async fn world(backend: Backend) -> World {
    let world = World::new(backend).await;
    world.with_entities(&[entity(1, None), entity(2, Some(1)), entity(3, None)]).await;
    world.with_roles(&[role(11, &["thing:read"]), role(12, &["thing:write"])]).await;
    world.with_assignments(&[assignment(21, 7, 11, Some(1)), assignment(22, 7, 12, None)]).await;
    world
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn facts_come_in_the_order_of_the_questions_and_an_unknown_resource_has_none(#[case] backend: Backend) {
    let world = world(backend).await;
    let questions = [question(7, 2), question(7, 99), question(8, 1), question(7, 3)];
    for together in [questions.to_vec(), questions[..1].to_vec()] {
        let FactsRead { facts, revision } = world.store.facts(&together).await.unwrap();
        assert_eq!((facts.len(), revision), (together.len(), 0));
        // The assignment on the parent, which holds the action, and the global one, which does not.
        let first = facts[0].as_ref().unwrap();
        let mut assignments: Vec<_> =
            first.assignments.iter().map(|held| (held.assignment_id.as_u128(), held.held_action.as_deref())).collect();
        assignments.sort_unstable();
        assert_eq!(assignments, [(21, Some("thing:read")), (22, None)]);
        if let [_, unknown, stranger, sibling] = &facts[..] {
            assert_eq!(*unknown, None);
            assert!(stranger.as_ref().unwrap().assignments.is_empty(), "another principal");
            let sibling = sibling.as_ref().unwrap();
            assert_eq!(sibling.assignments.iter().map(|held| held.assignment_id).collect::<Vec<_>>(), [id(22)]);
        }
    }
    assert_eq!(world.store.facts(&[]).await.unwrap().facts, []);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_revision_of_facts_is_the_newest_entry_that_changed_the_registry(#[case] backend: Backend) {
    let world = world(backend).await;
    world.store.append(&[draft(None, 1), decisive_draft(2), draft(None, 3)]).await.unwrap();
    assert_eq!(world.store.facts(&[question(7, 2)]).await.unwrap().revision, 2);
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn facts_are_refused_from_a_database_that_lacks_a_registry_change_of_this_process(#[case] backend: Backend) {
    let world = world(backend).await;
    world.store.append(&[decisive_draft(1)]).await.unwrap();
    world.store.facts(&[question(7, 2)]).await.unwrap();
    // This is the state of a server that was left behind.
    let earlier = "UPDATE registry_head SET sequence = 0";
    world.database().execute(earlier).await.unwrap();
    let error = world.store.facts(&[question(7, 2)]).await.unwrap_err();
    assert!(matches!(error, epr_core::store::StoreError::Unavailable(_)), "{error}");
    let error = world.store.facts(&[question(7, 2), question(8, 2)]).await.unwrap_err();
    assert!(matches!(error, epr_core::store::StoreError::Unavailable(_)), "{error}");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn decisions_are_recorded_from_facts_read_under_the_lock_and_one_without_an_entry_is_none(
    #[case] backend: Backend,
) {
    let world = world(backend).await;
    world.store.append(&[decisive_draft(1)]).await.unwrap();
    let questions = [question(7, 2), question(7, 99), question(8, 1)];
    let make = |index: usize, facts: Option<&epr_core::decision::Facts>, revision: i64| {
        assert_eq!(revision, 1);
        facts.map(|facts| draft(None, i64::try_from(index * 10 + facts.assignments.len()).unwrap()).based_on(revision))
    };
    let outcomes = world.store.append_decisions(&questions, &make).await.unwrap();
    let sequences: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Some(Appended::Recorded { sequence, .. }) => Some(*sequence),
            None => None,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sequences, [Some(2), None, Some(3)]);
}
