//! The law of the list of resources: the union of all pages is what checks allow, in both forms, for every limit and
//! every way of finding entities.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use epr_core::clock::{Clock as _, ManualClock};
use epr_core::decision::{Question, Reason};
use epr_core::domain::access::{AccessItem, AccessPage, Include, ListForm, ListRequest, ResourcesRequest};
use epr_core::domain::assignment::default_principal_type;
use epr_core::domain::json::object;
use epr_core::domain::subtree::SubtreeItem;
use epr_core::domain::{
    Condition, Entity, EntityPatch, EntityStatus, EntityType, EntityTypes, Json, JsonObject, NewAssignment, NewEntity,
    NewPrincipal, NewRole, ParameterType, PrincipalPatch, PrincipalStatus, Timestamp,
};
use epr_core::settings::{AuditDecisions, CacheSettings};
use epr_core::{Call, Epr, Error};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::seed;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rstest::rstest;
use uuid::Uuid;

const ACTION: &str = "thing:read";
const ENTITIES: usize = 60;
const PRINCIPALS: u128 = 8;
const ASSIGNMENTS: usize = 60;
const LIMITS: [u32; 6] = [1, 2, 3, 7, 100, 1000];
/// Bounds of the work of a page: the usual ones; nothing is expanded, assignments are looked up and pages have no time;
/// pages that end early.
const BOUNDS: [(usize, usize, Duration); 3] =
    [(20_000, 20_000, Duration::from_secs(2)), (20_000, 0, Duration::ZERO), (5, 9, Duration::from_secs(2))];

struct World {
    database: Database,
    clock: Arc<ManualClock>,
    entities: Vec<Entity>,
    parents: BTreeMap<Uuid, Option<Uuid>>,
}

async fn service(world: &World, bounds: (usize, usize, Duration)) -> Epr {
    let builder = Epr::builder().store(world.database.store().await).clock(world.clock.clone());
    let types = EntityTypes::with(["fund".parse().unwrap()]);
    let builder = builder.entity_types(types).list_bounds(bounds.0, bounds.1, bounds.2).cache(CacheSettings::off());
    let epr = builder.audit_decisions(AuditDecisions::Off).build();
    epr.start(false).await.unwrap();
    epr
}

fn condition(rng: &mut StdRng, now: Timestamp) -> Condition {
    match rng.random_range(0..9) {
        0 => Condition::new("context.level >= 2").parameter("level", ParameterType::Int),
        1 => Condition::new("resource.attributes.open"),
        2 => Condition::new("principal.attributes.cleared"),
        3 => Condition::new(format!("now < timestamp('{}')", now.plus_seconds(rng.random_range(-2..100)))),
        4 => Condition::new("resource.type == 'spv'"),
        6 => Condition::new("resource.external_id.startsWith('x1') || resource.external_id == 'x7'"),
        7 => Condition::new("!has(resource.external_id)"),
        5 => Condition::new("1 / context.level == 1").parameter("level", ParameterType::Int),
        _ => Condition::new("resource.attributes.open && context.level >= 1 || principal.attributes.cleared")
            .parameter("level", ParameterType::Int),
    }
}

fn kind(rng: &mut StdRng) -> EntityType {
    let added: EntityType = "fund".parse().unwrap();
    [EntityType::Issuer, EntityType::Spv, EntityType::Offering, added].choose(rng).unwrap().clone()
}

