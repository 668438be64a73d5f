//! Lists, in every form, while other callers change the registry between their pages: each page is that of the registry
//! of the first one.

use std::fmt::Debug;

use epr_core::domain::access::{AccessPage, ListForm, ListRequest};
use epr_core::domain::{ActionsRequest, PrincipalsRequest, ResourcesRequest};
use epr_core::{Call, Epr, Error};
use epr_testkit::database::DatabaseKind;
use epr_testkit::seed;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rstest::rstest;

use crate::access_world::{ACTIONS, Size, World};

/// The number of later pages that were read in the tables of the present, because nothing had changed, and in history.
#[derive(Debug, Default)]
struct Later {
    present: usize,
    past: usize,
}

/// Walks through a list without changes, and again while the registry changes before most of its pages. `page` asks for
/// the page of a token.
async fn walk_twice<T: Debug + PartialEq>(
    world: &mut World,
    rng: &mut StdRng,
    later: &mut Later,
    page: impl AsyncFn(&Epr, Option<String>) -> Result<AccessPage<T>, Error>,
) {
    let first = page(&world.epr, None).await.unwrap();
    let (mut expected, mut next) = (Vec::new(), first.next.clone());
    while next.is_some() {
        let read = page(&world.epr, next).await.unwrap();
        expected.push(read.items);
        next = read.next;
    }
    let mut next = first.next.clone();
    for items in expected {
        if rng.random_bool(0.7) {
            world.change(rng).await;
        }
        // A change that changes nothing leaves the revision as it is.
        let now = page(&world.epr, None).await.unwrap().revision;
        let read = page(&world.epr, next).await.unwrap();
        assert_eq!((&read.revision, read.as_of), (&first.revision, first.as_of));
        assert_eq!(read.items, items);
        *(if now == first.revision { &mut later.present } else { &mut later.past }) += 1;
        next = read.next;
    }
    assert_eq!(next, None);
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Principals,
    Actions,
    Items,
    Subtrees,
}

/// Walks through a random list in pages of a few items.
async fn walk_random(world: &mut World, rng: &mut StdRng, later: &mut Later, kind: Kind) {
    let call = Call::default();
    let (principal_id, principal_type) = world.principals.choose(rng).unwrap().clone();
    let action = *ACTIONS.choose(rng).unwrap();
    let resource_id = *world.entities.choose(rng).unwrap();
    let limit = rng.random_range(1..4);
    let list = |next| ListRequest { limit, next, ..ListRequest::default() };
    match kind {
        Kind::Principals => {
            let request = |next| PrincipalsRequest {
                action: action.parse().unwrap(),
                resource_id,
                principal_type: None,
                list: list(next),
            };
            walk_twice(world, rng, later, async |epr, next| epr.list_principals(&call, &request(next)).await).await;
        }
        Kind::Actions => {
            let request = |next| ActionsRequest {
                principal_id,
                principal_type: principal_type.clone(),
                resource_id,
                list: list(next),
            };
            walk_twice(world, rng, later, async |epr, next| epr.list_actions(&call, &request(next)).await).await;
        }
        Kind::Items | Kind::Subtrees => {
            let request = |next| ResourcesRequest {
                principal_id,
                principal_type: principal_type.clone(),
                action: action.parse().unwrap(),
                resource_type: None,
                within: None,
                form: ListForm::default(),
                list: list(next),
            };
            if matches!(kind, Kind::Items) {
                walk_twice(world, rng, later, async |epr, next| epr.list_resources(&call, &request(next)).await).await;
            } else {
                walk_twice(world, rng, later, async |epr, next| epr.list_subtrees(&call, &request(next)).await).await;
            }
        }
    }
}

#[rstest]
#[case::principals_sqlite(DatabaseKind::Sqlite, Kind::Principals)]
#[case::principals_postgres(DatabaseKind::Postgres, Kind::Principals)]
#[case::actions_sqlite(DatabaseKind::Sqlite, Kind::Actions)]
#[case::actions_postgres(DatabaseKind::Postgres, Kind::Actions)]
#[case::items_sqlite(DatabaseKind::Sqlite, Kind::Items)]
#[case::items_postgres(DatabaseKind::Postgres, Kind::Items)]
#[case::subtrees_sqlite(DatabaseKind::Sqlite, Kind::Subtrees)]
#[case::subtrees_postgres(DatabaseKind::Postgres, Kind::Subtrees)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_that_of_the_revision_of_the_first_one(#[case] database: DatabaseKind, #[case] kind: Kind) {
    let mut rng = seed::rng("every_page_is_that_of_the_revision_of_the_first_one");
    let mut world = World::random(database, &mut rng, Size::SMALL).await;
    let mut later = Later::default();
    while later.present < 3 || later.past < 12 {
        walk_random(&mut world, &mut rng, &mut later, kind).await;
        world.change(&mut rng).await;
    }
    println!("{later:?}");
    world.epr.close().await;
}
