//! What the cache answers is what an evaluation answers: over random worlds, contexts and histories, on real databases.

use std::sync::Arc;

use epr_core::clock::{Clock as _, ManualClock};
use epr_core::decision::Question;
use epr_core::domain::assignment::default_principal_type;
use epr_core::domain::json::object;
use epr_core::domain::{
    Condition, EntityPatch, EntityType, Json, JsonObject, NewAssignment, NewEntity, NewPrincipal, NewRole,
    ParameterType, PrincipalPatch, PrincipalStatus, RolePatch, Timestamp,
};
use epr_core::settings::{AuditDecisions, CacheSettings};
use epr_core::{Call, Epr};
use epr_testkit::api::until_cached;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::seed;
use rand::Rng as _;
use rand::rngs::StdRng;
use rstest::rstest;
use uuid::Uuid;

const STEPS: usize = 300;
const CHECKS: usize = 6;

async fn service(database: &Database, clock: Arc<ManualClock>, cache: CacheSettings) -> Epr {
    let builder = Epr::builder().store(database.store().await).clock(clock).cache(cache);
    let epr = builder.audit_decisions(AuditDecisions::Off).build();
    epr.start(false).await.unwrap();
    epr
}

fn principal(rng: &mut StdRng) -> Uuid {
    Uuid::from_u128(rng.random_range(1..4))
}

fn condition(rng: &mut StdRng, now: Timestamp) -> Condition {
    match rng.random_range(0..6) {
        0 => Condition::new("context.level >= 2").parameter("level", ParameterType::Int),
        1 => Condition::new("resource.attributes.open"),
        2 => Condition::new("principal.attributes.cleared"),
        3 => Condition::new(format!("now < timestamp('{}')", now.plus_seconds(rng.random_range(0..6)))),
        4 => Condition::new("1 / context.level == 1").parameter("level", ParameterType::Int),
        _ => Condition::new("resource.attributes.open && context.level >= 1 || principal.attributes.cleared")
            .parameter("level", ParameterType::Int),
    }
}

/// One context in four has a parameter of the wrong type.
fn context(rng: &mut StdRng) -> JsonObject {
    match rng.random_range(0..4) {
        0 => JsonObject::new(),
        1 => object([("level", "two".into())]),
        _ => object([("level", Json::Int(rng.random_range(0..4)))]),
    }
}

/// One random change, on the service with the cache.
async fn change(epr: &Epr, rng: &mut StdRng, now: Timestamp, entities: &[Uuid], roles: &[Uuid], held: &mut Vec<Uuid>) {
    let call = Call::default();
    let (entity, role) = (entities[rng.random_range(0..entities.len())], roles[rng.random_range(0..roles.len())]);
    match rng.random_range(0..10) {
        0..4 => {
            let mut new = NewAssignment::new(principal(rng), role);
            new.entity_id = rng.random_bool(0.8).then_some(entity);
            new.effective_at = Some(now.plus_seconds(rng.random_range(-3..4)));
            new.expires_at = rng.random_bool(0.5).then(|| now.plus_seconds(rng.random_range(4..10)));
            new.condition = rng.random_bool(0.7).then(|| condition(rng, now));
            if let Ok(assignment) = epr.assign(&call, new).await {
                held.push(assignment.id);
            }
        }
        4..6 if !held.is_empty() => {
            let _ = epr.revoke(&call, held.swap_remove(rng.random_range(0..held.len()))).await;
        }
        6 => {
            let attributes = Some(object([("open", rng.random_bool(0.5).into())]));
            epr.update_entity(&call, entity, EntityPatch { attributes, ..EntityPatch::default() }).await.unwrap();
        }
        7 | 8 => {
            let (id, kind) = (principal(rng), default_principal_type());
            let _ = epr.create_principal(&call, NewPrincipal::new().with_id(id)).await;
            let suspended = rng.random_bool(0.3);
            let patch = PrincipalPatch {
                status: Some(if suspended { PrincipalStatus::Suspended } else { PrincipalStatus::Active }),
                attributes: Some(object([("cleared", rng.random_bool(0.5).into())])),
                ..PrincipalPatch::default()
            };
            epr.update_principal(&call, &kind, id, patch).await.unwrap();
        }
        _ => {
            let conditions = rng.random_bool(0.5).then(|| ("a:read".parse().unwrap(), condition(rng, now)));
            let patch = RolePatch { conditions: Some(conditions.into_iter().collect()), ..RolePatch::default() };
            epr.update_role(&call, role, patch).await.unwrap();
        }
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cached_answer_differs_from_an_evaluated_one(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("no_cached_answer_differs_from_an_evaluated_one");
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-01-01T00:00:00Z").unwrap()));
    let database = Database::create(kind).await;
    database.store().await.close().await;
    let cached = service(&database, clock.clone(), CacheSettings::default()).await;
    let uncached = service(&database, clock.clone(), CacheSettings::off()).await;
    until_cached(&cached).await;
    let call = Call::default();
    let (mut entities, mut roles, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for (name, kind) in [("top", EntityType::Issuer), ("middle", EntityType::Spv), ("low", EntityType::Offering)] {
        let mut new = NewEntity::new(name.try_into().unwrap(), kind);
        new.parent_id = entities.last().copied();
        entities.push(cached.create_entity(&call, new).await.unwrap().id);
    }
    for name in ["one", "two"] {
        let new = NewRole::new(name.parse().unwrap()).permission("a:read".parse().unwrap());
        roles.push(cached.create_role(&call, new).await.unwrap().id);
    }
    let (mut allowed, mut denied, mut refused) = (0, 0, 0);
    for step in 0..STEPS {
        change(&cached, &mut rng, clock.now(), &entities, &roles, &mut held).await;
        for _ in 0..CHECKS {
            let resource = entities[rng.random_range(0..entities.len())];
            let question = Question::new(principal(&mut rng), "a:read".try_into().unwrap(), resource);
            let context = context(&mut rng);
            let answers = [&cached, &uncached].map(|epr| epr.check_in_context(&call, &question, &context));
            let [one, other] = answers;
            match (one.await, other.await) {
                (Ok(one), Ok(other)) => {
                    assert_eq!(one, other, "step {step}: {question:?} in {context:?}");
                    *(if one.allowed { &mut allowed } else { &mut denied }) += 1;
                }
                (Err(one), Err(other)) => {
                    assert_eq!(one.to_string(), other.to_string());
                    refused += 1;
                }
                (one, other) => panic!("step {step}: {one:?} and {other:?} for {question:?} in {context:?}"),
            }
            if rng.random_bool(0.2) {
                clock.advance_micros(rng.random_range(1..1_500_000));
            }
        }
    }
    println!("{allowed} allowed, {denied} denied, {refused} refused");
    assert!(allowed > 50 && denied > 50 && refused > 10, "{allowed} allowed, {denied} denied, {refused} refused");
    for epr in [cached, uncached] {
        epr.close().await;
    }
}