async fn world(kind_of_database: DatabaseKind, rng: &mut StdRng) -> World {
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-01-01T00:00:00Z").unwrap()));
    let database = Database::create(kind_of_database).await;
    database.store().await.close().await;
    let mut world = World { database, clock, entities: Vec::new(), parents: BTreeMap::new() };
    let epr = service(&world, BOUNDS[0]).await;
    let call = Call::default();
    for n in 0..ENTITIES {
        let mut new = NewEntity::new(format!("entity {n}").parse().unwrap(), kind(rng));
        new.parent_id = world.entities.choose(rng).filter(|_| rng.random_bool(0.9)).map(|parent| parent.id);
        if rng.random_bool(0.5) {
            new.attributes = object([("open", rng.random_bool(0.5).into())]);
        }
        new.external_id = rng.random_bool(0.5).then(|| format!("x{n}").parse().unwrap());
        let mut entity = epr.create_entity(&call, new).await.unwrap();
        if rng.random_bool(0.1) {
            let status = Some(EntityStatus::Archived);
            entity = epr.update_entity(&call, entity.id, EntityPatch { status, ..Default::default() }).await.unwrap();
        }
        world.parents.insert(entity.id, entity.parent_id);
        world.entities.push(entity);
    }
    // Moves give parents higher ids than their children.
    for _ in 0..ENTITIES / 4 {
        let [child, parent] = [(); 2].map(|()| rng.random_range(0..ENTITIES));
        let (child, parent) = (world.entities[child].id, world.entities[parent].id);
        let patch = EntityPatch { parent_id: Some(Some(parent)), ..Default::default() };
        if epr.update_entity(&call, child, patch).await.is_ok() {
            world.parents.insert(child, Some(parent));
        }
    }
    let mut roles = Vec::new();
    for n in 0..5 {
        let name = format!("role {n}");
        let action = if n == 4 { "thing:write" } else { ACTION };
        let mut new = NewRole::new(name.parse().unwrap()).permission(action.parse().unwrap());
        if n == 1 {
            new.scope_types = vec![kind(rng), kind(rng)];
        }
        if n == 2 {
            new.conditions = [(ACTION.parse().unwrap(), condition(rng, world.clock.now()))].into();
        }
        roles.push(epr.create_role(&call, new).await.unwrap().id);
    }
    for n in 0..PRINCIPALS / 2 {
        let id = Uuid::from_u128(n);
        epr.create_principal(&call, NewPrincipal::new().with_id(id)).await.unwrap();
        let patch = PrincipalPatch {
            status: (n == 0).then_some(PrincipalStatus::Suspended),
            attributes: Some(object([("cleared", rng.random_bool(0.5).into())])),
            ..PrincipalPatch::default()
        };
        epr.update_principal(&call, &default_principal_type(), id, patch).await.unwrap();
    }
    let now = world.clock.now();
    for _ in 0..ASSIGNMENTS {
        let mut new = NewAssignment::new(Uuid::from_u128(rng.random_range(0..PRINCIPALS)), *roles.choose(rng).unwrap());
        new.entity_id = (!rng.random_bool(0.04)).then(|| world.entities.choose(rng).unwrap().id);
        new.effective_at = Some(now.plus_seconds(rng.random_range(-3..2)));
        new.expires_at = rng.random_bool(0.3).then(|| now.plus_seconds(rng.random_range(2..50)));
        new.condition = rng.random_bool(0.4).then(|| condition(rng, now));
        // A role for some types is not assigned on an entity of another one.
        match epr.assign(&call, new).await {
            Ok(_) | Err(Error::Refused(_)) => {}
            Err(error) => panic!("{error}"),
        }
        world.clock.advance_micros(rng.random_range(0..3));
    }
    epr.close().await;
    world
}

impl World {
    fn above(&self, entity: Uuid) -> impl Iterator<Item = Uuid> {
        std::iter::successors(self.parents[&entity], |id| self.parents[id])
    }

    /// The entities that the list of `request` could have, by its members and not by checks.
    fn wanted(&self, request: &ResourcesRequest) -> Vec<&Entity> {
        let has_archived = request.list.include.contains(&Include::Archived);
        let wanted = self.entities.iter().filter(|one| {
            (has_archived || one.status != EntityStatus::Archived)
                && request.resource_type.as_ref().is_none_or(|kind| *kind == one.entity_type)
                && request.within.is_none_or(|within| self.above(one.id).any(|id| id == within))
        });
        wanted.collect()
    }
}

/// A random question; the pages of all its lists are compared.
fn request(world: &World, principal: u128, rng: &mut StdRng) -> ResourcesRequest {
    let context = match rng.random_range(0..4) {
        0 => JsonObject::new(),
        _ => object([("level", Json::Int(rng.random_range(0..4)))]),
    };
    let include = [Include::Conditional, Include::Archived].into_iter().filter(|_| rng.random_bool(0.4)).collect();
    ResourcesRequest {
        principal_id: Uuid::from_u128(principal),
        principal_type: default_principal_type(),
        action: ACTION.try_into().unwrap(),
        resource_type: rng.random_bool(0.3).then(|| kind(rng)),
        within: rng.random_bool(0.4).then(|| world.entities.choose(rng).unwrap().id),
        form: ListForm::default(),
        list: ListRequest { context, include, ..ListRequest::default() },
    }
}

