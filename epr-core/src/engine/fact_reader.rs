//! Group reading: one statement reads the facts of all checks that arrived while other statements were in progress.
//!
//! INVARIANT: a question is read by a statement that begins after the question was asked. What the caller knew before,
//! such as the ticket of the cache, is older than its facts, whether they are read alone or in a group.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use super::batcher::{BatchHandler, Batcher, Caller, Job, Limits};
use crate::decision::{Facts, Question};
use crate::error::chain;
use crate::store::{FactsRead, ReadAt, Result, Store, StoreError};

const LIMITS: Limits = Limits {
    // More statements at a time would leave fewer questions for each, and fewer connections for everything else.
    workers: 4,
    // Bounds how long the first question of a group waits for the last.
    batch_weight: 64,
    queue_length: usize::MAX,
    // A question waits this long only when the database is too slow.
    queue_time: Some(Duration::from_secs(20)),
};

/// The facts of a question, and the state of the registry that they belong to.
#[derive(Debug)]
pub(crate) struct FactsAtRevision {
    pub(crate) facts: Facts,
    pub(crate) read_at: ReadAt,
}

/// The facts of a question, or `None` when its resource is unknown.
type Answer = Result<Option<FactsAtRevision>>;

/// Reads facts in groups.
pub(crate) struct FactReader(Batcher<ReadGroup>);

impl FactReader {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self(Batcher::new(ReadGroup { store }, LIMITS))
    }

    /// The facts of `question`, read after this call; `None` when the resource is unknown.
    ///
    /// # Errors
    /// The database is unavailable, or it refuses this question.
    pub(crate) async fn read(&self, question: &Question) -> Answer {
        let answer = self.0.submit(question.clone()).await;
        answer.unwrap_or_else(|_| Err(StoreError::Unavailable("the database was not asked in time".into())))
    }
}

struct ReadGroup {
    store: Arc<dyn Store>,
}

impl BatchHandler for ReadGroup {
    type Request = Question;
    type Answer = Answer;

    async fn handle(&self, batch: Vec<Job<Self>>) {
        let (questions, callers): (Vec<_>, Vec<_>) = batch.into_iter().map(Job::into_parts).unzip();
        match self.store.facts(&questions).await {
            Ok(FactsRead { facts, read_at }) => {
                for (facts, caller) in facts.into_iter().zip(callers) {
                    caller.answer(Ok(facts.map(|facts| FactsAtRevision { facts, read_at })));
                }
            }
            // The database refuses one of the questions, which must not affect the others.
            Err(error) if error.may_be_about_one() && questions.len() > 1 => {
                self.read_each(questions.into_iter().zip(callers)).await;
            }
            Err(error) => fail_all(error, callers),
        }
    }
}

impl ReadGroup {
    async fn read_each(&self, mut group: impl Iterator<Item = (Question, Caller<Answer>)> + Send) {
        while let Some((question, caller)) = group.next() {
            if caller.is_gone() {
                continue;
            }
            match self.store.facts(&[question]).await {
                Ok(FactsRead { facts, read_at }) => {
                    let facts = facts.into_iter().next().flatten();
                    caller.answer(Ok(facts.map(|facts| FactsAtRevision { facts, read_at })));
                }
                Err(error) if error.may_be_about_one() => caller.answer(Err(error)),
                Err(error) => {
                    return fail_all(error, std::iter::once(caller).chain(group.map(|(_, caller)| caller)));
                }
            }
        }
    }
}

/// Answers the first caller with the error itself, the others with its causes as text.
fn fail_all(error: StoreError, callers: impl IntoIterator<Item = Caller<Answer>>) {
    let mut callers = callers.into_iter();
    let first = callers.next();
    for caller in callers {
        let causes = error.source().map_or_else(|| error.to_string(), chain);
        caller.answer(Err(StoreError::Unavailable(causes.into())));
    }
    if let Some(first) = first {
        first.answer(Err(error));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures_util::future::join;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{EntityType, NewAssignment, NewEntity, NewRole, Timestamp};
    use crate::store::Options;
    use crate::store::sqlite;

    const ENTITY: Uuid = Uuid::from_u128(100);

    /// A database with one entity, on which each of two principals has a role of its own.
    async fn world(file: &Path) -> (Arc<dyn Store>, [Question; 2]) {
        let store: Arc<dyn Store> = Arc::new(sqlite::open_file(file, &Options::default()).unwrap());
        store.migrate().await.unwrap();
        let at = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let mut tx = store.begin().await.unwrap();
        let entity = NewEntity::new("entity".parse().unwrap(), EntityType::Spv).into_record(ENTITY, at);
        assert!(tx.insert_entity(&entity).await.unwrap());
        for (n, name) in [(1, "one"), (2, "two")] {
            let role = NewRole::new(name.parse().unwrap()).permission("a:read".parse().unwrap());
            let role = role.into_record(Uuid::from_u128(10 + n), at);
            assert!(tx.insert_role(&role).await.unwrap());
            tx.set_role_actions(role.id, &role.permissions, &role.conditions, at).await.unwrap();
            let assignment = NewAssignment::new(Uuid::from_u128(n), role.id).on(ENTITY);
            let assignment = assignment.into_record(Uuid::from_u128(20 + n), at);
            tx.insert_assignment(&assignment).await.unwrap();
        }
        tx.commit().await.unwrap();
        (store, [1, 2].map(|n| Question::new(Uuid::from_u128(n), "a:read".try_into().unwrap(), ENTITY)))
    }

    /// One worker, so that two questions asked at once are one group.
    fn reader(store: &Arc<dyn Store>) -> FactReader {
        FactReader(Batcher::new(ReadGroup { store: Arc::clone(store) }, Limits { workers: 1, ..LIMITS }))
    }

    #[tokio::test]
    async fn one_that_cannot_be_read_takes_no_other_along() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("epr.db");
        let (store, [bad, good]) = world(&file).await;
        sqlite::tamper(&file, "UPDATE roles SET scope_types = 'nonsense' WHERE name = 'one'").await;
        let reader = reader(&store);
        let (first, second) = join(reader.read(&bad), reader.read(&good)).await;
        assert!(matches!(first, Err(StoreError::Corrupt { .. })));
        assert_eq!(second.unwrap().unwrap().facts.assignments.len(), 1);
    }

    #[tokio::test]
    async fn every_waiting_caller_gets_the_error_of_an_unavailable_database() {
        let folder = tempfile::tempdir().unwrap();
        let (store, [one, two]) = world(&folder.path().join("epr.db")).await;
        store.close().await;
        let reader = reader(&store);
        let (first, second) = join(reader.read(&one), reader.read(&two)).await;
        for answer in [first, second] {
            assert!(matches!(answer, Err(StoreError::Unavailable(_))));
        }
    }

    #[tokio::test]
    async fn everybody_gets_the_facts_that_were_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (store, questions) = world(&folder.path().join("epr.db")).await;
        let reader = Arc::new(FactReader::new(store));
        let mut callers = tokio::task::JoinSet::new();
        for n in 0..1000 {
            let (reader, question) = (Arc::clone(&reader), questions[n % 2].clone());
            callers.spawn(async move {
                let FactsAtRevision { facts, .. } = reader.read(&question).await.unwrap().unwrap();
                assert_eq!(facts.assignments.len(), 1);
                assert_eq!(facts.assignments[0].principal_id, question.principal_id);
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
    }
}
