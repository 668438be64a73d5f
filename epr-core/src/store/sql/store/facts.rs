//! Reading facts, and recording decisions made from them.

use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::super::dialect::facts_batch;
use super::super::explain;
use super::super::step::is_about_connection;
use super::SqlStore;
use crate::decision::{Facts, NamedFacts, Question};
use crate::store::{Appended, DraftDecision, FactsRead, FactsStore, ReadAt, Result, StoreError};

/// The deadline of one attempt to read facts, after which another connection is tried. Longer than the server's limit
/// for locks.
const FACTS_DEADLINE: Duration = Duration::from_secs(7);

/// The number of connections on which facts are tried, one after the other, when they are cut or lead to the wrong
/// server.
const MAX_FACTS_ATTEMPTS: u32 = 3;

impl SqlStore {
    async fn read_facts(&self, questions: &[Question]) -> Result<FactsRead> {
        // Before the statement: what it sees is not older.
        let known = self.continuity.newest_change();
        let conn = self.reader().await?;
        let read = async |conn: &mut _| facts_batch::read(conn, questions, known.as_ref()).await;
        let (facts, accepted) = self.run(conn, FACTS_DEADLINE, read).await?;
        self.continuity.record_read(&accepted.decisive, accepted.revision);
        Ok(FactsRead { facts, read_at: accepted.read_at() })
    }
}

/// Repeats a read whose connection was cut, leads to the wrong server, or has no peer: reads are safe to repeat.
pub(super) struct ReadRetry {
    begun: Instant,
    attempts: u32,
}

impl ReadRetry {
    /// Starts before the first attempt.
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), attempts: 0 }
    }

    /// Whether to read again after an attempt that failed with `error`.
    pub(super) fn is_due(&mut self, error: &StoreError) -> bool {
        self.attempts += 1;
        is_about_connection(error)
            && self.attempts < MAX_FACTS_ATTEMPTS
            && (self.attempts == 1 || self.begun.elapsed() < FACTS_DEADLINE)
    }
}

#[async_trait]
impl FactsStore for SqlStore {
    async fn facts(&self, questions: &[Question]) -> Result<FactsRead> {
        let mut retry = ReadRetry::begin();
        loop {
            match self.read_facts(questions).await {
                Err(error) if retry.is_due(&error) => {}
                outcome => return outcome,
            }
        }
    }

    async fn named_facts(&self, question: &Question, seen: Option<(Facts, ReadAt)>) -> Result<Option<NamedFacts>> {
        let known = self.continuity.newest_change();
        let read = async |conn: &mut _| explain::read(conn, question, seen, known.as_ref()).await;
        let (named, accepted) = self.probes(read).await?;
        self.continuity.record_read(&accepted.decisive, accepted.revision);
        Ok(named)
    }

    async fn append_decisions(
        &self,
        questions: &[Question],
        draft: DraftDecision<'_>,
    ) -> Result<Vec<Option<Appended>>> {
        let mut tx = self.session(self.transaction().await?);
        let appended = tx.append_decisions(questions, draft).await?;
        tx.finish().await?;
        Ok(appended)
    }
}