/// All pages of a list.
async fn walk<T>(
    request: &ResourcesRequest,
    page: impl AsyncFn(&ResourcesRequest) -> Result<AccessPage<T>, Error>,
) -> Result<Vec<Vec<T>>, Error> {
    let (mut request, mut pages) = (request.clone(), Vec::new());
    loop {
        let AccessPage { items, complete, next, .. } = page(&request).await?;
        assert_eq!(complete, next.is_none(), "a list that goes on says how");
        pages.push(items);
        assert!(pages.len() < 5_000, "it does not end");
        match next {
            Some(token) => request.list.next = Some(token),
            None => return Ok(pages),
        }
    }
}

/// What a check says about one entity: by which assignment it is allowed, until when, and what it misses.
#[derive(Debug, Default)]
struct Checked {
    allowed: BTreeMap<Uuid, (Uuid, Option<Timestamp>)>,
    conditional: BTreeMap<Uuid, BTreeSet<String>>,
}

async fn checked(epr: &Epr, world: &World, request: &ResourcesRequest) -> Checked {
    let (call, mut checked) = (Call::default(), Checked::default());
    for one in world.wanted(request) {
        let question = Question {
            principal_type: request.principal_type.clone(),
            ..Question::new(request.principal_id, request.action.clone(), one.id)
        };
        let context = &request.list.context;
        let decision = epr.check_in_context(&call, &question, context).await.unwrap();
        let explained = epr.explain(&call, &question, context, None).await.unwrap();
        match decision.reason {
            Reason::Granted { assignment_id, .. } => {
                checked.allowed.insert(one.id, (assignment_id, explained.until));
            }
            Reason::Denied(_) if explained.reason == "context_missing" => {
                let conditions = explained.assignments.iter().filter_map(|one| {
                    let why_not = one.why_not.map(|denial| Reason::Denied(denial).code());
                    one.condition.as_ref().filter(|_| why_not == Some("context_missing"))
                });
                let missing = conditions.flat_map(|condition| condition.missing.iter().cloned()).collect();
                checked.conditional.insert(one.id, missing);
            }
            Reason::Denied(_) => {}
        }
    }
    checked
}

fn compare_items(pages: Vec<Vec<AccessItem>>, request: &ResourcesRequest, checked: &Checked, case: &str) {
    let limit = usize::try_from(request.list.limit).unwrap();
    assert!(pages.iter().all(|page| page.len() <= limit), "{case}");
    let items: Vec<AccessItem> = pages.into_iter().flatten().collect();
    let ids: Vec<Uuid> = items.iter().map(|item| item.id.parse().unwrap()).collect();
    assert!(ids.is_sorted_by(|one, other| one < other), "{case}: {ids:?}");
    let has_conditional = request.list.include.contains(&Include::Conditional);
    let expected: BTreeSet<Uuid> = checked
        .allowed
        .keys()
        .copied()
        .chain(checked.conditional.keys().copied().filter(|_| has_conditional))
        .collect();
    assert_eq!(ids.iter().copied().collect::<BTreeSet<_>>(), expected, "{case}");
    for (id, item) in ids.into_iter().zip(items) {
        let via = item.via.unwrap();
        match checked.allowed.get(&id) {
            Some((assignment, until)) => {
                assert_eq!((via.assignment_id, via.until), (*assignment, *until), "{case} {id}");
                assert!(!item.conditional && item.missing.is_empty(), "{case} {id}");
            }
            None => {
                let missing: BTreeSet<String> = item.missing.into_iter().collect();
                assert!(item.conditional, "{case} {id}");
                assert_eq!(missing, checked.conditional[&id], "{case} {id}");
            }
        }
    }
}

