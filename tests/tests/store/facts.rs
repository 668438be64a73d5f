//! Reading facts, and recording decisions made from them.

use epr_core::domain::fields::Choice as _;
use epr_core::store::{Appended, FactsRead, ReadAt};
use rstest::rstest;

use crate::support::{Backend, World, assignment, decisive_draft, draft, entity, id, question, registry_draft, role};

/// `entity 1 > entity 2`, and a role with `thing:read` on entity 1 for principal 7.
async fn world(backend: Backend) -> World {
    let world = World::with_three_entities(backend).await;
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
        let FactsRead { facts, read_at } = world.store.facts(&together).await.unwrap();
        assert_eq!((facts.len(), read_at.decisive, read_at.revision.sequence), (together.len(), 0, 0));
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
    let drafts = [draft(None, 1), decisive_draft(2), draft(None, 3), registry_draft(4), draft(None, 5)];
    world.store.append(&drafts).await.unwrap();
    let state = world.store.registry_state().await.unwrap();
    for together in [&[question(7, 2), question(7, 1)][..], &[question(7, 2)], &[]] {
        let read_at = world.store.facts(together).await.unwrap().read_at;
        assert_eq!((read_at.decisive, read_at.revision), (2, state.revision), "{}", together.len());
    }
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
    let make = |index: usize, facts: Option<&epr_core::decision::Facts>, read_at: ReadAt| {
        assert_eq!((read_at.decisive, read_at.revision.sequence), (1, 1));
        let revision = read_at.decisive;
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

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn facts_say_whether_the_principal_is_suspended(#[case] backend: Backend) {
    let world = world(backend).await;
    for (n, kind, status) in [(7, "service", "suspended"), (7, "user", "active"), (8, "user", "suspended")] {
        let at = format!("2026-01-01T00:00:0{n}.000000Z");
        let registered = format!(
            "INSERT INTO principals (type, id, status, created_at, updated_at) \
             VALUES ('{kind}', '{}', '{status}', '{at}', '{at}')",
            id(n)
        );
        // Both types of principal 7 would share a creation time and an id.
        let registered = if kind == "service" { registered.replace(":07.", ":17.") } else { registered };
        world.database().execute(&registered).await.unwrap();
    }
    let questions = [question(7, 2), question(8, 2), question(9, 2)];
    for together in [&questions[..], &questions[1..2]] {
        let facts = world.store.facts(together).await.unwrap().facts;
        for (question, facts) in together.iter().zip(facts) {
            let suspended = facts.unwrap().principal.is_suspended;
            assert_eq!(suspended, question.principal_id == id(8), "{question:?}");
        }
    }
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn attributes_are_among_the_facts_only_with_a_condition(#[case] backend: Backend) {
    let world = world(backend).await;
    let at = "2026-01-01T00:00:00.000000Z";
    let described = [
        format!("UPDATE entities SET attributes = '{{\"level\": 1}}', external_id = 'e-2' WHERE id = '{}'", id(2)),
        format!(
            "INSERT INTO principals (type, id, external_id, attributes, created_at, updated_at) \
             VALUES ('user', '{}', 'p-7', '{{\"cleared\": true}}', '{at}', '{at}')",
            id(7)
        ),
    ];
    for statement in described {
        world.database().execute(&statement).await.unwrap();
    }
    // Alone, and together with another question.
    let of = async || {
        let alone = world.store.facts(&[question(7, 2)]).await.unwrap().facts;
        let together = world.store.facts(&[question(7, 3), question(7, 2)]).await.unwrap().facts;
        assert_eq!(alone[0], together[1]);
        alone[0].clone().unwrap()
    };
    let facts = of().await;
    assert!(facts.resource.attributes.is_empty() && facts.principal.attributes.is_empty());
    assert_eq!(facts.principal.external_id, None);
    assert!(facts.assignments.iter().all(|assignment| assignment.conditions.is_empty()));

    let condition = |expression: &str| format!("{{\"expression\":\"{expression}\",\"parameters\":{{}}}}");
    let of_assignment =
        format!("UPDATE role_assignments SET condition = '{}' WHERE id = '{}'", condition("true"), id(21));
    // A condition of an action that is not asked for does not matter; one of the action does.
    for (statement, owners) in [
        (
            format!("UPDATE role_permissions SET condition = '{}' WHERE role_id = '{}'", condition("true"), id(12)),
            &[][..],
        ),
        (of_assignment, &["assignment"][..]),
        (
            format!("UPDATE role_permissions SET condition = '{}' WHERE role_id = '{}'", condition("false"), id(11)),
            &["assignment", "role"],
        ),
        ("UPDATE role_assignments SET condition = NULL".to_owned(), &["role"]),
    ] {
        world.database().execute(&statement).await.unwrap();
        let facts = of().await;
        let conditional = facts.assignments.iter().find(|assignment| assignment.assignment_id == id(21)).unwrap();
        let found: Vec<_> = conditional.conditions.iter().map(|condition| condition.owner.word()).collect();
        assert_eq!(found, owners, "{statement}");
        assert_eq!(facts.resource.attributes.contains_key("level"), !owners.is_empty(), "{statement}");
        assert_eq!(facts.principal.attributes.contains_key("cleared"), !owners.is_empty(), "{statement}");
        assert_eq!(facts.principal.external_id.as_deref(), (!owners.is_empty()).then_some("p-7"), "{statement}");
        assert_eq!(facts.resource.external_id.as_deref(), (!owners.is_empty()).then_some("e-2"), "{statement}");
    }
    // A form that this version cannot read is a condition that does not hold, and no error.
    for stored in ["{", "{\"expression\":\"true\",\"parameters\":{\"a\":\"a later type\"}}"] {
        let later = format!("UPDATE role_assignments SET condition = '{stored}' WHERE id = '{}'", id(21));
        world.database().execute(&later).await.unwrap();
        let facts = of().await;
        let conditional = facts.assignments.iter().find(|assignment| assignment.assignment_id == id(21)).unwrap();
        assert!(conditional.conditions[0].compiled.is_err(), "{stored}");
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn named_facts_are_the_facts_with_the_path_to_the_root_and_the_names_of_the_roles(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_entities(&[entity(1, None), entity(2, Some(1)), entity(3, Some(2)), entity(4, None)]).await;
    world.with_roles(&[role(11, &["a:x"]), role(12, &["b:x"])]).await;
    let assignments = [
        assignment(21, 31, 11, Some(1)),
        assignment(22, 31, 12, None),
        assignment(23, 31, 11, Some(4)),
        assignment(24, 32, 11, Some(3)),
    ];
    world.with_assignments(&assignments).await;
    let question = question(31, 3);
    let named = world.store.named_facts(&question, None).await.unwrap().unwrap();
    assert_eq!(Some(named.facts), world.store.facts(std::slice::from_ref(&question)).await.unwrap().facts.remove(0));
    assert_eq!((named.resource_name.as_str(), named.registration), ("entity 3", None));
    let ancestors: Vec<_> = named.ancestors.iter().map(|one| (one.id, one.name.as_str())).collect();
    assert_eq!(ancestors, [(id(2), "entity 2"), (id(1), "entity 1")]);
    let roles: Vec<_> = named.role_names.values().map(String::as_str).collect();
    assert_eq!(roles, ["role 11", "role 12"], "also of a role without the action");
    assert_eq!(world.store.named_facts(&self::question(31, 9), None).await.unwrap(), None);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn facts_from_memory_are_named_while_the_registry_is_in_their_state(#[case] backend: Backend) {
    let world = world(backend).await;
    let question = question(7, 2);
    let FactsRead { mut facts, read_at } = world.store.facts(std::slice::from_ref(&question)).await.unwrap();
    let stored = facts.remove(0).unwrap();
    // Facts that the database does not have, so that it is seen whether they were read.
    let mut seen = stored.clone();
    seen.assignments.retain(|held| held.held_action.is_some());
    assert_ne!(seen, stored);
    let named = world.store.named_facts(&question, Some((seen.clone(), read_at))).await.unwrap().unwrap();
    assert_eq!((named.facts, named.revision), (seen.clone(), read_at.revision));
    assert_eq!((named.resource_name.as_str(), named.role_names.len()), ("entity 2", 1));
    let unknown = self::question(7, 99);
    assert_eq!(world.store.named_facts(&unknown, Some((seen.clone(), read_at))).await.unwrap(), None);
    for entry in [registry_draft(1), decisive_draft(2)] {
        world.store.append(&[entry]).await.unwrap();
        let named = world.store.named_facts(&question, Some((seen.clone(), read_at))).await.unwrap().unwrap();
        assert_eq!(named.facts, stored, "the registry has changed since");
        assert_eq!(named.revision, world.store.registry_state().await.unwrap().revision);
    }
}
