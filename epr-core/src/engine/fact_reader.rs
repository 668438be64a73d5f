//! Group reading: the facts of checks that arrive while others are being read are read together, in one statement.
//!
//! INVARIANT: a question is read by a statement that begins after the question was asked. What the caller knew before, such as
//! the ticket of the cache, is older than its facts, alone or together.

use std::collections::VecDeque;
use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::decision::{Facts, Question};
use crate::error::chain;
use crate::store::{FactsRead, Result, Store, StoreError};

/// Most statements at a time. More would leave fewer questions for each of them, and fewer connections for everything else.
const READERS: usize = 4;
/// Most questions in one statement: bounds how long the first of them waits for the last.
const GROUP: usize = 64;
/// How long a question waits for its turn, which it does only while the database is not what it should be.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the decision on a question depends on.
#[derive(Debug)]
pub(crate) struct FactsAtRevision {
    pub(crate) facts: Facts,
    /// The ledger entry that had changed it last when it was read.
    pub(crate) revision: i64,
}

/// The way to the tasks that read; there is one while there is something to read.
pub(crate) struct FactReader {
    store: Arc<dyn Store>,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Asked>,
    readers: usize,
}

struct Asked {
    question: Question,
    at: Instant,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<Option<FactsAtRevision>>>;

impl FactReader {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, queue: Arc::default() }
    }

    /// What the decision on `question` depends on, read after this call; `None` when the resource is unknown.
    pub(crate) async fn read(&self, question: &Question) -> Result<Option<FactsAtRevision>> {
        let (answer, answered) = oneshot::channel();
        if let Some(task) = self.ask(Asked { question: question.clone(), at: Instant::now(), answer }) {
            tokio::spawn(read_all(Arc::clone(&self.store), task));
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the database was not asked in time".into())))
    }

    /// Puts it into the queue. Gives a further reader if there may be one.
    fn ask(&self, asked: Asked) -> Option<Task> {
        let mut queue = lock(&self.queue);
        queue.waiting.push_back(asked);
        if queue.readers == READERS {
            return None;
        }
        queue.readers += 1;
        Some(Task { queue: Arc::clone(&self.queue), done: false })
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of the readers, from when it was counted until it is not.
struct Task {
    queue: Arc<Mutex<Queue>>,
    done: bool,
}

impl Task {
    /// Those to be read next; a reader that finds nobody is done.
    fn next(&mut self) -> Option<Vec<Asked>> {
        let mut queue = lock(&self.queue);
        // Nobody waits any more for the others, or they have waited too long and are told so.
        queue.waiting.retain(|asked| !asked.answer.is_closed() && asked.at.elapsed() < PATIENCE);
        let count = queue.waiting.len().min(GROUP);
        let group: Vec<_> = queue.waiting.drain(..count).collect();
        if group.is_empty() {
            queue.readers -= 1;
            self.done = true;
            return None;
        }
        Some(group)
    }
}

impl Drop for Task {
    /// A reader that ended with its runtime: who waits for it must not wait for ever.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut queue = lock(&self.queue);
        queue.readers -= 1;
        if queue.readers == 0 {
            queue.waiting.clear();
        }
    }
}

async fn read_all(store: Arc<dyn Store>, mut task: Task) {
    loop {
        // Whoever can go on at this moment comes along.
        tokio::task::yield_now().await;
        let Some(group) = task.next() else { return };
        let (questions, answers): (Vec<_>, Vec<_>) =
            group.into_iter().map(|Asked { question, answer, .. }| (question, answer)).unzip();
        match store.facts(&questions).await {
            Ok(FactsRead { facts: all, revision }) => {
                for (facts, answer) in all.into_iter().zip(answers) {
                    // A caller that went away needs no answer.
                    let _ = answer.send(Ok(facts.map(|facts| FactsAtRevision { facts, revision })));
                }
            }
            // The database refused something about one of them: the others must not suffer for it.
            Err(fault) if fault.may_be_about_one() && questions.len() > 1 => {
                read_alone(&*store, questions.into_iter().zip(answers)).await;
            }
            Err(fault) => tell(fault, answers),
        }
    }
}

async fn read_alone(store: &dyn Store, mut asked: impl Iterator<Item = (Question, Answer)>) {
    while let Some((question, answer)) = asked.next() {
        if answer.is_closed() {
            continue;
        }
        match store.facts(&[question]).await {
            Ok(FactsRead { facts: all, revision }) => {
                let facts = all.into_iter().next().flatten();
                let _ = answer.send(Ok(facts.map(|facts| FactsAtRevision { facts, revision })));
            }
            Err(fault) if fault.may_be_about_one() => {
                let _ = answer.send(Err(fault));
            }
            Err(fault) => return tell(fault, std::iter::once(answer).chain(asked.map(|(_, answer)| answer))),
        }
    }
}

/// Tells all of them: the first the fault itself, the others its causes as text.
fn tell(fault: StoreError, answers: impl IntoIterator<Item = Answer>) {
    let mut answers = answers.into_iter();
    let first = answers.next();
    for answer in answers {
        let causes = fault.source().map_or_else(|| fault.to_string(), chain);
        let _ = answer.send(Err(StoreError::Unavailable(causes.into())));
    }
    if let Some(first) = first {
        let _ = first.send(Err(fault));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use uuid::Uuid;

    use super::*;
    use crate::domain::{EntityType, NewAssignment, NewEntity, NewRole};
    use crate::settings::{Settings, Source};
    use crate::store::postgres::Options;
    use crate::store::sqlite;
    use crate::{Call, Epr};

    fn ask(
        reader: &FactReader,
        question: &Question,
    ) -> (Option<Task>, oneshot::Receiver<Result<Option<FactsAtRevision>>>) {
        let (answer, answered) = oneshot::channel();
        (reader.ask(Asked { question: question.clone(), at: Instant::now(), answer }), answered)
    }

    /// A database with one entity, on which each of two principals has a role of its own.
    async fn world(file: &Path) -> (Arc<dyn Store>, [Question; 2]) {
        let url = format!("sqlite:///{}", file.display());
        let settings = Settings::from_source(&Source::of([("EPR_DATABASE_URL", url.as_str())])).unwrap();
        let epr = Epr::from_settings(&settings).await.unwrap();
        epr.start(true).await.unwrap();
        let call = Call::default();
        let new = NewEntity::new("entity".try_into().unwrap(), EntityType::Spv);
        let entity = epr.create_entity(&call, new).await.unwrap().id;
        let mut questions = Vec::new();
        for (n, name) in [(1, "one"), (2, "two")] {
            let role = epr.create_role(&call, NewRole::new(name.try_into().unwrap(), ["a:read".try_into().unwrap()]));
            let role = role.await.unwrap().id;
            let mut new = NewAssignment::new(Uuid::from_u128(n), role);
            new.entity_id = Some(entity);
            epr.assign(&call, new).await.unwrap();
            questions.push(Question::new(Uuid::from_u128(n), "a:read".try_into().unwrap(), entity));
        }
        (Arc::new(sqlite::open_file(file, &Options::default()).unwrap()), questions.try_into().unwrap())
    }

    #[tokio::test]
    async fn one_that_cannot_be_read_takes_no_other_along() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("epr.db");
        let (store, [bad, good]) = world(&file).await;
        sqlite::tamper(&file, "UPDATE roles SET scope_types = 'nonsense' WHERE name = 'one'").await;
        let reader = FactReader::new(Arc::clone(&store));
        let (task, first) = ask(&reader, &bad);
        let (_other, second) = ask(&reader, &good);
        read_all(store, task.unwrap()).await;
        assert!(matches!(first.await.unwrap(), Err(StoreError::Corrupt { .. })));
        assert_eq!(second.await.unwrap().unwrap().unwrap().facts.grants.len(), 1);
    }

    #[tokio::test]
    async fn all_are_told_that_the_database_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let (store, [one, two]) = world(&folder.path().join("epr.db")).await;
        store.close().await;
        let reader = FactReader::new(Arc::clone(&store));
        let (task, first) = ask(&reader, &one);
        let (_other, second) = ask(&reader, &two);
        read_all(store, task.unwrap()).await;
        for answer in [first, second] {
            assert!(matches!(answer.await.unwrap(), Err(StoreError::Unavailable(_))));
        }
    }

    #[tokio::test]
    async fn who_left_is_not_read_for() {
        let folder = tempfile::tempdir().unwrap();
        let (store, [one, two]) = world(&folder.path().join("epr.db")).await;
        let reader = FactReader::new(Arc::clone(&store));
        let (task, left) = ask(&reader, &one);
        let (_other, _stays) = ask(&reader, &two);
        drop(left);
        let group = task.unwrap().next().unwrap();
        assert_eq!(group.into_iter().map(|asked| asked.question).collect::<Vec<_>>(), [two]);
    }

    /// A process may have several runtimes, one after the other: tests do.
    #[tokio::test]
    async fn readers_that_end_with_their_runtime_leave_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let (store, [one, two]) = world(&folder.path().join("epr.db")).await;
        let reader = FactReader::new(Arc::clone(&store));
        let (mut tasks, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..READERS + 3 {
            let (task, answer) = ask(&reader, &one);
            tasks.push(task);
            answers.push(answer);
        }
        assert_eq!(tasks.iter().flatten().count(), READERS);
        drop(tasks);
        for answer in answers {
            assert!(answer.await.is_err());
        }
        assert_eq!(reader.read(&two).await.unwrap().unwrap().facts.grants.len(), 1);
    }

    #[tokio::test]
    async fn everybody_gets_the_facts_that_were_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (store, questions) = world(&folder.path().join("epr.db")).await;
        let reader = Arc::new(FactReader::new(Arc::clone(&store)));
        let mut callers = tokio::task::JoinSet::new();
        for n in 0..1000 {
            let (reader, question) = (Arc::clone(&reader), questions[n % 2].clone());
            callers.spawn(async move {
                let FactsAtRevision { facts, .. } = reader.read(&question).await.unwrap().unwrap();
                assert_eq!(facts.grants.len(), 1);
                assert_eq!(facts.grants[0].principal_id, question.principal_id);
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
        let queue = lock(&reader.queue);
        assert!(queue.waiting.is_empty());
    }
}
