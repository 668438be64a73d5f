//! The use in another crate's test: a whole service in memory.

use std::sync::Arc;

use epr_core::clock::ManualClock;
use epr_core::decision::Question;
use epr_core::domain::{EntityType, NewAssignment, NewEntity, NewRole, Timestamp};
use epr_core::{Call, Epr, Error};
use uuid::Uuid;

#[tokio::test]
async fn two_services_in_memory_know_nothing_of_each_other() {
    let (one, two) = (Epr::in_memory().await.unwrap(), Epr::in_memory().await.unwrap());
    let spv =
        one.create_entity(&Call::default(), NewEntity::new("S".try_into().unwrap(), EntityType::Spv)).await.unwrap();
    assert_eq!(one.entity(spv.id).await.unwrap(), spv);
    assert!(matches!(two.entity(spv.id).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn time_passes_when_the_test_says_so() {
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-01-01T00:00:00Z").unwrap()));
    let epr = Epr::in_memory_at(clock.clone()).await.unwrap();
    let call = Call::default();
    let spv = epr.create_entity(&call, NewEntity::new("S".try_into().unwrap(), EntityType::Spv)).await.unwrap();
    let new = NewRole::new("Reader".parse().unwrap()).permission("document:download".parse().unwrap());
    let role = epr.create_role(&call, new).await.unwrap();
    let user = Uuid::from_u128(7);
    let mut assignment = NewAssignment::new(user, role.id).on(spv.id);
    assignment.expires_at = Some(epr.now().plus_seconds(60));
    epr.assign(&call, assignment).await.unwrap();
    let question = Question::new(user, "document:download".try_into().unwrap(), spv.id);
    assert!(epr.check(&call, &question).await.unwrap().allowed);
    clock.advance_micros(59_999_999);
    assert!(epr.check(&call, &question).await.unwrap().allowed);
    clock.advance_micros(1);
    let decision = epr.check(&call, &question).await.unwrap();
    assert_eq!((decision.allowed, decision.reason.code()), (false, "expired"));
}
