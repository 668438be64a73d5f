//! Lists of the past: the list at revision N is the list that was answered when N was the newest revision, and the
//! pages of a list go on at the revision of the first one while the registry changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use epr_core::clock::{Clock as _, ManualClock};
use epr_core::domain::access::{AccessPage, Include, ListForm, ListRequest};
use epr_core::domain::assignment::default_principal_type;
use epr_core::domain::json::object;
use epr_core::domain::{
    ActionsRequest, Condition, EntityType, Json, JsonObject, NewAssignment, NewEntity, NewPrincipal, NewRole,
    PrincipalPatch, PrincipalsRequest, ResourcesRequest, Revision, Timestamp,
};
use epr_core::settings::CacheSettings;
use epr_core::store::Store;
use epr_core::{Call, Epr, Error};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::seed;
use rand::Rng as _;
use rand::rngs::StdRng;
use rstest::rstest;
use uuid::Uuid;

use crate::history_world::{ACTIONS, World, principal};

const STEPS: usize = 150;

/// One of the lists.
#[derive(Debug, Clone)]
enum Asked {
    Principals(PrincipalsRequest),
    Resources(ResourcesRequest),
    Actions(ActionsRequest),
}

/// A page as text, with what the next one needs.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    items: Vec<String>,
    next: Option<String>,
    revision: String,
    as_of: Timestamp,
}

impl Asked {
    fn random(rng: &mut StdRng, world: &World) -> Self {
        let list = ListRequest { context: context(rng), limit: 1000, include: include(rng), ..ListRequest::default() };
        let resource_id = known(rng, world);
        let (principal_id, principal_type) = (principal(rng), default_principal_type());
        let action = ACTIONS[rng.random_range(0..3)];
        match rng.random_range(0..4) {
            0 => Self::Principals(PrincipalsRequest {
                action: action.parse().unwrap(),
                resource_id,
                principal_type: rng.random_bool(0.2).then(default_principal_type),
                list,
            }),
            1 => Self::Actions(ActionsRequest { principal_id, principal_type, resource_id, list }),
            _ => Self::Resources(ResourcesRequest {
                principal_id,
                principal_type,
                action: action.parse().unwrap(),
                resource_type: rng.random_bool(0.2).then_some(EntityType::Spv),
                within: rng.random_bool(0.2).then_some(resource_id),
                form: if rng.random_bool(0.5) { ListForm::Items } else { ListForm::Subtrees },
                list,
            }),
        }
    }

    fn with(&self, change: impl FnOnce(&mut ListRequest)) -> Self {
        let mut asked = self.clone();
        change(match &mut asked {
            Self::Principals(request) => &mut request.list,
            Self::Resources(request) => &mut request.list,
            Self::Actions(request) => &mut request.list,
        });
        asked
    }

    async fn page(&self, epr: &Epr) -> Result<Answer, Error> {
        let call = Call::default();
        match self {
            Self::Principals(request) => epr.list_principals(&call, request).await.map(answer),
            Self::Actions(request) => epr.list_actions(&call, request).await.map(answer),
            Self::Resources(request) if request.form == ListForm::Items => {
                epr.list_resources(&call, request).await.map(answer)
            }
            Self::Resources(request) => epr.list_subtrees(&call, request).await.map(answer),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Principals(_) => "principals",
            Self::Actions(_) => "actions",
            Self::Resources(request) if request.form == ListForm::Items => "resources",
            Self::Resources(_) => "subtrees",
        }
    }
}

fn answer<T: std::fmt::Debug>(page: AccessPage<T>) -> Answer {
    let items = page.items.iter().map(|item| format!("{item:?}")).collect();
    Answer { items, next: page.next, revision: page.revision, as_of: page.as_of }
}

fn context(rng: &mut StdRng) -> JsonObject {
    if rng.random_bool(0.3) { JsonObject::new() } else { object([("level", Json::Int(rng.random_range(0..4)))]) }
}

fn include(rng: &mut StdRng) -> Vec<Include> {
    let mut include = Vec::new();
    if rng.random_bool(0.4) {
        include.push(Include::Conditional);
    }
    if rng.random_bool(0.4) {
        include.push(Include::Archived);
    }
    include.sort_unstable();
    include
}

