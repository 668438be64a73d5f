//! The law of history: the answer at revision N is the answer that was given when N was the newest revision.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use epr_core::clock::{Clock as _, ManualClock, SystemClock};
use epr_core::decision::Question;
use epr_core::domain::assignment::default_principal_type;
use epr_core::domain::json::object;
use epr_core::domain::{
    Condition, EntityType, Json, JsonObject, Moment, NewAssignment, NewEntity, NewPrincipal, NewRole, PrincipalPatch,
    Revision, Timestamp,
};
use epr_core::settings::{AuditDecisions, CacheSettings};
use epr_core::store::Store;
use epr_core::{Call, Epr, Error};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::seed;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rstest::rstest;
use uuid::Uuid;

use crate::history_world::{ACTIONS, World, principal};

const STEPS: usize = 250;
/// Questions after each change.
const QUESTIONS: usize = 8;

/// An answer that was given live.
struct Recorded {
    revision: Revision,
    at: Timestamp,
    question: Question,
    context: JsonObject,
    answer: String,
    /// Whether no later change has the time `at`.
    is_last_of_its_time: bool,
}

fn service(database: &Arc<dyn Store>, clock: Arc<ManualClock>) -> Epr {
    let builder = Epr::builder().store(Arc::clone(database)).clock(clock).cache(CacheSettings::off());
    builder.audit_decisions(AuditDecisions::Off).build()
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::parse("2026-01-01T00:00:00Z").unwrap()))
}

/// One context in five has a parameter of the wrong type.
fn context(rng: &mut StdRng) -> JsonObject {
    match rng.random_range(0..5) {
        0 => JsonObject::new(),
        1 => object([("level", "two".into())]),
        _ => object([("level", Json::Int(rng.random_range(0..4)))]),
    }
}

fn question(rng: &mut StdRng, world: &World) -> Question {
    let known = world.entities.get(rng.random_range(0..world.entities.len().max(1)));
    let resource = known.copied().unwrap_or_else(|| Uuid::from_u128(rng.random()));
    Question::new(principal(rng), ACTIONS[rng.random_range(0..3)].try_into().unwrap(), resource)
}

fn text<T: std::fmt::Debug>(answer: &Result<T, Error>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("refused: {error}"),
    }
}

