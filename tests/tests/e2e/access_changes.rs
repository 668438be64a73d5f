//! Lists of resources, in both forms, while other callers change the registry between their pages: each page rests on
//! the registry of the first one.

use std::fmt::Debug;

use epr_core::domain::ResourcesRequest;
use epr_core::domain::access::{AccessPage, ListForm, ListRequest};
use epr_core::{Call, Epr, Error};
use epr_testkit::database::DatabaseKind;
use epr_testkit::seed;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rstest::rstest;

use crate::access_world::{ACTIONS, Size, World};

/// Where the second page of a list, which is the same in both cases, was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Second {
    /// In the tables of the present: nothing has changed.
    Present,
    /// In history, because the registry has changed.
    Past,
}

/// A random list of resources with pages of one item.
fn request(world: &World, rng: &mut StdRng) -> ResourcesRequest {
    let (principal_id, principal_type) = world.principals.choose(rng).unwrap().clone();
    ResourcesRequest {
        principal_id,
        principal_type,
        action: ACTIONS.choose(rng).unwrap().parse().unwrap(),
        resource_type: None,
        within: None,
        form: ListForm::default(),
        list: ListRequest { limit: 1, ..ListRequest::default() },
    }
}

/// Reads the first page, changes the registry in most cases, and reads the second page; `None` when there is none.
async fn second_page<T: Debug + PartialEq>(
    world: &mut World,
    rng: &mut StdRng,
    page: impl AsyncFn(&Epr, &ResourcesRequest) -> Result<AccessPage<T>, Error>,
) -> Option<Second> {
    let request = request(world, rng);
    let first = page(&world.epr, &request).await.unwrap();
    let next = first.next.clone()?;
    let list = ListRequest { next: Some(next), ..request.list.clone() };
    let second = ResourcesRequest { list, ..request.clone() };
    let before = page(&world.epr, &second).await.unwrap();
    if rng.random_bool(0.7) {
        world.change(rng).await;
    }
    // A change that changes nothing leaves the revision as it is.
    let now = page(&world.epr, &request).await.unwrap().revision;
    let after = page(&world.epr, &second).await.unwrap();
    assert_eq!((&after.revision, after.as_of), (&first.revision, first.as_of));
    assert_eq!((after.items, after.complete), (before.items, before.complete), "{second:?}");
    Some(if now == first.revision { Second::Present } else { Second::Past })
}

#[rstest]
#[case::items_sqlite(DatabaseKind::Sqlite, ListForm::Items)]
#[case::items_postgres(DatabaseKind::Postgres, ListForm::Items)]
#[case::subtrees_sqlite(DatabaseKind::Sqlite, ListForm::Subtrees)]
#[case::subtrees_postgres(DatabaseKind::Postgres, ListForm::Subtrees)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_resources_goes_on_at_the_revision_of_its_first_page(
    #[case] kind: DatabaseKind,
    #[case] form: ListForm,
) {
    let mut rng = seed::rng("a_list_of_resources_goes_on_at_the_revision_of_its_first_page");
    let mut world = World::random(kind, &mut rng, Size::SMALL).await;
    let (mut present, mut past) = (0, 0);
    while present < 5 || past < 12 {
        let call = Call::default();
        let second = match form {
            ListForm::Items => {
                second_page(&mut world, &mut rng, async |epr, request| epr.list_resources(&call, request).await).await
            }
            ListForm::Subtrees => {
                second_page(&mut world, &mut rng, async |epr, request| epr.list_subtrees(&call, request).await).await
            }
        };
        match second {
            Some(Second::Present) => present += 1,
            Some(Second::Past) => past += 1,
            None => world.change(&mut rng).await,
        }
    }
    world.epr.close().await;
}
