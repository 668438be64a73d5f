//! The law of the candidates of lists of resources: in random worlds, they are what checks allow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use epr_core::decision::{ListOptions, Listed, Question, decide, judge_item};
use epr_core::domain::{
    Assignment, Condition, Entity, EntityStatus, EntityType, JsonObject, ParameterType, PrincipalStatus, Timestamp,
};
use epr_core::store::{AccessEnd, ResourcesPage, ResourcesQuery, Subtree};
use epr_testkit::seed;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rstest::rstest;
use uuid::Uuid;

use crate::access_resources::{NOW, PAGE, Subtrees, WAYS, action, query, visit};
use crate::support::{Backend, World, assignment, at, entity, id, principal, role};

const ENTITIES: u128 = 90;
const PRINCIPALS: std::ops::Range<u128> = 501..513;
const READS_EVERYTHING: u128 = 502;

/// Trees of random depth with every type, one entity in ten archived, one in two with an attribute that conditions
/// read.
fn random_entities(rng: &mut StdRng) -> Vec<Entity> {
    let types = ["issuer", "spv", "offering", "fund"].map(|word| word.parse::<EntityType>().unwrap());
    let mut order: Vec<u128> = (1..=ENTITIES).collect();
    // Parents are created first, but have any ids.
    rand::seq::SliceRandom::shuffle(order.as_mut_slice(), rng);
    let mut entities: Vec<Entity> = Vec::new();
    for n in order {
        let parent = entities.choose(rng).filter(|_| rng.random_bool(0.9)).map(|parent| parent.id.as_u128());
        let mut one = entity(n, parent);
        one.entity_type = types.choose(rng).unwrap().clone();
        one.status = if rng.random_bool(0.1) { EntityStatus::Archived } else { EntityStatus::Active };
        one.external_id = rng.random_bool(0.5).then(|| format!("x{n}"));
        if rng.random_bool(0.5) {
            one.attributes = [("open".to_owned(), rng.random_bool(0.5).into())].into_iter().collect();
        }
        entities.push(one);
    }
    entities
}

fn random_assignment(n: u128, rng: &mut StdRng) -> Assignment {
    let principal = rng.random_range(PRINCIPALS);
    let entity = (!rng.random_bool(0.03)).then(|| rng.random_range(1..=ENTITIES));
    let mut one = assignment(n, principal, rng.random_range(11..=15), entity);
    one.created_at = at(rng.random_range(0..20));
    match rng.random_range(0..12) {
        0 => one.effective_at = at(NOW + rng.random_range(-1..2)),
        1 => one.expires_at = Some(at(NOW + rng.random_range(-1..2))),
        2 => one.condition = Some(Condition::new("resource.attributes.open")),
        3 => one.condition = Some(Condition::new("resource.type != 'spv'")),
        4 => one.condition = Some(Condition::new("context.level > 1").parameter("level", ParameterType::Int)),
        5 => one.condition = Some(Condition::new("resource.external_id.startsWith('x1')")),
        6 => one.condition = Some(Condition::new("!has(resource.external_id)")),
        _ => {}
    }
    one
}