fn known(rng: &mut StdRng, world: &World) -> Uuid {
    let known = world.entities.get(rng.random_range(0..world.entities.len().max(1)));
    known.copied().unwrap_or_else(|| Uuid::from_u128(rng.random()))
}

async fn service(database: &Database) -> (Epr, Arc<ManualClock>, Arc<dyn Store>) {
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-01-01T00:00:00Z").unwrap()));
    let store = database.store().await;
    let builder = Epr::builder().store(Arc::clone(&store)).clock(clock.clone()).cache(CacheSettings::off());
    let epr = builder.build();
    epr.start(false).await.unwrap();
    (epr, clock, store)
}

fn text(answer: &Result<Answer, Error>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("refused: {error}"),
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_at_a_revision_is_the_one_that_was_answered_live(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("the_list_at_a_revision_is_the_one_that_was_answered_live");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    // A world can happen to grant next to nothing.
    for world in 1.. {
        compare_lists_of_a_world(kind, &mut rng, &mut counts).await;
        println!("{world} worlds, lists with items: {counts:?}");
        if ["principals", "actions", "resources", "subtrees"].iter().all(|kind| counts.get(kind) > Some(&5)) {
            break;
        }
        assert!(world < 10, "too few lists have items: {counts:?}");
    }
}

/// Records the lists of one random world while it changes, and compares them with those of the past. Counts by kind
/// those that have items.
async fn compare_lists_of_a_world(kind: DatabaseKind, rng: &mut StdRng, counts: &mut BTreeMap<&str, usize>) {
    let database = Database::create(kind).await;
    let (epr, clock, store) = service(&database).await;
    let mut world = World { keeps_persons: true, ..World::default() };
    let mut recorded = Vec::new();
    for _ in 0..STEPS {
        if rng.random_bool(0.7) {
            clock.advance_micros(rng.random_range(1..2_000_000));
        }
        world.change(&epr, rng, clock.now()).await;
        let revision = store.registry_state().await.unwrap().revision;
        for _ in 0..6 {
            let asked = Asked::random(rng, &world);
            let live = asked.page(&epr).await;
            recorded.push((revision, clock.now(), asked, live));
        }
    }
    for (revision, at, asked, live) in &recorded {
        if revision.sequence == 0 {
            continue;
        }
        let past = asked.with(|list| (list.revision, list.at) = (Some(*revision), Some(*at))).page(&epr).await;
        assert_eq!(text(&past), text(live), "{asked:?} at {revision}");
        if live.as_ref().is_ok_and(|live| !live.items.is_empty()) {
            *counts.entry(asked.kind()).or_default() += 1;
        }
    }
    epr.close().await;
}

/// Another caller changes the registry between the pages.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_go_on_at_the_revision_of_the_first_one_while_the_registry_changes(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("pages_go_on_at_the_revision_of_the_first_one_while_the_registry_changes");
    let database = Database::create(kind).await;
    let (epr, clock, _) = service(&database).await;
    let mut world = World { keeps_persons: true, ..World::default() };
    for _ in 0..120 {
        world.change(&epr, &mut rng, clock.now()).await;
    }
    let mut walked: BTreeMap<&str, usize> = BTreeMap::new();
    let mut tries = 0;
    while walked.len() < 4 || walked.values().any(|count| *count < 4) {
        tries += 1;
        assert!(tries < 3_000, "{walked:?}");
        let asked = Asked::random(&mut rng, &world);
        let Ok(whole) = asked.page(&epr).await else { continue };
        if whole.items.len() < 2 || walked.get(asked.kind()).is_some_and(|count| *count >= 4) {
            world.change(&epr, &mut rng, clock.now()).await;
            continue;
        }
        let limit = rng.random_range(1..=2);
        let (mut items, mut next) = (Vec::new(), None);
        loop {
            let page = asked.with(|list| (list.limit, list.next) = (limit, next)).page(&epr).await.unwrap();
            assert_eq!((&page.revision, page.as_of), (&whole.revision, whole.as_of), "{asked:?}");
            items.extend(page.items);
            next = page.next;
            if next.is_none() {
                break;
            }
            clock.advance_micros(rng.random_range(1..3_000_000));
            for _ in 0..rng.random_range(1..4) {
                world.change(&epr, &mut rng, clock.now()).await;
            }
        }
        // The exclusions of a subtree can be on several pages.
        if asked.kind() != "subtrees" || items.len() == whole.items.len() {
            assert_eq!(items, whole.items, "{asked:?}");
        }
        *walked.entry(asked.kind()).or_default() += 1;
    }
    println!("{walked:?} after {tries} tries");
    epr.close().await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_goes_on_only_if_history_has_the_revision_of_its_first_page(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let (epr, clock, _) = service(&database).await;
    let call = Call::default();
    let new = NewRole::new("Reader".parse().unwrap()).permission("a:read".parse().unwrap());
    let role = epr.create_role(&call, new).await.unwrap();
    let spv = epr.create_entity(&call, NewEntity::new("S".parse().unwrap(), EntityType::Spv)).await.unwrap();
    for n in 1..=3 {
        epr.assign(&call, NewAssignment::new(Uuid::from_u128(n), role.id).on(spv.id)).await.unwrap();
    }
    let asked = Asked::Principals(PrincipalsRequest {
        action: "a:read".parse().unwrap(),
        resource_id: spv.id,
        principal_type: None,
        list: ListRequest { limit: 1, ..ListRequest::default() },
    });
    let first = asked.page(&epr).await.unwrap();
    clock.advance_micros(1);
    epr.create_entity(&call, NewEntity::new("T".parse().unwrap(), EntityType::Spv)).await.unwrap();
    let second = asked.with(|list| list.next = first.next.clone());
    let page = second.page(&epr).await.unwrap();
    assert_eq!((&page.revision, page.as_of), (&first.revision, first.as_of));
    database.execute("UPDATE history_head SET sequence = 1").await.unwrap();
    let error = second.page(&epr).await.unwrap_err();
    assert!(matches!(&error, Error::Conflict(why) if why.contains("without `next`")), "{error:?}");
    // The newest state needs no history.
    assert_eq!(asked.page(&epr).await.unwrap().items.len(), 1);
    epr.close().await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_person_s_fields_are_missing_in_lists_of_the_past(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let (epr, clock, store) = service(&database).await;
    let (call, person, kind) = (Call::default(), Uuid::from_u128(1), default_principal_type());
    let new = NewRole::new("Reader".parse().unwrap()).permission("a:read".parse().unwrap());
    let role = epr.create_role(&call, new).await.unwrap();
    let spv = epr.create_entity(&call, NewEntity::new("S".parse().unwrap(), EntityType::Spv)).await.unwrap();
    epr.create_principal(&call, NewPrincipal::new().with_id(person)).await.unwrap();
    let patch = PrincipalPatch { display_name: Some(Some("Ada".parse().unwrap())), ..PrincipalPatch::default() };
    epr.update_principal(&call, &kind, person, patch).await.unwrap();
    let new = NewAssignment::new(person, role.id).on(spv.id);
    epr.assign(&call, new.only_if(Condition::new("!has(principal.external_id)"))).await.unwrap();
    let revision: Revision = store.registry_state().await.unwrap().revision;
    let list = ListRequest { include: vec![Include::Conditional], revision: Some(revision), ..ListRequest::default() };
    let action = "a:read";
    let lists = [
        Asked::Principals(PrincipalsRequest {
            action: action.parse().unwrap(),
            resource_id: spv.id,
            principal_type: None,
            list: list.clone(),
        }),
        Asked::Actions(ActionsRequest {
            principal_id: person,
            principal_type: kind.clone(),
            resource_id: spv.id,
            list: list.clone(),
        }),
        Asked::Resources(ResourcesRequest {
            principal_id: person,
            principal_type: kind.clone(),
            action: action.parse().unwrap(),
            resource_type: None,
            within: None,
            form: ListForm::Items,
            list,
        }),
    ];
    for asked in &lists {
        let page = asked.page(&epr).await.unwrap();
        assert!(page.items.len() == 1 && page.items[0].contains("conditional: false"), "{page:?}");
    }
    clock.advance_micros(1);
    epr.erase_principal(&call, &kind, person).await.unwrap();
    for asked in &lists {
        let page = asked.page(&epr).await.unwrap();
        assert!(page.items.len() == 1 && page.items[0].contains("conditional: true"), "{page:?}");
        assert!(page.items[0].contains("principal.external_id") && !page.items[0].contains("Ada"), "{page:?}");
    }
    epr.close().await;
}
