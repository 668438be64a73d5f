//! The names of other systems, and the facts of questions in such names.

use std::sync::Mutex;

use epr_core::decision::{AskedAction, Facts, Question, ResourceType};
use epr_core::domain::json::object;
use epr_core::domain::{Assignment, Entity, EntityType, Json, Principal, PrincipalStatus, Role};
use epr_core::store::{Appended, BatchQuestion, ExternalName, IdentifiedFacts, NamedQuestion, StoreError};
use rstest::rstest;

use crate::support::{Backend, World, assignment, draft, entity, id, principal, role};

fn name(kind: &str, id: &str) -> ExternalName {
    ExternalName { kind: kind.parse().unwrap(), id: id.parse().unwrap() }
}

fn question(principal: (&str, &str), resource: (&str, &str)) -> BatchQuestion {
    let action: AskedAction = "a:read".parse().unwrap();
    NamedQuestion { principal: name(principal.0, principal.1), action, resource: name(resource.0, resource.1) }.into()
}

/// The UUID with this number, as EPR writes it.
fn uuid(n: u128) -> String {
    id(n).to_string()
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_name_is_an_external_id_or_else_a_uuid(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let known = |n: u128, external_id: &str| Principal { external_id: Some(external_id.to_owned()), ..principal(n) };
    // The external id of the second one is the UUID of the first.
    world.with_principals(&[known(1, "ada"), known(2, &uuid(1)), principal(3)]).await;
    let external = |n: u128, external_id: &str| Entity { external_id: Some(external_id.to_owned()), ..entity(n, None) };
    let fund = Entity { entity_type: EntityType::Offering, ..external(13, "r/1 {x}") };
    world.with_entities(&[external(11, "r/1 {x}"), entity(12, None), fund, external(14, &uuid(12))]).await;

    let principals = [
        (name("user", "ada"), Some(id(1))),
        (name("user", "Ada"), None),
        (name("user", "ada "), None),
        (name("service", "ada"), None),
        (name("user", &uuid(1)), Some(id(2))),
        (name("user", &uuid(3)), Some(id(3))),
        (name("user", &uuid(99)), Some(id(99))),
        (name("service", &uuid(3)), Some(id(3))),
        (name("user", &uuid(0xabc).to_uppercase()), None),
        (name("user", &id(3).simple().to_string()), None),
        (name(&"x".repeat(65), &uuid(3)), None),
        (name("user", "ada"), Some(id(1))),
    ];
    let entities = [
        (name("spv", "r/1 {x}"), Some(id(11))),
        (name("offering", "r/1 {x}"), Some(id(13))),
        (name("spv", "R/1 {x}"), None),
        (name("spv", &uuid(12)), Some(id(14))),
        (name("spv", &uuid(11)), Some(id(11))),
        (name("offering", &uuid(11)), None),
        (name("spv", &uuid(99)), None),
        (name("Not a type", "r/1 {x}"), None),
    ];
    let names = |all: &[(ExternalName, _)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let read = world.store.identities(&names(&principals), &names(&entities)).await.unwrap();
    assert_eq!(read.principals, principals.map(|(_, id)| id));
    assert_eq!(read.entities, entities.map(|(_, id)| id));
    assert_eq!(read.read_at, world.store.facts(&[]).await.unwrap().read_at);

    let none = world.store.identities(&[], &[]).await.unwrap();
    assert_eq!((none.principals, none.entities), (Vec::new(), Vec::new()));
}

/// A reader everywhere, a reader of SPVs everywhere, and one on one entity.
async fn assigned(backend: Backend) -> World {
    let world = World::new(backend).await;
    let ada = Principal {
        external_id: Some("ada".to_owned()),
        attributes: object([("clearance", Json::Int(3))]),
        status: PrincipalStatus::Suspended,
        ..principal(1)
    };
    world.with_principals(&[ada]).await;
    let spv = Entity { external_id: Some("berlin".to_owned()), ..entity(11, None) };
    world.with_entities(&[spv]).await;
    let narrow = Role { scope_types: vec![EntityType::Spv], ..role(22, &["a:read"]) };
    world.with_roles(&[role(21, &["a:read"]), narrow]).await;
    let nil = Assignment { principal_id: uuid::Uuid::nil(), ..assignment(35, 0, 21, None) };
    let of_ada = [assignment(31, 1, 21, None), assignment(32, 1, 22, None), assignment(33, 1, 21, Some(11))];
    world.with_assignments(&of_ada).await;
    world.with_assignments(&[assignment(34, 2, 21, None), nil]).await;
    world
}

fn assignments(facts: &Facts) -> Vec<uuid::Uuid> {
    let mut ids: Vec<_> = facts.assignments.iter().map(|one| one.assignment_id).collect();
    ids.sort_unstable();
    ids
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_facts_of_a_registered_resource_are_those_of_a_check(#[case] backend: Backend) {
    let world = assigned(backend).await;
    let named = [question(("user", "ada"), ("spv", "berlin")), question(("user", &uuid(2)), ("spv", &uuid(11)))];
    // More than one, and the first one twice.
    let asked = [named[0].clone(), named[1].clone(), named[0].clone()];
    let read = world.store.identified_facts(&asked).await.unwrap();
    let by_id = [1, 2, 1].map(|n| Question::new(id(n), "a:read".parse().unwrap(), id(11)));
    let facts = world.store.facts(&by_id).await.unwrap();
    assert_eq!(read.read_at, facts.read_at);
    for ((found, question), facts) in read.facts.iter().zip(by_id).zip(facts.facts) {
        assert_eq!((found.principal_id, found.resource_id), (Some(question.principal_id), Some(id(11))));
        assert_eq!((&found.question, &*found.facts), (&question, &facts.unwrap()));
    }
    assert_eq!(assignments(&read.facts[0].facts), [id(31), id(32), id(33)]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn questions_by_ids_and_by_names_share_one_snapshot(#[case] backend: Backend) {
    let world = assigned(backend).await;
    let by_id = |principal: u128, resource: u128| Question::new(id(principal), "a:read".parse().unwrap(), id(resource));
    let on_nothing = Question { resource_id: uuid::Uuid::nil(), ..by_id(1, 11) };
    let asked = [
        by_id(1, 11).into(),
        by_id(1, 99).into(),
        question(("user", "ada"), ("spv", "berlin")),
        question(("user", "ada"), ("todo", "17")),
        on_nothing.into(),
        by_id(1, 11).into(),
    ];
    let read = world.store.identified_facts(&asked).await.unwrap();
    let [first, unknown, named, todo, nothing, again]: &[IdentifiedFacts; 6] =
        read.facts.as_slice().try_into().unwrap();
    let facts = world.store.facts(&[by_id(1, 11)]).await.unwrap();
    assert_eq!(read.read_at, facts.read_at);
    assert_eq!(*first.facts, facts.facts[0].clone().unwrap());
    assert_eq!((first, first), (named, again));
    // The assignments of everywhere are no facts about what is not registered.
    for one in [unknown, nothing] {
        assert_eq!((one.principal_id, one.resource_id, &one.unregistered), (Some(id(1)), None, &None));
    }
    assert_eq!((todo.resource_id, todo.unregistered.is_some()), (None, true));
    let only = world.store.identified_facts(&asked[..2]).await.unwrap();
    assert_eq!((only.read_at, &only.facts[..]), (read.read_at, &read.facts[..2]));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_facts_of_an_unregistered_resource_are_the_global_assignments(#[case] backend: Backend) {
    let world = assigned(backend).await;
    let asked = [
        question(("user", "ada"), ("todo list", "17")),
        question(("user", &uuid(2)), ("spv", "munich")),
        // Unknown: the assignments of the nil UUID are somebody else's.
        question(("user", "nobody"), ("todo list", "17")),
        question(("user", "nobody"), ("spv", "berlin")),
        question(("user", &uuid(0)), ("spv", "munich")),
    ];
    let read = world.store.identified_facts(&asked).await.unwrap();
    let [todo, munich, nobody, nobody_on_berlin, nil]: &[IdentifiedFacts; 5] =
        read.facts.as_slice().try_into().unwrap();
    assert_eq!((todo.principal_id, todo.resource_id), (Some(id(1)), None));
    assert_eq!(assignments(&todo.facts), [id(31), id(32)]);
    assert!(todo.facts.principal.is_suspended);
    assert_eq!(todo.facts.principal.external_id.as_deref(), Some("ada"));
    assert_eq!(*todo.facts.principal.attributes, object([("clearance", Json::Int(3))]));
    assert_eq!(todo.of_question().resource.entity_type, ResourceType::Named("todo list".parse().unwrap()));
    assert_eq!(todo.of_question().resource.external_id.as_deref(), Some("17"));
    assert_eq!(assignments(&munich.facts), [id(34)]);
    assert!(!munich.facts.principal.is_suspended);
    for unknown in [nobody, nobody_on_berlin] {
        assert_eq!((unknown.principal_id, assignments(&unknown.facts)), (None, Vec::new()));
    }
    assert_eq!((nobody.resource_id, nobody_on_berlin.resource_id), (None, Some(id(11))));
    assert_eq!(nobody_on_berlin.of_question().resource.entity_type, EntityType::Spv.into());
    assert_eq!((nil.principal_id, assignments(&nil.facts)), (Some(id(0)), vec![id(35)]));
    assert!(world.store.identified_facts(&[]).await.unwrap().facts.is_empty());
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_first_key_of_hashes_stays(#[case] backend: Backend) {
    let world = World::new(backend).await;
    assert_eq!(world.store.ledger_name_key(&[1; 32]).await.unwrap(), [1; 32]);
    assert_eq!(world.store.ledger_name_key(&[2; 32]).await.unwrap(), [1; 32]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_error_of_one_draft_appends_none(#[case] backend: Backend) {
    let world = assigned(backend).await;
    let asked = [question(("user", "ada"), ("spv", "berlin")), question(("user", &uuid(2)), ("todo", "17"))];
    let make = |index: usize, _: &IdentifiedFacts, _: epr_core::store::ReadAt| match index {
        0 => Ok(Some(draft(None, 0))),
        _ => Err(StoreError::TooLarge("the second one")),
    };
    let error = world.store.append_identified_decisions(&asked, &make).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge(_)), "{error}");
    let appended = world.store.append(&[draft(None, 1)]).await.unwrap();
    assert!(matches!(appended.as_slice(), [Appended::Recorded { sequence: 1, .. }]), "{appended:?}");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn named_decisions_are_appended_with_the_facts_under_the_lock(#[case] backend: Backend) {
    let world = assigned(backend).await;
    let asked = [
        question(("user", "ada"), ("spv", "berlin")),
        question(("user", "nobody"), ("todo", "17")),
        question(("user", &uuid(2)), ("todo", "17")),
    ];
    let seen = Mutex::new(Vec::new());
    let make = |index: usize, identified: &IdentifiedFacts, _: epr_core::store::ReadAt| {
        seen.lock().unwrap().push((index, identified.principal_id, assignments(&identified.facts)));
        Ok((index != 1).then(|| draft(None, i64::try_from(index).unwrap())))
    };
    let appended = world.store.append_identified_decisions(&asked, &make).await.unwrap();
    assert!(
        matches!(appended.as_slice(), [Some(Appended::Recorded { .. }), None, Some(Appended::Recorded { .. })]),
        "{appended:?}"
    );
    let expected =
        [(0, Some(id(1)), vec![id(31), id(32), id(33)]), (1, None, Vec::new()), (2, Some(id(2)), vec![id(34)])];
    assert_eq!(*seen.lock().unwrap(), expected);
}