/// Makes a world and asks again about every state that it had; counts the answers by their kind.
async fn compare_history(kind: DatabaseKind, rng: &mut StdRng, counts: &mut BTreeMap<String, i32>) {
    let (database, clock, call) = (Database::create(kind).await, clock(), Call::default());
    let store = database.store().await;
    database.record_times_of_entries().await;
    let epr = service(&store, clock.clone());
    epr.start(false).await.unwrap();
    let mut world = World { keeps_persons: true, ..World::default() };
    let mut recorded: Vec<Recorded> = Vec::new();
    for _ in 0..STEPS {
        if rng.random_bool(0.7) {
            clock.advance_micros(rng.random_range(1..2_000_000));
        }
        world.change(&epr, rng, clock.now()).await;
        let (revision, at) = (store.registry_state().await.unwrap().revision, clock.now());
        for one in recorded.iter_mut().rev().take_while(|one| one.at == at && one.revision != revision) {
            one.is_last_of_its_time = false;
        }
        for _ in 0..QUESTIONS {
            let (question, context) = (question(rng, &world), context(rng));
            let answer = text(&epr.check_in_context(&call, &question, &context).await);
            recorded.push(Recorded { revision, at, question, context, answer, is_last_of_its_time: true });
        }
    }
    for one in &recorded {
        let Recorded { revision, at, question, context, answer, is_last_of_its_time } = one;
        // Before the first entry there is nothing to ask about.
        if revision.sequence == 0 {
            continue;
        }
        let both = Moment { at: Some(*at), revision: Some(*revision) };
        let past = text(&epr.check_at(&call, question, context, both).await);
        assert_eq!(past, *answer, "{question:?} in {context:?} at {revision}");
        if *is_last_of_its_time {
            let past = text(&epr.check_at(&call, question, context, Moment::at(*at)).await);
            assert_eq!(past, *answer, "{question:?} in {context:?} at {at}");
        }
        let kind = if answer.contains("allowed: true") { "allowed" } else { &answer[..answer.len().min(9)] };
        *counts.entry(kind.to_owned()).or_insert(0) += 1;
    }
    epr.close().await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_at_a_revision_is_the_one_that_was_given_live(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("the_answer_at_a_revision_is_the_one_that_was_given_live");
    let mut counts = BTreeMap::from([("allowed".to_owned(), 0)]);
    // Some random worlds allow little: worlds are made until there was enough to compare.
    for _ in 0..10 {
        compare_history(kind, &mut rng, &mut counts).await;
        if counts["allowed"] > 30 && counts.values().sum::<i32>() > 1_000 {
            println!("{counts:?}");
            return;
        }
    }
    panic!("ten worlds had too few answers to compare: {counts:?}");
}

/// Changes and explanations side by side, on a service with the time of the system; each explanation names the revision
/// that it rests on.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explanations_given_during_changes_are_given_again_at_their_revisions(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("explanations_given_during_changes_are_given_again_at_their_revisions");
    let database = Database::create(kind).await;
    let builder = Epr::builder().store(database.store().await).clock(Arc::new(SystemClock));
    let epr = builder.build();
    epr.start(false).await.unwrap();
    let mut first = World { keeps_persons: true, ..World::default() };
    for _ in 0..60 {
        first.change(&epr, &mut rng, epr.now()).await;
    }
    let entities = Arc::new(first.entities.clone());
    let recorded = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..4_u64)
        .map(|n| {
            let (epr, recorded, entities) = (epr.clone(), Arc::clone(&recorded), Arc::clone(&entities));
            let mut rng = StdRng::seed_from_u64(rng.random::<u64>() ^ n);
            let mut world = World { keeps_persons: true, ..World::default() };
            world.entities.clone_from(&entities);
            world.roles.clone_from(&first.roles);
            world.prefix = Some(n);
            tokio::spawn(async move {
                for _ in 0..40 {
                    if n < 2 {
                        world.change(&epr, &mut rng, epr.now()).await;
                        continue;
                    }
                    let (question, context) = (question(&mut rng, &world), context(&mut rng));
                    if let Ok(given) = epr.explain(&Call::default(), &question, &context, None).await {
                        recorded.lock().unwrap().push((question, context, given));
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let recorded = std::mem::take(&mut *recorded.lock().unwrap());
    let mut revisions = std::collections::BTreeSet::new();
    for (question, context, given) in &recorded {
        revisions.insert(given.revision.clone());
        let moment = Moment { at: Some(given.at), revision: Some(given.revision.parse().unwrap()) };
        let again = epr.explain(&Call::default(), question, context, moment).await.unwrap();
        assert_eq!(again, *given, "{question:?}");
    }
    println!("{} explanations at {} revisions", recorded.len(), revisions.len());
    assert!(recorded.len() > 20 && revisions.len() > 5, "{} at {}", recorded.len(), revisions.len());
    epr.close().await;
}

/// With a revision alone, windows are compared with the time of its entry.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_alone_means_the_time_of_its_entry(#[case] kind: DatabaseKind) {
    let (database, clock, call) = (Database::create(kind).await, clock(), Call::default());
    let store = database.store().await;
    database.record_times_of_entries().await;
    let epr = service(&store, clock.clone());
    epr.start(false).await.unwrap();
    let spv = epr.create_entity(&call, NewEntity::new("S".parse().unwrap(), EntityType::Spv)).await.unwrap();
    let new = NewRole::new("Reader".parse().unwrap()).permission("a:read".parse().unwrap());
    let role = epr.create_role(&call, new).await.unwrap();
    let from = clock.now().plus_seconds(10);
    let new = NewAssignment::new(Uuid::from_u128(1), role.id).on(spv.id).from(from).until(from.plus_seconds(10));
    epr.assign(&call, new).await.unwrap();
    let early = store.registry_state().await.unwrap().revision;
    clock.advance_micros(12_000_000);
    epr.create_entity(&call, NewEntity::new("T".parse().unwrap(), EntityType::Spv)).await.unwrap();
    let within = store.registry_state().await.unwrap().revision;
    clock.advance_micros(12_000_000);
    let question = Question::new(Uuid::from_u128(1), "a:read".try_into().unwrap(), spv.id);
    let asked = |moment: Moment| {
        let (epr, question, call) = (&epr, &question, &call);
        async move { epr.check_at(call, question, &JsonObject::new(), moment).await.unwrap().allowed }
    };
    assert!(!epr.check(&call, &question).await.unwrap().allowed);
    assert!(!asked(Moment::revision(early)).await, "before the window");
    assert!(asked(Moment::revision(within)).await, "within the window");
    assert!(asked(Moment { at: Some(from), revision: Some(early) }).await);
    assert!(asked(Moment::at(from)).await && !asked(Moment::at(from.plus_seconds(-1))).await);
    assert!(!asked(Moment::at(from.plus_seconds(10))).await, "the window excludes its end");
    // A time in the future: the present registry.
    let later = from.plus_seconds(1000);
    let new = NewAssignment::new(Uuid::from_u128(1), role.id).from(later);
    epr.assign(&call, new).await.unwrap();
    assert!(asked(Moment::at(later)).await);
    epr.close().await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_on_an_erased_person_are_missing_in_the_past_too(#[case] kind: DatabaseKind) {
    for (n, expression) in [
        "principal.attributes.cleared",
        "has(principal.attributes.cleared)",
        "!has(principal.external_id)",
        "!('banned' in principal.attributes)",
        "size(principal.attributes) == 1",
        "!has(principal.effective.banned)",
    ]
    .into_iter()
    .enumerate()
    {
        println!("{n}: {expression}");
        is_missing_after_an_erasure(kind, expression).await;
    }
}

async fn is_missing_after_an_erasure(kind: DatabaseKind, expression: &str) {
    let (database, clock, call) = (Database::create(kind).await, clock(), Call::default());
    let store = database.store().await;
    let epr = service(&store, clock.clone());
    epr.start(false).await.unwrap();
    let (person, kind) = (Uuid::from_u128(1), default_principal_type());
    let spv = epr.create_entity(&call, NewEntity::new("S".parse().unwrap(), EntityType::Spv)).await.unwrap();
    let new = NewRole::new("Reader".parse().unwrap()).permission("a:read".parse().unwrap());
    let role = epr.create_role(&call, new).await.unwrap();
    epr.create_principal(&call, NewPrincipal::new().with_id(person)).await.unwrap();
    let attributes = Some(object([("cleared", true.into())]));
    let patch = PrincipalPatch { attributes, ..PrincipalPatch::default() };
    epr.update_principal(&call, &kind, person, patch).await.unwrap();
    let new = NewAssignment::new(person, role.id).on(spv.id);
    epr.assign(&call, new.only_if(Condition::new(expression))).await.unwrap();
    let revision = Moment::revision(store.registry_state().await.unwrap().revision);
    let question = Question::new(person, "a:read".try_into().unwrap(), spv.id);
    let context = JsonObject::new();
    let explained = || epr.explain(&call, &question, &context, revision);
    assert!(explained().await.unwrap().decision);
    epr.erase_principal(&call, &kind, person).await.unwrap();
    let after = explained().await.unwrap();
    assert_eq!((after.decision, after.reason.as_str()), (false, "context_missing"), "{after:?}");
    epr.rebuild_history().await.unwrap();
    assert_eq!(explained().await.unwrap(), after);
    epr.close().await;
}
