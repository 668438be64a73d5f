//! The law of AuthZEN searches: all pages together are exactly the names for which an evaluation says yes, in the order
//! of their bytes, for every limit. Over random registries, on both databases.

use std::collections::BTreeSet;
use std::sync::Arc;

use epr_core::authzen::{Evaluation, NamedAction, NamedEntity, SearchQuestion, SearchRequest};
use epr_core::decision::NamedType;
use epr_core::domain::json::object;
use epr_core::domain::{
    EntityPatch, ExternalId, Json, JsonObject, NewAssignment, NewRole, PrincipalFilter, PrincipalPatch,
};
use epr_core::store::{ExternalName, Page};
use epr_core::{Call, Epr, Error};
use epr_testkit::database::DatabaseKind;
use epr_testkit::seed;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rstest::rstest;
use uuid::Uuid;

use crate::access_world::{ACTIONS, Size, World, context};

/// One of them dense: most evaluations say yes.
const WORLDS: usize = 2;
const SEARCHES: usize = 50;
/// The most candidates that a page looks at: fewer than there are, more than that, and more than there can be.
const BOUNDS: [usize; 3] = [3, 17, 20_000];
const SIZE: Size = Size { entities: 16, roles: 6, principals: 24, assignments: 240 };
/// Beginnings of external ids, whose order by bytes is not the one of any alphabet, nor that of UTF-16.
const ODD: [&str; 6] = ["Z", "\u{e9}", "\u{fffd}", "\u{10000}", "a b/{c}@%", "x\"'"];
const LIMITS: [Option<u32>; 5] = [Some(1), Some(2), Some(3), Some(7), Some(1000)];

/// A random registry with the names of everything that is registered.
struct Named {
    world: World,
    principals: BTreeSet<(String, String)>,
    entities: BTreeSet<(String, String)>,
    /// Every principal by its UUID, registered or not.
    uuids: BTreeSet<(String, String)>,
    /// Services with the bounds of `BOUNDS`.
    services: Vec<Epr>,
}

impl Named {
    async fn random(kind: DatabaseKind, rng: &mut StdRng, is_dense: bool) -> Self {
        let world = World::random(kind, rng, SIZE).await;
        if is_dense {
            permit_most(&world, rng).await;
        }
        let page = Page { limit: 1000, after: None };
        let registered = world.epr.principals(&PrincipalFilter::default(), &page).await.unwrap();
        for (n, principal) in registered.iter().enumerate() {
            let other = registered.choose(rng).unwrap().id;
            if let Some(external_id) = other_name(rng, n, other) {
                let patch = PrincipalPatch { external_id: Some(Some(external_id)), ..PrincipalPatch::default() };
                let kind = principal.principal_type.parse().unwrap();
                let _ = world.epr.update_principal(&Call::default(), &kind, principal.id, patch).await;
            }
        }
        for (n, entity) in world.entities.iter().enumerate() {
            let other = *world.entities.choose(rng).unwrap();
            if let Some(external_id) = other_name(rng, n, other) {
                let patch = EntityPatch { external_id: Some(Some(external_id)), ..EntityPatch::default() };
                let _ = world.epr.update_entity(&Call::default(), *entity, patch).await;
            }
        }
        let name = |external_id: Option<String>, id: Uuid| external_id.unwrap_or_else(|| id.to_string());
        let (mut principals, mut entities) = (BTreeSet::new(), BTreeSet::new());
        for principal in world.epr.principals(&PrincipalFilter::default(), &page).await.unwrap() {
            principals.insert((principal.principal_type, name(principal.external_id, principal.id)));
        }
        for id in &world.entities {
            let entity = world.epr.entity(*id).await.unwrap();
            entities.insert((entity.entity_type.word().to_owned(), name(entity.external_id, *id)));
        }
        let uuids = world.principals.iter().map(|(id, kind)| (kind.as_str().to_owned(), id.to_string())).collect();
        let mut services = Vec::new();
        for bound in BOUNDS {
            services.push(world.with_bounds(bound, bound).await);
        }
        Self { world, principals, entities, uuids, services }
    }

    /// Whether an evaluation says yes.
    async fn allowed(&self, asked: &Asked, evaluation: Evaluation) -> Result<bool, Error> {
        self.world.epr.evaluate(&Call::default(), &evaluation, asked.trusted).await
    }

    /// Every result of a search, by pages of `limit`; the token comes back alone or with the limit.
    async fn walk(
        service: &Epr,
        asked: &Asked,
        question: &SearchQuestion,
        limit: Option<u32>,
    ) -> Result<Vec<String>, Error> {
        let (mut found, mut token) = (Vec::new(), None);
        for page in 0.. {
            let limit = if page % 2 == 1 { None } else { limit };
            let request = SearchRequest { question: question.clone(), context: asked.context.clone(), limit, token };
            let answer = service.search(&Call::default(), &request, asked.trusted).await?;
            assert_eq!(service.search(&Call::default(), &request, asked.trusted).await?, answer, "idempotent");
            found.extend(answer.results);
            token = answer.next;
            if token.is_none() {
                return Ok(found);
            }
        }
        unreachable!("the last page has no token")
    }
}

/// Gives most principals a role with every action and no condition, somewhere or everywhere.
async fn permit_most(world: &World, rng: &mut StdRng) {
    let mut new = NewRole::new("Everything".parse().unwrap());
    new.permissions = ACTIONS.iter().map(|action| action.parse().unwrap()).collect();
    let role = world.epr.create_role(&Call::default(), new).await.unwrap().id;
    for (principal, kind) in &world.principals {
        for _ in 0..rng.random_range(0..4) {
            let mut new = NewAssignment::new(*principal, role).of_type(kind.clone());
            new.entity_id = rng.random_bool(0.8).then(|| *world.entities.choose(rng).unwrap());
            world.epr.assign(&Call::default(), new).await.unwrap();
        }
    }
}

