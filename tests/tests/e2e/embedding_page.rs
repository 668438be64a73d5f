//! The examples of docs/EMBEDDING.md: the page shows the functions of this file, and
//! `docs::the_embedding_page_shows_what_is_tested` compares them.

use std::sync::Arc;

use epr_core::clock::ManualClock;
use epr_core::decision::Question;
use epr_core::domain::{EntityType, NewAssignment, NewEntity, NewRole, Timestamp};
use epr_core::publish::recording::Recording;
use epr_core::{Call, Epr};
use uuid::Uuid;

type TestResult = Result<(), Box<dyn std::error::Error>>;

// example: complete
#[tokio::test]
async fn a_reader_of_the_issuer_may_download_documents_of_its_spv() -> TestResult {
    let epr = Epr::in_memory().await?;
    let call = Call::default();
    let issuer = epr.create_entity(&call, NewEntity::new("Acme Estates".try_into()?, EntityType::Issuer)).await?;
    let mut spv = NewEntity::new("Berlin One".try_into()?, EntityType::Spv);
    spv.parent_id = Some(issuer.id);
    let spv = epr.create_entity(&call, spv).await?;
    let role = epr.create_role(&call, NewRole::new("Reader".parse()?).permission("document:download".parse()?)).await?;
    let user = Uuid::from_u128(7);

    let question = Question::new(user, "document:download".try_into()?, spv.id);
    assert!(!epr.check(&call, &question).await?.allowed);
    epr.assign(&call, NewAssignment::new(user, role.id).on(issuer.id)).await?;
    assert!(epr.check(&call, &question).await?.allowed);
    Ok(())
}
// end

// example: time
#[tokio::test]
async fn an_assignment_ends_when_the_test_says_so() -> TestResult {
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-01-01T00:00:00Z").expect("a valid time")));
    let epr = Epr::in_memory_at(clock.clone()).await?;
    let call = Call::default();
    let spv = epr.create_entity(&call, NewEntity::new("Berlin One".try_into()?, EntityType::Spv)).await?;
    let role = epr.create_role(&call, NewRole::new("Reader".parse()?).permission("document:download".parse()?)).await?;
    let user = Uuid::from_u128(7);
    let mut assignment = NewAssignment::new(user, role.id).on(spv.id);
    assignment.expires_at = Some(epr.now().plus_seconds(60));
    epr.assign(&call, assignment).await?;

    let question = Question::new(user, "document:download".try_into()?, spv.id);
    clock.advance_micros(59_999_999);
    assert!(epr.check(&call, &question).await?.allowed);
    clock.advance_micros(1);
    assert_eq!(epr.check(&call, &question).await?.reason.code(), "expired");
    Ok(())
}
// end

// example: events
#[tokio::test]
async fn an_archived_entity_is_published() -> TestResult {
    let topic = Arc::new(Recording::default());
    let epr = Epr::builder().publisher(topic.clone()).start().await?;
    let call = Call::default();
    let spv = epr.create_entity(&call, NewEntity::new("Berlin One".try_into()?, EntityType::Spv)).await?;
    epr.archive_entity(&call, spv.id).await?;

    let types: Vec<_> = topic.published().iter().map(|message| message.event_type.clone()).collect();
    assert_eq!(types, ["entity.archived"]);
    Ok(())
}
// end