/// Joins the parts of the items whose exclusions are on several pages.
fn joined(pages: Vec<Vec<SubtreeItem>>, limit: usize, case: &str) -> Vec<SubtreeItem> {
    let (mut joined, mut continues): (Vec<SubtreeItem>, bool) = (Vec::new(), false);
    for page in pages {
        let repeated = usize::from(continues);
        let size: usize = page.iter().map(|item| 1 + item.exclusions.len()).sum();
        assert!(size - repeated.min(size) <= limit, "{case}: {size}");
        let last = page.len().saturating_sub(1);
        for (at, item) in page.into_iter().enumerate() {
            assert!(at == last || !item.more_exclusions, "{case}: only the last item goes on");
            let goes_on = item.more_exclusions;
            match joined.last_mut().filter(|_| continues) {
                Some(before) => {
                    let (one, other) = (before.via.as_ref(), item.via.as_ref());
                    assert_eq!(one.map(|via| via.assignment_id), other.map(|via| via.assignment_id), "{case}");
                    before.exclusions.extend(item.exclusions);
                    before.missing.extend(item.missing);
                }
                None => joined.push(item),
            }
            continues = goes_on;
        }
    }
    assert!(!continues, "{case}");
    joined
}

fn compare_subtrees(
    pages: Vec<Vec<SubtreeItem>>,
    world: &World,
    request: &ResourcesRequest,
    checked: &Checked,
    case: &str,
) {
    let items = joined(pages, usize::try_from(request.list.limit).unwrap(), case);
    let has_conditional = request.list.include.contains(&Include::Conditional);
    let (mut allowed, mut conditional) = (BTreeSet::new(), BTreeSet::new());
    for item in &items {
        assert!(item.exclusions.is_sorted_by(|one, other| one < other), "{case}: {item:?}");
        assert_eq!(item.id.is_none(), item.everything, "{case}");
        assert!(has_conditional || !item.conditional, "{case}");
        for one in &world.entities {
            let is_below = item.id.is_none_or(|root| root == one.id || world.above(one.id).any(|id| id == root));
            if is_below && item.includes(one.id, &one.entity_type) {
                if item.conditional {
                    conditional.insert(one.id)
                } else {
                    allowed.insert(one.id)
                };
            }
        }
    }
    assert_eq!(allowed, checked.allowed.keys().copied().collect(), "{case}: {items:#?}");
    if has_conditional {
        let conditional: BTreeSet<Uuid> = conditional.difference(&allowed).copied().collect();
        assert_eq!(conditional, checked.conditional.keys().copied().collect(), "{case}: {items:#?}");
    }
}

/// Compares all lists about each principal of a world with checks: the number of entities that a check allows, and of
/// those that it allows under a condition.
async fn compare_world(kind: DatabaseKind, rng: &mut StdRng) -> (usize, usize) {
    let world = world(kind, rng).await;
    let mut services = Vec::new();
    for bounds in BOUNDS {
        services.push(service(&world, bounds).await);
    }
    let call = Call::default();
    let (mut listed, mut conditional) = (0, 0);
    for principal in 0..PRINCIPALS {
        let mut request = request(&world, principal, rng);
        let checked = checked(&services[0], &world, &request).await;
        listed += checked.allowed.len();
        conditional += checked.conditional.len();
        for (epr, bounds) in services.iter().zip(BOUNDS) {
            for limit in LIMITS {
                request.list.limit = limit;
                let case = format!("{bounds:?} {request:?}");
                let pages = walk(&request, async |page| epr.list_resources(&call, page).await).await.unwrap();
                compare_items(pages, &request, &checked, &case);
                let pages = walk(&request, async |page| epr.list_subtrees(&call, page).await).await.unwrap();
                compare_subtrees(pages, &world, &request, &checked, &case);
            }
        }
        world.clock.advance_micros(rng.random_range(0..2_000_000));
    }
    for epr in services {
        epr.close().await;
    }
    (listed, conditional)
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_union_of_all_pages_is_what_checks_allow_in_both_forms_for_every_limit(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("the_union_of_all_pages_is_what_checks_allow_in_both_forms_for_every_limit");
    let (mut listed, mut conditional) = (0, 0);
    // Some random worlds allow little: worlds are compared until there was enough to compare.
    for _ in 0..20 {
        let (allowed, allowed_if) = compare_world(kind, &mut rng).await;
        listed += allowed;
        conditional += allowed_if;
        if listed > 30 && conditional > 0 {
            println!("{listed} listed, {conditional} conditional");
            return;
        }
    }
    panic!("20 worlds had {listed} listed, {conditional} conditional: too few to compare");
}