/// Another external id for some: an odd one, or the UUID of `other`, which cannot be named then if its type is the
/// same.
fn other_name(rng: &mut StdRng, n: usize, other: Uuid) -> Option<ExternalId> {
    match rng.random_range(0..5) {
        0 => Some(other.to_string().parse().unwrap()),
        1 | 2 => Some(format!("{}{n}", ODD.choose(rng).unwrap()).parse().unwrap()),
        _ => None,
    }
}

/// What the caller sends beside the names.
struct Asked {
    context: JsonObject,
    trusted: bool,
}

fn properties(rng: &mut StdRng) -> JsonObject {
    match rng.random_range(0..3) {
        0 => JsonObject::new(),
        1 => object([("level", Json::Int(rng.random_range(0..4)))]),
        _ => object([("level", Json::Int(rng.random_range(0..4))), ("open", rng.random_bool(0.5).into())]),
    }
}

fn entity((kind, id): &(String, String), properties: JsonObject) -> NamedEntity {
    let name = ExternalName { kind: kind.parse().unwrap(), id: ExternalId::new(id.as_str()).unwrap() };
    NamedEntity { name, properties }
}

/// One of `names`, or one that is registered nowhere.
fn some_name(rng: &mut StdRng, names: &BTreeSet<(String, String)>, kinds: &[&str]) -> (String, String) {
    if rng.random_bool(0.2) {
        let id = if rng.random_bool(0.5) { Uuid::from_u128(rng.random()).to_string() } else { "nowhere".to_owned() };
        return ((*kinds.choose(rng).unwrap()).to_owned(), id);
    }
    names.iter().nth(rng.random_range(0..names.len())).unwrap().clone()
}

fn action(name: &str, properties: JsonObject) -> NamedAction {
    NamedAction { name: name.parse().unwrap(), properties }
}

fn evaluation(asked: &Asked, subject: NamedEntity, action: NamedAction, resource: NamedEntity) -> Evaluation {
    Evaluation {
        subject: Arc::new(subject),
        action: Arc::new(action),
        resource: Arc::new(resource),
        context: Arc::new(asked.context.clone()),
    }
}

/// A random search, and the names for which the evaluations say yes; an error if one of them has one.
async fn random(named: &Named, rng: &mut StdRng, asked: &Asked) -> (SearchQuestion, Result<Vec<String>, Error>) {
    let wanted = action(ACTIONS.choose(rng).unwrap(), properties(rng));
    let subjects = if rng.random_bool(0.3) { &named.uuids } else { &named.principals };
    let subject = entity(&some_name(rng, subjects, &["user", "robot"]), properties(rng));
    let resource = entity(&some_name(rng, &named.entities, &["spv", "to do", "issuer"]), properties(rng));
    let mut expected = Ok(Vec::new());
    let mut add = |name: &str, allowed: Result<bool, Error>| match (allowed, &mut expected) {
        (Ok(true), Ok(all)) => all.push(name.to_owned()),
        (Err(error), Ok(_)) => expected = Err(error),
        _ => {}
    };
    let none = JsonObject::new;
    let question = match rng.random_range(0..3) {
        0 => {
            let subject_type: NamedType = some_name(rng, &named.principals, &["robot"]).0.parse().unwrap();
            for name in named.principals.iter().filter(|(of, _)| of == subject_type.as_str()) {
                let asked_one = evaluation(asked, entity(name, none()), wanted.clone(), resource.clone());
                add(&name.1, named.allowed(asked, asked_one).await);
            }
            SearchQuestion::Subjects { subject_type, action: wanted, resource }
        }
        1 => {
            let resource_type: NamedType = some_name(rng, &named.entities, &["to do"]).0.parse().unwrap();
            for name in named.entities.iter().filter(|(of, _)| of == resource_type.as_str()) {
                let asked_one = evaluation(asked, subject.clone(), wanted.clone(), entity(name, none()));
                add(&name.1, named.allowed(asked, asked_one).await);
            }
            SearchQuestion::Resources { subject, action: wanted, resource_type }
        }
        _ => {
            for name in BTreeSet::from(ACTIONS) {
                let asked_one = evaluation(asked, subject.clone(), action(name, none()), resource.clone());
                add(name, named.allowed(asked, asked_one).await);
            }
            SearchQuestion::Actions { subject, resource }
        }
    };
    (question, expected)
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_finds_exactly_what_evaluations_allow(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("a_search_finds_exactly_what_evaluations_allow");
    let (mut found, mut refused) = ([0; WORLDS], 0);
    for (number, found) in found.iter_mut().enumerate() {
        let named = Named::random(kind, &mut rng, number == 0).await;
        for _ in 0..SEARCHES {
            let asked = Asked { context: context(&mut rng), trusted: rng.random_bool(0.7) };
            let (question, expected) = random(&named, &mut rng, &asked).await;
            let Ok(expected) = expected else {
                refused += 1;
                continue;
            };
            for limit in [None, *LIMITS.choose(&mut rng).unwrap()] {
                let at = rng.random_range(0..BOUNDS.len());
                let walked = Named::walk(&named.services[at], &asked, &question, limit).await.unwrap();
                let how = format!("limit {limit:?}, bound {}, trusted: {}", BOUNDS[at], asked.trusted);
                assert_eq!(walked, expected, "{question:?} with {how}");
            }
            *found += expected.len();
        }
    }
    // Random worlds differ much: one in some hundred had less than half of what others have.
    assert!(found.iter().sum::<usize>() > 10 && refused < SEARCHES, "{found:?} found, {refused} refused");
}