/// In random worlds, in each way of finding them, the candidates that are judged as allowed are the entities for which
/// a check says yes; and the subtrees without what is left out are the same ones.
#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_judged_candidates_and_the_subtrees_are_what_checks_allow(#[case] backend: Backend) {
    let mut rng = seed::rng("the_judged_candidates_and_the_subtrees_are_what_checks_allow");
    let world = World::new(backend).await;
    let entities = random_entities(&mut rng);
    world.with_entities(&entities).await;
    let mut roles: Vec<_> = (11..=15).map(|n| role(n, &["thing:read", "thing:write"])).collect();
    roles[1].scope_types = vec![EntityType::Spv];
    roles[2].scope_types = vec![EntityType::Issuer, "fund".parse().unwrap()];
    roles[3].permissions = vec!["thing:write".to_owned()];
    let condition = Condition::new("!has(resource.attributes.open) || context.level > 0");
    roles[4].conditions = [("thing:read".to_owned(), condition.parameter("level", ParameterType::Int))].into();
    world.with_roles(&roles).await;
    let mut registered = principal(501);
    registered.status = PrincipalStatus::Suspended;
    world.with_principals(&[registered]).await;
    let mut assignments: Vec<_> = (1001..1120).map(|n| random_assignment(n, &mut rng)).collect();
    // Each world has one principal who may read everything and whose question has no filter. Otherwise a rare world
    // allows too little to show anything.
    assignments.push(assignment(1120, READS_EVERYTHING, 11, None));
    world.with_assignments(&assignments).await;
    let action = action();
    let parents: BTreeMap<Uuid, Option<Uuid>> = entities.iter().map(|one| (one.id, one.parent_id)).collect();
    let (mut listed, mut conditional) = (0, 0);
    for principal in PRINCIPALS {
        let context: JsonObject = match rng.random_range(0..3) {
            0 => JsonObject::new(),
            _ => [("level".to_owned(), epr_core::domain::Json::Int(rng.random_range(0..3)))].into_iter().collect(),
        };
        let is_filtered = if principal == READS_EVERYTHING { 0.0 } else { 0.3 };
        let within = rng.random_bool(is_filtered).then(|| id(rng.random_range(1..=ENTITIES)));
        let kind: Option<EntityType> = rng.random_bool(is_filtered).then_some(EntityType::Spv);
        let query = ResourcesQuery {
            within,
            resource_type: kind.as_ref(),
            includes_archived: rng.random_bool(0.3),
            ..query(&action, principal)
        };
        let wanted: Vec<&Entity> = entities
            .iter()
            .filter(|one| query.includes_archived || one.status != EntityStatus::Archived)
            .filter(|one| kind.as_ref().is_none_or(|kind| *kind == one.entity_type))
            .filter(|one| within.is_none_or(|within| above(&parents, one.id).contains(&within)))
            .collect();
        let asked = |resource: Uuid| Question::new(id(principal), action.clone(), resource);
        let questions: Vec<_> = wanted.iter().map(|one| asked(one.id)).collect();
        let facts = world.store.facts(&questions).await.unwrap().facts;
        let allowed: BTreeSet<Uuid> = questions
            .iter()
            .zip(facts)
            .filter(|(question, facts)| {
                decide(question, facts.as_ref().unwrap(), &context, at(NOW)).unwrap().decision.allowed
            })
            .map(|(question, _)| question.resource_id)
            .collect();
        listed += allowed.len();
        let case = format!("{principal} within {within:?} {kind:?} in {context:?}");
        let options = ListOptions { until: true, conditional: true };
        for (search, max_expanded) in WAYS {
            let query = ResourcesQuery { max_expanded, ..query };
            let (found, end) = visit(&world, &query, ResourcesPage { search, ..PAGE }).await;
            assert_eq!(end.unwrap().end, AccessEnd::Complete, "{case}");
            let ids = found.ids();
            assert!(ids.is_sorted_by(|one, other| one < other), "{case}: {ids:?}");
            let mut judged = BTreeSet::new();
            for one in &found.candidates {
                match judge_item(&asked(one.id), &one.facts, &context, at(NOW), options).unwrap().listed {
                    Listed::Allowed(_) => assert!(judged.insert(one.id)),
                    Listed::Conditional(..) => conditional += 1,
                    Listed::Denied => {}
                }
            }
            assert_eq!(judged, allowed, "{search:?} {max_expanded} {case}");
        }
        let (always, never) = (Duration::MAX, Duration::ZERO);
        for (max_expanded, max_candidates, max_page_time) in [
            (1000, 1000, always),
            (0, 1000, always),
            (3, 5, always),
            (1000, 1, always),
            (1000, 1000, never),
            (0, 9, never),
        ] {
            let query = ResourcesQuery { max_expanded, max_candidates, max_page_time, ..query };
            let expanded = expand(&world, &query, &entities, &parents, (&context, &asked)).await;
            assert_eq!(expanded, allowed, "{max_expanded} {max_candidates} {case}");
        }
    }
    println!("{listed} listed, {conditional} conditional");
    assert!(listed > 20, "{listed} listed");
}

fn above(parents: &BTreeMap<Uuid, Option<Uuid>>, entity: Uuid) -> Vec<Uuid> {
    std::iter::successors(parents[&entity], |id| parents[id]).collect()
}

/// The entities of all subtrees, judged and without those that are left out, page by page.
async fn expand(
    world: &World,
    query: &ResourcesQuery<'_>,
    entities: &[Entity],
    parents: &BTreeMap<Uuid, Option<Uuid>>,
    (context, asked): (&JsonObject, &dyn Fn(Uuid) -> Question),
) -> BTreeSet<Uuid> {
    let mut excluded: BTreeMap<Uuid, BTreeSet<Uuid>> = BTreeMap::new();
    let mut subtrees: BTreeMap<Uuid, Subtree> = BTreeMap::new();
    let mut order: Vec<(Timestamp, Uuid)> = Vec::new();
    let mut after = None;
    for visits in 0.. {
        assert!(visits < 1000, "it does not end");
        let mut found = Subtrees::default();
        let end = world.store.subtrees(query, after, &mut found).await.unwrap().unwrap();
        for (subtree, entities) in found.shown {
            let key = subtree.assignment.assignment_id;
            let judged = entities.into_iter().filter(|one| {
                let allowed = one
                    .facts
                    .as_ref()
                    .is_some_and(|facts| decide(&asked(one.id), facts, context, at(NOW)).unwrap().decision.allowed);
                one.is_left_out || !allowed
            });
            excluded.entry(key).or_default().extend(judged.map(|one| one.id));
            order.push((subtree.created_at, key));
            subtrees.insert(key, subtree);
        }
        match end {
            AccessEnd::Bounded(position) => after = Some(position),
            AccessEnd::Complete => break,
            AccessEnd::Stopped => panic!("nothing stopped it"),
        }
    }
    assert!(order.is_sorted(), "{order:?}");
    let mut all = BTreeSet::new();
    for (key, subtree) in subtrees {
        // The conditions that read no resource are judged here once.
        let reads_resource =
            subtree.assignment.conditions.iter().any(epr_core::decision::ConditionFacts::reads_resource);
        for one in entities {
            let is_below =
                subtree.root.as_ref().is_none_or(|root| one.id == root.id || above(parents, one.id).contains(&root.id));
            let is_typed = subtree.types.is_empty() || subtree.types.contains(&one.entity_type);
            let mut facts = epr_core::decision::Facts {
                principal: subtree.principal.clone(),
                resource: epr_core::decision::ResourceFacts::of(one.entity_type.clone()),
                assigned_entities: subtree.assignment.entity_id.into_iter().collect(),
                assignments: vec![subtree.assignment.clone()],
            };
            if reads_resource {
                facts.assignments[0].conditions.clear();
            }
            let applies = decide(&asked(one.id), &facts, context, at(NOW)).unwrap().decision.allowed;
            if is_below && is_typed && applies && !excluded[&key].contains(&one.id) {
                all.insert(one.id);
            }
        }
    }
    all
}
