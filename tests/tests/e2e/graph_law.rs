//! What the registry in memory answers is what the database answers: over random registries and histories, on real
//! databases, with changes past the service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use epr_core::clock::{Clock as _, SystemClock};
use epr_core::decision::{Decision, Question};
use epr_core::domain::{JsonObject, Moment};
use epr_core::settings::{CacheSettings, GraphSettings};
use epr_core::{AtLeast, Call, CheckItem, Epr, GraphState};
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::{metrics, seed, wait};
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rstest::rstest;
use uuid::Uuid;

use crate::access_world::{ACTIONS, Size, World, context};

const ROUNDS: usize = 12;
const CHECKS: usize = 60;

async fn answered(epr: &Epr) -> u64 {
    metrics::sum(&epr.metrics_text().await, "epr_graph_answers_total")
}

/// Waits until `epr` answers from memory about the newest revision.
async fn until_current(epr: &Epr, world: &World) {
    let revision = world.revision().await;
    let at_least = AtLeast { revision, within: Duration::from_secs(5) };
    let call = Call { at_least: Some(at_least), ..Call::default() };
    let question = Question::new(Uuid::from_u128(99), "doc:read".try_into().unwrap(), world.entities[0]);
    wait::until("an answer from memory", async || {
        let before = answered(epr).await;
        epr.check_in_context(&call, &question, &JsonObject::new()).await.unwrap();
        answered(epr).await > before
    })
    .await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_from_memory_differs_from_the_one_of_the_database(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("no_answer_from_memory_differs_from_the_one_of_the_database");
    let mut world = World::random(kind, &mut rng, Size::SMALL).await;
    let cache = CacheSettings { graph: GraphSettings::UpTo(64), ..CacheSettings::off() };
    let epr = world.with_cache(cache).await;
    let call = Call::default();
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let (mut batches, mut explained) = (0, 0);
    for round in 0..ROUNDS {
        // Another process learns of changes by its feed; then it answers from memory again.
        until_current(&epr, &world).await;
        let mut batch = Vec::with_capacity(CHECKS);
        for _ in 0..CHECKS {
            let (id, principal_type) = world.principals.choose(&mut rng).unwrap().clone();
            let action = (*ACTIONS.choose(&mut rng).unwrap()).try_into().unwrap();
            let mut question = Question::new(id, action, *world.entities.choose(&mut rng).unwrap());
            question.principal_type = principal_type;
            let context = context(&mut rng);
            let (ours, theirs) = (
                epr.check_in_context(&call, &question, &context).await,
                world.epr.check_in_context(&call, &question, &context).await,
            );
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => {
                    assert_eq!(ours, theirs, "round {round}: {question:?} in {context:?} at {}", world.clock.now());
                    *outcomes.entry(ours.reason.code().to_owned()).or_default() += 1;
                }
                (Err(ours), Err(theirs)) => assert_eq!(ours.to_string(), theirs.to_string()),
                (ours, theirs) => panic!("round {round}: {ours:?} and {theirs:?} for {question:?} in {context:?}"),
            }
            let before = answered(&epr).await;
            let ours = epr.explain(&call, &question, &context, Moment::default()).await;
            explained += answered(&epr).await - before;
            let theirs = world.epr.explain(&call, &question, &context, Moment::default()).await;
            let [ours, theirs] = [ours, theirs].map(|outcome| outcome.map_err(|error| error.to_string()));
            assert_eq!(ours, theirs, "round {round}: {question:?} in {context:?} at {}", world.clock.now());
            batch.push(CheckItem { question, context });
        }
        let texts = |answers: Vec<Result<Decision, epr_core::Error>>| {
            let text = |answer: Result<Decision, epr_core::Error>| answer.map_err(|error| error.to_string());
            answers.into_iter().map(text).collect::<Vec<_>>()
        };
        let before = answered(&epr).await;
        let ours = texts(epr.check_batch(&call, &batch).await.unwrap());
        assert_eq!(ours, texts(world.epr.check_batch(&call, &batch).await.unwrap()), "round {round}");
        batches += u64::from(answered(&epr).await >= before + u64::try_from(CHECKS).unwrap());
        if rng.random_bool(0.3) {
            let role = world.roles.choose(&mut rng).unwrap();
            world.execute(&format!("DELETE FROM role_permissions WHERE role_id = '{role}'")).await;
        }
        for _ in 0..2 {
            world.change(&mut rng).await;
        }
        // The last of them has a revision, which is reported after everything before it.
        let before = world.revision().await;
        while world.revision().await == before {
            world.change(&mut rng).await;
        }
        world.clock.advance_micros(rng.random_range(1..3_000_000));
    }
    let answered = answered(&epr).await;
    println!("{answered} answers from memory, {explained} explanations, {batches} batches: {outcomes:?}");
    assert!(answered > 300 && batches > 0 && outcomes.len() > 3, "{answered}, {batches}: {outcomes:?}");
    assert!(explained > 300, "{explained} explanations from memory");
    assert_eq!(epr.graph_state(), GraphState::Ok);
    epr.close().await;
}

#[tokio::test]
async fn a_registry_that_does_not_fit_in_memory_is_read_from_the_database() {
    let mut rng = seed::rng("a_registry_that_does_not_fit_in_memory_is_read_from_the_database");
    let world = World::random(DatabaseKind::Sqlite, &mut rng, Size::SMALL).await;
    let cache = CacheSettings { graph: GraphSettings::UpTo(0), ..CacheSettings::off() };
    let epr = world.with_cache(cache).await;
    wait::until("a registry that is too large", async || epr.graph_state() == GraphState::TooLarge).await;
    let question = Question::new(world.principals[0].0, "doc:read".try_into().unwrap(), world.entities[0]);
    let context = context(&mut rng);
    let ours = epr.check_in_context(&Call::default(), &question, &context).await.map_err(|error| error.to_string());
    assert_eq!(ours, world.check(&question, &context).await.map_err(|error| error.to_string()));
    assert_eq!(answered(&epr).await, 0);
    epr.close().await;
}

#[tokio::test]
async fn the_registry_in_memory_is_a_part_of_readiness_and_metrics() {
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let api = Api::with_settings(database, Arc::new(SystemClock), &[("EPR_GRAPH", "auto")]).await;
    let entity = api.entity("one", "spv", None).await;
    wait::until("a registry in memory", async || {
        api.get("/readyz").await.expect(200)["dependencies"]["graph"]["status"] == "ok"
    })
    .await;
    wait::until("an answer from memory", async || {
        let user = Uuid::new_v4().to_string();
        assert!(!api.authorized(&user, "doc:read", &entity).await);
        answered(&api.epr).await > 0
    })
    .await;
    let text = api.epr.metrics_text().await;
    assert!(metrics::sum(&text, "epr_graph_up") == 1 && metrics::sum(&text, "epr_graph_memory_bytes") > 0, "{text}");
}
